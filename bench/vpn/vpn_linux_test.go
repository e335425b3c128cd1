package vpn

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Another process of this test, in the namespace, dials the address in this variable.
const dialVariable = "FAILBACK_VPN_TEST_DIAL"

func TestMain(m *testing.M) {
	if addr := os.Getenv(dialVariable); addr != "" {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			os.Exit(3)
		}
		b := make([]byte, 1<<20)
		var n int
		for n < 4 {
			if _, err := c.Write(b); err != nil {
				os.Exit(4)
			}
			n++
		}
		if _, err := c.Read(b[:1]); err != nil {
			os.Exit(5)
		}
		return
	}
	os.Exit(m.Run())
}

// world is a link, a listener at its near end, and the command that dials it from the far one.
func world(t *testing.T, o Options) (*VPN, net.Listener, *exec.Cmd) {
	t.Helper()
	if err := Usable(); err != nil {
		t.Skip(err)
	}
	v, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	l, err := net.Listen("tcp", v.Near()+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	cmd := v.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dialVariable+"="+l.Addr().String())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return v, l, cmd
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

func TestLinkCarriesAndCounts(t *testing.T) {
	for _, offload := range []bool{false, true} {
		o := Options{Offload: offload, Line: Line{Rate: Mbit(100), RTT: 20 * time.Millisecond}}
		t.Run(map[bool]string{false: "Packets", true: "Offload"}[offload], func(t *testing.T) {
			v, l, cmd := world(t, o)
			c := accept(t, l)
			begin := time.Now()
			if _, err := io.CopyN(io.Discard, c, 4<<20); err != nil {
				t.Fatal(err)
			}
			took := time.Since(begin)
			if least := 300 * time.Millisecond; took < least { // 4 MiB at 100 Mbit/s are 335 ms, less what was under way
				t.Errorf("took %v: the rate does not hold", took)
			}
			c.Write([]byte{1})
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			away, home := v.Counted()
			if got := home.Payload - home.Again; got != 4<<20 {
				t.Errorf("counted %d bytes of payload, %d of them sent again", home.Payload, home.Again)
			}
			if away.Payload < 1 || home.Bytes <= home.Payload || !offload && home.Packets < 4<<20/1400 {
				t.Errorf("counted %+v and %+v", away, home)
			}
		})
	}
}

func TestForgottenConnectionIsReset(t *testing.T) {
	v, l, cmd := world(t, Options{Line: Line{Rate: Mbit(8)}})
	c := accept(t, l)
	if _, err := io.CopyN(io.Discard, c, 64<<10); err != nil {
		t.Fatal(err)
	}
	v.Forget(true)
	if _, err := io.Copy(io.Discard, c); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("got %v want a reset", err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the other end does not know")
	}
}

func TestLargePacketsVanish(t *testing.T) {
	v, l, _ := world(t, Options{Line: Line{Blackhole: 1000}})
	c := accept(t, l) // the handshake's packets are small
	c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !os.IsTimeout(err) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if _, home := v.Counted(); home.Lost == 0 {
		t.Error("nothing was lost")
	}
}

func TestStallHoldsOneConnectionInSo(t *testing.T) {
	s := Stall{Of: 8, Every: 10 * time.Second, For: 2 * time.Second}
	for _, x := range []struct {
		number int
		at     time.Duration
		want   time.Duration
	}{{0, 0, 0}, {1, 0, 2 * time.Second}, {1, 11500 * time.Millisecond, 500 * time.Millisecond}, {1, 3 * time.Second, 0}, {2, 0, 0}, {8, 0, 0}, {9, 0, 2 * time.Second}} {
		if got := s.until(x.number, x.at); got != x.want {
			t.Errorf("connection %d at %v: held for %v, want %v", x.number, x.at, got, x.want)
		}
	}
}
