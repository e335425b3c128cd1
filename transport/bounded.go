package transport

import (
	"fmt"
	"log/slog"
	"net"
	"sync"

	"failback/replication"
)

// Bounds of the connections that a listener has open. One of the replication port's takes up to 512 KiB of buffers, and what is said of unreadMost while nobody takes what comes.
// A process server uses processserver.MaxLanes and a few more, and those of a broken link are there for some seconds after.
const (
	MaxConnections     = 512
	MaxConnectionsHost = 256 // from one address: several process servers may share one
	MaxConnectionsKey  = 256 // by one certificate's key, from whatever addresses

	maxShaking     = 256 // whose handshake is not done: who they are is not known yet
	maxShakingHost = 64
)

// CodeConnections is the code of peers that have too many connections.
const CodeConnections = "too-many-connections"

// BoundedListener returns a listener that closes at once, before a byte is read, connections beyond MaxConnections, and beyond MaxConnectionsHost from one address. Where there are too many of
// which it is not known yet who they are, any one of these goes: whoever opens thousands and has no certificate keeps nobody out who has one. It tells log.
func BoundedListener(l net.Listener, log *slog.Logger) net.Listener {
	return &boundedListener{Listener: l, log: &quiet{log: log}, open: map[string]int{}, keys: map[string]int{}, shaking: map[string]map[*boundedConn]bool{}}
}

type boundedListener struct {
	net.Listener
	log *quiet

	mu      sync.Mutex
	all     int
	open    map[string]int // by address
	keys    map[string]int // by key
	shakes  int
	shaking map[string]map[*boundedConn]bool // by address
}

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &boundedConn{Conn: conn, of: l, host: hostOf(conn.RemoteAddr())}
		gone, p := l.enter(c)
		if p != nil {
			l.log.refused(conn.RemoteAddr(), p)
		}
		if gone != nil {
			if t, ok := gone.Conn.(*net.TCPConn); ok {
				_ = t.SetLinger(0)
			}
			gone.Close()
		}
		if gone != c {
			return c, nil
		}
	}
}

// enter counts a connection in, and returns the one that goes for it, and why: itself, where it is not counted.
func (l *boundedListener) enter(c *boundedConn) (gone *boundedConn, p *replication.Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	host := l.shaking[c.host]
	switch {
	case l.open[c.host] >= MaxConnectionsHost || len(host) >= maxShakingHost:
		gone = anyOf(host)
	case l.all >= MaxConnections || l.shakes >= maxShaking:
		for _, of := range l.shaking { // any
			gone = anyOf(of)
			break
		}
	default:
		l.enterLocked(c)
		return nil, nil
	}
	p = &replication.Problem{Code: CodeConnections, Message: fmt.Sprintf("%s has %d connections, %d of them without a handshake; all have %d and %d: at most %d and %d, and %d and %d", c.host, l.open[c.host], len(host), l.all, l.shakes,
		MaxConnectionsHost, maxShakingHost, MaxConnections, maxShaking), Remedy: "see what runs there: a process server needs some tens"}
	if gone == nil {
		return c, p
	}
	l.leaveLocked(gone)
	l.enterLocked(c)
	return gone, p
}

func anyOf(set map[*boundedConn]bool) *boundedConn {
	for c := range set { // in no order
		return c
	}
	return nil
}

func (l *boundedListener) enterLocked(c *boundedConn) {
	l.all++
	l.open[c.host]++
	c.counted = true
	if _, tcp := c.RemoteAddr().(*net.TCPAddr); !tcp { // a socket of this machine: there is no handshake
		return
	}
	if l.shaking[c.host] == nil {
		l.shaking[c.host] = map[*boundedConn]bool{}
	}
	l.shaking[c.host][c] = true
	l.shakes++
}

func (l *boundedListener) leaveLocked(c *boundedConn) {
	if !c.counted {
		return
	}
	c.counted = false
	l.all--
	less(l.open, c.host)
	l.shakenLocked(c)
	if c.key != "" {
		less(l.keys, c.key)
	}
}

// shakenLocked takes a connection out of those whose handshake is not done.
func (l *boundedListener) shakenLocked(c *boundedConn) {
	set := l.shaking[c.host]
	if !set[c] {
		return
	}
	l.shakes--
	if delete(set, c); len(set) == 0 {
		delete(l.shaking, c.host)
	}
}

func less(m map[string]int, k string) {
	if m[k]--; m[k] == 0 {
		delete(m, k)
	}
}

// boundedConn is a connection that is counted. The listener's lock guards what is said of it.
type boundedConn struct {
	net.Conn
	of      *boundedListener
	host    string
	counted bool
	key     string // of the peer's certificate; "": not known
}

// shaken says that the handshake is done, with the holder of a key. An error refuses it.
func (c *boundedConn) shaken(key string) error {
	l := c.of
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.counted {
		return net.ErrClosed
	}
	if n := l.keys[key]; n >= MaxConnectionsKey {
		return &replication.Problem{Code: CodeConnections, Message: fmt.Sprintf("the holder of the key %s has %d connections", key, n), Remedy: "see what runs there: a process server needs some tens; failback pki revoke takes its certificate away"}
	}
	l.shakenLocked(c)
	c.key = key
	l.keys[key]++
	return nil
}

func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.leaveLocked(c)
	return err
}
