package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"failback/replication"
	"failback/transport/pki"
)

// Codes of handshakes that fail, as the log has them; those of package pki besides.
const (
	CodeNotTLS    = "not-tls"    // the peer does not speak TLS
	CodeHandshake = "handshake"  // the peer speaks TLS, but not with us
	CodeLeft      = "peer-ended" // the peer ended the connection, or was silent
)

// shakeWithin is how long a connection may take from the first byte to the end of its handshake.
const shakeWithin = 10 * time.Second

// ServerCredentials returns what makes a server speak TLS as id, end connections whose peer's certificate gets revoked, and tell log why a peer was turned away: the peer itself
// only learns that it was.
func ServerCredentials(id *pki.Identity, log *slog.Logger) []grpc.ServerOption {
	return serverOptions(serverCredentials{TransportCredentials: credentials.NewTLS(id.Server()), id: id, log: &quiet{log: log}}, false)
}

func serverOptions(c serverCredentials, watched bool) []grpc.ServerOption {
	return []grpc.ServerOption{grpc.Creds(gatherCredentials{c, newUnreads(c.log.log), watched}), grpc.ConnectionTimeout(shakeWithin), grpc.MaxConcurrentStreams(maxStreams), grpc.MaxHeaderListSize(maxHeaders)}
}

type serverCredentials struct {
	credentials.TransportCredentials
	id     *pki.Identity
	log    *quiet
	enroll *enrollment // nil: nobody enrols here
}

func (c serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		c.log.refused(raw.RemoteAddr(), handshakeProblem(err))
		return nil, nil, err
	}
	state := info.(credentials.TLSInfo).State
	if state.NegotiatedProtocol == pki.EnrollProtocol { // it has no certificate: nothing of gRPC is for it
		go c.enroll.serve(conn)
		return nil, nil, credentials.ErrConnDispatched
	}
	return c.id.Guard(conn, state), info, nil
}

func (c serverCredentials) Clone() credentials.TransportCredentials {
	c.TransportCredentials = c.TransportCredentials.Clone()
	return c
}

// clientCredentials make a client speak TLS as id with a master target, and end connections when that one's certificate gets revoked.
type clientCredentials struct {
	credentials.TransportCredentials
	id *pki.Identity
}

func newClientCredentials(id *pki.Identity) credentials.TransportCredentials {
	return clientCredentials{credentials.NewTLS(id.Client(pki.MasterTarget)), id}
}

func (c clientCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, err
	}
	return c.id.Guard(conn, info.(credentials.TLSInfo).State), info, nil
}

func (c clientCredentials) Clone() credentials.TransportCredentials {
	c.TransportCredentials = c.TransportCredentials.Clone()
	return c
}

// handshakeProblem says what a server should be told of a handshake that failed.
func handshakeProblem(err error) *replication.Problem {
	var told *replication.Problem
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &told):
		return told
	case refused(err):
		return &replication.Problem{Code: CodeRefused, Message: "the other side did not accept our certificate", Err: err,
			Remedy: "its log says why; both sides must have certificates of the same `failback pki init`, not revoked, and clocks that agree"}
	case errors.As(err, &record):
		return &replication.Problem{Code: CodeNotTLS, Message: "the other side does not speak TLS", Err: err,
			Remedy: "no failback program does that: see what dials this address, and why it can reach it"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, os.ErrDeadlineExceeded):
		return &replication.Problem{Code: CodeLeft, Message: "the other side ended the connection before the handshake's end, or was silent", Err: err,
			Remedy: "a health probe of a load balancer does that; for a process server, its log says why"}
	case strings.Contains(err.Error(), "didn't provide a certificate"): // has no type of its own
		return &replication.Problem{Code: pki.CodeInvalid, Message: "the other side showed no certificate", Remedy: "give it one by --pki, or by failback pki enroll"}
	}
	return &replication.Problem{Code: CodeHandshake, Message: "no TLS connection came about", Err: err, Remedy: "both sides must be failback programs, which speak TLS 1.3 only"}
}

// quietFor is how long the same refusal of the same host is not said again.
const quietFor = 10 * time.Second

// maxQuiet bounds how many hosts are remembered for that.
const maxQuiet = 1024

// quiet tells of refused peers, each kind of refusal of a host once in a while: a peer that dials on and on does not fill the disk.
type quiet struct {
	log  *slog.Logger
	mu   sync.Mutex
	said map[string]time.Time
}

func (q *quiet) refused(peer net.Addr, p *replication.Problem) {
	key := fmt.Sprint(hostOf(peer), p.Code)
	now := time.Now()
	q.mu.Lock()
	if now.Sub(q.said[key]) < quietFor {
		q.mu.Unlock()
		return
	}
	if q.said == nil || len(q.said) >= maxQuiet {
		q.said = map[string]time.Time{}
	}
	q.said[key] = now
	q.mu.Unlock()
	q.log.Warn("refused a connection", "peer", peer.String(), "code", p.Code, "err", p.Error(), "remedy", p.Remedy)
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
