package transporttest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Net is the network.
type Net struct {
	Rate  float64       // bytes a second of each connection, each way
	Delay time.Duration // each way

	mu      sync.Mutex
	random  *rand.Rand
	conns   map[*pair]bool
	waiting chan net.Conn
	down    time.Time // until then nobody gets through
	closed  bool
}

// Window is what may be under way on a connection, each way.
const Window = 256 << 10

// New returns a network whose accidents follow from the seed.
func New(seed uint64, rate float64, delay time.Duration) *Net {
	return &Net{Rate: rate, Delay: delay, random: rand.New(rand.NewPCG(seed, 0)), conns: map[*pair]bool{}, waiting: make(chan net.Conn, 1024)}
}

// pair is a connection: what goes from end 0 to end 1, and back.
type pair struct{ ways [2]*way }

// Dial connects to the one who accepts.
func (n *Net) Dial(ctx context.Context, _ string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || time.Now().Before(n.down) {
		return nil, syscall.ECONNREFUSED
	}
	p := &pair{}
	for i := range p.ways {
		p.ways[i] = newWay(n.Rate, n.Delay)
	}
	n.conns[p] = true
	n.waiting <- &conn{read: p.ways[0], write: p.ways[1], n: n, p: p}
	return &conn{read: p.ways[1], write: p.ways[0], n: n, p: p}, nil
}

// Accept, Close and Addr make a listener of the network.
func (n *Net) Accept() (net.Conn, error) {
	c, ok := <-n.waiting
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// Close ends the listener.
func (n *Net) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.closed = true
		close(n.waiting)
	}
	return nil
}

// Addr is the address of every end.
func (n *Net) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "memory" }
func (address) String() string  { return "127.0.0.1:1" }

func (n *Net) each(do func(*pair)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range n.conns {
		do(p)
	}
}

// Cut resets all connections. Of what is under way a random part still comes: the tail is lost. Nobody gets through for a while.
func (n *Net) Cut(down time.Duration) {
	n.each(func(p *pair) {
		for _, w := range p.ways {
			w.cut(n.random.Float64())
		}
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = time.Now().Add(down)
}

// Break resets some of the connections, as Cut does. The others go on, and who dials gets through.
func (n *Net) Break() {
	n.each(func(p *pair) {
		if n.random.IntN(2) == 0 {
			return
		}
		for _, w := range p.ways {
			w.cut(n.random.Float64())
		}
	})
}

// Stall holds all that is under way, and comes, for a while.
func (n *Net) Stall(d time.Duration) {
	n.each(func(p *pair) {
		if n.random.IntN(2) == 0 {
			return
		}
		for _, w := range p.ways {
			w.stall(d)
		}
	})
}

// HalfOpen resets each connection at one end. The other is not told, and what it sends vanishes.
func (n *Net) HalfOpen() {
	n.each(func(p *pair) {
		i := n.random.IntN(2)
		p.ways[i].cut(0)      // who reads here is told, and what is written toward it vanishes
		p.ways[1-i].swallow() // who reads there is not, and never hears more
	})
}

// Swallow makes all connections that there are carry nothing more, without a word to either end.
func (n *Net) Swallow() {
	n.each(func(p *pair) {
		for _, w := range p.ways {
			w.swallow()
		}
	})
}

// part is what one write put on its way.
type part struct {
	due time.Time
	b   []byte
}

// way is one direction of a connection.
type way struct {
	rate  float64
	delay time.Duration

	mu                sync.Mutex
	cond              *sync.Cond
	parts             []part
	bytes             int
	busy              time.Time // until then, the rate is used
	held              time.Time // until then, nothing comes
	lost              bool      // nothing comes any more, and nobody is told
	void              bool      // what is written vanishes
	eof               bool      // the writer has closed
	readErr           error     // after what is left: a reset
	alarm             time.Time // when somebody is woken next
	readEnd, writeEnd time.Time // deadlines; zero: none
	closed            bool      // the reader has
}

func newWay(rate float64, delay time.Duration) *way {
	w := &way{rate: rate, delay: delay}
	w.cond = sync.NewCond(&w.mu)
	return w
}

// wakeLocked has whoever waits look again at the first of some times, if it is to come: those that are zero are none. One alarm is set at a time: who is woken too early sets the next.
func (w *way) wakeLocked(times ...time.Time) {
	now := time.Now()
	var first time.Time
	for _, at := range times {
		if at.After(now) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if first.IsZero() || w.alarm.After(now) && !first.Before(w.alarm) {
		return
	}
	w.alarm = first
	time.AfterFunc(first.Sub(now), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.cond.Broadcast()
	})
}

func (w *way) cut(keep float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := int(float64(w.bytes) * keep)
	var kept []part
	for _, p := range w.parts {
		n := min(left, len(p.b))
		if n > 0 {
			kept = append(kept, part{p.due, p.b[:n]})
		}
		left -= n
	}
	w.parts, w.bytes = kept, 0
	for _, p := range kept {
		w.bytes += len(p.b)
	}
	w.readErr = syscall.ECONNRESET
	w.void = true // as in TCP, a writer learns of it when its own reader does, and closes
	w.cond.Broadcast()
}

func (w *way) stall(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = time.Now().Add(d)
	w.cond.Broadcast()
}

func (w *way) swallow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost, w.parts = true, nil // w.bytes stays: the window fills up, and is never acknowledged
}

func (w *way) read(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case w.closed:
			return 0, net.ErrClosed
		case !w.readEnd.IsZero() && !now.Before(w.readEnd):
			return 0, os.ErrDeadlineExceeded
		case w.lost || now.Before(w.held):
		case len(w.parts) > 0:
			if !now.Before(w.parts[0].due) {
				n := copy(b, w.parts[0].b)
				if w.parts[0].b = w.parts[0].b[n:]; len(w.parts[0].b) == 0 {
					w.parts = w.parts[1:]
				}
				w.bytes -= n
				w.cond.Broadcast()
				return n, nil
			}
		case w.readErr != nil:
			return 0, w.readErr
		case w.eof:
			return 0, io.EOF
		}
		next := time.Time{}
		if len(w.parts) > 0 {
			next = w.parts[0].due
		}
		w.wakeLocked(w.readEnd, w.held, next)
		w.cond.Wait()
	}
}

