package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestNoPointIsWrong kills a few times on each file system, with full volumes and power failures; FAILBACK_KILLS says how often.
func TestNoPointIsWrong(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may mount file systems")
	}
	if code, ran, err := apart("-test.run=^TestNoPointIsWrong$", "-test.v"); ran {
		if code != 0 || err != nil {
			t.Errorf("in a mount namespace of its own: exit code %d, %v", code, err)
		}
		return
	}
	most := 8
	fmt.Sscan(os.Getenv("FAILBACK_KILLS"), &most)
	for k, fs := range []string{"ext4", "xfs"} {
		t.Run(fs, func(t *testing.T) {
			got, err := run(t.Context(), config{dir: filepath.Join(t.TempDir(), "t"), fs: fs, most: most, look: 100, limit: time.Hour, seed: uint64(k + 1), fill: true, power: 5})
			if err != nil {
				t.Fatal(err)
			}
			if got.wrong.Load() != 0 || got.looked == 0 || got.sectors.Load() == 0 {
				t.Error(got)
			}
			t.Log(got)
		})
	}
}
