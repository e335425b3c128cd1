package transport

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	failbackpb "failback/proto"
	"failback/transport/pki"
)

// methods returns all calls of all services of the contract, with whether each streams.
func methods() map[string]bool {
	all := map[string]bool{}
	protoregistry.GlobalFiles.RangeFilesByPackage(failbackpb.File_replication_proto.Package(), func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				all[fmt.Sprintf("/%s/%s", s.FullName(), m.Name())] = m.IsStreamingClient() || m.IsStreamingServer()
			}
		}
		return true
	})
	return all
}

// TestEveryCallHasARole makes every call of every service with the certificate of every role, over TLS. A call that is new and has no role fails.
func TestEveryCallHasARole(t *testing.T) {
	certs := t.TempDir() + "/pki"
	if _, err := pki.Init(certs); err != nil {
		t.Fatal(err)
	}
	open := func(r pki.Role) *pki.Identity {
		id, err := pki.Open(certs, r, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	s := grpc.NewServer(append(RequireRoles(pki.Operator), ServerCredentials(open(pki.MasterTarget), slog.New(slog.DiscardHandler))...)...)
	failbackpb.RegisterReplicationServer(s, failbackpb.UnimplementedReplicationServer{}) // lets in: Unimplemented, with its own words
	failbackpb.RegisterOperatorServer(s, failbackpb.UnimplementedOperatorServer{})
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "failback.v1.New", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
		StreamName: "Call", ServerStreams: true, ClientStreams: true, Handler: func(any, grpc.ServerStream) error { return nil },
	}}}, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	t.Cleanup(s.Stop)

	all := methods()
	for m := range callers {
		if _, ok := all[m]; !ok {
			t.Errorf("%s has a role, but there is no such call", m)
		}
	}
	if len(all) < 15 {
		t.Fatalf("%d calls found: the test does not see them", len(all))
	}
	for _, r := range pki.Roles() {
		conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(newClientCredentials(open(r))))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		call := func(method string) error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
			if err != nil {
				return err
			}
			_ = stream.SendMsg(&emptypb.Empty{})
			_ = stream.CloseSend()
			return stream.RecvMsg(&emptypb.Empty{})
		}
		for m := range all {
			want, ok := callers[m]
			if !ok {
				t.Errorf("%s has no role", m)
				continue
			}
			p := ProblemOf(call(m))
			if r == want && (p.Code != CodeNotSupported || !strings.Contains(p.Message, "not implemented")) {
				t.Errorf("%s by a %s: got %+v, want it let in", m, r, p)
			}
			if r != want && (p.Code != CodeWrongRole || !strings.Contains(p.Message, string(r)) || !strings.Contains(p.Message, string(want))) {
				t.Errorf("%s by a %s: got %+v, want both roles told", m, r, p)
			}
		}
		if p := ProblemOf(call("/failback.v1.New/Call")); p == nil || !strings.Contains(p.Message, "unknown call") {
			t.Errorf("a call without a role, by a %s: got %v", r, p)
		}
	}
}
