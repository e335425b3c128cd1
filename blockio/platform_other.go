//go:build !linux

package blockio

import (
	"errors"
	"io/fs"
	"os"
)

// Elsewhere than on Linux files work, without knowledge of holes and with zeroing by writing. Devices are not supported.

var errNoHoles = errors.New("holes are not known")

var errNoDevices = errors.New("block devices are supported on Linux only; use a VMDK or a raw file as the target")

func datasync(f *os.File) error { return f.Sync() }

func startWriteback(*os.File, int64, int64) {}

func forgetCached(*os.File) {}

func seekData(*os.File, int64) (start, end int64, err error) { return 0, 0, errNoHoles }

func zeroFileWays(bool) []zeroWay { return nil }

func zeroDeviceWays() []zeroWay { return nil }

func openDirect(*os.File, int64, bool) *directAccess { return nil }

func reserve(*os.File, int64) error { return errors.ErrUnsupported }

func isBlockDevice(fi fs.FileInfo) bool {
	return fi.Mode()&fs.ModeDevice != 0 && fi.Mode()&fs.ModeCharDevice == 0
}

func deviceSize(*os.File) (int64, error) { return 0, errNoDevices }

func openDevice(string, bool) (*os.File, error) { return nil, errNoDevices }

func deviceHeld(string) bool { return false }

func deviceReadOnly(*os.File) bool { return false }

// DeviceByUUID finds no devices on this system.
func DeviceByUUID(string) (string, error) { return "", errNoDevices }

func uuidOfDevice(dir, path string) string { return "" }

func wholeDevice(uint64) uint64 { return 0 }

func loopFiles() map[string]string { return nil }

func copyOwner(f *os.File, of fs.FileInfo) error { return nil }
