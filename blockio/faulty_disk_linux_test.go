package blockio_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"failback/blockio"
	"failback/blockio/blockiotest"
)

func TestMain(m *testing.M) {
	blockiotest.ServeFaultyFile()
	os.Exit(m.Run())
}

const faultySize = 4 << 20

// faultyDisks are disks on a faulty file.
var faultyDisks = map[string]func(t *testing.T) (path, data string){
	"Raw": func(t *testing.T) (string, string) {
		path := filepath.Join(t.TempDir(), "x.img")
		writeFile(t, path, make([]byte, faultySize))
		return path, path
	},
	"VMDK": func(t *testing.T) (string, string) {
		path := mustCreate(t, "x.vmdk", blockio.FormatVMFS, faultySize)
		return path, filepath.Join(filepath.Dir(path), "x-flat.vmdk")
	},
}

// openFaulty opens a disk on a faulty file, with content.
func openFaulty(t *testing.T, make func(t *testing.T) (path, data string)) (blockio.Target, *blockiotest.FaultyFile, string) {
	t.Helper()
	path, data := make(t)
	f := blockiotest.NewFaultyFile(t, data)
	d := mustOpen(t, path)
	t.Cleanup(func() { d.Close() })
	if _, err := d.WriteAt(blockiotest.Pattern(1, faultySize), 0); err != nil {
		t.Fatal(err)
	}
	return d, f, data
}

// requested counts what was asked of a file: reads, writes, syncs.
func requested(f *blockiotest.FaultyFile) int {
	n := f.Requests()
	return n[blockiotest.Read] + n[blockiotest.Write] + n[blockiotest.Fsync]
}

// TestSystemErrors: every error of a system call comes back from the call that it belongs to, once, with file and offset; what follows is as if it had not been. ENXIO and ENODEV are those
// of a device that is gone, ESTALE that of a file which an NFS server does not know any more.
func TestSystemErrors(t *testing.T) {
	const at, n = 70_000, 300_000
	for name, disk := range faultyDisks {
		for _, errno := range []unix.Errno{unix.EIO, unix.ENXIO, unix.ENODEV, unix.ENOSPC, unix.EDQUOT, unix.ESTALE} {
			t.Run(fmt.Sprintf("%s/%s", name, unix.ErrnoName(errno)), func(t *testing.T) {
				d, f, data := openFaulty(t, disk)
				p := blockiotest.Pattern(2, n)
				for operation, call := range map[blockiotest.Operation]func() error{
					blockiotest.Read:  func() error { _, err := d.ReadAt(make([]byte, n), at); return err },
					blockiotest.Write: func() error { _, err := d.WriteAt(p, at); return err },
				} {
					f.Fail(operation, errno)
					err := call()
					if !errors.Is(err, errno) || errors.Is(err, blockio.ErrPoisoned) || !strings.Contains(err.Error(), fmt.Sprintf("offset %d", at)) ||
						!strings.Contains(err.Error(), data) {
						t.Errorf("operation %d: %v", operation, err)
					}
					f.Fail(operation, 0)
					if err := call(); err != nil {
						t.Errorf("operation %d, when it works again: %v", operation, err)
					}
				}
				if err := d.Sync(); err != nil {
					t.Errorf("a write that failed has said so already: Sync: %v", err)
				}
				f.Fail(blockiotest.Fsync, errno)
				first := d.Sync()
				if !errors.Is(first, blockio.ErrPoisoned) || !errors.Is(first, errno) || !strings.Contains(first.Error(), data) {
					t.Errorf("Sync: %v", first)
				}
				f.Fail(blockiotest.Fsync, 0)
				requests := requested(f)
				_, readErr := d.ReadAt(p, at)
				_, writeErr := d.WriteAt(p, at)
				for call, err := range map[string]error{"ReadAt": readErr, "WriteAt": writeErr, "Zero": d.Zero(0, 1), "Sync": d.Sync(), "Close": d.Close()} {
					if err != first {
						t.Errorf("%s of a poisoned disk: %v", call, err)
					}
				}
				if now := requested(f); now != requests {
					t.Errorf("a poisoned disk was used: %d requests", now-requests)
				}
			})
		}
	}
}

