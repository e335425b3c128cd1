package blockio_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"failback/blockio"
	"failback/blockio/blockiotest"
)

// mounted makes a file system of a kind on a loop device and mounts it, for the length of the test.
func mounted(t *testing.T, kind string) (dir string) {
	t.Helper()
	device := loopDevice(t, 400<<20)
	force := "-F"
	if kind != "ext4" {
		force = "-f"
	}
	runTool(t, "mkfs."+kind, "-q", force, device)
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-o", "discard", device, dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { runTool(t, "umount", dir) })
	return dir
}

// attached is a new loop device of size bytes with its file in dir.
func attached(t *testing.T, dir string, size int64, options ...string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "loop")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	device := runTool(t, "losetup", append(options, "--find", "--show", f.Name())...)
	t.Cleanup(func() { runTool(t, "losetup", "--detach", device) })
	return device
}

func openWith(path string, c blockio.Caching) (blockio.Target, error) {
	d, err := blockio.OpenTarget(path, blockio.TargetOptions{Caching: c})
	if err != nil {
		return nil, err
	}
	if err := d.SetContentID(blockio.NewContentID()); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

var cachings = []blockio.Caching{blockio.CachingBuffered, blockio.CachingDirect}

// TestConformanceOnFileSystems runs devices, thin and thick files on the file systems that punch holes, zero ranges and discard in ways of their own.
func TestConformanceOnFileSystems(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		for _, caching := range cachings {
			t.Run(kind+"/"+string(caching), func(t *testing.T) {
				dir := mounted(t, kind)
				for name, create := range map[string]func(t *testing.T, size int64) string{
					"device": func(t *testing.T, size int64) string { return attached(t, dir, size) },
					"thick": func(t *testing.T, size int64) string {
						path := filepath.Join(tempIn(t, dir), "x.vmdk")
						if err := blockio.CreateThick(path, size); err != nil {
							t.Fatal(err)
						}
						return path
					},
					"thin": func(t *testing.T, size int64) string {
						path := filepath.Join(tempIn(t, dir), "x.vmdk")
						if err := blockio.Create(path, blockio.FormatVMFS, size); err != nil {
							t.Fatal(err)
						}
						return path
					},
				} {
					t.Run(name, func(t *testing.T) {
						blockiotest.Run(t, func(t *testing.T, size int64) blockiotest.Open {
							path := create(t, size)
							return func() (blockio.Disk, error) { return openWith(path, caching) }
						})
					})
				}
			})
		}
	}
}

func tempIn(t *testing.T, dir string) string {
	t.Helper()
	temp, err := os.MkdirTemp(dir, "disk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) })
	return temp
}

// TestLargeSectors: a device of 4096-byte sectors takes writes of any size.
func TestLargeSectors(t *testing.T) {
	for _, caching := range cachings {
		device := attached(t, t.TempDir(), 1<<20, "--sector-size", "4096")
		d, err := openWith(device, caching)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 1<<20)
		for i, w := range []struct{ off, n int }{{512, 512}, {5000, 9000}, {1<<20 - 700, 700}, {0, 4096}, {4095, 2}} {
			p := blockiotest.Pattern(uint64(i), w.n)
			if _, err := d.WriteAt(p, int64(w.off)); err != nil {
				t.Fatal(err)
			}
			copy(want[w.off:], p)
		}
		if err := d.Zero(6000, 20_000); err != nil {
			t.Fatal(err)
		}
		clear(want[6000:26_000])
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(device)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the device holds something else than was written, %v", caching, err)
		}
	}
}

// TestZeroTakesNoSpace: what is zeroed on a thin disk is given back, on a device too where what lies below can; and it reads as zeros in any case.
func TestZeroTakesNoSpace(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		for _, caching := range cachings {
			t.Run(kind+"/"+string(caching), func(t *testing.T) {
				const size = 16 << 20
				dir := mounted(t, kind)
				device := attached(t, dir, size)
				thin := filepath.Join(tempIn(t, dir), "x.vmdk")
				if err := blockio.Create(thin, blockio.FormatVMFS, size); err != nil {
					t.Fatal(err)
				}
				backing := runTool(t, "losetup", "--noheadings", "--output", "BACK-FILE", device)
				for path, data := range map[string]string{device: backing, thin: filepath.Join(filepath.Dir(thin), "x-flat.vmdk")} {
					d, err := openWith(path, caching)
					if err != nil {
						t.Fatal(err)
					}
					defer d.Close()
					want := blockiotest.Pattern(1, size)
					if _, err := d.WriteAt(want, 0); err != nil {
						t.Fatal(err)
					}
					if err := d.Sync(); err != nil {
						t.Fatal(err)
					}
					full := bytesUsed(t, data)
					if err := d.Zero(1<<20+100, 12<<20); err != nil {
						t.Fatal(err)
					}
					clear(want[1<<20+100:][:12<<20])
					if err := d.Sync(); err != nil {
						t.Fatal(err)
					}
					got := make([]byte, size)
					if _, err := d.ReadAt(got, 0); err != nil {
						t.Fatal(err)
					}
					if err := blockiotest.Diff(got, want); err != nil {
						t.Errorf("%s: %v", path, err)
					}
					if used := bytesUsed(t, data); used > full-11<<20 {
						t.Errorf("%s takes %d bytes, and took %d before 12 MiB were zeroed", data, used, full)
					}
				}
			})
		}
	}
}

// TestDiscardIsNotTrusted: a device whose file can't have holes, and which says that it discards nothing, is zeroed all the same.
func TestDiscardIsNotTrusted(t *testing.T) {
	dir := t.TempDir()
	runTool(t, "mount", "-t", "ramfs", "ramfs", dir) // no punching there
	t.Cleanup(func() { runTool(t, "umount", dir) })
	for _, caching := range cachings {
		device := attached(t, dir, 4<<20)
		d, err := openWith(device, caching)
		if err != nil {
			t.Fatal(err)
		}
		want := blockiotest.Pattern(1, 4<<20)
		if _, err := d.WriteAt(want, 0); err != nil {
			t.Fatal(err)
		}
		if err := d.Zero(1000, 3<<20); err != nil {
			t.Fatal(err)
		}
		clear(want[1000:][:3<<20])
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(device); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, or other bytes", caching, err)
		}
	}
}
