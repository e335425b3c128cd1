package drill

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
)

// shift is where the disks of these tests begin to hold something: a bit before a part's end.
const shift = partSize - 20*pageSize

// memory is a disk in memory, of which every third page is a hole.
type memory struct {
	bytes  []byte       // from shift on
	broken atomic.Int64 // reads of this page of it fail; -1: none
}

var errBroken = errors.New("the page is damaged")

func newMemory(size int, r *rand.Rand) *memory {
	m := &memory{bytes: make([]byte, size)}
	m.broken.Store(-1)
	for i := range m.bytes {
		if i/pageSize%3 != 0 {
			m.bytes[i] = byte(r.Uint32()) | 1
		}
	}
	return m
}

func (m *memory) Size() int64 { return shift + int64(len(m.bytes)) }

func (m *memory) ReadAt(b []byte, off int64) (n int, err error) {
	if off < shift {
		n = int(min(int64(len(b)), shift-off))
		clear(b[:n])
		if n == len(b) {
			return n, nil
		}
	}
	at := off + int64(n) - shift
	if p := m.broken.Load() * pageSize; p >= 0 && at < p+pageSize && at+int64(len(b)-n) > p {
		return 0, errBroken
	}
	k, err := bytes.NewReader(m.bytes).ReadAt(b[n:], at)
	return n + k, err
}

func (m *memory) NextData(off int64) (start, end int64, err error) {
	off = max(off, shift)
	hole := func(off int64) bool { return (off-shift)/pageSize%3 == 0 }
	for ; off < m.Size() && hole(off); off = (off/pageSize + 1) * pageSize {
	}
	if off >= m.Size() {
		return m.Size(), m.Size(), nil
	}
	end = off
	for ; end < m.Size() && !hole(end); end = (end/pageSize + 1) * pageSize {
	}
	return off, min(end, m.Size()), nil
}

// pages is a store in memory that notes what it holds.
type pages struct {
	bytes []byte // from shift on
	held  map[int64]bool
	fail  error
}

func newPages(size int) *pages { return &pages{bytes: make([]byte, size), held: map[int64]bool{}} }

func (p *pages) ReadAt(b []byte, off int64) (int, error) {
	for at := off / pageSize; at*pageSize < off+int64(len(b)); at++ {
		if !p.held[at] {
			return 0, errors.New("read of a page that was never written")
		}
	}
	return bytes.NewReader(p.bytes).ReadAt(b, off-shift)
}

func (p *pages) WriteAt(b []byte, off int64) (int, error) {
	if p.fail != nil {
		return copy(p.bytes[off-shift:], b[:len(b)/2]), p.fail // torn
	}
	for at := off / pageSize; at*pageSize < off+int64(len(b)); at++ {
		p.held[at] = true
	}
	return copy(p.bytes[off-shift:], b), nil
}

func (p *pages) Punch(off, n int64) error {
	for at := range p.held {
		if at*pageSize >= off && at*pageSize < off+n {
			delete(p.held, at)
		}
	}
	return nil
}

func plenty() (int64, error) { return 1 << 50, nil }

// smallOverlay is one of two parts, with a last page that is short.
func smallOverlay(seed uint64, limit int64) (*overlay, *memory, *pages, *rand.Rand) {
	r := rand.New(rand.NewPCG(seed, 9))
	m := newMemory(40*pageSize+512, r)
	p := newPages(len(m.bytes))
	return newOverlay(m, p, &room{limit: limit, free: plenty}), m, p, r
}

// TestOverlayIsADisk writes, discards and reads at random, next to the same in memory; the bound strikes now and then.
func TestOverlayIsADisk(t *testing.T) {
	for seed := range uint64(30) {
		limit := int64(1 << 30)
		if seed%2 == 1 {
			limit = 12 * pageSize
		}
		o, m, p, r := smallOverlay(seed, limit)
		want := bytes.Clone(m.bytes)
		before := bytes.Clone(m.bytes)
		size := int64(len(want)) // of what is looked at: it begins before the second part
		full := false
		for range 300 {
			off := r.Int64N(size)
			n := 1 + r.Int64N(min(size-off, 6*pageSize))
			if r.IntN(3) == 0 {
				off, n = off/pageSize*pageSize, min(size-off/pageSize*pageSize, (n+pageSize-1)/pageSize*pageSize)
			}
			switch r.IntN(4) {
			case 0:
				err := o.Zero(shift+off, n)
				if err != nil && !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
				if err == nil {
					clear(want[off : off+n])
				} else { // some of it may be done: go on from what is there
					full = true
					got := make([]byte, size)
					if _, err := o.ReadAt(got, shift); err != nil {
						t.Fatal(err)
					}
					for i, b := range got {
						if b != want[i] && (int64(i) < off || int64(i) >= off+n || b != 0) {
							t.Fatalf("seed %d: a discard of [%d,%d) changed %d to %d", seed, off, off+n, i, b)
						}
					}
					want = got
				}
			case 1, 2:
				b := bytes.Repeat([]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}, int(n+2)/3)[:n]
				k, err := o.WriteAt(b, shift+off)
				if err != nil && !errors.Is(err, syscall.ENOSPC) || err == nil && k < len(b) {
					t.Fatal(k, err)
				}
				full = full || err != nil
				copy(want[off:], b[:k])
			}
			got := make([]byte, n)
			if k, err := o.ReadAt(got, shift+off); err != nil || k != len(got) || !bytes.Equal(got, want[off:off+n]) {
				t.Fatalf("seed %d: read [%d,%d): %d, %v, or other bytes", seed, off, off+n, k, err)
			}
			if held := int64(len(p.held)) * pageSize; o.room.taken() != held || o.written() != held || held > limit {
				t.Fatalf("seed %d: %d bytes are reckoned, %d written, %d held, limit %d", seed, o.room.taken(), o.written(), held, limit)
			}
		}
		if (limit < 1<<30) != full {
			t.Errorf("seed %d: limit %d, struck: %v", seed, limit, full)
		}
		got := make([]byte, size)
		if _, err := o.ReadAt(got, shift); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("seed %d: in the end: %v, or other bytes", seed, err)
		}
		holes(t, o, want)
		if !bytes.Equal(m.bytes, before) {
			t.Fatal("the point was written")
		}
		if err := o.Zero(0, o.Size()); err != nil || len(p.held) != 0 || o.room.taken() != 0 {
			t.Fatalf("all discarded: %v, %d pages held", err, len(p.held))
		}
		if start, _, err := o.NextData(0); start != o.Size() || err != nil {
			t.Fatalf("all discarded: data at %d, %v", start, err)
		}
	}
}