// TestShortWrites: what a system call did only in part is gone on with, and an error then is told.
func TestShortWrites(t *testing.T) {
	for name, disk := range faultyDisks {
		t.Run(name, func(t *testing.T) {
			d, f, data := openFaulty(t, disk)
			want := blockiotest.Pattern(2, 300_000)
			f.Short(true)
			before := f.Requests()[blockiotest.Write]
			if n, err := d.WriteAt(want, 5000); n != len(want) || err != nil {
				t.Errorf("WriteAt: %d, %v", n, err)
			}
			if n := f.Requests()[blockiotest.Write] - before; n < 6 {
				t.Errorf("%d requests: they were not short", n)
			}
			got := make([]byte, len(want))
			if _, err := d.ReadAt(got, 5000); err != nil || !bytes.Equal(got, want) {
				t.Errorf("ReadAt: %v, or something else than was written", err)
			}
			// The file ends before its disk does: those are no zeros.
			f.Cut(100_000)
			if n, err := d.ReadAt(got, 5000); err == nil || n > 95_000 || !strings.Contains(err.Error(), data) {
				t.Errorf("a file that ends early: %d, %v", n, err)
			}
		})
	}
}

// TestStorageGone: the storage below a loop device goes away with requests under way (a file system that was shut down). Each request fails by itself, named, whether it is handed to
// the kernel one by one or through a queue; nothing hangs, and what a sync could not write poisons.
func TestStorageGone(t *testing.T) {
	const lanes, piece = 16, 64 << 10
	if _, err := exec.LookPath("xfs_io"); err != nil {
		t.Skip("xfs_io is not installed")
	}
	for _, caching := range cachings {
		t.Run(string(caching), func(t *testing.T) {
			dir := mounted(t, "xfs")
			device := attached(t, dir, 16<<20)
			d, err := openWith(device, caching)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			p := blockiotest.Pattern(1, piece)
			if _, err := d.WriteAt(p, 0); err != nil {
				t.Fatal(err)
			}
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
			runTool(t, "xfs_io", "-x", "-c", "shutdown", dir)
			failed := make([]error, lanes)
			var wait sync.WaitGroup
			for i := range lanes {
				wait.Go(func() { _, failed[i] = d.WriteAt(p, int64(i)*piece*4) })
			}
			wait.Wait()
			if caching == blockio.CachingDirect {
				for i, err := range failed {
					if !errors.Is(err, unix.EIO) || errors.Is(err, blockio.ErrPoisoned) || !strings.Contains(err.Error(), fmt.Sprintf("offset %d,", i*piece*4)) || !strings.Contains(err.Error(), device) {
						t.Errorf("write %d: %v", i, err)
					}
				}
				if _, err := d.ReadAt(make([]byte, piece), 1<<20); !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), fmt.Sprintf("offset %d,", 1<<20)) {
					t.Errorf("read: %v", err)
				}
			}
			first := d.Sync()
			if caching == blockio.CachingBuffered && (!errors.Is(first, blockio.ErrPoisoned) || !errors.Is(first, unix.EIO) || !strings.Contains(first.Error(), device)) {
				t.Errorf("Sync: %v", first)
			}
			if err := d.Close(); first != nil && err != first {
				t.Errorf("Close: %v, want %v", err, first)
			}
		})
	}
}

// TestDeviceNobodyDrives: a device node whose device is gone.
func TestDeviceNobodyDrives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone")
	if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(240, 0))); err != nil { // a number for local use
		t.Skipf("mknod: %v", err)
	}
	_, errTarget := blockio.OpenTarget(path, blockio.TargetOptions{})
	_, errReader := blockio.OpenReader(path)
	_, errProbe := blockio.Probe(path)
	for call, err := range map[string]error{"OpenTarget": errTarget, "OpenReader": errReader, "Probe": errProbe} {
		if !errors.Is(err, unix.ENXIO) || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%s: %v", call, err)
		}
	}
}
