package retention

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"failback/replication"
)

// tail is what a disk grows by.
type tail struct {
	disk int
	b    []byte
}

// enlarge has a disk grow, as a master target does: the journal is closed for it, and the disk follows.
func (w *world) enlarge(d int) error {
	if w.sizes[d]%replication.Page != 0 {
		return nil
	}
	if w.cycle != nil {
		if err := errors.Join(w.closeLanes(), w.j.Drop("a disk grows")); err != nil {
			return err
		}
		w.cycle = nil
	}
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
	w.tail = &tail{d, make([]byte, (1+w.r.Int64N(5))*replication.Page+[]int64{0, 512}[w.r.IntN(2)])}
	if w.r.IntN(2) == 0 { // as what lay behind an extent in its file
		for k := range w.tail.b {
			w.tail.b[k] = byte(k * 5)
		}
	}
	size := w.sizes[d] + int64(len(w.tail.b))
	if err := grow(w.m.volume(), worldDir, "web", "", w.t, replication.DiskNo(d), size); err != nil {
		return err
	}
	j, err := open(w.m.volume(), worldDir, "web", w.t)
	if err != nil {
		return err
	}
	w.j = j
	w.j.betweenLooks, w.m.onOp = w.between, onOp
	w.enlarged()
	if w.sizes[d] != size {
		return fmt.Errorf("disk %d has %d bytes, and was to grow to %d", d, w.sizes[d], size)
	}
	return nil
}

// enlargeOne has the first disk grow that can.
func (w *world) enlargeOne() error {
	return w.enlarge(slices.IndexFunc(w.sizes, func(n int64) bool { return n%replication.Page == 0 }))
}

// enlarged finds out whether a disk that was growing did, and has the disk follow. From then on all points are expected to have, behind what they show of it, what it grew by.
func (w *world) enlarged() {
	x := w.tail
	w.tail = nil
	if x == nil || w.j.Identity().Disks[x.disk].Size == w.sizes[x.disk] {
		return
	}
	w.enlargements++
	last := w.listed[len(w.listed)-1].ID
	for id, disks := range w.truth {
		if x.disk < len(disks) {
			if w.sizesAt[id] == nil {
				w.sizesAt[id] = map[int]int64{}
			}
			if _, ok := w.sizesAt[id][x.disk]; !ok && id <= last {
				w.sizesAt[id][x.disk] = w.sizes[x.disk]
			}
			disks[x.disk] = slices.Concat(disks[x.disk], x.b)
		}
	}
	w.sizes[x.disk] += int64(len(x.b))
	pages := int((w.sizes[x.disk] + replication.Page - 1) / replication.Page)
	for _, disks := range w.vers {
		if x.disk < len(disks) {
			v := slices.Clone(disks[x.disk])
			first := replication.PointID(0)
			if !w.keeps {
				first = w.j.now.Load().origin
			}
			disks[x.disk] = append(v, slices.Repeat([]replication.PointID{max(first, w.born[x.disk])}, pages-len(v))...)
		}
	}
	i := w.m.disks[x.disk]
	i.cur, i.dur = slices.Concat(i.cur, x.b), slices.Concat(i.dur, x.b)
}

// showsSizes makes sure that each point shows its disks as large as they were.
func (w *world) showsSizes() error {
	for _, p := range w.listed {
		for d := range w.sizes {
			if p.ID < w.born[d] {
				continue
			}
			want, ok := w.sizesAt[p.ID][d]
			if !ok {
				want = w.sizes[d]
			}
			r, err := w.j.Reader(p.ID, replication.DiskNo(d), w.m.targets()[d])
			if w.j.usable() != nil {
				return nil
			}
			if err != nil || r.Size() != want || w.j.SizeAt(replication.DiskNo(d), p.ID) != want {
				return fmt.Errorf("point %d shows %d bytes of disk %d, want %d (%v)", p.ID, w.j.SizeAt(replication.DiskNo(d), p.ID), d, want, err)
			}
			if n, err := r.ReadAt(make([]byte, 1), want); n != 0 || err != io.EOF {
				return fmt.Errorf("point %d shows something of disk %d behind its %d bytes: %d, %v", p.ID, d, want, n, err)
			}
			r.Close()
		}
	}
	return nil
}

