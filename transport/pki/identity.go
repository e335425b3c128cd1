package pki

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"failback/replication"
)

// watchEvery is how often the files are looked at: within it, and the moment that closing takes, a renewed certificate is in use and a revoked one is out.
const watchEvery = 5 * time.Second

// maxFile bounds a file of certificates, in bytes. A full list of revoked ones is below it.
const maxFile = 16 << 20

// Identity is what one side has: its own certificate, the authorities that it trusts, and what they revoked. Watch keeps it as the files are. It is safe for concurrent use.
type Identity struct {
	dir  string
	role Role
	log  *slog.Logger
	now  atomic.Pointer[material]

	mu   sync.Mutex
	last string // what was said last of files that can't be used; "": they can
	live map[*guarded]struct{}
}

// material is what an Identity's files hold at one moment. It does not change.
type material struct {
	cert    tls.Certificate
	own     *x509.Certificate
	ca      *x509.Certificate   // that issued our own
	cas     []*x509.Certificate // all that are trusted
	pool    *x509.CertPool      // of cas
	revoked revocations
	sum     [sha256.Size]byte // of the files
}

// Open reads the certificates of a role in a directory. What the other side would say of them is said here, to the one who can mend it.
func Open(dir string, role Role, log *slog.Logger) (*Identity, error) {
	m, err := load(dir, role, time.Now())
	if err != nil {
		return nil, err
	}
	if err := m.revokedIn([]*x509.Certificate{m.own}); err != nil {
		return nil, ours(filepath.Join(dir, certFile(role)), err)
	}
	id := &Identity{dir: dir, role: role, log: log, live: map[*guarded]struct{}{}}
	id.now.Store(m)
	return id, nil
}

// Watch looks at the files every few seconds, until ctx ends.
func (id *Identity) Watch(ctx context.Context) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			id.Look()
		case <-ctx.Done():
			return
		}
	}
}

// Look reads the files again. New connections use what is new; those that are there go on, unless their peer's certificate is revoked now. Files that can't be used, such as
// one that is half written, change nothing, and the log says so.
func (id *Identity) Look() {
	id.mu.Lock()
	defer id.mu.Unlock()
	was := id.now.Load()
	m, err := load(id.dir, id.role, time.Now())
	if err == nil {
		err = m.revoked.notBefore(was.revoked, filepath.Join(id.dir, caList))
	}
	if err != nil {
		if p := replication.AsProblem(err); p.Error() != id.last {
			id.last = p.Error()
			id.log.Warn("certificates were not read anew: those read before stay in use", "code", p.Code, "err", p.Error(), "remedy", p.Remedy)
		}
		return
	}
	if m.sum == was.sum && id.last == "" {
		return
	}
	id.last = ""
	id.now.Store(m)
	id.log.Info("certificates were read anew", "dir", id.dir, "serial", m.own.SerialNumber.Text(16), "until", m.own.NotAfter.UTC().Format(time.RFC3339), "revoked", len(m.revoked.serials))
	if err := m.revokedIn([]*x509.Certificate{m.own}); err != nil {
		p := replication.AsProblem(ours(filepath.Join(id.dir, certFile(id.role)), err))
		id.log.Error("others will refuse us", "code", p.Code, "err", p.Error(), "remedy", p.Remedy)
	}
	for g := range id.live {
		id.judgeLiveLocked(g)
	}
}

// guarded is a connection that ends when its peer's certificate is revoked.
type guarded struct {
	net.Conn
	id    *Identity
	chain []*x509.Certificate
}

// Guard returns conn, whose handshake is done, as a connection that is closed when a certificate that its peer showed is revoked later. The caller closes it as ever.
func (id *Identity) Guard(conn net.Conn, s tls.ConnectionState) net.Conn {
	g := &guarded{conn, id, s.PeerCertificates}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.live[g] = struct{}{}
	id.judgeLiveLocked(g) // the list may have come since the handshake looked at it
	return g
}

func (id *Identity) judgeLiveLocked(g *guarded) {
	if err := id.now.Load().revokedIn(g.chain); err != nil {
		p := replication.AsProblem(err)
		id.log.Warn("connection ended", "peer", g.RemoteAddr().String(), "code", p.Code, "err", p.Error(), "remedy", p.Remedy)
		go g.Close() // it takes seconds where the other side takes nothing, and the lock
	}
}

// Close implements net.Conn.
func (g *guarded) Close() error {
	err := g.Conn.Close()
	g.id.mu.Lock()
	defer g.id.mu.Unlock()
	delete(g.id.live, g)
	return err
}

