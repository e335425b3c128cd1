package endtoend

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"failback/bench/stand"
	"failback/replication"
)

// stable makes all disks of stable views, so that a cut survives the process server.
func stable(disks []*disk) []*disk {
	for _, d := range disks {
		d.commands = true
	}
	return disks
}

// kill ends one of the daemons as kill -9 does, and starts it again.
func (w *world) kill(d *stand.Daemon) {
	w.t.Helper()
	w.must(d.Kill())
	if d == w.MasterTarget {
		w.must(w.StartMasterTarget())
	} else {
		w.must(w.StartProcessServer())
	}
	w.must(w.WaitConnected(w.ctx))
	w.open()
}

// either is one of the daemons.
func (w *world) either() *stand.Daemon {
	return []*stand.Daemon{w.MasterTarget, w.ProcessServer}[w.rng.IntN(2)]
}

// TestKilledAtAnyMoment kills a daemon again and again, at random moments of the baseline, of cycles and of moves.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		disks []*disk
	}{{"Live", threeDisks()}, {"Snapshots", stable(threeDisks())}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, stand.Options{}, c.disks...)
			// Moments are drawn, not waited for: a kill may come too early or too late to hit anything, and must not matter.
			after := func(most time.Duration) { time.Sleep(time.Duration(w.rng.Int64N(int64(most)))) }
			w.must(w.Do(w.ctx, nil, "reprotect", w.plan()))
			for range 2 {
				after(400 * time.Millisecond)
				w.kill(w.either())
			}
			w.listed(1)
			for round := range 4 {
				w.change()
				w.write(w.disks[0], 2*mib, 8*mib)
				point, err := w.Cut(w.ctx, group)
				w.must(err)
				for range 1 + w.rng.IntN(2) {
					after(300 * time.Millisecond)
					w.kill(w.either())
				}
				w.listed(point)
				w.shows(point)
				if round%2 == 1 {
					w.killMoves(after)
				}
			}
			w.exports()
		})
	}
}

// killMoves rewinds and advances, and kills meanwhile. A command that loses its master target fails; the move goes on.
func (w *world) killMoves(after func(time.Duration)) {
	w.t.Helper()
	to := replication.PointID(1 + w.rng.Uint64N(uint64(w.last)))
	var asked sync.WaitGroup
	asked.Go(func() { w.CLI(w.ctx, "rewind", group, fmt.Sprint(to)) })
	after(60 * time.Millisecond)
	w.kill(w.MasterTarget)
	asked.Wait()
	g, err := w.Wait(w.ctx, group, "no move is under way", func(g replication.GroupStatus) bool {
		return g.Move == nil && g.Head != 0 && (g.Held || g.Head == w.last)
	})
	w.must(err)
	w.shows(g.Head) // the point it was at, or the one it was asked for: never between
	w.must(w.Do(w.ctx, nil, "advance", group))
	w.shows(w.last)
}

// TestInterruptedCycleGoesOn kills each daemon in the middle of a cycle, and sees that the rest is sent and not the whole.
func TestInterruptedCycleGoesOn(t *testing.T) {
	t.Parallel()
	const whole = 64 * mib
	d := &disk{machine: "m", id: "d", format: "vmfs", size: 96 * mib, commands: true}
	w := newWorld(t, stand.Options{}, d)
	w.protect()
	for _, victim := range []*stand.Daemon{w.ProcessServer, w.MasterTarget} {
		for try := 0; ; try++ {
			w.write(d, 0, whole)
			before := w.JournalBytes(group)
			point, err := w.Cut(w.ctx, group)
			w.must(err)
			g, err := w.Wait(w.ctx, group, "a part has arrived", func(g replication.GroupStatus) bool {
				return g.Last >= point || w.JournalBytes(group)-before > whole/4
			})
			w.must(err)
			w.kill(victim)
			w.listed(point)
			if g.Last >= point && try < 5 { // over already
				continue
			}
			g, err = w.Status(w.ctx, group)
			w.must(err)
			if sent := g.Disks[0].Ledger.Raw; sent >= whole || sent == 0 {
				t.Errorf("after the kill of the %s %d bytes were sent of %d: it began anew", victim.Program, sent, whole)
			}
			break
		}
		w.shows(w.last)
	}
	w.exports()
}

// TestInterruptedBaselineGoesOn kills each daemon in the middle of the baseline: what the disks have is not sent again.
func TestInterruptedBaselineGoesOn(t *testing.T) {
	t.Parallel()
	for _, victim := range []string{"master-target", "process-server"} {
		t.Run(victim, func(t *testing.T) {
			d := &disk{machine: "m", id: "d", format: "raw", size: 128 * mib, commands: true}
			w := newWorld(t, stand.Options{}, d)
			w.write(d, 0, d.size)
			w.must(w.Do(w.ctx, nil, "reprotect", w.plan()))
			_, err := w.Wait(w.ctx, group, "a part has arrived", func(g replication.GroupStatus) bool { return g.Last > 0 || blocks(t, d.target) > d.size/4 })
			w.must(err)
			if victim == "master-target" {
				w.kill(w.MasterTarget)
			} else {
				w.kill(w.ProcessServer)
			}
			w.listed(1)
			w.shows(1)
			g, err := w.Status(w.ctx, group)
			w.must(err)
			if sent := g.Disks[0].Ledger.Raw; sent > d.size*9/10 {
				t.Errorf("after the kill %d bytes were sent of %d", sent, d.size)
			}
		})
	}
}

// TestCutKeepsItsNumber kills the process server in the middle of a cycle of sources that have no snapshots.
func TestCutKeepsItsNumber(t *testing.T) {
	t.Parallel()
	d := &disk{machine: "m", id: "d", format: "vmfs", size: 96 * mib}
	w := newWorld(t, stand.Options{}, d)
	w.protect()
	w.write(d, 0, 64*mib)
	told := make(chan error, 1)
	var cut struct{ Point replication.PointID }
	go func() { told <- w.Do(w.ctx, &cut, "cut", group, "--wait") }()
	_, err := w.Wait(w.ctx, group, "a cycle is open", func(g replication.GroupStatus) bool {
		return g.Last > 1 || g.Open == 2 && w.JournalBytes(group) > 8*mib
	})
	w.must(err)
	w.kill(w.ProcessServer)
	w.must(<-told)
	w.listed(cut.Point)
	w.shows(2)
	p, err := w.Points(w.ctx, group)
	w.must(err)
	if len(p.Points) != 2 {
		t.Errorf("%d points, want 2: %+v", len(p.Points), p.Points)
	}
	w.cut()
	w.exports()
}
