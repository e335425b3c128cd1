package retention

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// join adds a disk, of a size and with content of its own, as a master target does: the journal is closed for it.
func (w *world) join() error {
	onOp := w.m.onOp
	w.m.onOp = nil // nobody reads a journal that is closed
	for len(w.held) > 0 {
		if err := w.letGo(); err != nil {
			return err
		}
	}
	if err := errors.Join(w.closeLanes(), w.j.Close()); err != nil {
		return err
	}
	n := (1+w.r.Int64N(9))*replication.Page + []int64{0, 512}[w.r.IntN(2)]
	d := replication.Disk{No: replication.DiskNo(len(w.sizes)), ID: replication.DiskID(fmt.Sprintf("vm/%d", len(w.sizes)+len(w.away))), Size: n}
	i := &inode{cur: make([]byte, n), dirty: map[int]bool{}}
	for k := range i.cur {
		i.cur[k] = byte(k*3 + w.r.IntN(2))
	}
	i.dur = slices.Clone(i.cur)
	w.m.disks, w.sizes, w.born = append(w.m.disks, i), append(w.sizes, n), append(w.born, NoPoint)
	w.extra = 1
	s := w.settings()
	err := join(w.m.volume(), worldDir, "web", "", w.t, []replication.Disk{d}, &s)
	if err != nil {
		return err
	}
	j, err := open(w.m.volume(), worldDir, "web", w.t)
	if err != nil {
		return err
	}
	w.j = j
	w.j.betweenLooks, w.m.onOp = w.between, onOp
	w.joined()
	if got, ok := w.j.Settings(); w.extra != 0 || len(w.j.Births()) != len(w.sizes) || !ok || !sameJSON(got, s) {
		return fmt.Errorf("a disk joined: births %v, settings %+v", w.j.Births(), got)
	}
	return nil
}

func (w *world) settings() (s Settings) {
	s.Plan = fmt.Sprintf("plan of %d disks", len(w.sizes))
	for d := range w.sizes {
		s.Targets = append(s.Targets, fmt.Sprintf("/vmfs/%d.vmdk", d))
	}
	return s
}

// joined finds out whether a disk that was joining did.
func (w *world) joined() {
	switch n := len(w.sizes) - w.extra; {
	case w.extra == 0:
	case w.j.now.Load().present() == n:
		w.m.disks, w.sizes, w.born = w.m.disks[:n], w.sizes[:n], w.born[:n]
	default:
		w.joins++
	}
	w.extra = 0
}

// content is what a disk shows at a point; before its birth, what it is left as there.
func (w *world) content(p replication.PointID, d int) []byte { return w.truth[max(p, w.born[d])][d] }

// ver is the like of versions.
func (w *world) ver(p replication.PointID, d int) []replication.PointID {
	return w.vers[max(p, w.born[d])][d]
}

// refuses makes sure that nobody reads a disk before its birth.
func (w *world) refuses(p replication.PointID, d int) error {
	_, err := w.j.Reader(p, replication.DiskNo(d), w.m.targets()[d])
	var u *Unborn
	if w.j.usable() == nil && (!errors.As(err, &u) || u.Born != w.born[d] || u.Point != p) {
		return fmt.Errorf("disk %d joined at point %d, and is shown at point %d: %v", d, w.born[d], p, err)
	}
	return nil
}

// grown is aged, with a disk that has joined, and with the head before and after.
func (w *world) grown() error {
	if err := errors.Join(w.aged(), w.join(), w.point(), w.point()); err != nil {
		return err
	}
	return w.moveTo(w.listed[len(w.listed)-1].ID)
}

// TestDisksJoin: a disk is born with the next cycle, whole; the one that is open goes on without it; before that, nobody gets anything of it, and moves leave it as it was at its birth.
func TestDisksJoin(t *testing.T) {
	w := newWorld(2)
	w.frail = false
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.anew())
	if err := join(w.m.volume(), worldDir, "web", "", w.t, []replication.Disk{{No: 2, ID: "vm/2", Size: 4096}}, nil); !errors.Is(err, ErrLocked) {
		t.Fatalf("joined to a journal that is open: %v", err)
	}
	must(w.j.Close())
	s := Settings{Targets: []string{"a", "b", "c"}}
	if err := join(w.m.volume(), worldDir, "web", "", w.t, []replication.Disk{{No: 2, ID: "vm/2", Size: 4096}}, &s); !errors.Is(err, ErrNotAtPoint) {
		t.Fatalf("joined before the first point: %v", err)
	}
	must(w.start())
	w.m.onOp = nil
	must(errors.Join(w.point(), w.point(), w.begin(), w.ship()))
	open := w.cycle.Point
	must(w.join())
	if n := w.j.DisksAt(open); n != 2 {
		t.Errorf("point %d has %d disks, want 2", open, n)
	}
	must(w.point())
	if w.listed[len(w.listed)-1].ID != open || w.born[2] != NoPoint {
		t.Fatalf("the open cycle %d was not listed without the disk that joined: %v, born %v", open, w.listed, w.born)
	}
	must(w.point())
	born := w.listed[len(w.listed)-1].ID
	if w.born[2] != born || w.j.Births()[2] != born || w.j.DisksAt(born) != 3 || w.j.DisksAt(open) != 2 {
		t.Fatalf("born %v, the journal says %v, and %d disks at point %d", w.born, w.j.Births(), w.j.DisksAt(born), born)
	}
	must(errors.Join(w.point(), w.point()))
	for range 3 {
		for _, p := range w.listed {
			must(w.moveTo(p.ID))
			must(w.check("moved"))
		}
		must(w.moveTo(w.listed[0].ID))
		must(w.check("moved back"))
	}
	for _, bad := range []replication.Disk{{No: 2, ID: "vm/9", Size: 4096}, {No: 3, ID: "vm/0", Size: 4096}, {No: 3, ID: "vm/9"}} {
		must(w.j.Close())
		s.Targets = []string{"a", "b", "c", "d"}
		if err := join(w.m.volume(), worldDir, "web", "", w.t, []replication.Disk{bad}, &s); err == nil {
			t.Errorf("joined: %+v", bad)
		}
		must(w.start())
		w.m.onOp = nil
	}
	must(w.j.Check(context.Background()))
	w.j.t.logBytes = 1
	must(w.j.Shorten())
	must(w.again())
	if w.j.Births()[2] != born {
		t.Errorf("births %v in a log that was shortened", w.j.Births())
	}
	must(w.check("shortened"))
}

