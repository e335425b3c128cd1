package blockio

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLockLetsReadersIn has qemu-img read a disk that is open as a target.
func TestLockLetsReadersIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.vmdk")
	if err := Create(path, FormatVMFS, 1<<20); err != nil {
		t.Fatal(err)
	}
	d, err := OpenTarget(path, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if out, err := exec.Command("qemu-img", "compare", "-f", "vmdk", "-F", "vmdk", path, path).CombinedOutput(); err != nil {
		t.Errorf("qemu-img (Debian package qemu-utils) can't read a target that is open: %v\n%s", err, out)
	}
	if _, err := OpenTarget(path, TargetOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("second open: got %v want ErrInUse", err)
	}
}

// TestLockKeepsQEMUFromWriting: a QEMU that comes after us cannot open the disk for writing.
func TestLockKeepsQEMUFromWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.raw")
	if err := Create(path, FormatRaw, 1<<20); err != nil {
		t.Fatal(err)
	}
	d, err := OpenTarget(path, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Fatal("qemu-io is missing: install the Debian package qemu-utils")
	}
	if out, err := exec.Command("qemu-io", "-f", "raw", "-c", "write 0 512", path).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("lock")) {
		t.Errorf("qemu-io wrote into a target that is open: %v\n%s", err, out)
	}
}

// TestLockFindsWriters opens a disk that others hold: one locks all of it, one as QEMU does that may write it.
func TestLockFindsWriters(t *testing.T) {
	for name, lock := range map[string]unix.Flock_t{
		"WholeFile": {Type: unix.F_WRLCK},
		"QEMU":      {Type: unix.F_RDLCK, Start: qemuWriteByte, Len: 1},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.raw")
			if err := Create(path, FormatRaw, 1<<20); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenTarget(path, TargetOptions{}); !errors.Is(err, ErrInUse) {
				t.Errorf("got %v want ErrInUse", err)
			}
		})
	}
}

// TestLockFindsQEMU opens a disk that a real qemu-io is writing.
func TestLockFindsQEMU(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.raw")
	if err := Create(path, FormatRaw, 1<<20); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("qemu-io", "-f", "raw", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("qemu-io (Debian package qemu-utils): %v", err)
	}
	defer func() { in.Close(); cmd.Wait() }()
	if _, err := in.Write([]byte("write 0 512\n")); err != nil {
		t.Fatal(err)
	}
	seen := make(chan struct{})
	go func() {
		var b bytes.Buffer
		p := make([]byte, 256)
		for !bytes.Contains(b.Bytes(), []byte("wrote")) {
			n, err := out.Read(p)
			if err != nil {
				return
			}
			b.Write(p[:n])
		}
		close(seen)
	}()
	select {
	case <-seen:
	case <-time.After(10 * time.Second):
		t.Fatal("qemu-io did not write")
	}
	if _, err := OpenTarget(path, TargetOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v want ErrInUse", err)
	}
}

// TestLockEndsWithClose: a copy of the descriptor, as a process has that was just forked, does not keep the lock.
func TestLockEndsWithClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.raw")
	if err := Create(path, FormatRaw, 1<<20); err != nil {
		t.Fatal(err)
	}
	d, err := OpenTarget(path, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var inherited int
	f := d.(*image).files[0].(*osFile).f
	if err := control(f, func(fd int) (err error) { inherited, err = unix.Dup(fd); return err }); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenTarget(path, TargetOptions{})
	if err != nil {
		t.Fatalf("open again: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
