package transport

import (
	"context"
	"net"
	"sync/atomic"
)

// meter counts what the sockets of one gRPC connection take and give, TLS included, and lets what they take be slowed down.
type meter struct {
	sent, received atomic.Int64
	pace           atomic.Pointer[func(n int) int] // see link.Paced
}

// dialer returns a dialer of sockets that are counted, and set up for lanes.
func (m *meter) dialer(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		if t, ok := conn.(*net.TCPConn); ok {
			if err := tune(t); err != nil {
				conn.Close()
				return nil, err
			}
		}
		return &meteredConn{conn, m}, nil
	}
}

type meteredConn struct {
	net.Conn
	m *meter
}

func (c *meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.m.received.Add(int64(n))
	return n, err
}

func (c *meteredConn) Write(b []byte) (done int, err error) {
	for {
		n := len(b) - done
		if allow := c.m.pace.Load(); allow != nil && n > 0 {
			n = min(n, max(1, (*allow)(n)))
		}
		n, err = c.Conn.Write(b[done : done+n])
		c.m.sent.Add(int64(n))
		if done += n; err != nil || done == len(b) {
			return done, err
		}
	}
}
