//go:build !linux

package source

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Elsewhere than on Linux a group cannot be opened, because it cannot be locked; the rest is here for what else uses the package.

func lock(*os.File) error { return fmt.Errorf("image sources need Linux: %w", errors.ErrUnsupported) }

func unlock(*os.File) error { return nil }

func syncDir(string) error { return nil }

func inode(os.FileInfo) uint64 { return 0 }

func openDevice(path string) (f *os.File, align int64, err error) {
	return nil, 0, fmt.Errorf("block device %s: %w", path, errors.ErrUnsupported)
}

func seekData(*os.File, int64) (start, end int64, ok bool, err error) { return 0, 0, false, nil }

func cannot(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

func cloneFile(dst, src *os.File) error { return errors.ErrUnsupported }

func tryClone(dst, src *os.File, size int64) error { return errors.ErrUnsupported }

func ownGroup(*exec.Cmd) {}

func isReadOnly(error) bool { return false }

func servedByProcess(*os.File) (bool, error) { return false, nil }

// Place is not told on this system.
func Place(string) (boot string, device, inode uint64) { return "", 0, 0 }

// Allocated is not told on this system: all of it.
func Allocated(_ string, size int64) int64 { return size }
