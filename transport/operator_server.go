package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/link"
	"failback/transport/pki"
)

// Bounds of the operator's service.
const (
	MaxPlan          = 1 << 20                // bytes of a plan
	maxOperatorReply = 32 << 20               // bytes of one message to the tool: the points or the status of a large group
	exportChunk      = 256 << 10              // bytes of content in one message
	progressEvery    = 100 * time.Millisecond // between two messages of progress
)

// RegisterOperator makes s answer the operator's calls by ops. Who may call is for the listener (a socket's permissions) or RequireRoles to say.
func RegisterOperator(s grpc.ServiceRegistrar, ops Operations) {
	failbackpb.RegisterOperatorServer(s, &operatorServer{ops: ops})
}

// NewOperatorServer returns a server for the operator's listener: with id, over TLS and for the role operator only; without, for a unix socket, whose
// permissions say who may call.
func NewOperatorServer(ops Operations, id *pki.Identity, log *slog.Logger) *grpc.Server {
	var opts []grpc.ServerOption
	if id != nil {
		opts = append(RequireRoles(pki.Operator), ServerCredentials(id, log)...)
	}
	s := grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(MaxPlan+64<<10), grpc.WaitForHandlers(true))...)
	RegisterOperator(s, ops)
	registerGeneral(s)
	return s
}

type operatorServer struct {
	failbackpb.UnimplementedOperatorServer
	ops Operations
}

func (s *operatorServer) Check(ctx context.Context, r *failbackpb.PlanRequest) (*failbackpb.CheckReply, error) {
	if err := planFits(r); err != nil {
		return nil, StatusOf(err)
	}
	ask := replication.PathAsk{Each: time.Duration(r.PathNanos), MaxBytes: r.PathMaxBytes, Churn: r.Churn}
	if err := ask.Check(); err != nil {
		return nil, StatusOf(err)
	}
	found, err := s.ops.Check(ctx, r.Yaml, ask)
	if err != nil {
		return nil, StatusOf(err)
	}
	reply := &failbackpb.CheckReply{Group: string(found.Group), Path: pathToWire(found.Path)}
	for _, f := range found.Findings {
		reply.Findings = append(reply.Findings, findingToWire(f))
	}
	return reply, nil
}

func (s *operatorServer) Reprotect(ctx context.Context, r *failbackpb.PlanRequest) (*failbackpb.ReprotectReply, error) {
	if err := planFits(r); err != nil {
		return nil, StatusOf(err)
	}
	group, carriedOn, err := s.ops.Reprotect(ctx, r.Yaml)
	if err != nil {
		return nil, StatusOf(err)
	}
	return &failbackpb.ReprotectReply{Group: string(group), CarriedOn: carriedOn}, nil
}

func planFits(r *failbackpb.PlanRequest) error {
	if len(r.Yaml) <= MaxPlan {
		return nil
	}
	return &replication.Problem{
		Code:    "plan",
		Message: fmt.Sprintf("the plan has %d bytes; at most %d are read", len(r.Yaml), MaxPlan),
		Remedy:  "a plan names one group of at most 60 disks: see that the right file was given",
	}
}

func (s *operatorServer) Status(ctx context.Context, r *failbackpb.StatusRequest) (*failbackpb.StatusReply, error) {
	st, err := s.ops.Status(ctx, replication.GroupID(r.Group))
	if err != nil {
		return nil, StatusOf(err)
	}
	return statusToWire(st), nil
}

func (s *operatorServer) Cut(ctx context.Context, r *failbackpb.CutRequest) (*failbackpb.CutReply, error) {
	point, err := s.ops.Cut(ctx, replication.GroupID(r.Group), r.App)
	if err != nil {
		return nil, StatusOf(err)
	}
	return &failbackpb.CutReply{Point: uint64(point)}, nil
}

