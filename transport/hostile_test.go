package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/transport/pki"
)

// A hostile peer has a good certificate, and says whatever it likes.

// bare sends and receives bytes as they are.
type bare struct{}

func (bare) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}
func (bare) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
func (bare) Name() string { return "proto" }

// hostile dials with the certificate of a role, and with none of our client's manners.
func hostile(t *testing.T, address, certs string, role pki.Role, more ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	id, err := pki.Open(certs, role, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+address, append(more, grpc.WithTransportCredentials(credentials.NewTLS(id.Client(pki.MasterTarget))), grpc.WithNoProxy())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// open is a frame that opens a lane, as bytes.
func open(t *testing.T) []byte {
	t.Helper()
	b, err := proto.Marshal(&failbackpb.Frame{Open: &failbackpb.LaneOpen{Fence: &failbackpb.Fence{Group: "g"}, Attempt: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func framed(t testing.TB, f *failbackpb.Frame) []byte {
	t.Helper()
	b, err := proto.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFramesThatLieAreRefusedByName(t *testing.T) {
	a := &authority{}
	address, certs := serve(t, a)
	conn := hostile(t, address, certs, pki.ProcessServer, grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bare{})))
	data := func(change func(*failbackpb.BlockHeader)) *failbackpb.BlockHeader {
		h := &failbackpb.BlockHeader{Kind: 1, Extents: []uint64{0, 4096}, Codec: 1, Raw: 4096, Size: 4096}
		change(h)
		return h
	}
	frame := func(size int, h ...*failbackpb.BlockHeader) []byte {
		return framed(t, &failbackpb.Frame{Blocks: h, Payload: make([]byte, size)})
	}
	many := func(n int) (h []*failbackpb.BlockHeader) {
		for range n {
			h = append(h, &failbackpb.BlockHeader{Kind: 2, Extents: []uint64{0, 4096}})
		}
		return h
	}
	for name, x := range map[string]struct {
		frames [][]byte
		want   string
	}{
		"Oversize":              {[][]byte{open(t), make([]byte, maxMessage+1)}, "larger than max"},
		"PayloadShort":          {[][]byte{open(t), frame(100, data(func(*failbackpb.BlockHeader) {}))}, "payload of 100 bytes ends within block 0"},
		"PayloadLong":           {[][]byte{open(t), frame(5000, data(func(*failbackpb.BlockHeader) {}))}, "904 bytes of payload belong to no block"},
		"SizeLies":              {[][]byte{open(t), frame(10, data(func(h *failbackpb.BlockHeader) { h.Size = 1 << 31 }))}, "payload of 2147483648 bytes, at most"},
		"TooManyBlocks":         {[][]byte{open(t), frame(0, many(block.MaxFrameBlocks+1)...)}, "more than 256 blocks"},
		"TooManyExtents":        {[][]byte{open(t), frame(0, &failbackpb.BlockHeader{Kind: 2, Extents: make([]uint64, 2*block.MaxRanges+2)})}, "extents, at most"},
		"ExtentOverflows":       {[][]byte{open(t), frame(0, &failbackpb.BlockHeader{Kind: 2, Extents: []uint64{1 << 63, 1 << 63}})}, "extent of"},
		"ExtentEmpty":           {[][]byte{open(t), frame(0, &failbackpb.BlockHeader{Kind: 2, Extents: []uint64{0, 0}})}, "extent of 0 bytes"},
		"DiskThatIsNone":        {[][]byte{open(t), frame(0, &failbackpb.BlockHeader{Disk: 1 << 31, Kind: 2, Extents: []uint64{0, 4096}})}, "disk 2147483648, at most"},
		"NoProtobuf":            {[][]byte{open(t), {0xff, 0xff, 0xff}}, "frame:"},
		"LengthLies":            {[][]byte{open(t), protowire.AppendVarint(protowire.AppendTag(nil, fieldFramePayload, protowire.BytesType), 1<<40)}, "frame: field 15"},
		"NotOpened":             {[][]byte{frame(0, many(1)...)}, "must open it and carry nothing else"},
		"OpenedWithContent":     {[][]byte{framed(t, &failbackpb.Frame{Open: &failbackpb.LaneOpen{}, Blocks: many(1)})}, "must open it and carry nothing else"},
		"OpenedTwice":           {[][]byte{open(t), open(t)}, "opens it again"},
		"OpenedWithThatIsNone":  {[][]byte{protowire.AppendBytes(protowire.AppendTag(nil, fieldFrameOpen, protowire.BytesType), []byte{0xff})}, "lane open"},
		"BlockThatIsNoProtobuf": {[][]byte{open(t), protowire.AppendBytes(protowire.AppendTag(nil, fieldFrameBlocks, protowire.BytesType), []byte{0xff})}, "block 0"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, failbackpb.Replication_Ship_FullMethodName)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range x.frames {
				if err := s.SendMsg(f); err != nil {
					break // the reason is the answer
				}
			}
			var answer []byte
			err = s.RecvMsg(&answer)
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v want %q", err, x.want)
			}
		})
	}
	// The others are not harmed.
	c := dial(t, address, certs, pki.ProcessServer)
	lane, err := c.Lane(t.Context(), replication.Lane{})
	if err != nil {
		t.Fatal(err)
	}
	err = lane.Send(sample())
	if _, flushed := lane.Flush(); err != nil || flushed != nil {
		t.Error(err, flushed)
	}
}

// TestCompressedMessagesAreRefused has a peer use compression of gRPC's own, by which few bytes would become many: there is none here.
func TestCompressedMessagesAreRefused(t *testing.T) {
	address, certs := serve(t, &authority{})
	conn := hostile(t, address, certs, pki.ProcessServer)
	_, err := failbackpb.NewReplicationClient(conn).Pages(t.Context(), &failbackpb.PagesRequest{}, grpc.UseCompressor("bomb"))
	if status.Code(err) != codes.Internal && status.Code(err) != codes.Unimplemented { // the client has none either
		t.Errorf("got %v", err)
	}
	//lint:ignore SA1019 a compressor that is not registered can be had by nothing else
	raw := hostile(t, address, certs, pki.ProcessServer, grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bare{})), grpc.WithCompressor(bomb{}))
	var answer []byte
	err = raw.Invoke(t.Context(), failbackpb.Replication_Pages_FullMethodName, []byte{}, &answer)
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "gzip") {
		t.Errorf("got %v want Unimplemented", err)
	}
}