// load reads the files of a role.
func load(dir string, role Role, now time.Time) (*material, error) {
	caPath, certPath, keyPath, listPath := filepath.Join(dir, caCert), filepath.Join(dir, certFile(role)), filepath.Join(dir, keyFile(role)), filepath.Join(dir, caList)
	m := &material{}
	sum := sha256.New()
	var err error
	if m.cas, err = loadCerts(caPath); err != nil {
		return nil, err
	}
	for _, ca := range m.cas {
		sum.Write(ca.Raw)
	}
	chain, err := loadCerts(certPath)
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
	if !samePublic(chain[0].PublicKey, key.Public()) {
		return nil, unusable(keyPath, fmt.Errorf("it is not the key of %s", certPath))
	}
	list, err := readBounded(listPath, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, unusable(listPath, err)
	}
	if m.revoked, err = parseList(listPath, list, m.cas); err != nil {
		return nil, err
	}
	sum.Write(list)
	m.trust()
	m.cert = tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		m.cert.Certificate = append(m.cert.Certificate, c.Raw)
		sum.Write(c.Raw)
	}
	sum.Sum(m.sum[:0])
	m.own = chain[0]
	unrevoked := *m // of our own it is said elsewhere
	unrevoked.revoked = revocations{}
	got, err := unrevoked.judge(chain, x509.ExtKeyUsageAny, now)
	if err != nil {
		return nil, ours(certPath, err)
	}
	if got != role {
		return nil, unusable(certPath, fmt.Errorf("it is for the role %s, not %s", got, role))
	}
	for _, ca := range m.cas {
		if chain[len(chain)-1].CheckSignatureFrom(ca) == nil {
			m.ca = ca
		}
	}
	m.cert.Certificate = append(m.cert.Certificate, m.ca.Raw) // lets a peer of another authority tell which is which
	return m, nil
}

// trust makes the CAs the only ones that are trusted.
func (id *material) trust() {
	id.pool = x509.NewCertPool()
	for _, ca := range id.cas {
		id.pool.AddCert(ca)
	}
	id.ca = id.cas[0]
}

// ours says that it is our own certificate that err is about.
func ours(path string, err error) error {
	p := replication.AsProblem(err)
	return &replication.Problem{Code: p.Code, Message: fmt.Sprintf("our own certificate %s: %s", path, p.Error()), Remedy: p.Remedy}
}

// loadCerts reads all certificates of a file, at least one, and nothing else.
func loadCerts(path string) ([]*x509.Certificate, error) {
	text, err := readBounded(path, false)
	if err != nil {
		return nil, unusable(path, err)
	}
	return parseCerts(path, text)
}

func parseCerts(path string, text []byte) (all []*x509.Certificate, err error) {
	for len(all) < 16 {
		block, rest := pem.Decode(text)
		if block == nil {
			if bytes.Contains(text, []byte("-----BEGIN")) {
				return nil, unusable(path, errors.New("it is cut off"))
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, unusable(path, fmt.Errorf("it holds a PEM %s", block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, unusable(path, err)
		}
		all, text = append(all, c), rest
	}
	if len(all) == 0 {
		return nil, unusable(path, errors.New("it holds no PEM certificate"))
	}
	return all, nil
}

// readPrivate reads a key, and refuses one that group or others may touch.
func readPrivate(path string) ([]byte, error) {
	text, err := readBounded(path, true)
	var p *replication.Problem
	if err != nil && !errors.As(err, &p) {
		err = unusable(path, err)
	}
	return text, err
}

func readBounded(path string, private bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, errors.New("it is not a file")
	case private:
		if err := Private(path, fi); err != nil {
			return nil, err
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if len(text) > maxFile {
		err = fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return text, err
}

// Private refuses a file with a secret that group or others may touch.
func Private(path string, fi fs.FileInfo) error {
	if perm := fi.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return &replication.Problem{
			Code:    CodeUnusable,
			Message: fmt.Sprintf("%s may be used by others than its owner (mode %04o)", path, perm),
			Remedy:  fmt.Sprintf("chmod 600 %s, and if others could read it, put a new one in its place", path),
		}
	}
	return nil
}

func unusable(path string, err error) error {
	p := &replication.Problem{Code: CodeUnusable, Message: fmt.Sprintf("certificate file %s can't be used", path), Err: err}
	p.Remedy = "name by --pki the directory that failback pki init made, or a copy of it with ca.crt and this role's .crt and .key"
	if errors.Is(err, fs.ErrPermission) {
		p.Remedy = "run this as the user that owns the file; certificates' keys are for one user only"
	}
	return p
}
