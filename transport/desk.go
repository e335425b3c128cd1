package transport

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/link"
)

// desk is where orders come in and reports go out.
type desk struct {
	worker  link.Worker
	client  *ReplicationClient
	stream  failbackpb.Replication_WorkClient
	sendMu  sync.Mutex
	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc
	under   int // orders under way, and
	bytes   int // theirs
	running sync.WaitGroup
}

// Bounds of orders under way: a master target gives each group some at a time. One that gives more is none.
const (
	maxOrders     = 1024
	maxOrderBytes = 64 << 20
)

// CodeOrders is the code of a master target that gives too many orders.
const CodeOrders = "too-many-orders"

func (d *desk) wait() { d.running.Wait() }

// take begins to work on an order. An error ends the stream.
func (d *desk) take(ctx context.Context, o *failbackpb.Order) error {
	if c := o.GetCancel(); c != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		if cancel := d.cancels[c.Order]; cancel != nil {
			cancel()
		}
		return nil
	}
	if l := o.GetLimits(); l != nil {
		if w, ok := d.worker.(link.Limited); ok {
			w.Limit(limitsFromWire(l))
		}
		return nil
	}
	size := proto.Size(o)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.under == maxOrders || d.bytes+size > maxOrderBytes {
		return &replication.Problem{Code: CodeOrders, Message: fmt.Sprintf("the master target at %s gave more than %d orders, or %d MiB of them, at a time", d.client.address, maxOrders, maxOrderBytes>>20), Remedy: "it is not a failback master target"}
	}
	d.under, d.bytes = d.under+1, d.bytes+size
	ctx, cancel := context.WithCancel(ctx)
	d.cancels[o.Id] = cancel
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
		d.mu.Lock()
		defer d.mu.Unlock()
		d.under, d.bytes = d.under-1, d.bytes-size
	})
	return nil
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
			Point: replication.PointID(v.Ship.Point), Base: replication.PointID(v.Ship.Base), Mode: replication.Mode(v.Ship.Mode), Snapshot: v.Ship.Snapshot, Repeats: v.Ship.Repeats, Streams: disksFromWire(v.Ship.Streams), Joining: disksFromWire(v.Ship.Joining), LargestFirst: v.Ship.LargestFirst, Ahead: v.Ship.Ahead, Fresh: v.Ship.Fresh,
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
