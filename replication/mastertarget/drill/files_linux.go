package drill

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	firstFile = fuse.FUSE_ROOT_ID + 1 // inode of the first file
	forEver   = 24 * time.Hour        // what never changes is asked for again after that
	aMoment   = time.Second           // likewise what may
)

// files is the file system: a directory of disks. Nothing is made or removed in it.
type files struct {
	fuse.RawFileSystem // what is not here is not there: ENOSYS
	nodes              []*node
	writable           bool
	room               *room // writable only
	uid, gid           uint32
	time               time.Time
}

// node is a disk as a file.
type node struct {
	name    string
	size    int64
	content Content  // what readers get: the point's, or the overlay
	over    *overlay // writable only
	failed  func(file string, off int64, err error)
	data    atomic.Int64 // bytes of the point that are data; -1: not counted yet
	errs    atomic.Int64

	mu       sync.Mutex
	uid, gid uint32
	mode     uint32
	mtime    time.Time
	last     string   // the last error
	run      [2]int64 // of data, found by who looked for a hole; read-only
}

func (f *files) String() string { return fsType }

func (f *files) node(id uint64) *node {
	if id < firstFile || id-firstFile >= uint64(len(f.nodes)) {
		return nil
	}
	return f.nodes[id-firstFile]
}

// attr tells what stat wants to know.
func (f *files) attr(id uint64, out *fuse.Attr) (timeout time.Duration) {
	*out = fuse.Attr{Ino: id, Nlink: 2, Mode: syscall.S_IFDIR | 0o755, Owner: fuse.Owner{Uid: f.uid, Gid: f.gid}}
	mtime := f.time
	timeout = forEver
	if n := f.node(id); n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		mtime = n.mtime
		out.Size, out.Nlink, out.Mode, out.Blksize = uint64(n.size), 1, syscall.S_IFREG|n.mode, pageSize
		out.Owner = fuse.Owner{Uid: n.uid, Gid: n.gid}
		data := n.data.Load()
		if data < 0 || f.writable {
			timeout = aMoment
		}
		if data < 0 {
			data = n.size
		} else if n.over != nil {
			data = min(n.size, data+n.over.written())
		}
		out.Blocks = uint64(data+511) / 512
	}
	out.SetTimes(&mtime, &mtime, &mtime)
	return timeout
}

func (f *files) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	for i, n := range f.nodes {
		if h.NodeId == fuse.FUSE_ROOT_ID && n.name == name {
			f.entry(uint64(firstFile+i), out)
			return fuse.OK
		}
	}
	return fuse.ENOENT
}

func (f *files) entry(id uint64, out *fuse.EntryOut) {
	out.NodeId, out.Generation = id, 1
	out.SetAttrTimeout(f.attr(id, &out.Attr))
	out.SetEntryTimeout(forEver)
}

func (f *files) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if in.NodeId != fuse.FUSE_ROOT_ID && f.node(in.NodeId) == nil {
		return fuse.ENOENT
	}
	out.SetTimeout(f.attr(in.NodeId, &out.Attr))
	return fuse.OK
}

// SetAttr lets an owner give a writable file to the user that a virtual machine runs as.
func (f *files) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.node(in.NodeId)
	if n == nil {
		return fuse.EPERM
	}
	if size, ok := in.GetSize(); ok && size != uint64(n.size) {
		return fuse.EPERM // a disk neither grows nor shrinks
	}
	n.mu.Lock()
	if mode, ok := in.GetMode(); ok {
		n.mode = mode & 0o777
	}
	if uid, ok := in.GetUID(); ok {
		n.uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		n.gid = gid
	}
	if t, ok := in.GetMTime(); ok {
		n.mtime = t
	}
	n.mu.Unlock()
	out.SetTimeout(f.attr(in.NodeId, &out.Attr))
	return fuse.OK
}

func (f *files) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f.node(in.NodeId) == nil {
		return fuse.ENOENT
	}
	if !f.writable && in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return fuse.EROFS
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE // nothing changes but through this kernel
	return fuse.OK
}

func (f *files) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n := f.node(in.NodeId)
	if n == nil {
		return nil, fuse.ENOENT
	}
	off := int64(in.Offset)
	got, err := n.content.ReadAt(buf[:min(len(buf), int(in.Size))], off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, n.fail(off, err)
	}
	return fuse.ReadResultData(buf[:got]), fuse.OK
}

// fail tells of an error, and returns what the kernel is told.
func (n *node) fail(off int64, err error) fuse.Status {
	n.errs.Add(1)
	n.mu.Lock()
	n.last = err.Error()
	n.mu.Unlock()
	n.failed(n.name, off, err)
	return fuse.EIO
}

func (f *files) Write(_ <-chan struct{}, in *fuse.WriteIn, b []byte) (uint32, fuse.Status) {
	n := f.node(in.NodeId)
	if n == nil {
		return 0, fuse.ENOENT
	}
	if n.over == nil {
		return 0, fuse.EROFS
	}
	off := int64(in.Offset)
	done, err := n.over.WriteAt(b, off)
	n.changed()
	if done > 0 { // what went wrong with the rest is told when it comes again
		return uint32(done), fuse.OK
	}
	return 0, n.status(off, err)
}

