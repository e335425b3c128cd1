package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/link"
	"failback/transport/pki"
)

// syncBuffer is a log of several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// office is a master target at which process servers enrol.
type office struct {
	address, certs string
	id             *pki.Identity
	token          link.Token
	log            syncBuffer
	redeemed       int
	refuse         error
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{certs: t.TempDir() + "/pki"}
	if _, err := pki.Init(o.certs); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&o.log, nil))
	var err error
	if o.id, err = pki.Open(o.certs, pki.MasterTarget, log); err != nil {
		t.Fatal(err)
	}
	pin, err := o.id.Pin()
	if err != nil {
		t.Fatal(err)
	}
	o.token = link.Token{ID: "00112233445566aa", Secret: [16]byte([]byte("recognisable-sec")), Pin: pin}
	var mu sync.Mutex
	a := &authority{connected: make(chan link.Worker, 4), redeem: func(got link.Token, key string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		o.redeemed++
		if got.ID != o.token.ID || got.Secret != o.token.Secret || len(key) != 32 {
			return "", &replication.Problem{Code: "token-refused", Message: "no", Remedy: "another"}
		}
		return "ps9", o.refuse
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewReplicationServer(a, o.id, "test", log)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	o.address = l.Addr().String()
	return o
}

// enrol runs the whole of a process server's side in dir.
func (o *office) enrol(dir string, token link.Token) error {
	e, err := pki.NewEnrolment(dir, token.Pin)
	if err != nil {
		return err
	}
	cert, ca, err := Enroll(context.Background(), o.address, token, e.CSR, false)
	if err != nil {
		return err
	}
	_, err = e.Finish(cert, ca)
	return err
}

func TestEnrolledProcessServerWorks(t *testing.T) {
	o := newOffice(t)
	dir := filepath.Join(t.TempDir(), "ps")
	if err := o.enrol(dir, o.token); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(dir, "process-server.key"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", fi, err)
	}
	c := dial(t, o.address, dir, pki.ProcessServer)
	if _, err := c.Pages(context.Background(), link.Fence{}, 0, 0); err != nil {
		t.Errorf("an enrolled process server: %v", err)
	}
	// By its own name, and by no other.
	ctx, cancel := context.WithCancel(context.Background())
	err = c.Work(ctx, "ps9", "", "test", nil, func(string, time.Duration) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("by its own name: %v", err)
	}
	err = c.Work(context.Background(), "ps1", "", "test", nil, func(string, time.Duration) {})
	if p := replication.AsProblem(err); p.Code != "name" || !strings.Contains(p.Message, "ps9") {
		t.Errorf("by another name: %v", err)
	}
	if err := o.enrol(dir, o.token); err == nil || !strings.Contains(err.Error(), "nothing was made") {
		t.Errorf("over a certificate that is there: %v", err)
	}
	secret := fmt.Sprintf("%x", o.token.Secret[:])
	if log := o.log.String(); !strings.Contains(log, "enrolled") || strings.Contains(log, "recognisable") || strings.Contains(log, secret) || strings.Contains(log, "PRIVATE") {
		t.Errorf("the log: %s", log)
	}
}

// TestEnrollingTwiceUsesOneKey breaks the connection when the certificate is on its way: the same directory tries again with the same key.
func TestEnrollingTwiceUsesOneKey(t *testing.T) {
	dir := t.TempDir()
	first, err := pki.NewEnrolment(dir, [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := pki.NewEnrolment(dir, [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	_, a, _ := pki.ParseRequest(first.CSR)
	_, b, _ := pki.ParseRequest(second.CSR)
	if a == "" || a != b {
		t.Errorf("keys %q and %q", a, b)
	}
	if err := os.Chmod(filepath.Join(dir, "process-server.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.NewEnrolment(dir, [32]byte{}); err == nil || !strings.Contains(replication.AsProblem(err).Remedy, "chmod 600") {
		t.Errorf("a key that others may read: %v", err)
	}
}

// TestEnrolmentCutOffGoesOn takes away what is written last: the same directory and token do again, and not beside the certificate of another authority.
func TestEnrolmentCutOffGoesOn(t *testing.T) {
	o, dir := newOffice(t), t.TempDir()
	if err := o.enrol(dir, o.token); err != nil {
		t.Fatal(err)
	}
	cert := filepath.Join(dir, "process-server.crt")
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if err := o.enrol(dir, o.token); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := pki.Open(dir, pki.ProcessServer, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
	others, err := os.ReadFile(filepath.Join(newOffice(t).certs, "ca.crt"))
	if err == nil {
		err = errors.Join(os.Remove(cert), os.WriteFile(filepath.Join(dir, "ca.crt"), others, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := o.enrol(dir, o.token); err == nil || !strings.Contains(err.Error(), "ca.crt is there already") {
		t.Errorf("beside another authority's certificate: %v", err)
	}
}

func TestEnrolRefusals(t *testing.T) {
	o := newOffice(t)
	refused := func(name string, err error, code string) {
		t.Helper()
		p := replication.AsProblem(err)
		if err == nil || p.Code != code || p.Remedy == "" || strings.Contains(p.Error()+p.Remedy, "recognisable") {
			t.Errorf("%s: got %v (%s), want %s", name, err, p.Code, code)
		}
	}
	wrong := o.token
	wrong.Secret[0]++
	refused("WrongSecret", o.enrol(t.TempDir(), wrong), "token-refused")
	o.refuse = &replication.Problem{Code: "name-bound", Message: "taken", Remedy: "another"}
	refused("EngineRefuses", o.enrol(t.TempDir(), o.token), "name-bound")
	o.refuse = nil

	// An impostor never sees the token: another CA, and another role of the same CA.
	other := newOffice(t)
	before := other.redeemed
	refused("Impostor", (&office{address: other.address}).enrol(t.TempDir(), o.token), pki.CodeOtherCA)
	if other.redeemed != before {
		t.Error("the token was sent to an impostor")
	}
	ps, err := pki.Open(o.certs, pki.ProcessServer, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", ps.EnrollServer())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		b, _ := io.ReadAll(c)
		got <- b
	}()
	refused("ProcessServerAsMasterTarget", (&office{address: l.Addr().String()}).enrol(t.TempDir(), o.token), pki.CodeOtherRole)
	if b := <-got; len(b) > 0 {
		t.Errorf("%d bytes were sent to who is no master target", len(b))
	}

	// No files of the enroller: the token is not used up.
	if err := os.Remove(filepath.Join(o.certs, "enroller.key")); err != nil {
		t.Fatal(err)
	}
	before = o.redeemed
	refused("NoEnroller", o.enrol(t.TempDir(), o.token), "no-enroller")
	if o.redeemed != before {
		t.Error("the token was used up for nothing")
	}
	if _, err := o.id.Pin(); err == nil {
		t.Error("a token could be made that nobody can use")
	}
	if strings.Contains(o.log.String(), "recognisable") {
		t.Errorf("the log: %s", o.log.String())
	}
}

// TestWithoutCertificateNothingElseIsServed speaks gRPC by the protocol of those who enrol, and without a certificate by gRPC's own.
func TestWithoutCertificateNothingElseIsServed(t *testing.T) {
	o := newOffice(t)
	for _, proto := range []string{pki.EnrollProtocol, "h2"} {
		c := pki.Pinned(o.token.Pin)
		c.NextProtos, c.VerifyConnection = []string{proto}, nil
		conn, err := grpc.NewClient("passthrough:///"+o.address, grpc.WithTransportCredentials(credentials.NewTLS(c)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, err = failbackpb.NewReplicationClient(conn).Pages(ctx, &failbackpb.PagesRequest{})
		if err == nil {
			t.Errorf("%s: a call without a certificate was answered", proto)
		}
	}
	// Lengths that lie, and rubbish.
	for _, b := range [][]byte{{0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 4, 1, 2, 3, 4}, {0, 0, 0, 0}} {
		conn, err := tls.Dial("tcp", o.address, pki.Pinned(o.token.Pin))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(b)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		var r failbackpb.EnrollReply
		if err := readMessage(conn, &r); err != nil || r.Problem == nil {
			t.Errorf("%x: got %v, %v, want a problem", b, &r, err)
		}
		conn.Close()
	}
	if o.redeemed != 0 {
		t.Error("a token was looked at")
	}
}

// TestEnrolmentTellsThatItIsBusy: who is not even looked at is told so by name, and the log tells once.
func TestEnrolmentTellsThatItIsBusy(t *testing.T) {
	var said bytes.Buffer
	e := &enrollment{busy: &quiet{log: slog.New(slog.NewTextHandler(&said, nil))}, under: maxEnrolling}
	for range 2 {
		ours, theirs := net.Pipe()
		go e.serve(ours)
		reply := &failbackpb.EnrollReply{}
		if err := readMessage(theirs, reply); err != nil || reply.Problem.GetCode() != codeEnrolBusy {
			t.Errorf("got %v, %v, want %s", reply, err, codeEnrolBusy)
		}
		theirs.Close()
	}
	if n := strings.Count(said.String(), codeEnrolBusy); n != 1 {
		t.Errorf("%d lines in the log, want 1: %s", n, said.String())
	}
}

func TestEnrolAttemptsAreBounded(t *testing.T) {
	e := &enrollment{}
	now := time.Unix(1000, 0)
	n := 0
	for range 100 {
		if e.begin(now) {
			n++
			e.end()
		}
	}
	if n != enrollBurst {
		t.Errorf("%d attempts at once, want %d", n, enrollBurst)
	}
	for range 100 { // ten a second, for ten seconds
		now = now.Add(100 * time.Millisecond)
		if e.begin(now) {
			n++
			e.end()
		}
	}
	if n < enrollBurst+9 || n > enrollBurst+10 {
		t.Errorf("%d attempts in ten seconds, want %d", n-enrollBurst, 10)
	}
	now = now.Add(time.Hour)
	for n = 0; e.begin(now); n++ {
	}
	if n != maxEnrolling {
		t.Errorf("%d side by side, want %d", n, maxEnrolling)
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], maxEnroll+1)
	if err := readMessage(bytes.NewReader(b[:]), &failbackpb.EnrollRequest{}); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a message that is too long: %v", err)
	}
}
