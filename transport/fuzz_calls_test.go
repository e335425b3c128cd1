package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/transport"
	"failback/transport/operatortest"
	"failback/transport/pki"
)

// service is what a server would run: a fuzz test calls it without one.
type service struct {
	desc *grpc.ServiceDesc
	impl any
}

func (s *service) RegisterService(desc *grpc.ServiceDesc, impl any) { s.desc, s.impl = desc, impl }

// call makes a call of a service's, by its number. Each message of the stream is what came, and the last one's end is the stream's.
func (s *service) call(ctx context.Context, no int, messages ...[]byte) error {
	stream := &incoming{ctx: ctx, messages: messages}
	if n := len(s.desc.Methods); no%(n+len(s.desc.Streams)) < n {
		_, err := s.desc.Methods[no%(n+len(s.desc.Streams))].Handler(s.impl, ctx, stream.RecvMsg, nil)
		return err
	} else {
		return s.desc.Streams[no%(n+len(s.desc.Streams))-n].Handler(s.impl, stream)
	}
}

// number returns the number of a method.
func (s *service) number(f *testing.F, method string) int {
	for i, m := range s.desc.Methods {
		if m.MethodName == method {
			return i
		}
	}
	for i, m := range s.desc.Streams {
		if m.StreamName == method {
			return len(s.desc.Methods) + i
		}
	}
	f.Fatalf("there is no call %s", method)
	return 0
}

type incoming struct {
	ctx      context.Context
	messages [][]byte
}

func (s *incoming) Context() context.Context     { return s.ctx }
func (s *incoming) SetHeader(metadata.MD) error  { return nil }
func (s *incoming) SendHeader(metadata.MD) error { return nil }
func (s *incoming) SetTrailer(metadata.MD)       {}

// SendMsg takes what can be written.
func (s *incoming) SendMsg(m any) error {
	if p, ok := m.(proto.Message); ok {
		_, err := proto.Marshal(p)
		return err
	}
	return nil
}

func (s *incoming) RecvMsg(m any) error {
	if len(s.messages) == 0 {
		return io.EOF
	}
	b := s.messages[0]
	s.messages = s.messages[1:]
	p, ok := m.(proto.Message)
	if !ok {
		return errors.New("not for this test")
	}
	return proto.Unmarshal(b, p)
}

// looking is a master target that looks at what it is asked.
type looking struct{ fail func(string, ...any) }

var errLooked = errors.New("looked at")

func (l looking) Connected(p link.Peer, w link.Worker) (func(), error) {
	if replication.ValidName(p.Name) != nil || len(p.Home) > 64 || len(p.Version) > 64 {
		l.fail("a process server %q of version %q and home %q came through", p.Name, p.Version, p.Home)
	}
	return func() { w.(link.Measured).Figures() }, nil
}
func (looking) TurnedAway(string, *replication.Problem)   {}
func (looking) Redeem(link.Token, string) (string, error) { return "", errLooked }
func (looking) Coverage(context.Context, link.Fence, func(replication.DiskNo, []replication.Extent) error) error {
	return errLooked
}
func (l looking) Compare(_ context.Context, _ link.Fence, _ replication.DiskNo, x []replication.Extent) (link.Comparison, error) {
	last := int64(0)
	for _, e := range x {
		if e.Off < last || e.Check(replication.MaxDiskSize) != nil {
			l.fail("extent %v after %d came through", e, last)
		}
		last = e.End
	}
	return nil, errLooked
}
func (looking) Pages(context.Context, link.Fence, replication.DiskNo, int64) ([]replication.Hash, error) {
	return make([]replication.Hash, 256), nil
}
func (looking) Lane(context.Context, replication.Lane) (link.Lane, error) { return nothing{}, nil }
func (looking) Finish(_ context.Context, f link.Fence, _ []replication.Total) (replication.PointID, error) {
	return f.Point, nil
}

type nothing struct{}

func (nothing) Send(f *block.Frame) error { f.Free(); return nil }
func (nothing) Flush() (int64, error)     { return 0, nil }
func (nothing) Close()                    {}

