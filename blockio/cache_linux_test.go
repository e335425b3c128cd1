package blockio

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestTargetIsReadFromStorageAfterOpen: what memory holds of a file when it is opened for writing may be what a failed sync has lost.
func TestTargetIsReadFromStorageAfterOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 8 << 20
	if _, err := f.Write(bytes.Repeat([]byte{7}, size)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	before := cached(t, f, size)
	if before < size/2 {
		t.Skipf("only %d of %d bytes are cached", before, size)
	}
	forgetCached(f)
	if cached(t, f, size) > size/2 {
		t.Skip("the file system keeps what it has in memory")
	}
	if _, err := f.ReadAt(make([]byte, size), 0); err != nil {
		t.Fatal(err)
	}
	d, err := OpenTarget(path, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if n := cached(t, f, size); n > size/2 {
		t.Errorf("%d of %d bytes are still taken from memory", n, size)
	}
}

// cached returns how many bytes of a file are in memory.
func cached(t *testing.T, f *os.File, size int) (n int) {
	t.Helper()
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	page := os.Getpagesize()
	in := make([]byte, size/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(size), uintptr(unsafe.Pointer(&in[0]))); errno != 0 {
		t.Skip(errno)
	}
	for _, b := range in {
		n += int(b&1) * page
	}
	return n
}
