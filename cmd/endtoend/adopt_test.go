package endtoend

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"failback/bench/stand"
	"failback/replication"
)

// TestAdopted loses a master target with its catalogue, in the middle of a cycle and with the disks held at an earlier point. Another one adopts the group, with one disk at another place, and goes on. Then
// the lost one comes back, is refused, and forgets the group; what it left is not touched.
func TestAdopted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, stable(threeDisks())...)
	w.protect()
	w.cut()
	w.cut()
	w.must(w.Do(w.ctx, nil, "rewind", group, "2"))
	journal := filepath.Join(w.Retention, group)
	old, lost := w.State, filepath.Join(w.Dir, "mt2")
	w.must(w.KillMasterTarget())
	w.must(os.MkdirAll(lost, 0o700))
	w.State = lost
	w.must(w.StartMasterTarget())
	w.must(w.WaitConnected(w.ctx))

	moved := w.disks[2]
	at := filepath.Join(w.Targets, "elsewhere.img")
	w.must(os.Rename(moved.target, at))
	var a replication.Adoption
	for why, args := range map[string][]string{"another disk is there": {"--disk", moved.name() + "=" + w.disks[0].target}, "a disk is missing": {}} {
		if err := w.Do(w.ctx, nil, append([]string{"adopt", journal}, args...)...); err == nil {
			t.Fatalf("adopted although %s", why)
		}
	}
	w.must(w.Do(w.ctx, &a, "adopt", "--list", journal, "--disk", moved.name()+"="+at))
	if a.Group != group || a.Head != 2 || !a.Held || len(a.Points) != 3 || len(a.Disks) != 3 || a.Owner == "" || a.Adopted {
		t.Errorf("list: %+v", a)
	}
	before := a.Generation
	w.must(w.Do(w.ctx, &a, "adopt", journal, "--disk", moved.name()+"="+at))
	moved.target = at
	if !a.Adopted || a.Generation <= before {
		t.Errorf("adopted: %+v, the generation was %d", a, before)
	}
	w.shows(2)
	w.exports()
	w.must(w.Do(w.ctx, nil, "advance", group))
	w.shows(3)
	w.cut()
	w.shows(4)
	g, err := w.Status(w.ctx, group)
	w.must(err)
	if slices.ContainsFunc(g.Notices, func(s string) bool { return len(s) > 0 && s[0] == 'p' }) {
		t.Logf("notices: %q", g.Notices)
	}
	for _, d := range g.Disks {
		if d.Ledger.Raw > d.Size/2 {
			t.Errorf("disk %s: %d bytes were sent after the adoption, of %d: not by changes", d.Disk, d.Ledger.Raw, d.Size)
		}
	}
	w.kill(w.MasterTarget)
	w.exports()

	w.must(w.StopMasterTarget())
	w.State = old
	w.must(w.StartMasterTarget())
	g, err = w.Wait(w.ctx, group, "the old one is refused", func(g replication.GroupStatus) bool { return g.Problem != nil })
	w.must(err)
	if g.Problem.Code != "taken-over" {
		t.Errorf("the old master target has %+v", g.Problem)
	}
	w.must(w.Do(w.ctx, nil, "unprotect", group, "--yes"))
	w.must(w.StopMasterTarget())
	w.State = lost
	w.must(w.StartMasterTarget())
	w.open()
	w.exports()
}