// goldenJoined goes on from goldenWorld: a disk has joined with point 4, the disks were moved to it and back to before; shortened, the log says so in two records.
func goldenJoined(t *testing.T, shortened bool) *world {
	t.Helper()
	w := goldenWorld(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.j.Close())
	n := int64(2*replication.Page + 512)
	i := &inode{cur: make([]byte, n), dirty: map[int]bool{}}
	i.dur = slices.Clone(i.cur)
	w.m.disks, w.sizes, w.born, w.extra = append(w.m.disks, i), append(w.sizes, n), append(w.born, NoPoint), 1
	s := w.settings()
	must(join(w.m.volume(), worldDir, "web", "", w.t, []replication.Disk{{No: 2, ID: "vm/2", Size: n}}, &s))
	var err error
	w.j, err = open(w.m.volume(), worldDir, "web", w.t)
	must(err)
	w.joined()
	last, _ := w.j.Last()
	must(w.j.Begin(replication.Cycle{Point: 4, Base: last.ID, BaseChain: last.Chain, Mode: replication.Changes, Route: replication.Journaled,
		Cut: replication.Cut{Time: time.Unix(1700001200, 0).UTC(), Snapshot: "cut 4", Stable: true, Tracked: true, Sizes: w.sizes}}))
	w.cycle, w.want = w.j.OpenCycle(), append(clone2(w.want), bytes.Repeat([]byte{7, 8, 9, 10}, int(n/4)))
	part, whole := w.pageOf(0, 5), replication.Extent{End: n}
	w.plan, w.equal = []*replication.Set{replication.NewSet(part), {}, replication.NewSet(whole)}, []*replication.Set{{}, {}, {}}
	_, err = w.m.targets()[2].WriteAt(w.want[2], 0)
	must(errors.Join(err, w.m.targets()[2].Sync()))
	must(w.j.RecordCoverage(map[replication.DiskNo][]replication.Extent{2: {whole}}))
	a, err := w.j.Lane(replication.Lane{Session: replication.Session{Group: "web", Generation: 1, ID: 6}, Point: 4, Lane: 1, Attempt: 1})
	must(err)
	raw := bytes.Repeat([]byte{1, 2, 3, 4}, replication.Page/4)
	copy(w.want[0][part.Off:], raw)
	must(a.Append(&block.Block{Kind: block.Data, Extents: []replication.Extent{part}, Raw: len(raw), CRC: block.Checksum(raw), Codec: block.None, Payload: raw}))
	must(a.Close())
	must(w.list())
	must(w.moveTo(4))
	must(w.moveTo(1))
	if shortened {
		w.j.t.logBytes = 1
		must(w.j.Shorten())
	}
	return w
}

// TestGoldenJoined reads back a journal that a disk has joined, from files that never change, and writes the same: with a log of version 1, and, where it was replaced, one of version 3.
func TestGoldenJoined(t *testing.T) {
	for format, shortened := range map[string]bool{"format1-joined": false, "format3": true} {
		t.Run(format, func(t *testing.T) {
			w := goldenJoined(t, shortened)
			w.sameAsGolden(t, format)
			if b := w.j.Births(); !slices.Equal(b, []replication.PointID{0, 0, 4}) || w.j.DisksAt(3) != 2 || w.j.Head() != 1 {
				t.Errorf("births %v, head %d", b, w.j.Head())
			}
			i, err := inspect(w.m.volume(), worldDir, w.t, false)
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			if s, ok := i.Settings(); !ok || len(i.Targets()) != 3 || s.Plan != "plan of 3 disks" || i.Births()[2] != 4 {
				t.Errorf("an inspection has settings %+v, births %v", s, i.Births())
			}
			if _, err := i.Reader(3, 2, w.m.targets()[2]); !errors.Is(err, ErrUnborn) {
				t.Errorf("a disk that joined with point 4 is shown at point 3: %v", err)
			}
		})
	}
}
