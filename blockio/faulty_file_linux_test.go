package blockio_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// faultyFile is a file that fails as it is told to, with the errors of the system calls themselves: a file system (FUSE) that is nothing but this file, mounted over it.
type faultyFile struct {
	mu       sync.Mutex
	content  []byte
	faults   map[uint32]unix.Errno // by operation
	short    bool                  // writes take half of what they are given, while that is more than a sector
	cut      int                   // the file ends here for who reads, whatever its size is; 0: nowhere
	requests map[uint32]int
}

// The operations that a file needs, of linux/fuse.h.
const (
	fuseGetattr = 3
	fuseOpen    = 14
	fuseRead    = 15
	fuseWrite   = 16
	fuseRelease = 18
	fuseFsync   = 20
	fuseFlush   = 25
	fuseInit    = 26
)

func (f *faultyFile) set(do func(f *faultyFile)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f)
}

// fail has an operation fail from now on; 0 has it succeed.
func (f *faultyFile) fail(operation uint32, errno unix.Errno) {
	f.set(func(f *faultyFile) { f.faults[operation] = errno })
}

func (f *faultyFile) count(operation uint32) (n int) {
	f.set(func(f *faultyFile) { n = f.requests[operation] })
	return n
}

// newFaultyFile puts a file of size bytes at path, for the length of the test. It skips the test where that is not possible.
func newFaultyFile(t *testing.T, path string, size int) *faultyFile {
	t.Helper()
	// To open the file, the runtime asks the kernel whether it can be polled, and keeps its processor while the question waits for serve: with another one stopped by the collector, serve needs a third.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 8))
	writeFile(t, path, nil)
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("/dev/fuse: %v", err)
	}
	if err := unix.Mount("faulty", path, "fuse", unix.MS_NODEV|unix.MS_NOSUID, fmt.Sprintf("fd=%d,rootmode=100600,user_id=%d,group_id=%d", fd, os.Getuid(), os.Getgid())); err != nil {
		unix.Close(fd)
		t.Skipf("mount: %v", err)
	}
	f := &faultyFile{content: make([]byte, size), faults: map[uint32]unix.Errno{}, requests: map[uint32]int{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.serve(fd)
	}()
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", path, err)
		}
		<-done
		unix.Close(fd)
	})
	return f
}

// serve answers requests until the file is unmounted and closed by all.
func (f *faultyFile) serve(fd int) {
	in := make([]byte, 1<<20)
	le := binary.NativeEndian
	for {
		n, err := unix.Read(fd, in)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil {
			return
		}
		operation, unique := le.Uint32(in[4:]), le.Uint64(in[8:])
		if operation == 2 || operation == 36 || operation == 42 { // forget, interrupt: nobody waits
			continue
		}
		body, errno := f.answer(operation, in[40:n])
		out := make([]byte, 16, 16+len(body))
		le.PutUint32(out, uint32(16+len(body)))
		le.PutUint32(out[4:], uint32(-int32(errno)))
		le.PutUint64(out[8:], unique)
		_, _ = unix.Write(fd, append(out, body...)) // who asked may be gone
	}
}

func (f *faultyFile) answer(operation uint32, in []byte) ([]byte, unix.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests[operation]++
	if errno := f.faults[operation]; errno != 0 {
		return nil, errno
	}
	le := binary.NativeEndian
	switch operation {
	case fuseInit:
		b := make([]byte, 64)
		le.PutUint32(b, 7)
		le.PutUint32(b[4:], 31)
		le.PutUint32(b[20:], 128<<10) // bytes of a write
		return b, 0
	case fuseGetattr:
		b := make([]byte, 16+88)
		le.PutUint64(b[16:], 1)
		le.PutUint64(b[24:], uint64(len(f.content)))
		le.PutUint32(b[16+60:], unix.S_IFREG|0o600)
		le.PutUint32(b[16+64:], 1)
		return b, 0
	case fuseOpen:
		b := make([]byte, 16)
		le.PutUint32(b[8:], 1) // FOPEN_DIRECT_IO: every call comes here
		return b, 0
	case fuseRead:
		end := len(f.content)
		if f.cut > 0 {
			end = f.cut
		}
		off, n := int(le.Uint64(in[8:])), int(le.Uint32(in[16:]))
		off = min(off, end)
		return append([]byte(nil), f.content[off:min(off+n, end)]...), 0
	case fuseWrite:
		off, n := int(le.Uint64(in[8:])), int(le.Uint32(in[16:]))
		if f.short && n > 512 {
			n /= 2
		}
		copy(f.content[off:], in[40:][:n])
		b := make([]byte, 8)
		le.PutUint32(b, uint32(n))
		return b, 0
	case fuseFsync, fuseFlush, fuseRelease:
		return nil, 0
	}
	return nil, unix.ENOSYS
}
