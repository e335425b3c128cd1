package mastertarget

import "golang.org/x/sys/unix"

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
