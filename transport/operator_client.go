package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/transport/pki"
)

// dialTimeout bounds how long a connection may take to come about.
const dialTimeout = 10 * time.Second

// OperatorClient is the operator's side of Operations. All errors it returns are *replication.Problem. It is safe for concurrent use.
type OperatorClient struct {
	address string
	conn    *grpc.ClientConn
	rpc     failbackpb.OperatorClient

	mu      sync.Mutex
	dialErr error // why the last attempt to connect failed; nil when it did not
}

// DialOperator returns a client of the master target at address, unix:PATH or HOST:PORT. It does not connect yet: a master target that can't be reached
// shows at the first call. id is for HOST:PORT only, where it must be given.
func DialOperator(address string, id *pki.Identity) (*OperatorClient, error) {
	network, addr, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	c := &OperatorClient{address: address}
	creds := insecure.NewCredentials()
	if network != "unix" {
		if id == nil {
			return nil, &replication.Problem{
				Code:    "no-certificate",
				Message: fmt.Sprintf("%s is reached over the network, which takes a certificate", address),
				Remedy:  "name the directory with ca.crt, operator.crt and operator.key by --pki, or use the master target's unix socket",
			}
		}
		creds = listeningCredentials{newClientCredentials(id), c}
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	c.conn, err = grpc.NewClient("passthrough:///operator",
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			c.note(err)
			return conn, err
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxOperatorReply)),
	)
	if err != nil {
		return nil, fmt.Errorf("prepare a connection to %s: %w", address, err)
	}
	c.rpc = failbackpb.NewOperatorClient(c.conn)
	return c, nil
}

// splitAddress returns what net.Dial and net.Listen want for unix:PATH or HOST:PORT.
func splitAddress(address string) (network, addr string, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok && path != "" {
		return "unix", strings.TrimPrefix(path, "//"), nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil || strings.HasPrefix(address, "unix:") {
		return "", "", &replication.Problem{
			Code:    "bad-address",
			Message: fmt.Sprintf("%q is not an operator's address", address),
			Remedy:  "write unix:PATH for a socket on this machine, or HOST:PORT",
		}
	}
	return "tcp", address, nil
}

// Close ends the connection and the calls under way on it.
func (c *OperatorClient) Close() error { return c.conn.Close() }

// note keeps why a connection did not come about: gRPC would tell it inside three others.
func (c *OperatorClient) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialErr = err
}

// listeningCredentials tell c how handshakes end.
type listeningCredentials struct {
	credentials.TransportCredentials
	c interface{ note(error) }
}

func (l listeningCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := l.TransportCredentials.ClientHandshake(ctx, authority, raw)
	l.c.note(err)
	if err != nil {
		return nil, nil, err
	}
	return verdictConn{conn, l.c}, info, nil
}

func (l listeningCredentials) Clone() credentials.TransportCredentials {
	return listeningCredentials{l.TransportCredentials.Clone(), l.c}
}

// verdictConn notes when the other side refuses our certificate. With TLS 1.3 its verdict comes after our handshake: as an alert, which may be left unread when
// a write fails first.
type verdictConn struct {
	net.Conn
	c interface{ note(error) }
}

func (v verdictConn) Read(p []byte) (int, error) {
	n, err := v.Conn.Read(p)
	if refused(err) {
		v.c.note(err)
	}
	return n, err
}

func (v verdictConn) Write(p []byte) (int, error) {
	n, err := v.Conn.Write(p)
	if err != nil && v.SetReadDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = v.Read(make([]byte, 1)) // the connection is lost already
	}
	return n, err
}

// refused says whether err is an alert of the other side's TLS.
func refused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// problem makes of a call's error what an operator should see.
func (c *OperatorClient) problem(err error) error {
	if err == nil {
		return nil
	}
	p := ProblemOf(err)
	if p.Code != CodeUnreachable {
		return p
	}
	c.mu.Lock()
	cause := c.dialErr
	c.mu.Unlock()
	return unreachable(c.address, cause, status.Convert(err).Message())
}

// unreachable says why nobody answers at address: cause is why the connection did not come about, nil if it did; said is gRPC's word on it.
func unreachable(address string, cause error, said string) *replication.Problem {
	p := &replication.Problem{Code: CodeUnreachable}
	var told *replication.Problem
	unix := strings.HasPrefix(address, "unix:")
	switch {
	case errors.As(cause, &told): // our own judgement of the other side's certificate
		p.Code, p.Remedy = told.Code, told.Remedy
		p.Message = fmt.Sprintf("the master target at %s is not to be trusted: %s", address, told.Error())
	case refused(cause):
		p.Code = CodeRefused
		p.Message = fmt.Sprintf("the master target at %s refused our certificate: %v", address, cause)
		p.Remedy = "its log says why; both sides must have certificates of the same `failback pki init`, and clocks that agree"
	case errors.Is(cause, fs.ErrNotExist):
		p.Message = fmt.Sprintf("no master target answers at %s: there is no such socket", address)
		p.Remedy = "start master-target on this machine, or name by --operator (or FAILBACK_OPERATOR) the address that it was started with"
	case errors.Is(cause, syscall.ECONNREFUSED) && unix:
		p.Message = fmt.Sprintf("no master target answers at %s: the socket is there, but the program is not running", address)
		p.Remedy = "start master-target, and look in its log for why it ended"
	case errors.Is(cause, fs.ErrPermission):
		p.Message = fmt.Sprintf("the master target's socket %s may not be used by this user", address)
		p.Remedy = "run failback as the user that master-target runs as, usually root"
	case cause != nil:
		p.Message = fmt.Sprintf("no master target answers at %s: %v", address, cause)
		p.Remedy = "see that master-target runs there with --operator " + address + ", and that firewalls and the VPN let the connection through"
	default:
		p.Message = fmt.Sprintf("the connection to the master target at %s broke: %s", address, said)
		p.Remedy = "what was under way goes on there; see failback status"
	}
	return p
}

