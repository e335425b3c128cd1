package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	failbackpb "failback/proto"
	"failback/replication"
)

// How the path is measured.
const (
	pathPings    = 8
	pathLarge    = 48 << 10               // a message of many full segments
	pathConnect  = 6 * time.Second        // for TCP, TLS and HTTP/2
	pathWait     = 3 * time.Second        // for what needs a few round trips
	pathRamp     = 0.3                    // share of the time that is left out of a rate
	pathAsked    = 64                     // answers with padding that are asked for ahead, on each connection
	pathLoadPing = 100 * time.Millisecond // between pings while the way is filled
)

// pathSegments are the sizes that are tried where full segments vanish, the largest first: what common tunnels leave of 1,500, and what every hop must carry.
var pathSegments = []int{1400, 1360, 1300, 1200, 1000, 536}

// probe is one connection to measure with.
type probe struct {
	conn   *grpc.ClientConn
	raw    net.Conn // the latest that was dialled
	mu     sync.Mutex
	began  time.Time
	dialed time.Time // TCP was connected
	ready  time.Time

	segment int // that a connection which came to nothing would have sent; 0: not known
}

// probe connects, with segments of at most so many bytes; 0: the system's choice. With an error comes what there is, for what it shows: it is closed.
func (c *ReplicationClient) probe(ctx context.Context, segment int, within time.Duration) (*probe, error) {
	p := &probe{began: time.Now()}
	dial := dialerOf(c.allowPublic, c.note, segmentsOf(segment))
	conn, err := c.dialBy(func(ctx context.Context, address string) (net.Conn, error) {
		raw, err := dial(ctx, address)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.raw, p.dialed = raw, time.Now()
		return raw, err
	})
	if err != nil {
		return nil, err
	}
	p.conn = conn
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.TransientFailure || !conn.WaitForStateChange(ctx, state) {
			p.mu.Lock()
			if p.raw != nil {
				p.segment = segmentOf(p.raw)
			}
			p.mu.Unlock()
			p.close()
			return p, c.problem(&replication.Problem{Code: CodeUnreachable, Message: "connect to " + c.address, Err: errors.Join(c.shaken(), ctx.Err())})
		}
	}
	p.ready = time.Now()
	return p, nil
}

// close ends the connection, and what still lies in its buffers does not go out any more.
func (p *probe) close() {
	p.mu.Lock()
	if t, ok := p.raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	p.mu.Unlock()
	p.conn.Close()
}

// stream opens a stream of the order's.
func (p *probe) stream(ctx context.Context, path uint64) (*pathStream, error) {
	s, err := failbackpb.NewReplicationClient(p.conn).Path(ctx)
	if err != nil {
		return nil, ProblemOf(err)
	}
	return &pathStream{BidiStreamingClient: s, path: path}, nil
}

type pathStream struct {
	grpc.BidiStreamingClient[failbackpb.PathAsk, failbackpb.PathAnswer]
	path uint64 // 0: told already
}

func (s *pathStream) ask(bytes, want int) error {
	err := s.Send(&failbackpb.PathAsk{Path: s.path, Want: uint32(want), Padding: padding()[:bytes]})
	s.path = 0
	if err == io.EOF { // the reason comes with the answer
		_, err = s.Recv()
	}
	return err
}

// once sends one message and waits for its answer.
func (s *pathStream) once(bytes, want int) (took time.Duration, at time.Time, err error) {
	begin := time.Now()
	if err := s.ask(bytes, want); err != nil {
		return 0, at, err
	}
	a, err := s.Recv()
	if err != nil {
		return 0, at, err
	}
	return time.Since(begin), time.Unix(0, a.UnixNanos), nil
}

