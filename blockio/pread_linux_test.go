package blockio

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPreadIsThatOfTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	want := bytes.Repeat([]byte("0123456789"), 30000)
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
	for _, c := range []struct{ off, n int64 }{{0, 10}, {7, 4096}, {299990, 10}, {299990, 11}, {299999, 2}, {300000, 1}, {400000, 5}, {0, 0}} {
		a, b := make([]byte, c.n), make([]byte, c.n)
		n, err := r.readAt(f, a, c.off)
		m, ferr := f.ReadAt(b, c.off)
		if n != m || !errors.Is(err, ferr) || !bytes.Equal(a, b) {
			t.Errorf("%+v: got %d, %v; the file %d, %v", c, n, err, m, ferr)
		}
	}
	for cut := int64(0); cut < 3<<16; cut += 1 << 16 { // of a file that is cached up to there
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fadvise(int(f.Fd()), cut, 0, unix.FADV_DONTNEED); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1<<16)
		if n, err := r.readAt(f, got, cut-1<<15); cut > 0 && (err != nil || n != len(got) || !bytes.Equal(got, want[cut-1<<15:cut+1<<15])) {
			t.Errorf("cached up to %d: got %d, %v, or other bytes", cut, n, err)
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
