package source

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lock takes an OFD lock on an open file without waiting: errLocked when another open file has it. It is held by every process
// that has inherited the open file.
func lock(f *os.File) error {
	err := control(f, func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errLocked
	}
	return err
}

// unlock lets go of a lock at once. To close the file would do that only when no child has its descriptor any more: one that is just being started has it until it is another program.
func unlock(f *os.File) error {
	return control(f, func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK})
	})
}

// control runs do on the file's descriptor.
func control(f *os.File, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var derr error
	if err := c.Control(func(fd uintptr) { derr = do(int(fd)) }); err != nil {
		return err
	}
	return derr
}

// syncDir makes a directory's entries durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// inode returns the number of the file in its file system, which a file keeps as long as it lives.
func inode(fi os.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// openDevice opens a block device for reading past the page cache, which does not see what a mounted file system writes to the device's own blocks: a
// page that was read for one point would be read again, unchanged, for the next. align is what offsets and lengths of reads must be multiples of, 0 when
// the device cannot be read like that; its pages are dropped from the cache then, now.
func openDevice(path string) (f *os.File, align int64, err error) {
	f, err = os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err == nil {
		err = control(f, func(fd int) error {
			n, err := unix.IoctlGetInt(fd, unix.BLKSSZGET)
			align = int64(n)
			return err
		})
		if err == nil && align >= 512 && align <= blockSize && align&(align-1) == 0 {
			return f, align, nil
		}
		f.Close()
	} else if !errors.Is(err, unix.EINVAL) {
		return nil, 0, err
	}
	if f, err = os.Open(path); err != nil {
		return nil, 0, err
	}
	err = control(f, func(fd int) error { return unix.IoctlSetInt(fd, unix.BLKFLSBUF, 0) })
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("drop cached pages of %s: %w", path, err)
	}
	return f, 0, nil
}

// seekData returns the first range at or after off that may hold data. ok is false when the file system cannot say. start = end means that nothing
// but a hole follows.
func seekData(f *os.File, off int64) (start, end int64, ok bool, err error) {
	err = control(f, func(fd int) error {
		var err error
		if start, err = unix.Seek(fd, off, unix.SEEK_DATA); err != nil {
			return err
		}
		end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
		return err
	})
	switch {
	case err == nil:
		return start, end, true, nil
	case errors.Is(err, unix.ENXIO):
		return 0, 0, true, nil
	case cannot(err):
		return 0, 0, false, nil
	}
	return 0, 0, false, err
}

// cannot says whether the error means that the file system or device does not do such a thing, rather than that it failed.
func cannot(err error) bool {
	for _, e := range []error{unix.EOPNOTSUPP, unix.EXDEV, unix.EINVAL, unix.ENOTTY, unix.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// cloneFile makes dst share all of src.
func cloneFile(dst, src *os.File) error {
	return control(src, func(s int) error {
		return control(dst, func(d int) error { return unix.IoctlFileClone(d, s) })
	})
}

// tryClone finds out whether src could be cloned into the empty file dst, at no cost: it clones the start. cannot tells of the error.
func tryClone(dst, src *os.File, size int64) error {
	if size > 1<<20 {
		size = 1 << 20 // whole blocks of any file system
	} else {
		size = 0 // to the end
	}
	copyNoCow(dst, src)
	return control(src, func(s int) error {
		return control(dst, func(d int) error {
			return unix.IoctlFileCloneRange(d, &unix.FileCloneRange{Src_fd: int64(s), Src_length: uint64(size)})
		})
	})
}

// noCow is FS_NOCOW_FL of linux/fs.h.
const noCow = 0x00800000

// copyNoCow gives dst the source's "no copy on write" flag: btrfs clones only between files that agree on it. Where that fails the clone will tell.
func copyNoCow(dst, src *os.File) {
	flags := func(f *os.File) (n uint32, err error) {
		err = control(f, func(fd int) error { n, err = unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS); return err })
		return n, err
	}
	s, err := flags(src)
	if err != nil || s&noCow == 0 {
		return
	}
	if d, err := flags(dst); err == nil {
		control(dst, func(fd int) error { return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(d|noCow)) })
	}
}

// ownGroup has the command run in a process group of its own, all of which ends when the command's context does.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

func isReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }

// servedByProcess says whether the file is of a FUSE file system.
func servedByProcess(f *os.File) (served bool, err error) {
	err = control(f, func(fd int) error {
		var st unix.Statfs_t
		err := unix.Fstatfs(fd, &st)
		served = st.Type == unix.FUSE_SUPER_MAGIC
		return err
	})
	return served, err
}

// Place tells where a file or device is: the id of the machine's boot, the device number and the inode; of a block device its own number and 0. Zeros where
// that can't be told.
func Place(path string) (boot string, device, inode uint64) {
	var st unix.Stat_t
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || unix.Stat(path, &st) != nil {
		return "", 0, 0
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return strings.TrimSpace(string(id)), st.Rdev, 0
	}
	return strings.TrimSpace(string(id)), st.Dev, st.Ino
}

// Allocated returns how many bytes of a source of a size may be other than zeros, as far as its file system tells of holes: all of a device.
func Allocated(path string, size int64) int64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return size
	}
	return min(st.Blocks*512, size)
}