// measure works on an order to measure the path.
func (c *ReplicationClient) measure(ctx context.Context, o *failbackpb.PathOrder) (*replication.Path, error) {
	each := min(time.Duration(o.EachNanos), replication.MaxPathTime)
	if each <= 0 || o.MaxBytes <= 0 || o.MaxBytes > replication.MaxPathBytes {
		return nil, fmt.Errorf("measure the path for %v with %d bytes: at most %v with %d", each, o.MaxBytes, replication.MaxPathTime, int64(replication.MaxPathBytes))
	}
	m := &measuring{client: c, order: o.Path, each: each, bytes: o.MaxBytes}
	if err := m.first(ctx); err != nil {
		return nil, err
	}
	if m.Vanished > 0 { // there is no rate then
		return &m.Path, nil
	}
	if err := m.fill(ctx, &m.Up, true); err != nil {
		return nil, fmt.Errorf("fill the path to the master target: %w", err)
	}
	if err := m.fill(ctx, &m.Down, false); err != nil {
		return nil, fmt.Errorf("fill the path from the master target: %w", err)
	}
	return &m.Path, nil
}

type measuring struct {
	replication.Path
	client *ReplicationClient
	order  uint64
	each   time.Duration
	bytes  int64
}

// first connects, asks for the time, and sees whether full segments arrive.
func (m *measuring) first(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p, err := m.client.probe(ctx, 0, pathConnect)
	if err != nil {
		return m.stuck(ctx, p, err)
	}
	defer p.close()
	m.Connect, m.Handshake = p.dialed.Sub(p.began), p.ready.Sub(p.dialed)
	s, err := p.stream(ctx, m.order)
	if err != nil {
		return err
	}
	for i := range pathPings {
		begin := time.Now()
		took, theirs, err := s.once(0, 0)
		if err != nil {
			return ProblemOf(err)
		}
		if i == 0 || took < m.RTT {
			m.RTT, m.Skew, m.SkewWithin = took, begin.Add(took/2).Sub(theirs), took/2
		}
	}
	m.Segment = segmentOf(p.raw)
	for _, down := range []bool{false, true} {
		ok, err := m.large(ctx, 0, down)
		if err != nil {
			return err
		}
		if !ok {
			m.VanishedDown, m.Vanished = down, m.Segment
			if m.Vanished == 0 {
				m.Vanished = pathLarge
			}
			return m.passing(ctx)
		}
	}
	return nil
}

// stuck looks at a path over which TLS does not come about, although there is a connection for orders: large packets may vanish since that was made.
func (m *measuring) stuck(ctx context.Context, p *probe, err error) error {
	if p == nil || p.segment == 0 { // TCP did not come about either
		return err
	}
	m.Vanished = p.segment
	if failed := m.passing(ctx); failed != nil {
		return failed
	}
	if m.Passes == 0 {
		return err
	}
	return nil
}

// large says whether a message of full segments arrives over a new connection, one way. One whose small messages do not arrive either is an error.
func (m *measuring) large(ctx context.Context, segment int, down bool) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	within := pathConnect
	if segment > 0 {
		within = pathWait
	}
	p, err := m.client.probe(ctx, segment, within)
	if err != nil {
		return false, err
	}
	defer p.close()
	s, err := p.stream(ctx, m.order)
	if err != nil {
		return false, err
	}
	arrived := func(bytes, want int) error {
		give := time.AfterFunc(pathWait+8*m.RTT, cancel)
		defer give.Stop()
		_, _, err := s.once(bytes, want)
		return err
	}
	if err := arrived(0, 0); err != nil {
		return false, ProblemOf(err)
	}
	if down {
		err = arrived(0, pathLarge)
	} else {
		err = arrived(pathLarge, 0)
	}
	if err != nil && ctx.Err() == nil { // something else
		return false, ProblemOf(err)
	}
	return err == nil, nil
}

// passing finds the largest segments that do arrive.
func (m *measuring) passing(ctx context.Context) error {
	for _, n := range pathSegments {
		if n >= m.Vanished || !canSetSegments {
			continue
		}
		ok, err := m.large(ctx, n, m.VanishedDown)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && ok {
			m.Passes = n
			return nil
		}
	}
	return nil
}

