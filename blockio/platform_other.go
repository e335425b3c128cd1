//go:build !linux

package blockio

import (
	"errors"
	"io/fs"
	"os"
)

// Elsewhere than on Linux files work, without knowledge of holes and with zeroing by writing. For devices see device_other.go.

var errNoHoles = errors.New("holes are not known")

func datasync(f *os.File) error { return f.Sync() }

func startWriteback(*os.File, int64, int64) {}

func forgetCached(*os.File) {}

func seekData(*os.File, int64) (start, end int64, err error) { return 0, 0, errNoHoles }

func zeroFileWays(bool) []zeroWay { return nil }

func zeroDeviceWays() []zeroWay { return nil }

func openDirect(*os.File, int64, bool) *directAccess { return nil }

func reserve(*os.File, int64) error { return errors.ErrUnsupported }

// DeviceByUUID finds no devices on this system.
func DeviceByUUID(string) (string, error) {
	return "", errors.New("devices are found by UUID on Linux only")
}

func uuidOfDevice(dir, path string) string { return "" }

func wholeDevice(uint64) uint64 { return 0 }

func loopFiles() map[string]string { return nil }

func copyOwner(f *os.File, of fs.FileInfo) error { return nil }
