package mastertarget

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"failback/replication"
	"failback/retention"
)

// TestWayOutOfACutoverThatCanGoNowhere is the README's: the journal is moved aside, the group is unprotected without it, and protected anew; the points stay in what was moved aside.
func TestWayOutOfACutoverThatCanGoNowhere(t *testing.T) {
	t.Parallel()
	reached, goOn := make(chan struct{}), make(chan struct{})
	p := newPairWith(t, 95, Config{reached: func(step string) {
		if step == "closing" {
			close(reached)
			<-goOn
		}
	}})
	p.protected(3)
	committed := called(func() (replication.PointID, error) {
		return p.master.Commit(context.Background(), "g", replication.CommitRequest{Point: 2}, silent)
	})
	<-reached
	stopped := p.master.ctx.Done()
	go func() {
		<-stopped
		close(goOn)
	}()
	p.close()
	if a := <-committed; a.err == nil {
		t.Fatal("the commit came to its end")
	}
	aside := filepath.Join(p.dir, "aside")
	if err := os.Rename(filepath.Join(p.dir, "ret", "g"), aside); err != nil {
		t.Fatal(err)
	}
	p.open()
	p.settled("journal")
	if _, dir, err := p.master.Unprotect(context.Background(), "g", false, false); err != nil || dir != "" {
		t.Fatalf("unprotect: %q, %v", dir, err)
	}
	p.kept = map[replication.PointID][][]byte{}
	p.protected(2)
	p.contents("protected anew")
	p.close()
	i, err := retention.Inspect(aside)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if at := i.Cutover(); len(i.Points()) != 3 || !i.Whole() || at == nil || at.Step != retention.CutoverClosing {
		t.Errorf("what was moved aside has %d points, and is at %+v", len(i.Points()), at)
	}
}
