package endtoend

import (
	"sync"
	"testing"
	"time"

	"failback/bench/stand"
	"failback/replication"
)

// TestKilledWhileAMoveIsTakenBack kills the master target while a move that was called back is on its way back, and at random moments around. The disks then stand at the point they came from, or at the one they were asked for,
// every byte of them, and nothing is lost of either.
func TestKilledWhileAMoveIsTakenBack(t *testing.T) {
	t.Parallel()
	const size = 32 * mib
	w := newWorld(t, stand.Options{}, &disk{machine: "m", id: "a", format: "raw", size: size, commands: true}, &disk{machine: "m", id: "b", format: "vmfs", size: size, commands: true})
	w.protect()
	for range 2 {
		for _, d := range w.disks {
			w.write(d, 0, size)
		}
		w.cut()
	}
	w.shows(w.last)
	taken := 0
	for range 4 {
		var asked sync.WaitGroup
		asked.Go(func() { w.CLI(w.ctx, "rewind", group, "1") })
		g, err := w.Wait(w.ctx, group, "the disks are being written", func(g replication.GroupStatus) bool {
			return g.Move != nil && g.Move.Phase == "write" && g.Move.Done > 0 || g.Held && g.Move == nil && g.Head == 1
		})
		w.must(err)
		asked.Go(func() { w.CLI(w.ctx, "move", "cancel", group, "--back") })
		if g.Move != nil {
			taken++
		}
		time.Sleep(time.Duration(w.rng.Int64N(int64(80 * time.Millisecond)))) // a moment is drawn, not waited for
		w.kill(w.MasterTarget)
		asked.Wait()
		g, err = w.Wait(w.ctx, group, "no move is under way", func(g replication.GroupStatus) bool {
			return g.Move == nil && g.Head != 0 && (g.Held || g.Head == w.last)
		})
		w.must(err)
		if g.Head != 1 && g.Head != w.last {
			t.Errorf("the disks stand at point %d, of a move from %d to 1", g.Head, w.last)
		}
		w.shows(g.Head)
		w.must(w.Do(w.ctx, nil, "advance", group))
		w.shows(w.last)
	}
	w.exports()
	t.Logf("%d moves of 4 were killed while they were written", taken)
}

// TestKilledWhileTheDisksLag kills the master target while the disks are behind the points, as cycles come one after another: no point is lost, and the disks come to the last.
func TestKilledWhileTheDisksLag(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, stable(threeDisks())...)
	w.protect()
	behind := 0
	for round := range 2 {
		for range 2 {
			w.cut()
		}
		g, err := w.Status(w.ctx, group)
		w.must(err)
		if g.Head < g.Last {
			behind++
		}
		if round == 1 { // while they catch up
			go w.CLI(w.ctx, "advance", group)
			time.Sleep(time.Duration(w.rng.Int64N(int64(30 * time.Millisecond))))
		}
		w.kill(w.MasterTarget)
		w.exports()
	}
	w.must(w.Do(w.ctx, nil, "advance", group))
	w.shows(w.last)
	t.Logf("the disks were behind in %d rounds of 2", behind) // a busy machine may give them the time to catch up
}
