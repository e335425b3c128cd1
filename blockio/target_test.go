//go:build linux

package blockio_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"failback/blockio"
)

// refused checks that path cannot be opened as a target, because of each of want, and that Probe says so too.
func refused(t *testing.T, path, reason string, want ...error) {
	t.Helper()
	d, err := blockio.OpenTarget(path, blockio.TargetOptions{})
	if err == nil {
		d.Close()
		t.Error("OpenTarget succeeded")
	}
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("OpenTarget: %v, want %v", err, w)
		}
	}
	if err != nil && !strings.Contains(err.Error(), reason) {
		t.Errorf("OpenTarget: %v, want %q in it", err, reason)
	}
	if desc, err := blockio.Probe(path); err == nil && desc.TargetRefusal == "" {
		t.Errorf("Probe finds nothing against %s", path)
	}
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

// TestTargetRules has one case for each reason not to write a disk.
func TestTargetRules(t *testing.T) {
	child := func(hint, parentCID string) []byte {
		return []byte("# Disk DescriptorFile\nversion=1\nCID=00000007\nparentCID=" + parentCID + "\ncreateType=\"vmfsSparse\"\nparentFileNameHint=\"" +
			hint + "\"\nRW 2048 VMFSSPARSE \"c-delta.vmdk\"\n")
	}
	cases := []struct {
		name   string
		format blockio.Format
		spoil  func(t *testing.T, path string)
		reason string
		want   []error
	}{
		{"ChildByHint", blockio.FormatVMFS, func(t *testing.T, path string) {
			writeFile(t, filepath.Join(filepath.Dir(path), "other.vmdk"), child("x.vmdk", "00000001"))
		}, "other.vmdk", []error{blockio.ErrNotTarget}},
		{"ChildByAbsoluteHint", blockio.FormatMonolithicSparse, func(t *testing.T, path string) {
			writeFile(t, filepath.Join(filepath.Dir(path), "other.vmdk"), child("/vmfs/volumes/a/x.vmdk", "00000001"))
		}, "other.vmdk", []error{blockio.ErrNotTarget}},
		{"ChildByContentID", blockio.FormatVMFS, func(t *testing.T, path string) {
			d, err := blockio.Probe(path)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(filepath.Dir(path), "other.vmdk"), child("renamed.vmdk", fmt.Sprintf("%x", d.ContentID)))
		}, "other.vmdk", []error{blockio.ErrNotTarget}},
		{"SnapshotByName", blockio.FormatVMFS, func(t *testing.T, path string) {
			writeFile(t, filepath.Join(filepath.Dir(path), "x-000002-sesparse.vmdk"), nil)
		}, "x-000002-sesparse.vmdk", []error{blockio.ErrNotTarget}},
		{"IsASnapshot", blockio.FormatVMFS, func(t *testing.T, path string) {
			edit(t, path, "parentCID=ffffffff", "parentCID=12345678\nparentFileNameHint=\"base.vmdk\"")
		}, "base.vmdk", []error{blockio.ErrNotTarget}},
		{"LockOfHostOnData", blockio.FormatVMFS, func(t *testing.T, path string) {
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], inodeOf(t, filepath.Join(filepath.Dir(path), "x-flat.vmdk")))
			writeFile(t, filepath.Join(filepath.Dir(path), ".lck-"+hex.EncodeToString(b[:])), nil)
		}, ".lck-", []error{blockio.ErrNotTarget, blockio.ErrInUse}},
		{"LockOfHostOnDescriptor", blockio.FormatVMFS, func(t *testing.T, path string) {
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], inodeOf(t, path))
			writeFile(t, filepath.Join(filepath.Dir(path), ".lck-"+hex.EncodeToString(b[:])), nil)
		}, ".lck-", []error{blockio.ErrNotTarget, blockio.ErrInUse}},
		{"LockOfWorkstation", blockio.FormatMonolithicSparse, func(t *testing.T, path string) {
			if err := os.Mkdir(path+".lck", 0o700); err != nil {
				t.Fatal(err)
			}
		}, "x.vmdk.lck", []error{blockio.ErrNotTarget, blockio.ErrInUse}},
		{"ReadOnlyExtent", blockio.FormatVMFS, func(t *testing.T, path string) { edit(t, path, "RW ", "RDONLY ") }, "RDONLY", []error{blockio.ErrNotTarget}},
		{"ZeroExtent", blockio.FormatMonolithicFlat, func(t *testing.T, path string) { edit(t, path, "RW ", "RW 64 ZERO\nRW ") }, "ZERO", []error{blockio.ErrNotTarget}},
		{"RawDeviceMapping", blockio.FormatVMFS, func(t *testing.T, path string) {
			edit(t, path, `createType="vmfs"`, `createType="vmfsRawDeviceMap"`)
			edit(t, path, "VMFS ", "VMFSRDM ")
		}, "VMFSRDM", []error{blockio.ErrNotTarget}},
		{"StreamOptimized", blockio.FormatVMFS, func(t *testing.T, path string) {
			edit(t, path, `createType="vmfs"`, `createType="streamOptimized"`)
		}, "streamOptimized", []error{blockio.ErrNotTarget}},
		{"SESparse", blockio.FormatVMFS, func(t *testing.T, path string) {
			edit(t, path, "VMFS ", "SESPARSE ")
		}, "magic", []error{blockio.ErrCorrupt}},
		{"AbsoluteExtent", blockio.FormatVMFS, func(t *testing.T, path string) { edit(t, path, "x-flat.vmdk", path) }, "leads out", []error{blockio.ErrNotTarget}},
		{"ParentDirectoryExtent", blockio.FormatVMFS, func(t *testing.T, path string) { edit(t, path, "x-flat.vmdk", "../x-flat.vmdk") }, "leads out", []error{blockio.ErrNotTarget}},
		{"ParentDirectoryInside", blockio.FormatVMFS, func(t *testing.T, path string) { edit(t, path, "x-flat.vmdk", "a/../x-flat.vmdk") }, "leads out", []error{blockio.ErrNotTarget}},
		{"SymlinkOutside", blockio.FormatVMFS, func(t *testing.T, path string) {
			flat, outside := filepath.Join(filepath.Dir(path), "x-flat.vmdk"), filepath.Join(t.TempDir(), "o")
			if err := errors.Join(os.Rename(flat, outside), os.Symlink(outside, flat)); err != nil {
				t.Fatal(err)
			}
		}, "x-flat.vmdk", nil},
		{"FIFOExtent", blockio.FormatVMFS, func(t *testing.T, path string) {
			flat := filepath.Join(filepath.Dir(path), "x-flat.vmdk")
			if err := errors.Join(os.Remove(flat), syscall.Mkfifo(flat, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file", []error{blockio.ErrNotTarget}},
		{"MissingExtent", blockio.FormatVMFS, func(t *testing.T, path string) {
			if err := os.Remove(filepath.Join(filepath.Dir(path), "x-flat.vmdk")); err != nil {
				t.Fatal(err)
			}
		}, "x-flat.vmdk", []error{blockio.ErrCorrupt}},
		{"ShortExtent", blockio.FormatVMFS, func(t *testing.T, path string) {
			if err := os.Truncate(filepath.Join(filepath.Dir(path), "x-flat.vmdk"), 1<<20-1); err != nil {
				t.Fatal(err)
			}
		}, "offset 1048575", []error{blockio.ErrCorrupt}},
		{"EmptyExtent", blockio.FormatVMFS, func(t *testing.T, path string) {
			if err := os.Truncate(filepath.Join(filepath.Dir(path), "x-flat.vmdk"), 0); err != nil {
				t.Fatal(err)
			}
		}, "offset 0", []error{blockio.ErrCorrupt}},
		{"OverlappingExtents", blockio.FormatMonolithicFlat, func(t *testing.T, path string) {
			edit(t, path, extentText(2048, "x-flat.vmdk", 0), extentText(1024, "x-flat.vmdk", 0)+extentText(1024, "x-flat.vmdk", 1023))
		}, "share", []error{blockio.ErrCorrupt}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := mustCreate(t, "x.vmdk", c.format, 1<<20)
			mustOpen(t, path).Close()
			c.spoil(t, path)
			before := snapshotOf(t, filepath.Dir(path))
			refused(t, path, c.reason, c.want...)
			if after := snapshotOf(t, filepath.Dir(path)); after != before {
				t.Error("a file changed although the disk was refused")
			}
		})
	}
}

// snapshotOf is the names and the content of the regular files in dir.
func snapshotOf(t *testing.T, dir string) string {
	t.Helper()
	var b bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		fmt.Fprintln(&b, path)
		if err == nil && d.Type().IsRegular() {
			content, err := os.ReadFile(path)
			b.Write(content)
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTargetRefusesOtherNames(t *testing.T) {
	path := mustCreate(t, "x.vmdk", blockio.FormatVMFS, 1<<20)
	refused(t, filepath.Join(filepath.Dir(path), "x-flat.vmdk"), "descriptor", blockio.ErrNotTarget)
	refused(t, filepath.Dir(path), "regular file", blockio.ErrUnsupported)
	refused(t, "/dev/null", "regular file", blockio.ErrUnsupported)
	refused(t, filepath.Join(filepath.Dir(path), "absent.vmdk"), "absent.vmdk", os.ErrNotExist)
	if _, err := blockio.Probe(filepath.Join(filepath.Dir(path), "absent.vmdk")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Probe of an absent disk: %v, want os.ErrNotExist", err)
	}
}

// TestRawDiskIsNeverVMDK: a guest may write a descriptor into its first sector.
func TestRawDiskIsNeverVMDK(t *testing.T) {
	path := mustCreate(t, "x.img", blockio.FormatRaw, 1<<20)
	secret := filepath.Join(filepath.Dir(path), "secret")
	writeFile(t, secret, make([]byte, 512))
	d := mustOpen(t, path)
	if _, err := d.WriteAt([]byte("# Disk DescriptorFile\nversion=1\nCID=1\ncreateType=\"vmfs\"\nRW 1 FLAT \"secret\" 0\n"), 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if desc, err := blockio.Probe(path); err != nil || desc.Format != blockio.FormatRaw || desc.Size != 1<<20 {
		t.Errorf("Probe = %+v, %v, want raw, 1 MiB", desc, err)
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	for _, f := range []blockio.Format{blockio.FormatRaw, blockio.FormatVMFS, blockio.FormatMonolithicSparse, blockio.FormatTwoGbSparse} {
		t.Run(string(f), func(t *testing.T) {
			name := "x.vmdk"
			if f == blockio.FormatRaw {
				name = "x.img"
			}
			path := mustCreate(t, name, f, 1<<20)
			d, err := blockio.OpenTarget(path, blockio.TargetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			refused(t, path, "locked", blockio.ErrInUse)
			link := filepath.Join(t.TempDir(), name)
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			refused(t, link, "locked", blockio.ErrInUse)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			mustOpen(t, path).Close()
		})
	}
}

func TestDeviceIsHeldExclusively(t *testing.T) {
	device := loopDevice(t, 64<<20)
	d, err := blockio.OpenTarget(device, blockio.TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Description(); got.Format != blockio.FormatDevice || got.Size != 64<<20 || got.Device == 0 || got.Inode != 0 {
		t.Errorf("Description = %+v", got)
	}
	refused(t, device, "held", blockio.ErrInUse)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", device).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v: %s", err, out)
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", device, dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	refused(t, device, "mounted", blockio.ErrInUse)
}

func TestFileOfLoopDeviceIsRefused(t *testing.T) {
	device := loopDevice(t, 1<<20)
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "loop/backing_file"))
	if err != nil {
		t.Fatal(err)
	}
	refused(t, strings.TrimSpace(string(b)), device, blockio.ErrNotTarget, blockio.ErrInUse)
}

// TestContentIDComesFirst: no write before it, and it is durable, in both places, with tracking dropped.
func TestContentIDComesFirst(t *testing.T) {
	for _, f := range []blockio.Format{blockio.FormatVMFS, blockio.FormatMonolithicSparse} {
		t.Run(string(f), func(t *testing.T) {
			path := mustCreate(t, "x.vmdk", f, 1<<20)
			edit(t, path, "version=1", "version=3")
			edit(t, path, "ddb.virtualHWVersion", "changeTrackPath=\"x\"\nmy.key = \"kept\"\nddb.v")
			d, err := blockio.OpenTarget(path, blockio.TargetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := d.WriteAt([]byte{1}, 0); !errors.Is(err, blockio.ErrNoContentID) {
				t.Errorf("WriteAt before SetContentID: %v, want ErrNoContentID", err)
			}
			if err := d.Zero(0, 1); !errors.Is(err, blockio.ErrNoContentID) {
				t.Errorf("Zero before SetContentID: %v, want ErrNoContentID", err)
			}
			for _, id := range []uint32{0, 0xfffffffe, 0xffffffff} {
				if err := d.SetContentID(id); err == nil {
					t.Errorf("SetContentID(%x) succeeded", id)
				}
			}
			if err := d.SetContentID(0x00c0ffee); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"CID=00c0ffee\n", "00c0ffee\"\n", "version=1\n", "my.key = \"kept\"\n"} {
				if !bytes.Contains(b, []byte(want)) {
					t.Errorf("descriptor lacks %q", want)
				}
			}
			if bytes.Contains(b, []byte("changeTrackPath")) {
				t.Error("changeTrackPath is still there")
			}
			got := d.Description()
			if got.ContentID != 0x00c0ffee || !strings.Contains(strings.Join(got.Notices, "\n"), "tracking") {
				t.Errorf("Description = %+v", got)
			}
			if _, err := d.WriteAt([]byte{1}, 0); err != nil {
				t.Errorf("WriteAt after SetContentID: %v", err)
			}
		})
	}
}

// TestUncleanDisk: only the session that left it may go on.
func TestUncleanDisk(t *testing.T) {
	for _, f := range []blockio.Format{blockio.FormatMonolithicSparse, blockio.FormatTwoGbSparse} {
		t.Run(string(f), func(t *testing.T) {
			path := mustCreate(t, "x.vmdk", f, 1<<20)
			d := mustOpen(t, path)
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
			left := filepath.Join(t.TempDir(), "x.vmdk")
			files, err := os.ReadDir(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range files {
				b, err := os.ReadFile(filepath.Join(filepath.Dir(path), e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				writeFile(t, filepath.Join(filepath.Dir(left), e.Name()), b)
			}
			id := d.Description().ContentID
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			refused(t, left, "not closed cleanly", blockio.ErrNotTarget)
			if _, err := blockio.OpenTarget(left, blockio.TargetOptions{ResumeContentIDs: []uint32{id + 1, 0}}); !errors.Is(err, blockio.ErrNotTarget) {
				t.Errorf("OpenTarget with a stranger's id: %v, want ErrNotTarget", err)
			}
			again, err := blockio.OpenTarget(left, blockio.TargetOptions{ResumeContentIDs: []uint32{7, id}})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(again.SetContentID(8), again.Close()); err != nil {
				t.Fatal(err)
			}
			mustOpen(t, left).Close()
		})
	}
}

func TestReaderRefusesWrites(t *testing.T) {
	path := mustCreate(t, "x.vmdk", blockio.FormatVMFS, 1<<20)
	d, err := blockio.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte{1}, 0); !errors.Is(err, blockio.ErrReadOnly) {
		t.Errorf("WriteAt: %v, want ErrReadOnly", err)
	}
	if err := d.Zero(0, 1); !errors.Is(err, blockio.ErrReadOnly) {
		t.Errorf("Zero: %v, want ErrReadOnly", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		t.Errorf("Sync and Close: %v", err)
	}
}
