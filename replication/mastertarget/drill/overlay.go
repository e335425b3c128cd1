package drill

import (
	"fmt"
	"io"
	"math/bits"
	"sync"
	"syscall"
)

const (
	pageSize  = 4 << 10
	partPages = 32 << 10             // pages that one table tells of
	partSize  = partPages * pageSize // 128 MiB
	tableSize = 2 * partPages / 8    // bytes of memory of a table
	maxTables = 256 << 20 / tableSize
)

// store keeps pages at the offset that they have on the disk. What was never written, or was punched, is not read.
type store interface {
	io.ReaderAt
	io.WriterAt
	Punch(off, n int64) error // gives the room back
}

// kind says where a page's content is.
type kind int

const (
	base kind = iota // the point's own
	own              // in the store
	zero             // nowhere: it was discarded
)

// table says of each page of a part where its content is: at most one of its bits is set.
type table struct {
	own, zero [partPages / 64]uint64
}

// allZero is the table of every part that was discarded in whole. It never changes.
var allZero = func() *table {
	t := &table{}
	for i := range t.zero {
		t.zero[i] = ^uint64(0)
	}
	return t
}()

func (t *table) kind(page int64) kind {
	if t == nil {
		return base
	}
	i := page % partPages
	switch bit := uint64(1) << (i % 64); {
	case t.own[i/64]&bit != 0:
		return own
	case t.zero[i/64]&bit != 0:
		return zero
	}
	return base
}

func (t *table) set(page int64, k kind) {
	i := page % partPages
	bit := uint64(1) << (i % 64)
	t.own[i/64] &^= bit
	t.zero[i/64] &^= bit
	switch k {
	case own:
		t.own[i/64] |= bit
	case zero:
		t.zero[i/64] |= bit
	}
}

func (t *table) owned() (n int64) {
	for _, w := range t.own {
		n += int64(bits.OnesCount64(w))
	}
	return n
}

// overlay is a disk that can be written: what was written lies above the point's content, which stays as it is. It is safe for concurrent use.
type overlay struct {
	base Content
	size int64
	keep store
	room *room

	mu    sync.RWMutex
	parts map[int64]*table // by number; a part that nothing was written to is not there
	pages int64            // in the store
}

func newOverlay(content Content, keep store, r *room) *overlay {
	return &overlay{base: content, size: content.Size(), keep: keep, room: r, parts: map[int64]*table{}}
}

// Size returns the disk's size in bytes.
func (o *overlay) Size() int64 { return o.size }

// run returns the kind of the page at off, and where pages of other kinds, or another part, begin: at most at end.
func (o *overlay) run(off, end int64) (kind, int64) {
	page := off / pageSize
	end = min(end, o.size, (page/partPages+1)*partSize)
	t := o.parts[page/partPages]
	k := t.kind(page)
	if t == nil || t == allZero {
		return k, end
	}
	for page++; page*pageSize < end && t.kind(page) == k; page++ {
	}
	return k, min(end, page*pageSize)
}

// ReadAt reads, as io.ReaderAt says.
func (o *overlay) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.readLocked(b, off)
}

