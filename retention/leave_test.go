package retention

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"failback/replication"
)

// awayDisk is a disk that left a world's group.
type awayDisk struct {
	born, last, head replication.PointID
	target           *inode
	truth            map[replication.PointID][]byte // of the points that have it
}

// leave has a disk leave, as a master target does: the journal is closed for it, after a session that ended well.
func (w *world) leave(d int) error {
	onOp := w.m.onOp
	w.m.onOp = nil // nobody reads a journal that is closed
	for len(w.held) > 0 {
		if err := w.letGo(); err != nil {
			return err
		}
	}
	if err := errors.Join(w.closeLanes(), w.j.RecordFingerprints(slices.Repeat([]string{"as it was"}, len(w.sizes))), w.j.Close()); err != nil {
		return err
	}
	w.leaving = d + 1
	s := w.settings()
	s.Plan, s.Targets = "plan without it", slices.Delete(s.Targets, d, d+1)
	if err := leave(w.m.volume(), worldDir, "web", "", w.t, []replication.DiskNo{replication.DiskNo(d)}, s, time.Unix(1700009000, 0).UTC()); err != nil {
		return err
	}
	j, err := open(w.m.volume(), worldDir, "web", w.t)
	if err != nil {
		return err
	}
	w.j, w.cycle = j, nil
	w.j.betweenLooks, w.m.onOp = w.between, onOp
	w.hasLeft()
	if got, ok := w.j.Settings(); w.leaving != 0 || len(w.j.Births()) != len(w.sizes) || !ok || !sameJSON(got, s) {
		return fmt.Errorf("a disk left: births %v, settings %+v", w.j.Births(), got)
	}
	return nil
}

// hasLeft finds out whether a disk that was leaving did. The others are numbered anew.
func (w *world) hasLeft() {
	d := w.leaving - 1
	w.leaving = 0
	if d < 0 || len(w.j.Departed()) == len(w.away) {
		return
	}
	w.leaves++
	a := awayDisk{born: w.born[d], last: w.listed[len(w.listed)-1].ID, head: w.j.Head(), target: w.m.disks[d], truth: map[replication.PointID][]byte{}}
	for id, disks := range w.truth {
		if d < len(disks) {
			if id >= a.born {
				a.truth[id] = disks[d]
				if n, ok := w.sizesAt[id][d]; ok {
					a.truth[id] = disks[d][:n]
				}
			}
			w.truth[id] = less(disks, d)
		}
	}
	for id, disks := range w.vers {
		if d < len(disks) {
			w.vers[id] = less(disks, d)
		}
	}
	for id, sizes := range w.sizesAt {
		next := map[int]int64{}
		for k, n := range maps.All(sizes) {
			if k < d {
				next[k] = n
			} else if k > d {
				next[k-1] = n
			}
		}
		w.sizesAt[id] = next
	}
	w.m.disks, w.sizes, w.born = less(w.m.disks, d), less(w.sizes, d), less(w.born, d)
	if d < len(w.original) {
		w.original = less(w.original, d)
	}
	w.away = append(w.away, a)
}

// less returns a copy without one: never nil.
func less[T any](all []T, d int) []T { return append(append([]T{}, all[:d]...), all[d+1:]...) }

// contentOf is content, of a disk that has left too.
func (w *world) contentOf(p replication.PointID, d int) []byte {
	if d < len(w.sizes) {
		return w.content(p, d)
	}
	return w.away[d-len(w.sizes)].truth[p]
}

