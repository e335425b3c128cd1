package source

import (
	"os"
	"path/filepath"
	"testing"
)

func TestProbeRemovesWhatAKilledOneLeft(t *testing.T) {
	dir, beside := t.TempDir(), t.TempDir()
	disk := filepath.Join(beside, "disk.raw")
	if err := os.WriteFile(disk, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Images{dir: filepath.Join(dir, ".probe"), group: probeGroup(dir)}
	for _, path := range s.clonePaths(disk, "probe", 0) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ProbeKind(dir, Spec{Path: disk})
	for _, d := range []string{dir, beside} {
		left, err := os.ReadDir(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range left {
			if e.Name() != "disk.raw" {
				t.Errorf("%s is left in %s", e.Name(), d)
			}
		}
	}
}
