package blockio

import (
	"fmt"
	"math"
	"sync"
)

// Bounds on the memory of a reader, all of its extents and parents together (I12).
const (
	maxTableCache = 8 << 20
	maxGrainCache = 8 << 20
	maxDecoders   = 4
)

// readerCache is what the extents of a reader, and of its parents, share.
type readerCache struct {
	tables   *lru[grainKey, tableCopy]
	grains   *lru[grainKey, []byte] // decoded
	decoders chan *grainDecoder     // a nil one is made when it is taken

	mu      sync.Mutex
	notices []string // at most one of each extent
}

// grainKey names a table or a grain of an extent.
type grainKey struct {
	of *grainExtent
	n  int64
}

func newReaderCache() *readerCache {
	c := &readerCache{tables: newLRU[grainKey, tableCopy](maxTableCache), grains: newLRU[grainKey, []byte](maxGrainCache),
		decoders: make(chan *grainDecoder, maxDecoders)}
	for range maxDecoders {
		c.decoders <- nil
	}
	return c
}

func (c *readerCache) addNotice(notice string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notices = append(c.notices, notice)
}

func (c *readerCache) noticed() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.notices[:len(c.notices):len(c.notices)]
}

// below is the parent of a snapshot: what is not in the snapshot is read from there.
type below interface {
	ReadAt(p []byte, off int64) (int, error)
	NextData(off int64) (start, end int64, err error)
}

// grainExtent reads an extent made of grains. Writing is sparseExtent's.
type grainExtent struct {
	file   *grainFile
	size   int64 // bytes
	cache  *readerCache
	stream *sparseHeader // of a compressed extent, or nil

	parent   below // or nil
	parentAt int64 // where the extent begins in the parent

	noted sync.Once
}

// grainSpan is a run of an extent: grains of one kind, and if they are held, one behind the other in the file.
type grainSpan struct {
	kind   grainKind
	n      int64 // bytes
	sector int64 // of the grain it begins in
}

func (e *grainExtent) table(n int64) (tableCopy, error) {
	key := grainKey{e, n}
	if t, ok := e.cache.tables.get(key); ok {
		return t, nil
	}
	t, notice, err := e.file.choose(n)
	if err != nil {
		return t, err
	}
	if notice != "" {
		e.noted.Do(func() { e.cache.addNotice(notice) })
	}
	e.cache.tables.put(key, t, int64(len(t.entries))*8+128)
	return t, nil
}

// run finds the first run of [off, off+n), which ends with the table it begins in.
func (e *grainExtent) run(off, n int64) (grainSpan, error) {
	f := e.file
	g := off / f.grainBytes()
	t, err := e.table(g / f.perTable)
	if err != nil {
		return grainSpan{}, err
	}
	first, _ := f.format.place(t.entry(g % f.perTable)) // it was judged when the table was read
	s := grainSpan{kind: first.kind, n: min(n, f.grainBytes()-off%f.grainBytes()), sector: first.sector}
	for i := int64(1); s.n < n && (g+i)%f.perTable != 0; i++ {
		next, _ := f.format.place(t.entry((g + i) % f.perTable))
		if next.kind != s.kind || s.kind == grainHeld && (e.stream != nil || next.sector != s.sector+i*f.grain) {
			break
		}
		s.n += min(f.grainBytes(), n-s.n)
	}
	return s, nil
}

func (e *grainExtent) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		s, err := e.run(at, int64(len(p)-done))
		if err != nil {
			return done, err
		}
		part := p[done : done+int(s.n)]
		switch {
		case s.kind == grainAbsent && e.parent != nil:
			_, err = e.parent.ReadAt(part, e.parentAt+at)
		case s.kind != grainHeld:
			clear(part)
		case e.stream != nil:
			err = e.readCompressed(part, at, s.sector)
		default:
			err = readFull(e.file.st, part, s.sector*SectorSize+at%e.file.grainBytes())
		}
		if err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// NextData looks at tables, many at a time where they are empty. Inside of grains the storage is asked: a grain may be a hole.
func (e *grainExtent) NextData(off int64) (int64, int64, error) {
	under := underneath{e: e, start: -1}
	for off < e.size {
		s, err := e.scan(off)
		if err != nil {
			return 0, 0, err
		}
		start, end := off, off
		switch s.kind {
		case grainAbsent:
			start, end, err = under.dataIn(off, off+s.n)
		case grainHeld:
			start, end, err = e.dataIn(s, off)
		}
		if err != nil {
			return 0, 0, err
		}
		if start < end {
			return start, end, nil
		}
		off += s.n
	}
	return e.size, e.size, nil
}

// scan is run for as much as can be told at once.
func (e *grainExtent) scan(off int64) (grainSpan, error) {
	span := e.file.span()
	if off%span == 0 {
		n, err := e.file.empty(off / span)
		if err != nil {
			return grainSpan{}, err
		}
		if n > 0 {
			return grainSpan{kind: grainAbsent, n: min(n*span, e.size-off)}, nil
		}
	}
	return e.run(off, min(span-off%span, e.size-off))
}

// dataIn asks the storage about a run of grains that begins at off. Compressed ones are all data.
func (e *grainExtent) dataIn(s grainSpan, off int64) (int64, int64, error) {
	if e.stream != nil {
		return off, off + s.n, nil
	}
	at := s.sector*SectorSize + off%e.file.grainBytes()
	start, end, err := e.file.st.NextData(at, at+s.n)
	return off + start - at, off + end - at, err
}

// underneath asks the parent for its data, once for each range it has, however the snapshot is divided.
type underneath struct {
	e          *grainExtent
	start, end int64 // what the parent has next, in the extent's bytes; start is -1 before the first question
}

func (u *underneath) dataIn(off, limit int64) (int64, int64, error) {
	if u.e.parent == nil {
		return limit, limit, nil
	}
	if u.start < 0 || u.end <= off && u.start != math.MaxInt64 {
		start, end, err := u.e.parent.NextData(u.e.parentAt + off)
		if err != nil {
			return 0, 0, err
		}
		if u.start, u.end = start-u.e.parentAt, end-u.e.parentAt; start == end {
			u.start, u.end = math.MaxInt64, math.MaxInt64
		}
	}
	start, end := max(u.start, off), min(u.end, limit)
	if start >= end {
		return limit, limit, nil
	}
	return start, end, nil
}

func (e *grainExtent) WriteAt([]byte, int64) (int, error) { return 0, e.readOnly() }

func (e *grainExtent) Zero(int64, int64) error { return e.readOnly() }

func (e *grainExtent) Sync() error { return nil }

func (e *grainExtent) readOnly() error { return fmt.Errorf("%w: %s", ErrReadOnly, e.file.st.Name()) }
