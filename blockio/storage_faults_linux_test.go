package blockio_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"failback/blockio"
	"failback/blockio/blockiotest"
)

// TestFullFileSystem: a thin disk that can't grow says so where it happens, and goes on when there is space again. A thick one is not made at all.
func TestFullFileSystem(t *testing.T) {
	for _, caching := range cachings {
		t.Run(string(caching), func(t *testing.T) {
			dir := mounted(t, "ext4")
			thin := filepath.Join(dir, "x.vmdk")
			if err := blockio.Create(thin, blockio.FormatVMFS, 64<<20); err != nil {
				t.Fatal(err)
			}
			d, err := openWith(thin, caching)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() }) // before the file system goes
			p := blockiotest.Pattern(1, 1<<20)
			if _, err := d.WriteAt(p, 0); err != nil {
				t.Fatal(err)
			}
			var st syscall.Statfs_t
			if err := syscall.Statfs(dir, &st); err != nil {
				t.Fatal(err)
			}
			filler := filepath.Join(dir, "filler")
			runTool(t, "fallocate", "--length", fmt.Sprint(int64(st.Bavail)*st.Bsize-(24<<20)), filler)
			if err := blockio.CreateThick(filepath.Join(dir, "y.vmdk"), 64<<20); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("a thick disk without space: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "y*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			full := int64(0)
			for off := int64(1 << 20); off < 64<<20 && full == 0; off += 1 << 20 {
				if _, err := d.WriteAt(p, off); err != nil {
					full = off
					if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, blockio.ErrPoisoned) || !strings.Contains(err.Error(), fmt.Sprintf("offset %d", off)) {
						t.Errorf("a write without space: %v", err)
					}
				}
			}
			if full == 0 {
				t.Fatal("the file system was never full")
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			if _, err := d.WriteAt(p, full); err != nil {
				t.Errorf("there is space again: %v", err)
			}
			if err := d.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// TestBrokenDevice: the file under a loop device is cut, so that its end can't be read or written any more.
func TestBrokenDevice(t *testing.T) {
	for _, caching := range cachings {
		t.Run(string(caching), func(t *testing.T) {
			const size = 8 << 20
			device := attached(t, t.TempDir(), size)
			d, err := openWith(device, caching)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.WriteAt(blockiotest.Pattern(1, size), 0); err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(runTool(t, "losetup", "--noheadings", "--output", "BACK-FILE", device), 4<<20); err != nil {
				t.Fatal(err)
			}
			if d, err = openWith(device, caching); err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			n, err := d.ReadAt(make([]byte, 1<<20), 7<<20)
			if err == nil { // what is behind the end of its file is zeros to this kernel's driver
				t.Skipf("the loop device reads what is not there: %d bytes", n)
			}
			if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), fmt.Sprintf("offset %d", 7<<20)) || !strings.Contains(err.Error(), device) {
				t.Errorf("a read that fails: %d, %v", n, err)
			}
			if _, err := d.ReadAt(make([]byte, 1<<20), 0); err != nil {
				t.Errorf("the rest can be read: %v", err)
			}
		})
	}
}

// TestDeviceWithoutSpace: a device on thin storage that is full fails with the write when that is direct, and with the sync, which poisons, when it is not.
func TestDeviceWithoutSpace(t *testing.T) {
	for _, caching := range cachings {
		t.Run(string(caching), func(t *testing.T) {
			dir := mounted(t, "ext4")
			device := attached(t, dir, 64<<20)
			var st syscall.Statfs_t
			if err := syscall.Statfs(dir, &st); err != nil {
				t.Fatal(err)
			}
			runTool(t, "fallocate", "--length", fmt.Sprint(int64(st.Bavail)*st.Bsize-(24<<20)), filepath.Join(dir, "filler"))
			d, err := openWith(device, caching)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			p := blockiotest.Pattern(1, 1<<20)
			var failed error
			for off := int64(0); off < 64<<20 && failed == nil; off += 1 << 20 {
				_, failed = d.WriteAt(p, off)
			}
			direct := failed != nil
			if failed == nil {
				failed = d.Sync()
			}
			t.Logf("%s: %v", caching, failed)
			if !errors.Is(failed, syscall.ENOSPC) && !errors.Is(failed, syscall.EIO) || direct != (caching == blockio.CachingDirect) {
				t.Errorf("a device without space: %v", failed)
			}
			if errors.Is(failed, blockio.ErrPoisoned) == direct {
				t.Errorf("poisoned, by direct writes %v: %v", direct, failed)
			}
			if err := d.Close(); (err == nil) != direct {
				t.Errorf("Close: %v", err)
			}
		})
	}
}
