package drill

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// scratchPart is the part of a disk that one file keeps: file systems have files of 16 TiB at most, disks may be larger.
const scratchPart = 8 << 40

// scratch keeps what was written to one disk, in sparse files that have no name.
type scratch struct {
	dir string

	mu    sync.RWMutex
	files map[int64]*os.File // by part
}

func newScratch(dir string) (*scratch, error) {
	s := &scratch{dir: dir, files: map[int64]*os.File{}}
	_, err := s.file(0, true) // said at once if it can't be
	return s, err
}

// file returns the file of a part.
func (s *scratch) file(part int64, make bool) (*os.File, error) {
	s.mu.RLock()
	f := s.files[part]
	s.mu.RUnlock()
	if f != nil || !make {
		return f, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[part]; f != nil {
		return f, nil
	}
	f, err := nameless(s.dir)
	if err != nil {
		return nil, err
	}
	s.files[part] = f
	return f, nil
}

// nameless makes a file that is gone when this process is, however it ends.
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(scratch)"), nil
	}
	f, err := os.CreateTemp(dir, ".failback-drill-*") // not every file system can do without a name
	if err != nil {
		return nil, fmt.Errorf("make the scratch file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("take the scratch file's name: %w", err)
	}
	return f, nil
}

// each calls do for the parts of a range: with what of b is in each.
func (s *scratch) each(b []byte, off int64, make bool, do func(f *os.File, b []byte, off int64) (int, error)) (n int, err error) {
	for n < len(b) && err == nil {
		part := off / scratchPart
		k := int(min(int64(len(b)-n), (part+1)*scratchPart-off))
		var f *os.File
		if f, err = s.file(part, make); err != nil {
			return n, err
		}
		if f == nil {
			return n, io.ErrUnexpectedEOF
		}
		k, err = do(f, b[n:n+k], off-part*scratchPart)
		n, off = n+k, off+int64(k)
	}
	return n, err
}

func (s *scratch) ReadAt(b []byte, off int64) (int, error) {
	return s.each(b, off, false, func(f *os.File, b []byte, off int64) (int, error) { return f.ReadAt(b, off) })
}

func (s *scratch) WriteAt(b []byte, off int64) (int, error) {
	return s.each(b, off, true, func(f *os.File, b []byte, off int64) (int, error) { return f.WriteAt(b, off) })
}

func (s *scratch) Punch(off, n int64) error {
	for n > 0 {
		part := off / scratchPart
		k := min(n, (part+1)*scratchPart-off)
		if f, _ := s.file(part, false); f != nil {
			if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off-part*scratchPart, k); err != nil {
				return err
			}
		}
		off, n = off+k, n-k
	}
	return nil
}

func (s *scratch) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	clear(s.files)
	return err
}

// freeBytes returns what may still be written to the file system that dir is on.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}
