package blockio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// alignedAccess: devices take pieces of any size through the page cache, and are only used directly where that is wanted.
func alignedAccess(*os.File) (*directAccess, error) { return nil, nil }

// deviceReadOnly reports whether the kernel takes the device for write protected.
func deviceReadOnly(f *os.File) bool {
	var ro int32
	err := control(f, func(fd int) error { return ioctl(fd, unix.BLKROGET, unsafe.Pointer(&ro)) })
	return err == nil && ro != 0
}

// DeviceByUUID finds the block device of a VMDK that is attached to this machine, by the disk's ddb.uuid. A machine shows it
// when its disk.EnableUUID is TRUE; os.ErrNotExist is in the error chain when there is none. Two devices that claim one UUID are ErrInUse: a copy
// is attached beside its original, and either could be the wrong one.
func DeviceByUUID(uuid string) (string, error) { return deviceByUUID("/dev/disk/by-id", uuid) }

func deviceByUUID(dir, uuid string) (string, error) {
	serial := SerialOfUUID(uuid)
	if serial == "" {
		return "", fmt.Errorf("find device: %q is not a UUID of 16 bytes", uuid)
	}
	found := ""
	for _, prefix := range []string{"wwn-0x", "scsi-3"} {
		path, err := filepath.EvalSymlinks(filepath.Join(dir, prefix+serial))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("find device: %w", err)
		}
		if found != "" && found != path {
			return "", fmt.Errorf("find device: %w: %s and %s both have the UUID %s; detach the copy", ErrInUse, found, path, uuid)
		}
		found = path
	}
	if found == "" {
		return "", fmt.Errorf("find device: no disk with UUID %s below %s: %w; is it attached, and disk.EnableUUID TRUE?", uuid, dir, fs.ErrNotExist)
	}
	return found, nil
}

// uuidOfDevice is the ddb.uuid of the VMDK that is attached as the device at path, without its blanks and dash, "" where the machine does not show it. It is the
// other way round from DeviceByUUID.
func uuidOfDevice(dir, path string) string {
	for _, prefix := range []string{"wwn-0x", "scsi-3"} {
		links, _ := filepath.Glob(filepath.Join(dir, prefix+"*")) // the pattern is a good one
		for _, link := range links {
			serial := SerialOfUUID(strings.TrimPrefix(filepath.Base(link), prefix)) // not that of a partition, which has a suffix
			if to, err := filepath.EvalSymlinks(link); err == nil && to == path && serial != "" {
				return serial
			}
		}
	}
	return ""
}

// wholeDevice is the number of the device that the partition with the number device is on, 0 when it is none.
func wholeDevice(device uint64) uint64 {
	at, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(device), unix.Minor(device)))
	if err != nil {
		return 0
	}
	if _, err := os.Stat(filepath.Join(at, "partition")); err != nil {
		return 0
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(at), "dev"))
	var major, minor uint32
	if _, serr := fmt.Sscanf(string(b), "%d:%d", &major, &minor); err != nil || serr != nil {
		return 0
	}
	return unix.Mkdev(major, minor)
}

// loopFiles maps the files that are attached to loop devices to those devices. Writes to both would destroy each other.
func loopFiles() map[string]string {
	attached := map[string]string{}
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file") // the pattern is a good one
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil {
			attached[strings.TrimSuffix(string(b), "\n")] = "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(file)))
		}
	}
	return attached
}