// holes checks that what NextData leaves out is zeros.
func holes(t *testing.T, o *overlay, want []byte) {
	t.Helper()
	for off := int64(shift); off < o.Size(); {
		start, end, err := o.NextData(off)
		if err != nil || start < off || end <= start && start != o.Size() {
			t.Fatalf("from %d: [%d,%d), %v", off, start, end, err)
		}
		if bytes.Count(want[off-shift:start-shift], []byte{0}) != int(start-off) {
			t.Fatalf("[%d,%d) is not zeros", off, start)
		}
		off = end
	}
}

func TestOverlayBounds(t *testing.T) {
	o, m, _, _ := smallOverlay(1, 1<<30)
	size := o.Size()
	if n, err := o.WriteAt(make([]byte, 1024), size-512); n != 512 || err != syscall.EFBIG {
		t.Errorf("over the end: %d, %v", n, err)
	}
	if n, err := o.WriteAt([]byte{1}, size); n != 0 || err != syscall.EFBIG {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if err := o.Zero(size-512, 1024); err != syscall.EFBIG {
		t.Errorf("discard over the end: %v", err)
	}
	if n, err := o.ReadAt(make([]byte, 1024), size-512); n != 512 || err != io.EOF {
		t.Errorf("read over the end: %d, %v", n, err)
	}
	m.broken.Store(4)
	if _, err := o.ReadAt(make([]byte, pageSize), shift+4*pageSize); !errors.Is(err, errBroken) {
		t.Errorf("a damaged page: %v", err)
	}
	if n, err := o.WriteAt([]byte{1}, shift+4*pageSize+7); n != 0 || !errors.Is(err, errBroken) {
		t.Errorf("a write into a damaged page: %d, %v", n, err)
	}
	if _, err := o.WriteAt(make([]byte, pageSize), shift+4*pageSize); err != nil {
		t.Errorf("a write over a damaged page: %v", err)
	}
}

// TestOverlayStoreFails: a write that tears leaves the pages what they were, and takes no room.
func TestOverlayStoreFails(t *testing.T) {
	o, m, p, _ := smallOverlay(1, 1<<30)
	p.fail = syscall.EIO
	if n, err := o.WriteAt(make([]byte, 3*pageSize), shift+pageSize); n != 0 || !errors.Is(err, syscall.EIO) {
		t.Fatal(n, err)
	}
	got := make([]byte, len(m.bytes))
	if _, err := o.ReadAt(got, shift); err != nil || !bytes.Equal(got, m.bytes) || o.room.taken() != 0 {
		t.Errorf("after a write that failed: %v, other bytes, or room %d", err, o.room.taken())
	}
}

// TestOverlayHuge discards a disk of 62 TiB and writes at its end, in little memory.
func TestOverlayHuge(t *testing.T) {
	const size = 62 << 40
	o := newOverlay(hollow(size), &last{}, &room{limit: 1 << 30, free: plenty})
	if err := o.Zero(4096, size-8192); err != nil {
		t.Fatal(err)
	}
	if o.room.tables > 2 {
		t.Errorf("%d tables, want 2", o.room.tables)
	}
	if _, err := o.WriteAt([]byte("end"), size-3); err != nil {
		t.Fatal(err)
	}
	if start, end, err := o.NextData(4096); start != size-pageSize || end != size || err != nil {
		t.Errorf("data [%d,%d), %v", start, end, err)
	}
}

// hollow is a disk without data; last keeps one page.
type (
	hollow int64
	last   struct{ b []byte }
)

func (h hollow) Size() int64                                { return int64(h) }
func (h hollow) ReadAt(b []byte, _ int64) (int, error)      { clear(b); return len(b), nil }
func (h hollow) NextData(int64) (start, end int64, _ error) { return int64(h), int64(h), nil }

func (l *last) ReadAt(b []byte, _ int64) (int, error)  { return copy(b, l.b), nil }
func (l *last) WriteAt(b []byte, _ int64) (int, error) { l.b = bytes.Clone(b); return len(b), nil }
func (l *last) Punch(int64, int64) error               { return nil }

func TestRoomLeavesSpaceOnTheFileSystem(t *testing.T) {
	free := int64(100 << 20)
	r := &room{limit: 1 << 40, floor: 64 << 20, free: func() (int64, error) { return free, nil }}
	taken := int64(0)
	for r.take(pageSize) == nil {
		taken, free = taken+pageSize, free-pageSize
	}
	if taken != 36<<20 {
		t.Errorf("took %d, want %d: %d are left", taken, 36<<20, free)
	}
	free += 1 << 20
	if err := r.take(pageSize); err != nil {
		t.Errorf("with space again: %v", err)
	}
}
