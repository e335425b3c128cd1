package endtoend

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"failback/bench/stand"
	"failback/replication"
)

// TestDiskJoins adds a disk to a group that is protected, in the middle of its plan, while its sources change; the cycle that brings it in is cut off by a kill of either daemon. Every point then shows what the sources
// were, the new disk from its first point on, and before that nothing of it is told.
func TestDiskJoins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, stable(threeDisks())...)
	w.protect()
	w.cut()
	first := slices.Clone(w.disks)
	target := first[0].target
	w.disks = slices.Clone(first)
	first[0].target += ".elsewhere.vmdk"
	w.cantApply(first[0].name(), "the target holds")
	first[0].target = target
	var a replication.Applied
	w.must(w.Do(w.ctx, &a, "apply", w.plan(), "--yes"))
	if a.Applied || len(a.Changes) != 0 {
		t.Errorf("the plan in force was applied again: %+v", a)
	}

	joins := &disk{machine: "erp-db", id: "logs", format: "vmfs", size: 13*mib + 512, commands: true}
	w.add(joins)
	w.disks = []*disk{first[0], joins, first[1], first[2]}
	w.must(w.Do(w.ctx, &a, "apply", w.plan(), "--dry-run"))
	if a.Applied || len(a.Changes) != 1 || a.Changes[0].Subject != joins.name() || a.Changes[0].Key != "disk" {
		t.Errorf("dry run: %+v", a)
	}
	if _, said, code := w.CLI(w.ctx, "apply", w.plan()); code != 2 {
		t.Errorf("applied without asking: exit code %d: %s", code, said)
	}
	w.must(w.Do(w.ctx, &a, "apply", w.plan(), "--yes"))
	if !a.Applied {
		t.Errorf("applied: %+v", a)
	}
	if g := w.disk(joins); !g.Unborn {
		t.Errorf("the disk that joins: %+v", g)
	}
	w.kill(w.MasterTarget) // before it is born
	w.change()
	point, err := w.Cut(w.ctx, group)
	w.must(err)
	joins.born = point
	w.kill(w.either()) // in the midst of it, or just before or after
	w.listed(point)
	w.shows(point)
	if g := w.disk(joins); g.Unborn || g.Joined != point || g.Size != joins.size {
		t.Errorf("the disk that joined: %+v", g)
	}
	s, err := w.Status(w.ctx, group)
	w.must(err)
	if slices.ContainsFunc(s.Notices, func(n string) bool { return strings.Contains(n, "comparing whole disks") }) {
		t.Errorf("all disks were compared for one that joins: %q", s.Notices)
	}

	w.cut()
	var moved struct {
		Head   replication.PointID
		Unborn []replication.UnbornDisk
	}
	w.must(w.Do(w.ctx, &moved, "rewind", group, "1", "--dry-run"))
	if len(moved.Unborn) != 1 || moved.Unborn[0].Disk != replication.DiskID(joins.name()) || moved.Unborn[0].Joined != point {
		t.Errorf("a move to before the birth tells %+v", moved)
	}
	w.must(w.Do(w.ctx, &moved, "rewind", group, "1"))
	if moved.Head != 1 || len(moved.Unborn) != 1 {
		t.Errorf("moved: %+v", moved)
	}
	w.shows(1)
	w.cut() // collects ahead
	w.must(w.Do(w.ctx, nil, "advance", group))
	w.shows(w.last)
	w.kill(w.MasterTarget)
	w.must(w.Do(w.ctx, nil, "verify", group))
	w.exports()
	var again struct {
		CarriedOn bool `json:"carried_on"`
	}
	if w.must(w.Do(w.ctx, &again, "reprotect", w.plan())); !again.CarriedOn {
		t.Error("reprotect with the plan that was applied does not carry on")
	}

	// Without the catalogue too.
	w.must(w.StopMasterTarget())
	journal := w.Retention + "/" + group
	var j struct {
		Disks []struct {
			ID     string
			Joined replication.PointID
		}
	}
	w.must(w.Do(w.ctx, &j, "journal", "list", journal))
	if len(j.Disks) != 4 || j.Disks[3].ID != joins.name() || j.Disks[3].Joined != point {
		t.Errorf("journal list: %+v", j)
	}
	w.must(w.Do(w.ctx, nil, "journal", "check", journal))
	w.refused(1, []string{joins.name(), fmt.Sprintf("joined at point %d", point)}, "journal", "extract", journal, "1", joins.name(), w.Dir+"/never.raw")
	w.must(w.Do(w.ctx, nil, "journal", "extract", journal, fmt.Sprint(point), joins.name(), w.Dir+"/extracted.raw"))
	w.same("extracted", w.read(w.Dir+"/extracted.raw"), joins.kept[point])
}

// cantApply makes sure that the plan is refused, by name, with what to do instead.
func (w *world) cantApply(subject, why string) {
	w.t.Helper()
	var a replication.Applied
	out, said, code := w.CLI(w.ctx, "apply", w.plan(), "--yes", "--json")
	if err := json.Unmarshal(out, &a); err != nil || code != 1 || a.Applied || len(a.Changes) != 1 {
		w.t.Fatalf("apply: exit code %d, %v: %s%s", code, err, out, said)
	}
	if c := a.Changes[0]; !c.Refused || c.Subject != subject || !strings.Contains(c.Effect, why) || c.Remedy == "" {
		w.t.Errorf("apply tells %+v, want %s refused: %s", c, subject, why)
	}
}

// disk returns what status says of a disk.
func (w *world) disk(d *disk) replication.DiskStatus {
	w.t.Helper()
	g, err := w.Status(w.ctx, group)
	w.must(err)
	for _, s := range g.Disks {
		if string(s.Disk) == d.name() {
			return s
		}
	}
	w.t.Fatalf("status has no disk %s: %+v", d.name(), g.Disks)
	return replication.DiskStatus{}
}
