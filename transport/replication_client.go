package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	shakeErr error              // how the last attempt to connect ended
}

// DialReplication prepares connections to the master target at HOST:PORT, which must be a private address unless public ones are allowed. Nothing is sent before the first call.
func DialReplication(address string, id *pki.Identity, allowPublic bool) (*ReplicationClient, error) {
	return newReplicationClient(address, id, allowPublic, nil)
}

func newReplicationClient(address string, id *pki.Identity, allowPublic bool, through func(context.Context, string) (net.Conn, error)) (*ReplicationClient, error) {
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
	conn, err := grpc.NewClient("passthrough:///"+c.address, append(more,
		grpc.WithTransportCredentials(gatherCredentials{TransportCredentials: listeningCredentials{newClientCredentials(c.id), c}}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(newCodec()), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithContextDialer(dialer), grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveEvery, Timeout: keepaliveWait, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: redial, MinConnectTimeout: dialTimeout + shakeWithin}),
		grpc.WithWriteBufferSize(socketBuffer), grpc.WithReadBufferSize(0), experimental.WithBufferPool(received), // gatherCredentials buffer what is read
	)...)
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
	c.free = nil
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
	welcomed(w.Version, time.Duration(w.UnixNanos-time.Now().UnixNano()))

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
		d.take(ctx, o)
	}
}

// desk is where orders come in and reports go out.
type desk struct {
	worker  link.Worker
	client  *ReplicationClient
	stream  failbackpb.Replication_WorkClient
	sendMu  sync.Mutex
	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc
	running sync.WaitGroup
}

func (d *desk) wait() { d.running.Wait() }

func (d *desk) take(ctx context.Context, o *failbackpb.Order) {
	if c := o.GetCancel(); c != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		if cancel := d.cancels[c.Order]; cancel != nil {
			cancel()
		}
		return
	}
	if l := o.GetLimits(); l != nil {
		if w, ok := d.worker.(link.Limited); ok {
			w.Limit(limitsFromWire(l))
		}
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	d.mu.Lock()
	d.cancels[o.Id] = cancel
	d.mu.Unlock()
	d.running.Go(func() {
		defer cancel()
		r, err := d.work(ctx, o)
		if err != nil {
			p := replication.AsProblem(err)
			if ctx.Err() != nil {
				p = &replication.Problem{Code: CodeCancelled, Message: err.Error()}
			}
			r = &failbackpb.Report{What: &failbackpb.Report_Failed{Failed: problemToWire(p)}}
		}
		d.mu.Lock()
		delete(d.cancels, o.Id)
		d.mu.Unlock()
		d.report(o.Id, r)
	})
}

// figuresEvery is how often a process server tells its figures.
const figuresEvery = 15 * time.Second

