package mastertarget

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/retention"
)

// closedWindow is a resync_window that is closed for some hours.
func closedWindow() string {
	h := time.Now().UTC().Hour()
	return fmt.Sprintf("%02d:00-%02d:00", (h+3)%24, (h+4)%24)
}

// loseTracking has the process server lose its state, and come again.
func (p *pair) loseTracking() {
	p.t.Helper()
	p.bye()
	p.worker.Close()
	p.worker = nil
	if err := os.RemoveAll(filepath.Join(p.dir, "ps")); err != nil {
		p.t.Fatal(err)
	}
	p.connect()
}

// becomes waits until the group is in a state.
func (p *pair) becomes(want replication.GroupState) replication.GroupStatus {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var s replication.GroupStatus
	if err := p.master.wait(ctx, func() bool { s = p.state(); return s.State == want }); err != nil {
		p.t.Fatalf("the group does not come to be %s: %+v", want, s)
	}
	return s
}

func TestResyncWaitsForItsWindowAndBeginsAtTheOperatorsWord(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := newPair(t, 9)
	p.plan = []byte(strings.Replace(string(p.plan), "rpo_alert: 2h", "rpo_alert: 2h, resync_window: "+closedWindow(), 1))
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1) // the window is none of a first point
	p.keep(1)
	if s := p.state(); s.Resync != nil {
		t.Errorf("a resync is needed of nothing: %+v", s.Resync)
	}

	p.loseTracking()
	p.change()
	_, err := p.master.Cut(ctx, "g", false)
	isProblem(t, "a cut while whole disks have to be compared", err, replication.CodeResyncNeeded)
	s := p.becomes(replication.StateResync)
	if s.Resync == nil || s.Resync.Why == "" || s.Resync.Since.IsZero() || !s.Resync.Opens.After(time.Now()) || s.WaitsFor == "" || s.Open != 0 || s.Last != 1 {
		t.Errorf("a group that needs a resync tells %+v, waits for %q, open %d, last %d", s.Resync, s.WaitsFor, s.Open, s.Last)
	}
	if !s.NextCut.Equal(s.Resync.Opens) {
		t.Errorf("the next point is due at %v, and the window opens at %v", s.NextCut, s.Resync.Opens)
	}
	_, err = p.master.Cut(ctx, "g", false)
	isProblem(t, "another cut", err, replication.CodeResyncNeeded)
	p.contents("while a resync waits")

	// The operator's word stands, also when the master target is killed before the process server could do anything for it.
	p.bye()
	p.worker.Close()
	p.worker = nil
	if _, err := p.master.Resync(ctx, replication.ResyncRequest{Group: "g"}); err != nil {
		t.Fatal(err)
	}
	p.master.Close()
	p.disks = 1
	p.open()
	gate := newTurnstile(p.master)
	p.link.Authority = gate
	p.connect()
	p.keep(2)
	gate.next(t)
	if s := p.becomes(replication.StateResyncing); s.Resync == nil || !s.Resync.Opens.IsZero() || s.Mode != replication.Compare {
		t.Errorf("a resync under way tells %+v, mode %s", s.Resync, s.Mode)
	}

	// What has begun goes on, whatever the time, when either end is killed.
	p.connect()
	gate.next(t)
	p.close()
	p.open()
	p.listed(2)
	if s := p.becomes(replication.StateProtected); s.Resync != nil {
		t.Errorf("after the resync another one is needed: %+v", s.Resync)
	}
	p.contents("after the resync")
	g, _ := p.master.group("g")
	for end := time.Now().Add(time.Minute); g.resyncAsked(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what the operator asked for is asked for still")
		}
	}
	p.change()
	id, err := p.master.Cut(ctx, "g", false)
	if err != nil {
		t.Fatal(err)
	}
	p.keep(id)
	p.listed(id)
	p.contents("after changes")
	p.close()
}

