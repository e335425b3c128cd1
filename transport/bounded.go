package transport

import (
	"fmt"
	"log/slog"
	"net"
	"sync"

	"failback/replication"
)

// Bounds of the connections that a listener has open. One of the replication port's takes up to 512 KiB of buffers, and laneWindow while a lane on it has come further than the disks have.
// A process server uses processserver.MaxLanes and a few more.
const (
	MaxConnections     = 512
	MaxConnectionsHost = 256 // from one address: several process servers may share one
)

// CodeConnections is the code of peers that have too many connections.
const CodeConnections = "too-many-connections"

// BoundedListener returns a listener that closes at once, before a byte is read, connections beyond MaxConnections, and beyond MaxConnectionsHost from one address: whoever opens
// thousands keeps others out only when it does so from many addresses. It tells log.
func BoundedListener(l net.Listener, log *slog.Logger) net.Listener {
	return &boundedListener{Listener: l, log: &quiet{log: log}, open: map[string]int{}}
}

type boundedListener struct {
	net.Listener
	log *quiet

	mu   sync.Mutex
	all  int
	open map[string]int // by address
}

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host := hostOf(conn.RemoteAddr())
		if p := l.enter(host); p != nil {
			l.log.refused(conn.RemoteAddr(), p)
			if t, ok := conn.(*net.TCPConn); ok {
				_ = t.SetLinger(0)
			}
			conn.Close()
			continue
		}
		return &boundedConn{Conn: conn, leave: func() { l.leave(host) }}, nil
	}
}

func (l *boundedListener) enter(host string) *replication.Problem {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= MaxConnections || l.open[host] >= MaxConnectionsHost {
		return &replication.Problem{Code: CodeConnections, Message: fmt.Sprintf("%s has %d connections, all have %d: at most %d and %d", host, l.open[host], l.all, MaxConnectionsHost, MaxConnections),
			Remedy: "see what runs there: a process server needs some tens"}
	}
	l.all++
	l.open[host]++
	return nil
}

func (l *boundedListener) leave(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[host]--; l.open[host] == 0 {
		delete(l.open, host)
	}
}

type boundedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.leave)
	return err
}
