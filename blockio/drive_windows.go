//go:build physicaldrive

package blockio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Physical drives of Windows. NOT VERIFIED: this was written from the documentation of DeviceIoControl and CreateFile and has never been run. It is left out unless the program is
// built with -tags physicaldrive, and every error of it says so.
//
// A drive has to be offline before it is written: then no volume of it is mounted, and Windows mounts none. It is opened without leave for others to write; a second writer is refused.

// The codes of winioctl.h.
const (
	ioctlDiskGetDriveGeometry  = 0x00070000
	ioctlDiskIsWritable        = 0x00070024
	ioctlDiskGetDiskAttributes = 0x000700f0
	ioctlDiskGetLengthInfo     = 0x0007405c
)

const diskAttributeOffline = 1

func driveError(path, what string, err error) error {
	return fmt.Errorf("%s %s (physical drives of Windows were never verified): %w", what, path, err)
}

// askDrive has the driver fill in answer, of size bytes.
func askDrive(f *os.File, code uint32, answer unsafe.Pointer, size uintptr) error {
	var n uint32
	err := windows.DeviceIoControl(windows.Handle(f.Fd()), code, nil, 0, (*byte)(answer), uint32(size), &n, nil)
	if err == nil && uintptr(n) < size {
		err = fmt.Errorf("%d bytes of an answer, want %d", n, size)
	}
	return err
}

func isBlockDevice(fs.FileInfo) bool { return false } // they are told by name: see lookAtDrive

func deviceSize(f *os.File) (int64, error) {
	var size int64
	if err := askDrive(f, ioctlDiskGetLengthInfo, unsafe.Pointer(&size), unsafe.Sizeof(size)); err != nil {
		return 0, driveError(f.Name(), "size of", err)
	}
	return size, nil
}

func openDevice(path string, write bool) (*os.File, error) {
	access, share := uint32(windows.GENERIC_READ), uint32(windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE)
	if write {
		access, share = windows.GENERIC_READ|windows.GENERIC_WRITE, windows.FILE_SHARE_READ
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, driveError(path, "open", err)
	}
	h, err := windows.CreateFile(name, access, share, nil, windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL, 0)
	switch {
	case errors.Is(err, windows.ERROR_FILE_NOT_FOUND):
		return nil, driveError(path, "open", fs.ErrNotExist)
	case errors.Is(err, windows.ERROR_SHARING_VIOLATION):
		return nil, driveError(path, "open", fmt.Errorf("%w: another program has it open", ErrInUse))
	case err != nil:
		return nil, driveError(path, "open", err)
	}
	f := os.NewFile(uintptr(h), path)
	if !write {
		return f, nil
	}
	offline, err := driveOffline(f)
	if err == nil && !offline {
		err = fmt.Errorf("%w: it is online, and its volumes may be mounted; take it offline first (diskpart: select disk, offline disk)", ErrInUse)
	}
	if err != nil {
		f.Close()
		return nil, driveError(path, "open", err)
	}
	return f, nil
}

func driveOffline(f *os.File) (bool, error) {
	var answer struct { // GET_DISK_ATTRIBUTES
		version, reserved uint32
		attributes        uint64
	}
	err := askDrive(f, ioctlDiskGetDiskAttributes, unsafe.Pointer(&answer), unsafe.Sizeof(answer))
	return err == nil && answer.attributes&diskAttributeOffline != 0, err
}

// deviceHeld: what is not known to be offline may be in use.
func deviceHeld(path string) bool {
	f, err := openDevice(path, false)
	if err != nil {
		return true
	}
	defer f.Close()
	offline, err := driveOffline(f)
	return err != nil || !offline
}

func deviceReadOnly(f *os.File) bool {
	return askDrive(f, ioctlDiskIsWritable, nil, 0) != nil
}

// alignedAccess: a drive takes whole sectors only, at multiples of them, whether or not it is used directly.
func alignedAccess(f *os.File) (*directAccess, error) {
	var geometry struct { // DISK_GEOMETRY
		cylinders                                               int64
		mediaType, tracksPerCylinder, sectorsPerTrack, sectorSz uint32
	}
	if err := askDrive(f, ioctlDiskGetDriveGeometry, unsafe.Pointer(&geometry), unsafe.Sizeof(geometry)); err != nil {
		return nil, driveError(f.Name(), "geometry of", err)
	}
	sector := int64(geometry.sectorSz)
	if sector < SectorSize || sector > directAlign || sector&(sector-1) != 0 {
		return nil, driveError(f.Name(), "geometry of", fmt.Errorf("%w: sectors of %d bytes", ErrUnsupported, sector))
	}
	return newDirectAccess(f, sector, directAlign), nil
}
