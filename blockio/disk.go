package blockio

import (
	"context"
	"io"
	"path/filepath"
	"strings"
)

// SectorSize is the unit in which every format of this package counts, in bytes. It is not the physical block of a device.
const SectorSize = 512

// Disk is a fixed-size array of bytes. ReadAt, WriteAt and Zero are safe for concurrent use on disjoint ranges; the caller
// keeps the buffers, none is held after a call returns. Errors name the file and the offset.
type Disk interface {
	// ReadAt follows io.ReaderAt: a read that crosses the end returns what there is and io.EOF.
	io.ReaderAt
	// WriteAt writes all of p or returns an error. It never grows the disk: a range that is not inside it is refused whole,
	// with ErrOutOfRange. What it wrote is durable after the next Sync that succeeds.
	io.WriterAt
	// Size is the size of the disk in bytes.
	Size() int64
	// Zero makes [off, off+n) read as zeros, durable after the next Sync. Space is given back where the target is thin and
	// what lies under it can.
	Zero(off, n int64) error
	// NextData returns the first range at or after off that may hold bytes other than zero, as far as that is known without
	// reading (SEEK_DATA, grain tables). The range is inside [off, Size()); start == end == Size() when there is none. Every
	// byte outside of such ranges reads as zero. A range may end where another begins.
	NextData(off int64) (start, end int64, err error)
	// Sync makes durable what was written before it was called. A failed sync poisons the disk: nothing is known about what
	// reached it any more, and every later call fails with the same error (ErrPoisoned).
	Sync() error
	// Close syncs, writes the marks of a clean shutdown and releases the locks. A poisoned disk is closed without the marks,
	// and Close returns the poison. The disk is unusable afterwards whatever Close returns.
	Close() error
}

// Reader is a disk that was opened for reading.
type Reader interface {
	Disk
	// Description tells what was opened. Notices may be added to it while reading: a redundant directory that had to stand in.
	Description() Description
}

// Target is a disk that was opened for writing under an exclusive lock.
type Target interface {
	Disk
	// Description tells what was opened, as it stands now.
	Description() Description
	// SetContentID durably gives the disk a new content id, marks it as being written, and opens the way for WriteAt and Zero,
	// which fail before it on formats that have a content id. Change tracking is dropped with it, since it would not see our
	// writes. The caller has recorded id beforehand (I8). On raw files and devices it does nothing.
	SetContentID(id uint32) error
	// Fingerprint samples the disk as it stands, after a Sync: see there what it is good for. It is "" on disks that keep tables (sparse ones).
	Fingerprint(ctx context.Context) (Fingerprint, error)
}

// Format names a kind of disk. The values are stable: they stand in plans and in the output of tools.
type Format string

// The formats that Create makes and OpenTarget opens. Where VMDK has a name for it, that name is used.
const (
	FormatRaw                Format = "raw"                  // a file that is the disk, byte for byte
	FormatDevice             Format = "device"               // a block device; cannot be created
	FormatVMFS               Format = "vmfs"                 // descriptor and x-flat.vmdk, as ESXi writes it; created thin
	FormatMonolithicFlat     Format = "monolithicFlat"       // the same for hosted products
	FormatTwoGbMaxExtentFlat Format = "twoGbMaxExtentFlat"   // descriptor and x-f001.vmdk …, each at most 2047 MiB
	FormatMonolithicSparse   Format = "monolithicSparse"     // one growing file with grain tables
	FormatTwoGbSparse        Format = "twoGbMaxExtentSparse" // descriptor and x-s001.vmdk …, growing
)

// Formats that are only ever read, or only told apart to be refused.
const (
	formatStreamOptimized Format = "streamOptimized"
	formatVMFSSparse      Format = "vmfsSparse"
	formatSESparse        Format = "seSparse"
)

// Description is what Probe found. It is also shown to operators, as JSON.
type Description struct {
	Path      string   // as it was given
	Format    Format   // what it is, not what its name suggests
	Size      int64    // bytes
	Thin      bool     // space that was never written, or was zeroed, is taken by nothing, as far as what lies below can
	UUID      string   // ddb.uuid as it is written, "" where there is none; of a device, what the machine shows of it
	ContentID uint32   // CID; 0 where the format has none
	Device    uint64   // device number of the file that holds the (first) data; of the device itself for a block device
	Inode     uint64   // its inode number; 0 for a block device
	Extents   []string // files that hold data, in the order of the disk
	Parents   []Parent // the disks that a snapshot was made on, the nearest first, down to one that has no parent or is not as it should be
	Notices   []string // what an operator should know although it stops nothing
	// TargetRefusal is empty when the disk may be a target; otherwise it tells why not, and what to do.
	TargetRefusal string
}

// Parent is a disk below a snapshot, and whether it still is what the snapshot was made on.
type Parent struct {
	Path      string // its descriptor
	Format    Format // "" where it can't be told
	ContentID uint32 // its CID as it is now; 0 where it can't be told
	Noted     uint32 // the CID that it had when the disk above it was made
	// Wrong is empty where it is as the disk above it expects; otherwise it tells why not, and nothing is read through it.
	Wrong string
}

// TargetOptions is what the caller of OpenTarget knows about the disk's past.
type TargetOptions struct {
	// ResumeContentIDs are the content ids that our own sessions may have left. A disk that was not closed cleanly is accepted
	// only when its content id is one of them: then the interrupted session was ours (I8).
	ResumeContentIDs []uint32
	// Caching says whether data goes through the page cache.
	Caching Caching
}

// DefaultFormat is the format for a new disk at path: vmfs where the name ends in .vmdk, else raw.
func DefaultFormat(path string) Format {
	if hasVMDKName(path) {
		return FormatVMFS
	}
	return FormatRaw
}

func hasVMDKName(path string) bool { return strings.EqualFold(filepath.Ext(path), ".vmdk") }
