package blockio

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// storage is the file or device under a disk, and the seam at which tests cut the power. Ranges are inside the file, except
// that WriteAt may grow a file (grains are appended); Zero never does. Only one goroutine calls Truncate.
type storage interface {
	io.ReaderAt
	io.WriterAt
	Name() string
	Size() (int64, error)
	Truncate(size int64) error
	Zero(off, n int64) error
	// NextData returns the first range in [off, limit) that may hold data; start == end == limit when there is none.
	NextData(off, limit int64) (start, end int64, err error)
	Sync() error
	Close() error
}

// zeroSource is what is written where zeroing has to be done by writing. Never changed.
var zeroSource [1 << 20]byte

// osFile is a storage in a file or on a block device of this machine.
type osFile struct {
	f      *os.File
	name   string
	device bool
	// keepAllocated: zeroing does not give space back, because the disk is thick.
	keepAllocated bool
	early         writeback
	direct        *directAccess // nil: through the page cache
	cached        preads        // reads through it
}

func (s *osFile) Name() string { return s.name }

// osFile is how the file under a storage of any kind is found.
func (s *osFile) osFile() *osFile { return s }

func (s *osFile) Size() (int64, error) {
	if s.device {
		return deviceSize(s.f)
	}
	fi, err := s.f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (s *osFile) ReadAt(p []byte, off int64) (int, error) {
	var n int
	var err error
	if s.direct != nil {
		n, err = s.direct.readAt(p, off)
	} else {
		n, err = s.cached.readAt(s.f, p, off)
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("offset %d, %d bytes: %w", off, len(p), err)
	}
	return n, err
}

func (s *osFile) WriteAt(p []byte, off int64) (int, error) {
	var n int
	var err error
	if s.direct != nil {
		n, err = s.direct.writeAt(p, off)
	} else {
		s.cached.turn()
		n, err = s.f.WriteAt(p, off)
	}
	if err != nil {
		return n, fmt.Errorf("offset %d, %d bytes: %w", off, len(p), err)
	}
	if s.direct == nil && !s.device { // a device is written out by the kernel as quickly, and without being asked
		s.early.wrote(s.f, off, int64(n))
	}
	return n, nil
}

func (s *osFile) Truncate(size int64) error { return s.f.Truncate(size) }

func (s *osFile) Sync() error { return datasync(s.f) }

func (s *osFile) Close() error {
	if s.direct != nil {
		s.direct.close()
	}
	unlock(s.f)
	s.cached.close()
	return s.f.Close()
}

func (s *osFile) NextData(off, limit int64) (int64, int64, error) {
	if off >= limit {
		return limit, limit, nil
	}
	if s.device { // a block device cannot tell
		return off, limit, nil
	}
	start, end, err := seekData(s.f, off)
	switch {
	case errors.Is(err, errNoHoles):
		return off, limit, nil
	case err != nil:
		return 0, 0, fmt.Errorf("find data at or after offset %d: %w", off, err)
	}
	start, end = max(start, off), min(end, limit)
	if start >= limit || start >= end { // nothing but a hole, if the file is as long as it was: what is behind its end is none
		return limit, limit, s.reaches(limit)
	}
	return start, end, nil
}

// reaches: the file was not cut since it was opened.
func (s *osFile) reaches(limit int64) error {
	size, err := s.Size()
	if err == nil && size < limit {
		err = corruptAt(s.name, size, "the file ends here, %d bytes before the end of what it should hold", limit-size)
	}
	return err
}

// Zero tries the cheap ways in turn, and writes zeros where none is supported. An error other than "not supported" is final:
// what the range holds then is unknown, as after a failed write.
func (s *osFile) Zero(off, n int64) error {
	if n <= 0 {
		return nil
	}
	ways := zeroFileWays(s.keepAllocated)
	switch {
	case s.device:
		ways = zeroDeviceWays()
	case s.direct == nil:
		return s.zeroBy(off, n, ways)
	}
	return s.zeroBlocks(off, n, ways)
}

// zeroBlocks leaves the partial blocks at both ends to writing: a device only takes whole ones, and a file system would put them into the page cache.
func (s *osFile) zeroBlocks(off, n int64, ways []zeroWay) error {
	block := int64(4096)
	if s.direct != nil {
		block = max(block, s.direct.block)
	}
	from, to := (off+block-1)/block*block, (off+n)/block*block
	if from >= to {
		return s.writeZeros(off, n)
	}
	if err := s.writeZeros(off, from-off); err != nil {
		return err
	}
	if err := s.zeroBy(from, to-from, ways); err != nil {
		return err
	}
	return s.writeZeros(to, off+n-to)
}

// zeroWay zeroes a range inside a file or device without writing the zeros from here, or says errors.ErrUnsupported.
type zeroWay func(f *os.File, off, n int64) error

func (s *osFile) zeroBy(off, n int64, ways []zeroWay) error {
	for _, way := range ways {
		err := way(s.f, off, n)
		if err == nil {
			return nil
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return fmt.Errorf("zero %s: offset %d, %d bytes: %w", s.name, off, n, err)
		}
	}
	return s.writeZeros(off, n)
}

func (s *osFile) writeZeros(off, n int64) error {
	for n > 0 {
		k := min(n, int64(len(zeroSource)))
		if _, err := s.WriteAt(zeroSource[:k], off); err != nil {
			return fmt.Errorf("zero by writing: %w", err)
		}
		off, n = off+k, n-k
	}
	return nil
}