// TestDisksGrow: points before have the size of then; moves go there and back; what it grew by is what it was; a journal that was shortened says the same.
func TestDisksGrow(t *testing.T) {
	w := newWorld(3) // its first disk is of whole pages
	w.frail = false
	must := musts(t)
	must(w.anew())
	w.m.onOp = nil
	must(errors.Join(w.point(), w.point()))
	d := slices.IndexFunc(w.sizes, func(n int64) bool { return n%replication.Page == 0 })
	if d < 0 {
		t.Fatalf("no disk of %v is of whole pages", w.sizes)
	}
	was := w.sizes[d]
	must(w.begin())
	must(w.ship()) // a cycle that is open is given up
	must(w.enlarge(d))
	must(w.check("grown"))
	must(w.showsSizes())
	must(errors.Join(w.point(), w.point()))
	before, after := w.listed[0].ID, w.listed[len(w.listed)-1].ID
	if w.j.SizeAt(replication.DiskNo(d), before) != was || w.j.SizeAt(replication.DiskNo(d), after) != w.sizes[d] || w.j.SizeBefore(replication.DiskNo(d)) != was {
		t.Errorf("disk %d: %d bytes at point %d, %d at point %d, %d before", d, w.j.SizeAt(replication.DiskNo(d), before), before, w.j.SizeAt(replication.DiskNo(d), after), after, w.j.SizeBefore(replication.DiskNo(d)))
	}
	for range 2 {
		for _, p := range w.listed {
			must(w.moveTo(p.ID))
			must(w.check("moved"))
			must(w.showsSizes())
		}
		must(w.moveTo(before))
		must(w.check("moved back"))
	}
	if got := w.m.disks[d].cur; !bytes.Equal(got, w.truth[before][d]) || int64(len(got)) != w.sizes[d] {
		t.Errorf("after a move to before it grew, disk %d has %d bytes, want %d, with what it grew by as it was", d, len(got), w.sizes[d])
	}
	must(w.j.Check(context.Background()))
	w.j.t.logBytes = 1
	must(w.j.Shorten())
	must(w.again())
	must(w.check("shortened"))
	must(w.showsSizes())
	if v := le.Uint32(w.files()["log"][8:]); v != logGrown {
		t.Errorf("a log that tells of a disk that grew, and is replaced, is of version %d", v)
	}
	must(w.j.Close())
	for name, size := range map[string]int64{"to less": w.sizes[d] - 512, "to what it is": w.sizes[d], "beyond all bounds": replication.MaxDiskSize + 512} {
		if err := grow(w.m.volume(), worldDir, "web", "", w.t, replication.DiskNo(d), size); err == nil {
			t.Errorf("a disk grew %s", name)
		}
	}
	if err := grow(w.m.volume(), worldDir, "web", "", w.t, 9, 1<<20); err == nil {
		t.Error("a disk grew that is not there")
	}
	must(w.start())
}

func TestDisksDoNotGrowBeforeTheFirstPoint(t *testing.T) {
	w := newWorld(3)
	w.frail = false
	must := musts(t)
	must(w.anew())
	must(w.j.Close())
	if err := grow(w.m.volume(), worldDir, "web", "", w.t, 0, w.sizes[0]+replication.Page); !errors.Is(err, ErrNotAtPoint) {
		t.Errorf("grown: %v", err)
	}
	must(w.start())
}

// TestGoldenGrown reads back a journal of which a disk has grown, from files that never change, and writes the same: with a log of version 1, and, where it was replaced, one of version 5.
func TestGoldenGrown(t *testing.T) {
	for format, shortened := range map[string]bool{"format1-grown": false, "format5": true} {
		t.Run(format, func(t *testing.T) {
			w, must := goldenWorld(t), musts(t)
			must(w.j.Close())
			d := slices.IndexFunc(w.sizes, func(n int64) bool { return n%replication.Page == 0 })
			was := w.sizes[d]
			must(grow(w.m.volume(), worldDir, "web", "", w.t, replication.DiskNo(d), was+3*replication.Page))
			j, err := open(w.m.volume(), worldDir, "web", w.t)
			must(err)
			w.j, w.tail = j, &tail{d, make([]byte, 3*replication.Page)}
			w.enlarged()
			if shortened {
				w.j.t.logBytes = 1
				must(w.j.Shorten())
			}
			w.sameAsGolden(t, format)
			last, _ := w.j.Last()
			if n := w.j.SizeAt(replication.DiskNo(d), last.ID); n != was || w.j.SizeAt(replication.DiskNo(d), last.ID+1) != was+3*replication.Page {
				t.Errorf("disk %d has %d bytes at point %d, want %d", d, n, last.ID, was)
			}
		})
	}
}
