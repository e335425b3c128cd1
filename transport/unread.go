package transport

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"failback/replication"
)

// Bounds of what peers may have sent that nobody has taken. gRPC bounds that for each stream, by laneWindow, and nothing more: one connection could have maxStreams of these.
const (
	unreadMost   = 64 << 20  // bytes of memory of one connection: a lane's window, in buffers of which half is not used, and what small frames take besides
	unreadOthers = 512 << 20 // of all together on which no lane is open: a process server's orders take up to 4 MiB, as windows are told late
	unreadLanes  = 2 << 30   // of all together on which one is: as many as one process server may have, each with a window of ours that nobody takes
	unreadStep   = 1 << 20   // after which these are looked at
	frameCost    = 128       // bytes that a DATA frame takes beside its buffer

	maxHeaders = 8 << 10 // bytes of a call's headers, as RFC 9113 counts them; gRPC's take some hundred

	idleBurst = 1000 // frames in a row that carry nothing: calls that are taken back, settings, empty ones, pings, and what is told of windows
	idleRate  = 100  // and so many more a second, and
	idleOwed  = 4    // for each of ours with content: a client tells of a stream's window and of the connection's, and by a ping measures how long content takes
)

// Codes of connections that are ended because of what they carry.
const (
	CodeUnread  = "too-much-unread" // more than is taken
	CodeHeaders = "large-headers"
	CodeFlood   = "frame-flood"
	CodePadding = "padded-frames"
)

// unreads are the connections of a server.
type unreads struct {
	log   *quiet
	lanes int64 // unreadLanes

	mu  sync.Mutex
	all map[*unread]struct{}
}

func newUnreads(log *slog.Logger) *unreads {
	return &unreads{log: &quiet{log: log}, lanes: unreadLanes, all: map[*unread]struct{}{}}
}

// unread is what the peer of one connection has sent that nobody has taken. It sees the frames of HTTP/2 both ways: content that comes counts until the peer is told that it was taken, or until its stream ends.
type unread struct {
	of      *unreads
	conn    net.Conn // raw: to name it, and to end it
	who     string   // shows its certificate
	backlog *backlog

	mu      sync.Mutex
	in, out h2Frames
	streams map[uint32]*untaken
	last    uint32  // stream that has begun
	header  int     // bytes of the header block that comes
	idle    float64 // frames that carry nothing, and may come now
	then    time.Time
	update  [4]byte // the payload of a WINDOW_UPDATE that leaves, and
	have    int     // how much of it is known

	bytes  atomic.Int64 // of memory
	looked int64        // bytes when all were looked at last
	laned  atomic.Bool  // it had a lane when
	ended  atomic.Bool  // others needed what it had
}

// untaken is what of a stream nobody has taken.
type untaken struct {
	bytes int64 // below 0: told to be taken before it came
	extra int64 // that their frames take besides
}

func (u *untaken) cost() int64 { return max(u.bytes, 0) + u.extra }

func (u *unreads) add(conn net.Conn, who string, b *backlog) *unread {
	n := &unread{of: u, conn: conn, who: who, backlog: b, streams: map[uint32]*untaken{}, idle: idleBurst, then: time.Now(), out: h2Frames{preface: h2Preface}}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all[n] = struct{}{}
	return n
}

// close forgets a connection that has ended.
func (c *unread) close() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	delete(c.of.all, c)
}

// received takes note of bytes that have come. It returns how many of them are content, and an error where the connection is to end: told already.
func (c *unread) received(b []byte) (content int, err error) {
	c.mu.Lock()
	var p *replication.Problem
	for rest, ok := b, true; ok && p == nil; {
		var x h2Piece
		x, rest, ok = c.in.next(rest)
		if !ok {
			break
		}
		if x.kind == h2Data {
			content += len(x.payload)
		}
		if len(x.payload) == 0 {
			p = c.beginsLocked(x)
		}
	}
	c.mu.Unlock()
	if p == nil && c.bytes.Load() > unreadMost {
		p = &replication.Problem{Code: CodeUnread, Message: fmt.Sprintf("a connection holds more than %d MiB that nobody has taken", unreadMost>>20), Remedy: "no process server does that: see what runs there, and take its certificate away by failback pki revoke"}
	}
	if p == nil && c.ended.Load() {
		kind, bound := "without a lane", int64(unreadOthers)
		if c.laned.Load() {
			kind, bound = "with a lane", c.of.lanes
		}
		p = &replication.Problem{Code: CodeUnread, Message: fmt.Sprintf("connections %s hold more than %d MiB that nobody has taken, and this one most of it", kind, bound>>20), Remedy: "see what runs there; failback pki revoke takes its certificate away"}
	}
	if p != nil {
		p.Message += ", of " + c.who
		c.of.log.refused(c.conn.RemoteAddr(), p)
		return content, p
	}
	if n := c.bytes.Load(); n-c.looked >= unreadStep {
		c.looked = n
		c.of.look(c.backlog.lane.Load())
	} else if n < c.looked {
		c.looked = n
	}
	return content, nil
}

