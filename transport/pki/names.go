package pki

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"failback/replication"
)

// What a certificate says about its holder stands in its URIs.
const (
	scheme       = "failback"
	rolePrefix   = "role:"   // what the holder is
	namePrefix   = "name:"   // of a process server: the only one by which it may register; none: any
	issuesPrefix = "issues:" // of an authority below the CA: the only role for which it may issue
)

func certURI(prefix, value string) *url.URL { return &url.URL{Scheme: scheme, Opaque: prefix + value} }

// said returns what the certificate says after a prefix.
func said(c *x509.Certificate, prefix string) (string, bool) {
	for _, u := range c.URIs {
		if v, ok := strings.CutPrefix(u.Opaque, prefix); ok && u.Scheme == scheme {
			return v, true
		}
	}
	return "", false
}

// roleOfCert returns the role that the certificate names.
func roleOfCert(c *x509.Certificate) (Role, error) {
	r, ok := said(c, rolePrefix)
	switch {
	case !ok:
		return "", fmt.Errorf("the certificate %q names no failback role", c.Subject.CommonName)
	case !slices.Contains(Roles(), Role(r)):
		return "", fmt.Errorf("the certificate %q is for the role %q, which this version does not know", c.Subject.CommonName, r)
	}
	return Role(r), nil
}

// KeyID names the public key of a certificate: 128 bits of SHA-256 over it, hexadecimal. It stays when a certificate is renewed for the same key.
func KeyID(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:16])
}

// Peer is what the verified certificate of the other side says of it.
type Peer struct {
	Role Role
	Name string // by which a process server may register; "": any
	Key  string // KeyID

	Certificates []replication.Certificate // its own, and those that it showed with it
}

// PeerOf returns whose connection it is; its certificate was verified in the handshake.
func PeerOf(s tls.ConnectionState) (Peer, error) {
	if len(s.PeerCertificates) == 0 {
		return Peer{}, errors.New("the peer showed no certificate")
	}
	c := s.PeerCertificates[0]
	r, err := roleOfCert(c)
	if err != nil {
		return Peer{}, err
	}
	name, _ := said(c, namePrefix)
	return Peer{Role: r, Name: name, Key: KeyID(c), Certificates: toldOf(s.PeerCertificates)}, nil
}

func toldOf(chain []*x509.Certificate) (all []replication.Certificate) {
	for _, c := range chain {
		all = append(all, replication.Certificate{Name: c.Subject.CommonName, Until: c.NotAfter})
	}
	return all
}

// Caller returns who made the call in ctx. Who came without TLS, on a unix socket, has no certificate: an error.
func Caller(ctx context.Context) (Peer, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, errors.New("not a call")
	}
	auth := p.AuthInfo
	if w, ok := auth.(interface{ Unwrap() credentials.AuthInfo }); ok {
		auth = w.Unwrap()
	}
	info, ok := auth.(credentials.TLSInfo)
	if !ok {
		return Peer{}, fmt.Errorf("the peer at %s did not come over TLS", p.Addr)
	}
	return PeerOf(info.State)
}
