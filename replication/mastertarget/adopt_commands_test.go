package mastertarget

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"failback/replication"
	"failback/retention"
)

// anotherMaster starts a master target that does not know the group, as if on another machine: the state of the one before is kept aside.
func (p *pair) anotherMaster(aside string) {
	p.t.Helper()
	p.close()
	if err := os.Rename(filepath.Join(p.dir, "mt"), filepath.Join(p.dir, aside)); err != nil {
		p.t.Fatal(err)
	}
	p.open()
}

// TestAdoptionRunsNoCommands: a commit that waits is given up by an adoption, and says so; nothing that the old master target was told to run runs here.
func TestAdoptionRunsNoCommands(t *testing.T) {
	t.Parallel()
	p := newPair(t, 61)
	ctx := context.Background()
	p.protected(2)
	ran := filepath.Join(p.dir, "ran")
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, _ = p.master.Commit(short, "g", replication.CommitRequest{NotBefore: time.Now().Add(time.Hour), Stop: "touch " + ran, After: "touch " + ran}, silent)
	if s := p.state(); s.Cutover == nil {
		t.Fatalf("no commit is under way: %+v", s)
	}
	p.anotherMaster("old")
	a, err := p.master.Adopt(ctx, replication.AdoptRequest{Dir: filepath.Join(p.dir, "ret", "g"), OldHostIsOff: true})
	if err != nil || !a.Adopted || !hasCode(a.Findings, replication.CodeCutover) {
		t.Fatalf("adopt: %+v, error %v", a, err)
	}
	p.listed(1)
	if s := p.state(); s.Cutover != nil {
		t.Errorf("the commit goes on: %+v", s.Cutover)
	}
	p.change()
	p.made()
	p.contents("adopted")
	if _, err := os.Stat(ran); !errors.Is(err, os.ErrNotExist) {
		t.Error("a command ran")
	}
	p.close()
}

// TestFinishLeavesTheJournalOfAnother: what was begun to be finished, and was adopted by another meanwhile, is the other's.
func TestFinishLeavesTheJournalOfAnother(t *testing.T) {
	t.Parallel()
	p := newPair(t, 62)
	ctx := context.Background()
	p.protected(2)
	p.commit(replication.CommitRequest{})
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.changeRecord(func(r *groupRecord) { r.Finishing = true }); err != nil { // and the power fails
		t.Fatal(err)
	}
	p.anotherMaster("old")
	if a, err := p.master.Adopt(ctx, replication.AdoptRequest{Dir: filepath.Join(p.dir, "ret", "g"), OldHostIsOff: true}); err != nil || !a.Adopted {
		t.Fatalf("adopt: %+v, error %v", a, err)
	}
	p.anotherMaster("new")
	p.close()
	for _, move := range [][2]string{{"mt", "third"}, {"old", "mt"}} {
		if err := os.Rename(filepath.Join(p.dir, move[0]), filepath.Join(p.dir, move[1])); err != nil {
			t.Fatal(err)
		}
	}
	p.open() // the old one is back
	if err := p.master.wait(ctx, func() bool { s, _ := p.master.Status(ctx, ""); return len(s.Groups) == 0 }); err != nil {
		t.Fatal(err)
	}
	p.close()
	if i, err := retention.Inspect(filepath.Join(p.dir, "ret", "g")); err != nil || len(i.Points()) == 0 {
		t.Errorf("the journal of the other is gone: %v", err)
	} else {
		i.Close()
	}
}