// beginsLocked takes note of a frame that comes.
func (c *unread) beginsLocked(x h2Piece) *replication.Problem {
	if x.kind != h2Continuation {
		c.header = 0
	}
	switch {
	case x.kind == h2Headers || x.kind == h2Continuation:
		if x.kind == h2Headers && x.stream > c.last {
			c.last = x.stream
			c.streams[x.stream] = &untaken{}
		}
		if c.header += x.length + frameCost; c.header > 2*maxHeaders { // by length: who would tell what they say
			return &replication.Problem{Code: CodeHeaders, Message: fmt.Sprintf("a call with headers of more than %d bytes", maxHeaders), Remedy: "no failback program does that: see what runs there"}
		}
		return nil
	case x.kind == h2Data && x.length > 0:
		if x.flags&h2Padded != 0 {
			return &replication.Problem{Code: CodePadding, Message: "content with padding, which no gRPC program sends", Remedy: "see what runs there"}
		}
		if s := c.streams[x.stream]; s != nil {
			was := s.cost()
			s.bytes, s.extra = s.bytes+int64(x.length), s.extra+bufferOf(x.length)-int64(x.length)+frameCost
			c.bytes.Add(s.cost() - was)
		}
		return nil
	case x.kind == h2Data && x.flags&h2EndStream != 0:
		return nil
	case x.kind == h2Reset:
		c.endLocked(x.stream)
	}
	now := time.Now()
	c.idle = min(idleBurst, c.idle+now.Sub(c.then).Seconds()*idleRate)
	c.then = now
	if c.idle--; c.idle < 0 {
		return &replication.Problem{Code: CodeFlood, Message: fmt.Sprintf("more than %d frames that carry nothing, or take back a call, at a time", idleBurst), Remedy: "no failback program does that: see what runs there"}
	}
	return nil
}

func (c *unread) endLocked(stream uint32) {
	if s := c.streams[stream]; s != nil {
		c.bytes.Add(-s.cost())
		delete(c.streams, stream)
	}
}

// leaves takes note of bytes that are sent: the peer is told what was taken, and which streams have ended.
func (c *unread) leaves(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for rest, ok := b, true; ok; {
		var x h2Piece
		if x, rest, ok = c.out.next(rest); !ok {
			return
		}
		switch {
		case x.kind == h2WindowUpdate && len(x.payload) > 0:
			if c.have == len(c.update) { // longer than they are
				continue
			}
			if c.have += copy(c.update[c.have:], x.payload); c.have == len(c.update) {
				c.takenLocked(x.stream, int64(binary.BigEndian.Uint32(c.update[:])))
			}
		case x.kind == h2WindowUpdate:
			c.have = 0
		case len(x.payload) == 0 && x.kind == h2Data && x.length > 0:
			c.idle = min(idleBurst, c.idle+idleOwed)
		case len(x.payload) == 0 && (x.kind == h2Reset || x.kind == h2Headers && x.flags&h2EndStream != 0):
			c.endLocked(x.stream)
		}
	}
}

func (c *unread) takenLocked(stream uint32, n int64) {
	s := c.streams[stream]
	if s == nil {
		return
	}
	was := s.cost()
	if s.bytes > n {
		s.extra -= int64(float64(s.extra) * float64(n) / float64(s.bytes))
	} else {
		s.extra = 0
	}
	s.bytes -= n
	c.bytes.Add(s.cost() - was)
}

// look ends the connection that holds most of those with a lane, or of those without, where all such hold too much.
func (u *unreads) look(lanes bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	sum, most, bound := int64(0), (*unread)(nil), int64(unreadOthers)
	if lanes {
		bound = u.lanes
	}
	for c := range u.all {
		if c.backlog.lane.Load() != lanes || c.ended.Load() {
			continue
		}
		n := c.bytes.Load()
		if sum += n; most == nil || n > most.bytes.Load() {
			most = c
		}
	}
	if sum <= bound {
		return
	}
	most.laned.Store(lanes)
	most.ended.Store(true)
	go most.conn.Close() // wakes who reads it, who says why
}

// bufferOf is the length of the buffer that a DATA frame's content lies in.
func bufferOf(n int) int64 {
	if n <= directMost {
		return int64(n)
	}
	for _, size := range bufferSizes {
		if n <= size {
			return int64(size)
		}
	}
	return int64(n)
}
