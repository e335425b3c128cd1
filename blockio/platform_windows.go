package blockio

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// syncDir: NTFS journals names itself, and a directory cannot be flushed without a privilege.
func syncDir(string) error { return nil }

func lockRange(f *os.File, flags uint32) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), flags|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, lockPosition())
}

// lockPosition is the byte that stands for the whole file. A lock is mandatory here, so it lies where no data ever is.
func lockPosition() *windows.Overlapped {
	return &windows.Overlapped{Offset: 0xffffffff, OffsetHigh: 0x7fffffff}
}

func lockExclusive(f *os.File) error {
	err := lockRange(f, windows.LOCKFILE_EXCLUSIVE_LOCK)
	if err == windows.ERROR_LOCK_VIOLATION || err == windows.ERROR_IO_PENDING {
		return fmt.Errorf("%w: %s is locked by another process, or by another disk that is open here", ErrInUse, f.Name())
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// unlock does nothing: closing the file does it.
func unlock(*os.File) {}

func lockedElsewhere(f *os.File) bool {
	if err := lockRange(f, 0); err != nil {
		return err == windows.ERROR_LOCK_VIOLATION
	}
	_ = windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, lockPosition())
	return false
}

// fileIdentity is not known from a FileInfo on Windows.
func fileIdentity(fs.FileInfo) (device, inode uint64) { return 0, 0 }