func (s *operatorServer) Points(ctx context.Context, r *failbackpb.PointsRequest) (*failbackpb.PointsReply, error) {
	head, points, err := s.ops.Points(ctx, replication.GroupID(r.Group))
	if err != nil {
		return nil, StatusOf(err)
	}
	reply := &failbackpb.PointsReply{Group: r.Group, Head: uint64(head)}
	for _, p := range points {
		reply.Points = append(reply.Points, pointToWire(p, head))
	}
	return reply, nil
}

func (s *operatorServer) Verify(r *failbackpb.VerifyRequest, out grpc.ServerStreamingServer[failbackpb.VerifyReply]) error {
	told := newTeller(out.Send)
	point, result, differing, err := s.ops.Verify(out.Context(), replication.GroupID(r.Group), replication.PointID(r.Point), func(l []replication.Ledger) {
		told.tell(func() *failbackpb.VerifyReply {
			p := &failbackpb.Progress{}
			for _, d := range l {
				p.Disks = append(p.Disks, ledgerToWire(d))
			}
			return &failbackpb.VerifyReply{Progress: p}
		})
	})
	if err != nil {
		return StatusOf(err)
	}
	reply := &failbackpb.VerifyReply{Done: true, Point: uint64(point), Result: verifyToWire(result)}
	for _, d := range differing {
		reply.Differing = append(reply.Differing, string(d))
	}
	return out.Send(reply)
}

func (s *operatorServer) Scrub(r *failbackpb.ScrubRequest, out grpc.ServerStreamingServer[failbackpb.ScrubReply]) error {
	if r.Rate < 0 {
		return StatusOf(&replication.Problem{Code: "rate", Message: fmt.Sprintf("a rate of %d bytes a second", r.Rate), Remedy: "give one that is not negative"})
	}
	told := newTeller(out.Send)
	st, err := s.ops.Scrub(out.Context(), replication.GroupID(r.Group), r.Rate, r.Wait, func(x replication.ScrubStatus) {
		told.tell(func() *failbackpb.ScrubReply { return &failbackpb.ScrubReply{Scrub: scrubToWire(x)} })
	})
	if err != nil {
		return StatusOf(err)
	}
	return out.Send(&failbackpb.ScrubReply{Scrub: scrubToWire(st), Done: true})
}

// teller sends progress, but not more often than anyone can read it.
type teller[M any] struct {
	mu   sync.Mutex
	send func(*M) error
	last time.Time
}

func newTeller[M any](send func(*M) error) *teller[M] { return &teller[M]{send: send} }

// tell sends what message makes, unless the last one was sent a moment ago. A failure to send is not the work's: the work goes on, and the
// stream's context says that nobody listens.
func (t *teller[M]) tell(message func() *M) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.last) >= progressEvery {
		t.last = now
		_ = t.send(message())
	}
}

func (s *operatorServer) Export(r *failbackpb.ExportRequest, out grpc.ServerStreamingServer[failbackpb.ExportReply]) error {
	content, err := s.ops.Export(out.Context(), replication.GroupID(r.Group), replication.PointID(r.Point), r.Disk)
	if err != nil {
		return StatusOf(err)
	}
	err = sendContent(out, content)
	return StatusOf(errors.Join(err, content.Close()))
}

// sendContent sends the disk's size, and then whatever of its content is not zero.
func sendContent(out grpc.ServerStreamingServer[failbackpb.ExportReply], content link.Content) error {
	size := content.Size()
	if err := out.Send(&failbackpb.ExportReply{Size: size}); err != nil {
		return err
	}
	for off := int64(0); off < size; {
		start, end, err := content.NextData(off)
		if err != nil {
			return fmt.Errorf("find data from offset %d: %w", off, err)
		}
		if start < off || end > size || start == end && end != size {
			return fmt.Errorf("find data from offset %d: got [%d,%d) of a disk of %d bytes", off, start, end, size)
		}
		for off = start; off < end; {
			buf := make([]byte, min(exportChunk, end-off)) // gRPC may look at it after Send
			n, err := content.ReadAt(buf, off)
			if err != nil && (err != io.EOF || off+int64(n) < end) {
				return fmt.Errorf("read at offset %d: %w", off, err)
			}
			if err := sendPages(out, buf[:n], off); err != nil {
				return err
			}
			off += int64(n)
		}
	}
	return nil
}

