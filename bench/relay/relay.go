package relay

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// Relay passes connections on.
type Relay struct {
	to       string
	listener net.Listener
	toward   atomic.Int64 // bytes to the one that is dialled
	back     atomic.Int64

	mu     sync.Mutex
	open   map[net.Conn]bool // both ends of every connection
	closed bool              // or cut, for a while
}

// New listens on loopback and passes every connection on to the address to.
func New(to string) (*Relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{to: to, listener: l, open: make(map[net.Conn]bool)}
	go r.accept()
	return r, nil
}

// Addr returns where to dial instead.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Counted returns the bytes so far, toward the one that is dialled and back.
func (r *Relay) Counted() (toward, back int64) { return r.toward.Load(), r.back.Load() }

// Total returns the bytes so far, both ways.
func (r *Relay) Total() int64 { return r.toward.Load() + r.back.Load() }

// Close ends all connections.
func (r *Relay) Close() error {
	err := r.listener.Close()
	r.Cut(true)
	return err
}

// Cut ends all connections, and each new one at once, until it is called with false.
func (r *Relay) Cut(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = cut
	for c := range r.open {
		if cut {
			c.Close()
		}
	}
}

func (r *Relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.pass(near)
	}
}

func (r *Relay) pass(near net.Conn) {
	far, err := net.Dial("tcp", r.to)
	if err != nil {
		near.Close()
		return
	}
	if !r.hold(near, far) {
		return
	}
	var done sync.WaitGroup
	done.Go(func() { move(far, near, &r.toward) })
	done.Go(func() { move(near, far, &r.back) })
	done.Wait()
	near.Close()
	far.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, near)
	delete(r.open, far)
}

// hold notes the ends of a connection for Cut; false: it is cut.
func (r *Relay) hold(ends ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range ends {
		if r.closed {
			c.Close()
		} else {
			r.open[c] = true
		}
	}
	return !r.closed
}

// buffer is what is passed on at a time.
const buffer = 256 << 10

// move passes on what comes and counts it at once: what a connection that stays open has carried is counted, too.
func move(to, from net.Conn, count *atomic.Int64) {
	b := make([]byte, buffer)
	for {
		n, err := from.Read(b)
		count.Add(int64(n))
		if _, failed := to.Write(b[:n]); failed != nil || err != nil {
			break // its end, or a broken connection
		}
	}
	if half, ok := to.(*net.TCPConn); ok {
		if err := half.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) {
			to.Close()
		}
	}
}
