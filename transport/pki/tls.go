package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"failback/replication"
)

// Codes of the problems with certificates.
const (
	CodeUnusable  = "certificate-unusable" // our own: missing, unreadable, not safe
	CodeOtherCA   = "certificate-other-ca"
	CodeOtherRole = "certificate-other-role"
	CodeExpired   = "certificate-expired"
	CodeNotYet    = "certificate-not-yet-valid"
	CodeInvalid   = "certificate-invalid" // anything else that is wrong with the peer's
)

// ServerTLS returns the configuration of a server of the given role: TLS 1.3, and a client must show a certificate of the same CA. Any role is let in; see
// RoleOf. What is wrong with a client is the error of the handshake; the client itself learns no more than that it was refused.
func ServerTLS(dir string, role Role) (*tls.Config, error) {
	id, err := load(dir, role)
	if err != nil {
		return nil, err
	}
	return id.server(), nil
}

func (id *identity) server() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{id.cert},
		ClientAuth:   tls.RequireAnyClientCert, // verified below, where we choose the words
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := id.verify(s, x509.ExtKeyUsageClientAuth, time.Now())
			return err
		},
		SessionTicketsDisabled: true, // every connection verifies anew
	}
}

// ClientTLS returns the configuration of a client of the given role that talks to nobody but a server of the role peer, of the same CA.
func ClientTLS(dir string, role, peer Role) (*tls.Config, error) {
	id, err := load(dir, role)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{id.cert},
		InsecureSkipVerify: true, // host names are not looked at; VerifyConnection verifies all the rest
		VerifyConnection: func(s tls.ConnectionState) error {
			got, err := id.verify(s, x509.ExtKeyUsageServerAuth, time.Now())
			if err == nil && got != peer {
				err = WrongRole(got, peer)
			}
			return err
		},
	}, nil
}

// WrongRole is the problem of a peer that has a good certificate, but for another role than the one that is wanted.
func WrongRole(got, want Role) *replication.Problem {
	return &replication.Problem{
		Code:    CodeOtherRole,
		Message: fmt.Sprintf("the other side's certificate is for the role %s, but only a %s may be here", got, want),
		Remedy:  fmt.Sprintf("see that the address is the one that is meant, and that each side uses its own certificate (%s.crt, %s.key)", want, want),
	}
}

// identity is what one side has: its own certificate and the authority that it trusts.
type identity struct {
	cert tls.Certificate
	ca   *x509.Certificate
	pool *x509.CertPool
}

// trust makes the CA the only one that is trusted.
func (id *identity) trust() {
	id.pool = x509.NewCertPool()
	id.pool.AddCert(id.ca)
}

func load(dir string, role Role) (*identity, error) {
	ca, err := loadCert(filepath.Join(dir, caCert))
	if err != nil {
		return nil, err
	}
	own, err := loadCert(filepath.Join(dir, certFile(role)))
	if err != nil {
		return nil, err
	}
	keyPath := filepath.Join(dir, keyFile(role))
	if err := checkPrivate(keyPath); err != nil {
		return nil, err
	}
	id := &identity{ca: ca}
	id.trust()
	id.cert, err = tls.LoadX509KeyPair(filepath.Join(dir, certFile(role)), keyPath)
	if err != nil {
		return nil, unusable(keyPath, err)
	}
	id.cert.Certificate = append(id.cert.Certificate, ca.Raw) // lets a peer of another authority tell which is which
	// What the other side will say of us is better said here, to the one who can mend it.
	got, err := id.judge([]*x509.Certificate{own, ca}, x509.ExtKeyUsageAny, time.Now())
	if err != nil {
		p := replication.AsProblem(err)
		return nil, &replication.Problem{Code: p.Code, Message: fmt.Sprintf("our own certificate %s: %s", filepath.Join(dir, certFile(role)), p.Message), Remedy: p.Remedy}
	}
	if got != role {
		return nil, unusable(filepath.Join(dir, certFile(role)), fmt.Errorf("it is for the role %s, not %s", got, role))
	}
	return id, nil
}

func loadCert(path string) (*x509.Certificate, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, unusable(path, err)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, unusable(path, errors.New("it holds no PEM certificate"))
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, unusable(path, err)
	}
	return c, nil
}

