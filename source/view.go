package source

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"failback/replication"
)

// Probe returns the size of a readable regular file or block device. The error says what is wrong with it, as a replication.Problem.
func Probe(path string) (size int64, err error) {
	f, id, _, err := openDisk(path)
	if err != nil {
		return 0, err
	}
	f.Close()
	return id.Size, nil
}

// identity tells one file or device from another, and whether a file was written to.
type identity struct {
	Device  bool   `json:"device"`   // block device: only the size says anything, numbers change with a restart of the machine
	Inode   uint64 `json:"inode"`    // regular file; 0 where it says nothing
	ModTime int64  `json:"mod_time"` // regular file: nanoseconds; 0 where it says nothing
	Size    int64  `json:"size"`
}

// sameFile says whether the two are the same file, perhaps written to in between.
func (a identity) sameFile(b identity) bool {
	return a.Device == b.Device && a.Inode == b.Inode && a.Size == b.Size
}

// identify identifies an open regular file. Of a file that a process serves (FUSE: qemu-storage-daemon exports images so) only the size says anything: such
// servers give the time of asking as that of the last write.
func identify(f *os.File) (identity, error) {
	fi, err := f.Stat()
	if err != nil {
		return identity{}, err
	}
	served, err := servedByProcess(f)
	if err != nil || served {
		return identity{Size: fi.Size()}, err
	}
	return identity{Inode: inode(fi), ModTime: fi.ModTime().UnixNano(), Size: fi.Size()}, nil
}

// openDisk opens a regular file or block device for reading; see openDevice for align.
func openDisk(path string) (f *os.File, id identity, align int64, err error) {
	problem := func(code, remedy, format string, args ...any) error {
		if f != nil {
			f.Close()
		}
		err := fmt.Errorf(format, args...)
		return &replication.Problem{Code: code, Message: "source " + path + " cannot be used", Remedy: remedy, Err: err}
	}
	fi, err := os.Stat(path) // before opening: a FIFO would wait
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, id, 0, problem("source-gone", "bring the file or device back, or correct the path", "%w: %w", ErrGone, err)
	case err != nil:
		return nil, id, 0, problem("source-unreadable", "let the process server read it", "%w", err)
	case fi.Mode().IsRegular():
		f, err = os.Open(path)
	case fi.Mode()&os.ModeDevice != 0 && fi.Mode()&os.ModeCharDevice == 0:
		f, align, err = openDevice(path)
		id.Device = true
	default:
		return nil, id, 0, problem("source-not-a-disk", "give a regular file or a block device", "it is neither a regular file nor a block device (%v)", fi.Mode())
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ENODEV) {
		return nil, id, 0, problem("source-gone", "bring the file or device back, or correct the path", "%w: %w", ErrGone, err)
	} else if err != nil {
		return nil, id, 0, problem("source-unreadable", "let the process server read it", "%w", err)
	}
	if id.Device {
		id.Size, err = f.Seek(0, io.SeekEnd)
	} else {
		id, err = identify(f)
	}
	switch {
	case err != nil:
		return nil, id, 0, problem("source-unreadable", "check the file or device", "%w", err)
	case id.Size == 0:
		return nil, id, 0, problem("source-empty", "check the file or device", "it has no bytes")
	case id.Size > replication.MaxDiskSize:
		return nil, id, 0, problem("source-too-large", "no disk can be larger than 64 TiB", "it has %d bytes, the most is %d", id.Size, int64(replication.MaxDiskSize))
	case id.Size%512 != 0:
		return nil, id, 0, problem("source-size", "pad the image to whole sectors", "its %d bytes are not a multiple of 512", id.Size)
	}
	return f, id, align, nil
}

// View is one disk at one point, open for reading. It is safe for concurrent use.
type View struct {
	name  string // what errors call it
	path  string
	file  *os.File
	size  int64
	live  bool     // a live device may grow; nothing may shrink
	id    identity // when it was opened
	align int64
}

// openView opens what a cut recorded, if it is still that.
func openView(name string, d *diskView) (*View, error) {
	f, id, align, err := openDisk(d.View)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	v := &View{name: name, path: d.View, file: f, size: d.Size, live: d.Kind == KindNone, id: id, align: align}
	if err := v.sameAs(d, id); err != nil {
		f.Close()
		return nil, err
	}
	return v, nil
}