type bomb struct{}

func (bomb) Do(w io.Writer, p []byte) error { _, err := w.Write(make([]byte, 1000)); return err }
func (bomb) Type() string                   { return "gzip" }

// TestThousandsOfStreamsAreBounded opens calls without end on one connection, each of which says nothing. Another peer is served meanwhile.
func TestThousandsOfStreamsAreBounded(t *testing.T) {
	a := &authority{}
	address, certs := serve(t, a)
	conn := hostile(t, address, certs, pki.ProcessServer)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var opened sync.WaitGroup
	counted := make(chan bool, 4000)
	for range 4000 {
		opened.Go(func() {
			if _, err := failbackpb.NewReplicationClient(conn).Ship(ctx); err == nil {
				counted <- true
			}
		})
	}
	for range maxStreams {
		<-counted
	}
	c := dial(t, address, certs, pki.ProcessServer)
	if _, err := c.Pages(t.Context(), link.Fence{}, 1, 0); err != nil {
		t.Errorf("another peer: %v", err)
	}
	if n := len(counted); n > 0 {
		t.Errorf("%d streams more than %d are open", n, maxStreams)
	}
	cancel()
	opened.Wait()
}

// TestSilenceIsEnded holds a connection open at each stage of its making, and streams that say nothing: all are ended by themselves.
func TestSilenceIsEnded(t *testing.T) {
	address, certs := serve(t, &authority{})
	if testing.Short() {
		t.Skip("waits for the bound on handshakes")
	}
	id, err := pki.Open(certs, pki.ProcessServer, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	config := id.Client(pki.MasterTarget)
	config.NextProtos = []string{"h2"}
	ended := func(name string, begin func(net.Conn) net.Conn) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			c := begin(raw)
			c.SetReadDeadline(time.Now().Add(shakeWithin + 20*time.Second))
			if _, err := io.Copy(io.Discard, c); err != nil && errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
				t.Errorf("still open: %v", err)
			}
		})
	}
	ended("NoTLS", func(c net.Conn) net.Conn { return c })
	ended("HalfAHandshake", func(c net.Conn) net.Conn { c.Write([]byte{22, 3, 1, 2, 0, 1}); return c })
	ended("NoHTTP", func(c net.Conn) net.Conn {
		s := tls.Client(c, config)
		if err := s.Handshake(); err != nil {
			t.Error(err)
		}
		return s
	})
	t.Run("StreamWithoutAWord", func(t *testing.T) {
		t.Parallel()
		conn := hostile(t, address, certs, pki.ProcessServer)
		w, err := failbackpb.NewReplicationClient(conn).Work(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Recv()
		if p := ProblemOf(err); p == nil || p.Code != CodeSilent {
			t.Errorf("work: got %v want %s", err, CodeSilent)
		}
	})
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// TestFirstMessageIsWaitedForSoLong is the same for what waits, in no time.
func TestFirstMessageIsWaitedForSoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		never := make(chan struct{})
		_, err := firstOf(func() (int, error) { <-never; return 0, io.EOF })
		if p := ProblemOf(err); p == nil || p.Code != CodeSilent || time.Since(begin) != firstWithin {
			t.Errorf("got %v after %v", err, time.Since(begin))
		}
		close(never)
		if got, err := firstOf(func() (int, error) { time.Sleep(time.Second); return 7, nil }); got != 7 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
	})
}

