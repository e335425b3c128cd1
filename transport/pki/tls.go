package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"failback/replication"
)

// Codes of the problems with certificates.
const (
	CodeUnusable  = "certificate-unusable" // our own: missing, unreadable, not safe
	CodeOtherCA   = "certificate-other-ca"
	CodeOtherRole = "certificate-other-role"
	CodeExpired   = "certificate-expired"
	CodeNotYet    = "certificate-not-yet-valid"
	CodeRevoked   = "certificate-revoked"
	CodeInvalid   = "certificate-invalid" // anything else that is wrong with the peer's
)

// Server returns the configuration of a server: TLS 1.3, and a client must show a certificate of the same CA that is not revoked. Any role is let in; see PeerOf. What is
// wrong with a client is the error of the handshake; the client itself learns no more than that it was refused.
func (id *Identity) Server() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &id.now.Load().cert, nil },
		ClientAuth:     tls.RequireAnyClientCert, // verified below, where we choose the words
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := id.now.Load().verify(s, x509.ExtKeyUsageClientAuth, time.Now())
			return err
		},
		SessionTicketsDisabled: true, // every connection verifies anew
	}
}

// Client returns the configuration of a client that talks to nobody but a server of the role peer, of the same CA, that is not revoked.
func (id *Identity) Client(peer Role) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &id.now.Load().cert, nil },
		InsecureSkipVerify:   true, // host names are not looked at; VerifyConnection verifies all the rest
		VerifyConnection: func(s tls.ConnectionState) error {
			got, err := id.now.Load().verify(s, x509.ExtKeyUsageServerAuth, time.Now())
			if err == nil && got != peer {
				err = WrongRole(got, peer)
			}
			return err
		},
	}
}

// WrongRole is the problem of a peer that has a good certificate, but for another role than the one that is wanted.
func WrongRole(got, want Role) *replication.Problem {
	return &replication.Problem{
		Code:    CodeOtherRole,
		Message: fmt.Sprintf("the other side's certificate is for the role %s, but only the role %s may be here", got, want),
		Remedy:  fmt.Sprintf("see that the address is the one that is meant, and that each side uses its own certificate (%s.crt, %s.key)", want, want),
	}
}

// verify judges the peer of a connection and returns its role.
func (id *material) verify(s tls.ConnectionState, usage x509.ExtKeyUsage, now time.Time) (Role, error) {
	if s.Version < tls.VersionTLS13 || len(s.PeerCertificates) == 0 {
		return "", &replication.Problem{Code: CodeInvalid, Message: "the other side showed no certificate", Remedy: "give it one by --pki"}
	}
	return id.judge(s.PeerCertificates, usage, now)
}

// judge verifies the first certificate of a chain as x509 does, and says in our words what is wrong.
func (id *material) judge(chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (Role, error) {
	c, rest := chain[0], chain[1:]
	between := x509.NewCertPool()
	for _, r := range rest {
		between.AddCert(r)
	}
	chains, err := c.Verify(x509.VerifyOptions{Roots: id.pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err == nil {
		return id.judgeChains(chains)
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

// judgeChains judges what x509 does not know of: roles, who may issue which, and what is revoked.
func (id *material) judgeChains(chains [][]*x509.Certificate) (Role, error) {
	c := chains[0][0]
	role, err := roleOfCert(c)
	if err != nil {
		return "", &replication.Problem{Code: CodeInvalid, Message: err.Error(), Remedy: sameInit}
	}
	for _, chain := range chains {
		if err = id.judgeChain(chain, role); err == nil {
			return role, nil
		}
	}
	return "", err
}

func (id *material) judgeChain(chain []*x509.Certificate, role Role) error {
	for _, c := range chain[1 : len(chain)-1] {
		if issues, _ := said(c, issuesPrefix); issues != string(role) {
			return &replication.Problem{
				Code:    CodeInvalid,
				Message: fmt.Sprintf("the certificate %q is for the role %s, and %q, which issued it, may not issue such", chain[0].Subject.CommonName, role, c.Subject.CommonName),
				Remedy:  "somebody has made a certificate that the CA did not allow: find out who holds the enroller's key, revoke it with failback pki revoke, and make a new one",
			}
		}
	}
	return id.revokedIn(chain[:len(chain)-1])
}

// revokedIn tells the first of the certificates that is revoked.
func (id *material) revokedIn(chain []*x509.Certificate) error {
	for _, c := range chain {
		if id.revoked.has(c) {
			return &replication.Problem{
				Code:    CodeRevoked,
				Message: fmt.Sprintf("the certificate %q, serial number %s, key %s, is revoked", c.Subject.CommonName, c.SerialNumber.Text(16), KeyID(c)),
				Remedy:  "give its holder a new one with a new key, by failback pki issue or failback pki enroll, if it is still to be trusted",
			}
		}
	}
	return nil
}

const sameInit = "both sides must have certificates of the same `failback pki init`: copy ca.crt and the role's own pair from one directory to both machines"

// otherCA is the problem of a peer of another authority, whose own certificate is the last that the peer shows.
func (id *material) otherCA(leaf *x509.Certificate, rest []*x509.Certificate) error {
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
		Remedy: "if the clock is right, make a new one with failback pki issue, or where the CA itself expired, all anew with failback pki init; replication carries on where it was",
	}
}
