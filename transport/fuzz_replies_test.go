package transport

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/link"
	"failback/transport/pki"
)

// answers is a connection on which every call is answered by the same message, a few times where it is a stream.
type answers struct {
	b     []byte
	times int
}

func (a *answers) Invoke(_ context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	return proto.Unmarshal(a.b, reply.(proto.Message))
}

func (a *answers) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	return &answering{a: a, ctx: ctx, left: a.times}, nil
}

type answering struct {
	a    *answers
	ctx  context.Context
	left int
}

func (s *answering) Header() (metadata.MD, error) { return nil, nil }
func (s *answering) Trailer() metadata.MD         { return nil }
func (s *answering) CloseSend() error             { return nil }
func (s *answering) Context() context.Context     { return s.ctx }
func (s *answering) SendMsg(any) error            { return nil }
func (s *answering) RecvMsg(m any) error {
	if s.left == 0 {
		return io.EOF
	}
	s.left--
	return proto.Unmarshal(s.a.b, m.(proto.Message))
}

// FuzzReplicationReplies has a master target answer a process server with whatever it likes: what comes through is what can be.
func FuzzReplicationReplies(f *testing.F) {
	seed(f, &failbackpb.CoverageReply{Disk: 1, Extents: []uint64{0, 4096}}, &failbackpb.CompareReply{Offset: 1 << 20, Hashes: make([]byte, 64)}, &failbackpb.PagesReply{Hashes: make([]byte, 4096)}, &failbackpb.FinishReply{Point: 1 << 63},
		&failbackpb.LaneAck{Frames: 0, ByValue: -1}, &failbackpb.LaneAck{ByValue: 1 << 62})
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx := t.Context()
		c := &ReplicationClient{lanes: map[*laneConn]bool{}, client: failbackpb.NewReplicationClient(&answers{b, 3})}
		_ = c.Coverage(ctx, link.Fence{}, func(_ replication.DiskNo, x []replication.Extent) error {
			for _, e := range x {
				if e.Check(replication.MaxDiskSize) != nil {
					t.Fatalf("extent %v", e)
				}
			}
			return nil
		})
		if cmp, err := c.Compare(ctx, link.Fence{}, 0, nil); err == nil {
			for range 3*len(b) + 4 {
				if _, err = cmp.Next(); err != nil {
					break
				}
			}
			cmp.Close()
		}
		_, _ = c.Pages(ctx, link.Fence{}, 0, 0)
		_, _ = c.Finish(ctx, link.Fence{}, nil)
		stream, err := failbackpb.NewReplicationClient(&answers{b, 1}).Ship(ctx)
		if err != nil {
			t.Fatal(err)
		}
		l := &lane{stream: stream, client: c}
		if n, err := l.Flush(); err == nil && n != 0 { // nothing was sent by reference
			t.Fatalf("%d bytes of nothing are needed by value", n)
		}
	})
}

