package transport

import (
	"bufio"
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc/credentials"

	"failback/replication"
	"failback/transport/pki"
)

// gatherCredentials put buffers between TLS and the socket. TLS reads and writes one record of 16 KiB at a time, each with system calls of its own; with
// these, one call moves socketBuffer bytes. Measured on a full copy over loopback: see the commit.
type gatherCredentials struct {
	credentials.TransportCredentials
	unreads *unreads // of a server
	watched bool     // a server's connections are given up as vigil says, not as gRPC does
}

func (c gatherCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	under := newGatherConn(raw)
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, under)
	if err != nil {
		return nil, nil, err
	}
	return &gatherTLS{Conn: conn, under: under}, info, nil
}

func (c gatherCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	under := newGatherConn(raw)
	conn, info, err := c.TransportCredentials.ServerHandshake(under)
	if err != nil {
		return nil, nil, err
	}
	behind, who := newBacklog(), ""
	if i, ok := info.(credentials.TLSInfo); ok {
		p, err := pki.PeerOf(i.State)
		if b, bounded := raw.(*boundedConn); bounded && err == nil {
			err = b.shaken(p.Key)
		}
		if err != nil {
			c.unreads.log.refused(raw.RemoteAddr(), replication.AsProblem(err))
			conn.Close()
			return nil, nil, err
		}
		who = fmt.Sprintf("the %s with the key %s", p.Role, p.Key)
		info = backlogInfo{i, behind}
	}
	if c.watched {
		under.vigil = keepVigil(raw)
	}
	return &gatherTLS{Conn: conn, under: under, behind: behind, unread: c.unreads.add(raw, who, behind)}, info, nil
}

func (c gatherCredentials) Clone() credentials.TransportCredentials {
	return gatherCredentials{c.TransportCredentials.Clone(), c.unreads, c.watched}
}

// gatherBuffer is what socketBuffer bytes are at most as records: 16 KiB and 22 bytes each, the first ones of a connection far shorter. Where it were less, each write would leave a short rest, and that
// a packet of its own.
const gatherBuffer = socketBuffer + socketBuffer/16

// gatherTLS is a TLS connection whose every Write leaves the socket in as few calls as fit: its records are gathered below, and flushed at the end.
type gatherTLS struct {
	net.Conn // TLS
	under    *gatherConn
	behind   *backlog // of a server; nil: of a client, as is
	unread   *unread
}

func (c *gatherTLS) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.unread == nil {
		return n, err
	}
	content, refused := c.unread.received(b[:n])
	if refused != nil {
		return 0, refused
	}
	if n > 0 {
		c.behind.read(content)
	}
	return n, err
}

// Close implements net.Conn.
func (c *gatherTLS) Close() error {
	if c.unread != nil {
		c.unread.close()
	}
	return c.Conn.Close()
}

func (c *gatherTLS) Write(b []byte) (int, error) {
	if c.unread != nil {
		c.unread.leaves(b)
	}
	c.under.gather(true)
	n, err := c.Conn.Write(b)
	if flushed := c.under.gather(false); err == nil {
		err = flushed
	}
	return n, err
}

// gatherConn is the socket below TLS. Outside of a gathered write it writes at once: handshakes, alerts and key updates wait for nothing.
type gatherConn struct {
	net.Conn
	in    *bufio.Reader
	vigil *vigil // hears of each byte that comes; nil: none

	turn      chan struct{} // holds one while somebody writes, which takes as long as the socket does: no mutex, so that virtual time passes meanwhile
	out       *bufio.Writer
	gathering bool
}

func newGatherConn(c net.Conn) *gatherConn {
	g := &gatherConn{Conn: c, turn: make(chan struct{}, 1), out: bufio.NewWriterSize(c, gatherBuffer)}
	g.in = bufio.NewReaderSize(heard{g}, socketBuffer)
	return g
}

func (c *gatherConn) Read(b []byte) (int, error) { return c.in.Read(b) }

// Close implements net.Conn.
func (c *gatherConn) Close() error {
	c.vigil.end()
	return c.Conn.Close()
}

// heard reads the socket.
type heard struct{ c *gatherConn }

func (h heard) Read(b []byte) (int, error) {
	n, err := h.c.Conn.Read(b)
	return n, h.c.vigil.came(n, err)
}

func (c *gatherConn) Write(b []byte) (int, error) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	n, err := c.out.Write(b)
	if err == nil && !c.gathering {
		err = c.out.Flush()
	}
	return n, err
}

// gather begins or ends the gathering; the end flushes.
func (c *gatherConn) gather(on bool) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.gathering = on
	if on {
		return nil
	}
	return c.out.Flush()
}
