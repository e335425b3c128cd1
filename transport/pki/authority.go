package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"failback/replication"
)

// Authority is a certificate that may issue others, with its key: the CA, or the enroller below it.
type Authority struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain [][]byte // what goes with a certificate that it issued: the enroller's own; the CA's goes with every connection
}

// OpenAuthority opens the CA of a directory that Init made.
func OpenAuthority(dir string) (*Authority, error) {
	return openAuthority(dir, caCert, caKey)
}

// OpenEnroller opens what a master target needs to let process servers enrol. Without the files the error wraps fs.ErrNotExist.
func OpenEnroller(dir string) (*Authority, error) {
	a, err := openAuthority(dir, certFile(Enroller), keyFile(Enroller))
	if err != nil {
		return nil, err
	}
	if role, _ := said(a.cert, issuesPrefix); role != string(ProcessServer) {
		return nil, unusable(filepath.Join(dir, certFile(Enroller)), errors.New("it is not the certificate of an enroller"))
	}
	a.chain = [][]byte{a.cert.Raw}
	return a, nil
}

func openAuthority(dir, certName, keyName string) (*Authority, error) {
	certPath, keyPath := filepath.Join(dir, certName), filepath.Join(dir, keyName)
	certs, err := loadCerts(certPath)
	if err != nil {
		return nil, err
	}
	text, err := readPrivate(keyPath)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPath, text)
	if err != nil {
		return nil, err
	}
	a := &Authority{cert: certs[0], key: key}
	switch {
	case !a.cert.IsCA:
		return nil, unusable(certPath, errors.New("it may not issue certificates"))
	case !samePublic(a.cert.PublicKey, key.Public()):
		return nil, unusable(keyPath, fmt.Errorf("it is not the key of %s", certPath))
	}
	return a, nil
}

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func parseKey(path string, text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, unusable(path, errors.New("it holds no PEM private key"))
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil { // the error tells nothing of the content
		return nil, unusable(path, err)
	}
	key, ok := k.(crypto.Signer)
	if !ok {
		return nil, unusable(path, errors.New("its key can't sign"))
	}
	return key, nil
}

// certificate is what a new certificate of a role says. A name may be given to a process server's.
func certificate(r Role, name string, now time.Time) (*x509.Certificate, error) {
	id, err := serial()
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber:          id,
		Subject:               pkix.Name{CommonName: "failback " + string(r)},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(leafLifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{certURI(rolePrefix, string(r))},
	}
	if r == Enroller {
		c.URIs = []*url.URL{certURI(issuesPrefix, string(ProcessServer))}
		c.IsCA, c.MaxPathLenZero, c.KeyUsage, c.NotAfter = true, true, x509.KeyUsageCertSign, now.Add(enrollerLifetime)
	}
	if name != "" {
		c.Subject.CommonName += " " + name
		c.URIs = append(c.URIs, certURI(namePrefix, name))
	}
	return c, nil
}

// makePair makes a key and its certificate.
func (a *Authority) makePair(content map[string][]byte, r Role, now time.Time) error {
	key, err := newKey()
	if err != nil {
		return fmt.Errorf("make the %s's key: %w", r, err)
	}
	text, err := a.certify(r, "", key.Public(), now)
	if err != nil {
		return err
	}
	content[certFile(r)] = text
	content[keyFile(r)], err = keyPEM(key)
	return err
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// certify issues a certificate for a public key: PEM, with what stands between it and the CA.
func (a *Authority) certify(r Role, name string, public crypto.PublicKey, now time.Time) ([]byte, error) {
	c, err := certificate(r, name, now)
	if err != nil {
		return nil, err
	}
	if c.NotAfter.After(a.cert.NotAfter) {
		c.NotAfter = a.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of a %s: %w", r, err)
	}
	return certPEM(append([][]byte{der}, a.chain...)...), nil
}

func certPEM(ders ...[]byte) (text []byte) {
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// Issue makes a certificate of the role, with a new key, in the directory out: ROLE.crt, ROLE.key, and ca.crt where there is none. With keepKey it is a new certificate for
// the key of the ROLE.crt that is there, which it replaces: a server that runs takes it up, and a name bound to its key stays bound. Else nothing is overwritten.
func (a *Authority) Issue(out string, r Role, name string, keepKey bool) ([]string, error) {
	if r != Enroller && !slices.Contains(Roles(), r) {
		return nil, &replication.Problem{Code: "pki-role", Message: fmt.Sprintf("%q is no role", r), Remedy: fmt.Sprintf("the roles are %v and %s", Roles(), Enroller)}
	}
	if name != "" {
		err := replication.ValidName(name)
		if r != ProcessServer {
			err = errors.New("only a process server's certificate may have a name")
		}
		if err != nil {
			return nil, &replication.Problem{Code: "pki-name", Message: "name: " + err.Error(), Remedy: "give the process server's --name, or none"}
		}
	}
	if r == Enroller && a.cert.MaxPathLenZero {
		return nil, &replication.Problem{Code: "pki-role", Message: "this CA may not have an authority below it", Remedy: "make a new one with failback pki init"}
	}
	if err := os.MkdirAll(out, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for certificates: %w", err)
	}
	certPath, keyPath, caPath := filepath.Join(out, certFile(r)), filepath.Join(out, keyFile(r)), filepath.Join(out, caCert)
	if keepKey {
		had, err := loadCerts(certPath)
		if err != nil {
			return nil, err
		}
		if n, ok := said(had[0], namePrefix); ok && name == "" {
			name = n
		}
		text, err := a.certify(r, name, had[0].PublicKey, time.Now())
		if err != nil {
			return nil, err
		}
		return []string{certPath}, replaceFile(certPath, text, 0o644)
	}
	for _, path := range []string{certPath, keyPath} {
		if _, err := os.Lstat(path); err == nil {
			return nil, &replication.Problem{Code: "pki-exists", Message: path + " is there already; nothing was made",
				Remedy: "name another directory by --out; or, to renew the certificate for the same key, give --keep-key"}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for %s: %w", path, err)
		}
	}
	if had, err := os.ReadFile(caPath); err == nil && !bytes.Contains(had, certPEM(a.cert.Raw)) {
		return nil, &replication.Problem{Code: "pki-exists", Message: caPath + " is the certificate of another CA; nothing was made", Remedy: "name another directory by --out"}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for %s: %w", caPath, err)
	}
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("make the %s's key: %w", r, err)
	}
	text, err := a.certify(r, name, key.Public(), time.Now())
	if err != nil {
		return nil, err
	}
	secret, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return writePair(out, r, certPEM(a.cert.Raw), text, secret)
}

// writePair writes a role's key, the CA's certificate where there is none, and last the role's certificate.
func writePair(out string, r Role, ca, cert, key []byte) (made []string, err error) {
	for _, f := range []struct {
		name string
		text []byte
		mode fs.FileMode
	}{{keyFile(r), key, 0o600}, {caCert, ca, 0o644}, {certFile(r), cert, 0o644}} {
		path := filepath.Join(out, f.name)
		err := writeNew(path, f.text, f.mode)
		if errors.Is(err, fs.ErrExist) && f.name == caCert {
			continue
		}
		if err != nil {
			return made, fmt.Errorf("write certificates: %w", err)
		}
		made = append(made, path)
	}
	return made, syncDir(out)
}