// changed notes that something was written.
func (n *node) changed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mtime = time.Now()
}

// status is what the kernel is told of an error of the overlay.
func (n *node) status(off int64, err error) fuse.Status {
	switch {
	case err == nil:
		return fuse.OK
	case errors.Is(err, syscall.ENOSPC):
		return fuse.Status(syscall.ENOSPC)
	case errors.Is(err, syscall.EFBIG):
		return fuse.Status(syscall.EFBIG)
	}
	return n.fail(off, err)
}

// Fallocate discards, or zeroes; to allocate means nothing here.
func (f *files) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	n := f.node(in.NodeId)
	if n == nil {
		return fuse.ENOENT
	}
	if n.over == nil {
		return fuse.EROFS
	}
	off, length := int64(in.Offset), int64(in.Length)
	end := off + length
	if off < 0 || length <= 0 || end < off {
		return fuse.EINVAL
	}
	mode := in.Mode &^ unix.FALLOC_FL_KEEP_SIZE
	if end > n.size {
		if in.Mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
			return fuse.Status(syscall.EFBIG)
		}
		length = max(0, n.size-off)
	}
	switch mode {
	case 0:
		return fuse.OK
	case unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE:
		if length == 0 {
			return fuse.OK
		}
		err := n.over.Zero(off, length)
		n.changed()
		return n.status(off, err)
	}
	return fuse.Status(syscall.EOPNOTSUPP)
}

// Lseek finds data and holes. To take zeros for data is allowed, the reverse never.
func (f *files) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	n := f.node(in.NodeId)
	if n == nil {
		return fuse.ENOENT
	}
	off := int64(in.Offset)
	if off < 0 || off >= n.size {
		return fuse.Status(syscall.ENXIO)
	}
	start, end, st := n.dataRun(cancel, off, in.Whence == unix.SEEK_HOLE)
	if !st.Ok() {
		return st
	}
	switch in.Whence {
	case unix.SEEK_DATA:
		if start == n.size {
			return fuse.Status(syscall.ENXIO)
		}
		out.Offset = uint64(start)
	case unix.SEEK_HOLE:
		out.Offset = uint64(off)
		if start == off {
			out.Offset = uint64(end)
		}
	default:
		return fuse.EINVAL
	}
	return fuse.OK
}

// dataRun returns the first run of data at or after off. Whole: it ends where a hole, or the disk's end, is; else it may go on.
func (n *node) dataRun(cancel <-chan struct{}, off int64, whole bool) (start, end int64, st fuse.Status) {
	n.mu.Lock()
	known := n.run
	n.mu.Unlock()
	if known[0] <= off && off < known[1] {
		return off, known[1], fuse.OK
	}
	start, end, err := n.content.NextData(off)
	for whole && err == nil && start == off && end < n.size {
		select {
		case <-cancel:
			return 0, 0, fuse.EINTR
		default:
		}
		var s, e int64
		if s, e, err = n.content.NextData(end); s > end || err != nil {
			break
		}
		end = e
	}
	if err != nil {
		return 0, 0, n.fail(off, err)
	}
	if whole && start == off && n.over == nil { // who looks for a hole looks for the next one too
		n.mu.Lock()
		n.run = [2]int64{start, end}
		n.mu.Unlock()
	}
	return start, end, fuse.OK
}

// count finds out how much of the point is data, for st_blocks.
func (n *node) count(content Content, stop <-chan struct{}) {
	data := int64(0)
	for off := int64(0); off < n.size; {
		select {
		case <-stop:
			return
		default:
		}
		start, end, err := content.NextData(off)
		if err != nil { // it is told when somebody reads there
			return
		}
		data += end - start
		off = end
	}
	n.data.Store(data)
}

func (f *files) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status    { return fuse.OK } // it is thrown away
func (f *files) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }
func (f *files) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status    { return fuse.OK }

func (f *files) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

func (f *files) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	for i := in.Offset; i < uint64(len(f.nodes))+2; i++ {
		if !out.AddDirEntry(f.dirEntry(i)) {
			break
		}
	}
	return fuse.OK
}

func (f *files) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	for i := in.Offset; i < uint64(len(f.nodes))+2; i++ {
		e := f.dirEntry(i)
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			break
		}
		if i >= 2 {
			f.entry(e.Ino, entry)
		}
	}
	return fuse.OK
}

// dirEntry returns what comes i-th in the directory.
func (f *files) dirEntry(i uint64) fuse.DirEntry {
	if i < 2 {
		return fuse.DirEntry{Name: ".."[:i+1], Ino: fuse.FUSE_ROOT_ID, Mode: syscall.S_IFDIR, Off: i + 1}
	}
	return fuse.DirEntry{Name: f.nodes[i-2].name, Ino: firstFile + i - 2, Mode: syscall.S_IFREG, Off: i + 1}
}

func (f *files) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{Bsize: pageSize, Frsize: pageSize, NameLen: 255, Files: uint64(len(f.nodes)) + 1}
	for _, n := range f.nodes {
		out.Blocks += uint64(n.size+pageSize-1) / pageSize
	}
	if f.room != nil {
		out.Bfree = uint64(max(0, f.room.limit-f.room.taken())) / pageSize
		out.Bavail = out.Bfree
	}
	return fuse.OK
}
