package endtoend

import (
	"fmt"
	"slices"
	"testing"

	"failback/bench/stand"
	"failback/replication"
)

// TestDiskLeaves takes a disk out of a group that is protected, from the middle of its plan; the master target is killed while it leaves. Points before show it still, by the journal and its target as that was left, later ones don't, and
// no move touches its target; the others go on, by their changes.
func TestDiskLeaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, stable(threeDisks())...)
	w.protect()
	w.cut()
	gone, last := w.disks[1], w.last
	w.disks = []*disk{w.disks[0], w.disks[2]}
	var a replication.Applied
	w.must(w.Do(w.ctx, &a, "apply", w.plan(), "--dry-run"))
	if a.Applied || a.Failed() || len(a.Changes) != 1 || a.Changes[0].Subject != gone.name() || a.Changes[0].Now != "" {
		t.Errorf("dry run: %+v", a)
	}
	if _, said, code := w.CLI(w.ctx, "apply", w.plan()); code != 2 {
		t.Errorf("applied without asking: exit code %d: %s", code, said)
	}
	done := make(chan error, 1)
	go func() { done <- w.Do(w.ctx, nil, "apply", w.plan(), "--yes") }()
	w.kill(w.MasterTarget)
	t.Logf("while the master target was killed: %v", <-done)
	w.must(w.Do(w.ctx, &a, "apply", w.plan(), "--yes")) // nothing, where it had left
	s, err := w.Status(w.ctx, group)
	w.must(err)
	if len(s.Disks) != 2 || len(s.Departed) != 1 || string(s.Departed[0].Disk) != gone.name() || s.Departed[0].Last != last || s.Departed[0].Head != last {
		t.Errorf("status: %+v", s)
	}
	left := w.target(gone)
	w.same("the target of the disk that left", left, gone.kept[last])

	w.cut()
	w.shows(w.last)
	if s, err = w.Status(w.ctx, group); err != nil || slices.ContainsFunc(s.Notices, func(n string) bool { return n != "" && len(n) > 9 && n[:9] == "comparing" }) {
		t.Errorf("the others were compared: %v %q", err, s.Notices)
	}
	w.kill(w.either())
	w.cut()
	w.exports()
	for p := range last {
		w.export(gone, p+1)
	}
	w.refused(1, []string{gone.name(), fmt.Sprintf("left the group after point %d", last)}, "export", group, fmt.Sprint(w.last), gone.name(), w.Dir+"/never.raw")
	var moved struct {
		Head   replication.PointID
		Unborn []replication.UnbornDisk
	}
	w.must(w.Do(w.ctx, &moved, "rewind", group, "1"))
	if moved.Head != 1 || len(moved.Unborn) != 1 || string(moved.Unborn[0].Disk) != gone.name() || moved.Unborn[0].Left != last {
		t.Errorf("moved: %+v", moved)
	}
	w.shows(1)
	w.same("the target of the disk that left, after a rewind", w.target(gone), left)
	w.must(w.Do(w.ctx, nil, "advance", group))
	w.shows(w.last)
	w.must(w.Do(w.ctx, nil, "verify", group))

	// Without the catalogue too.
	w.must(w.StopMasterTarget())
	journal := w.Retention + "/" + group
	var j struct {
		Disks []struct {
			ID   string
			Left bool
			Last replication.PointID
		}
	}
	w.must(w.Do(w.ctx, &j, "journal", "list", journal))
	if len(j.Disks) != 3 || j.Disks[2].ID != gone.name() || !j.Disks[2].Left || j.Disks[2].Last != last {
		t.Errorf("journal list: %+v", j)
	}
	w.must(w.Do(w.ctx, nil, "journal", "check", journal))
	w.must(w.Do(w.ctx, nil, "journal", "extract", journal, "1", gone.name(), w.Dir+"/extracted.raw"))
	w.same("extracted", w.read(w.Dir+"/extracted.raw"), gone.kept[1])
	w.refused(1, []string{gone.name(), fmt.Sprintf("left the group after point %d", last)}, "journal", "extract", journal, fmt.Sprint(w.last), gone.name(), w.Dir+"/never.raw")
}