func TestResyncBeginsByItselfWithoutAWindow(t *testing.T) {
	t.Parallel()
	p := newPair(t, 10)
	if _, _, err := p.master.Reprotect(t.Context(), p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	p.loseTracking()
	id, err := p.master.Cut(t.Context(), "g", false)
	if err != nil {
		t.Fatal(err)
	}
	p.keep(id)
	p.listed(id)
	g, _ := p.master.group("g")
	equal := int64(0)
	g.mu.Lock()
	for _, l := range g.ledgers {
		equal += l.Equal + l.Zero
		if l.Raw > 0 {
			t.Errorf("disk %d: %d bytes were sent of what is equal on both sides", l.Disk, l.Raw)
		}
	}
	g.mu.Unlock()
	if equal == 0 {
		t.Error("nothing was compared")
	}

	// One that nothing needs begins when it is asked for.
	p.change()
	p.keep(id + 1)
	if _, err := p.master.Resync(t.Context(), replication.ResyncRequest{Group: "g"}); err != nil {
		t.Fatal(err)
	}
	p.listed(id + 1)
	p.contents("resyncs")
	p.close()
}

// TestNewerBytesAreOverwrittenOnlyAtTheOperatorsWord has something else write a target, and each step towards the new journal cut off.
func TestNewerBytesAreOverwrittenOnlyAtTheOperatorsWord(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := newPair(t, 11)
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.close()
	if err := overwrite(p.dst(1)); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(p.dst(1))
	if err != nil {
		t.Fatal(err)
	}
	p.open()
	p.becomes(replication.StateError)
	_, err = p.master.Resync(ctx, replication.ResyncRequest{Group: "g"})
	isProblem(t, "a resync that overwrites what others wrote", err, replication.CodeResyncOverwrites)
	for _, want := range []string{p.dst(1), "1 points"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if now, err := os.ReadFile(p.dst(1)); err != nil || differs(now, written) >= 0 {
		t.Errorf("the disk was written without the operator's word: at %d, error %v", differs(now, written), err)
	}
	p.close()

	cat, err := openCatalogue(filepath.Join(p.dir, "mt"))
	if err != nil {
		t.Fatal(err)
	}
	var was groupRecord
	if err := each(cat, bucketGroups, func(_ replication.GroupID, r groupRecord) error { was = r; return nil }); err != nil {
		t.Fatal(err)
	}
	i, err := retention.Inspect(filepath.Join(p.dir, "ret", "g"))
	if err != nil {
		t.Fatal(err)
	}
	id := i.Identity()
	i.Close()
	was.Renew = &renewal{Journal: id.UUID, Disks: id.Disks}
	if err := cat.put(bucketGroups, "g", was); err != nil { // killed when the word was noted
		t.Fatal(err)
	}
	cat.close()
	for _, left := range []string{"the journal", "its directory", "nothing"} {
		dir := filepath.Join(p.dir, "ret", "g")
		switch left { // killed after that
		case "its directory":
			if err := os.Rename(filepath.Join(dir, "log"), filepath.Join(dir, "log.retired")); err != nil {
				t.Fatal(err)
			}
		case "nothing":
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
		if left != "the journal" {
			cat, err := openCatalogue(filepath.Join(p.dir, "mt"))
			if err != nil {
				t.Fatal(err)
			}
			r := was
			if i, err := retention.Inspect(dir); err == nil {
				t.Fatalf("%s: the old journal is there: %v", left, i.Identity())
			}
			if err := cat.put(bucketGroups, "g", r); err != nil {
				t.Fatal(err)
			}
			cat.close()
		}
		p.open()
		p.listed(1)
		p.kept = map[replication.PointID][][]byte{}
		p.keep(1)
		p.contents("begun anew from " + left)
		if s := p.becomes(replication.StateProtected); s.Problem != nil {
			t.Errorf("from %s: %+v", left, s.Problem)
		}
		p.close()
	}
}

func TestResyncOverATargetThatOthersWrote(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := newPair(t, 12)
	p.plan = append([]byte("keep_original: true\n"), p.plan...)
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.close()
	if err := overwrite(p.dst(1)); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(p.dst(1))
	if err != nil {
		t.Fatal(err)
	}
	p.change()
	p.open()
	p.becomes(replication.StateError)
	if _, err := p.master.Resync(ctx, replication.ResyncRequest{Group: "g", Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	p.contents("begun anew")
	c, err := p.master.Export(ctx, "g", replication.OriginalPoint, "two")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, c.Size())
	if _, err := c.ReadAt(got, 0); err != nil || differs(got, written) >= 0 {
		t.Errorf("what was overwritten is not kept as point 0: at %d, error %v", differs(got, written), err)
	}
	c.Close()
	p.close()
}