// FuzzReplicationCalls makes every call of the replication service with whatever a process server may send: none harms it, and what reaches the engine is what can be. Frames of lanes have tests of their own.
func FuzzReplicationCalls(f *testing.F) {
	dir := f.TempDir() + "/pki"
	if _, err := pki.Init(dir); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "process-server.crt"))
	if err != nil {
		f.Fatal(err)
	}
	first, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		f.Fatal(err)
	}
	from := &peer.Peer{Addr: &net.TCPAddr{}, AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}}}
	var s service
	transport.RegisterReplication(&s, looking{}, "test", slog.New(slog.DiscardHandler))
	seed := func(method string, all ...proto.Message) {
		var b [2][]byte
		for i, m := range all {
			if b[i], err = proto.Marshal(m); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(s.number(f, method), b[0], b[1])
	}
	fence := &failbackpb.Fence{Group: "g", Generation: 1, Session: 2, Point: 3}
	hello := &failbackpb.Report{What: &failbackpb.Report_Hello{Hello: &failbackpb.Hello{Name: "ps1", Major: transport.ProtocolMajor, Minor: transport.ProtocolMinor, Version: "test", UnixNanos: -1, Home: "home"}}}
	seed("Work", hello, &failbackpb.Report{What: &failbackpb.Report_Figures{Figures: &failbackpb.Figures{Cpu: 7, StateFree: -1, Frozen: []string{"g/m"}}}})
	seed("Work", hello, &failbackpb.Report{Order: 1, What: &failbackpb.Report_Progress{Progress: &failbackpb.Progress{Link: &failbackpb.LinkStatus{Mix: []*failbackpb.LevelShare{{Level: "lz4", Share: 2}}}, Queue: []uint32{1 << 31}}}})
	seed("Coverage", &failbackpb.CoverageRequest{Fence: fence})
	seed("Compare", &failbackpb.CompareRequest{Fence: fence, Disk: 1 << 31, Extents: []uint64{0, 1 << 20, 1 << 21, 1 << 63}})
	seed("Pages", &failbackpb.PagesRequest{Fence: fence, Disk: 1, Regions: []int64{0, -1, 1 << 62}})
	seed("Finish", &failbackpb.FinishRequest{Fence: fence, Totals: []*failbackpb.DiskTotal{{Disk: 1, Bytes: -1, Digest: make([]byte, 32)}, {Digest: make([]byte, 31)}}})
	seed("Path", &failbackpb.PathAsk{Path: 7, Want: 1 << 31, Padding: make([]byte, 99)}, &failbackpb.PathAsk{Want: 1})
	ctx := peer.NewContext(context.Background(), from)
	f.Fuzz(func(t *testing.T, no int, a, b []byte) {
		var s service
		transport.RegisterReplication(&s, looking{t.Fatalf}, "test", slog.New(slog.DiscardHandler))
		_ = s.call(ctx, max(no, 0), a, b)
	})
}

// FuzzOperatorCalls makes every call of the operators' service with whatever may be sent.
func FuzzOperatorCalls(f *testing.F) {
	var s service
	transport.RegisterOperator(&s, &operatortest.Fake{})
	seed := func(method string, m proto.Message) {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(s.number(f, method), b)
	}
	for i := range len(s.desc.Methods) + len(s.desc.Streams) {
		f.Add(i, []byte{0x0a, 1, 'g', 0x10, 1, 0x18, 1, 0x20, 1})
	}
	seed("Check", &failbackpb.PlanRequest{Yaml: []byte("group: g\n"), PathNanos: -1, PathMaxBytes: 1 << 62, Churn: 7})
	seed("Throttle", &failbackpb.ThrottleRequest{Set: true, Schedule: "20Mbps mon-fri 08:00-18:00", Group: "g", Priority: 1 << 31, PassNanos: -1})
	f.Fuzz(func(t *testing.T, no int, b []byte) {
		_ = s.call(context.Background(), max(no, 0), b)
	})
}
