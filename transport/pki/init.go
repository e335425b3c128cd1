package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"failback/replication"
)

// Role is what a certificate's holder is to the others.
type Role string

// The roles.
const (
	MasterTarget  Role = "master-target"
	ProcessServer Role = "process-server"
	Operator      Role = "operator"
)

// Roles returns all roles, in the order in which Init makes their certificates.
func Roles() []Role { return []Role{MasterTarget, ProcessServer, Operator} }

// Enroller is no peer's role: its certificate lets a master target issue certificates of process servers, and no others, to those who show a token.
const Enroller Role = "enroller"

// Lifetimes of what Init makes. Skew is how far back it is valid already, for clocks that are behind.
const (
	caLifetime       = 10 * 365 * 24 * time.Hour
	enrollerLifetime = 5 * 365 * 24 * time.Hour
	leafLifetime     = 2 * 365 * 24 * time.Hour
	skew             = time.Hour
)

const (
	caCert = "ca.crt"
	caKey  = "ca.key"
)

func certFile(r Role) string { return string(r) + ".crt" }
func keyFile(r Role) string  { return string(r) + ".key" }

// Made is what Init made.
type Made struct {
	Files       []string // paths, in the order they were written
	Fingerprint string   // of the CA
	Until       time.Time
}

// Init makes a CA and a certificate with key for each role in dir, which is made if it is absent. If any of the files is there already it makes none.
func Init(dir string) (*Made, error) { return initAt(dir, time.Now()) }

func initAt(dir string, now time.Time) (*Made, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for certificates: %w", err)
	}
	var present []string
	for _, name := range fileNames() {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			present = append(present, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for %s: %w", name, err)
		}
	}
	if len(present) > 0 {
		return nil, &replication.Problem{
			Code:    "pki-exists",
			Message: fmt.Sprintf("%s holds %s already; nothing was made", dir, strings.Join(present, ", ")),
			Remedy:  "use the certificates that are there, or name another directory; servers with certificates of two authorities do not talk to each other",
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make %s private: %w", dir, err)
	}
	content, made, err := makeAll(now)
	if err != nil {
		return nil, err
	}
	for _, name := range fileNames() {
		path := filepath.Join(dir, name)
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(name, ".key") {
			mode = 0o600
		}
		if err := writeNew(path, content[name], mode); err != nil {
			for _, p := range made.Files { // half a set would be refused by the next Init
				os.Remove(p)
			}
			return nil, fmt.Errorf("write certificates: %w", err)
		}
		made.Files = append(made.Files, path)
	}
	return made, syncDir(dir)
}

func fileNames() []string {
	names := []string{caKey, caCert}
	for _, r := range append(Roles(), Enroller) {
		names = append(names, keyFile(r), certFile(r))
	}
	return names
}

// makeAll returns the content of each file.
func makeAll(now time.Time) (map[string][]byte, *Made, error) {
	id, err := serial()
	if err != nil {
		return nil, nil, err
	}
	ca := &x509.Certificate{
		SerialNumber:          id,
		Subject:               pkix.Name{CommonName: "failback CA " + hex.EncodeToString(id.Bytes()[:4])},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLen:            1, // the enroller's
	}
	content := make(map[string][]byte)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the CA's key: %w", err)
	}
	der, err := sign(content, caCert, caKey, ca, ca, key, key)
	if err != nil {
		return nil, nil, err
	}
	a := &Authority{cert: ca, key: key}
	for _, r := range append(Roles(), Enroller) {
		if err := a.makePair(content, r, now); err != nil {
			return nil, nil, err
		}
	}
	return content, &Made{Fingerprint: fingerprint(der), Until: now.Add(leafLifetime)}, nil
}

func sign(content map[string][]byte, certName, keyName string, c, parent *x509.Certificate, key *ecdsa.PrivateKey, parentKey crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", certName, err)
	}
	content[certName] = certPEM(der)
	content[keyName], err = keyPEM(key)
	return der, err
}

// serial returns 128 random bits, the first of them set so that the length is always the same.
func serial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b), nil
}

// fingerprint is SHA-256 of the certificate, shortened to what people compare.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:10])
}

// writeNew makes a file that is durable and whole, or none. It never replaces one.
func writeNew(path string, content []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Link(f.Name(), path) // unlike rename, refuses to replace
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("make the names in %s durable: %w", dir, err)
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
