package blockio

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// preads reads a file by its descriptor. os.File counts who is using it, in one place that goes from core to core with each read; the gate of the disk does so already, and cheaper: who reads is inside, and the file is
// closed when nobody is. In the page cache, where a read of 4 KiB takes 0.7 us, that is a tenth of it. The zero value reads by the file.
type preads struct {
	fd     int
	opened bool
}

func (r *preads) open(f *os.File) { r.fd, r.opened = int(f.Fd()), true }

// close makes reads fail that come too late: the number may be another file's by then.
func (r *preads) close() { r.fd = -1 }

// readAt follows io.ReaderAt.
func (r *preads) readAt(f *os.File, p []byte, off int64) (n int, err error) {
	if !r.opened {
		return f.ReadAt(p, off)
	}
	for n < len(p) {
		k, err := unix.Pread(r.fd, p[n:], off+int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, &os.PathError{Op: "read", Path: f.Name(), Err: err}
		case k == 0:
			return n, io.EOF
		default:
			n += k
		}
	}
	return n, nil
}
