package blockio

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errNoSplice: the kernel does not move these bytes by itself.
var errNoSplice = errors.New("not to be spliced")

// widenPipe asks for a pipe that holds a whole piece. A pipe of the usual 64 KiB works as well.
func widenPipe(pipe *os.File) {
	_ = control(pipe, func(fd int) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, transferBytes)
		return err
	})
}

// spliceToPipe moves up to n bytes of f from off on into a pipe; 0 is the end of f.
func spliceToPipe(pipe, f *os.File, off, n int64) (done int64, err error) {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return 0, errNoSplice
	}
	var failed error
	err = conn.Write(func(out uintptr) bool {
		failed = control(f, func(in int) error {
			var err error
			done, err = unix.Splice(in, &off, int(out), nil, int(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_MORE)
			return err
		})
		return failed != unix.EAGAIN
	})
	if err == nil {
		err = failed
	}
	if err == unix.EINVAL || err == unix.ENOSYS {
		return 0, errNoSplice
	}
	return max(done, 0), err
}

// appends reports whether every write to f goes to its end, wherever it stands.
func appends(f *os.File) bool {
	appending := true
	_ = control(f, func(fd int) error {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		appending = err != nil || flags&unix.O_APPEND != 0
		return err
	})
	return appending
}
