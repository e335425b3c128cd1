package blockio

import (
	"io"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// preads reads a file by its descriptor. os.File counts who is using it, in one place that goes from core to core with each read; the gate of the disk does so already, and cheaper: who reads is inside, and the file is
// closed when nobody is. In the page cache, where a read of 4 KiB takes 0.7 us, that is a tenth of it; to tell the scheduler of a call that never waits is another. The zero value reads by the file.
type preads struct {
	fd     int
	opened bool
	turns  turns        // of reads that may wait, and of writes
	hot    atomic.Bool  // the last read was in the page cache from beginning to end
	cold   atomic.Int32 // so many reads are not looked for there: the last one that was, was not there
	waits  atomic.Bool  // whatever is asked for: its file system can't say that it would have to wait
}

const (
	// cachedMax is the most that is read without telling the scheduler, in bytes: it copies for as long as copy would, some tenths of a millisecond at most.
	cachedMax = 1 << 20
	// coldReads is how many reads go without a look into the page cache after one that was not there: such a look may begin to read ahead, and so wait for a moment.
	coldReads = 32
)

func (r *preads) open(f *os.File) { r.fd, r.opened = int(f.Fd()), true }

// turn is taken before a write.
func (r *preads) turn() { r.turns.take() }

// close makes reads fail that come too late: the number may be another file's by then.
func (r *preads) close() { r.fd = -1 }

// readAt follows io.ReaderAt.
func (r *preads) readAt(f *os.File, p []byte, off int64) (n int, err error) {
	if !r.opened {
		return f.ReadAt(p, off)
	}
	if len(p) <= cachedMax && len(p) > 0 && off >= 0 && !r.waits.Load() && !r.isCold() {
		if n = r.cached(p, off); n == len(p) {
			return n, nil
		}
	}
	r.turns.take()
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

// isCold says whether a read is not to be looked for in the page cache.
func (r *preads) isCold() bool {
	return r.cold.Load() > 0 && r.cold.Add(-1) >= 0
}

// cached reads what lies in the page cache from off on, without waiting for it: as much as that is. The scheduler is not told only where the read before was there too.
func (r *preads) cached(p []byte, off int64) int {
	const longBits = unix.SizeofLong * 8
	v := unix.Iovec{Base: &p[0]}
	v.SetLen(len(p))
	low, high := uintptr(off), uintptr(uint64(off)>>(longBits-1)>>1)
	var n uintptr
	var errno unix.Errno
	if r.hot.Load() {
		n, _, errno = unix.RawSyscall6(unix.SYS_PREADV2, uintptr(r.fd), uintptr(unsafe.Pointer(&v)), 1, low, high, unix.RWF_NOWAIT)
	} else {
		n, _, errno = unix.Syscall6(unix.SYS_PREADV2, uintptr(r.fd), uintptr(unsafe.Pointer(&v)), 1, low, high, unix.RWF_NOWAIT)
	}
	whole := errno == 0 && int(n) == len(p)
	if whole != r.hot.Load() {
		r.hot.Store(whole)
	}
	if !whole {
		r.cold.Store(coldReads)
	}
	switch errno {
	case 0:
		return int(n)
	case unix.EOPNOTSUPP, unix.EINVAL, unix.ENOSYS:
		r.waits.Store(true)
	}
	return 0
}
