package pki

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
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
// whom the enroller issued included: serial numbers are random, so that no two are the same. Where an entry tells the key of its certificate (its subject key identifier, as KeyID has it), it covers
// all certificates of that key: those from before a renewal are good for as long as they last.
const caList = "ca.crl"

// maxRevoked bounds a list.
const maxRevoked = 100_000

// entryKey is the extension by which an entry tells a key.
var entryKey = asn1.ObjectIdentifier{2, 5, 29, 14}

// revocations are what the lists in force name. Zero: none.
type revocations struct {
	number  *big.Int             // of the list; nil: there is none
	serials map[string]revoked   // by serial number
	keys    map[string]time.Time // by KeyID
}

// revoked is one entry.
type revoked struct {
	at  time.Time
	key string // KeyID; "": not told
}

func noRevocations() revocations {
	return revocations{serials: map[string]revoked{}, keys: map[string]time.Time{}}
}

func (r revocations) add(serial string, e revoked) {
	r.serials[serial] = e
	if e.key != "" {
		r.keys[e.key] = e.at
	}
}

func (r revocations) has(c *x509.Certificate) bool {
	if len(r.serials) == 0 {
		return false
	}
	if _, ok := r.serials[c.SerialNumber.Text(16)]; ok {
		return true
	}
	_, ok := r.keys[KeyID(c)]
	return ok
}

// parseList reads ca.crl. No content is no list.
func parseList(path string, text []byte, cas []*x509.Certificate) (revocations, error) {
	r := noRevocations()
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
			key, err := keyOfEntry(e)
			if err != nil {
				return r, unusable(path, err)
			}
			r.add(e.SerialNumber.Text(16), revoked{e.RevocationTime, key})
		}
		if r.number == nil || list.Number != nil && list.Number.Cmp(r.number) > 0 {
			r.number = list.Number
		}
	}
	return r, nil
}

// keyOfEntry returns the key that an entry tells, or "".
func keyOfEntry(e x509.RevocationListEntry) (string, error) {
	for _, x := range e.Extensions {
		if x.Id.Equal(entryKey) {
			var key []byte
			if rest, err := asn1.Unmarshal(x.Value, &key); err != nil || len(rest) > 0 || len(key) != 16 {
				return "", fmt.Errorf("it tells a key of the certificate %x that is none", e.SerialNumber)
			}
			return hex.EncodeToString(key), nil
		}
	}
	return "", nil
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

// Revoke adds certificates to the list in dir, which has the CA's key. Each is a file with a certificate, which goes with all others of its key, or a serial number in hexadecimal, which goes alone. It
// returns all serial numbers of the list.
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
		id, key, err := namedBy(w)
		if err != nil {
			return nil, err
		}
		if id == a.cert.SerialNumber.Text(16) || key == KeyID(a.cert) {
			return nil, &replication.Problem{Code: "pki-revoke", Message: "that is the CA itself", Remedy: "a CA is not revoked but replaced: make a new one with failback pki init"}
		}
		e, ok := had.serials[id]
		if !ok {
			e.at = now
		}
		if key != "" {
			e.key = key
		}
		had.add(id, e)
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
		entry, err := had.serials[id].entry(id)
		if err != nil {
			return nil, err
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, entry)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the list of revoked certificates: %w", err)
	}
	return all, replaceFile(path, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o644)
}

// entry is the entry of a list for a certificate of that serial number.
func (r revoked) entry(serial string) (x509.RevocationListEntry, error) {
	n, _ := new(big.Int).SetString(serial, 16)
	e := x509.RevocationListEntry{SerialNumber: n, RevocationTime: r.at}
	if r.key == "" {
		return e, nil
	}
	key, err := hex.DecodeString(r.key)
	if err != nil {
		return e, fmt.Errorf("the key of the certificate %s: %w", serial, err)
	}
	value, err := asn1.Marshal(key)
	if err != nil {
		return e, fmt.Errorf("the key of the certificate %s: %w", serial, err)
	}
	e.ExtraExtensions = []pkix.Extension{{Id: entryKey, Value: value}}
	return e, nil
}

// namedBy returns serial number and key of a certificate in a file, or the serial number that is given.
func namedBy(which string) (serial, key string, err error) {
	if certs, err := loadCerts(which); err == nil {
		return certs[0].SerialNumber.Text(16), KeyID(certs[0]), nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	if n, ok := new(big.Int).SetString(strings.ReplaceAll(which, ":", ""), 16); ok && n.Sign() > 0 {
		return n.Text(16), "", nil
	}
	return "", "", &replication.Problem{Code: "pki-revoke", Message: fmt.Sprintf("%q is neither a file with a certificate nor a serial number", which),
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
