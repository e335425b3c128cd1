package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/replication/throttle"
	"failback/transport/pki"
)

// authority is a master target that does what the test says, and keeps what it is sent.
type authority struct {
	link.Authority
	connected chan link.Worker
	peer      link.Peer // who connected last; read after connected
	coverage  map[replication.DiskNo]*replication.Set
	sides     []link.Side
	laneErr   error
	redeem    func(link.Token, string) (string, error)

	mu     sync.Mutex
	frames [][]block.Block
	totals []replication.Total
}

func (a *authority) Connected(p link.Peer, w link.Worker) (func(), error) {
	a.peer = p
	a.connected <- w
	return func() {}, nil
}

func (a *authority) TurnedAway(string, *replication.Problem) {}

func (a *authority) Redeem(t link.Token, key string) (string, error) { return a.redeem(t, key) }

func (a *authority) Coverage(_ context.Context, _ link.Fence, tell func(replication.DiskNo, []replication.Extent) error) error {
	for disk, set := range a.coverage {
		if err := tell(disk, set.Extents()); err != nil {
			return err
		}
	}
	return nil
}

func (a *authority) Compare(context.Context, link.Fence, replication.DiskNo, []replication.Extent) (link.Comparison, error) {
	return &toldSides{a.sides}, nil
}

type toldSides struct{ sides []link.Side }

func (t *toldSides) Next() (link.Side, error) {
	if len(t.sides) == 0 {
		return link.Side{}, io.EOF
	}
	s := t.sides[0]
	t.sides = t.sides[1:]
	return s, nil
}
func (*toldSides) Close() {}

func (a *authority) Pages(_ context.Context, f link.Fence, d replication.DiskNo, off int64) ([]replication.Hash, error) {
	return []replication.Hash{{byte(d)}, {byte(off >> 20)}, {byte(f.Point)}}, nil
}

func (a *authority) Lane(context.Context, replication.Lane) (link.Lane, error) { return a, nil }

func (a *authority) Send(f *block.Frame) error {
	defer f.Free()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.laneErr != nil && len(a.frames) == 2 {
		return a.laneErr
	}
	var kept []block.Block
	for _, b := range f.Blocks {
		b.Payload = bytes.Clone(b.Payload)
		kept = append(kept, b)
	}
	a.frames = append(a.frames, kept)
	return nil
}
func (a *authority) Flush() (int64, error) { return 7, nil }
func (a *authority) Close()                {}

func (a *authority) Finish(_ context.Context, f link.Fence, t []replication.Total) (replication.PointID, error) {
	a.totals = t
	return f.Point, nil
}

// serve runs a replication service with certificates of its own, and returns its address and the certificates' directory.
func serve(t *testing.T, a *authority) (address, certs string) { return serveAs(t, a, a) }

// serveAs has another stand before the authority.
func serveAs(t *testing.T, a *authority, master MasterTarget) (address, certs string) {
	t.Helper()
	certs = t.TempDir() + "/pki"
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
	a.connected = make(chan link.Worker, 1)
	s := NewReplicationServer(master, id, "test", slog.New(slog.DiscardHandler))
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String(), certs
}

