package blockio

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// directQueue hands direct requests to the kernel (io_submit) and waits for them (io_getevents). A goroutine that waits in a system call of its own keeps a processor of Go's from
// others for a while, so that on a machine of two cores two short requests are under way at a time, whatever the callers do; here all of them are.
//
// There is no thread for it: one of those that wait takes what is finished off the queue, for itself and the others, until it has its own result, and passes that on.
type directQueue struct {
	f       *os.File
	context uintptr
	busy    atomic.Int32        // callers
	plain   turns               // of requests that went without the queue
	free    chan *directRequest // all requests that are not in use; their number is the bound

	mu      sync.Mutex
	leading bool // somebody takes results off the queue
	all     [directSlots]directRequest
	events  [directSlots]aioEvent // of who leads
}

type directRequest struct {
	block aioBlock
	wake  chan struct{} // it is finished, or nobody leads any more
	// Guarded by mu.
	active  bool  // handed over, and not finished
	waiting bool  // for another one that leads
	result  int64 // bytes, or a negative errno
}

// aioBlock is struct iocb of linux/aio_abi.h.
type aioBlock struct {
	data   uint64
	_      [2]uint32 // key, flags of the call
	opcode uint16
	_      int16 // priority
	fd     uint32
	buf    uint64
	bytes  uint64
	offset int64
	_      uint64
	_      [2]uint32 // flags, file for events
}

// aioEvent is struct io_event.
type aioEvent struct {
	data, block   uint64
	result, extra int64
}

// directPlain is how many requests at a time go without the queue: a few are quicker that way (for writes the kernel takes a detour through another thread).
const directPlain = 4

const (
	aioRead  = 0 // IOCB_CMD_PREAD
	aioWrite = 1 // IOCB_CMD_PWRITE
)

// newDirectQueue returns nil where the kernel has no queue for us (fs.aio-max-nr is used up).
func newDirectQueue(f *os.File) *directQueue {
	q := &directQueue{f: f, free: make(chan *directRequest, directSlots)}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, directSlots, uintptr(unsafe.Pointer(&q.context)), 0); errno != 0 {
		return nil
	}
	for i := range q.all {
		q.all[i].wake = make(chan struct{}, 1)
		q.all[i].block.data = uint64(i)
		q.free <- &q.all[i]
	}
	return q
}

// close gives the queue back. Nothing is under way.
func (q *directQueue) close() { _, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, q.context, 0, 0) }

// ReadAt and WriteAt are those of the file. What the kernel did only in part is gone on with there, which tells why.
func (q *directQueue) ReadAt(p []byte, off int64) (int, error) {
	defer q.busy.Add(-1)
	if q.busy.Add(1) <= directPlain {
		q.plain.take()
		return q.f.ReadAt(p, off)
	}
	n, err := q.do(aioRead, p, off)
	if err != nil || n == len(p) {
		return n, err
	}
	k, err := q.f.ReadAt(p[n:], off+int64(n))
	return n + k, err
}

func (q *directQueue) WriteAt(p []byte, off int64) (int, error) {
	defer q.busy.Add(-1)
	if q.busy.Add(1) <= directPlain {
		q.plain.take()
		return q.f.WriteAt(p, off)
	}
	n, err := q.do(aioWrite, p, off)
	if err != nil || n == len(p) {
		return n, err
	}
	k, err := q.f.WriteAt(p[n:], off+int64(n))
	return n + k, err
}

func (q *directQueue) do(opcode uint16, p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	var pin runtime.Pinner
	pin.Pin(unsafe.SliceData(p))
	defer pin.Unpin()
	r := <-q.free
	defer func() { q.free <- r }()
	r.block.opcode, r.block.offset = opcode, off
	r.block.buf, r.block.bytes = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))), uint64(len(p))
	q.mu.Lock()
	r.active = true
	q.mu.Unlock()
	if err := q.submit(r); err != nil {
		q.mu.Lock()
		r.active = false
		q.mu.Unlock()
		return 0, q.failed(opcode, err)
	}
	q.await(r)
	if r.result < 0 {
		return 0, q.failed(opcode, unix.Errno(-r.result))
	}
	return int(r.result), nil
}

func (q *directQueue) failed(opcode uint16, err error) error {
	return &os.PathError{Op: map[uint16]string{aioRead: "read", aioWrite: "write"}[opcode], Path: q.f.Name(), Err: err}
}

func (q *directQueue) submit(r *directRequest) error {
	for {
		err := control(q.f, func(fd int) error {
			r.block.fd = uint32(fd)
			block := &r.block
			if _, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, q.context, 1, uintptr(unsafe.Pointer(&block))); errno != 0 {
				return errno
			}
			return nil
		})
		if err != unix.EAGAIN { // the device's own queue is full
			return err
		}
		runtime.Gosched()
	}
}

// await returns when r is finished.
func (q *directQueue) await(r *directRequest) {
	q.mu.Lock()
	for r.active && q.leading {
		r.waiting = true
		q.mu.Unlock()
		<-r.wake
		q.mu.Lock()
		r.waiting = false
	}
	if !r.active {
		q.mu.Unlock()
		return
	}
	q.leading = true
	for r.active {
		q.mu.Unlock()
		n := q.finished()
		q.mu.Lock()
		for _, e := range q.events[:n] {
			done := &q.all[e.data]
			done.active, done.result = false, e.result
			if done != r {
				done.rouse()
			}
		}
	}
	q.leading = false
	for i := range q.all { // who does not wait yet will see for itself that nobody leads
		if next := &q.all[i]; next.active && next.waiting {
			next.rouse()
			break
		}
	}
	q.mu.Unlock()
}

// rouse makes who waits look again. Once too often does no harm.
func (r *directRequest) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// finished waits for at least one result, and returns how many it has put into events.
func (q *directQueue) finished() int {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, q.context, 1, directSlots, uintptr(unsafe.Pointer(&q.events[0])), 0, 0)
		switch errno {
		case 0:
			return int(n)
		case unix.EINTR:
		default: // requests are under way that nobody will hear of, into memory that others use
			panic(fmt.Sprintf("blockio: io_getevents for %s: %v", q.f.Name(), errno))
		}
	}
}
