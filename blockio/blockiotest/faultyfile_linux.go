package blockiotest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// FaultyFile is a file that fails as it is told to, with the errors of system calls: a file system (FUSE) that is nothing but this file, mounted over it. A process of its own serves it: one that
// waits for itself in a system call may wait for ever, as the collector stops those that would answer.
type FaultyFile struct {
	t       *testing.T
	process *exec.Cmd
	to      *json.Encoder
	from    *json.Decoder

	mu     sync.Mutex
	orders faultOrders
}

// Operation is a request to a file, numbered as in linux/fuse.h.
type Operation uint32

// The operations that a file needs.
const (
	Getattr Operation = 3
	Opened  Operation = 14
	Read    Operation = 15
	Write   Operation = 16
	Release Operation = 18
	Fsync   Operation = 20
	Flush   Operation = 25
	started Operation = 26
)

// Fault is an operation that fails. Reads and writes fail that touch the range from Off to End; End 0: all do.
type Fault struct {
	Operation Operation
	Errno     unix.Errno
	Off, End  int64
	Times     int // 0: until it is told otherwise
}

// faultOrders say how a file fails. All of them are told anew each time.
type faultOrders struct {
	Faults []Fault
	Short  bool  // writes take half of what they are given, while that is more than a sector
	Cut    int64 // the file ends here for who reads, whatever its size is; 0: nowhere
	Kept   bool  // nothing changes: requests are asked for
}

// servesFaultyFile tells a process of a test's binary that it is such a server.
const servesFaultyFile = "FAILBACK_SERVES_FAULTY_FILE"

// ServeFaultyFile makes a process that NewFaultyFile started serve the file, and end; in any other it does nothing. The TestMain of a package that uses NewFaultyFile calls it first.
func ServeFaultyFile() {
	path := os.Getenv(servesFaultyFile)
	if path == "" {
		return
	}
	if err := serveFaultyFile(path); err != nil {
		fmt.Fprintln(os.Stderr, "faulty file:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// NewFaultyFile puts itself in the place of a file, with its content, for the length of the test; what is written to it is gone afterwards. It skips the test where that is not possible.
func NewFaultyFile(t *testing.T, path string) *FaultyFile {
	t.Helper()
	below, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer below.Close()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("/dev/fuse: %v", err)
	}
	fuse := os.NewFile(uintptr(fd), "/dev/fuse")
	defer fuse.Close()
	if err := unix.Mount("faulty", path, "fuse", unix.MS_NODEV|unix.MS_NOSUID, fmt.Sprintf("fd=%d,rootmode=100600,user_id=%d,group_id=%d", fd, os.Getuid(), os.Getgid())); err != nil {
		t.Skipf("mount: %v", err)
	}
	unmount := func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", path, err)
		}
	}
	f := &FaultyFile{t: t, process: exec.Command("/proc/self/exe")}
	f.process.Env = append(os.Environ(), servesFaultyFile+"="+path)
	f.process.ExtraFiles = []*os.File{fuse, below}
	f.process.Stderr = os.Stderr
	in, err := f.process.StdinPipe()
	if err == nil {
		var out io.ReadCloser
		if out, err = f.process.StdoutPipe(); err == nil {
			f.from, f.to = json.NewDecoder(out), json.NewEncoder(in)
			err = f.process.Start()
		}
	}
	if err != nil {
		unmount()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unmount()
		in.Close()
		if err := f.process.Wait(); err != nil {
			t.Errorf("who served %s: %v", path, err)
		}
	})
	f.Requests() // it serves
	return f
}

// Fail has an operation fail from now on; 0 has it succeed.
func (f *FaultyFile) Fail(operation Operation, errno unix.Errno) {
	f.t.Helper()
	f.set(func(o *faultOrders) {
		o.Faults = withoutOperation(o.Faults, operation)
		if errno != 0 {
			o.Faults = append(o.Faults, Fault{Operation: operation, Errno: errno})
		}
	})
}

// Faults says anew what fails.
func (f *FaultyFile) Faults(faults ...Fault) {
	f.t.Helper()
	f.set(func(o *faultOrders) { o.Faults = faults })
}

// Short has writes take only a part of what they are given.
func (f *FaultyFile) Short(on bool) {
	f.t.Helper()
	f.set(func(o *faultOrders) { o.Short = on })
}

// Cut has the file end early for who reads.
func (f *FaultyFile) Cut(at int64) {
	f.t.Helper()
	f.set(func(o *faultOrders) { o.Cut = at })
}

// Requests returns how many requests there were, by operation.
func (f *FaultyFile) Requests() map[Operation]int {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tellLocked(faultOrders{Kept: true})
}

func (f *FaultyFile) set(change func(o *faultOrders)) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.orders)
	f.tellLocked(f.orders)
}

