package blockio

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openDirect takes a file of size bytes, that nothing was read or written of through f yet, out of the page cache. It returns nil where that can't be done.
func openDirect(f *os.File, size int64, device bool) *directAccess {
	block, memory := directAlignment(f, device)
	if block <= 0 || memory <= 0 || block > transferBytes || memory > directAlign || size%block != 0 || size < block {
		return nil
	}
	if setDirect(f, true) != nil {
		return nil
	}
	b := takeAligned()
	defer giveAligned(b)
	if _, err := f.ReadAt(b[:block], 0); err != nil { // it was promised wrongly, or this is an error that will come up again
		_ = setDirect(f, false)
		return nil
	}
	q := newDirectQueue(f)
	if q == nil {
		return newDirectAccess(f, block, memory)
	}
	d := newDirectAccess(q, block, memory)
	d.close = q.close
	return d
}

// directAlignment asks the kernel, and where it does not say (before 6.1, and for devices before 6.11) takes what is safe: the logical block of a device, the page for a file.
func directAlignment(f *os.File, device bool) (block, memory int64) {
	var st unix.Statx_t
	err := control(f, func(fd int) error { return unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st) })
	if err == nil && st.Mask&unix.STATX_DIOALIGN != 0 {
		return int64(st.Dio_offset_align), int64(st.Dio_mem_align)
	}
	if !device {
		return 4096, 4096
	}
	var logical int32
	if err := control(f, func(fd int) error { return ioctl(fd, unix.BLKSSZGET, unsafe.Pointer(&logical)) }); err != nil {
		return 0, 0
	}
	return int64(logical), max(int64(logical), 512)
}

func setDirect(f *os.File, on bool) error {
	return control(f, func(fd int) error {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			return err
		}
		flags &^= unix.O_DIRECT
		if on {
			flags |= unix.O_DIRECT
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
		return err
	})
}
