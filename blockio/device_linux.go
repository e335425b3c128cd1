package blockio

import (
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func isBlockDevice(fi fs.FileInfo) bool {
	return fi.Mode()&fs.ModeDevice != 0 && fi.Mode()&fs.ModeCharDevice == 0
}

func deviceSize(f *os.File) (int64, error) {
	var size uint64
	if err := control(f, func(fd int) error { return ioctl(fd, unix.BLKGETSIZE64, unsafe.Pointer(&size)) }); err != nil {
		return 0, fmt.Errorf("size of device %s: %w", f.Name(), err)
	}
	return int64(size), nil
}

// openDevice opens a block device. For writing it is claimed (O_EXCL): the kernel refuses that while a file system, a volume
// manager or another claimant holds it or a part of it, and refuses them afterwards.
func openDevice(path string, write bool) (*os.File, error) {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR | os.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0)
	if err == nil {
		return f, nil
	}
	if pe, ok := err.(*fs.PathError); ok && pe.Err == unix.EBUSY {
		return nil, fmt.Errorf("%w: device %s is mounted, or held by a volume manager, a RAID set, swap or another process; "+
			"unmount or release it first", ErrInUse, path)
	}
	return nil, err
}

// deviceHeld reports whether a claim would be refused now. It claims the device for reading and lets it go at once.
func deviceHeld(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_EXCL, 0)
	if err != nil {
		pe, ok := err.(*fs.PathError)
		return ok && pe.Err == unix.EBUSY
	}
	f.Close()
	return false
}

// deviceReadOnly reports whether the kernel takes the device for write protected.
func deviceReadOnly(f *os.File) bool {
	var ro int32
	err := control(f, func(fd int) error { return ioctl(fd, unix.BLKROGET, unsafe.Pointer(&ro)) })
	return err == nil && ro != 0
}
