package mastertarget

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// volumeSpace tells how large the file system of a directory is, how much of it is free, and whether the directory is where it is mounted: then it is for this alone.
func volumeSpace(dir string) (own bool, total, free int64, err error) {
	fs, free, err := freeSpace(dir)
	if err != nil {
		return false, 0, 0, err
	}
	above, _, err := freeSpace(filepath.Dir(filepath.Clean(dir)))
	if err != nil {
		return false, 0, 0, err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return false, 0, 0, err
	}
	return fs != above, int64(s.Blocks) * s.Bsize, free, nil
}

// freeSpace returns the file system that dir is on, and how many bytes are free there.
func freeSpace(dir string) (fs uint64, free int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, 0, err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	return st.Dev, int64(s.Bavail) * s.Bsize, nil
}

// allocated returns how many bytes files take of their file system.
func allocated(files []string) (n int64) {
	for _, f := range files {
		var st unix.Stat_t
		if unix.Stat(f, &st) == nil {
			n += st.Blocks * 512
		}
	}
	return n
}

// deviceNumber writes the number of a device as /sys has it; "" for none.
func deviceNumber(device uint64) string {
	if device == 0 {
		return ""
	}
	return fmt.Sprintf("%d:%d", unix.Major(device), unix.Minor(device))
}

// blockDevice returns the number of the block device at path, else that of the device which its file system, or that of its directory, is on.
func blockDevice(path string) (number string, device bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil && unix.Stat(filepath.Dir(path), &st) != nil {
		return "", false
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return deviceNumber(st.Rdev), true
	}
	return deviceNumber(st.Dev), false
}
