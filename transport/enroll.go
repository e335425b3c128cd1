package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/link"
	"failback/transport/pki"
)

// Bounds of enrolling. Whoever can reach the port can try.
const (
	enrollWithin  = 10 * time.Second // from the handshake's end to the connection's
	maxEnroll     = 64 << 10         // bytes of one message
	maxEnrolling  = 4                // at a time
	enrollBurst   = 10               // attempts in a row
	enrollEvery   = time.Second      // and one more in that time
	codeEnrolBusy = "enrol-busy"
)

// enrollment answers process servers that have no certificate yet, see proto/enrollment.proto.
type enrollment struct {
	id     *pki.Identity
	redeem func(t link.Token, key string) (name string, err error)
	log    *slog.Logger
	busy   *quiet // tells of those that are not even looked at

	mu       sync.Mutex
	under    int       // way
	attempts float64   // left, as of then
	then     time.Time // zero: at the start
}

// config returns id's configuration for servers, but for those who come to enrol.
func (e *enrollment) config() *tls.Config {
	c, enroll := e.id.Server(), e.id.EnrollServer()
	c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(h.SupportedProtos, pki.EnrollProtocol) {
			return enroll, nil
		}
		return nil, nil
	}
	return c
}

// begin says whether one more may try now; it then calls end.
func (e *enrollment) begin(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.then.IsZero() {
		e.attempts = enrollBurst
	} else {
		e.attempts = min(enrollBurst, e.attempts+float64(now.Sub(e.then))/float64(enrollEvery))
	}
	e.then = now
	if e.under >= maxEnrolling || e.attempts < 1 {
		return false
	}
	e.under++
	e.attempts--
	return true
}

func (e *enrollment) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.under--
}

// serve answers one request and ends the connection.
func (e *enrollment) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(enrollWithin))
	reply := &failbackpb.EnrollReply{}
	if !e.begin(time.Now()) {
		p := &replication.Problem{Code: codeEnrolBusy, Message: "too many try to enrol at this master target just now", Remedy: "try again in some seconds"}
		e.busy.refused(conn.RemoteAddr(), p)
		_ = writeMessage(conn, &failbackpb.EnrollReply{Problem: problemToWire(p)})
		return
	}
	defer e.end()
	var err error
	if reply.Certificate, err = e.answer(conn); err != nil {
		p := replication.AsProblem(err)
		e.log.Warn("refused to enrol", "peer", conn.RemoteAddr().String(), "code", p.Code, "err", p.Error(), "remedy", p.Remedy)
		reply = &failbackpb.EnrollReply{Problem: problemToWire(p)}
	}
	_ = writeMessage(conn, reply) // one that did not get it comes again
}

func (e *enrollment) answer(conn net.Conn) ([]byte, error) {
	var r failbackpb.EnrollRequest
	if err := readMessage(conn, &r); err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	csr, key, err := pki.ParseRequest(r.Csr)
	if err != nil {
		return nil, err
	}
	t := link.Token{ID: r.Token}
	if len(r.Secret) != len(t.Secret) || len(r.Token) > 64 {
		return nil, &replication.Problem{Code: "token", Message: "that is not a token of failback", Remedy: "enrol with failback pki enroll"}
	}
	copy(t.Secret[:], r.Secret)
	enroller, err := e.id.Enroller() // before the token is used
	if err != nil {
		return nil, err
	}
	name, err := e.redeem(t, key)
	if err != nil {
		return nil, err
	}
	text, c, err := enroller.Enroll(name, csr)
	if err != nil {
		return nil, err
	}
	e.log.Info("process server enrolled", "name", name, "key", key, "serial", c.SerialNumber.Text(16), "until", c.NotAfter.UTC().Format(time.RFC3339), "peer", conn.RemoteAddr().String(), "token", t.ID)
	return text, nil
}

func writeMessage(w io.Writer, m proto.Message) error {
	b, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 4), m)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	_, err = w.Write(b)
	return err
}

func readMessage(r io.Reader, m proto.Message) error {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(n[:])
	if size > maxEnroll {
		return fmt.Errorf("a message of %d bytes, at most %d are read", size, maxEnroll)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return proto.Unmarshal(b, m)
}

// Enroll asks the master target at HOST:PORT for the certificate of a request, by a token. It returns the certificate, PEM, and the CA's, which is the one that the token names.
func Enroll(ctx context.Context, address string, t link.Token, csr []byte, allowPublic bool) (cert []byte, ca *x509.Certificate, err error) {
	if err := checkAddress(address); err != nil {
		return nil, nil, err
	}
	raw, err := dialerOf(allowPublic, func(error) {}, nil)(ctx, address)
	if err != nil {
		var p *replication.Problem
		if errors.As(err, &p) {
			return nil, nil, p
		}
		return nil, nil, &replication.Problem{Code: CodeUnreachable, Message: "no master target answers at " + address, Err: err, Remedy: "give by --master-target what master-target was given by --listen, and see that the VPN lets it through"}
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(shakeWithin + enrollWithin))
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	conn := tls.Client(raw, pki.Pinned(t.Pin))
	if err := conn.HandshakeContext(ctx); err != nil {
		var p *replication.Problem
		if errors.As(err, &p) {
			return nil, nil, p
		}
		return nil, nil, &replication.Problem{Code: CodeHandshake, Message: "the other side at " + address + " is no master target that knows how to enrol", Err: err, Remedy: "see that the address is right, and that master-target there is not older than this program"}
	}
	// From here on it is known who the other side is.
	if err := writeMessage(conn, &failbackpb.EnrollRequest{Token: t.ID, Secret: t.Secret[:], Csr: csr}); err != nil {
		return nil, nil, lostEnrolment(address, err)
	}
	var reply failbackpb.EnrollReply
	if err := readMessage(conn, &reply); err != nil {
		return nil, nil, lostEnrolment(address, err)
	}
	if p := problemFromWire(reply.Problem); p != nil {
		return nil, nil, p
	}
	ca, err = pki.PinnedCA(conn.ConnectionState(), t.Pin)
	return reply.Certificate, ca, err
}

func lostEnrolment(address string, err error) error {
	return &replication.Problem{Code: CodeUnreachable, Message: fmt.Sprintf("the connection to the master target at %s broke while enrolling", address), Err: err,
		Remedy: "do the same again, with the same token and directory: it counts for the key that is there"}
}
