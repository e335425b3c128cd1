package blockio

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// growStep is how far a sparse file is grown at a time, in bytes. What was not needed is cut off at Close.
const growStep = 16 << 20

// sparseExtent is a hosted sparse extent: grains of data that are found through two levels of tables.
//
// Writing keeps this order: an entry is changed in memory only; Sync makes the grains (and the length of the file) durable, then
// writes the changed entries, then makes those durable. A grain that is not referred to yet holds zeros, which is also what
// its absence means, so after a crash each sector has its old content or its new one, and no entry points to nothing.
type sparseExtent struct {
	st     storage
	header sparseHeader
	size   int64 // bytes

	// crashed: the unclean mark was set when the extent was opened.
	crashed bool
	// marked: our own unclean mark is durable.
	marked bool
	// step is growStep, less in tests.
	step int64

	syncing sync.Mutex // one flush at a time; taken before mu

	mu       sync.Mutex
	fileSize int64 // bytes, as grown so far
	nextFree int64 // the sector at which the next grain is made; no entry points at or past it
	tables   tableCache
}

// openSparse reads header and directories. The content of the tables is read, and judged, when it is needed.
func openSparse(st storage) (*sparseExtent, error) {
	fileSize, err := st.Size()
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", st.Name(), err)
	}
	b := make([]byte, sparseHeaderBytes)
	if err := readFull(st, b[:min(fileSize, sparseHeaderBytes)], 0); err != nil {
		return nil, fmt.Errorf("read sparse header: %w", err)
	}
	h, err := decodeSparseHeader(st.Name(), b[:min(fileSize, sparseHeaderBytes)], fileSize)
	if err != nil {
		return nil, err
	}
	if h.compressed() {
		return nil, unsupported(st.Name(), "a compressed (streamOptimized) extent is written only once")
	}
	s := &sparseExtent{st: st, header: h, size: h.capacity * SectorSize, crashed: h.unclean, step: growStep, fileSize: fileSize}
	s.nextFree = ceilDiv(max(fileSize, h.overhead*SectorSize), h.grainBytes()) * h.grain
	if err := s.tables.load(st, h); err != nil {
		return nil, err
	}
	return s, nil
}

// grainRun is a run of the extent that lies in one piece in the file, or has no grains.
type grainRun struct {
	n       int64 // bytes
	fileOff int64 // -1 where there is no grain, or one of zeros
}

// run finds the first run of [off, off+n). With allocate, grains are made where there are none.
func (s *sparseExtent) run(off, n int64, allocate bool) (grainRun, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	grain := s.header.grainBytes()
	first, err := s.grainLocked(off/grain, allocate)
	if err != nil {
		return grainRun{}, err
	}
	r := grainRun{n: min(n, grain-off%grain), fileOff: -1}
	if first >= 0 {
		r.fileOff = first + off%grain
	}
	for r.n < n {
		next, err := s.grainLocked((off+r.n)/grain, allocate)
		if err != nil { // it comes up again when the caller asks for the next run
			return r, nil
		}
		if r.fileOff < 0 && next >= 0 || r.fileOff >= 0 && next != r.fileOff+r.n {
			return r, nil
		}
		r.n += min(grain, n-r.n)
	}
	return r, nil
}

// grainLocked returns where grain g lies in the file, or -1. An entry is never believed before it is checked.
func (s *sparseExtent) grainLocked(g int64, allocate bool) (int64, error) {
	t, err := s.tableLocked(g/tableEntries, allocate)
	if err != nil || t == nil {
		return -1, err
	}
	i := g % tableEntries
	entry := t.entries[i]
	if entry == 0 || entry == entryZero && s.header.flags&flagZeroGrains != 0 {
		if !allocate {
			return -1, nil
		}
		at, err := s.growLocked(s.header.grain)
		if err != nil {
			return -1, err
		}
		s.tables.set(t, i, uint32(at))
		return at * SectorSize, nil
	}
	if err := s.checkEntryLocked(g, int64(entry), t.at*SectorSize+i*4); err != nil {
		return -1, err
	}
	return int64(entry) * SectorSize, nil
}

// checkEntryLocked: a grain lies behind the metadata and inside the file. entryAt is where the entry stands, for the message.
func (s *sparseExtent) checkEntryLocked(g, sector, entryAt int64) error {
	if sector < s.header.overhead {
		return corruptAt(s.st.Name(), entryAt, "grain %d is at sector %d, inside the metadata (%d sectors)", g, sector, s.header.overhead)
	}
	need := min(s.header.grainBytes(), s.size-g*s.header.grainBytes()) // the last grain may be short
	if sector*SectorSize+need > s.fileSize {
		return corruptAt(s.st.Name(), entryAt, "grain %d is at sector %d, past the end of the file of %d bytes", g, sector, s.fileSize)
	}
	return nil
}

// growLocked takes n sectors, rounded up to whole grains, from the end of the file, which reads as zeros there.
func (s *sparseExtent) growLocked(n int64) (sector int64, err error) {
	at := s.nextFree
	end := at + ceilDiv(n, s.header.grain)*s.header.grain
	if end*SectorSize > maxSparse {
		return 0, fmt.Errorf("grow %s: %d bytes are the most that a sparse file can have; use a flat format for this disk", s.st.Name(), int64(maxSparse))
	}
	if end*SectorSize > s.fileSize {
		size := max(min(end*SectorSize+s.step, maxSparse), end*SectorSize)
		if err := s.st.Truncate(size); err != nil {
			return 0, fmt.Errorf("grow %s from %d to %d bytes: %w", s.st.Name(), s.fileSize, size, err)
		}
		s.fileSize = size
	}
	s.nextFree = end
	return at, nil
}