// sameAs says whether what is open now is what was recorded.
func (v *View) sameAs(d *diskView, id identity) error {
	switch was := d.File; {
	case id.Size < was.Size:
		return v.gone(fmt.Errorf("it has shrunk from %d to %d bytes", was.Size, id.Size))
	case v.live && id.Device == was.Device && id.Inode == was.Inode: // it may be written to, and grow
		return nil
	case !id.sameFile(was):
		return v.gone(errors.New("another file is in its place"))
	case id.ModTime != was.ModTime:
		return v.gone(errors.New("it was written to since the cut"))
	}
	return nil
}

func (v *View) gone(why error) error {
	return &replication.Problem{
		Code:    "source-gone",
		Message: fmt.Sprintf("%s (%s)", v.name, v.path),
		Remedy:  "bring the source back as it was; the point is then cut again",
		Err:     fmt.Errorf("%w: %w", ErrGone, why),
	}
}

// Size returns the disk's size in bytes, as it was at the cut.
func (v *View) Size() int64 { return v.size }

// ReadAt implements io.ReaderAt. A view that has become shorter than the disk is ErrGone, never zeros.
func (v *View) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s at %d: negative offset", v.name, off)
	}
	if off >= v.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), v.size-off)]
	if v.aligned(want, off) {
		n, err = v.file.ReadAt(want, off)
	} else {
		n, err = v.readAround(want, off)
	}
	switch {
	case n == len(want):
		err = nil
	case err == io.EOF:
		return n, v.gone(fmt.Errorf("it ends at %d, the disk at %d", off+int64(n), v.size))
	default:
		return n, v.explain(fmt.Errorf("read %s at %d: %w", v.name, off+int64(n), err))
	}
	if len(want) < len(p) {
		err = io.EOF
	}
	return n, err
}

// explain turns an error of a source that has vanished or shrunk into ErrGone.
func (v *View) explain(err error) error {
	if size, perr := Probe(v.path); errors.Is(perr, ErrGone) {
		return v.gone(err)
	} else if perr == nil && size < v.size {
		return v.gone(fmt.Errorf("it has shrunk from %d to %d bytes: %w", v.size, size, err))
	}
	return err
}

// aligned says whether p can be read directly.
func (v *View) aligned(p []byte, off int64) bool {
	return v.align == 0 || off%v.align == 0 && int64(len(p))%v.align == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%blockSize == 0
}

// aroundSize is how much of a device is read at once for a caller whose buffer is not aligned.
const aroundSize = 1 << 20

var aroundBuffers = sync.Pool{New: func() any {
	b := make([]byte, aroundSize+blockSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (blockSize - 1)
	b = b[skip:][:aroundSize]
	return &b
}}

// readAround reads through an aligned buffer.
func (v *View) readAround(p []byte, off int64) (n int, err error) {
	b := aroundBuffers.Get().(*[]byte)
	defer aroundBuffers.Put(b)
	for n < len(p) {
		from := (off + int64(n)) &^ (v.align - 1)
		skip := off + int64(n) - from
		length := min(aroundSize, (skip+int64(len(p)-n)+v.align-1)&^(v.align-1))
		m, err := v.file.ReadAt((*b)[:length], from)
		if int64(m) <= skip {
			return n, err
		}
		n += copy(p[n:], (*b)[skip:m])
		if int64(m) < length && n < len(p) {
			return n, err
		}
	}
	return n, nil
}

// NextData returns the first range that starts at or after off and may hold data; everything between off and start reads as zeros. start = end = Size
// when only zeros follow. Where the file system or device does not know its holes, all is data.
func (v *View) NextData(off int64) (start, end int64, err error) {
	if off < 0 {
		return 0, 0, fmt.Errorf("next data of %s at %d: negative offset", v.name, off)
	}
	if off >= v.size {
		return v.size, v.size, nil
	}
	if v.id.Device {
		return off, v.size, nil
	}
	start, end, ok, err := seekData(v.file, off)
	if err != nil {
		return 0, 0, v.explain(fmt.Errorf("next data of %s at %d: %w", v.name, off, err))
	}
	fi, err := v.file.Stat() // afterwards: a file that was cut short has no data there, but that says nothing of the disk
	if err != nil {
		return 0, 0, fmt.Errorf("next data of %s: %w", v.name, err)
	}
	switch {
	case fi.Size() < v.size:
		return 0, 0, v.gone(fmt.Errorf("it has shrunk from %d to %d bytes", v.size, fi.Size()))
	case !ok:
		return off, v.size, nil
	case start >= end || start >= v.size:
		return v.size, v.size, nil
	}
	return start, min(end, v.size), nil
}

// Close closes the view; the point stays held.
func (v *View) Close() error { return v.file.Close() }
