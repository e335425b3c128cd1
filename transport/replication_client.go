package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/link"
	"failback/transport/pki"
)

// ReplicationClient is a process server's connections to its master target: one for orders and questions, and one for each lane in use. It implements
// link.Authority.
type ReplicationClient struct {
	address     string
	id          *pki.Identity
	allowPublic bool
	through     func(context.Context, string) (net.Conn, error) // what dials; nil: this machine's network

	control *grpc.ClientConn
	client  failbackpb.ReplicationClient

	orders meter // what control took

	mu       sync.Mutex
	lanes    map[*laneConn]bool // all there are
	free     []*laneConn        // of these, not in use
	closed   bool
	shakeErr error // how the last attempt to connect ended
}

// DialReplication prepares connections to the master target at HOST:PORT, which must be a private address unless public ones are allowed. Nothing is sent before the first call.
func DialReplication(address string, id *pki.Identity, allowPublic bool) (*ReplicationClient, error) {
	return newReplicationClient(address, id, allowPublic, nil)
}

// checkAddress refuses what is no HOST:PORT to dial: it would not become one by trying again.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil && host == "" {
		err = errors.New("it names no host")
	}
	if err == nil {
		var n int
		if n, err = net.LookupPort("tcp", port); err == nil && n == 0 {
			err = errors.New("there is no port 0 to dial")
		}
	}
	if err == nil {
		return nil
	}
	return &replication.Problem{Code: "bad-address", Message: fmt.Sprintf("%q is not the address of a master target", address), Err: err,
		Remedy: "give by --master-target the HOST:PORT that master-target was given by --listen, such as 10.1.0.4:9443 or [fd12::4]:9443"}
}

func newReplicationClient(address string, id *pki.Identity, allowPublic bool, through func(context.Context, string) (net.Conn, error)) (*ReplicationClient, error) {
	if err := checkAddress(address); err != nil {
		return nil, err
	}
	c := &ReplicationClient{address: address, id: id, allowPublic: allowPublic, through: through, lanes: map[*laneConn]bool{}}
	conn, err := c.dial(&c.orders)
	if err != nil {
		return nil, err
	}
	c.control, c.client = conn, failbackpb.NewReplicationClient(conn)
	return c, nil
}

func (c *ReplicationClient) dial(m *meter, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	dial := c.through
	if dial == nil {
		dial = dialerOf(c.allowPublic, c.note, nil)
	}
	return c.dialBy(m.dialer(dial), more...)
}

func (c *ReplicationClient) dialBy(dialer func(context.Context, string) (net.Conn, error), more ...grpc.DialOption) (*grpc.ClientConn, error) {
	// What gRPC gives the dialer is the target as it parses it: a URL, in which % and a zone after it mean something else.
	dialHere := func(ctx context.Context, _ string) (net.Conn, error) { return dialer(ctx, c.address) }
	conn, err := grpc.NewClient("passthrough:///"+url.PathEscape(c.address), append([]grpc.DialOption{
		grpc.WithTransportCredentials(gatherCredentials{TransportCredentials: listeningCredentials{newClientCredentials(c.id), c}}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(newCodec()), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithContextDialer(dialHere), grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveEvery, Timeout: keepaliveWait, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: redial, MinConnectTimeout: dialTimeout + shakeWithin}),
		grpc.WithWriteBufferSize(socketBuffer), grpc.WithReadBufferSize(0), experimental.WithBufferPool(received), // gatherCredentials buffer what is read
	}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", c.address, err)
	}
	return conn, nil
}

// note keeps how a handshake ended: gRPC would tell it inside three others, and without what to do.
func (c *ReplicationClient) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shakeErr = err
}

// shaken returns how the last attempt to connect ended.
func (c *ReplicationClient) shaken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shakeErr
}

// problem makes of a call's error what an operator should see. A connection that failed at the certificates says which side did not trust which.
func (c *ReplicationClient) problem(err error) error {
	p := ProblemOf(err)
	if p.Code != CodeUnreachable {
		return p
	}
	cause := c.shaken()
	var told *replication.Problem
	switch { // an earlier attempt is not the cause of what has happened since
	case errors.As(cause, &told) && told.Code == CodePublic:
		return told
	case errors.As(cause, &told) && strings.Contains(p.Message, "handshake failed"), refused(cause) && strings.Contains(p.Message, "remote error"):
		return unreachable(c.address, cause, p.Message)
	}
	return p
}

// Close ends all connections.
func (c *ReplicationClient) Close() {
	c.control.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.lanes {
		l.conn.Close()
	}
	clear(c.lanes)
	c.free, c.closed = nil, true
}

