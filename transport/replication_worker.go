package transport

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/link"
	"failback/replication/throttle"
)

// remoteWorker is a process server at the other end of a work stream.
type remoteWorker struct {
	stream  failbackpb.Replication_WorkServer
	version string // of our program
	key     string // of its certificate
	paths   *paths

	sendMu   sync.Mutex
	welcomed bool

	mu    sync.Mutex
	last  uint64
	calls map[uint64]*call
	err   error         // why it has gone
	gone  chan struct{} // closed when it has gone
	left  chan error    // holds one: why it is sent away

	figures atomic.Pointer[replication.Figures] // as told last; nil: not told
}

// Figures implements link.Measured. Their time is when they came.
func (w *remoteWorker) Figures() replication.Figures {
	if f := w.figures.Load(); f != nil {
		return *f
	}
	return replication.Figures{}
}

// Leave sends the process server away: its stream ends with err. It may be called again.
func (w *remoteWorker) Leave(err error) {
	select {
	case w.left <- err:
	default:
	}
}

type call struct {
	progress func(replication.Progress)
	done     chan *failbackpb.Report // holds one
}

func (w *remoteWorker) receive() error {
	for {
		r, err := w.stream.Recv()
		if err != nil {
			return err
		}
		if f := r.GetFigures(); f != nil {
			w.figures.Store(figuresFromWire(f))
			continue
		}
		w.mu.Lock()
		c := w.calls[r.Order]
		if c != nil && r.GetProgress() == nil {
			delete(w.calls, r.Order)
		}
		w.mu.Unlock()
		switch {
		case c == nil: // an order that was given up
		case r.GetProgress() != nil:
			if c.progress != nil {
				c.progress(progressFromWire(r.GetProgress()))
			}
		default:
			c.done <- r
		}
	}
}

func (w *remoteWorker) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = &replication.Problem{Code: CodeUnreachable, Message: "the connection to the process server ended", Remedy: "it dials again by itself; see that it runs and that the network lets it through", Err: err}
	close(w.gone)
}

// do gives an order and waits for its final report.
func (w *remoteWorker) do(ctx context.Context, o *failbackpb.Order, progress func(replication.Progress)) (*failbackpb.Report, error) {
	c := &call{progress: progress, done: make(chan *failbackpb.Report, 1)}
	w.mu.Lock()
	w.last++
	o.Id = w.last
	w.calls[o.Id] = c
	w.mu.Unlock()
	if err := w.send(o); err != nil {
		return nil, &replication.Problem{Code: CodeUnreachable, Message: "the process server can't be given an order", Err: err}
	}
	select {
	case r := <-c.done:
		if p := r.GetFailed(); p != nil {
			return nil, problemFromWire(p)
		}
		return r, nil
	case <-w.gone:
		return nil, w.err
	case <-ctx.Done():
		w.mu.Lock()
		delete(w.calls, o.Id)
		w.mu.Unlock()
		_ = w.send(&failbackpb.Order{What: &failbackpb.Order_Cancel{Cancel: &failbackpb.CancelOrder{Order: o.Id}}}) // a broken stream ends the order as well
		return nil, context.Cause(ctx)
	}
}

// errOtherAnswer is what an order comes to whose answer is none: nothing is taken to be done by it.
var errOtherAnswer = &replication.Problem{Code: "protocol", Message: "the process server answered an order with something else", Remedy: "see that it is a failback process server; upgrade it"}

// answered returns the error of an order, which is one too where the answer is that to another.
func answered(ok bool, err error) error {
	if err == nil && !ok {
		return errOtherAnswer
	}
	return err
}

// send sends an order, nil for none, after the welcome: a process server that is refused is not welcomed before, and one that is taken in may be given orders at once.
func (w *remoteWorker) send(o *failbackpb.Order) error {
	w.sendMu.Lock()
	defer w.sendMu.Unlock()
	if !w.welcomed {
		w.welcomed = true
		if err := w.stream.Send(&failbackpb.Order{What: &failbackpb.Order_Welcome{Welcome: &failbackpb.Welcome{
			Major: ProtocolMajor, Minor: ProtocolMinor, Version: w.version, UnixNanos: time.Now().UnixNano(),
		}}}); err != nil {
			return err
		}
	}
	if o == nil {
		return nil
	}
	return w.stream.Send(o)
}

// Limit implements link.Limited. A stream that can't be written ends, and limits are told on the next one.
func (w *remoteWorker) Limit(l throttle.Limits) {
	_ = w.send(&failbackpb.Order{What: &failbackpb.Order_Limits{Limits: limitsToWire(l)}})
}

