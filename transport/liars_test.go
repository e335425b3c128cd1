package transport

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/link"
	"failback/transport/pki"
)

// TestAnswersOfAProcessServerThatLies has one answer orders with what is no answer: none of it is taken for one.
func TestAnswersOfAProcessServerThatLies(t *testing.T) {
	a := &authority{}
	address, certs := serve(t, a)
	stream, err := failbackpb.NewReplicationClient(hostile(t, address, certs, pki.ProcessServer)).Work(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hello := &failbackpb.Hello{Name: "ps", Major: ProtocolMajor, Minor: ProtocolMinor, Version: "1\x1b[2J"}
	if err := stream.Send(&failbackpb.Report{What: &failbackpb.Report_Hello{Hello: hello}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	w := <-a.connected
	spec := link.Spec{Session: replication.Session{Group: "g"}, Disks: []link.Source{{}}}
	report := func(r *failbackpb.Report) func(uint64) []*failbackpb.Report {
		return func(id uint64) []*failbackpb.Report { r.Order = id; return []*failbackpb.Report{r} }
	}
	verify := func() error {
		_, err := w.Verify(t.Context(), spec, 1, func([]replication.Ledger) {})
		return err
	}
	var told []replication.Progress
	ship := func() error {
		told = nil
		return w.Ship(t.Context(), spec, link.Shipment{}, func(p replication.Progress) { told = append(told, p) })
	}
	cut := func() error { _, err := w.Cut(t.Context(), spec, 1, link.Base{}); return err }
	for name, x := range map[string]struct {
		do     func() error
		answer func(order uint64) []*failbackpb.Report
		want   string // in the error; "": none
	}{
		"VerifyOther":   {verify, report(&failbackpb.Report{What: &failbackpb.Report_Release{Release: &failbackpb.ReleaseDone{}}}), "something else"},
		"VerifyNothing": {verify, report(&failbackpb.Report{}), "something else"},
		"VerifyUnequal": {verify, report(&failbackpb.Report{What: &failbackpb.Report_Verify{Verify: &failbackpb.VerifyDone{}}}), "something else"},
		"VerifyLess":    {verify, report(&failbackpb.Report{What: &failbackpb.Report_Verify{Verify: &failbackpb.VerifyDone{Differs: -4096}}}), "something else"},
		"VerifyEqual":   {verify, report(&failbackpb.Report{What: &failbackpb.Report_Verify{Verify: &failbackpb.VerifyDone{Equal: true}}}), ""},
		"ShipOther":     {ship, report(&failbackpb.Report{What: &failbackpb.Report_Hello{Hello: hello}}), "something else"},
		"CutOther":      {cut, report(&failbackpb.Report{What: &failbackpb.Report_Ship{Ship: &failbackpb.ShipDone{}}}), "something else"},
		"CutLong":       {cut, report(&failbackpb.Report{What: &failbackpb.Report_Cut{Cut: &failbackpb.CutDone{Snapshot: strings.Repeat("x", 1<<20)}}}), "a name of 1048576 bytes"},
		"CutMany":       {cut, report(&failbackpb.Report{What: &failbackpb.Report_Cut{Cut: &failbackpb.CutDone{Sizes: make([]int64, 100_000)}}}), "of 100000 disks"},
		"Probe":         {func() error { _, err := w.Probe(t.Context(), spec); return err }, report(&failbackpb.Report{}), "something else"},
		"Release":       {func() error { return w.Release(t.Context(), spec, 1) }, report(&failbackpb.Report{}), "something else"},
		"Repair":        {func() error { return w.Repair(t.Context(), spec, link.Repair{}) }, report(&failbackpb.Report{}), "something else"},
		"Forget":        {func() error { return w.Forget(t.Context(), spec) }, report(&failbackpb.Report{}), "something else"},
		"Terminal":      {cut, report(&failbackpb.Report{What: &failbackpb.Report_Failed{Failed: &failbackpb.Problem{Code: "x", Message: "a\x1b]0;b\x07\u009bc\nd" + strings.Repeat("y", 1<<20)}}}), "a\uFFFD]0;b\uFFFD\uFFFDc\nd"},
		"Progress": {ship, func(id uint64) []*failbackpb.Report {
			return []*failbackpb.Report{
				{Order: id, What: &failbackpb.Report_Progress{Progress: &failbackpb.Progress{
					Disks: make([]*failbackpb.DiskLedger, 0, 1),
					Link:  &failbackpb.LinkStatus{Rate: math.NaN(), Takes: math.Inf(1), Mix: []*failbackpb.LevelShare{{Share: math.NaN()}, {Share: 7}}},
				}}},
				{Order: id, What: &failbackpb.Report_Progress{Progress: &failbackpb.Progress{Disks: []*failbackpb.DiskLedger{{No: 9, Raw: -1, Total: math.MaxInt64}}, Queue: make([]uint32, 100_000)}}},
				{Order: id, What: &failbackpb.Report_Ship{Ship: &failbackpb.ShipDone{}}},
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() { done <- x.do() }()
			o, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range x.answer(o.Id) {
				if err := stream.Send(r); err != nil {
					t.Fatal(err)
				}
			}
			err = <-done
			if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) || err != nil && len(err.Error()) > 2*maxTold {
				t.Errorf("got %.200v, want %q", err, x.want)
			}
		})
	}
	if len(told) > 0 { // of the last to ship: any
		for _, p := range told {
			if math.IsNaN(p.Link.Rate) || math.IsInf(p.Link.Takes, 0) || len(p.Queue) > replication.MaxDisks {
				t.Errorf("came through: %+v", p.Link)
			}
			for _, m := range p.Link.Mix {
				if !(m.Share >= 0 && m.Share <= 1) {
					t.Errorf("a share of %v came through", m.Share)
				}
			}
			for _, d := range p.Disks {
				if d.Raw < 0 || d.Total > 1<<56 {
					t.Errorf("a ledger came through: %+v", d)
				}
			}
		}
	}
}

// lord is a master target that gives orders without end.
type lord struct {
	failbackpb.UnimplementedReplicationServer
	order func(id uint64) *failbackpb.Order
	given atomic.Int64
}

func (l *lord) Work(s failbackpb.Replication_WorkServer) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	if err := s.Send(&failbackpb.Order{What: &failbackpb.Order_Welcome{Welcome: &failbackpb.Welcome{Major: ProtocolMajor, Minor: ProtocolMinor}}}); err != nil {
		return err
	}
	for id := uint64(1); ; id++ {
		if err := s.Send(l.order(id)); err != nil {
			return err
		}
		l.given.Add(1)
	}
}

// ledTo returns a client of a master target with a good certificate that answers as it likes.
func ledTo(t *testing.T, liar failbackpb.ReplicationServer) *ReplicationClient {
	t.Helper()
	certs := t.TempDir() + "/pki"
	if _, err := pki.Init(certs); err != nil {
		t.Fatal(err)
	}
	id, err := pki.Open(certs, pki.MasterTarget, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(append(ServerCredentials(id, slog.New(slog.DiscardHandler)), grpc.MaxRecvMsgSize(maxMessage))...)
	failbackpb.RegisterReplicationServer(s, liar)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return dial(t, l.Addr().String(), certs, pki.ProcessServer)
}

// busyWorker works on its first order until it is told to stop.
type busyWorker struct {
	link.Worker
	begun atomic.Int64
}

func (b *busyWorker) Probe(ctx context.Context, _ link.Spec) (link.Survey, error) {
	b.begun.Add(1)
	<-ctx.Done()
	return link.Survey{}, ctx.Err()
}

// TestAMasterTargetThatGivesOrdersWithoutEndIsLeft: a process server works on so many orders at a time, of so many bytes, and no more.
func TestAMasterTargetThatGivesOrdersWithoutEndIsLeft(t *testing.T) {
	probe := func(id uint64, path string) *failbackpb.Order {
		return &failbackpb.Order{Id: id, What: &failbackpb.Order_Probe{Probe: &failbackpb.ProbeOrder{Group: &failbackpb.GroupSpec{Group: "g", Disks: []*failbackpb.SourceDisk{{Id: "m/d", Path: path}}}}}}
	}
	large := strings.Repeat("x", 1<<20)
	for name, x := range map[string]struct {
		order func(id uint64) *failbackpb.Order
		most  int64
	}{
		"Many":  {func(id uint64) *failbackpb.Order { return probe(id, "/p") }, maxOrders},
		"Large": {func(id uint64) *failbackpb.Order { return probe(id, large) }, maxOrderBytes >> 20},
		"OneId": {func(uint64) *failbackpb.Order { return probe(7, "/p") }, maxOrders},
	} {
		t.Run(name, func(t *testing.T) {
			c := ledTo(t, &lord{order: x.order})
			w := &busyWorker{}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := c.Work(ctx, "ps", "home", "test", w, func(string, time.Duration) {})
			var p *replication.Problem
			if !errors.As(err, &p) || p.Code != CodeOrders {
				t.Errorf("got %v, want %s", err, CodeOrders)
			}
			if n := w.begun.Load(); n > x.most || n < x.most/2 {
				t.Errorf("%d orders were begun, want at most %d", n, x.most)
			}
		})
	}
}

// TestSpecsThatCanNotBeAreRefused: what a master target says of disks sizes what a process server keeps of them.
func TestSpecsThatCanNotBeAreRefused(t *testing.T) {
	for name, g := range map[string]*failbackpb.GroupSpec{
		"None":     nil,
		"NoDisks":  {Group: "g"},
		"Negative": {Group: "g", Disks: []*failbackpb.SourceDisk{{Size: -1}}},
		"Huge":     {Group: "g", Disks: []*failbackpb.SourceDisk{{Size: math.MaxInt64}}},
		"Name":     {Group: "../g", Disks: []*failbackpb.SourceDisk{{}}},
		"Numbers":  {Group: "g", Disks: []*failbackpb.SourceDisk{{No: 1}}},
		"Many":     {Group: "g", Disks: make([]*failbackpb.SourceDisk, replication.MaxDisks+1)},
		"Machine":  {Group: "g", Disks: []*failbackpb.SourceDisk{{}}, Quiesce: []*failbackpb.Quiesce{{Machine: "../m"}}},
	} {
		b, err := proto.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		var m failbackpb.GroupSpec
		if err := proto.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		if _, err := specFromWire(&m); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// shortLane is a master target that acknowledges a frame less than came.
type shortLane struct {
	failbackpb.UnimplementedReplicationServer
}

func (shortLane) Ship(s failbackpb.Replication_ShipServer) error {
	for n := uint64(0); ; n++ {
		if _, err := s.Recv(); err == io.EOF {
			return s.SendAndClose(&failbackpb.LaneAck{Frames: n - 2}) // the first opens the lane
		} else if err != nil {
			return err
		}
	}
}

// TestALaneThatLacksFramesIsNotDurable: what is acknowledged is what was sent, or it is an error.
func TestALaneThatLacksFramesIsNotDurable(t *testing.T) {
	lane, err := ledTo(t, shortLane{}).Lane(t.Context(), replication.Lane{Lane: 1, Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer lane.Close()
	for range 3 {
		if err := lane.Send(sample()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := lane.Flush(); err == nil || !strings.Contains(err.Error(), "has 2 frames of a lane, 3 were sent") {
		t.Errorf("2 of 3 frames were acknowledged: got %v", err)
	}
}
