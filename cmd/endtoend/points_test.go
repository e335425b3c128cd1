package endtoend

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"failback/bench/stand"
	"failback/replication"
)

func TestPointsAreTheSourcesAsTheyWere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, threeDisks()...)
	w.protect()
	w.shows(1)
	for range 3 {
		w.cut()
		w.shows(w.last)
	}
	for _, m := range []struct {
		verb string
		to   replication.PointID
	}{{"rewind", 2}, {"rewind", 1}, {"advance", 3}, {"rewind", 2}, {"advance", 4}} {
		var moved struct{ Head replication.PointID }
		w.must(w.Do(w.ctx, &moved, m.verb, group, fmt.Sprint(m.to)))
		if moved.Head != m.to {
			t.Errorf("%s to %d: head %d", m.verb, m.to, moved.Head)
		}
		w.shows(m.to)
	}
	w.must(w.Do(w.ctx, nil, "rewind", group, "2"))
	w.cut() // collects ahead of the head
	w.shows(2)
	w.exports()
	var v struct {
		Point replication.PointID
		Equal bool
	}
	w.must(w.Do(w.ctx, &v, "verify", group))
	if !v.Equal || v.Point != w.last {
		t.Errorf("verify: %+v, want equal at %d", v, w.last)
	}
	p, err := w.Points(w.ctx, group)
	w.must(err)
	if last := p.Points[len(p.Points)-1]; last.Verified == nil || !last.Verified.Equal {
		t.Errorf("the verified point says %+v", last.Verified)
	}
	w.must(w.Do(w.ctx, nil, "advance", group))
	w.shows(w.last)
	w.cut()
	w.shows(w.last) // it follows again
}

func TestVerifyTellsWhatDiffers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, threeDisks()[2]) // a live source
	w.protect()
	w.shows(1)
	d := w.disks[0]
	f, err := os.OpenFile(d.target, os.O_RDWR, 0)
	w.must(err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, 5*mib)
	w.must(err)
	b[0] ^= 1 // rot
	_, err = f.WriteAt(b, 5*mib)
	w.must(err)
	w.must(f.Close())
	out, said, code := w.CLI(w.ctx, "verify", group)
	if code != 1 {
		t.Fatalf("verify of a disk with a changed byte: exit code %d, want 1: %s%s", code, out, said)
	}
	p, err := w.Points(w.ctx, group)
	w.must(err)
	if v := p.Points[0].Verified; v == nil || v.Equal || v.Differs != page {
		t.Errorf("the point says %+v, want one page that differs", v)
	}
}

func TestReprotectCarriesOnAndAdopts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, threeDisks()...)
	w.protect()
	w.cut()
	w.shows(2)
	var again struct {
		CarriedOn bool `json:"carried_on"`
		Point     replication.PointID
	}
	w.must(w.Do(w.ctx, &again, "reprotect", w.plan(), "--wait"))
	if !again.CarriedOn || again.Point != 2 {
		t.Errorf("reprotect again: %+v, want carried on at point 2", again)
	}
	w.must(w.Do(w.ctx, nil, "rewind", group, "1"))
	var bye struct {
		Head    replication.PointID
		Journal string
	}
	w.must(w.Do(w.ctx, &bye, "unprotect", group, "--keep-journal"))
	if want := filepath.Join(w.Retention, group); bye.Head != 1 || bye.Journal != want {
		t.Errorf("unprotect --keep-journal: %+v, want head 1 and %s", bye, want)
	}
	for _, d := range w.disks { // as the head shows it, with nobody holding them
		w.same("target of "+d.name()+" after unprotect", w.target(d), d.kept[1])
	}
	w.refused(1, []string{group}, "points", group)

	w.must(w.Do(w.ctx, nil, "reprotect", w.plan(), "--wait"))
	w.cut()
	w.shows(3)
	w.exports() // old points too
	w.must(w.Do(w.ctx, nil, "unprotect", group, "--yes"))
	if _, err := os.Stat(filepath.Join(w.Retention, group)); !os.IsNotExist(err) {
		t.Errorf("the journal after unprotect: %v, want it gone", err)
	}
	for _, d := range w.disks {
		w.same("target of "+d.name()+" after unprotect", w.target(d), d.kept[3])
	}
	if left, _ := filepath.Glob(filepath.Join(w.Sources, "*.raw.*")); len(left) > 0 {
		t.Errorf("snapshots were not let go of: %v", left)
	}
}
