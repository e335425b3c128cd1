package blockio_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"failback/blockio"
)

// runTool runs a tool of the system, or skips the test where it is not there.
func runTool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestFingerprintSeesMounts: a stranger that mounts a file system on a device and writes one file is seen, wherever that file is.
func TestFingerprintSeesMounts(t *testing.T) {
	for _, c := range []struct {
		name, mkfs string
		args       []string
	}{
		{"ext4", "mkfs.ext4", []string{"-q", "-F"}},
		{"xfs", "mkfs.xfs", []string{"-q", "-f"}},
		{"btrfs", "mkfs.btrfs", []string{"-q", "-f"}},
		{"vfat", "mkfs.vfat", nil},
	} {
		for _, start := range []int64{0, 1 << 20} { // the whole device, and its first partition
			t.Run(c.name+map[bool]string{true: "", false: "/partition"}[start == 0], func(t *testing.T) {
				const size = 400 << 20
				device := loopDevice(t, size)
				if start > 0 {
					writePartition(t, device, start, size-start)
				}
				backing := runTool(t, "losetup", "--noheadings", "--output", "BACK-FILE", device)
				// with calls do with what the file system is on. A partition is a loop device of its own on the same file.
				with := func(do func(part string)) {
					t.Helper()
					if start == 0 {
						do(device)
					} else {
						part := runTool(t, "losetup", "--find", "--show", "--offset", fmt.Sprint(start), backing)
						defer runTool(t, "losetup", "--detach", part)
						do(part)
						runTool(t, "blockdev", "--flushbufs", part)
					}
					runTool(t, "blockdev", "--flushbufs", device)
				}
				with(func(part string) { runTool(t, c.mkfs, append(c.args, part)...) })
				take := func() blockio.Fingerprint {
					t.Helper()
					d, err := blockio.OpenTarget(device, blockio.TargetOptions{})
					if err != nil {
						t.Fatal(err)
					}
					defer d.Close()
					f, err := d.Fingerprint(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					return f
				}
				was := take()
				if err := was.Check(take()); err != nil {
					t.Errorf("nobody wrote: %v", err)
				}
				with(func(part string) {
					dir := t.TempDir()
					if out, err := exec.Command("mount", part, dir).CombinedOutput(); err != nil {
						t.Skipf("mount: %v: %s", err, out)
					}
					defer runTool(t, "umount", dir)
					if start == 0 {
						if _, err := blockio.OpenTarget(device, blockio.TargetOptions{}); !errors.Is(err, blockio.ErrInUse) {
							t.Errorf("a mounted device: %v", err)
						}
					}
					if err := os.WriteFile(filepath.Join(dir, "stranger"), []byte("was here"), 0o600); err != nil {
						t.Error(err)
					}
				})
				if err := was.Check(take()); !errors.Is(err, blockio.ErrChanged) {
					t.Errorf("a stranger has mounted it and written a file: %v", err)
				}
			})
		}
	}
}

// writePartition puts a partition table with one partition onto a device.
func writePartition(t *testing.T, device string, start, size int64) {
	t.Helper()
	table := make([]byte, 512)
	table[446+4] = 0x83
	binary.LittleEndian.PutUint32(table[446+8:], uint32(start/512))
	binary.LittleEndian.PutUint32(table[446+12:], uint32(size/512))
	table[510], table[511] = 0x55, 0xaa
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(table, 0); err != nil {
		t.Fatal(err)
	}
}