// tellFigures tells them at once, and from then on every figuresEvery, until ctx ends.
func (d *desk) tellFigures(ctx context.Context, m link.Measured) {
	t := time.NewTicker(figuresEvery)
	defer t.Stop()
	for {
		d.report(0, &failbackpb.Report{What: &failbackpb.Report_Figures{Figures: figuresToWire(m.Figures())}})
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (d *desk) report(order uint64, r *failbackpb.Report) {
	r.Order = order
	d.sendMu.Lock()
	defer d.sendMu.Unlock()
	_ = d.stream.Send(r) // a stream that can't be written is found by Recv, and all orders are given again
}

func (d *desk) work(ctx context.Context, o *failbackpb.Order) (*failbackpb.Report, error) {
	progress := func(l replication.Progress) {
		d.report(o.Id, &failbackpb.Report{What: &failbackpb.Report_Progress{Progress: progressToWire(l)}})
	}
	switch v := o.What.(type) {
	case *failbackpb.Order_Probe:
		spec, err := specFromWire(v.Probe.Group)
		if err != nil {
			return nil, err
		}
		found, err := d.worker.Probe(ctx, spec)
		r := &failbackpb.ProbeDone{Dir: found.Dir}
		for _, p := range found.Disks {
			r.Disks = append(r.Disks, &failbackpb.ProbedDisk{No: uint32(p.Disk), Size: p.Size, Data: p.Data, Os: p.OS, Mark: p.Mark, View: p.View, Place: p.Place, Problem: problemToWire(p.Problem)})
		}
		for _, q := range found.Quiesce {
			r.Quiesce = append(r.Quiesce, &failbackpb.UnrunnableCommand{Machine: q.Machine, Command: q.Command, Why: utf8(q.Why)})
		}
		return &failbackpb.Report{What: &failbackpb.Report_Probe{Probe: r}}, err
	case *failbackpb.Order_Cut:
		spec, err := specFromWire(v.Cut.Group)
		if err != nil {
			return nil, err
		}
		c, err := d.worker.Cut(ctx, spec, replication.PointID(v.Cut.Point), link.Base{Point: replication.PointID(v.Cut.Base), Snapshot: v.Cut.BaseSnapshot})
		return &failbackpb.Report{What: &failbackpb.Report_Cut{Cut: &failbackpb.CutDone{
			UnixNanos: c.Time.UnixNano(), Snapshot: c.Snapshot, Stable: c.Stable, Tracked: c.Tracked, UntrackedWhy: c.UntrackedWhy, Sizes: c.Sizes, Held: c.Held,
			App: c.App, NotApp: utf8(c.NotApp), SkewNanos: int64(c.Skew), FrozenNanos: int64(c.Frozen),
		}}}, err
	case *failbackpb.Order_Ship:
		spec, err := specFromWire(v.Ship.Group)
		if err != nil {
			return nil, err
		}
		err = d.worker.Ship(ctx, spec, link.Shipment{
			Point: replication.PointID(v.Ship.Point), Base: replication.PointID(v.Ship.Base), Mode: replication.Mode(v.Ship.Mode), Snapshot: v.Ship.Snapshot, Repeats: v.Ship.Repeats, Streams: disksFromWire(v.Ship.Streams), Joining: disksFromWire(v.Ship.Joining), LargestFirst: v.Ship.LargestFirst, Ahead: v.Ship.Ahead,
		}, progress)
		return &failbackpb.Report{What: &failbackpb.Report_Ship{Ship: &failbackpb.ShipDone{Point: v.Ship.Point}}}, err
	case *failbackpb.Order_Release:
		spec, err := specFromWire(v.Release.Group)
		if err != nil {
			return nil, err
		}
		return &failbackpb.Report{What: &failbackpb.Report_Release{Release: &failbackpb.ReleaseDone{}}},
			d.worker.Release(ctx, spec, replication.PointID(v.Release.Keep))
	case *failbackpb.Order_Verify:
		spec, err := specFromWire(v.Verify.Group)
		if err != nil {
			return nil, err
		}
		res, err := d.worker.Verify(ctx, spec, replication.PointID(v.Verify.Point), func(l []replication.Ledger) { progress(replication.Progress{Disks: l}) })
		r := &failbackpb.VerifyDone{Equal: res.Differs == 0, Differs: res.Differs}
		for _, n := range res.Disks {
			r.Disks = append(r.Disks, uint32(n))
		}
		return &failbackpb.Report{What: &failbackpb.Report_Verify{Verify: r}}, err
	case *failbackpb.Order_Path:
		p, err := d.client.measure(ctx, v.Path)
		return &failbackpb.Report{What: &failbackpb.Report_Path{Path: pathToWire(p)}}, err
	case *failbackpb.Order_Repair:
		spec, err := specFromWire(v.Repair.Group)
		if err != nil {
			return nil, err
		}
		order, err := repairFromWire(v.Repair)
		if err != nil {
			return nil, err
		}
		return &failbackpb.Report{What: &failbackpb.Report_Repair{Repair: &failbackpb.RepairDone{}}}, d.worker.Repair(ctx, spec, order)
	case *failbackpb.Order_Forget:
		spec, err := specFromWire(v.Forget.Group)
		if err != nil {
			return nil, err
		}
		return &failbackpb.Report{What: &failbackpb.Report_Forget{Forget: &failbackpb.ForgetDone{}}}, d.worker.Forget(ctx, spec)
	}
	return nil, &replication.Problem{Code: CodeNotSupported, Message: "the master target gave an order that this process server does not know", Remedy: "upgrade the process server"}
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
