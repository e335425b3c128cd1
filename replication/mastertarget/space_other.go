//go:build !linux

package mastertarget

import "errors"

// freeSpace is not told on this system.
func freeSpace(string) (fs uint64, free int64, err error) { return 0, 0, errors.ErrUnsupported }
