package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"failback/replication"
)

// EnrollProtocol is the ALPN protocol by which a process server without a certificate asks for one.
const EnrollProtocol = "failback-enroll/1"

// Enroller opens the enroller beside our own certificate.
func (id *Identity) Enroller() (*Authority, error) {
	a, err := OpenEnroller(id.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &replication.Problem{Code: "no-enroller", Message: fmt.Sprintf("process servers can't enrol at this master target: %s holds no enroller.crt and enroller.key", id.dir),
			Remedy: "copy the two there from where failback pki init made them, or make them with failback pki issue CA-DIR enroller"}
	}
	return a, err
}

// Pin returns SHA-256 of the certificate of the CA that issued our own, if process servers can enrol here.
func (id *Identity) Pin() (pin [32]byte, err error) {
	if _, err := id.Enroller(); err != nil {
		return pin, err
	}
	return sha256.Sum256(id.now.Load().ca.Raw), nil
}

// Certificates returns our own, and those that it hangs on, up to the CA's.
func (id *Identity) Certificates() []replication.Certificate {
	m := id.now.Load()
	var chain []*x509.Certificate
	for _, raw := range m.cert.Certificate {
		if c, err := x509.ParseCertificate(raw); err == nil { // as they were when they were loaded
			chain = append(chain, c)
		}
	}
	return toldOf(chain)
}

// EnrollServer returns the configuration for a client that has no certificate and says EnrollProtocol.
func (id *Identity) EnrollServer() *tls.Config {
	c := id.Server()
	c.ClientAuth, c.VerifyConnection, c.NextProtos = tls.NoClientCert, nil, []string{EnrollProtocol}
	return c
}

// Pinned returns the configuration of a client without a certificate, that talks to nobody but a master target whose certificate is issued by the CA of that hash.
func Pinned(pin [32]byte) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{EnrollProtocol},
		InsecureSkipVerify: true, // VerifyConnection verifies all but the host's name
		VerifyConnection: func(s tls.ConnectionState) error {
			m, err := pinned(s.PeerCertificates, pin)
			if err != nil {
				return err
			}
			got, err := m.verify(s, x509.ExtKeyUsageServerAuth, time.Now())
			if err == nil && got != MasterTarget {
				err = WrongRole(got, MasterTarget)
			}
			if err == nil && s.NegotiatedProtocol != EnrollProtocol {
				err = &replication.Problem{Code: "no-enroller", Message: "the master target does not know how to enrol", Remedy: "upgrade it"}
			}
			return err
		},
	}
}

// pinned finds the CA of that hash among the certificates that a peer showed, and trusts it alone.
func pinned(shown []*x509.Certificate, pin [32]byte) (*material, error) {
	for _, c := range shown {
		if sum := sha256.Sum256(c.Raw); c.IsCA && subtle.ConstantTimeCompare(sum[:], pin[:]) == 1 {
			m := &material{cas: []*x509.Certificate{c}}
			m.trust()
			return m, nil
		}
	}
	theirs := "an authority that it does not show"
	if len(shown) > 0 {
		theirs = fingerprint(shown[len(shown)-1].Raw)
	}
	return nil, &replication.Problem{Code: CodeOtherCA,
		Message: fmt.Sprintf("the other side's certificate was issued by %s, and the token is for a master target of %s; the token was not sent", theirs, hex.EncodeToString(pin[:10])),
		Remedy:  "see that the address is the master target's that made the token; if it is, somebody stands between: do not go on"}
}

// PinnedCA returns the CA of that hash, which the peer of a connection showed.
func PinnedCA(s tls.ConnectionState, pin [32]byte) (*x509.Certificate, error) {
	m, err := pinned(s.PeerCertificates, pin)
	if err != nil {
		return nil, err
	}
	return m.ca, nil
}

// Enroll issues the certificate of a process server for the public key of a request, which proves that it has the key. Nothing else of the request counts.
func (a *Authority) Enroll(name string, csr *x509.CertificateRequest) ([]byte, *x509.Certificate, error) {
	text, err := a.certify(ProcessServer, name, csr.PublicKey, time.Now())
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(text)
	c, err := x509.ParseCertificate(block.Bytes)
	return text, c, err
}