// checkPrivate refuses a key that group or others may touch.
func checkPrivate(path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return unusable(path, err)
	}
	if perm := fi.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return &replication.Problem{
			Code:    CodeUnusable,
			Message: fmt.Sprintf("the key %s may be used by others than its owner (mode %04o)", path, perm),
			Remedy:  fmt.Sprintf("chmod 600 %s, and if others could read it, make new certificates with failback pki init", path),
		}
	}
	return nil
}

func unusable(path string, err error) error {
	p := &replication.Problem{Code: CodeUnusable, Message: fmt.Sprintf("certificate file %s can't be used: %v", path, err)}
	p.Remedy = "name by --pki the directory that failback pki init made, or a copy of it with ca.crt and this role's .crt and .key"
	if errors.Is(err, fs.ErrPermission) {
		p.Remedy = "run this as the user that owns the file; certificates' keys are for one user only"
	}
	return p
}

// verify judges the peer of a connection and returns its role.
func (id *identity) verify(s tls.ConnectionState, usage x509.ExtKeyUsage, now time.Time) (Role, error) {
	if s.Version < tls.VersionTLS13 || len(s.PeerCertificates) == 0 {
		return "", &replication.Problem{Code: CodeInvalid, Message: "the other side showed no certificate", Remedy: "give it one by --pki"}
	}
	return id.judge(s.PeerCertificates, usage, now)
}

// judge verifies the first certificate of a chain as x509 does, and says in our words what is wrong.
func (id *identity) judge(chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (Role, error) {
	c, rest := chain[0], chain[1:]
	between := x509.NewCertPool()
	for _, r := range rest {
		between.AddCert(r)
	}
	_, err := c.Verify(x509.VerifyOptions{Roots: id.pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err == nil {
		role, err := roleOfCert(c)
		if err != nil {
			return "", &replication.Problem{Code: CodeInvalid, Message: err.Error(), Remedy: sameInit}
		}
		return role, nil
	}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return "", id.otherCA(c, rest)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "", outOfTime(c, id.ca, now)
	}
	return "", &replication.Problem{Code: CodeInvalid, Message: fmt.Sprintf("the certificate %q is not acceptable: %v", c.Subject.CommonName, err), Remedy: sameInit}
}

const sameInit = "both sides must have certificates of the same `failback pki init`: copy ca.crt and the role's own pair from one directory to both machines"

// otherCA is the problem of a peer of another authority, whose own certificate is the last that the peer shows.
func (id *identity) otherCA(leaf *x509.Certificate, rest []*x509.Certificate) error {
	theirs := "an authority that it does not show"
	if len(rest) > 0 {
		theirs = fmt.Sprintf("another authority, %s", fingerprint(rest[len(rest)-1].Raw))
	}
	return &replication.Problem{
		Code:    CodeOtherCA,
		Message: fmt.Sprintf("the other side's certificate (%q) was issued by %s; ours is %s", leaf.Subject.CommonName, theirs, fingerprint(id.ca.Raw)),
		Remedy:  sameInit,
	}
}

func outOfTime(c, ca *x509.Certificate, now time.Time) error {
	if now.Before(ca.NotBefore) || now.After(ca.NotAfter) {
		c = ca
	}
	const form = "2006-01-02 15:04 MST"
	if now.Before(c.NotBefore) {
		return &replication.Problem{
			Code: CodeNotYet,
			Message: fmt.Sprintf("the certificate %q is not valid before %s, and the clock here says %s", c.Subject.CommonName,
				c.NotBefore.UTC().Format(form), now.UTC().Format(form)),
			Remedy: "set the clocks of both machines right (NTP), then try again",
		}
	}
	return &replication.Problem{
		Code: CodeExpired,
		Message: fmt.Sprintf("the certificate %q expired at %s; the clock here says %s", c.Subject.CommonName,
			c.NotAfter.UTC().Format(form), now.UTC().Format(form)),
		Remedy: "if the clock is right, make new certificates with failback pki init in a new directory and give them to all servers; replication carries on where it was",
	}
}

// RoleOf returns the role of a connection's peer, whose certificate was verified in the handshake.
func RoleOf(s tls.ConnectionState) (Role, error) {
	if len(s.PeerCertificates) == 0 {
		return "", errors.New("the peer showed no certificate")
	}
	return roleOfCert(s.PeerCertificates[0])
}

// PeerRole returns the role of the peer that made the call in ctx. A peer without TLS, on a unix socket, has none: an error.
func PeerRole(ctx context.Context) (Role, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", errors.New("not a call")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return "", fmt.Errorf("the peer at %s did not come over TLS", p.Addr)
	}
	return RoleOf(info.State)
}
