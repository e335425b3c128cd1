package retention

import (
	"fmt"
	"io"
	"sync/atomic"

	"failback/replication"
	"failback/replication/block"
)

const (
	readPart  = 1 << 20  // bytes of a disk that a reader looks up at a time
	holesPart = 16 << 20 // likewise when it looks for holes
)

// Reader is the content of one disk at one point. It may be used while cycles arrive and while the disks move, by several goroutines. It belongs to its
// journal and must be closed before it.
type Reader struct {
	j      *Journal
	point  replication.PointID
	disk   replication.DiskNo
	target Disk
	size   int64 // of the disk
	shown  int64 // of the disk at the point
	closed atomic.Bool
	layout atomic.Pointer[layout] // as of the catalog that was looked into last
}

// Reader opens a listed point for reading; not of a disk that joined later (ErrUnborn) or left before (ErrLeft). Of a disk that has left since, the caller has made sure that its target is as it was left. target is the disk itself, of which only ReadAt and NextData are used.
func (j *Journal) Reader(p replication.PointID, disk replication.DiskNo, target Disk) (*Reader, error) {
	if err := j.usable(); err != nil {
		return nil, err
	}
	if err := j.now.Load().ours(); err != nil {
		return nil, err
	}
	if _, err := j.now.Load().point(p); err != nil {
		return nil, err
	}
	st := j.now.Load()
	disk = st.slot(disk)
	size := j.id.size(disk)
	if size >= 0 {
		if err := st.absent(disk, p); err != nil {
			return nil, err
		}
	}
	shown := st.sizeAt(disk, p)
	if size < 0 || target.Size() != size && target.Size() != shown && target.Size() != st.sizeBefore(disk) { // it may not have grown yet
		return nil, fmt.Errorf("%w: disk %d has %d bytes, the group says %d", ErrDisks, disk, target.Size(), size)
	}
	return &Reader{j: j, point: p, disk: disk, target: target, size: size, shown: shown}, nil
}

// Size returns the disk's size in bytes, as it was at the point.
func (r *Reader) Size() int64 { return r.shown }

// Whole has a reader, that nobody uses yet, show the disk as large as it is now. What it has grown by since the point is as it was when it grew.
func (r *Reader) Whole() error {
	if n := r.target.Size(); n != r.size {
		return fmt.Errorf("%w: disk %d has %d bytes, the group says %d", ErrDisks, r.disk, n, r.size)
	}
	r.shown = r.size
	return nil
}

// Close ends the reader.
func (r *Reader) Close() error {
	r.closed.Store(true)
	return nil
}

