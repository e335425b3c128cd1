//go:build !linux && !windows

package volume

import (
	"errors"
	"fmt"
	"os"
)

// DefaultDir is where a retention volume is mounted unless the operator says otherwise.
const DefaultDir = "/mnt/retention"

func mounted() (Table, string, error) {
	return nil, "", fmt.Errorf("list volumes: %w", errors.ErrUnsupported)
}

func place(Table, string) (Mount, string, error) { return Mount{}, "", errors.ErrUnsupported }

func statVolume(*seen) error { return errors.ErrUnsupported }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func renameOpen(from, to string, _, _ *os.File) error { return os.Rename(from, to) }

// LockFile does nothing here: master targets run on Linux only.
func LockFile(*os.File) error { return nil }

// dirLock is no lock here: journals are written on Linux only.
type dirLock struct{}

func lockDir(dir string, _ bool) (dirLock, error) {
	return dirLock{}, fmt.Errorf("lock %s: %w", dir, errors.ErrUnsupported)
}

func (dirLock) Close() error { return nil }
func (dirLock) Name() string { return "" }
func (dirLock) stays() bool  { return true }