// showsAway makes sure that points show the disks that left as they did, and later ones don't.
func (w *world) showsAway(points []replication.Point) error {
	if w.j.usable() != nil {
		return nil
	}
	for k, told := range w.j.Departed() {
		a := &w.away[k]
		if no := len(w.sizes) + k; int(told.Disk.No) != no || told.Born != a.born || told.Last != a.last || told.Head != a.head || told.Fingerprint != "as it was" {
			return fmt.Errorf("a disk left, and is told as %+v, want %+v", told, a)
		}
		for _, p := range points {
			r, err := w.j.Reader(p.ID, told.Disk.No, &simDisk{w.m, w.m.boot, a.target, 100 + k})
			var l *Left
			switch {
			case w.j.usable() != nil:
				return nil
			case p.ID < a.born:
				if !errors.Is(err, ErrUnborn) {
					return fmt.Errorf("disk %s that left, and joined at point %d, is shown at point %d: %v", told.Disk.ID, a.born, p.ID, err)
				}
				continue
			case p.ID > a.last:
				if !errors.As(err, &l) || l.Last != a.last || l.Point != p.ID {
					return fmt.Errorf("disk %s that left after point %d is shown at point %d: %v", told.Disk.ID, a.last, p.ID, err)
				}
				continue
			case err != nil:
				return err
			}
			want := a.truth[p.ID]
			b := make([]byte, len(want))
			if _, err := r.ReadAt(b, 0); errors.Is(err, ErrCorrupt) && w.flips > 0 {
				continue
			} else if err != nil {
				return fmt.Errorf("disk %s that left, at point %d: %w", told.Disk.ID, p.ID, err)
			}
			if r.Size() != int64(len(want)) || !bytes.Equal(b, want) {
				return fmt.Errorf("disk %s that left shows something else at point %d than it did", told.Disk.ID, p.ID)
			}
		}
	}
	return nil
}

// TestDisksLeave: of a disk that left, points before show what they showed, later ones nothing; moves leave its target alone; the others are numbered anew, and go on; one of the same name that joins later is another one.
func TestDisksLeave(t *testing.T) {
	w, must := newWorld(2), musts(t)
	w.frail = false
	leaveNow := func(s Settings, disks ...replication.DiskNo) error {
		return leave(w.m.volume(), worldDir, "web", "", w.t, disks, s, time.Now())
	}
	must(w.anew())
	if err := leaveNow(Settings{Targets: []string{"b"}}, 0); !errors.Is(err, ErrLocked) {
		t.Fatalf("left a journal that is open: %v", err)
	}
	must(w.j.Close())
	if err := leaveNow(Settings{Targets: []string{"b"}}, 0); !errors.Is(err, ErrNotAtPoint) {
		t.Fatalf("left before the first point: %v", err)
	}
	must(w.start())
	w.m.onOp = nil
	must(errors.Join(w.point(), w.point(), w.join(), w.point(), w.point(), w.moveTo(2), w.begin(), w.ship()))
	must(errors.Join(w.closeLanes(), w.j.RecordFingerprints(nil), w.j.Close()))
	two := Settings{Targets: []string{"a", "b"}}
	if err := leaveNow(two, 0); !errors.Is(err, ErrInUse) {
		t.Errorf("left after a session that did not end well: %v", err)
	}
	must(w.start())
	w.m.onOp = nil
	if w.j.OpenCycle() == nil {
		t.Error("a disk that could not leave cost the open cycle")
	}
	must(errors.Join(w.j.RecordFingerprints([]string{"x", "y", "z"}), w.j.Close()))
	for name, x := range map[string]struct {
		s     Settings
		disks []replication.DiskNo
	}{"all": {Settings{}, []replication.DiskNo{0, 1, 2}}, "none": {Settings{Targets: []string{"a", "b", "c"}}, nil}, "twice": {Settings{Targets: []string{"a"}}, []replication.DiskNo{1, 1}},
		"unknown": {two, []replication.DiskNo{3}}, "other targets": {Settings{Targets: []string{"a"}}, []replication.DiskNo{0}}} {
		if err := leaveNow(x.s, x.disks...); err == nil {
			t.Errorf("left: %s", name)
		}
	}
	must(w.start())
	w.m.onOp = nil
	must(w.leave(0))
	if w.j.OpenCycle() != nil || !w.j.Owes() {
		t.Error("the open cycle, which had the disk, was not dropped")
	}
	head := slices.Clone(w.away[0].target.cur)
	must(errors.Join(w.point(), w.point()))
	for _, p := range w.listed {
		must(errors.Join(w.moveTo(p.ID), w.check("moved")))
	}
	must(errors.Join(w.moveTo(w.listed[0].ID), w.check("moved back")))
	if !bytes.Equal(head, w.away[0].target.cur) {
		t.Error("a move wrote to the target of a disk that had left")
	}
	must(errors.Join(w.join(), w.point(), w.point(), w.leave(0), w.point()))
	w.j.t.logBytes = 1
	must(errors.Join(w.j.Shorten(), w.again(), w.check("shortened"), w.j.Check(t.Context())))
	if v := le.Uint32(w.files()["log"][8:]); v != logVersion || len(w.j.Departed()) != 2 {
		t.Errorf("a log that tells of disks that left, and is replaced, is of version %d, and has %v", v, w.j.Departed())
	}
	if n := w.j.DisksAt(w.listed[len(w.listed)-1].ID); n != 2 || w.j.Slot(0) != 2 || w.j.Number(2) != 0 || w.j.Number(0) != 2 {
		t.Errorf("the last point has %d disks, the first of which is %d in files", n, w.j.Slot(0))
	}

	// Once no point has them, nothing is kept of them.
	must(w.moveTo(w.listed[len(w.listed)-1].ID))
	for _, p := range slices.Clone(w.listed[:len(w.listed)-1]) {
		must(errors.Join(w.pin(p.ID, false, time.Time{}), w.dropped(p.ID)))
	}
	use, err := w.j.Use(t.Context(), nil)
	must(err)
	for _, f := range use.Files {
		_, err := w.j.Rewrite(t.Context(), []string{f.Name}, RewriteOptions{})
		must(err)
	}
	c := w.j.shelf.pin()
	defer w.j.shelf.unpin(c)
	for _, l := range c.left {
		must(sweep(c.files, l.Disk, func(e replication.Extent, _ []span) error {
			return fmt.Errorf("disk %d left, no point has it, and %v is kept of it", l.Disk, e)
		}))
	}
}