func (o *overlay) readLocked(b []byte, off int64) (n int, err error) {
	for end := off + int64(len(b)); off < min(end, o.size); {
		k, stop := o.run(off, end)
		dst := b[n : n+int(stop-off)]
		got := len(dst)
		switch k {
		case zero:
			clear(dst)
		case own:
			got, err = o.keep.ReadAt(dst, off)
		default:
			got, err = o.base.ReadAt(dst, off)
		}
		n, off = n+got, off+int64(got)
		if got < len(dst) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes into the overlay. After an error, what it returns as written is written, and nothing else is changed but pages that were written before. Without room the
// error is ENOSPC; the disk does not grow: beyond its end it is EFBIG.
func (o *overlay) WriteAt(b []byte, off int64) (n int, err error) {
	if off < 0 || off > o.size || off == o.size && len(b) > 0 {
		return 0, syscall.EFBIG
	}
	beyond := off+int64(len(b)) > o.size
	if beyond {
		b = b[:o.size-off]
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for n < len(b) {
		k, err := o.writeLocked(b[n:], off+int64(n))
		n += k
		if err != nil {
			return n, err
		}
	}
	if beyond {
		return n, syscall.EFBIG
	}
	return n, nil
}

// pageEnd returns where the page at off ends: the last one may be short.
func (o *overlay) pageEnd(off int64) int64 { return min(o.size, (off/pageSize+1)*pageSize) }

// writeLocked writes the begin of b: a part of a page, or whole pages of one part.
func (o *overlay) writeLocked(b []byte, off int64) (int, error) {
	end := off + int64(len(b))
	if stop := o.pageEnd(off); off%pageSize != 0 || end < stop { // a part of a page: the rest of it comes along
		n := int(min(end, stop) - off)
		var page [pageSize]byte
		at := off / pageSize * pageSize
		whole := page[:stop-at]
		if got, err := o.readLocked(whole, at); got < len(whole) {
			return 0, fmt.Errorf("read the rest of the page: %w", err)
		}
		copy(whole[off-at:], b[:n])
		if err := o.put(whole, at); err != nil {
			return 0, err
		}
		return n, nil
	}
	if end < o.size { // leave a part of a page at the end for later
		end -= end % pageSize
	}
	end = min(end, (off/partSize+1)*partSize)
	if err := o.put(b[:end-off], off); err != nil {
		if end-off <= pageSize {
			return 0, err
		}
		end = o.pageEnd(off) // page by page, as far as it goes
		if err := o.put(b[:end-off], off); err != nil {
			return 0, err
		}
	}
	return int(end - off), nil
}

// put writes whole pages of one part.
func (o *overlay) put(b []byte, off int64) error {
	first, last := off/pageSize, (off+int64(len(b))-1)/pageSize
	t := o.parts[first/partPages]
	fresh := int64(0)
	for p := first; p <= last; p++ {
		if t.kind(p) != own {
			fresh++
		}
	}
	table, err := o.tableFor(first / partPages)
	if err != nil {
		return err
	}
	if err := o.room.take(fresh * pageSize); err != nil {
		return err
	}
	if _, err := o.keep.WriteAt(b, off); err != nil {
		o.room.give(fresh * pageSize)
		return err
	}
	for p := first; p <= last; p++ {
		table.set(p, own)
	}
	o.pages += fresh
	return nil
}

// tableFor returns a table of a part that can be changed.
func (o *overlay) tableFor(part int64) (*table, error) {
	t := o.parts[part]
	if t != nil && t != allZero {
		return t, nil
	}
	if err := o.room.takeTable(); err != nil {
		return nil, err
	}
	fresh := &table{}
	if t != nil {
		*fresh = *t
	}
	o.parts[part] = fresh
	return fresh, nil
}

// Zero makes a range zeros, and gives the room back that it had taken.
func (o *overlay) Zero(off, n int64) error {
	if off < 0 || n < 0 || off > o.size || n > o.size-off {
		return syscall.EFBIG
	}
	end := off + n
	o.mu.Lock()
	defer o.mu.Unlock()
	for off < end {
		if stop := o.pageEnd(off); off%pageSize != 0 || end < stop { // a part of a page
			var zeros [pageSize]byte
			if _, err := o.writeLocked(zeros[:min(end, stop)-off], off); err != nil {
				return err
			}
			off = min(end, stop)
			continue
		}
		stop := min(end, (off/partSize+1)*partSize)
		if stop < o.size {
			stop -= stop % pageSize
		}
		if err := o.discard(off, stop); err != nil {
			return err
		}
		off = stop
	}
	return nil
}

// discard makes whole pages of one part zeros.
func (o *overlay) discard(off, end int64) error {
	part := off / partSize
	t := o.parts[part]
	if t == allZero {
		return nil
	}
	freed := int64(0)
	if off%partSize == 0 && end == min(o.size, off+partSize) {
		if t != nil {
			freed = t.owned()
			o.room.giveTable()
		}
		o.parts[part] = allZero
	} else {
		t, err := o.tableFor(part)
		if err != nil {
			return err
		}
		for p := off / pageSize; p*pageSize < end; p++ {
			if t.kind(p) == own {
				freed++
			}
			t.set(p, zero)
		}
	}
	o.pages -= freed
	if freed > 0 && o.keep.Punch(off, end-off) == nil { // else the room stays taken, which harms nobody
		o.room.give(freed * pageSize)
	}
	return nil
}

// NextData returns the first range at or after off that may hold bytes other than zero, as far as that is known without reading.
func (o *overlay) NextData(off int64) (start, end int64, err error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for off < o.size {
		k, stop := o.run(off, o.size)
		switch k {
		case own:
			return off, stop, nil
		case base:
			s, e, err := o.base.NextData(off)
			if err != nil {
				return 0, 0, err
			}
			if s < stop {
				return s, min(e, stop), nil
			}
		}
		off = stop
	}
	return o.size, o.size, nil
}

// written returns how many bytes lie in the store.
func (o *overlay) written() int64 {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.pages * pageSize
}

// room is what the disks of a drill may write together.
type room struct {
	limit int64                 // bytes
	floor int64                 // bytes that stay free on the file system
	free  func() (int64, error) // of the file system

	mu     sync.Mutex
	used   int64
	sure   int64 // bytes that may be taken before free is asked again
	tables int
}

// freeStep is how much is taken between two looks at the file system.
const freeStep = 16 << 20

// take takes n bytes, or none: ENOSPC.
func (r *room) take(n int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > r.limit-r.used {
		return syscall.ENOSPC
	}
	if n > r.sure {
		free, err := r.free()
		if err != nil {
			return fmt.Errorf("free space for the scratch file: %w", err)
		}
		if n > free-r.floor {
			r.sure = 0
			return syscall.ENOSPC
		}
		r.sure = min(max(n, freeStep), free-r.floor)
	}
	r.used, r.sure = r.used+n, r.sure-n
	return nil
}

func (r *room) give(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
}

func (r *room) takeTable() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tables >= maxTables {
		return syscall.ENOSPC
	}
	r.tables++
	return nil
}

func (r *room) giveTable() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tables--
}

func (r *room) taken() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}
