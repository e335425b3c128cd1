package processserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/source"
)

const pagesPerRegion = replication.Region / replication.Page

// zeroPages are the hashes of a region of zeros.
var zeroPages [pagesPerRegion]replication.Hash

// worker reads, hashes, decides and packs. It owns its buffers.
type worker struct {
	*shipment
	region *block.Buffer
	buf    []byte // region's: one region of a disk, or the extents of a job one after another
	pages  []replication.Hash
	base   []replication.Hash
	pack   packer
	job    uint64 // that is done
	begun  uint64 // in which the frame that pack has was begun
}

// work does jobs until there are none left, then sends what is packed.
func (s *shipment) work(ctx context.Context) error {
	w := &worker{shipment: s, pages: make([]replication.Hash, 0, pagesPerRegion), base: make([]replication.Hash, 0, pagesPerRegion)}
	levels := &pick{ladder: s.level}
	w.pack = packer{out: w.emit(ctx), level: levels.level, streams: s.streams, most: s.frameMost, took: func(disk replication.DiskNo, begin time.Time) { since(&s.disks[disk].ledger.spent.compress, begin) }}
	w.fresh()
	defer func() { w.region.Release() }()
	for {
		select {
		case j, more := <-s.jobs:
			if !more {
				return w.pack.flush()
			}
			if w.job = j.no; w.pack.frame == nil {
				w.begun = w.job
			}
			if err := w.do(ctx, j); err != nil {
				return fmt.Errorf("disk %s at %d: %w", j.disk.Disk.ID, j.region.Off, err)
			}
			if _, streaming := s.level.streaming(); streaming && s.streams(j.disk.Disk.No) { // what is left over would go with another job's, far from what it stands beside
				if err := w.pack.flush(); err != nil {
					return err
				}
			}
			for x, late := w.repeats.overdue(); late; x, late = w.repeats.overdue() {
				if err := w.sendRun(x); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			w.pack.drop()
			return context.Cause(ctx)
		}
	}
}

// emit returns what puts frames before the lanes.
func (w *worker) emit(ctx context.Context) func(*block.Frame) error {
	taken := make(chan struct{}, 1)
	return func(f *block.Frame) error {
		first := &w.disks[f.Blocks[0].Disk].ledger // a frame may be of several disks, and most are not
		defer since(&first.spent.send, time.Now())
		job := w.begun
		w.begun = w.job
		return w.shipment.emit(ctx, f, job, taken)
	}
}

// fresh makes buf one that no frame points at.
func (w *worker) fresh() {
	if w.region != nil {
		if !w.region.Shared() {
			return
		}
		w.region.Release()
	}
	w.region = block.NewBuffer()
	w.buf, w.pack.region = w.region.Bytes, w.region
}

func (w *worker) do(ctx context.Context, j job) error {
	switch {
	case j.repeat != nil:
		return w.sendRun(*j.repeat)
	case j.extents != nil:
		return w.sendKnown(j)
	case j.disk.compares && j.side == nil:
		_, err := w.hash(j, false) // for the table; counted as done already
		if err == nil && !j.hole && w.repeats != nil && w.repeats.through {
			w.repeats.holds(j.disk, j.region, w.pages)
		}
		return err
	}
	err := error(nil)
	switch {
	case !j.disk.compares:
		err = w.diffBase(j)
	case j.side.Zero:
		err = w.diffZero(j)
	default:
		err = w.diffHash(ctx, j)
	}
	j.disk.ledger.look(&j.disk.ledger.done, j.region.Len())
	return err
}

// sendKnown sends extents that the source says have changed.
func (w *worker) sendKnown(j job) error {
	for _, all := range j.extents {
		for e := range pieces(all) {
			if err := w.sendOne(j, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendOne sends one of the pieces of a job's extents.
func (w *worker) sendOne(j job, e replication.Extent) error {
	w.fresh()
	b := w.buf[:e.Len()]
	if err := w.read(j.disk, b, e.Off); err != nil {
		return err
	}
	if j.again {
		if err := w.asHashed(j.disk, e, b); err != nil {
			return err
		}
		return w.pack.pages(j.disk, e, b)
	}
	var pages []replication.Hash
	if w.repeats != nil {
		begin := time.Now()
		pages = replication.HashPages(w.pages[:0], b)
		since(&j.disk.ledger.spent.hash, begin)
	}
	if err := w.send(j.disk, e, b, pages); err != nil {
		return err
	}
	j.disk.ledger.look(&j.disk.ledger.done, e.Len())
	return nil
}

// pieces yields e in the pieces that are read at a time: each is still in the core's cache when it is hashed, summed and copied. What storage has of the next, it reads ahead.
func pieces(e replication.Extent) iter.Seq[replication.Extent] {
	return func(yield func(replication.Extent) bool) {
		for off := e.Off; off < e.End; off += block.FrameRaw {
			if !yield(replication.Extent{Off: off, End: min(off+block.FrameRaw, e.End)}) {
				return
			}
		}
	}
}

// diffBase sends the pages of a region that differ from the base's table.
func (w *worker) diffBase(j job) error {
	d := j.disk
	for off := j.region.Off; off < j.region.End; off += replication.Region {
		one := job{disk: d, hole: j.hole, region: replication.Extent{Off: off, End: min(off+replication.Region, j.region.End)}}
		read, err := w.hash(one, false)
		if err != nil {
			return err
		}
		base, ok, err := d.base.Get(off/replication.Region, w.base[:0])
		if err != nil || !ok {
			return &replication.Problem{Code: link.CodeTrackingLost, Message: fmt.Sprintf("disk %s: the table of point %d has no record at %d", d.Disk.ID, w.order.Base, off), Err: err}
		}
		same := one.region.Len()
		for _, e := range differing(one.region, w.pages, base) {
			d.mu.Lock()
			d.total.Add(e)
			d.mu.Unlock()
			same -= e.Len()
			kept := e.Len()
			for _, m := range d.durable.Missing(nil, e) {
				kept -= m.Len()
				if !read {
					if err := w.fill(one); err != nil {
						return err
					}
					read = true
				}
				if err := w.send(d, m, w.buf[m.Off-off:m.End-off], w.pages[(m.Off-off)/replication.Page:]); err != nil {
					return err
				}
			}
			d.ledger.look(&d.ledger.kept, kept)
		}
		d.ledger.look(&d.ledger.equal, same)
	}
	return nil
}

// diffZero sends what is not zero: the master target's side is.
func (w *worker) diffZero(j job) error {
	d := j.disk
	if j.hole {
		if _, err := w.hash(j, false); err != nil {
			return err
		}
		d.ledger.look(&d.ledger.zero, j.region.Len())
		return w.pack.equal(d, j.region)
	}
	w.pages = w.pages[:0]
	if d.table == nil && (w.repeats == nil || !w.level.linkBinds()) { // nobody wants the hashes, or they cost more than the link
		for e := range pieces(j.region) {
			if err := w.fill(job{disk: d, region: e}); err != nil {
				return err
			}
			if err := w.sendNotZero(d, e); err != nil {
				return err
			}
		}
		return nil
	}
	if _, err := w.hash(j, true); err != nil {
		return err
	}
	return w.sendNotZero(d, j.region)
}

// sendNotZero sends what is not zero of the region, or piece of one, in buf, and says what is.
func (w *worker) sendNotZero(d *diskShip, region replication.Extent) error {
	for off := region.Off; off < region.End; {
		zero := w.isZero(region, off)
		e := replication.Extent{Off: off, End: off}
		for e.End < region.End && w.isZero(region, e.End) == zero {
			e.End = min(e.End+replication.Page, region.End)
		}
		off = e.End
		if zero {
			d.ledger.look(&d.ledger.zero, e.Len())
			if err := w.pack.equal(d, e); err != nil {
				return err
			}
			continue
		}
		var pages []replication.Hash
		if len(w.pages) > 0 {
			pages = w.pages[(e.Off-region.Off)/replication.Page:]
		}
		if err := w.sendMissing(d, region, e, pages); err != nil {
			return err
		}
	}
	return nil
}

// sendMissing sends what of extent e of the region, or piece of one, in buf is not durable yet. pages are those from e on; nil: not known.
func (w *worker) sendMissing(d *diskShip, region, e replication.Extent, pages []replication.Hash) error {
	missing := []replication.Extent{e}
	if w.stable { // else what is durable may be of another time
		missing = d.durable.Missing(nil, e)
	}
	kept := e.Len()
	for _, m := range missing {
		kept -= m.Len()
		var hashes []replication.Hash
		if pages != nil {
			hashes = pages[(m.Off-e.Off)/replication.Page:]
		}
		if err := w.send(d, m, w.buf[m.Off-region.Off:m.End-region.Off], hashes); err != nil {
			return err
		}
	}
	d.ledger.look(&d.ledger.kept, kept)
	return nil
}

// isZero says whether the page at off of the region in buf is zero: by its hash, where there is one.
func (w *worker) isZero(region replication.Extent, off int64) bool {
	if len(w.pages) > 0 {
		return w.pages[(off-region.Off)/replication.Page] == replication.Hash{}
	}
	return replication.IsZero(w.buf[off-region.Off : min(off+replication.Page, region.End)-region.Off])
}

// diffHash compares a region with the master target's hash of it, and its pages where that differs.
func (w *worker) diffHash(ctx context.Context, j job) error {
	d := j.disk
	read, err := w.hash(j, false)
	if err != nil {
		return err
	}
	if replication.HashRegion(w.pages) == j.side.Hash {
		d.ledger.look(&d.ledger.equal, j.region.Len())
		w.repeats.holds(d, j.region, w.pages)
		return w.pack.equal(d, j.region)
	}
	theirs, err := w.engine.authority.Pages(ctx, w.fence, d.Disk.No, j.region.Off)
	if err != nil {
		return fmt.Errorf("ask for hashes of pages: %w", err)
	}
	if len(theirs) != len(w.pages) {
		return fmt.Errorf("the master target told %d pages of a region of %d", len(theirs), len(w.pages))
	}
	at := j.region.Off
	for _, e := range append(differing(j.region, w.pages, theirs), replication.Extent{Off: j.region.End, End: j.region.End}) {
		if same := (replication.Extent{Off: at, End: e.Off}); !same.Empty() {
			d.ledger.look(&d.ledger.equal, same.Len())
			w.repeats.holds(d, same, w.pages[(same.Off-j.region.Off)/replication.Page:(same.End-j.region.Off+replication.Page-1)/replication.Page])
			if err := w.pack.equal(d, same); err != nil {
				return err
			}
		}
		at = e.End
		if e.Empty() {
			break
		}
		if !read {
			if err := w.fill(j); err != nil {
				return err
			}
			read = true
		}
		if err := w.sendMissing(d, j.region, e, w.pages[(e.Off-j.region.Off)/replication.Page:]); err != nil {
			return err
		}
	}
	return nil
}

// differing returns the runs of pages of a region whose hashes differ, rising.
func differing(region replication.Extent, a, b []replication.Hash) (x []replication.Extent) {
	for i := range a {
		if i < len(b) && a[i] == b[i] {
			continue
		}
		off := region.Off + int64(i)*replication.Page
		e := replication.Extent{Off: off, End: min(off+replication.Page, region.End)}
		if n := len(x); n > 0 && x[n-1].End == e.Off {
			x[n-1].End = e.End
		} else {
			x = append(x, e)
		}
	}
	return x
}

// hash makes w.pages the hashes of the job's region (of its last region, in a run of holes), from the table where it has them, and puts them into the table.
// It says whether the region was read into buf; it is when mustRead.
func (w *worker) hash(j job, mustRead bool) (read bool, err error) {
	d := j.disk
	if j.hole {
		first := j.region.Off
		if d.table == nil {
			first = (j.region.End - 1) &^ (replication.Region - 1)
		}
		for off := first; off < j.region.End; off += replication.Region {
			n := min(replication.Region, j.region.End-off)
			w.pages = append(w.pages[:0], zeroPages[:(n+replication.Page-1)/replication.Page]...)
			if err := w.put(d, off); err != nil {
				return false, err
			}
		}
		w.fresh()
		clear(w.buf)
		return true, nil
	}
	if d.table != nil && w.stable {
		pages, ok, err := d.table.Get(j.region.Off/replication.Region, w.pages[:0])
		if err != nil {
			return false, fmt.Errorf("read table: %w", err)
		}
		if ok {
			if w.pages = pages; mustRead {
				err = w.fill(j)
			}
			return mustRead, err
		}
	}
	w.fresh()
	w.pages = w.pages[:0]
	for e := range pieces(j.region) {
		b := w.buf[e.Off-j.region.Off : e.End-j.region.Off]
		if err := w.read(d, b, e.Off); err != nil {
			return false, err
		}
		begin := time.Now()
		w.pages = replication.HashPages(w.pages, b)
		since(&d.ledger.spent.hash, begin)
	}
	return true, w.put(d, j.region.Off)
}

// errMoved says that a disk without snapshots is not what it was when an earlier attempt at the same cut read it.
var errMoved = errors.New("the disk was written to while it was read")

func moved(d *diskShip, off int64) error {
	return &replication.Problem{Code: "snapshot-gone", Message: fmt.Sprintf("disk %s at %d", d.Disk.ID, off), Err: errMoved,
		Remedy: "none needed: it is cut again; to have it go on instead, keep the disk still while it is read, or give it snapshots"}
}

// put puts w.pages into the table. A sealed table is of an earlier attempt at this cut that got as far as that: it must say the same.
func (w *worker) put(d *diskShip, off int64) error {
	if d.table == nil {
		return nil
	}
	err := d.table.Put(off/replication.Region, w.pages)
	if errors.Is(err, source.ErrSealed) {
		if w.stable {
			return nil
		}
		var was []replication.Hash
		if was, _, err = d.table.Get(off/replication.Region, w.base[:0]); err == nil && !slices.Equal(was, w.pages) {
			return moved(d, off)
		}
	}
	if err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// fill reads the job's region into buf.
func (w *worker) fill(j job) error {
	w.fresh()
	return w.read(j.disk, w.buf[:j.region.Len()], j.region.Off)
}

func (w *worker) read(d *diskShip, b []byte, off int64) error {
	begin := time.Now()
	w.reading.Add(1)
	n, err := d.view.ReadAt(b, off)
	w.reading.Add(-1)
	since(&d.ledger.spent.read, begin)
	d.ledger.read.Add(int64(n))
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = source.ErrGone
	}
	return sourceProblem(fmt.Sprintf("read source %s", d.Path), err)
}