func (s *sparseExtent) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		r, err := s.run(off+int64(done), int64(len(p)-done), false)
		if err != nil {
			return done, err
		}
		part := p[done : done+int(r.n)]
		if r.fileOff < 0 {
			clear(part)
		} else if err := readFull(s.st, part, r.fileOff); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

func (s *sparseExtent) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		if err := s.makeRoom(); err != nil {
			return done, err
		}
		r, err := s.run(off+int64(done), int64(len(p)-done), true)
		if err != nil {
			return done, err
		}
		n, err := s.st.WriteAt(p[done:done+int(r.n)], r.fileOff)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Zero clears the grains that exist, where they are. No entry changes, so a crash has nothing to get wrong.
func (s *sparseExtent) Zero(off, n int64) error {
	for n > 0 {
		r, err := s.run(off, n, false)
		if err != nil {
			return err
		}
		if r.fileOff >= 0 {
			if err := s.st.Zero(r.fileOff, r.n); err != nil {
				return err
			}
		}
		off, n = off+r.n, n-r.n
	}
	return nil
}

// NextData looks at one table at a time, so that a scan of a large disk does not keep others waiting. Inside of grains the
// storage is asked: a grain that was zeroed may be a hole.
func (s *sparseExtent) NextData(off int64) (int64, int64, error) {
	span := s.header.grainBytes() * tableEntries
	for off < s.size {
		if off%span == 0 {
			empty, err := s.emptyTables(off / span)
			if err != nil {
				return 0, 0, err
			}
			if empty > 0 {
				off = min(off+empty*span, s.size)
				continue
			}
		}
		r, err := s.run(off, min(span-off%span, s.size-off), false)
		if err != nil {
			return 0, 0, err
		}
		if r.fileOff >= 0 {
			start, end, err := s.st.NextData(r.fileOff, r.fileOff+r.n)
			if err != nil {
				return 0, 0, err
			}
			if start < end {
				return off + start - r.fileOff, off + end - r.fileOff, nil
			}
		}
		off += r.n
	}
	return s.size, s.size, nil
}

// mark makes the unclean mark durable, and puts right what an interrupted session of ours may have left.
func (s *sparseExtent) mark() error {
	if s.marked {
		return nil
	}
	if !s.crashed {
		if err := s.setUnclean(1); err != nil {
			return err
		}
	} else if err := s.recover(); err != nil {
		return fmt.Errorf("recover %s after an interrupted session: %w", s.st.Name(), err)
	}
	s.marked = true
	return nil
}

func (s *sparseExtent) setUnclean(v byte) error {
	if _, err := s.st.WriteAt([]byte{v}, sparseUncleanAt); err != nil {
		return fmt.Errorf("write unclean mark of %s: %w", s.st.Name(), err)
	}
	return s.syncStorage()
}

func (s *sparseExtent) syncStorage() error {
	if err := s.st.Sync(); err != nil {
		return syncFailed(s.st.Name(), err)
	}
	return nil
}

// Finish cuts off what was grown in vain and takes the unclean mark away. Everything else has been synced.
func (s *sparseExtent) Finish() error {
	if !s.marked {
		return nil
	}
	if end := s.nextFree * SectorSize; end < s.fileSize {
		if err := s.st.Truncate(end); err != nil {
			return fmt.Errorf("cut %s to %d bytes: %w", s.st.Name(), end, err)
		}
		if err := s.syncStorage(); err != nil {
			return err
		}
	}
	s.marked = false
	return s.setUnclean(0)
}

// readDescriptor returns the embedded descriptor with its padding, nil when there is none.
func (s *sparseExtent) readDescriptor() ([]byte, error) {
	if s.header.descriptorOffset == 0 {
		return nil, nil
	}
	b := make([]byte, s.header.descriptorSize*SectorSize)
	return b, readFull(s.st, b, s.header.descriptorOffset*SectorSize)
}

// writeDescriptor replaces the embedded descriptor in place and makes it durable. Only sectors that differ are written: when a
// content id keeps its length, which ours do, that is one sector each for CID and longContentID, and a torn write leaves a
// descriptor that can be read.
func (s *sparseExtent) writeDescriptor(text []byte) error {
	old, err := s.readDescriptor()
	if err != nil {
		return err
	}
	if len(text) >= len(old) {
		return fmt.Errorf("write descriptor of %s: %d bytes do not fit into %d", s.st.Name(), len(text), len(old))
	}
	b := make([]byte, len(old))
	copy(b, text)
	for at := 0; at < len(b); at += SectorSize {
		sector := b[at : at+SectorSize]
		if bytes.Equal(sector, old[at:at+SectorSize]) {
			continue
		}
		if _, err := s.st.WriteAt(sector, s.header.descriptorOffset*SectorSize+int64(at)); err != nil {
			return fmt.Errorf("write descriptor of %s: %w", s.st.Name(), err)
		}
	}
	return s.syncStorage()
}

// readFull reads all of p. The caller has checked that the range is inside the file: a short read is a file that was cut.
func readFull(st storage, p []byte, off int64) error {
	n, err := st.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return corruptAt(st.Name(), off+int64(n), "the file ends here, %d bytes before the end of what it should hold", len(p)-n)
	}
	return err
}