func (w *way) write(b []byte) (done int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for done < len(b) {
		switch {
		case w.eof:
			return done, net.ErrClosed
		case !w.writeEnd.IsZero() && !time.Now().Before(w.writeEnd):
			return done, os.ErrDeadlineExceeded
		case w.bytes >= Window:
			w.wakeLocked(w.writeEnd)
			w.cond.Wait()
			continue
		}
		n := min(len(b)-done, Window-w.bytes)
		now := time.Now()
		if w.busy.Before(now) {
			w.busy = now
		}
		w.busy = w.busy.Add(time.Duration(float64(n) / w.rate * float64(time.Second)))
		if !w.lost && !w.void && !w.closed {
			w.parts = append(w.parts, part{w.busy.Add(w.delay), append([]byte(nil), b[done:done+n]...)})
		}
		w.bytes += n
		done += n
		w.cond.Broadcast()
	}
	return done, nil
}

// conn is one end.
type conn struct {
	read, write *way
	n           *Net
	p           *pair
}

func (c *conn) Read(b []byte) (int, error)  { return c.read.read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.write.write(b) }

func (c *conn) Close() error {
	c.read.mu.Lock()
	c.read.closed = true
	c.read.cond.Broadcast()
	c.read.mu.Unlock()
	c.write.mu.Lock()
	c.write.eof = true
	gone := c.write.closed
	c.write.cond.Broadcast()
	c.write.mu.Unlock()
	if gone { // the other end has closed, too
		c.n.mu.Lock()
		defer c.n.mu.Unlock()
		delete(c.n.conns, c.p)
	}
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return address{} }
func (c *conn) RemoteAddr() net.Addr { return address{} }

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.read.until(&c.read.readEnd, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.write.until(&c.write.writeEnd, t)
	return nil
}

func (w *way) until(deadline *time.Time, t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*deadline = t
	w.cond.Broadcast()
}

// Jitter returns a number below n, by the network's seed.
func (n *Net) Jitter(most int64) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.random.Int64N(most)
}
