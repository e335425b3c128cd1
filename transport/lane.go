package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// laneIdle is how long a lane's connection is kept that no lane uses.
const laneIdle = time.Minute

// laneConn is a connection that lanes use, one at a time.
type laneConn struct {
	conn *grpc.ClientConn
	meter
}

// takeLane returns a connection that no lane uses.
func (c *ReplicationClient) takeLane() (*laneConn, error) {
	c.mu.Lock()
	if n := len(c.free); n > 0 {
		defer c.mu.Unlock()
		l := c.free[n-1]
		c.free = c.free[:n-1]
		return l, nil
	}
	c.mu.Unlock()
	return c.newLane()
}

// newLane returns a new one. Nothing is sent yet.
func (c *ReplicationClient) newLane() (*laneConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("the connections to " + c.address + " are closed")
	}
	l := &laneConn{meter: meter{watched: true}}
	var err error
	if l.conn, err = c.dial(&l.meter, grpc.WithIdleTimeout(laneIdle), grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveEvery, Timeout: vigilWait, PermitWithoutStream: true})); err != nil {
		return nil, err
	}
	c.lanes[l] = true
	return l, nil
}

// Warm implements link.Warmer.
func (c *ReplicationClient) Warm(n int) {
	for range n - len(c.unused()) {
		l, err := c.newLane()
		if err != nil {
			return // whoever wants a lane is told
		}
		c.giveLane(l, true)
	}
	free := c.unused()
	for _, l := range free[:min(n, len(free))] {
		l.conn.Connect()
	}
}

// unused returns the connections that no lane uses, first those that are taken first.
func (c *ReplicationClient) unused() []*laneConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	free := slices.Clone(c.free)
	slices.Reverse(free)
	return free
}

// giveLane takes one back. A connection whose lane did not come to its end is not used again: whatever held it may still do so.
func (c *ReplicationClient) giveLane(l *laneConn, whole bool) {
	l.pace.Store(nil)
	l.hold(0)
	c.mu.Lock()
	there := c.lanes[l] // else all were closed
	if there && whole {
		c.free = append(c.free, l)
	} else {
		delete(c.lanes, l)
	}
	c.mu.Unlock()
	if !there || !whole {
		l.conn.Close()
	}
}

// Lane implements link.Authority. Each lane has a connection of its own while it is open.
func (c *ReplicationClient) Lane(ctx context.Context, l replication.Lane) (link.Lane, error) {
	conn, err := c.takeLane()
	if err != nil {
		return nil, err
	}
	begin := conn.sent.Load()
	ctx, cancel := context.WithCancel(ctx)
	stream, err := failbackpb.NewReplicationClient(conn.conn).Ship(ctx)
	if err == nil {
		err = stream.SendMsg(&wireFrame{open: &failbackpb.LaneOpen{
			Fence: fenceToWire(link.Fence{Session: l.Session, Point: l.Point}), Lane: l.Lane, Attempt: l.Attempt,
		}})
	}
	if err != nil && err != io.EOF { // EOF: the next Send or Flush tells why
		cancel()
		c.giveLane(conn, false)
		return nil, ProblemOf(err)
	}
	return &lane{stream: stream, cancel: cancel, client: c, conn: conn, begin: begin}, nil
}

// lane implements link.Lane, link.Metered, link.Strained, link.Distant, link.Paced and link.Buffered.
type lane struct {
	stream   grpc.ClientStreamingClient[failbackpb.Frame, failbackpb.LaneAck]
	cancel   context.CancelFunc
	client   *ReplicationClient
	frames   uint64
	referred int64 // bytes that were sent by reference

	mu    sync.Mutex
	conn  *laneConn // nil: given back
	begin int64     // what the connection had sent when the lane began
	wire  int64     // when it was given back
}

// Send implements link.Lane. It blocks while the lane's window is full: that is the flow control, to the end.
func (l *lane) Send(f *block.Frame) error {
	referred := int64(0)
	for i := range f.Blocks {
		if f.Blocks[i].Kind == block.Repeat {
			referred += int64(f.Blocks[i].Raw)
		}
	}
	err := l.stream.SendMsg(&wireFrame{frame: f})
	if err == io.EOF { // the other side ended the lane: its reason comes with the answer
		_, err = l.stream.CloseAndRecv()
		if err == nil || err == io.EOF {
			err = errors.New("the master target ended the lane without a reason")
		}
	}
	if err != nil {
		return ProblemOf(err)
	}
	l.frames++
	l.referred += referred
	return nil
}

// Flush implements link.Lane.
func (l *lane) Flush() (byValue int64, err error) {
	ack, err := l.stream.CloseAndRecv()
	if err != nil {
		return 0, ProblemOf(err)
	}
	if ack.Frames != l.frames {
		return 0, fmt.Errorf("the master target has %d frames of a lane, %d were sent", ack.Frames, l.frames)
	}
	if ack.ByValue < 0 || ack.ByValue > l.referred {
		return 0, fmt.Errorf("the master target needs %d bytes of a lane by value, of which %d were sent by reference", ack.ByValue, l.referred)
	}
	l.leave(true)
	return ack.ByValue, nil
}

// Close implements link.Lane.
func (l *lane) Close() {
	l.cancel()
	l.leave(false)
}

func (l *lane) leave(whole bool) {
	l.mu.Lock()
	conn := l.conn
	if conn == nil {
		l.mu.Unlock()
		return
	}
	l.conn, l.wire = nil, conn.sent.Load()-l.begin
	l.mu.Unlock()
	l.client.giveLane(conn, whole)
}

// Wire implements link.Metered.
func (l *lane) Wire() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return l.wire
	}
	return l.conn.sent.Load() - l.begin
}

// Strain implements link.Strained.
func (l *lane) Strain() (s link.Strain, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return s, false
	}
	return l.conn.strain()
}

// Trip implements link.Distant.
func (l *lane) Trip() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return 0
	}
	return l.conn.trip()
}

// Pace implements link.Paced.
func (l *lane) Pace(allow func(n int) int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.pace.Store(&allow)
	}
}

// Buffer implements link.Buffered.
func (l *lane) Buffer(bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.hold(bytes)
	}
}