// sendPages sends the runs of b whose pages hold anything but zeros.
func sendPages(out grpc.ServerStreamingServer[failbackpb.ExportReply], b []byte, off int64) error {
	for len(b) > 0 {
		zero := runLen(b, true)
		b, off = b[zero:], off+int64(zero)
		data := runLen(b, false)
		if data > 0 {
			if err := out.Send(&failbackpb.ExportReply{Offset: off, Data: b[:data]}); err != nil {
				return err
			}
		}
		b, off = b[data:], off+int64(data)
	}
	return nil
}

// runLen returns the length of the run of pages at the start of b that are zero, or are not.
func runLen(b []byte, zero bool) (n int) {
	for n < len(b) {
		page := min(replication.Page, len(b)-n)
		if replication.IsZero(b[n:n+page]) != zero {
			break
		}
		n += page
	}
	return n
}

func (s *operatorServer) Unprotect(ctx context.Context, r *failbackpb.UnprotectRequest) (*failbackpb.UnprotectReply, error) {
	head, journal, err := s.ops.Unprotect(ctx, replication.GroupID(r.Group), r.KeepJournal, r.GiveUpOriginal)
	if err != nil {
		return nil, StatusOf(err)
	}
	at := head != replication.NoPoint
	if !at {
		head = 0
	}
	return &failbackpb.UnprotectReply{Head: uint64(head), AtPoint: at, Journal: journal}, nil
}

func (s *operatorServer) Volumes(ctx context.Context, _ *failbackpb.VolumesRequest) (*failbackpb.VolumesReply, error) {
	volumes, err := s.ops.Volumes(ctx)
	if err != nil {
		return nil, StatusOf(err)
	}
	reply := &failbackpb.VolumesReply{}
	for _, v := range volumes {
		reply.Volumes = append(reply.Volumes, volumeToWire(v))
	}
	return reply, nil
}

func (s *operatorServer) Token(ctx context.Context, r *failbackpb.TokenRequest) (*failbackpb.TokenReply, error) {
	if r.Seconds < 0 || r.Seconds > math.MaxInt32 {
		return nil, StatusOf(&replication.Problem{Code: "token", Message: fmt.Sprintf("a token for %d seconds", r.Seconds), Remedy: "give a time that is not negative, and not more than a day"})
	}
	t, until, err := s.ops.Token(ctx, r.Name, time.Duration(r.Seconds)*time.Second, r.Replace)
	if err != nil {
		return nil, StatusOf(err)
	}
	return &failbackpb.TokenReply{Token: t.Text(), UntilUnixNanos: until.UnixNano()}, nil
}

func (s *operatorServer) Throttle(ctx context.Context, r *failbackpb.ThrottleRequest) (*failbackpb.ThrottleReply, error) {
	st, err := s.ops.Throttle(ctx, throttleChangeFromWire(r))
	if err != nil {
		return nil, StatusOf(err)
	}
	return throttleToWire(st), nil
}

func (s *operatorServer) Rebind(ctx context.Context, r *failbackpb.RebindRequest) (*failbackpb.RebindReply, error) {
	was, err := s.ops.Rebind(ctx, r.Name, r.Key)
	if err != nil {
		return nil, StatusOf(err)
	}
	return &failbackpb.RebindReply{Was: was}, nil
}

func (s *operatorServer) ForgetServer(ctx context.Context, r *failbackpb.ForgetServerRequest) (*failbackpb.ForgetServerReply, error) {
	key, err := s.ops.ForgetServer(ctx, r.Name)
	if err != nil {
		return nil, StatusOf(err)
	}
	return &failbackpb.ForgetServerReply{Key: key}, nil
}
