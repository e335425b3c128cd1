package transport

import (
	"context"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// seed adds messages to a fuzz test as they are on the wire.
func seed(f *testing.F, all ...proto.Message) {
	for _, m := range all {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// replies is a stream on which one message comes, as often as it is asked for, up to a bound.
type replies[M any] struct {
	grpc.ServerStreamingClient[M]
	m    *M
	left int
}

func (r *replies[M]) Recv() (*M, error) {
	if r.left == 0 {
		return nil, io.EOF
	}
	r.left--
	return r.m, nil
}

// FuzzCoverageReply: extents rise, and lie on a disk, or there is an error.
func FuzzCoverageReply(f *testing.F) {
	seed(f, &failbackpb.CoverageReply{Disk: 1, Extents: []uint64{0, 4096, 8192, 1 << 40}}, &failbackpb.CoverageReply{Extents: []uint64{1 << 63, 5, 3}})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m failbackpb.CoverageReply
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		x, err := extentsFromWire(m.Extents)
		if err != nil {
			return
		}
		last := int64(0)
		for _, e := range x {
			if e.Off < last || e.Check(replication.MaxDiskSize) != nil {
				t.Fatalf("extent %v after %d", e, last)
			}
			last = e.End
		}
	})
}

// FuzzCompareReply: what a comparison tells lies on a disk, and it ends.
func FuzzCompareReply(f *testing.F) {
	seed(f, &failbackpb.CompareReply{Offset: 1 << 20, Hashes: make([]byte, 64)}, &failbackpb.CompareReply{Offset: 1 << 50, Zero: 1 << 60}, &failbackpb.CompareReply{Offset: -1, Hashes: make([]byte, 15)})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m failbackpb.CompareReply
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		c := &comparison{stream: &replies[failbackpb.CompareReply]{m: &m, left: 3}, cancel: func() {}}
		for range 3*len(b) + 4 {
			side, err := c.Next()
			if err != nil {
				return
			}
			if side.Off < 0 || side.Empty() || side.Off > replication.MaxDiskSize {
				t.Fatalf("side %v", side)
			}
		}
		t.Fatalf("%d bytes tell more sides than they can hold", len(b))
	})
}

// FuzzPagesReply: whole hashes, or an error.
func FuzzPagesReply(f *testing.F) {
	seed(f, &failbackpb.PagesReply{Hashes: make([]byte, 4096)}, &failbackpb.PagesReply{Hashes: make([]byte, 17)})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m failbackpb.PagesReply
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		if h, err := hashesFromWire(m.Hashes); err == nil && 16*len(h) != len(m.Hashes) {
			t.Fatalf("%d hashes of %d bytes", len(h), len(m.Hashes))
		}
	})
}

// FuzzLaneOpen: what opens a lane names one, whatever it is, and carries nothing into it.
func FuzzLaneOpen(f *testing.F) {
	seed(f, &failbackpb.Frame{Open: &failbackpb.LaneOpen{Fence: &failbackpb.Fence{Group: "g", Generation: 1, Session: 2, Point: 3}, Lane: 4, Attempt: 5}}, &failbackpb.Frame{Payload: []byte{1}})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &master{}
		s := &replicationServer{master: m}
		_ = s.Ship(&oneFrame{ctx: t.Context(), b: b})
		if m.frames > 0 {
			t.Fatal("the frame that opened a lane was given to it")
		}
	})
}

// master takes every lane, and counts.
type master struct {
	MasterTarget
	frames int
}

func (m *master) Lane(context.Context, replication.Lane) (link.Lane, error) { return m, nil }
func (m *master) Send(f *block.Frame) error                                 { m.frames++; f.Free(); return nil }
func (m *master) Flush() (int64, error)                                     { return 0, nil }
func (m *master) Close()                                                    {}

// oneFrame is a lane's stream on which some bytes come, as one frame.
type oneFrame struct {
	failbackpb.Replication_ShipServer
	ctx context.Context
	b   []byte
}

func (o *oneFrame) Context() context.Context { return o.ctx }
func (o *oneFrame) SendMsg(any) error        { return nil }
func (o *oneFrame) RecvMsg(v any) error {
	if o.b == nil {
		return io.EOF
	}
	b := o.b
	o.b = nil
	return newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, v)
}