// Check tells everything that would go wrong with a plan, and measures the path where that is asked for.
func (c *OperatorClient) Check(ctx context.Context, planYAML []byte, path replication.PathAsk) (replication.Checked, error) {
	r, err := c.rpc.Check(ctx, &failbackpb.PlanRequest{Yaml: planYAML, PathNanos: int64(path.Each), PathMaxBytes: path.MaxBytes, Churn: path.Churn})
	if err != nil {
		return replication.Checked{}, c.problem(err)
	}
	found := replication.Checked{Group: replication.GroupID(r.Group), Findings: []replication.Finding{}, Path: pathFromWire(r.Path)}
	for _, f := range r.Findings {
		found.Findings = append(found.Findings, findingFromWire(f))
	}
	return found, nil
}

// Reprotect starts protection, or carries on.
func (c *OperatorClient) Reprotect(ctx context.Context, planYAML []byte) (group replication.GroupID, carriedOn bool, err error) {
	r, err := c.rpc.Reprotect(ctx, &failbackpb.PlanRequest{Yaml: planYAML})
	if err != nil {
		return "", false, c.problem(err)
	}
	return replication.GroupID(r.Group), r.CarriedOn, nil
}

// Status tells of one group, or of all for "".
func (c *OperatorClient) Status(ctx context.Context, group replication.GroupID) (replication.Status, error) {
	r, err := c.rpc.Status(ctx, &failbackpb.StatusRequest{Group: string(group)})
	if err != nil {
		return replication.Status{}, c.problem(err)
	}
	return statusFromWire(r), nil
}

// Cut takes a point now and returns its number; app: an application-consistent one, where that can be.
func (c *OperatorClient) Cut(ctx context.Context, group replication.GroupID, app bool) (replication.PointID, error) {
	r, err := c.rpc.Cut(ctx, &failbackpb.CutRequest{Group: string(group), App: app})
	return replication.PointID(r.GetPoint()), c.problem(err)
}

// Points lists the group's points, rising. Their chain hashes are not told.
func (c *OperatorClient) Points(ctx context.Context, group replication.GroupID) (head replication.PointID, points []replication.Point, err error) {
	r, err := c.rpc.Points(ctx, &failbackpb.PointsRequest{Group: string(group)})
	if err != nil {
		return 0, nil, c.problem(err)
	}
	for _, p := range r.Points {
		points = append(points, pointFromWire(p))
	}
	return replication.PointID(r.Head), points, nil
}

// Verify compares a point with the source's snapshot, and tells which disks differ. Progress as with Move.
func (c *OperatorClient) Verify(ctx context.Context, group replication.GroupID, point replication.PointID, progress func([]replication.Ledger)) (replication.PointID, replication.Verify, []replication.DiskID, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := c.rpc.Verify(ctx, &failbackpb.VerifyRequest{Group: string(group), Point: uint64(point)})
	if err != nil {
		return 0, replication.Verify{}, nil, c.problem(err)
	}
	for {
		r, err := in.Recv()
		if err != nil {
			return 0, replication.Verify{}, nil, c.problem(endedEarly(err))
		}
		if r.Done {
			differing := []replication.DiskID{}
			for _, d := range r.Differing {
				differing = append(differing, replication.DiskID(d))
			}
			return replication.PointID(r.Point), verifyFromWire(r.Result), differing, nil
		}
		if r.Progress != nil && progress != nil {
			var l []replication.Ledger
			for _, d := range r.Progress.Disks {
				l = append(l, ledgerFromWire(d))
			}
			progress(l)
		}
	}
}

// Scrub has the group's journal read in whole.
func (c *OperatorClient) Scrub(ctx context.Context, group replication.GroupID, rate int64, wait bool, progress func(replication.ScrubStatus)) (replication.ScrubStatus, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := c.rpc.Scrub(ctx, &failbackpb.ScrubRequest{Group: string(group), Rate: rate, Wait: wait})
	if err != nil {
		return replication.ScrubStatus{}, c.problem(err)
	}
	for {
		r, err := in.Recv()
		if err != nil {
			return replication.ScrubStatus{}, c.problem(endedEarly(err))
		}
		if r.Done {
			return scrubFromWire(r.Scrub), nil
		}
		if progress != nil {
			progress(scrubFromWire(r.Scrub))
		}
	}
}

