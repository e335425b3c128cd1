//go:build !linux

package retention

import (
	"errors"
	"fmt"
	"io"
	"os"
)

var errQuota = errors.New("quota exceeded")

// lockFile has no lock to offer here that the kernel gives back when the process dies: journals are written on Linux only.
func lockFile(name string) (io.Closer, error) {
	return nil, fmt.Errorf("lock %s: %w", name, errors.ErrUnsupported)
}

func lockHeld(name string) (bool, error) {
	return false, fmt.Errorf("look at the lock %s: %w", name, errors.ErrUnsupported)
}

func shareLock(name string) (io.Closer, error) {
	return nil, fmt.Errorf("lock %s: %w", name, errors.ErrUnsupported)
}

func forgetCached(string) {}

func dataSync(f *os.File) error { return f.Sync() }

func (osVolume) Allocate(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(fill(f, size), f.Close())
}

func (osVolume) Free(dir string) (int64, error) {
	return 0, fmt.Errorf("space of %s: %w", dir, errors.ErrUnsupported)
}