func (w *remoteWorker) Probe(ctx context.Context, s link.Spec) (link.Survey, error) {
	r, err := w.do(ctx, &failbackpb.Order{What: &failbackpb.Order_Probe{Probe: &failbackpb.ProbeOrder{Group: specToWire(s)}}}, nil)
	if err != nil {
		return link.Survey{}, err
	}
	found := r.GetProbe()
	if found == nil {
		return link.Survey{}, errOtherAnswer
	}
	out := link.Survey{Dir: told(found.GetDir(), maxTold)}
	for _, d := range atMost(replication.MaxDisks, found.GetDisks()) {
		out.Disks = append(out.Disks, link.Probed{Disk: replication.DiskNo(d.No), Size: counted(d.Size), Data: counted(d.Data), OS: told(d.Os, maxWord), Mark: told(d.Mark, maxTold), View: told(d.View, maxWord), Place: told(d.Place, maxTold), Problem: problemFromWire(d.Problem)})
	}
	for _, q := range atMost(2*replication.MaxDisks, found.GetQuiesce()) {
		out.Quiesce = append(out.Quiesce, link.Unrunnable{Machine: told(q.Machine, 4*maxWord), Command: told(q.Command, maxWord), Why: told(q.Why, maxTold)})
	}
	return out, nil
}

func (w *remoteWorker) Cut(ctx context.Context, s link.Spec, point replication.PointID, base link.Base) (link.Cut, error) {
	r, err := w.do(ctx, &failbackpb.Order{What: &failbackpb.Order_Cut{Cut: &failbackpb.CutOrder{Group: specToWire(s), Point: uint64(point), Base: uint64(base.Point), BaseSnapshot: base.Snapshot}}}, nil)
	if err != nil {
		return link.Cut{}, err
	}
	c := r.GetCut()
	if c == nil {
		return link.Cut{}, errOtherAnswer
	}
	if len(c.GetSnapshot()) > maxWord || len(c.GetSizes()) > replication.MaxDisks {
		return link.Cut{}, &replication.Problem{Code: "protocol", Message: fmt.Sprintf("the process server told of a cut by a name of %d bytes, and of %d disks", len(c.GetSnapshot()), len(c.GetSizes())), Remedy: "it is not a failback process server"}
	}
	return link.Cut{
		Cut: replication.Cut{
			Time: time.Unix(0, c.GetUnixNanos()).UTC(), Snapshot: c.GetSnapshot(), Stable: c.GetStable(), Tracked: c.GetTracked(), Sizes: c.GetSizes(), Held: c.GetHeld(),
			App: c.GetApp(), NotApp: told(c.GetNotApp(), maxTold), Skew: max(0, time.Duration(c.GetSkewNanos())), Frozen: max(0, time.Duration(c.GetFrozenNanos())),
		},
		UntrackedWhy: told(c.GetUntrackedWhy(), maxTold),
	}, nil
}

func (w *remoteWorker) Ship(ctx context.Context, s link.Spec, sh link.Shipment, progress func(replication.Progress)) error {
	r, err := w.do(ctx, &failbackpb.Order{What: &failbackpb.Order_Ship{Ship: &failbackpb.ShipOrder{
		Group: specToWire(s), Point: uint64(sh.Point), Base: uint64(sh.Base), Mode: string(sh.Mode), Snapshot: sh.Snapshot, Repeats: sh.Repeats, Streams: disksToWire(sh.Streams), Joining: disksToWire(sh.Joining), LargestFirst: sh.LargestFirst, Ahead: sh.Ahead, Fresh: sh.Fresh,
	}}}, progress)
	return answered(r.GetShip() != nil, err)
}

func (w *remoteWorker) Release(ctx context.Context, s link.Spec, keep replication.PointID) error {
	r, err := w.do(ctx, &failbackpb.Order{What: &failbackpb.Order_Release{Release: &failbackpb.ReleaseOrder{Group: specToWire(s), Keep: uint64(keep)}}}, nil)
	return answered(r.GetRelease() != nil, err)
}

func (w *remoteWorker) Verify(ctx context.Context, s link.Spec, point replication.PointID, progress func([]replication.Ledger)) (link.Verified, error) {
	r, err := w.do(ctx, &failbackpb.Order{What: &failbackpb.Order_Verify{Verify: &failbackpb.VerifyOrder{Group: specToWire(s), Point: uint64(point)}}}, func(p replication.Progress) { progress(p.Disks) })
	if err != nil {
		return link.Verified{}, err
	}
	if d := r.GetVerify(); d == nil || d.Equal != (d.Differs == 0) || d.Differs < 0 {
		return link.Verified{}, errOtherAnswer
	}
	v := link.Verified{Differs: counted(r.GetVerify().GetDiffers())}
	for _, d := range atMost(replication.MaxDisks, r.GetVerify().GetDisks()) {
		v.Disks = append(v.Disks, replication.DiskNo(d))
	}
	return v, nil
}

func (w *remoteWorker) Repair(ctx context.Context, s link.Spec, r link.Repair) error {
	done, err := w.do(ctx, &failbackpb.Order{What: &failbackpb.Order_Repair{Repair: repairToWire(s, r)}}, nil)
	return answered(done.GetRepair() != nil, err)
}

func (w *remoteWorker) Forget(ctx context.Context, s link.Spec) error {
	r, err := w.do(ctx, &failbackpb.Order{What: &failbackpb.Order_Forget{Forget: &failbackpb.ForgetOrder{Group: specToWire(s)}}}, nil)
	return answered(r.GetForget() != nil, err)
}