// FuzzOrder gives a process server orders: each is answered, or refused, and none reaches the worker with a group that can't be.
func FuzzOrder(f *testing.F) {
	spec := &failbackpb.GroupSpec{Group: "erp", Generation: 1, Session: 2, Disks: []*failbackpb.SourceDisk{{Id: "m/d", Path: "/p", Size: 4096}}}
	seed(f, &failbackpb.Order{Id: 1, What: &failbackpb.Order_Cut{Cut: &failbackpb.CutOrder{Group: spec, Point: 1}}}, &failbackpb.Order{What: &failbackpb.Order_Probe{Probe: &failbackpb.ProbeOrder{}}},
		&failbackpb.Order{What: &failbackpb.Order_Ship{Ship: &failbackpb.ShipOrder{Group: spec, Mode: "odd"}}}, &failbackpb.Order{What: &failbackpb.Order_Verify{Verify: &failbackpb.VerifyOrder{Group: spec}}},
		&failbackpb.Order{What: &failbackpb.Order_Path{Path: &failbackpb.PathOrder{EachNanos: -1}}}, &failbackpb.Order{What: &failbackpb.Order_Forget{Forget: &failbackpb.ForgetOrder{Group: spec}}},
		&failbackpb.Order{What: &failbackpb.Order_Release{Release: &failbackpb.ReleaseOrder{Group: spec, Keep: 1}}})
	f.Fuzz(func(t *testing.T, b []byte) {
		var o failbackpb.Order
		if proto.Unmarshal(b, &o) != nil {
			return
		}
		if p := o.GetPath(); p != nil && p.EachNanos > 0 && p.MaxBytes > 0 { // would dial
			return
		}
		d := &desk{worker: careful{t}, stream: nowhere{}, client: &ReplicationClient{}}
		r, err := d.work(t.Context(), &o)
		if err == nil && r == nil {
			t.Fatalf("%v is not answered", &o)
		}
	})
}

// nowhere takes reports.
type nowhere struct {
	failbackpb.Replication_WorkClient
}

func (nowhere) Send(*failbackpb.Report) error { return nil }

// careful is a worker that looks at what it is given.
type careful struct{ t *testing.T }

func (c careful) see(s link.Spec) {
	if replication.ValidName(string(s.Session.Group)) != nil || len(s.Disks) == 0 || len(s.Disks) > replication.MaxDisks {
		c.t.Fatalf("an order for %q with %d disks came through", s.Session.Group, len(s.Disks))
	}
}

func (c careful) Probe(_ context.Context, s link.Spec) (link.Survey, error) {
	c.see(s)
	return link.Survey{}, nil
}
func (c careful) Cut(_ context.Context, s link.Spec, _ replication.PointID, _ link.Base) (link.Cut, error) {
	c.see(s)
	return link.Cut{}, nil
}
func (c careful) Ship(_ context.Context, s link.Spec, _ link.Shipment, progress func(replication.Progress)) error {
	c.see(s)
	progress(replication.Progress{})
	return nil
}
func (c careful) Release(_ context.Context, s link.Spec, _ replication.PointID) error {
	c.see(s)
	return nil
}
func (c careful) Verify(_ context.Context, s link.Spec, _ replication.PointID, _ func([]replication.Ledger)) (link.Verified, error) {
	c.see(s)
	return link.Verified{}, nil
}
func (c careful) Repair(_ context.Context, s link.Spec, r link.Repair) error {
	c.see(s)
	n := 0
	for _, x := range r.Extents {
		n += len(x)
	}
	if n > link.MaxRepair {
		c.t.Fatalf("an order to repair %d extents came through", n)
	}
	return nil
}
func (c careful) Forget(_ context.Context, s link.Spec) error { c.see(s); return nil }

// FuzzReport gives a master target reports, before and after an order is under way: none of them harms it, and one for an order that is not is dropped.
func FuzzReport(f *testing.F) {
	seed(f, &failbackpb.Report{Order: 1, What: &failbackpb.Report_Progress{Progress: &failbackpb.Progress{Disks: []*failbackpb.DiskLedger{{No: 7, Raw: -1}}}}},
		&failbackpb.Report{Order: 1, What: &failbackpb.Report_Failed{Failed: &failbackpb.Problem{Code: "x"}}}, &failbackpb.Report{What: &failbackpb.Report_Hello{Hello: &failbackpb.Hello{Name: "../x", Major: 1}}},
		&failbackpb.Report{Order: 1, What: &failbackpb.Report_Cut{Cut: &failbackpb.CutDone{Sizes: []int64{-1}}}}, &failbackpb.Report{Order: 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r failbackpb.Report
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		if checkHello(r.GetHello(), "", "test") == nil && replication.ValidName(r.GetHello().GetName()) != nil {
			t.Fatalf("a process server may register as %q", r.GetHello().GetName())
		}
		w := &remoteWorker{stream: &reports{r: &r, left: 2}, calls: map[uint64]*call{1: {progress: func(replication.Progress) {}, done: make(chan *failbackpb.Report, 1)}}}
		if err := w.receive(); err != io.EOF {
			t.Fatal(err)
		}
		_ = pathFromWire(r.GetPath())
		_ = problemFromWire(r.GetFailed())
	})
}

// reports is a work stream on which a report comes a few times.
type reports struct {
	failbackpb.Replication_WorkServer
	r    *failbackpb.Report
	left int
}

func (r *reports) Recv() (*failbackpb.Report, error) {
	if r.left == 0 {
		return nil, io.EOF
	}
	r.left--
	return r.r, nil
}
