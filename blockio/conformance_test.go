package blockio_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"failback/blockio"
	"failback/blockio/blockiotest"
)

// openForWriting opens path the way a master target does.
func openForWriting(path string) (blockio.Target, error) {
	d, err := blockio.OpenTarget(path, blockio.TargetOptions{})
	if err != nil {
		return nil, err
	}
	if err := d.SetContentID(blockio.NewContentID()); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func mustOpen(t *testing.T, path string) blockio.Target {
	t.Helper()
	d, err := openForWriting(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustCreate(t *testing.T, name string, f blockio.Format, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := blockio.Create(path, f, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConformance(t *testing.T) {
	for f, name := range map[blockio.Format]string{
		blockio.FormatRaw:                "x.img",
		blockio.FormatVMFS:               "x.vmdk",
		blockio.FormatMonolithicFlat:     "x.vmdk",
		blockio.FormatTwoGbMaxExtentFlat: "x.vmdk",
		blockio.FormatMonolithicSparse:   "x.vmdk",
		blockio.FormatTwoGbSparse:        "x.vmdk",
	} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			blockiotest.Run(t, func(t *testing.T, size int64) blockiotest.Open {
				path := mustCreate(t, name, f, size)
				return func() (blockio.Disk, error) { return openForWriting(path) }
			})
		})
	}
}

// TestConformanceSplit has extents that end in the middle of what the suite writes.
func TestConformanceSplit(t *testing.T) {
	t.Parallel()
	blockiotest.Run(t, func(t *testing.T, size int64) blockiotest.Open {
		path := mustCreate(t, "x.vmdk", blockio.FormatTwoGbMaxExtentFlat, size)
		splitExtent(t, path, size)
		return func() (blockio.Disk, error) { return openForWriting(path) }
	})
}

func TestConformanceThickVMFS(t *testing.T) {
	t.Parallel()
	blockiotest.Run(t, func(t *testing.T, size int64) blockiotest.Open {
		path := mustCreate(t, "x.vmdk", blockio.FormatVMFS, size)
		edit(t, path, "ddb.thinProvisioned = \"1\"\n", "")
		return func() (blockio.Disk, error) { return openForWriting(path) }
	})
}

func TestConformanceLoopDevice(t *testing.T) {
	t.Parallel()
	blockiotest.Run(t, func(t *testing.T, size int64) blockiotest.Open {
		device := loopDevice(t, size)
		return func() (blockio.Disk, error) { return openForWriting(device) }
	})
}

// loopDevice attaches a new file of size bytes, for the length of the test.
func loopDevice(t *testing.T, size int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	backing := mustCreate(t, "loop.img", blockio.FormatRaw, size)
	out, err := exec.Command("losetup", "--find", "--show", backing).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device: losetup: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", device, err, out)
		}
	})
	return device
}

// edit replaces text in the file at path, once; it must be there.
func edit(t *testing.T, path, old, new string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("%s does not contain %q", path, old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// splitExtent makes three extents of the only one of a flat disk: two parts of its file, and a file of its own.
func splitExtent(t *testing.T, path string, size int64) {
	t.Helper()
	sectors := size / 512
	third := sectors/3 + 1
	edit(t, path, extentText(sectors, "x-f001.vmdk", 0), extentText(third, "x-f001.vmdk", 5)+extentText(third, "x-f002.vmdk", 0)+
		extentText(sectors-2*third, "x-f001.vmdk", 5+third))
	if err := os.Truncate(filepath.Join(filepath.Dir(path), "x-f001.vmdk"), (5+sectors)*512); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "x-f002.vmdk"), make([]byte, third*512), 0o600); err != nil {
		t.Fatal(err)
	}
}
