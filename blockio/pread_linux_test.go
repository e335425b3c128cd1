package blockio

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestPreadIsThatOfTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	want := bytes.Repeat([]byte("0123456789"), 1000)
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r preads
	r.open(f)
	for _, c := range []struct{ off, n int64 }{{0, 10}, {7, 4096}, {9990, 10}, {9990, 11}, {9999, 2}, {10000, 1}, {20000, 5}, {0, 0}} {
		a, b := make([]byte, c.n), make([]byte, c.n)
		n, err := r.readAt(f, a, c.off)
		m, ferr := f.ReadAt(b, c.off)
		if n != m || !errors.Is(err, ferr) || !bytes.Equal(a, b) {
			t.Errorf("%+v: got %d, %v; the file %d, %v", c, n, err, m, ferr)
		}
	}
	if _, err := r.readAt(f, make([]byte, 1), -1); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("before the begin: got %v", err)
	}
	r.close()
	if _, err := r.readAt(f, make([]byte, 1), 0); err == nil || err == io.EOF {
		t.Errorf("after close: got %v", err)
	}
}