func (f *FaultyFile) tellLocked(o faultOrders) (requests map[Operation]int) {
	f.t.Helper()
	err := f.to.Encode(o)
	if err == nil {
		err = f.from.Decode(&requests)
	}
	if err != nil {
		f.t.Fatalf("who serves the faulty file: %v", err)
	}
	return requests
}

func withoutOperation(faults []Fault, operation Operation) (rest []Fault) {
	for _, x := range faults {
		if x.Operation != operation {
			rest = append(rest, x)
		}
	}
	return rest
}

// faultyServer is the other process.
type faultyServer struct {
	mu       sync.Mutex
	content  []byte
	orders   faultOrders
	requests map[Operation]int
}

// serveFaultyFile serves until the file is unmounted and closed by all, or whoever gives orders is gone: then it unmounts itself.
func serveFaultyFile(path string) error {
	fuse, below := 3, os.NewFile(4, "below")
	content, err := io.ReadAll(below)
	if err != nil {
		return err
	}
	s := &faultyServer{content: content, requests: map[Operation]int{}}
	go func() {
		s.take(os.Stdin, os.Stdout)
		_ = unix.Unmount(path, unix.MNT_DETACH) // it mostly was
		os.Exit(0)
	}()
	s.serve(fuse)
	return nil
}

// take takes orders, and answers each with the requests that there were.
func (s *faultyServer) take(r io.Reader, w io.Writer) {
	from, to := json.NewDecoder(r), json.NewEncoder(w)
	for {
		var o faultOrders
		if from.Decode(&o) != nil {
			return
		}
		s.mu.Lock()
		if !o.Kept {
			s.orders = o
		}
		err := to.Encode(s.requests)
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *faultyServer) serve(fd int) {
	in := make([]byte, 1<<20)
	le := binary.NativeEndian
	for {
		n, err := unix.Read(fd, in)
		if err == unix.EINTR || err == unix.EAGAIN || err == unix.ENOENT { // ENOENT: who asked is gone
			continue
		}
		if err != nil {
			return
		}
		operation, unique := le.Uint32(in[4:]), le.Uint64(in[8:])
		if operation == 2 || operation == 36 || operation == 42 { // forget, interrupt: nobody waits
			continue
		}
		body, errno := s.answer(Operation(operation), in[40:n])
		out := make([]byte, 16, 16+len(body))
		le.PutUint32(out, uint32(16+len(body)))
		le.PutUint32(out[4:], uint32(-int32(errno)))
		le.PutUint64(out[8:], unique)
		_, _ = unix.Write(fd, append(out, body...)) // who asked may be gone
	}
}

// fault returns what an operation fails with, on a range of the file.
func (s *faultyServer) fault(operation Operation, off, end int64) unix.Errno {
	for i := range s.orders.Faults {
		x := &s.orders.Faults[i]
		if x.Operation != operation || x.End > 0 && (end <= x.Off || x.End <= off) || x.Times < 0 {
			continue
		}
		if x.Times > 0 {
			if x.Times--; x.Times == 0 {
				x.Times = -1 // spent
			}
		}
		return x.Errno
	}
	return 0
}

func (s *faultyServer) answer(operation Operation, in []byte) ([]byte, unix.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[operation]++
	le := binary.NativeEndian
	var off, n int64
	if operation == Read || operation == Write {
		off, n = int64(le.Uint64(in[8:])), int64(le.Uint32(in[16:]))
	}
	if errno := s.fault(operation, off, off+n); errno != 0 {
		return nil, errno
	}
	switch operation {
	case started:
		b := make([]byte, 64)
		le.PutUint32(b, 7)
		le.PutUint32(b[4:], 31)
		le.PutUint32(b[20:], 128<<10) // bytes of a write
		return b, 0
	case Getattr:
		b := make([]byte, 16+88)
		le.PutUint64(b[16:], 1)
		le.PutUint64(b[24:], uint64(len(s.content)))
		le.PutUint32(b[16+60:], unix.S_IFREG|0o600)
		le.PutUint32(b[16+64:], 1)
		return b, 0
	case Opened:
		b := make([]byte, 16)
		le.PutUint32(b[8:], 1) // FOPEN_DIRECT_IO: every call comes here
		return b, 0
	case Read:
		end := int64(len(s.content))
		if s.orders.Cut > 0 {
			end = s.orders.Cut
		}
		off = min(off, end)
		return append([]byte(nil), s.content[off:min(off+n, end)]...), 0
	case Write:
		if s.orders.Short && n > 512 {
			n /= 2
		}
		if off+n > int64(len(s.content)) {
			return nil, unix.EFBIG
		}
		copy(s.content[off:], in[40:][:n])
		b := make([]byte, 8)
		le.PutUint32(b, uint32(n))
		return b, 0
	case Fsync, Flush, Release:
		return nil, 0
	}
	return nil, unix.ENOSYS
}
