package relay

import (
	"bytes"
	"io"
	"net"
	"testing"
)

func TestRelayCountsBothWays(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answer := bytes.Repeat([]byte("b"), 70_000)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(io.Discard, c)
		c.Write(answer)
		c.Close()
	}()
	r, err := New(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	asked := bytes.Repeat([]byte("a"), 3<<20) // several portions, and a last one that is empty
	if _, err := c.Write(asked); err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, answer) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if toward, back := r.Counted(); toward != int64(len(asked)) || back != int64(len(answer)) {
		t.Errorf("counted %d and %d, want %d and %d", toward, back, len(asked), len(answer))
	}
}

func TestRelayIsCut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // an echo
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	r, err := New(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	passes := func(c net.Conn) bool {
		b := []byte("x")
		_, werr := c.Write(b)
		_, rerr := io.ReadFull(c, b)
		return werr == nil && rerr == nil
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", r.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	before := dial()
	if !passes(before) {
		t.Fatal("nothing passes")
	}
	r.Cut(true)
	if passes(before) || passes(dial()) {
		t.Error("it passes on what it is to cut")
	}
	r.Cut(false)
	if !passes(dial()) {
		t.Error("nothing passes any more")
	}
}