// listenerOf gives connections that a test makes.
type listenerOf chan net.Conn

func (l listenerOf) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (listenerOf) Close() error   { return nil }
func (listenerOf) Addr() net.Addr { return &net.TCPAddr{} }

// fromHost is a connection that comes from an address.
type fromHost struct {
	net.Conn
	host   byte
	closed *int
}

func (f fromHost) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, f.host), Port: 1} }
func (f fromHost) Close() error         { *f.closed++; return nil }

func TestConnectionsAreBounded(t *testing.T) {
	in := make(listenerOf, 10*MaxConnections)
	l := BoundedListener(in, slog.New(slog.DiscardHandler))
	closed := 0
	give := func(host byte, n int) {
		for range n {
			in <- fromHost{host: host, closed: &closed}
		}
	}
	var open []*boundedConn
	shaken := 0
	accept := func(n int) {
		t.Helper()
		for range n {
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			b := c.(*boundedConn)
			open = append(open, b)
			if err := b.shaken(fmt.Sprint("key", shaken/100)); err != nil {
				t.Fatal(err)
			}
			shaken++
		}
	}
	give(1, MaxConnectionsHost+1000)
	give(2, 1) // another is not harmed
	accept(MaxConnectionsHost + 1)
	if closed != 1000 || open[len(open)-1].host != "10.0.0.2" {
		t.Fatalf("%d closed, the last from %s", closed, open[len(open)-1].host)
	}
	open[0].Close()
	open[0].Close() // counts once
	give(1, 2)
	give(3, MaxConnections)
	shaken--
	accept(1 + MaxConnections - MaxConnectionsHost - 1)
	if closed != 1000+2+1 { // the two are the test's own
		t.Errorf("%d closed, want %d", closed, 1003)
	}
	close(in)
	if _, err := l.Accept(); err != net.ErrClosed {
		t.Errorf("got %v want the listener's end: all else was to be refused", err)
	}
}

// TestConnectionsOfNobodyKeepNobodyOut has hosts open connections without end that come to no handshake; those of others come to theirs, and stay.
func TestConnectionsOfNobodyKeepNobodyOut(t *testing.T) {
	in := make(listenerOf, 10*MaxConnections)
	l := BoundedListener(in, slog.New(slog.DiscardHandler))
	closed := 0
	accept := func(host byte) *boundedConn {
		t.Helper()
		in <- fromHost{host: host, closed: &closed}
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c.(*boundedConn)
	}
	var good []*boundedConn
	for i := range 2 * MaxConnections {
		accept(byte(10 + i%40))
		if i%20 == 0 {
			c := accept(1)
			if err := c.shaken("good"); err != nil {
				t.Fatalf("after %d: %v", i, err)
			}
			good = append(good, c)
		}
	}
	if open := 2*MaxConnections + len(good) - closed; open > maxShaking+len(good) {
		t.Errorf("%d are open", open)
	}
	for _, c := range good {
		if !c.counted {
			t.Error("one that was known is gone")
		}
	}
	for range MaxConnectionsKey - len(good) {
		if err := accept(3).shaken("good"); err != nil {
			t.Fatal(err)
		}
	}
	if err := accept(4).shaken("good"); replication.AsProblem(err).Code != CodeConnections {
		t.Errorf("one key had one more: %v", err)
	}
	l = BoundedListener(in, slog.New(slog.DiscardHandler))
	for range maxShakingHost + 5 {
		accept(2)
	}
	if n := l.(*boundedListener).open["10.0.0.2"]; n != maxShakingHost {
		t.Errorf("one host has %d, want %d", n, maxShakingHost)
	}
	unix := BoundedListener(listenerOf(in), slog.New(slog.DiscardHandler))
	for range MaxConnectionsHost {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		in <- ours
		if _, err := unix.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	if n := unix.(*boundedListener).all; n != MaxConnectionsHost {
		t.Errorf("%d connections of this machine are open, want %d", n, MaxConnectionsHost)
	}
}

func TestHealthAndReflectionAnswerOperatorsToo(t *testing.T) {
	address, certs := serve(t, &authority{})
	for _, role := range []pki.Role{pki.ProcessServer, pki.Operator} {
		conn := hostile(t, address, certs, role)
		for _, service := range []string{"", failbackpb.Replication_ServiceDesc.ServiceName} {
			r, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
			if err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
				t.Errorf("%s: health of %q: got %v, %v", role, service, r, err)
			}
		}
		s, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "failback.v1.Replication"}}); err != nil {
			t.Fatal(err)
		}
		r, err := s.Recv()
		if err != nil || len(r.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("%s: reflection: got %v, %v", role, r, err)
		}
	}
	_, err := healthpb.NewHealthClient(hostile(t, address, certs, pki.MasterTarget)).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err == nil {
		t.Error("another role was told")
	}
}