// ReadAt reads at an offset, as io.ReaderAt says. What comes from the journal was checked against its checksum (I9).
func (r *Reader) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read disk %d at %d", r.disk, off)
	}
	for n < len(b) && off < r.shown {
		k := int(min(int64(len(b)-n), r.shown-off, readPart))
		if err := r.part(b[n:n+k], off); err != nil {
			r.j.hurt.note(err)
			return n, fmt.Errorf("read point %d: %w", r.point, err)
		}
		n, off = n+k, off+int64(k)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// part reads a part by the two-step rule: what the journal does not hold is read from the disk; then, if a move began meanwhile, which saves what the disk holds and writes
// over it, what was read is not believed, and all is looked up again.
func (r *Reader) part(b []byte, off int64) error {
	for {
		again, err := r.once(b, off)
		if err != nil || !again {
			return err
		}
	}
}

func (r *Reader) once(b []byte, off int64) (again bool, err error) {
	c, ps, err := r.look(replication.Extent{Off: off, End: off + int64(len(b))})
	if c != nil {
		defer r.j.shelf.unpin(c)
	}
	if err != nil {
		return false, err
	}
	if err := c.ours(); err != nil {
		return false, err
	}
	r.j.pause()
	disk := 0
	for _, p := range ps {
		if p.in == nil {
			disk++
		} else if err := r.copy(b, off, p); err != nil {
			return false, err
		}
	}
	if disk == 0 {
		return false, nil
	}
	for _, p := range ps {
		if p.in != nil {
			continue
		}
		if err := readFull(r.target, b[p.ext.Off-off:p.ext.End-off], p.ext.Off); err != nil {
			return false, fmt.Errorf("disk %d at %d: %w", r.disk, p.ext.Off, err)
		}
	}
	if err := r.j.guard.afterRead(); err != nil {
		return false, err
	}
	return r.j.moved(c), nil
}

// look pins the catalog and returns it, to be unpinned, and what lies where.
func (r *Reader) look(e replication.Extent) (*catalog, []span, error) {
	if r.closed.Load() {
		return nil, nil, fmt.Errorf("reader of point %d: %w", r.point, ErrClosed)
	}
	c := r.j.shelf.pin()
	if _, err := c.point(r.point); err != nil {
		return c, nil, err
	}
	l := r.layout.Load()
	if l == nil || l.c != c {
		l = r.j.regions.layout(c, r.point, r.size)
		r.layout.Store(l)
	}
	ps, err := r.j.regions.lookup(l, r.j.chunks, r.disk, r.point, r.size, e)
	return c, ps, err
}

// moved says whether a move began since a catalog was pinned: what the disks held then may have been written over.
func (j *Journal) moved(c *catalog) bool {
	return j.now.Load().moves != c.moves && !leftOut(ruleSecondLook)
}

// pause is where a reader stands between its look in the journal and its reads of files and of the disk.
func (j *Journal) pause() {
	if f := j.betweenLooks; f != nil {
		f()
	}
}

// copy puts a span's content where it belongs in b, which begins at off.
func (r *Reader) copy(b []byte, off int64, p span) error {
	if p.kind == lost {
		return p.lostError()
	}
	dst := b[p.ext.Off-off : p.ext.End-off]
	if p.kind == block.Zero {
		clear(dst)
		return nil
	}
	return r.j.read.read(dst, p)
}

// NextData returns the first range at or after off that may hold bytes other than zero, as far as that is known without reading; start == end == Size() when
// there is none.
func (r *Reader) NextData(off int64) (start, end int64, err error) {
	for off < r.shown {
		e := replication.Extent{Off: off, End: min(off+holesPart, r.shown)}
		start, end, err := r.nextData(e)
		if err != nil {
			return 0, 0, fmt.Errorf("holes of point %d: %w", r.point, err)
		}
		if start < end {
			return start, end, nil
		}
		off = e.End
	}
	return r.shown, r.shown, nil
}

func (r *Reader) nextData(e replication.Extent) (start, end int64, err error) {
	for {
		start, end, again, err := r.onceData(e)
		if err != nil || !again {
			return start, end, err
		}
	}
}

func (r *Reader) onceData(e replication.Extent) (start, end int64, again bool, err error) {
	c, ps, err := r.look(e)
	if c != nil {
		defer r.j.shelf.unpin(c)
	}
	if err != nil {
		return 0, 0, false, err
	}
	r.j.pause()
	start, end, err = r.firstData(ps)
	return start, end, err == nil && r.j.moved(c), err
}

// firstData returns the first run of spans that may hold data.
func (r *Reader) firstData(ps []span) (start, end int64, err error) {
	for _, p := range ps {
		d := p.ext
		if p.in == nil {
			s, t, err := r.target.NextData(d.Off)
			if err != nil {
				return 0, 0, err
			}
			d = d.Intersect(replication.Extent{Off: s, End: max(s, t)})
		} else if p.kind == block.Zero {
			d.End = d.Off
		}
		if start < end && (d.Empty() || d.Off != end) {
			break
		}
		if d.Empty() {
			continue
		}
		if start == end {
			start = d.Off
		}
		if end = d.End; d.End < p.ext.End {
			break
		}
	}
	return start, end, nil
}
