package transport

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"failback/replication/link"
)

// unsent bounds what waits in the kernel of a socket and was not sent yet, where a lane does not want more. What waits longer than it must is compressed for a link that was, and sent again after a cut.
const unsent = 256 << 10

// meter counts what the sockets of one gRPC connection take and give, TLS included, and lets what they take be slowed down.
type meter struct {
	sent, received atomic.Int64
	pace           atomic.Pointer[func(n int) int] // see link.Paced
	unsent         atomic.Int64                    // see link.Buffered; 0: the usual

	paced atomic.Int64 // nanoseconds that pace took

	watched bool // its connections are given up as vigil says, not as gRPC does

	socket atomic.Pointer[net.TCPConn] // the newest
}

// strain is what the network and pace did to the newest socket; see link.Strained.
func (m *meter) strain() (s link.Strain, ok bool) {
	c := m.socket.Load()
	if c == nil {
		return s, false
	}
	s, ok = strained(c)
	s.Held += time.Duration(m.paced.Load())
	return s, ok
}

// trip is the shortest round trip of the newest socket; see link.Distant.
func (m *meter) trip() time.Duration {
	if c := m.socket.Load(); c != nil {
		return tripOf(c)
	}
	return 0
}

// hold sets what the socket takes that is not on the wire yet; 0: the usual. One that won't have it does with what it has.
func (m *meter) hold(bytes int) {
	m.unsent.Store(int64(bytes))
	if s := m.socket.Load(); s != nil {
		_ = tuneUnsent(s, m.holds())
	}
}

func (m *meter) holds() int {
	if n := m.unsent.Load(); n > 0 {
		return int(n)
	}
	return unsent
}

// dialer returns a dialer of sockets that are counted, and set up for lanes.
func (m *meter) dialer(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		if t, ok := conn.(*net.TCPConn); ok {
			m.socket.Store(t)
			if err := errors.Join(tune(t), tuneUnsent(t, m.holds())); err != nil {
				conn.Close()
				return nil, err
			}
		}
		c := &meteredConn{Conn: conn, m: m}
		if m.watched {
			c.vigil = keepVigil(conn)
		}
		return c, nil
	}
}

type meteredConn struct {
	net.Conn
	m     *meter
	vigil *vigil // nil: none
}

func (c *meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.m.received.Add(int64(n))
	return n, c.vigil.came(n, err)
}

func (c *meteredConn) Close() error {
	c.vigil.end()
	return c.Conn.Close()
}

func (c *meteredConn) Write(b []byte) (done int, err error) {
	for {
		n := len(b) - done
		if allow := c.m.pace.Load(); allow != nil && n > 0 {
			begin := time.Now()
			c.vigil.holds()
			n = min(n, max(1, (*allow)(n)))
			held := time.Since(begin)
			c.vigil.released(held)
			c.m.paced.Add(int64(held))
		}
		n, err = c.Conn.Write(b[done : done+n])
		c.m.sent.Add(int64(n))
		if done += n; err != nil || done == len(b) {
			return done, err
		}
	}
}
