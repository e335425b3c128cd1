package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/link"
	"failback/transport/pki"
)

// MasterTarget is the engine behind the replication service.
type MasterTarget interface {
	link.Authority
	// Connected takes a process server that has said hello; done is called when it has gone. An error refuses it.
	Connected(p link.Peer, w link.Worker) (done func(), err error)
	// TurnedAway tells that a process server that came by the name was refused before Connected.
	TurnedAway(name string, why *replication.Problem)
	// Redeem takes a token for the key of a process server that enrols, once, and returns the name that it gives.
	Redeem(t link.Token, key string) (name string, err error)
}

// NewReplicationServer returns a server of the replication service alone: mutual TLS 1.3, process servers only. On the same port those may enrol that have no certificate yet.
func NewReplicationServer(m MasterTarget, id *pki.Identity, version string, log *slog.Logger) *grpc.Server {
	enroll := &enrollment{id: id, redeem: m.Redeem, log: log, busy: &quiet{log: log}}
	creds := serverCredentials{TransportCredentials: credentials.NewTLS(enroll.config()), id: id, log: &quiet{log: log}, enroll: enroll}
	options := append(append(RequireRoles(pki.ProcessServer), serverOptions(creds, true)...),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.InitialWindowSize(laneWindow), grpc.InitialConnWindowSize(laneWindow),
		grpc.ReadBufferSize(0), grpc.WriteBufferSize(socketBuffer), experimental.BufferPool(received), // gatherCredentials buffer what is read
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveEvery, Timeout: vigilWait}),           // vigil is the one that gives up
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: -1, PermitWithoutStream: true}), // none is too early: those that a limit has held back come together; unread bounds them
		grpc.WaitForHandlers(true), // Stop returns when no call touches m any more: it may be closed then
	)
	s := grpc.NewServer(options...)
	RegisterReplication(s, m, version, log)
	registerGeneral(s)
	return s
}

// maxStreams bounds the calls under way on one connection.
const maxStreams = 128

// RegisterReplication puts the replication service before m.
func RegisterReplication(s grpc.ServiceRegistrar, m MasterTarget, version string, log *slog.Logger) {
	failbackpb.RegisterReplicationServer(s, &replicationServer{master: m, version: version, refused: &quiet{log: log}})
}

type replicationServer struct {
	failbackpb.UnimplementedReplicationServer
	master  MasterTarget
	version string
	refused *quiet // process servers
	paths   paths
}

// Work is one process server's session: hello, welcome, then orders and reports until one side goes.
func (s *replicationServer) Work(stream failbackpb.Replication_WorkServer) error {
	first, err := firstOf(stream.Recv)
	if err != nil {
		return err
	}
	hello := first.GetHello()
	who, err := pki.Caller(stream.Context())
	if err != nil {
		return StatusOf(err)
	}
	if err := checkHello(hello, who.Name, s.version); err != nil {
		s.refuse(stream.Context(), hello.GetName(), err)
		s.master.TurnedAway(hello.GetName(), replication.AsProblem(err))
		return StatusOf(err)
	}
	w := &remoteWorker{stream: stream, version: s.version, key: who.Key, paths: &s.paths, calls: map[uint64]*call{}, gone: make(chan struct{}), left: make(chan error, 1)}
	come := link.Peer{Name: hello.Name, Home: hello.Home, Key: who.Key, Version: told(hello.Version, maxWord), Minor: hello.Minor, Certificates: who.Certificates}
	come.Skew, come.NoClock = skewOf(hello.UnixNanos)
	done, err := s.master.Connected(come, w)
	if err != nil {
		s.refuse(stream.Context(), come.Name, err)
		return StatusOf(err)
	}
	defer done()
	if err := w.send(nil); err != nil {
		w.end(err)
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- w.receive() }() // ends with the stream
	select {
	case err = <-ended:
	case err = <-w.left:
		w.end(err)
		return StatusOf(err)
	}
	w.end(err)
	if err == io.EOF || errors.Is(stream.Context().Err(), context.Canceled) {
		return nil
	}
	return err
}