// goldenLeft goes on from goldenJoined: the second disk has left after point 4, with the head at point 1, and another of its name has joined; shortened, the log says so in two records.
func goldenLeft(t *testing.T, shortened bool) *world {
	t.Helper()
	w, must := goldenJoined(t, false), musts(t)
	must(w.leave(1))
	last, _ := w.j.Last()
	must(w.j.Begin(replication.Cycle{Point: 5, Base: last.ID, BaseChain: last.Chain, Mode: replication.Changes, Route: replication.Journaled,
		Cut: replication.Cut{Time: time.Unix(1700001500, 0).UTC(), Snapshot: "cut 5", Stable: true, Tracked: true, Sizes: w.sizes}}))
	w.cycle, w.want = w.j.OpenCycle(), clone2(w.truth[4])
	w.plan, w.equal = []*replication.Set{{}, {}}, []*replication.Set{{}, {}}
	must(w.list())
	must(w.moveTo(5))
	must(w.moveTo(1))
	if shortened {
		w.j.t.logBytes = 1
		must(w.j.Shorten())
	}
	return w
}

// TestGoldenLeft reads back a journal that a disk has left, from files that never change, and writes the same: with a log of version 1, and, where it was replaced, one of version 6.
func TestGoldenLeft(t *testing.T) {
	for format, shortened := range map[string]bool{"format1-left": false, "format6": true} {
		t.Run(format, func(t *testing.T) {
			w := goldenLeft(t, shortened)
			w.sameAsGolden(t, format)
			d := w.j.Departed()
			if len(d) != 1 || d[0].Disk.ID != "vm/1" || d[0].Last != 4 || d[0].Head != 1 || d[0].Disk.No != 2 || d[0].At(5) || !d[0].At(4) {
				t.Errorf("departed: %+v", d)
			}
			i, err := inspect(w.m.volume(), worldDir, w.t, false)
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			target := &simDisk{w.m, w.m.boot, w.away[0].target, 100}
			r, err := i.Reader(4, 2, target)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, r.Size())
			if _, err := r.ReadAt(b, 0); err != nil || !bytes.Equal(b, w.away[0].truth[4]) {
				t.Errorf("a disk that left shows something else at point 4 (%v)", err)
			}
			if _, err := i.Reader(5, 2, target); !errors.Is(err, ErrLeft) {
				t.Errorf("a disk that left after point 4 is shown at point 5: %v", err)
			}
		})
	}
}
