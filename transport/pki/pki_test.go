package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"failback/replication"
)

// newPKI makes certificates that are as old as it says.
func newPKI(t *testing.T, old time.Duration) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	if _, err := initAt(dir, time.Now().Add(-old)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mustServer(t *testing.T, dir string) *tls.Config {
	t.Helper()
	return mustOpen(t, dir, MasterTarget).Server()
}

func mustOpen(t *testing.T, dir string, role Role) *Identity {
	t.Helper()
	id, err := Open(dir, role, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustClient(t *testing.T, dir string, role Role) *tls.Config {
	t.Helper()
	return mustOpen(t, dir, role).Client(MasterTarget)
}

// unchecked loads an identity without looking at its dates, and makes a configuration of it that takes any server.
func unchecked(t *testing.T, dir string, role Role) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile(role)), filepath.Join(dir, keyFile(role)))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, ClientAuth: tls.RequestClientCert}
}

// connect makes one connection over loopback, and returns what each side says of it.
func connect(t *testing.T, server, client *tls.Config) (role Role, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := l.Accept()
		if err != nil {
			serverErr = err
			return
		}
		defer raw.Close()
		conn := tls.Server(raw, server)
		if serverErr = conn.Handshake(); serverErr == nil {
			var p Peer
			p, serverErr = PeerOf(conn.ConnectionState())
			role = p.Role
			_, _ = conn.Write([]byte("ok"))
		}
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	conn := tls.Client(raw, client)
	if clientErr = conn.Handshake(); clientErr == nil {
		_, clientErr = conn.Read(make([]byte, 2)) // with TLS 1.3 the server's verdict comes after the handshake
	}
	raw.Close()
	<-done
	return role, serverErr, clientErr
}

func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantProblem(t *testing.T, err error, code string, texts ...string) {
	t.Helper()
	var p *replication.Problem
	if !errors.As(err, &p) {
		t.Fatalf("got %v, want a problem of code %s", err, code)
	}
	if p.Code != code || p.Remedy == "" {
		t.Errorf("got %+v, want code %s and a remedy", p, code)
	}
	for _, text := range texts {
		if !strings.Contains(p.Message+" "+p.Remedy, text) {
			t.Errorf("got %+v, want %q in it", p, text)
		}
	}
}

func TestConnectSameCA(t *testing.T) {
	dir := newPKI(t, 0)
	for _, r := range Roles() {
		role, serverErr, clientErr := connect(t, mustServer(t, dir), mustClient(t, dir, r))
		if role != r || serverErr != nil || clientErr != nil {
			t.Errorf("%s: got role %q, errors %v, %v", r, role, serverErr, clientErr)
		}
	}
}

func TestConnectOtherCA(t *testing.T) {
	ours, theirs := newPKI(t, 0), newPKI(t, 0)
	_, _, clientErr := connect(t, mustServer(t, theirs), mustClient(t, ours, ProcessServer))
	wantProblem(t, clientErr, CodeOtherCA, "failback pki init", caFingerprint(t, ours), caFingerprint(t, theirs))

	_, serverErr, clientErr := connect(t, mustServer(t, ours), unchecked(t, theirs, ProcessServer))
	wantProblem(t, serverErr, CodeOtherCA, "failback pki init", caFingerprint(t, ours))
	if clientErr == nil {
		t.Error("the client of another CA was served")
	}
}

func caFingerprint(t *testing.T, dir string) string {
	t.Helper()
	c, err := loadCerts(filepath.Join(dir, caCert))
	if err != nil {
		t.Fatal(err)
	}
	return fingerprint(c[0].Raw)
}

func TestConnectOtherRole(t *testing.T) {
	dir := newPKI(t, 0)
	_, _, clientErr := connect(t, mustOpen(t, dir, ProcessServer).Server(), mustClient(t, dir, Operator))
	wantProblem(t, clientErr, CodeOtherRole, "process-server", "master-target")
}

func TestConnectWithoutCertificate(t *testing.T) {
	dir := newPKI(t, 0)
	_, serverErr, clientErr := connect(t, mustServer(t, dir), &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true})
	if serverErr == nil || clientErr == nil {
		t.Errorf("got errors %v, %v: a client without a certificate was served", serverErr, clientErr)
	}
}

func TestConnectOldTLS(t *testing.T) {
	dir := newPKI(t, 0)
	old := mustClient(t, dir, ProcessServer)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, serverErr, _ := connect(t, mustServer(t, dir), old); serverErr == nil {
		t.Error("TLS 1.2 was spoken")
	}
}

