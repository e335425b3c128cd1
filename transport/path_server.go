package transport

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/link"
)

// Bounds of measuring.
const (
	pathPadding   = 64 << 10         // bytes of padding in a message, each way
	pathLanes     = 4                // connections that are filled
	pathStreams   = 64               // streams of one order, over all its steps
	pathPatience  = 90 * time.Second // what all that is not filling may take
	pathOverhead  = 64 << 20         // bytes that an order may take above what was ordered, each way: what lies in windows and buffers when the time is over
	maxPathOrders = 1                // at a time: two would measure each other
)

// paths is what a master target has ordered to be measured. Streams of Path are for these only.
type paths struct {
	mu  sync.Mutex
	now map[uint64]*pathOrder
}

// pathOrder is one order, until it is answered.
type pathOrder struct {
	ctx     context.Context // ends with it
	key     string          // whose it is
	up      atomic.Int64    // bytes that may still come
	down    atomic.Int64
	streams atomic.Int64
}

// open notes an order to the holder of a key and returns its name.
func (p *paths) open(ctx context.Context, key string, ask replication.PathAsk) (name uint64, done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.now) >= maxPathOrders {
		return 0, nil, &replication.Problem{Code: link.CodePathBusy, Message: "another path is being measured just now", Remedy: "try again in a minute, or check without measuring: --path-time 0"}
	}
	var b [8]byte
	rand.Read(b[:])
	name = binary.LittleEndian.Uint64(b[:])
	ctx, cancel := context.WithCancel(ctx)
	o := &pathOrder{ctx: ctx, key: key}
	o.up.Store(ask.MaxBytes + pathOverhead)
	o.down.Store(ask.MaxBytes + pathOverhead)
	if p.now == nil {
		p.now = map[uint64]*pathOrder{}
	}
	p.now[name] = o
	return name, func() {
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.now, name)
	}, nil
}

// find returns the order that a stream of a caller's is for.
func (p *paths) find(name uint64, key string) (*pathOrder, error) {
	p.mu.Lock()
	o := p.now[name]
	p.mu.Unlock()
	if o == nil || o.key != key {
		return nil, &replication.Problem{Code: link.CodePathOrder, Message: "no order to measure the path is under way for this caller", Remedy: "none needed: failback check gives such orders"}
	}
	if o.streams.Add(1) > pathStreams {
		return nil, &replication.Problem{Code: link.CodePathOrder, Message: fmt.Sprintf("more than %d streams to measure one path", pathStreams), Remedy: "see which process server does that"}
	}
	return o, nil
}

// padding is what is sent to fill a path: no gateway on the way makes less of it.
var padding = sync.OnceValue(func() []byte {
	b := make([]byte, pathPadding)
	rand.Read(b)
	return b
})

// Path answers each message of a stream, one at a time: what comes waits in the stream's window meanwhile.
func (s *replicationServer) Path(stream grpc.BidiStreamingServer[failbackpb.PathAsk, failbackpb.PathAnswer]) error {
	first, err := firstOf(stream.Recv)
	if err != nil {
		return err
	}
	order, err := s.paths.find(first.Path, link.Caller(calling(stream.Context())))
	if err != nil {
		return StatusOf(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- order.answer(stream, first) }() // ends with the stream
	select {
	case err = <-ended:
	case <-order.ctx.Done():
		err = &replication.Problem{Code: link.CodePathOrder, Message: "the order to measure the path is over"}
	}
	return StatusOf(err)
}

func (o *pathOrder) answer(stream grpc.BidiStreamingServer[failbackpb.PathAsk, failbackpb.PathAnswer], m *failbackpb.PathAsk) error {
	for {
		if m.Want > pathPadding || len(m.Padding) > pathPadding {
			return &replication.Problem{Code: link.CodePathOrder, Message: fmt.Sprintf("%d bytes of padding, and %d wanted: at most %d", len(m.Padding), m.Want, pathPadding)}
		}
		if o.up.Add(-int64(len(m.Padding))) < 0 || o.down.Add(-int64(m.Want)) < 0 {
			return &replication.Problem{Code: link.CodePathOrder, Message: "more padding than was ordered"}
		}
		if err := stream.Send(&failbackpb.PathAnswer{UnixNanos: time.Now().UnixNano(), Padding: padding()[:m.Want]}); err != nil {
			return err
		}
		var err error
		if m, err = stream.Recv(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Path implements link.Prober.
func (w *remoteWorker) Path(ctx context.Context, ask replication.PathAsk) (replication.Path, error) {
	if ask.MaxBytes <= 0 || ask.MaxBytes > replication.MaxPathBytes {
		ask.MaxBytes = replication.MaxPathBytes
	}
	ask.Each = min(ask.Each, replication.MaxPathTime)
	ctx, cancel := context.WithTimeoutCause(ctx, 2*ask.Each+pathPatience, &replication.Problem{
		Code: CodeCancelled, Message: "the process server did not measure the path in time", Remedy: "see its log, then try again; --path-time 0 checks without measuring"})
	defer cancel()
	name, done, err := w.paths.open(ctx, w.key, ask)
	if err != nil {
		return replication.Path{}, err
	}
	defer done()
	r, err := w.do(ctx, &failbackpb.Order{What: &failbackpb.Order_Path{Path: &failbackpb.PathOrder{Path: name, EachNanos: int64(ask.Each), MaxBytes: ask.MaxBytes}}}, nil)
	if err != nil {
		return replication.Path{}, err
	}
	p := pathFromWire(r.GetPath())
	if p == nil {
		return replication.Path{}, &replication.Problem{Code: "protocol", Message: "the process server answered an order to measure the path with something else", Remedy: "upgrade the process server"}
	}
	return *p, nil
}