// FuzzOperatorReplies has a master target answer an operator with whatever it likes.
func FuzzOperatorReplies(f *testing.F) {
	seed(f, &failbackpb.CheckReply{}, &failbackpb.StatusReply{Groups: []*failbackpb.GroupStatus{{}}}, &failbackpb.ThrottleReply{NextUnixNanos: -1, Groups: []*failbackpb.GroupThrottle{{Priority: 1 << 31}}})
	for field := range 12 {
		f.Add([]byte{byte(field+1)<<3 | 2, 4, 0x0a, 0, 0x12, 0})
		f.Add([]byte{byte(field+1) << 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx := t.Context()
		c := &OperatorClient{rpc: failbackpb.NewOperatorClient(&answers{b, 2})}
		_, _ = c.Check(ctx, nil, replication.PathAsk{})
		_, _, _ = c.Reprotect(ctx, nil)
		_, _ = c.Adopt(ctx, replication.AdoptRequest{})
		_, _ = c.Apply(ctx, replication.ApplyRequest{})
		_, _ = c.Status(ctx, "")
		_ = c.Events(ctx, replication.EventsRequest{}, func(replication.Event) error { return nil })
		_ = c.Support(ctx, "", func(string, []byte) error { return nil })
		_, _ = c.Backup(ctx)
		_, _ = c.Cut(ctx, "g", false)
		_, _, _ = c.Points(ctx, "g")
		_, _ = c.Move(ctx, "g", replication.MoveRequest{}, func(replication.MoveStatus) {})
		_, _ = c.PlanMove(ctx, "g", replication.MoveRequest{})
		_, _ = c.CancelMove(ctx, "g", false, func(replication.MoveStatus) {})
		_, _, _, _ = c.Verify(ctx, "g", 0, func([]replication.Ledger) {})
		_, _ = c.Scrub(ctx, "g", 0, false, func(replication.ScrubStatus) {})
		if e, err := c.Export(ctx, "g", 0, "d"); err == nil {
			last := int64(0)
			for {
				off, data, err := e.Next()
				if err != nil {
					break
				}
				if off < last || off+int64(len(data)) > e.Size {
					t.Fatalf("%d bytes at %d, after %d, of a disk of %d", len(data), off, last, e.Size)
				}
				last = off + int64(len(data))
			}
			e.Close()
		}
		_, _ = c.Drill(ctx, "g", replication.DrillRequest{}, func(replication.DrillStatus) {})
		_, _, _ = c.EndDrill(ctx, "", false)
		_, _ = c.RecordDrill(ctx, "g", 0, "", "")
		_, _ = c.Resync(ctx, replication.ResyncRequest{})
		_, _ = c.Pin(ctx, "g", replication.Pin{})
		_, _ = c.Unpin(ctx, "g", 0)
		_, _ = c.Commit(ctx, "g", replication.CommitRequest{}, func(replication.CutoverStatus) {})
		_, _ = c.Forecast(ctx, "g", replication.CommitRequest{})
		_, _ = c.Undo(ctx, "g", false, func(replication.CutoverStatus) {})
		_, _ = c.FinishCutover(ctx, "g")
		_, _ = c.Jobs(ctx, "")
		_ = c.CancelJob(ctx, 0)
		_, _, _ = c.Unprotect(ctx, "g", false, false)
		_, _ = c.Volumes(ctx)
		_, _, _ = c.Token(ctx, "n", 0, false)
		_, _ = c.Throttle(ctx, replication.ThrottleChange{})
		_, _ = c.Rebind(ctx, "n", "k")
		_, _ = c.ForgetServer(ctx, "n")
	})
}

// halves is a connection on which something comes, and nothing more.
type halves struct {
	net.Conn
	in *bytes.Reader
}

func (h halves) Read(b []byte) (int, error) { return h.in.Read(b) }
func (halves) Write(b []byte) (int, error)  { return len(b), nil }
func (halves) Close() error                 { return nil }
func (halves) SetDeadline(time.Time) error  { return nil }
func (halves) RemoteAddr() net.Addr         { return &net.TCPAddr{} }

// FuzzEnroll has somebody without a certificate ask for one.
func FuzzEnroll(f *testing.F) {
	dir := f.TempDir() + "/pki"
	if _, err := pki.Init(dir); err != nil {
		f.Fatal(err)
	}
	id, err := pki.Open(dir, pki.MasterTarget, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range []*failbackpb.EnrollRequest{{Token: "0011223344556677", Secret: make([]byte, 16), Csr: csr}, {Secret: make([]byte, 17)}} {
		var b bytes.Buffer
		if err := writeMessage(&b, r); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		log := slog.New(slog.DiscardHandler)
		e := &enrollment{id: id, log: log, busy: &quiet{log: log}, redeem: func(tok link.Token, key string) (string, error) {
			if len(tok.ID) > 64 || len(key) != 32 {
				t.Fatalf("token %q of the key %q came through", tok.ID, key)
			}
			return "ps1", nil
		}}
		e.serve(halves{in: bytes.NewReader(b)})
		var reply failbackpb.EnrollReply
		_ = readMessage(bytes.NewReader(b), &reply)
	})
}

// FuzzUnread sends a connection's bytes both ways: what is counted does not depend on how they come, and is none when all streams have ended.
func FuzzUnread(f *testing.F) {
	var in, out bytes.Buffer
	in.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&in, nil)
	for stream := uint32(1); stream < 9; stream += 2 {
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x83}, EndHeaders: true})
		fr.WriteData(stream, false, make([]byte, 5000*stream))
	}
	fr.WriteRSTStream(3, http2.ErrCodeCancel)
	fr = http2.NewFramer(&out, nil)
	fr.WriteWindowUpdate(1, 3000)
	fr.WriteWindowUpdate(5, 1<<20)
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, BlockFragment: []byte{0x88}, EndStream: true})
	f.Add(in.Bytes(), out.Bytes(), 7)
	fr.WriteRawFrame(h2WindowUpdate, 0, 1, []byte{0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0}) // longer than it is
	f.Add(in.Bytes(), out.Bytes(), 2)
	f.Fuzz(func(t *testing.T, in, out []byte, size int) {
		size = 1 + max(size, 0)%(1<<14)
		var counted []int64
		for _, step := range []int{size, max(len(in), len(out), 1)} {
			c := newUnreads(slog.New(slog.DiscardHandler)).add(halves{}, "the one", newBacklog())
			for b := in; len(b) > 0; {
				n := min(step, len(b))
				if _, err := c.received(b[:n]); err != nil {
					return
				}
				b = b[n:]
			}
			for b := out; len(b) > 0; {
				n := min(step, len(b))
				c.leaves(b[:n])
				b = b[n:]
			}
			counted = append(counted, c.bytes.Load())
			for s := range c.streams {
				c.endLocked(s)
			}
			if n := c.bytes.Load(); n != 0 || counted[0] < 0 {
				t.Fatalf("%d bytes are left, of %d", n, counted)
			}
		}
		if counted[0] != counted[1] {
			t.Fatalf("counted %d", counted)
		}
	})
}
