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
	if s := p.becomes(replication.StateResyncing); s.Resync == nil || !s.Resync.Asked || !s.Resync.Opens.IsZero() || s.Mode != replication.Compare {
		t.Errorf("a resync under way tells %+v, mode %s", s.Resync, s.Mode)
	}

	// What has begun goes on, whatever the time, when either end is killed.
	p.connect()
	gate.next(t)
	p.close()
	p.open()
	p.listed(2)
	p.becomes(replication.StateProtected)
	p.contents("after the resync")
	g, _ := p.master.group("g")
	for end := time.Now().Add(time.Minute); g.resyncAsked(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what the operator asked for is asked for still")
		}
	}
	if s := p.state(); s.Resync != nil {
		t.Errorf("after the resync another one is needed: %+v", s.Resync)
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
