//go:build !linux

package mastertarget

import "errors"

// volumeSpace is not told on this system.
func volumeSpace(string) (own bool, total, free int64, err error) {
	return false, 0, 0, errors.ErrUnsupported
}

// freeSpace is not told on this system.
func freeSpace(string) (fs uint64, free int64, err error) { return 0, 0, errors.ErrUnsupported }

// allocated is not told on this system.
func allocated([]string) int64 { return 0 }

// deviceNumber is not told on this system.
func deviceNumber(uint64) string { return "" }

// blockDevice is not told on this system.
func blockDevice(string) (number string, device bool) { return "", false }
