package volume

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DefaultDir is where a retention volume is mounted unless the operator says otherwise.
const DefaultDir = "/mnt/retention"

// mounted returns what is mounted, and the FS of the operating system's volume.
func mounted() (t Table, root string, err error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, "", fmt.Errorf("read what is mounted: %w", err)
	}
	if t, err = ParseMountinfo(text); err != nil {
		return nil, "", err
	}
	m, _ := t.At("/")
	return t, m.FS, nil
}

// real follows the symbolic links in a path as far as it exists.
func real(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		r, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(r, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) || path == "/" {
			return "", err
		}
		if link, e := os.Readlink(path); e == nil { // to where nothing is yet
			if !filepath.IsAbs(link) {
				link = filepath.Join(filepath.Dir(path), link)
			}
			if len(link)+len(rest) > unix.PathMax {
				return "", err
			}
			path = filepath.Dir(link)
			rest = filepath.Join(filepath.Base(link), rest)
			continue
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
}

// place finds the mount that a path lies on; device is set for a block device.
func place(t Table, path string) (m Mount, device string, err error) {
	r, err := real(path)
	if err != nil {
		return Mount{}, "", err
	}
	var st unix.Stat_t
	if unix.Stat(r, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
		device = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	m, ok := t.At(r)
	if !ok {
		return Mount{}, "", fmt.Errorf("%s is on none of the mounts that are known", r)
	}
	return m, device, nil
}

// statVolume fills in size, free bytes and magic number.
func statVolume(v *seen) error {
	var st unix.Statfs_t
	if err := unix.Statfs(v.Path, &st); err != nil {
		return fmt.Errorf("look at %s: %w", v.Path, err)
	}
	bytes := func(blocks uint64) int64 {
		return int64(min(blocks, math.MaxInt64/uint64(max(st.Bsize, 1)))) * st.Bsize
	}
	v.size, v.free, v.magic = bytes(st.Blocks), bytes(st.Bavail), int64(st.Type)
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func renameOpen(from, to string, _, _ *os.File) error { return os.Rename(from, to) }

// LockFile locks an open file until it is closed, also by a process that was just being forked and has inherited it; ErrLocked when another has locked it. On systems that master targets do not run on, it does nothing.
func LockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	return err
}

// dirLock is the lock of a directory.
type dirLock struct{ *os.File }

// lockDir locks a directory against others: alone, or together with others that do not want it alone.
func lockDir(dir string, alone bool) (dirLock, error) {
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return dirLock{}, err
	}
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	err = unix.Flock(int(d.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		return dirLock{}, errors.Join(fmt.Errorf("lock %s: %w", dir, err), d.Close())
	}
	return dirLock{d}, nil
}

// Close gives the lock back, at once: also where a process that was just being forked has inherited the open directory.
func (l dirLock) Close() error {
	return errors.Join(unix.Flock(int(l.Fd()), unix.LOCK_UN), l.File.Close())
}

var _ io.Closer = dirLock{}

// stays says whether the lock is still of what is found at the directory's path.
func (l dirLock) stays() bool {
	was, err := l.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(l.Name())
	return err == nil && os.SameFile(was, now)
}
