package retention

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

var errQuota error = unix.EDQUOT

// lockFile takes an open-file-description lock: it holds between processes and between two opens of one process, and the kernel gives it back when the
// process dies.
func lockFile(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l); err != nil {
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return heldLock{f}, nil
}

// lockHeld says whether somebody holds the lock that lockFile takes. The file is opened for reading only.
func lockHeld(name string) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		return false, fmt.Errorf("look at the lock %s: %w", name, err)
	}
	return l.Type != unix.F_UNLCK, nil
}

// shareLock keeps lockFile from taking the lock until the result is closed. Several may share it; the file is opened for reading only.
func shareLock(name string) (io.Closer, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	l := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l); err != nil {
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return heldLock{f}, nil
}

// heldLock is a lock to be given back by Close: at once, and not only when the last process that has inherited the open file (one that was just being
// forked) has closed it.
type heldLock struct{ *os.File }

func (l heldLock) Close() error {
	err := unix.FcntlFlock(l.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK})
	return errors.Join(err, l.File.Close())
}

// forgetCached makes the kernel forget what it keeps of a journal's files in memory and need not write: after a failed sync that is what the volume does
// not hold, and a later sync would not say so. It is asked for, not enforced.
func forgetCached(dir string) {
	for _, pattern := range []string{logName, coverageName, filepath.Join(segDir, "*"), filepath.Join(saveDir, "*"), filepath.Join(packDir, "*")} {
		names, _ := filepath.Glob(filepath.Join(escapeGlob(dir), pattern)) // the pattern is a good one
		for _, name := range names {
			if f, err := os.Open(name); err == nil {
				_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
				f.Close()
			}
		}
	}
}

// escapeGlob makes a path match itself only.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func dataSync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return err
		}
	}
}

// startWriting has the kernel begin to write. What fails then, the next sync of the same open file says.
func (f osFile) startWriting(off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

func (osVolume) Allocate(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = fill(f, size)
	}
	return errors.Join(err, f.Close())
}

func (osVolume) Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("space of %s: %w", dir, err)
	}
	return int64(min(st.Bavail, math.MaxInt64/uint64(st.Bsize))) * st.Bsize, nil
}
