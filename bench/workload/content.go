package workload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"failback/replication"
)

const (
	chunk = 4 << 20
	many  = 4 // chunks that are compared at a time
)

// Data returns where a file holds data: all of it but the holes that the file system knows of.
func Data(path string) ([]replication.Extent, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return dataIn(f, 0, info.Size())
}

func dataIn(f *os.File, off, end int64) ([]replication.Extent, error) {
	var all []replication.Extent
	for off < end {
		begin, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && begin >= end {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("find data of %s at %d: %w", f.Name(), off, err)
		}
		hole, err := unix.Seek(int(f.Fd()), begin, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("find a hole of %s at %d: %w", f.Name(), begin, err)
		}
		off = min(hole, end)
		all = append(all, replication.Extent{Off: begin, End: off})
	}
	return all, nil
}

// NonZero returns the parts of a file's extents that hold anything but zeros, by pages; a page at an end may be shorter.
func NonZero(path string, data []replication.Extent) (all []replication.Extent, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, chunk)
	for _, x := range data {
		for off := x.Off; off < x.End; off += chunk {
			b := b[:min(chunk, x.End-off)]
			if _, err := f.ReadAt(b, off); err != nil {
				return nil, err
			}
			for at := int64(0); at < int64(len(b)); at += replication.Page {
				end := min(at+replication.Page, int64(len(b)))
				switch n := len(all); {
				case replication.IsZero(b[at:end]):
				case n > 0 && all[n-1].End == off+at:
					all[n-1].End = off + end
				default:
					all = append(all, replication.Extent{Off: off + at, End: off + end})
				}
			}
		}
	}
	return all, nil
}

// Bytes returns how many bytes are in extents.
func Bytes(all []replication.Extent) (n int64) {
	for _, x := range all {
		n += x.Len()
	}
	return n
}

// Warm reads all data of a file once, so that the page cache has what fits.
func Warm(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, chunk))
	return err
}

// Forget has the kernel forget what it knows of a file and need not write; where a file system is in memory, nothing.
func Forget(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// Compare returns an error that names the first difference of two files found, or nil where they hold the same bytes.
func Compare(a, b string) error {
	fa, err := os.Open(a)
	if err != nil {
		return err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return err
	}
	defer fb.Close()
	ia, errA := fa.Stat()
	ib, errB := fb.Stat()
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if ia.Size() != ib.Size() {
		return fmt.Errorf("%s has %d bytes, %s has %d", a, ia.Size(), b, ib.Size())
	}
	var g errgroup.Group
	for first := range int64(many) {
		g.Go(func() error {
			var buf [2][chunk]byte
			for off := first * chunk; off < ia.Size(); off += many * chunk {
				n := min(chunk, ia.Size()-off)
				for i, f := range []*os.File{fa, fb} {
					if _, err := f.ReadAt(buf[i][:n], off); err != nil {
						return err
					}
				}
				if !bytes.Equal(buf[0][:n], buf[1][:n]) {
					return fmt.Errorf("%s differs from %s in the %d bytes at %d", b, a, n, off)
				}
			}
			return nil
		})
	}
	return g.Wait()
}
