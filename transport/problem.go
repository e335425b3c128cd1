package transport

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	failbackpb "failback/proto"
	"failback/replication"
)

// Codes of problems that this package makes itself. All are stable.
const (
	CodeUnreachable  = "unreachable"         // nobody answers, or the connection broke
	CodeCancelled    = "cancelled"           // the caller went, or a time limit passed
	CodeWrongRole    = "wrong-role"          // the peer's certificate is for another role
	CodeRefused      = "certificate-refused" // the other side did not accept our certificate
	CodeNotSupported = "not-supported"       // the other side is older than the call
	codeInternal     = "internal"            // a problem without a code of its own, see replication.AsProblem
)

// rpcCodes says which gRPC code goes with a problem; for those not listed it is FAILED_PRECONDITION: nothing is wrong with the call, but
// with what it is about.
var rpcCodes = map[string]codes.Code{
	CodeUnreachable:  codes.Unavailable,
	CodeCancelled:    codes.Canceled,
	CodeWrongRole:    codes.PermissionDenied,
	CodeRefused:      codes.Unauthenticated,
	CodeNotSupported: codes.Unimplemented,
	codeInternal:     codes.Internal,
	"plan":           codes.InvalidArgument,
	"no-such-group":  codes.NotFound,
	"no-such-point":  codes.NotFound,
	"no-such-disk":   codes.NotFound,
	"no-such-drill":  codes.NotFound,
}

// StatusOf makes of err the status that goes over the wire: its message is the problem's, and a failback.v1.Problem is its detail. An error
// that is a status already passes unchanged; nil stays nil.
func StatusOf(err error) error {
	if err == nil {
		return nil
	}
	var p *replication.Problem
	if !errors.As(err, &p) {
		if _, ok := status.FromError(err); ok {
			return err
		}
		switch {
		case errors.Is(err, context.Canceled):
			return status.Error(codes.Canceled, err.Error())
		case errors.Is(err, context.DeadlineExceeded):
			return status.Error(codes.DeadlineExceeded, err.Error())
		}
	}
	p = replication.AsProblem(err)
	code, ok := rpcCodes[p.Code]
	if !ok {
		code = codes.FailedPrecondition
	}
	s := status.New(code, p.Error())
	if with, err := s.WithDetails(problemToWire(p)); err == nil {
		s = with
	}
	return s.Err()
}

// ProblemOf makes of an error that a call returned the problem that the other side told; where it told none, one that says what happened to the
// call. It is nil for nil. An error that never was a status comes back as replication.AsProblem has it.
func ProblemOf(err error) *replication.Problem {
	if err == nil {
		return nil
	}
	var known *replication.Problem
	if errors.As(err, &known) {
		return replication.AsProblem(err)
	}
	s, ok := status.FromError(err)
	if !ok {
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			return &replication.Problem{Code: CodeCancelled, Message: err.Error()}
		}
		return replication.AsProblem(err)
	}
	for _, d := range s.Details() {
		if p, ok := d.(*failbackpb.Problem); ok {
			return problemFromWire(p)
		}
	}
	p := &replication.Problem{Code: codeInternal, Message: s.Message()}
	switch s.Code() {
	case codes.Unavailable:
		p.Code = CodeUnreachable
		p.Remedy = "see that the other side runs and that the network between the two lets the connection through, then try again"
	case codes.Canceled, codes.DeadlineExceeded:
		p.Code = CodeCancelled
	case codes.Unimplemented:
		p.Code = CodeNotSupported
		p.Remedy = "the other side does not know this call: it is of an older version; upgrade it"
	}
	return p
}

func problemToWire(p *replication.Problem) *failbackpb.Problem {
	if p == nil {
		return nil
	}
	return &failbackpb.Problem{Code: p.Code, Message: p.Error(), Remedy: p.Remedy}
}

func problemFromWire(p *failbackpb.Problem) *replication.Problem {
	if p == nil {
		return nil
	}
	return &replication.Problem{Code: told(p.Code, maxWord), Message: told(p.Message, maxTold), Remedy: told(p.Remedy, maxTold)}
}