// endedEarly makes an error of a stream that ended well, but before it said that it was done.
func endedEarly(err error) error {
	if err == io.EOF {
		return status.Error(codes.Internal, "the master target ended the call without a result")
	}
	return err
}

// Exported is the content of a disk on its way here.
type Exported struct {
	Size int64 // of the disk

	c      *OperatorClient
	in     grpc.ServerStreamingClient[failbackpb.ExportReply]
	cancel context.CancelFunc
	off    int64 // the next data is here or above
}

// Export opens the content of one disk at a point. The caller closes what it gets.
func (c *OperatorClient) Export(ctx context.Context, group replication.GroupID, point replication.PointID, disk string) (*Exported, error) {
	ctx, cancel := context.WithCancel(ctx)
	in, err := c.rpc.Export(ctx, &failbackpb.ExportRequest{Group: string(group), Point: uint64(point), Disk: disk})
	if err != nil {
		cancel()
		return nil, c.problem(err)
	}
	first, err := in.Recv()
	if err != nil {
		cancel()
		return nil, c.problem(endedEarly(err))
	}
	if first.Size < 0 || first.Size > replication.MaxDiskSize || len(first.Data) > 0 {
		cancel()
		return nil, c.problem(status.Errorf(codes.Internal, "the master target says that the disk has %d bytes", first.Size))
	}
	return &Exported{Size: first.Size, c: c, in: in, cancel: cancel}, nil
}

// Next returns the next piece of content that is not zero, rising, and io.EOF after the last: only then is the content whole. The caller may keep data.
func (e *Exported) Next() (off int64, data []byte, err error) {
	r, err := e.in.Recv()
	if err == io.EOF {
		return 0, nil, io.EOF
	}
	if err != nil {
		return 0, nil, e.c.problem(err)
	}
	if r.Offset < e.off || r.Offset > e.Size-int64(len(r.Data)) {
		return 0, nil, e.c.problem(status.Errorf(codes.Internal, "the master target sent %d bytes at offset %d of a disk of %d, after offset %d", len(r.Data), r.Offset, e.Size, e.off))
	}
	e.off = r.Offset + int64(len(r.Data))
	return r.Offset, r.Data, nil
}

// Close ends the transfer.
func (e *Exported) Close() error {
	e.cancel()
	return nil
}

// Unprotect stops replication. head is where the disks stand; replication.NoPoint: at no point. giveUpOriginal: what the disks were before may be lost.
func (c *OperatorClient) Unprotect(ctx context.Context, group replication.GroupID, keepJournal, giveUpOriginal bool) (head replication.PointID, journal string, err error) {
	r, err := c.rpc.Unprotect(ctx, &failbackpb.UnprotectRequest{Group: string(group), KeepJournal: keepJournal, GiveUpOriginal: giveUpOriginal})
	if head = replication.PointID(r.GetHead()); !r.GetAtPoint() {
		head = replication.NoPoint
	}
	return head, r.GetJournal(), c.problem(err)
}

// Volumes tells of every volume that is mounted on the master target's machine.
func (c *OperatorClient) Volumes(ctx context.Context) ([]replication.Volume, error) {
	r, err := c.rpc.Volumes(ctx, &failbackpb.VolumesRequest{})
	if err != nil {
		return nil, c.problem(err)
	}
	volumes := []replication.Volume{}
	for _, v := range r.Volumes {
		volumes = append(volumes, volumeFromWire(v))
	}
	return volumes, nil
}

// Token makes a token for a process server, and returns its text.
func (c *OperatorClient) Token(ctx context.Context, name string, life time.Duration, replace bool) (text string, until time.Time, err error) {
	r, err := c.rpc.Token(ctx, &failbackpb.TokenRequest{Name: name, Seconds: int64(life / time.Second), Replace: replace})
	return r.GetToken(), time.Unix(0, r.GetUntilUnixNanos()), c.problem(err)
}

// Throttle changes how much may go over the link, and tells how that stands.
func (c *OperatorClient) Throttle(ctx context.Context, change replication.ThrottleChange) (replication.ThrottleStatus, error) {
	r, err := c.rpc.Throttle(ctx, throttleChangeToWire(change))
	return throttleFromWire(r), c.problem(err)
}

// Rebind gives the name of a process server to another key.
func (c *OperatorClient) Rebind(ctx context.Context, name, key string) (was string, err error) {
	r, err := c.rpc.Rebind(ctx, &failbackpb.RebindRequest{Name: name, Key: key})
	return r.GetWas(), c.problem(err)
}

// ForgetServer takes a process server that is not connected, and that no group needs, off the status, and its name off its key, which it returns.
func (c *OperatorClient) ForgetServer(ctx context.Context, name string) (key string, err error) {
	r, err := c.rpc.ForgetServer(ctx, &failbackpb.ForgetServerRequest{Name: name})
	return r.GetKey(), c.problem(err)
}
