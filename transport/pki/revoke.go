package pki

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"failback/replication"
)

// caList is the name of the list of revoked certificates: PEM, X.509 lists (RFC 5280) signed by the CA. Unlike there, a list covers all below its CA, those
// whom the enroller issued included: serial numbers are random, so that no two are the same.
const caList = "ca.crl"

// maxRevoked bounds a list.
const maxRevoked = 100_000

// revocations are the serial numbers that the lists in force name. Zero: none.
type revocations struct {
	number  *big.Int // of the list; nil: there is none
	serials map[string]time.Time
}

func (r revocations) has(c *x509.Certificate) bool {
	_, ok := r.serials[c.SerialNumber.Text(16)]
	return ok
}

// parseList reads ca.crl. No content is no list.
func parseList(path string, text []byte, cas []*x509.Certificate) (revocations, error) {
	r := revocations{serials: map[string]time.Time{}}
	for len(text) > 0 {
		block, rest := pem.Decode(text)
		if block == nil {
			if strings.TrimSpace(string(text)) != "" {
				return r, unusable(path, errors.New("it holds more than PEM lists, or is cut off"))
			}
			break
		}
		text = rest
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return r, unusable(path, err)
		}
		if !slices.ContainsFunc(cas, func(ca *x509.Certificate) bool { return list.CheckSignatureFrom(ca) == nil }) {
			return r, unusable(path, errors.New("it is not signed by our CA"))
		}
		if len(list.RevokedCertificateEntries) > maxRevoked {
			return r, unusable(path, fmt.Errorf("it names %d certificates, at most %d are read", len(list.RevokedCertificateEntries), maxRevoked))
		}
		for _, e := range list.RevokedCertificateEntries {
			r.serials[e.SerialNumber.Text(16)] = e.RevocationTime
		}
		if r.number == nil || list.Number != nil && list.Number.Cmp(r.number) > 0 {
			r.number = list.Number
		}
	}
	return r, nil
}

// notBefore refuses a list that is older than the one in force, or gone: what was revoked stays revoked.
func (r revocations) notBefore(was revocations, path string) error {
	if was.number == nil || r.number != nil && r.number.Cmp(was.number) >= 0 {
		return nil
	}
	if r.number == nil {
		return unusable(path, errors.New("the list of revoked certificates is gone"))
	}
	return unusable(path, fmt.Errorf("it is list number %d, and number %d is in force", r.number, was.number))
}

// Revoke adds certificates to the list in dir, which has the CA's key. Each is a file with a certificate, or a serial number in hexadecimal. It returns all serial numbers of the
// list.
func (a *Authority) Revoke(dir string, which ...string) ([]string, error) {
	path := filepath.Join(dir, caList)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, unusable(path, err)
	}
	had, err := parseList(path, text, []*x509.Certificate{a.cert})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, w := range which {
		id, err := serialOf(w)
		if err != nil {
			return nil, err
		}
		if id == a.cert.SerialNumber.Text(16) {
			return nil, &replication.Problem{Code: "pki-revoke", Message: "that is the CA itself", Remedy: "a CA is not revoked but replaced: make a new one with failback pki init"}
		}
		if _, ok := had.serials[id]; !ok {
			had.serials[id] = now
		}
	}
	next := big.NewInt(1)
	if had.number != nil {
		next.Add(had.number, next)
	}
	list := &x509.RevocationList{Number: next, ThisUpdate: now.Add(-skew), NextUpdate: a.cert.NotAfter}
	var all []string
	for id := range had.serials {
		all = append(all, id)
	}
	slices.Sort(all)
	for _, id := range all {
		n, _ := new(big.Int).SetString(id, 16)
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: had.serials[id]})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the list of revoked certificates: %w", err)
	}
	return all, replaceFile(path, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o644)
}

// serialOf returns the serial number of a certificate in a file, or the one that is given.
func serialOf(which string) (string, error) {
	if certs, err := loadCerts(which); err == nil {
		return certs[0].SerialNumber.Text(16), nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if n, ok := new(big.Int).SetString(strings.ReplaceAll(which, ":", ""), 16); ok && n.Sign() > 0 {
		return n.Text(16), nil
	}
	return "", &replication.Problem{Code: "pki-revoke", Message: fmt.Sprintf("%q is neither a file with a certificate nor a serial number", which),
		Remedy: "give a .crt file, or the serial number that the master target's log tells, in hexadecimal"}
}

// replaceFile puts a file in the place of another, whole.
func replaceFile(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}
