package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"failback/replication"
	"failback/transport/pki"
)

// RequireRole returns what makes a server answer only callers with a certificate of the given role. Others get a status that names both roles.
func RequireRole(want pki.Role) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := checkRole(ctx, want); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := checkRole(s.Context(), want); err != nil {
				return err
			}
			return next(srv, s)
		}),
		// A call for another listener's service is refused for its role first, by the interceptor above.
		grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
			method, _ := grpc.Method(s.Context())
			return status.Errorf(codes.Unimplemented, "unknown call %s", method)
		}),
	}
}

func checkRole(ctx context.Context, want pki.Role) error {
	got, err := pki.PeerRole(ctx)
	if err != nil {
		return StatusOf(&replication.Problem{
			Code: CodeWrongRole, Message: fmt.Sprintf("only a %s may call here: %v", want, err), Remedy: fmt.Sprintf("use the certificate of the role %s", want),
		})
	}
	if got != want {
		return StatusOf(&replication.Problem{
			Code:    CodeWrongRole,
			Message: fmt.Sprintf("your certificate is for the role %s, and only a %s may call here", got, want),
			Remedy:  fmt.Sprintf("use the certificate of the role %s, or dial the listener that is meant for a %s", want, got),
		})
	}
	return nil
}

// ServerCredentials returns what makes a server speak TLS by cfg, and tells log why a peer was turned away: the peer itself only learns that it was.
func ServerCredentials(cfg *tls.Config, log *slog.Logger) grpc.ServerOption {
	return grpc.Creds(gatherCredentials{tellingCredentials{credentials.NewTLS(cfg), log}})
}

type tellingCredentials struct {
	credentials.TransportCredentials
	log *slog.Logger
}

func (c tellingCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		p := replication.AsProblem(err)
		c.log.Warn("refused a connection", "peer", raw.RemoteAddr().String(), "code", p.Code, "err", p.Message, "remedy", p.Remedy)
	}
	return conn, info, err
}

func (c tellingCredentials) Clone() credentials.TransportCredentials {
	return tellingCredentials{c.TransportCredentials.Clone(), c.log}
}