// TestVerifyOutOfTime judges at other times than now: certificates are as they are, clocks are what differs.
func TestVerifyOutOfTime(t *testing.T) {
	id, err := load(newPKI(t, 0), ProcessServer, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	judge := func(at time.Duration) error {
		var s tls.ConnectionState
		s.Version = tls.VersionTLS13
		for _, der := range id.cert.Certificate {
			s.PeerCertificates = append(s.PeerCertificates, parse(t, der))
		}
		_, err := id.verify(s, x509.ExtKeyUsageAny, time.Now().Add(at))
		return err
	}
	for _, at := range []time.Duration{0, -59 * time.Minute, leafLifetime - time.Hour} {
		if err := judge(at); err != nil {
			t.Errorf("at %v: got %v", at, err)
		}
	}
	wantProblem(t, judge(-2*time.Hour), CodeNotYet, "clock", "not valid before")
	wantProblem(t, judge(leafLifetime+time.Hour), CodeExpired, "expired at", "failback process-server")
	wantProblem(t, judge(caLifetime+time.Hour), CodeExpired, "failback CA")
}

func TestConnectExpired(t *testing.T) {
	dir := newPKI(t, leafLifetime+time.Hour)
	_, err := Open(dir, ProcessServer, slog.New(slog.DiscardHandler))
	wantProblem(t, err, CodeExpired, "our own certificate", "process-server.crt")

	// The peer may find out before its holder does.
	m, err := load(dir, MasterTarget, time.Now().Add(-leafLifetime))
	if err != nil {
		t.Fatal(err)
	}
	id := &Identity{}
	id.now.Store(m)
	_, serverErr, _ := connect(t, id.Server(), unchecked(t, dir, ProcessServer))
	wantProblem(t, serverErr, CodeExpired, "failback process-server", "pki init")
}

func TestKeyOpenToOthersIsRefused(t *testing.T) {
	dir := newPKI(t, 0)
	key := filepath.Join(dir, keyFile(MasterTarget))
	for _, mode := range []os.FileMode{0o640, 0o604, 0o610} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir, MasterTarget, slog.New(slog.DiscardHandler))
		wantProblem(t, err, CodeUnusable, key, "chmod 600")
	}
	if err := os.Chmod(key, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, MasterTarget, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("0400: got %v", err)
	}
}

func TestUnusableFiles(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"NoCA":   func(dir string) error { return os.Remove(filepath.Join(dir, caCert)) },
		"NoKey":  func(dir string) error { return os.Remove(filepath.Join(dir, keyFile(Operator))) },
		"NoCert": func(dir string) error { return os.Remove(filepath.Join(dir, certFile(Operator))) },
		"NotPEM": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, certFile(Operator)), []byte("x"), 0o600)
		},
		"OtherKey": func(dir string) error {
			return os.Rename(filepath.Join(dir, caKey), filepath.Join(dir, keyFile(Operator)))
		},
		"OtherRole": func(dir string) error { return copyPair(dir, ProcessServer, Operator) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := newPKI(t, 0)
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, Operator, slog.New(slog.DiscardHandler))
			wantProblem(t, err, CodeUnusable, dir)
		})
	}
}

func copyPair(dir string, from, to Role) error {
	return errors.Join(os.Rename(filepath.Join(dir, certFile(from)), filepath.Join(dir, certFile(to))),
		os.Rename(filepath.Join(dir, keyFile(from)), filepath.Join(dir, keyFile(to))))
}

func TestInitMakesPrivateFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "pki")
	made, err := Init(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Files) != 10 || made.Fingerprint != caFingerprint(t, dir) {
		t.Errorf("got %+v", made)
	}
	for path, want := range map[string]os.FileMode{"": 0o700, "ca.key": 0o600, "ca.crt": 0o644, "operator.key": 0o600, "master-target.key": 0o600, "process-server.key": 0o600} {
		fi, err := os.Stat(filepath.Join(dir, path))
		if err != nil || fi.Mode().Perm() != want {
			t.Errorf("%q: got %v, %v, want mode %v", path, fi, err, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 10 {
		t.Errorf("got %v, %v, want 10 files and nothing else", entries, err)
	}
}

func TestInitRefusesToOverwrite(t *testing.T) {
	for _, name := range fileNames() {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Init(dir)
		wantProblem(t, err, "pki-exists", name)
		entries, err := os.ReadDir(dir)
		if b, readErr := os.ReadFile(path); err != nil || readErr != nil || string(b) != "mine" || len(entries) != 1 {
			t.Errorf("%s: got %q beside %v, %v, %v: something was made", name, b, entries, err, readErr)
		}
	}
}

func TestCallerNeedsTLS(t *testing.T) {
	if role, err := Caller(context.Background()); err == nil {
		t.Errorf("outside of a call: got %v", role)
	}
	ctx := peer.NewContext(context.Background(), &peer.Peer{Addr: &net.UnixAddr{Name: "x"}})
	if role, err := Caller(ctx); err == nil {
		t.Errorf("on a unix socket: got %v", role)
	}
	cert := unchecked(t, newPKI(t, 0), Operator).Certificates[0]
	state := tls.ConnectionState{}
	state.PeerCertificates = append(state.PeerCertificates, parse(t, cert.Certificate[0]))
	ctx = peer.NewContext(context.Background(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: state}})
	if p, err := Caller(ctx); p.Role != Operator || p.Name != "" || len(p.Key) != 32 || err != nil {
		t.Errorf("got %v, %v", p, err)
	}
}