// fill sends padding one way over several connections, and tells how much of it came in which time.
func (m *measuring) fill(ctx context.Context, rate *replication.PathRate, up bool) error {
	var probes []*probe
	defer func() {
		for _, p := range probes {
			p.close()
		}
	}()
	for range pathLanes + 1 { // one more for the pings
		p, err := m.client.probe(ctx, 0, pathConnect)
		if err != nil {
			return err
		}
		probes = append(probes, p)
	}
	m.Connections = pathLanes
	timed, cancel := context.WithCancel(ctx) // no deadline: the other side would be told of it, and end the streams a little before
	defer cancel()
	defer time.AfterFunc(m.each, cancel).Stop()
	var came, sent atomic.Int64
	over := func(err error) error { // its end is no failure
		if timed.Err() != nil && ctx.Err() == nil || errors.Is(err, errPathFull) {
			return nil
		}
		return err
	}
	begin := time.Now()
	var g errgroup.Group
	for _, p := range probes[:pathLanes] {
		s, err := p.stream(timed, m.order)
		if err != nil {
			return over(err)
		}
		g.Go(func() error {
			defer cancel()
			return over(s.pump(up, m.bytes, &sent, &came))
		})
	}
	var pings []time.Duration
	if up {
		g.Go(func() (err error) {
			pings, err = probes[pathLanes].pings(timed, m.order)
			return over(err)
		})
	}
	type mark struct {
		at    time.Duration
		bytes int64
	}
	var marks []mark
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for timed.Err() == nil {
		marks = append(marks, mark{time.Since(begin), came.Load()})
		select {
		case <-tick.C:
		case <-timed.Done():
		}
	}
	rate.Lasted, rate.Bytes = time.Since(begin), came.Load()
	if up {
		rate.Again = againOf(probes[:pathLanes])
	}
	for _, p := range probes { // their streams end
		p.close()
	}
	probes = nil
	if err := g.Wait(); err != nil {
		return ProblemOf(err)
	}
	i, _ := slices.BinarySearchFunc(marks, time.Duration(float64(rate.Lasted)*pathRamp), func(m mark, at time.Duration) int { return int(m.at - at) })
	if i < len(marks) {
		if took := rate.Lasted - marks[i].at; took > 0 {
			rate.Rate = float64(rate.Bytes-marks[i].bytes) / took.Seconds()
		}
	}
	if len(pings) > 0 {
		slices.Sort(pings)
		m.Loaded = pings[len(pings)/2]
	}
	return nil
}

var errPathFull = errors.New("as much was sent as was ordered")

// pump fills one connection until its context ends, or as much was sent as may be.
func (s *pathStream) pump(up bool, most int64, sent, came *atomic.Int64) error {
	bytes, want := pathPadding, 0
	asked := make(chan struct{}, 1<<20) // up: flow control is what bounds it
	if !up {
		bytes, want = 0, pathPadding
		asked = make(chan struct{}, pathAsked)
	}
	var g errgroup.Group
	g.Go(func() error {
		for {
			select {
			case asked <- struct{}{}:
			case <-s.Context().Done():
				return s.Context().Err()
			}
			if sent.Add(pathPadding) > most {
				return s.CloseSend()
			}
			if err := s.Send(&failbackpb.PathAsk{Path: s.path, Want: uint32(want), Padding: padding()[:bytes]}); err == io.EOF {
				return nil // the reason comes with the answer
			} else if err != nil {
				return err
			}
			s.path = 0
		}
	})
	g.Go(func() error {
		for {
			if _, err := s.Recv(); err == io.EOF {
				return errPathFull
			} else if err != nil {
				return err
			}
			came.Add(pathPadding)
			<-asked
		}
	})
	return g.Wait()
}

// pings measures round trips until its context ends.
func (p *probe) pings(ctx context.Context, path uint64) (all []time.Duration, err error) {
	s, err := p.stream(ctx, path)
	if err != nil {
		return nil, err
	}
	for {
		took, _, err := s.once(0, 0)
		if err != nil {
			return all, err
		}
		all = append(all, took)
		select {
		case <-time.After(pathLoadPing):
		case <-ctx.Done():
			return all, ctx.Err()
		}
	}
}