func dial(t *testing.T, address, certs string, role pki.Role) *ReplicationClient {
	t.Helper()
	id, err := pki.Open(certs, role, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c, err := DialReplication(address, id, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestQuestionsCrossUnchanged(t *testing.T) {
	a := &authority{coverage: map[replication.DiskNo]*replication.Set{0: {}, 2: {}}}
	for i := range int64(10000) { // more than a message holds
		a.coverage[2].Add(replication.Extent{Off: i << 20, End: i<<20 + 4096*(1+i%3)})
	}
	const r = replication.Region
	a.sides = []link.Side{
		{Extent: replication.Extent{Off: 0, End: r}, Hash: replication.Hash{1}},
		{Extent: replication.Extent{Off: r, End: 2 * r}, Hash: replication.Hash{2}},
		{Extent: replication.Extent{Off: 2 * r, End: 900 * r}, Zero: true},
	}
	for i := int64(900); i < 1100; i++ { // more hashes than a message holds
		a.sides = append(a.sides, link.Side{Extent: replication.Extent{Off: i * r, End: (i + 1) * r}, Hash: replication.Hash{3, byte(i)}})
	}
	a.sides = append(a.sides, link.Side{Extent: replication.Extent{Off: 2000 * r, End: 2001 * r}, Hash: replication.Hash{4}}) // not next to the one before
	address, certs := serve(t, a)
	c := dial(t, address, certs, pki.ProcessServer)
	ctx := context.Background()

	var cover replication.Tally
	tell := func(disk replication.DiskNo, x []replication.Extent) error {
		if disk != 2 || len(x) > extentsPerMessage {
			return fmt.Errorf("%d extents of disk %d", len(x), disk)
		}
		for _, e := range x {
			cover.Add(e)
		}
		return nil
	}
	if err := c.Coverage(ctx, link.Fence{}, tell); err != nil {
		t.Fatal(err)
	}
	if got, want := cover.Digest(), a.coverage[2].Digest(); got != want {
		t.Errorf("coverage of %d bytes came as %d", a.coverage[2].Bytes(), cover.Bytes())
	}
	enough := errors.New("enough")
	if err := c.Coverage(ctx, link.Fence{}, func(replication.DiskNo, []replication.Extent) error { return enough }); err != enough {
		t.Errorf("got %v want the error of who is told", err)
	}
	cmp, err := c.Compare(ctx, link.Fence{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cmp.Close()
	for i, want := range a.sides {
		if got, err := cmp.Next(); err != nil || got != want {
			t.Fatalf("side %d: got %+v, error %v; want %+v", i, got, err, want)
		}
	}
	if _, err := cmp.Next(); err != io.EOF {
		t.Errorf("after the last side: got %v want EOF", err)
	}
	pages, err := c.Pages(ctx, link.Fence{Point: 9}, 7, 5<<20)
	if want := []replication.Hash{{7}, {5}, {9}}; err != nil || !reflect.DeepEqual(pages, want) {
		t.Errorf("pages: got %v, error %v; want %v", pages, err, want)
	}
	totals := []replication.Total{{Disk: 3, Bytes: 77, Digest: [32]byte{1, 2}}}
	if p, err := c.Finish(ctx, link.Fence{Point: 4}, totals); err != nil || p != 4 || !reflect.DeepEqual(a.totals, totals) {
		t.Errorf("finish: point %d, error %v, totals %v", p, err, a.totals)
	}
}

func TestLaneCarriesFrames(t *testing.T) {
	a := &authority{}
	address, certs := serve(t, a)
	c := dial(t, address, certs, pki.ProcessServer)
	lane, err := c.Lane(context.Background(), replication.Lane{Lane: 3, Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	var want [][]block.Block
	for range 40 {
		f := sample()
		var kept []block.Block
		for _, b := range f.Blocks {
			b.Payload = bytes.Clone(b.Payload)
			kept = append(kept, b)
		}
		want = append(want, kept)
		if err := lane.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	if byValue, err := lane.Flush(); err != nil || byValue != 7 {
		t.Fatal(byValue, err)
	}
	if len(a.frames) != len(want) {
		t.Fatalf("%d frames came, want %d", len(a.frames), len(want))
	}
	for i := range want {
		for j := range want[i] {
			got := a.frames[i][j]
			if !bytes.Equal(got.Payload, want[i][j].Payload) || got.CRC != want[i][j].CRC || !reflect.DeepEqual(got.Extents, want[i][j].Extents) {
				t.Fatalf("block %d of frame %d changed on the way", j, i)
			}
		}
	}
}

func TestLaneTellsWhyItWasEnded(t *testing.T) {
	a := &authority{laneErr: &replication.Problem{Code: "retention-full", Message: "no space", Remedy: "make some"}}
	address, certs := serve(t, a)
	c := dial(t, address, certs, pki.ProcessServer)
	lane, err := c.Lane(context.Background(), replication.Lane{})
	if err != nil {
		t.Fatal(err)
	}
	defer lane.Close()
	for range 200 {
		if err = lane.Send(sample()); err != nil {
			break
		}
	}
	if err == nil {
		_, err = lane.Flush()
	}
	var p *replication.Problem
	if !errors.As(err, &p) || p.Code != "retention-full" || p.Remedy != "make some" {
		t.Errorf("got %v want retention-full", err)
	}
}

// hand is a process server of which only some orders are of interest.
type hand struct {
	link.Worker
	shipped chan struct{}
}

func (hand) Cut(_ context.Context, s link.Spec, point replication.PointID, base link.Base) (link.Cut, error) {
	if s.Disks[0].Path == "" {
		return link.Cut{}, &replication.Problem{Code: "source", Message: "no path", Remedy: "give one"}
	}
	return link.Cut{
		Cut: replication.Cut{Time: time.Unix(0, 1234567890), Snapshot: fmt.Sprint(s.Instance, point, base.Snapshot), Stable: true, Sizes: []int64{s.Disks[0].Disk.Size},
			App: true, NotApp: fmt.Sprint(s.Quiesce), Skew: 2, Frozen: 3},
		UntrackedWhy: s.Disks[0].Changes,
	}, nil
}

func (h hand) Ship(ctx context.Context, _ link.Spec, _ link.Shipment, progress func(replication.Progress)) error {
	progress(replication.Progress{Disks: []replication.Ledger{{Disk: 2, Total: 10, Done: 5}}})
	<-ctx.Done()
	close(h.shipped)
	return ctx.Err()
}

func TestOrdersCrossAndAreAnswered(t *testing.T) {
	a := &authority{}
	address, certs := serve(t, a)
	c := dial(t, address, certs, pki.ProcessServer)
	h := hand{shipped: make(chan struct{})}
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	gone := make(chan error, 1)
	go func() { gone <- c.Work(ctx, "ps1", "home", "test", h, func(string, time.Duration) {}) }()
	w := <-a.connected

	spec := link.Spec{Session: replication.Session{Group: "g", Generation: 3}, Instance: "i-", Disks: []link.Source{{Disk: replication.Disk{ID: "m/d", Size: 4096}, Path: "/p", Changes: "because"}}, Quiesce: []replication.Quiesce{{Machine: "m", Freeze: "f", Thaw: "t", Timeout: 5 * time.Second}}}
	cut, err := w.Cut(ctx, spec, 7, link.Base{Point: 6, Snapshot: "-s6"})
	want := link.Cut{Cut: replication.Cut{Time: time.Unix(0, 1234567890).UTC(), Snapshot: "i-7-s6", Stable: true, Sizes: []int64{4096}, App: true, NotApp: "[{m f t 5s}]", Skew: 2, Frozen: 3}, UntrackedWhy: "because"}
	if err != nil || !reflect.DeepEqual(cut, want) {
		t.Errorf("cut: got %+v, error %v; want %+v", cut, err, want)
	}
	spec.Disks[0].Path = ""
	var p *replication.Problem
	if _, err := w.Cut(ctx, spec, 7, link.Base{}); !errors.As(err, &p) || p.Code != "source" || p.Remedy != "give one" {
		t.Errorf("a problem came as %v", err)
	}
	order, cancel := context.WithCancel(ctx)
	err = w.Ship(order, spec, link.Shipment{Point: 7}, func(p replication.Progress) {
		l := p.Disks
		if len(l) != 1 || l[0].Disk != 2 || l[0].Total != 10 || l[0].Done != 5 {
			t.Errorf("progress came as %+v", l)
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled order: got %v", err)
	}
	<-h.shipped // the process server was told
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("work: got %v want cancelled", err)
	}
	if _, err := w.Cut(context.Background(), spec, 8, link.Base{}); !errors.As(err, &p) || p.Code != CodeUnreachable {
		t.Errorf("order to one who has gone: got %v want unreachable", err)
	}
}

func TestAnotherMajorVersionIsRefused(t *testing.T) {
	address, certs := serve(t, &authority{})
	c := dial(t, address, certs, pki.ProcessServer)
	stream, err := c.client.Work(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&failbackpb.Report{What: &failbackpb.Report_Hello{Hello: &failbackpb.Hello{Name: "ps1", Major: ProtocolMajor + 1, Version: "9.9"}}}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	if p := ProblemOf(err); p == nil || p.Code != "protocol-version" || !strings.Contains(p.Message, "9.9") || p.Remedy == "" {
		t.Errorf("got %v want protocol-version", err)
	}
}

// TestHelloTellsTheClock or does not: what is not told is not 56 years behind.
func TestHelloTellsTheClock(t *testing.T) {
	a := &authority{}
	address, certs := serve(t, a)
	for clock, want := range map[int64]bool{0: true, -1: true, math.MinInt64: true, time.Now().Add(-time.Hour).UnixNano(): false, math.MaxInt64: false} {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := dial(t, address, certs, pki.ProcessServer).client.Work(ctx)
		if err != nil {
			t.Fatal(err)
		}
		hello := &failbackpb.Hello{Name: "ps1", Major: ProtocolMajor, Minor: ProtocolMinor, UnixNanos: clock}
		if err := stream.Send(&failbackpb.Report{What: &failbackpb.Report_Hello{Hello: hello}}); err != nil {
			t.Fatal(err)
		}
		<-a.connected
		if got := a.peer; got.NoClock != want || want == (got.Skew != 0) || clock < math.MaxInt64 && got.Skew.Abs() > 2*time.Hour {
			t.Errorf("%d: got %v, none: %v", clock, got.Skew, got.NoClock)
		}
		cancel()
	}
}

// doorman refuses process servers of one name, and gives the others an order before it says that they are taken in.
type doorman struct {
	*authority
	not string
}

func (d doorman) Connected(p link.Peer, w link.Worker) (func(), error) {
	if p.Name == d.not {
		return nil, &replication.Problem{Code: "name-bound", Message: "taken", Remedy: "another"}
	}
	w.(link.Limited).Limit(throttle.Limits{Rate: 7})
	return d.authority.Connected(p, w)
}

// limitedHand notes the limit that it is told.
type limitedHand struct {
	hand
	told chan throttle.Rate
}

func (h limitedHand) Limit(l throttle.Limits) { h.told <- l.Rate }

// TestRefusedIsNotWelcomed connects a process server that is refused: it is told so at once, so that it waits longer each time. One that is taken in is welcomed before its first order.
func TestRefusedIsNotWelcomed(t *testing.T) {
	a := &authority{}
	address, certs := serveAs(t, a, doorman{a, "ps2"})
	c := dial(t, address, certs, pki.ProcessServer)
	err := c.Work(context.Background(), "ps2", "", "test", hand{}, func(string, time.Duration) { t.Error("welcomed, and refused") })
	if p := replication.AsProblem(err); p.Code != "name-bound" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var welcomed atomic.Bool
	h := limitedHand{told: make(chan throttle.Rate, 1)}
	done := make(chan error, 1)
	go func() {
		done <- c.Work(ctx, "ps1", "", "test", h, func(string, time.Duration) { welcomed.Store(true) })
	}()
	select {
	case rate := <-h.told:
		if rate != 7 || !welcomed.Load() {
			t.Errorf("the first order has the rate %d, welcomed before: %v", rate, welcomed.Load())
		}
	case err := <-done:
		t.Fatal(err)
	}
	cancel()
	<-done
}

func TestAnotherRoleIsRefused(t *testing.T) {
	address, certs := serve(t, &authority{})
	c := dial(t, address, certs, pki.Operator)
	err := c.Coverage(context.Background(), link.Fence{}, nil)
	var p *replication.Problem
	if !errors.As(err, &p) || p.Code != CodeWrongRole || !strings.Contains(p.Message, "operator") || !strings.Contains(p.Message, "process-server") {
		t.Errorf("got %v want wrong-role with both roles", err)
	}
}