// skewOf returns the clock that the other side tells less ours.
func skewOf(unixNanos int64) (skew time.Duration, none bool) {
	if unixNanos <= 0 {
		return 0, true
	}
	return time.Duration(unixNanos - time.Now().UnixNano()), false
}

// refuse tells that a process server was turned away.
func (s *replicationServer) refuse(ctx context.Context, name string, err error) {
	p := *replication.AsProblem(err)
	p.Message = fmt.Sprintf("process server refused: %.64q: %s", name, p.Message)
	from := net.Addr(&net.UnixAddr{})
	if who, ok := peer.FromContext(ctx); ok {
		from = who.Addr
	}
	s.refused.refused(from, &p)
}

// firstWithin is how long a stream may be open without its first message: who opens streams and says nothing does not keep them.
const firstWithin = 10 * time.Second

// CodeSilent is the code of streams that said nothing.
const CodeSilent = "silent"

// firstOf returns the first message of a stream. One that comes too late is lost with the stream, which the caller ends.
func firstOf[M any](receive func() (M, error)) (M, error) {
	type message struct {
		m   M
		err error
	}
	came := make(chan message, 1)
	go func() { // ends with the stream
		m, err := receive()
		came <- message{m, err}
	}()
	late := time.NewTimer(firstWithin)
	defer late.Stop()
	select {
	case m := <-came:
		return m.m, m.err
	case <-late.C:
		var none M
		return none, StatusOf(&replication.Problem{Code: CodeSilent, Message: fmt.Sprintf("the stream was open for %v without a message", firstWithin), Remedy: "a process server speaks at once: see what calls here"})
	}
}

// checkHello judges a process server's first words. Named is the name that its certificate gives it, "" for none.
func checkHello(h *failbackpb.Hello, named, version string) error {
	if h == nil {
		return &replication.Problem{Code: "protocol", Message: "the first report on a work stream must be hello", Remedy: "the caller is not a failback process server"}
	}
	if _, err := link.Ours(version).Speak("process server "+h.Name, link.Version{Major: h.Major, Minor: h.Minor, Program: h.Version}); err != nil {
		return err
	}
	if len(h.Version) > maxWord || len(h.Home) > maxWord {
		return &replication.Problem{Code: "protocol", Message: fmt.Sprintf("hello with a version of %d bytes and a state directory's name of %d, at most %d", len(h.Version), len(h.Home), maxWord), Remedy: "the caller is not a failback process server"}
	}
	if err := replication.ValidName(h.Name); err != nil {
		return &replication.Problem{Code: "name", Message: "process server name: " + err.Error(), Remedy: "start the process server with another --name"}
	}
	if named != "" && named != h.Name {
		return &replication.Problem{Code: "name", Message: fmt.Sprintf("a process server registers as %s, and its certificate is for the name %s", h.Name, named),
			Remedy: "start it with --name " + named + ", or give it a certificate of its own by failback pki enroll"}
	}
	return nil
}

// calling returns ctx with what the engine must know of the caller.
func calling(ctx context.Context) context.Context {
	p, err := pki.Caller(ctx)
	if err != nil { // was looked at by RequireRoles
		return link.WithCaller(ctx, "unknown")
	}
	return link.WithCaller(ctx, p.Key)
}

