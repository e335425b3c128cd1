package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// only copies what one role needs, as an operator does, and returns the directory.
func only(t *testing.T, from string, role Role) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{caCert, certFile(role), keyFile(role)} {
		copyFile(t, filepath.Join(from, name), filepath.Join(to, name))
	}
	return to
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func mustAuthority(t *testing.T, dir string) *Authority {
	t.Helper()
	a, err := OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// live is a connection over loopback whose server side is guarded.
func live(t *testing.T, server, client *Identity) (serverSide net.Conn, clientSide *tls.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	guarded := make(chan net.Conn, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		conn := tls.Server(raw, server.Server())
		if conn.Handshake() == nil {
			guarded <- server.Guard(conn, conn.ConnectionState())
		}
		close(guarded)
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	clientSide = tls.Client(raw, client.Client(MasterTarget))
	if err := clientSide.Handshake(); err != nil {
		t.Fatal(err)
	}
	serverSide = <-guarded
	if serverSide == nil {
		t.Fatal("the server refused")
	}
	t.Cleanup(func() { serverSide.Close() })
	return serverSide, clientSide
}

// speaks says whether a byte gets across.
func speaks(from, to net.Conn) bool {
	_ = to.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := from.Write([]byte("x")); err != nil {
		return false
	}
	_, err := io.ReadFull(to, make([]byte, 1))
	return err == nil
}

func TestRotationWithoutRestart(t *testing.T) {
	ca := newPKI(t, 0)
	a := mustAuthority(t, ca)
	var said bytes.Buffer
	dir := only(t, ca, MasterTarget)
	server, err := Open(dir, MasterTarget, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	client := mustOpen(t, ca, ProcessServer)
	old, oldClient := live(t, server, client)
	serial := func(c *tls.Conn) string { return c.ConnectionState().PeerCertificates[0].SerialNumber.Text(16) }

	server.Look()
	if said.Len() > 0 {
		t.Errorf("nothing had changed: %s", said.String())
	}
	// A new pair arrives file by file, the key first, cut off, then whole; the old one serves until the pair is whole.
	fresh := t.TempDir()
	if _, err := a.Issue(fresh, MasterTarget, "", false); err != nil {
		t.Fatal(err)
	}
	key, _ := os.ReadFile(filepath.Join(fresh, keyFile(MasterTarget)))
	cert, _ := os.ReadFile(filepath.Join(fresh, certFile(MasterTarget)))
	for _, step := range []struct {
		file string
		text []byte
		says string
	}{
		{keyFile(MasterTarget), key[:len(key)/2], "PEM private key"},
		{keyFile(MasterTarget), key, "not the key of"},
		{certFile(MasterTarget), cert[:len(cert)/2], "cut off"},
		{certFile(MasterTarget), nil, "no PEM certificate"},
	} {
		if err := os.WriteFile(filepath.Join(dir, step.file), step.text, 0o600); err != nil {
			t.Fatal(err)
		}
		said.Reset()
		server.Look()
		if !strings.Contains(said.String(), step.says) || !strings.Contains(said.String(), "stay in use") || strings.Contains(said.String(), "PRIVATE KEY-----") {
			t.Errorf("%s of %d bytes: said %q, want %q", step.file, len(step.text), said.String(), step.says)
		}
		said.Reset()
		if server.Look(); said.Len() > 0 {
			t.Errorf("said again: %s", said.String())
		}
		if _, c := live(t, server, client); serial(c) != serial(oldClient) {
			t.Error("half of a new pair is in use")
		}
	}
	if err := os.WriteFile(filepath.Join(dir, certFile(MasterTarget)), cert, 0o600); err != nil {
		t.Fatal(err)
	}
	server.Look()
	if !strings.Contains(said.String(), "read anew") {
		t.Errorf("said %q", said.String())
	}
	if _, c := live(t, server, client); serial(c) == serial(oldClient) {
		t.Error("a new connection uses the old certificate")
	}
	if !speaks(old, oldClient) || !speaks(oldClient, old) {
		t.Error("a connection ended by rotation")
	}
	// A key that others may read is not taken up either.
	if err := os.Chmod(filepath.Join(dir, keyFile(MasterTarget)), 0o644); err != nil {
		t.Fatal(err)
	}
	said.Reset()
	if server.Look(); !strings.Contains(said.String(), "chmod 600") {
		t.Errorf("said %q", said.String())
	}
}

// TestRotationOfTheClient renews a client's certificate for the same key: the name that the key is bound to stays.
func TestRotationOfTheClient(t *testing.T) {
	ca := newPKI(t, 0)
	dir := only(t, ca, ProcessServer)
	server, client := mustOpen(t, ca, MasterTarget), mustOpen(t, dir, ProcessServer)
	peer := func() (string, Peer) {
		conn, _ := live(t, server, client)
		s := conn.(*guarded).Conn.(*tls.Conn).ConnectionState()
		p, err := PeerOf(s)
		if err != nil {
			t.Fatal(err)
		}
		return s.PeerCertificates[0].SerialNumber.Text(16), p
	}
	serial, was := peer()
	if _, err := mustAuthority(t, ca).Issue(dir, ProcessServer, "ps1", true); err != nil {
		t.Fatal(err)
	}
	client.Look()
	now, is := peer()
	if now == serial || is.Key != was.Key || is.Name != "ps1" {
		t.Errorf("got serial %s, %+v; before %s, %+v", now, is, serial, was)
	}
	if _, err := mustAuthority(t, ca).Issue(dir, ProcessServer, "", false); err == nil {
		t.Error("a pair was overwritten")
	}
	if _, err := mustAuthority(t, newPKI(t, 0)).Issue(only(t, ca, Operator), ProcessServer, "", false); err == nil {
		t.Error("a pair was put beside another CA")
	}
}

func TestRevoked(t *testing.T) {
	ca := newPKI(t, 0)
	a := mustAuthority(t, ca)
	dir := only(t, ca, MasterTarget)
	var said bytes.Buffer
	server, err := Open(dir, MasterTarget, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if _, err := a.Issue(other, ProcessServer, "ps2", false); err != nil {
		t.Fatal(err)
	}
	gone, stays := mustOpen(t, ca, ProcessServer), mustOpen(t, other, ProcessServer)
	goneSide, goneClient := live(t, server, gone)
	staysSide, staysClient := live(t, server, stays)

	listed, err := a.Revoke(ca, filepath.Join(ca, certFile(ProcessServer)))
	if err != nil || len(listed) != 1 {
		t.Fatalf("got %v, %v", listed, err)
	}
	list, _ := os.ReadFile(filepath.Join(ca, caList))
	path := filepath.Join(dir, caList)
	if err := os.WriteFile(path, list[:len(list)/2], 0o600); err != nil { // half of it came
		t.Fatal(err)
	}
	server.Look()
	if !strings.Contains(said.String(), "cut off") || !speaks(goneSide, goneClient) {
		t.Errorf("half a list: said %q", said.String())
	}
	copyFile(t, filepath.Join(ca, caList), path)
	server.Look()
	_ = goneClient.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := goneClient.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection of a revoked peer goes on: %v", err)
	}
	if !speaks(staysSide, staysClient) {
		t.Error("the connection of another peer ended")
	}
	_, serverErr, clientErr := connect(t, server.Server(), gone.Client(MasterTarget))
	wantProblem(t, serverErr, CodeRevoked, listed[0])
	if clientErr == nil {
		t.Error("a revoked peer got in")
	}
	goneSide.Close()
	server.mu.Lock()
	if len(server.live) != 1 {
		t.Errorf("%d connections are kept, want 1", len(server.live))
	}
	server.mu.Unlock()

	// An older list, and none, do not take back what was revoked; one of another CA is none.
	if _, err := a.Revoke(ca, "abcdef"); err != nil {
		t.Fatal(err)
	}
	newer, _ := os.ReadFile(filepath.Join(ca, caList))
	foreign := newPKI(t, 0)
	if _, err := mustAuthority(t, foreign).Revoke(foreign, "1"); err != nil {
		t.Fatal(err)
	}
	strange, _ := os.ReadFile(filepath.Join(foreign, caList))
	for _, step := range []struct {
		text []byte
		says string
	}{{newer, "revoked=2"}, {list, "number 2 is in force"}, {[]byte{}, "is gone"}, {strange, "not signed by our CA"}} {
		said.Reset()
		if err := os.WriteFile(path, step.text, 0o600); err != nil {
			t.Fatal(err)
		}
		server.Look()
		if !strings.Contains(said.String(), step.says) || len(server.now.Load().revoked.serials) != 2 {
			t.Errorf("said %q, want %q", said.String(), step.says)
		}
	}
	// What is revoked does not start.
	_, err = Open(ca, ProcessServer, slog.New(slog.DiscardHandler))
	wantProblem(t, err, CodeRevoked, "our own certificate")
}

// TestRevokedWithItsKey revokes a certificate that was renewed for the same key: the one from before is as good to whoever has the key, and goes with it. One that is revoked by its number goes alone.
func TestRevokedWithItsKey(t *testing.T) {
	ca := newPKI(t, 0)
	a := mustAuthority(t, ca)
	dir, before := only(t, ca, ProcessServer), only(t, ca, ProcessServer)
	if _, err := a.Issue(dir, ProcessServer, "", true); err != nil {
		t.Fatal(err)
	}
	server, old := mustOpen(t, only(t, ca, MasterTarget), MasterTarget), mustOpen(t, before, ProcessServer)
	oldSide, oldClient := live(t, server, old)
	renewed := mustOpen(t, dir, ProcessServer)
	if _, err := a.Revoke(server.dir, fmt.Sprintf("%x", renewed.now.Load().own.SerialNumber)); err != nil {
		t.Fatal(err)
	}
	server.Look()
	_, err, _ := connect(t, server.Server(), renewed.Client(MasterTarget))
	wantProblem(t, err, CodeRevoked, "serial number")
	if !speaks(oldSide, oldClient) {
		t.Error("a certificate was revoked by its number, and another went too")
	}
	for range 2 { // again, on what the list had
		if _, err := a.Revoke(server.dir, filepath.Join(dir, certFile(ProcessServer))); err != nil {
			t.Fatal(err)
		}
		server.Look()
	}
	_ = oldClient.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := oldClient.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection by the certificate from before goes on: %v", err)
	}
	_, err, _ = connect(t, server.Server(), old.Client(MasterTarget))
	wantProblem(t, err, CodeRevoked, "serial number")
	if _, err := a.Issue(dir, ProcessServer, "", true); err != nil {
		t.Fatal(err)
	}
	_, err, _ = connect(t, server.Server(), mustOpen(t, dir, ProcessServer).Client(MasterTarget))
	wantProblem(t, err, CodeRevoked, "serial number")
}

// TestRevokedServer finds that a client leaves a server whose certificate is revoked.
func TestRevokedServer(t *testing.T) {
	ca := newPKI(t, 0)
	dir := only(t, ca, ProcessServer)
	server, client := mustOpen(t, ca, MasterTarget), mustOpen(t, dir, ProcessServer)
	if _, err := mustAuthority(t, ca).Revoke(dir, filepath.Join(ca, certFile(MasterTarget))); err != nil {
		t.Fatal(err)
	}
	client.Look()
	_, _, err := connect(t, server.Server(), client.Client(MasterTarget))
	wantProblem(t, err, CodeRevoked, "failback master-target")
}

func TestWatchLooksInTime(t *testing.T) {
	ca := newPKI(t, 0)
	synctest.Test(t, func(t *testing.T) { // the clock in here says 2000
		var said bytes.Buffer
		id := &Identity{dir: ca, role: Operator, log: slog.New(slog.NewTextHandler(&said, nil)), live: map[*guarded]struct{}{}}
		id.now.Store(&material{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go id.Watch(ctx)
		time.Sleep(watchEvery + time.Millisecond)
		synctest.Wait()
		if !strings.Contains(said.String(), CodeNotYet) {
			t.Errorf("after %v: said %q", watchEvery, said.String())
		}
	})
}

// TestEnrollerIssuesProcessServersOnly signs a master target's certificate with the enroller's key.
func TestEnrollerIssuesProcessServersOnly(t *testing.T) {
	ca := newPKI(t, 0)
	e, err := OpenEnroller(ca)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Roles() {
		dir := t.TempDir()
		text, err := e.certify(r, "", mustAuthority(t, ca).key.Public(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		copyFile(t, filepath.Join(ca, caCert), filepath.Join(dir, caCert))
		copyFile(t, filepath.Join(ca, caKey), filepath.Join(dir, keyFile(r)))
		if err := os.WriteFile(filepath.Join(dir, certFile(r)), text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = Open(dir, r, slog.New(slog.DiscardHandler))
		if r == ProcessServer {
			if err != nil {
				t.Errorf("%s: got %v", r, err)
			}
			continue
		}
		wantProblem(t, err, CodeInvalid, "may not issue such")
	}
	// Its own certificate is nobody's.
	m, err := load(ca, Operator, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.judge([]*x509.Certificate{e.cert}, x509.ExtKeyUsageAny, time.Now())
	wantProblem(t, err, CodeInvalid, "names no failback role")
	// Revoking it revokes all that it issued.
	if _, err := mustAuthority(t, ca).Revoke(ca, filepath.Join(ca, certFile(Enroller))); err != nil {
		t.Fatal(err)
	}
	if m, err = load(ca, Operator, time.Now()); err != nil {
		t.Fatal(err)
	}
	text, err := e.certify(ProcessServer, "", mustAuthority(t, ca).key.Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "c")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	chain, err := loadCerts(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.judge(chain, x509.ExtKeyUsageAny, time.Now())
	wantProblem(t, err, CodeRevoked, "failback enroller")
}
