package blockio

import (
	"fmt"
	"io"
	"sync"
	"unsafe"
)

// Caching says whether the kernel's page cache stands between a disk and its storage. It is decided once, when a disk is opened, for each file of it: within one open all reads
// and writes of a file go the same way. Other processes may use the page cache meanwhile (a reader does): the kernel writes out and drops what it has cached of a range before and after it
// is written directly, so they see what was written; only what they have mapped into memory may be stale.
type Caching string

const (
	// CachingAuto is direct for block devices, and buffered for files.
	CachingAuto Caching = ""
	// CachingBuffered leaves it to the kernel to bring together what is small, to read ahead, and to write later.
	CachingBuffered Caching = "buffered"
	// CachingDirect moves data between storage and the caller's buffer. It pays for large pieces, several at a time, and shows an I/O error with the write that it
	// belongs to; small pieces one after the other are slower than through the page cache. Files that can't (tmpfs, compressed ones), whose size is no multiple of the
	// alignment, and those of sparse disks, are buffered all the same.
	CachingDirect Caching = "direct"
)

const (
	// directSlots bounds the requests to one file at a time.
	directSlots = 32
	// directBuffers bounds the aligned buffers of all disks together, of transferBytes each. Who needs one waits for it.
	directBuffers = 16
	// directAlign is the alignment of their memory: no device asks for more.
	directAlign = 4096
)

// directAccess is how a file is used without the page cache.
type directAccess struct {
	// file is where requests go: the file itself, or a queue to it that close gives back.
	file interface {
		io.ReaderAt
		io.WriterAt
	}
	close  func()
	block  int64   // offsets and lengths are multiples of it
	memory uintptr // addresses are
	slots  chan struct{}
	// edges are held while a block is read, changed in part and written, by the number of the block.
	edges [64]sync.Mutex
}

func newDirectAccess(file interface {
	io.ReaderAt
	io.WriterAt
}, block, memory int64) *directAccess {
	return &directAccess{file: file, close: func() {}, block: block, memory: uintptr(memory), slots: make(chan struct{}, directSlots)}
}

// alignedBuffers are those that are not in use; alignedMade has an entry for each that was made.
var (
	alignedBuffers = make(chan []byte, directBuffers)
	alignedMade    = make(chan struct{}, directBuffers)
)

func takeAligned() []byte {
	select {
	case b := <-alignedBuffers:
		return b
	default:
	}
	select {
	case b := <-alignedBuffers:
		return b
	case alignedMade <- struct{}{}:
		return newAligned(transferBytes)
	}
}

func giveAligned(b []byte) { alignedBuffers <- b }

func newAligned(n int) []byte {
	b := make([]byte, n+directAlign)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (directAlign - 1)
	return b[skip:][:n:n]
}

// fits reports whether p may go to off as it is.
func (d *directAccess) fits(p []byte, off int64) bool {
	return off%d.block == 0 && int64(len(p))%d.block == 0 && d.inMemory(p)
}

func (d *directAccess) inMemory(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%d.memory == 0
}

func (d *directAccess) down(off int64) int64 { return off / d.block * d.block }

func (d *directAccess) up(off int64) int64 { return d.down(off + d.block - 1) }

// do runs one request.
func (d *directAccess) do(request func() (int, error)) (int, error) {
	d.slots <- struct{}{}
	defer func() { <-d.slots }()
	return request()
}

// readAt follows io.ReaderAt.
func (d *directAccess) readAt(p []byte, off int64) (int, error) {
	if d.fits(p, off) {
		return d.do(func() (int, error) { return d.file.ReadAt(p, off) })
	}
	b := takeAligned()
	defer giveAligned(b)
	done := 0
	for done < len(p) {
		at := off + int64(done)
		from := d.down(at)
		piece := b[:min(d.up(off+int64(len(p)))-from, int64(len(b)))]
		n, err := d.do(func() (int, error) { return d.file.ReadAt(piece, from) })
		if skip := int(at - from); n > skip {
			done += copy(p[done:], piece[skip:n])
		}
		if n < len(piece) && done < len(p) {
			return done, err
		}
	}
	return done, nil
}

// writeAt writes what fits as it is, and the rest by way of an aligned buffer. What else is in the blocks at both ends is read before, and written with them.
func (d *directAccess) writeAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		rest, at := p[done:], off+int64(done)
		whole := rest[:int64(len(rest))/d.block*d.block]
		var n int
		var err error
		if len(whole) > 0 && d.fits(whole, at) {
			n, err = d.do(func() (int, error) { return d.file.WriteAt(whole, at) })
		} else {
			n, err = d.writeThrough(rest, at)
		}
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// writeThrough writes as much of p as one buffer takes.
func (d *directAccess) writeThrough(p []byte, off int64) (int, error) {
	b := takeAligned()
	defer giveAligned(b)
	from := d.down(off)
	end := min(off+int64(len(p)), from+int64(len(b)))
	to := d.up(end)
	b = b[:to-from]
	first, last := off > from, to > end // blocks that are written in part
	if last && first && to-from == d.block {
		last = false // it is the same one
	}
	defer d.holdEdges(first, from/d.block, last, to/d.block-1)()
	for _, edge := range []struct {
		in bool
		at int64
	}{{first, from}, {last, to - d.block}} {
		if !edge.in {
			continue
		}
		block := b[edge.at-from:][:d.block]
		if n, err := d.do(func() (int, error) { return d.file.ReadAt(block, edge.at) }); n < len(block) {
			return 0, fmt.Errorf("read the block at %d, of which a part is to be written: %w", edge.at, err)
		}
	}
	k := copy(b[off-from:], p[:end-off])
	n, err := d.do(func() (int, error) { return d.file.WriteAt(b, from) })
	if err != nil {
		return max(min(n-int(off-from), k), 0), err
	}
	return k, nil
}

// holdEdges keeps others from changing the same blocks in part, until what it returns is called.
func (d *directAccess) holdEdges(first bool, a int64, last bool, b int64) (release func()) {
	i, j := a%int64(len(d.edges)), b%int64(len(d.edges))
	switch {
	case first && last && i != j:
		low, high := &d.edges[min(i, j)], &d.edges[max(i, j)]
		low.Lock()
		high.Lock()
		return func() { high.Unlock(); low.Unlock() }
	case first:
		d.edges[i].Lock()
		return d.edges[i].Unlock
	case last:
		d.edges[j].Lock()
		return d.edges[j].Unlock
	}
	return func() {}
}
