//go:build !linux && !(windows && physicaldrive)

package blockio

import (
	"errors"
	"io/fs"
	"os"
)

var errNoDevices = errors.New("block devices are supported on Linux only; use a VMDK or a raw file as the target " +
	"(physical drives of Windows are there when built with -tags physicaldrive, and were never verified)")

func isBlockDevice(fi fs.FileInfo) bool {
	return fi.Mode()&fs.ModeDevice != 0 && fi.Mode()&fs.ModeCharDevice == 0
}

func deviceSize(*os.File) (int64, error) { return 0, errNoDevices }

func openDevice(string, bool) (*os.File, error) { return nil, errNoDevices }

func deviceHeld(string) bool { return false }

func deviceReadOnly(*os.File) bool { return false }

func alignedAccess(*os.File) (*directAccess, error) { return nil, nil }