func (s *replicationServer) Coverage(req *failbackpb.CoverageRequest, stream failbackpb.Replication_CoverageServer) error {
	err := s.master.Coverage(calling(stream.Context()), fenceFromWire(req.Fence), func(disk replication.DiskNo, x []replication.Extent) error {
		for part := range slices.Chunk(x, extentsPerMessage) {
			if err := stream.Send(&failbackpb.CoverageReply{Disk: uint32(disk), Extents: extentsToWire(part)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return StatusOf(err)
	}
	return nil
}

// hashesPerMessage is how many region hashes are gathered for one message.
const hashesPerMessage = 64

func (s *replicationServer) Compare(req *failbackpb.CompareRequest, stream failbackpb.Replication_CompareServer) error {
	extents, err := extentsFromWire(req.Extents)
	if err != nil {
		return StatusOf(fmt.Errorf("compare: %w", err))
	}
	c, err := s.master.Compare(calling(stream.Context()), fenceFromWire(req.Fence), replication.DiskNo(req.Disk), extents)
	if err != nil {
		return StatusOf(err)
	}
	defer c.Close()
	var run failbackpb.CompareReply // hashes not sent yet
	var next int64                  // where the next hash must follow on
	flush := func() error {
		if len(run.Hashes) == 0 {
			return nil
		}
		err := stream.Send(&failbackpb.CompareReply{Offset: run.Offset, Hashes: run.Hashes})
		run.Hashes = nil
		return err
	}
	for {
		side, err := c.Next()
		if err == io.EOF {
			return flush()
		}
		if err != nil {
			return StatusOf(err)
		}
		if side.Zero || len(run.Hashes) >= 16*hashesPerMessage || side.Off != next {
			if err := flush(); err != nil {
				return err
			}
		}
		if side.Zero {
			if err := stream.Send(&failbackpb.CompareReply{Offset: side.Off, Zero: side.Len()}); err != nil {
				return err
			}
			continue
		}
		if len(run.Hashes) == 0 {
			run.Offset = side.Off
		}
		run.Hashes = append(run.Hashes, side.Hash[:]...)
		next = side.End
	}
}

func (s *replicationServer) Pages(ctx context.Context, req *failbackpb.PagesRequest) (*failbackpb.PagesReply, error) {
	if len(req.Regions) > hashesPerMessage {
		return nil, StatusOf(fmt.Errorf("pages of %d regions asked for, at most %d", len(req.Regions), hashesPerMessage))
	}
	reply := &failbackpb.PagesReply{}
	for _, off := range req.Regions {
		h, err := s.master.Pages(calling(ctx), fenceFromWire(req.Fence), replication.DiskNo(req.Disk), off)
		if err != nil {
			return nil, StatusOf(err)
		}
		reply.Hashes = append(reply.Hashes, hashesToWire(h)...)
	}
	return reply, nil
}

// Ship receives one lane. The frames' memory goes to the engine, which frees it.
func (s *replicationServer) Ship(stream failbackpb.Replication_ShipServer) error {
	first, err := firstOf(func() (*wireFrame, error) {
		f := &wireFrame{}
		return f, stream.RecvMsg(f)
	})
	if err != nil {
		return err
	}
	first.frame.Free()
	if first.open == nil || len(first.frame.Blocks) > 0 {
		return StatusOf(errors.New("the first frame of a lane must open it and carry nothing else"))
	}
	fence := fenceFromWire(first.open.Fence)
	lane, err := s.master.Lane(calling(stream.Context()), replication.Lane{Session: fence.Session, Point: fence.Point, Lane: first.open.Lane, Attempt: first.open.Attempt})
	if err != nil {
		return StatusOf(err)
	}
	defer lane.Close()
	behind := backlogOf(stream.Context())
	behind.open()
	defer behind.end()
	frames := uint64(0)
	for {
		var f wireFrame
		err := stream.RecvMsg(&f)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if f.open != nil {
			f.frame.Free()
			return StatusOf(errors.New("a frame in the middle of a lane opens it again"))
		}
		behind.taken(f.size)
		if err := lane.Send(f.frame); err != nil {
			return StatusOf(err)
		}
		frames++
	}
	byValue, err := lane.Flush()
	if err != nil {
		return StatusOf(err)
	}
	return stream.SendMsg(&failbackpb.LaneAck{Frames: frames, ByValue: byValue})
}

func (s *replicationServer) Finish(ctx context.Context, req *failbackpb.FinishRequest) (*failbackpb.FinishReply, error) {
	var totals []replication.Total
	for _, t := range req.Totals {
		if len(t.Digest) != 32 {
			return nil, StatusOf(fmt.Errorf("digest of %d bytes, want 32", len(t.Digest)))
		}
		totals = append(totals, replication.Total{Disk: replication.DiskNo(t.Disk), Bytes: t.Bytes, Digest: [32]byte(t.Digest)})
	}
	p, err := s.master.Finish(calling(ctx), fenceFromWire(req.Fence), totals)
	if err != nil {
		return nil, StatusOf(err)
	}
	return &failbackpb.FinishReply{Point: uint64(p)}, nil
}
