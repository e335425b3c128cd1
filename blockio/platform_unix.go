//go:build !linux && !windows

package blockio

import (
	"fmt"
	"io/fs"
	"os"
)

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lockExclusive refuses: without a lock that holds between processes nothing may be written.
func lockExclusive(f *os.File) error {
	return fmt.Errorf("lock %s: not supported on this system; run the master target on Linux or Windows", f.Name())
}

func unlock(*os.File) {}

func lockedElsewhere(*os.File) bool { return false }

func fileIdentity(fs.FileInfo) (device, inode uint64) { return 0, 0 }
