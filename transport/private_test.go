package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/link"
	"failback/transport/pki"
)

func TestPrivateAddresses(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "127.255.255.255": true, "126.255.255.255": false, "128.0.0.0": false,
		"10.0.0.0": true, "10.255.255.255": true, "9.255.255.255": false, "11.0.0.0": false,
		"172.16.0.0": true, "172.31.255.255": true, "172.15.255.255": false, "172.32.0.0": false,
		"192.168.0.0": true, "192.168.255.255": true, "192.167.255.255": false, "192.169.0.0": false,
		"100.64.0.0": true, "100.127.255.255": true, "100.63.255.255": false, "100.128.0.0": false,
		"169.254.0.0": true, "169.254.255.255": true, "169.253.255.255": false, "169.255.0.0": false,
		"0.0.0.0": false, "8.8.8.8": false, "20.50.1.2": false, "192.0.2.1": false, "198.18.0.1": false, "224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::1": true, "::": false, "::2": false,
		"fc00::": true, "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": true, "fbff::1": false, "fe00::1": false,
		"fe80::1": true, "fe80::1%eth0": true, "febf::1": true, "fe7f::1": false, "fec0::1": false,
		"::ffff:10.1.2.3": true, "::ffff:192.168.1.1": true, "::ffff:8.8.8.8": false, "::10.1.2.3": false,
		"64:ff9b::10.1.2.3": false, "2002:a01:203::1": false, "2001::1": false, "2603:1000::1": false, "2001:db8::1": false, "ff02::1": false,
	} {
		if got := IsPrivate(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %v want %v", addr, got, want)
		}
	}
}

// from is a connection whose other end is where the test says.
type from struct {
	net.Conn
	addr net.Addr
	read *bool
}

func (f from) RemoteAddr() net.Addr { return f.addr }
func (f from) Read(b []byte) (int, error) {
	*f.read = true
	return f.Conn.Read(b)
}

type fromListener struct {
	conns chan net.Conn
}

