package blockio_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"failback/blockio"
	"failback/blockio/blockiotest"
)

func mustCreateThick(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.vmdk")
	if err := blockio.CreateThick(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConformanceThick(t *testing.T) {
	blockiotest.Run(t, func(t *testing.T, size int64) blockiotest.Open {
		path := mustCreateThick(t, size)
		return func() (blockio.Disk, error) { return openForWriting(path) }
	})
}

func TestCreateThick(t *testing.T) {
	const size = 8 << 20
	path := mustCreateThick(t, size)
	flat := filepath.Join(filepath.Dir(path), "x-flat.vmdk")
	if used := bytesUsed(t, flat); used < size {
		t.Errorf("%d of %d bytes are allocated", used, size)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "thinProvisioned") || !strings.Contains(string(text), `createType="vmfs"`) {
		t.Errorf("descriptor:\n%s", text)
	}
	if d, err := blockio.Probe(path); err != nil || d.Thin || d.TargetRefusal != "" {
		t.Errorf("Probe = %+v, %v", d, err)
	}
	d := mustOpen(t, path)
	if _, err := d.WriteAt(blockiotest.Pattern(1, size), 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Zero(0, size); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if used := bytesUsed(t, flat); used < size {
		t.Errorf("zeroing gave space back: %d of %d bytes are allocated", used, size)
	}
	thin := mustCreate(t, "x.vmdk", blockio.FormatVMFS, size)
	if used := bytesUsed(t, filepath.Join(filepath.Dir(thin), "x-flat.vmdk")); used != 0 {
		t.Errorf("a new thin disk takes %d bytes", used)
	}
}