// Work says hello and works on orders until the connection ends, which is the error it returns. It returns after all orders under way have.
func (c *ReplicationClient) Work(ctx context.Context, name, home, version string, worker link.Worker, welcomed func(masterVersion string, skew time.Duration)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.control.ResetConnectBackoff() // the caller chose when to try
	stream, err := c.client.Work(ctx)
	if err != nil {
		return c.problem(err)
	}
	if err := stream.Send(&failbackpb.Report{What: &failbackpb.Report_Hello{Hello: &failbackpb.Hello{
		Name: name, Home: home, Major: ProtocolMajor, Minor: ProtocolMinor, Version: version, UnixNanos: time.Now().UnixNano(),
	}}}); err != nil && err != io.EOF { // EOF: Recv tells why
		return c.problem(err)
	}
	first, err := stream.Recv()
	if err != nil {
		return c.problem(err)
	}
	w := first.GetWelcome()
	if w == nil {
		return &replication.Problem{Code: "protocol", Message: c.address + " did not answer with a welcome", Remedy: "it is not a failback master target"}
	}
	if _, err := link.Ours(version).Speak("master target "+c.address, link.Version{Major: w.Major, Minor: w.Minor, Program: w.Version}); err != nil {
		return err
	}
	skew, _ := skewOf(w.UnixNanos)
	welcomed(w.Version, skew)

	d := &desk{stream: stream, worker: worker, client: c, cancels: map[uint64]context.CancelFunc{}}
	defer d.wait()
	defer cancel()
	if m, ok := worker.(link.Measured); ok {
		d.running.Go(func() { d.tellFigures(ctx, m) })
	}
	for {
		o, err := stream.Recv()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return c.problem(err)
		}
		if err := d.take(ctx, o); err != nil {
			return err
		}
	}
}

// Coverage implements link.Authority.
func (c *ReplicationClient) Coverage(ctx context.Context, f link.Fence, tell func(replication.DiskNo, []replication.Extent) error) error {
	ctx, cancel := context.WithCancel(ctx) // where tell ends it, the stream has to go
	defer cancel()
	stream, err := c.client.Coverage(ctx, &failbackpb.CoverageRequest{Fence: fenceToWire(f)})
	if err != nil {
		return ProblemOf(err)
	}
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return ProblemOf(err)
		}
		x, err := extentsFromWire(r.Extents)
		if err != nil {
			return fmt.Errorf("coverage: %w", err)
		}
		if err := tell(replication.DiskNo(r.Disk), x); err != nil {
			return err
		}
	}
}

// Compare implements link.Authority.
func (c *ReplicationClient) Compare(ctx context.Context, f link.Fence, disk replication.DiskNo, extents []replication.Extent) (link.Comparison, error) {
	if len(extents) > extentsPerMessage { // more than one message holds: ask for the whole run, the caller skips what it did not ask for
		extents = []replication.Extent{{Off: extents[0].Off, End: extents[len(extents)-1].End}}
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.client.Compare(ctx, &failbackpb.CompareRequest{Fence: fenceToWire(f), Disk: uint32(disk), Extents: extentsToWire(extents)})
	if err != nil {
		cancel()
		return nil, ProblemOf(err)
	}
	return &comparison{stream: stream, cancel: cancel}, nil
}

type comparison struct {
	stream failbackpb.Replication_CompareClient
	cancel context.CancelFunc
	off    int64 // of the next hash
	hashes []byte
}

// Next implements link.Comparison. The last region of a disk comes with the length of a whole one: the caller knows the disk's size.
func (c *comparison) Next() (link.Side, error) {
	for len(c.hashes) == 0 {
		r, err := c.stream.Recv()
		if err == io.EOF {
			return link.Side{}, io.EOF
		}
		if err != nil {
			return link.Side{}, ProblemOf(err)
		}
		if r.Offset < 0 || r.Offset > replication.MaxDiskSize || r.Zero < 0 || r.Zero > replication.MaxDiskSize || len(r.Hashes)%16 != 0 {
			return link.Side{}, errors.New("compare: the master target sent what is no part of a disk")
		}
		if r.Zero > 0 {
			return link.Side{Extent: replication.Extent{Off: r.Offset, End: r.Offset + r.Zero}, Zero: true}, nil
		}
		c.off, c.hashes = r.Offset, r.Hashes
	}
	s := link.Side{Extent: replication.Extent{Off: c.off, End: c.off + replication.Region}, Hash: replication.Hash(c.hashes)}
	c.off, c.hashes = s.End, c.hashes[16:]
	return s, nil
}

func (c *comparison) Close() { c.cancel() }

// Pages implements link.Authority.
func (c *ReplicationClient) Pages(ctx context.Context, f link.Fence, disk replication.DiskNo, off int64) ([]replication.Hash, error) {
	r, err := c.client.Pages(ctx, &failbackpb.PagesRequest{Fence: fenceToWire(f), Disk: uint32(disk), Regions: []int64{off}})
	if err != nil {
		return nil, ProblemOf(err)
	}
	return hashesFromWire(r.Hashes)
}

// Finish implements link.Authority.
func (c *ReplicationClient) Finish(ctx context.Context, f link.Fence, totals []replication.Total) (replication.PointID, error) {
	req := &failbackpb.FinishRequest{Fence: fenceToWire(f)}
	for _, t := range totals {
		req.Totals = append(req.Totals, &failbackpb.DiskTotal{Disk: uint32(t.Disk), Bytes: t.Bytes, Digest: t.Digest[:]})
	}
	r, err := c.client.Finish(ctx, req)
	if err != nil {
		return 0, ProblemOf(err)
	}
	return replication.PointID(r.Point), nil
}