// ParseRequest reads a request for a certificate and returns it with the name of its key.
func ParseRequest(der []byte) (*x509.CertificateRequest, string, error) {
	bad := func(err error) (*x509.CertificateRequest, string, error) {
		return nil, "", &replication.Problem{Code: CodeInvalid, Message: "the request for a certificate can't be used", Err: err, Remedy: "enrol with failback pki enroll"}
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return bad(err)
	}
	switch k := r.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize < 256 {
			return bad(errors.New("its key is too short"))
		}
	case ed25519.PublicKey:
	default:
		return bad(fmt.Errorf("its key is a %v one, not ECDSA or Ed25519", r.PublicKeyAlgorithm))
	}
	if err := r.CheckSignature(); err != nil {
		return bad(err)
	}
	return r, KeyID(&x509.Certificate{RawSubjectPublicKeyInfo: r.RawSubjectPublicKeyInfo}), nil
}

// Enrolment is a process server's side: a key in a directory that has no certificate yet.
type Enrolment struct {
	dir string
	key []byte // PEM
	CSR []byte // DER
}

// NewEnrolment makes a process server's key in dir, or takes the one that an enrolment with the CA of that hash has left, which did not come to its end.
func NewEnrolment(dir string, pin [32]byte) (*Enrolment, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for certificates: %w", err)
	}
	path := filepath.Join(dir, keyFile(ProcessServer))
	for _, name := range []string{certFile(ProcessServer), caCert} {
		_, err := os.Lstat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) || name == caCert && err == nil && leftHere(dir, pin) {
			continue
		}
		return nil, &replication.Problem{Code: "pki-exists", Message: filepath.Join(dir, name) + " is there already; nothing was made", Err: err, Remedy: "name an empty directory by --out"}
	}
	text, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := newKey()
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		if text, err = keyPEM(key); err != nil {
			return nil, err
		}
		if err := errors.Join(writeNew(path, text, 0o600), syncDir(dir)); err != nil {
			return nil, fmt.Errorf("write the key: %w", err)
		}
	} else if err != nil {
		return nil, err
	}
	key, err := parseKey(path, text)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "failback " + string(ProcessServer)}}, key)
	if err != nil {
		return nil, fmt.Errorf("make the request for a certificate: %w", err)
	}
	return &Enrolment{dir, text, csr}, nil
}

// leftHere says whether dir holds a key, and as ca.crt just the CA of that hash: what an enrolment leaves that was cut off before it wrote the certificate.
func leftHere(dir string, pin [32]byte) bool {
	if _, err := os.Lstat(filepath.Join(dir, keyFile(ProcessServer))); err != nil {
		return false
	}
	cas, err := loadCerts(filepath.Join(dir, caCert))
	return err == nil && len(cas) == 1 && sha256.Sum256(cas[0].Raw) == pin
}

// Finish writes what the master target sent, once it is known to be what was asked for. CA is the certificate that the pin is of.
func (e *Enrolment) Finish(cert []byte, ca *x509.Certificate) ([]string, error) {
	caText := certPEM(ca.Raw)
	chain, err := parseCerts("what the master target sent", cert)
	if err != nil {
		return nil, err
	}
	m := &material{cas: []*x509.Certificate{ca}}
	m.trust()
	if role, err := m.judge(chain, x509.ExtKeyUsageAny, time.Now()); err != nil || role != ProcessServer {
		return nil, &replication.Problem{Code: CodeInvalid, Message: fmt.Sprintf("the master target sent a certificate for the role %q", role), Err: err, Remedy: "see that the clocks of both sides agree, and make a new token"}
	}
	path := filepath.Join(e.dir, keyFile(ProcessServer))
	key, err := parseKey(path, e.key)
	if err != nil {
		return nil, err
	}
	if !samePublic(chain[0].PublicKey, key.Public()) {
		return nil, &replication.Problem{Code: CodeInvalid, Message: "the master target sent a certificate for another key", Remedy: "make a new token, and try again"}
	}
	made := []string{path}
	for _, f := range []struct {
		name string
		text []byte
	}{{caCert, caText}, {certFile(ProcessServer), cert}} { // the certificate last: until it is there, nothing is
		path := filepath.Join(e.dir, f.name)
		if err := replaceFile(path, f.text, 0o644); err != nil {
			return nil, err
		}
		made = append(made, path)
	}
	return made, nil
}
