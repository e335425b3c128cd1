package endtoend

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"

	"failback/bench/stand"
	"failback/replication"
)

// blocks returns how many bytes of a file take space.
func blocks(t *testing.T, path string) int64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return fi.Sys().(*syscall.Stat_t).Blocks * 512
}

// TestSIGTERMEndsCleanly stops both daemons (exit code 0, within seconds: Stop checks it) at rest, in the middle of a cycle and in the middle of a move.
func TestSIGTERMEndsCleanly(t *testing.T) {
	t.Parallel()
	d := &disk{machine: "m", id: "d", format: "vmfs", size: 128 * mib, commands: true}
	w := newWorld(t, stand.Options{}, d)
	w.protect()
	restart := func(first, second *stand.Daemon) {
		t.Helper()
		w.must(first.Stop())
		w.must(second.Stop())
		w.must(w.Start(w.ctx))
		w.open()
	}
	restart(w.MasterTarget, w.ProcessServer)
	restart(w.ProcessServer, w.MasterTarget)
	for i, order := range [][2]*stand.Daemon{{w.MasterTarget, w.ProcessServer}, {w.ProcessServer, w.MasterTarget}} {
		w.write(d, 0, 96*mib)
		before := w.JournalBytes(group)
		point, err := w.Cut(w.ctx, group)
		w.must(err)
		_, err = w.Wait(w.ctx, group, "a part has arrived", func(g replication.GroupStatus) bool { return g.Last >= point || w.JournalBytes(group)-before > 24*mib })
		w.must(err)
		restart(order[0], order[1])
		w.listed(point)
		w.shows(replication.PointID(i + 2))
	}
	var asked sync.WaitGroup
	asked.Go(func() { w.CLI(w.ctx, "rewind", group, "1") })
	_, err := w.Wait(w.ctx, group, "the disks move", func(g replication.GroupStatus) bool { return g.Move != nil || g.Head == 1 })
	w.must(err)
	w.must(w.StopMasterTarget())
	asked.Wait()
	w.must(w.StartMasterTarget())
	g, err := w.Wait(w.ctx, group, "no move is under way", func(g replication.GroupStatus) bool {
		return g.Move == nil && g.Head != 0 && (g.Held || g.Head == w.last)
	})
	w.must(err)
	w.shows(g.Head)
	w.must(w.WaitConnected(w.ctx))
	w.open()
	w.exports()
	w.must(w.Do(w.ctx, nil, "rewind", group, fmt.Sprint(1)))
	w.shows(1)
	w.must(w.Stop())
}
