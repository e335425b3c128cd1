package blockio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errNoHoles: the file system cannot tell data from holes.
var errNoHoles = errors.New("holes are not known")

// control runs fn on the descriptor of f while f cannot be closed, again when a signal interrupted it. A raw descriptor that
// outlived its file could belong to another one by now.
func control(f *os.File, fn func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := conn.Control(func(fd uintptr) {
		for {
			if result = fn(int(fd)); result != unix.EINTR {
				return
			}
		}
	}); err != nil {
		return err
	}
	return result
}

func datasync(f *os.File) error {
	return control(f, unix.Fdatasync)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}

func startWriteback(f *os.File, off, n int64) {
	_ = control(f, func(fd int) error { return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE) })
}

// forgetCached makes the kernel forget what it keeps of f in memory and need not write: after a failed write-back that is what the storage does not hold, and a
// later sync would not say so. It is asked for, not enforced.
func forgetCached(f *os.File) {
	_ = control(f, func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) })
}

// seekData uses SEEK_DATA and SEEK_HOLE, which flush what the file system has delayed where they need to. FIEMAP is not used:
// it calls freshly written data unwritten.
func seekData(f *os.File, off int64) (start, end int64, err error) {
	err = control(f, func(fd int) error {
		if start, err = unix.Seek(fd, off, unix.SEEK_DATA); err != nil {
			return err
		}
		end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
		return err
	})
	switch {
	case err == unix.ENXIO: // nothing but holes from here on
		return off, off, nil
	case err == unix.EINVAL || err == unix.EOPNOTSUPP || err == unix.ENOTSUP || err == unix.ENOSYS:
		return 0, 0, errNoHoles
	}
	return start, end, err
}

func zeroFileWays(keepAllocated bool) []zeroWay {
	if keepAllocated {
		return []zeroWay{zeroRange}
	}
	return []zeroWay{punch, zeroRange}
}

// zeroDeviceWays: punching a block device is a write of zeros with permission to unmap, which the kernel only offers where
// reading zeros afterwards is guaranteed; a discard would not be.
func zeroDeviceWays() []zeroWay { return []zeroWay{punch, blkZeroOut} }

func punch(f *os.File, off, n int64) error {
	return fallocate(f, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func zeroRange(f *os.File, off, n int64) error {
	return fallocate(f, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func fallocate(f *os.File, mode uint32, off, n int64) error {
	return unsupportedErrno(control(f, func(fd int) error { return unix.Fallocate(fd, mode, off, n) }))
}

// reserve allocates the first n bytes of a file. What was not written there reads as zeros.
func reserve(f *os.File, n int64) error { return fallocate(f, 0, 0, n) }

func blkZeroOut(f *os.File, off, n int64) error {
	span := [2]uint64{uint64(off), uint64(n)}
	return unsupportedErrno(control(f, func(fd int) error {
		return ioctl(fd, unix.BLKZEROOUT, unsafe.Pointer(&span))
	}))
}

// unsupportedErrno adds errors.ErrUnsupported to the errors by which a kernel says that it cannot do this here.
func unsupportedErrno(err error) error {
	switch err {
	case unix.EOPNOTSUPP, unix.ENOSYS, unix.ENOTTY, unix.EINVAL, unix.ENODEV:
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// lockByte is the one byte that lockExclusive locks: beyond the end of any disk, so that tools which lock bytes of their own (qemu-img reading the
// disk, to compare it) are not kept out. qemuWriteByte is locked for reading by a QEMU that may write the file, qemuKeepWritersOut by one that
// lets nobody else do so (its image locking protocol): we take that too.
const (
	lockByte           = 1 << 62
	qemuWriteByte      = 101
	qemuKeepWritersOut = 201
)

// lockExclusive takes an open file description lock, which holds between processes and between two opens in one process, and
// which NFS passes on to the server.
func lockExclusive(f *os.File) error {
	if lockedElsewhere(f) {
		return fmt.Errorf("%w: %s is locked by another process, or by another disk that is open here", ErrInUse, f.Name())
	}
	for _, lock := range []unix.Flock_t{
		{Type: unix.F_WRLCK, Start: lockByte, Len: 1},
		{Type: unix.F_RDLCK, Start: qemuKeepWritersOut, Len: 1},
	} {
		err := control(f, func(fd int) error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock) })
		if err == unix.EAGAIN || err == unix.EACCES {
			return fmt.Errorf("%w: %s is locked by another process, or by another disk that is open here", ErrInUse, f.Name())
		}
		if err != nil {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
	return nil
}

// unlock lets go of what lockExclusive took. To close the file is not enough: a process that is being started elsewhere in this program has a copy of the descriptor until it runs, and
// the lock lasts as long as one is open.
func unlock(f *os.File) {
	_ = control(f, func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK})
	})
}

// lockedElsewhere reports whether lockExclusive would fail now: somebody has locked any part of the file for writing, or is a QEMU that may write it. It
// works on a file opened for reading.
func lockedElsewhere(f *os.File) bool {
	for _, lock := range []unix.Flock_t{
		{Type: unix.F_RDLCK}, // stands in the way of write locks only
		{Type: unix.F_WRLCK, Start: qemuWriteByte, Len: 1},
	} {
		err := control(f, func(fd int) error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock) })
		if err == nil && lock.Type != unix.F_UNLCK {
			return true
		}
	}
	return false
}

// fileIdentity returns device and inode number; for a block device its own number and 0.
func fileIdentity(fi fs.FileInfo) (device, inode uint64) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	if fi.Mode()&fs.ModeDevice != 0 {
		return uint64(st.Rdev), 0
	}
	return uint64(st.Dev), st.Ino
}

// copyOwner gives f the owner and the permissions of the file that it is to replace.
func copyOwner(f *os.File, of fs.FileInfo) error {
	if err := f.Chmod(of.Mode().Perm()); err != nil {
		return err
	}
	st, ok := of.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	now, err := f.Stat()
	if err != nil {
		return err
	}
	if mine, ok := now.Sys().(*syscall.Stat_t); ok && mine.Uid == st.Uid && mine.Gid == st.Gid {
		return nil
	}
	return f.Chown(int(st.Uid), int(st.Gid))
}
