package transport

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// backlogMost is how much of a lane is read ahead of what takes it, as long as that is quick: a frame, and most of the next one. More falls out of the cores' cache before it is copied and checked. It
// is no bound of memory, which laneWindow is: a lane that is not taken is read on.
const backlogMost = 320 << 10

// backlogWait is how long reading waits at most for a frame to be taken. Where none is, it goes on until one is: a window in flight bridges what a disk takes to answer, and signs of life are answered.
const backlogWait = 5 * time.Millisecond

// backlog is what a connection's lane has received and not taken yet. Reading waits a moment where it is more than it has to be.
type backlog struct {
	lane  atomic.Bool // a lane is open: it says what it takes
	bytes atomic.Int64
	free  atomic.Bool // nothing was taken for long: reading does not wait until something is
	waits atomic.Bool
	room  chan struct{} // holds one: a frame was taken, and there is room

	late *time.Timer // read's, between its calls: it is stopped
}

func newBacklog() *backlog { return &backlog{room: make(chan struct{}, 1)} }

// open begins a lane.
func (b *backlog) open() {
	b.bytes.Store(0)
	b.free.Store(false)
	b.lane.Store(true)
}

// end ends it: what comes then is read at once.
func (b *backlog) end() {
	b.lane.Store(false)
	b.wake()
}

// read takes note that n bytes of content were read, and returns when more should be.
func (b *backlog) read(n int) {
	if !b.lane.Load() || b.bytes.Add(int64(n)) <= backlogMost || b.free.Load() {
		return
	}
	b.waits.Store(true)
	defer b.waits.Store(false)
	if b.late == nil {
		b.late = time.NewTimer(backlogWait)
	} else {
		b.late.Reset(backlogWait)
	}
	defer b.late.Stop()
	for b.lane.Load() && b.bytes.Load() > backlogMost {
		select {
		case <-b.room:
		case <-b.late.C:
			b.free.Store(true)
			return
		}
	}
}

// taken says that a message of so many bytes was taken.
func (b *backlog) taken(n int) {
	const prefix = 5 // of each gRPC message
	left := b.bytes.Add(-int64(n + prefix))
	if left < 0 { // some of it came before the lane was open
		b.bytes.CompareAndSwap(left, 0)
	}
	b.free.Store(false)
	if left <= backlogMost {
		b.wake()
	}
}

func (b *backlog) wake() {
	if !b.waits.Load() {
		return
	}
	select {
	case b.room <- struct{}{}:
	default:
	}
}

// backlogInfo is what the TLS of a connection says, and its backlog.
type backlogInfo struct {
	credentials.TLSInfo
	backlog *backlog
}

// Unwrap returns what the TLS says.
func (i backlogInfo) Unwrap() credentials.AuthInfo { return i.TLSInfo }

// backlogOf returns the backlog of the connection that a call came over; one of its own where that has none.
func backlogOf(ctx context.Context) *backlog {
	if p, ok := peer.FromContext(ctx); ok {
		if i, ok := p.AuthInfo.(backlogInfo); ok {
			return i.backlog
		}
	}
	return newBacklog()
}
