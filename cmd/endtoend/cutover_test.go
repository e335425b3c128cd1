package endtoend

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"failback/bench/stand"
	"failback/replication"
)

// TestFailback commits with all that belongs to it while the master target is killed again and again, has another program write to a target, which an undo then refuses, reverts that as a platform's snapshot does, undoes, commits
// again, and finishes.
func TestFailback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, stable(threeDisks())...)
	w.protect()
	w.cut()
	w.cut()
	w.must(w.Do(w.ctx, nil, "rewind", group, "1"))

	w.change()
	late, after := w.disks[0], filepath.Join(w.Dir, "started")
	stop := fmt.Sprintf("printf 'the last order' | dd of=%s bs=4096 seek=7 conv=notrunc status=none", late.source)
	commit := []string{"commit", group, "--stop-command", stop, "--after-command", "echo $1 $2 >> " + after, "--verify"}
	for range 3 { // the commit goes on by itself; who asks for the same takes part
		var asked sync.WaitGroup
		asked.Go(func() { w.CLI(w.ctx, commit...) })
		_, err := w.Wait(w.ctx, group, "the commit is under way", func(g replication.GroupStatus) bool { return g.Cutover != nil })
		w.must(err)
		time.Sleep(time.Duration(w.rng.Int64N(int64(150 * time.Millisecond)))) // a moment is drawn, not waited for
		w.kill(w.MasterTarget)
		asked.Wait()
	}
	g, err := w.Wait(w.ctx, group, "the group is committed", func(g replication.GroupStatus) bool {
		return g.State == replication.StateCommitted && g.Cutover != nil && g.Cutover.Ended == "done"
	})
	w.must(err)
	at := g.Head // a kill while the last point was made has it made again
	w.keep(at)
	for _, d := range w.disks {
		w.same("committed "+d.name(), w.target(d), d.kept[at])
	}
	if b, err := os.ReadFile(after); err != nil || !strings.HasPrefix(string(b), fmt.Sprintf("%s %d\n", group, at)) {
		t.Errorf("the after-command was told %q, error %v", b, err)
	}
	for _, args := range [][]string{{"cut", group}, {"rewind", group, "1"}, {"advance", group}, {"unprotect", group, "--yes"}, {"export", group, "1", late.name(), filepath.Join(w.Dir, "x.raw")}, {"reprotect", w.plan()}, commit} {
		if p := w.refused(1, []string{"committed"}, args...); p.Code != replication.CodeCommitted {
			t.Errorf("failback %s: %+v", args[0], p)
		}
	}
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", w.MasterTarget.Pid()))
	w.must(err)
	for _, fd := range open {
		if name, _ := os.Readlink(fd); strings.HasPrefix(name, w.Targets) {
			t.Errorf("the master target of a committed group has %s open", name)
		}
	}

	// A machine writes, as qemu does: into the data, with a content id of its own.
	platform := filepath.Join(w.Dir, "platform")
	w.run("cp", "-a", w.Targets, platform)
	w.run("qemu-io", "-f", "vmdk", "-c", "write -P 0x5a 1M 64k", late.target)
	w.refused(1, []string{late.name(), "changed"}, "undo", group)
	w.must(os.RemoveAll(w.Targets))
	w.run("cp", "-a", platform, w.Targets)
	var undone struct {
		Head replication.PointID
		Held bool
	}
	w.must(w.Do(w.ctx, &undone, "undo", group))
	if undone.Head != 1 || !undone.Held {
		t.Errorf("undone: %+v; the disks were held at 1", undone)
	}
	w.shows(1)
	w.last = at
	w.must(w.Do(w.ctx, nil, "advance", group))
	w.shows(at)
	w.cut()
	w.exportsOf(at, w.last)
	w.must(w.Do(w.ctx, nil, "commit", group, "--point", fmt.Sprint(at)))
	w.refused(2, []string{"--yes"}, "finish", group)
	w.must(w.Do(w.ctx, nil, "finish", group, "--yes"))
	for _, d := range w.disks {
		w.same("finished "+d.name(), w.target(d), d.kept[at])
	}
	if _, err := os.Stat(filepath.Join(w.Retention, group)); !os.IsNotExist(err) {
		t.Errorf("the journal is there still: %v", err)
	}
	var asked struct{ Jobs []replication.Job }
	w.must(w.Do(w.ctx, &asked, "jobs", group, "--all"))
	done := map[replication.JobKind]int{}
	for _, j := range asked.Jobs {
		if j.State == replication.JobRunning {
			t.Errorf("job %+v runs still", j)
		}
		if j.State == replication.JobDone {
			done[j.Kind]++
		}
	}
	for _, k := range []replication.JobKind{replication.JobReprotect, replication.JobRewind, replication.JobCommit, replication.JobUndo, replication.JobAdvance, replication.JobFinish} {
		if done[k] == 0 {
			t.Errorf("no %s among the jobs that are done: %+v", k, asked.Jobs)
		}
	}
}

func (w *world) run(name string, args ...string) {
	w.t.Helper()
	if out, err := exec.CommandContext(w.ctx, name, args...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// exportsOf checks the content of every disk at some points, through export.
func (w *world) exportsOf(points ...replication.PointID) {
	w.t.Helper()
	for _, p := range points {
		for _, d := range w.disks {
			w.export(d, p)
		}
	}
}