func (l fromListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (fromListener) Close() error   { return nil }
func (fromListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestPrivateListenerClosesBeforeTheFirstByte(t *testing.T) {
	var said bytes.Buffer
	l := PrivateListener(fromListener{make(chan net.Conn, 8)}, slog.New(slog.NewTextHandler(&said, nil)))
	conns := l.(*privateListener).Listener.(fromListener).conns
	read := false
	var others []net.Conn
	for _, a := range []net.Addr{
		&net.TCPAddr{IP: net.IPv4(20, 1, 2, 3), Port: 1}, &net.TCPAddr{IP: net.IPv4(20, 1, 2, 3), Port: 2}, &net.TCPAddr{IP: net.ParseIP("2603::1"), Port: 1},
		&net.TCPAddr{IP: net.ParseIP("::ffff:10.0.0.1"), Port: 1}, &net.UnixAddr{Name: "@", Net: "unix"},
	} {
		ours, theirs := net.Pipe()
		conns <- from{ours, a, &read}
		others = append(others, theirs)
	}
	close(conns)
	for _, want := range []string{"10.0.0.1:1", "@"} {
		c, err := l.Accept()
		if err != nil || c.RemoteAddr().String() != want {
			t.Fatalf("accepted %v, %v, want %s", c, err, want)
		}
	}
	for i, c := range others[:3] {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("connection %d is not closed: %v", i, err)
		}
	}
	if read {
		t.Error("something was read of a refused connection")
	}
	if s := said.String(); strings.Count(s, CodePublic) != 2 || !strings.Contains(s, "private links only") || !strings.Contains(s, "--allow-public") || !strings.Contains(s, "20.1.2.3") {
		t.Errorf("said %s", s) // two hosts; the second attempt of one is not said again
	}
}

// newIdentity is a process server's, of a new authority.
func newIdentity(t *testing.T) *pki.Identity {
	t.Helper()
	certs := t.TempDir() + "/pki"
	if _, err := pki.Init(certs); err != nil {
		t.Fatal(err)
	}
	id, err := pki.Open(certs, pki.ProcessServer, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestDialPrivateOnly dials a public address, which must be refused before a packet leaves: 192.0.2.1 is nobody's.
func TestDialPrivateOnly(t *testing.T) {
	id := newIdentity(t)
	for _, address := range []string{"192.0.2.1:9443", "[2001:db8::1]:9443", "[::ffff:192.0.2.1]:9443"} {
		c, err := DialReplication(address, id, false)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = c.Work(context.Background(), "ps1", "", "test", nil, nil)
		var p *replication.Problem
		if !errors.As(err, &p) || p.Code != CodePublic || !strings.Contains(p.Error(), "private links only") || !strings.Contains(p.Remedy, "--allow-public") {
			t.Errorf("%s: got %v", address, err)
		}
		if time.Since(began) > dialTimeout/2 {
			t.Errorf("%s: took %v: it was dialled", address, time.Since(began))
		}
		c.Close()
	}
	var noted error // with leave, it is dialled
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := dialerOf(true, func(err error) { noted = err }, nil)(ctx, "192.0.2.1:9443"); err == nil || noted == nil || errors.As(err, new(*replication.Problem)) {
		t.Errorf("with leave: got %v", err)
	}
}

// TestDialWhatWasGiven has addresses that are none refused before anything is dialled, and the others dialled as they are: with a link-local address' zone.
func TestDialWhatWasGiven(t *testing.T) {
	id := newIdentity(t)
	for _, address := range []string{"", "10.1.0.4", "10.1.0.4:", "10.1.0.4:0", "10.1.0.4:99999", ":9443", "fd12::4:9443"} {
		_, err := DialReplication(address, id, false)
		if p := replication.AsProblem(err); err == nil || p.Code != "bad-address" || p.Remedy == "" {
			t.Errorf("%q: got %v", address, err)
		}
	}
	for _, address := range []string{"10.1.0.4:9443", "mt.example.com:9443", "[fe80::1%acc1]:9443", "[fe80::1%eth0]:9443"} {
		got := ""
		c, err := newReplicationClient(address, id, false, func(_ context.Context, a string) (net.Conn, error) {
			got = a
			return nil, errors.New("not today")
		})
		if err != nil {
			t.Fatalf("%q: %v", address, err)
		}
		_ = c.Work(context.Background(), "ps1", "", "test", nil, nil)
		c.Close()
		if got != address {
			t.Errorf("%q: dialled %q", address, got)
		}
	}
}

// TestRefusalsAreLoggedAsWhatTheyAre lets handshakes fail in every way.
func TestRefusalsAreLoggedAsWhatTheyAre(t *testing.T) {
	ours, theirs := t.TempDir()+"/a", t.TempDir()+"/b"
	for _, dir := range []string{ours, theirs} {
		if _, err := pki.Init(dir); err != nil {
			t.Fatal(err)
		}
	}
	open := func(dir string, r pki.Role) *pki.Identity {
		id, err := pki.Open(dir, r, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	config := func(change func(*tls.Config)) *tls.Config {
		c := open(ours, pki.ProcessServer).Client(pki.MasterTarget)
		change(c)
		return c
	}
	shake := func(c *tls.Config) func(net.Conn) {
		return func(raw net.Conn) { _ = tls.Client(raw, c).Handshake() }
	}
	for name, test := range map[string]struct {
		client func(net.Conn)
		code   string
		says   string
	}{
		"ClientOfAnotherCA": {shake(func() *tls.Config {
			c := open(theirs, pki.ProcessServer).Client(pki.MasterTarget)
			c.VerifyConnection = nil
			return c
		}()), pki.CodeOtherCA, "pki init"},
		"ClientRefusesOurs": {shake(open(theirs, pki.ProcessServer).Client(pki.MasterTarget)), CodeRefused, "bad certificate"},
		"NoCertificate":     {shake(config(func(c *tls.Config) { c.GetClientCertificate = nil })), pki.CodeInvalid, "no certificate"},
		"OldTLS":            {shake(config(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 })), CodeHandshake, "TLS 1.3"},
		"NotTLS":            {func(raw net.Conn) { _, _ = raw.Write([]byte("GET / HTTP/1.0\r\n\r\n")) }, CodeNotTLS, "does not speak TLS"},
		"Gone":              {func(net.Conn) {}, CodeLeft, "EOF"},
		"GoneHalfWay":       {func(raw net.Conn) { _, _ = raw.Write([]byte{22, 3, 1, 2, 0, 1}) }, CodeLeft, "before the handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			lines := make(chan string, 4)
			a := &authority{connected: make(chan link.Worker, 1)}
			s := NewReplicationServer(a, open(ours, pki.MasterTarget), "test", slog.New(slog.NewTextHandler(lineWriter(lines), nil)))
			defer s.Stop()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go s.Serve(l)
			raw, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			test.client(raw)
			if name != "NotTLS" {
				_ = raw.SetReadDeadline(time.Now().Add(time.Second))
				if name == "ClientOfAnotherCA" || name == "NoCertificate" {
					_, _ = io.ReadAll(raw)
				}
				raw.Close()
			} else {
				defer raw.Close()
			}
			select {
			case line := <-lines:
				if !strings.Contains(line, "code="+test.code+" ") || !strings.Contains(line, test.says) || strings.Contains(line, "internal") || !strings.Contains(line, "remedy=") {
					t.Errorf("got %s, want code=%s and %q", line, test.code, test.says)
				}
			case <-time.After(10 * time.Second):
				t.Error("nothing was logged")
			}
		})
	}
}

type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}
