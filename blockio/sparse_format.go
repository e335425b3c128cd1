package blockio

import (
	"bytes"
	"encoding/binary"
)

// The bytes of a hosted sparse extent. doc.go has the layout.
const (
	sparseMagic           = 0x564d444b               // "KDMV"
	sparseMagicUnfinished = sparseMagic ^ 0x20202020 // "kdmv": a writer that did not get to the end
	sparseHeaderBytes     = 512
	sparseUncleanAt       = 72 // the byte that is set while the extent is open for writing

	tableEntries  = 512                             // grain table entries in a table; the only number there is
	tableBytes    = tableEntries * 4                //
	tableSectors  = int64(tableBytes) / SectorSize  //
	maxDirectory  = 2 << 20                         // grain directory entries: 64 TiB with grains of 64 KiB
	maxGrain      = 1 << 15                         // sectors
	maxStream     = 1 << 11                         // sectors in a grain that is compressed
	minGrain      = 8                               // sectors
	newGrain      = 128                             // sectors in a grain of what we make
	gdAtEnd       = 0xffffffffffffffff              // streamOptimized: the footer knows where the directory is
	entryZero     = 1                               // a grain table entry for a grain of zeros, with flagZeroGrains
	maxSparse     = (int64(1)<<32 - 1) * SectorSize // sector numbers have 32 bits
	newSparseDesc = 20                              // sectors for the embedded descriptor of what we make
)

// Flags. The lower 16 may be ignored by a reader that does not know them, the upper 16 may not.
const (
	flagNewlines   = 1 << 0
	flagRedundant  = 1 << 1
	flagZeroGrains = 1 << 2
	flagCompressed = 1 << 16
	flagMarkers    = 1 << 17
)

var newlineCheck = [4]byte{'\n', ' ', '\r', '\n'}

// sparseHeader is the first sector of a sparse extent. Offsets and sizes are in sectors.
type sparseHeader struct {
	version          uint32
	flags            uint32
	capacity         int64
	grain            int64
	descriptorOffset int64
	descriptorSize   int64
	redundantOffset  int64 // 0 without flagRedundant
	directoryOffset  int64
	overhead         int64
	unclean          bool
	atEnd            bool // the directory is where the footer says; see decodeFooter
}

// compressed reports whether this is a streamOptimized extent.
func (h sparseHeader) compressed() bool { return h.flags&flagCompressed != 0 }

// decodeSparseHeader reads and judges a header. fileSize bounds everything that it points to. Nothing is allocated from it.
func decodeSparseHeader(name string, b []byte, fileSize int64) (sparseHeader, error) {
	if len(b) < sparseHeaderBytes {
		return sparseHeader{}, corruptAt(name, 0, "sparse header is cut off after %d of %d bytes", len(b), sparseHeaderBytes)
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	if magic := u32(0); magic != sparseMagic {
		return sparseHeader{}, corruptAt(name, 0, "magic %08x, want %08x", magic, uint32(sparseMagic))
	}
	h := sparseHeader{version: u32(4), flags: u32(8), unclean: b[sparseUncleanAt] != 0}
	if h.version < 1 || h.version > 3 {
		return h, unsupported(name, "sparse header version %d; 1 to 3 are known", h.version)
	}
	if unknown := h.flags &^ (0xffff | flagCompressed | flagMarkers); unknown != 0 {
		return h, unsupported(name, "sparse header has unknown flags %08x that must not be ignored", unknown)
	}
	if h.flags&flagMarkers != 0 && !h.compressed() {
		return h, corruptAt(name, 8, "flags %08x: markers without compression", h.flags)
	}
	if n := binary.LittleEndian.Uint16(b[77:]); n > compressionDeflate || (n == compressionDeflate) != h.compressed() {
		return h, corruptAt(name, 77, "compression %d with flags %08x", n, h.flags)
	}
	if h.atEnd = u64(56) == gdAtEnd; h.atEnd && !h.compressed() {
		return h, corruptAt(name, 56, "the grain directory is at the end, but there is no compression")
	}
	if h.flags&flagNewlines != 0 && !bytes.Equal(b[73:77], newlineCheck[:]) {
		return h, corruptAt(name, 73, "line end check bytes are % x, want % x: the file was changed by a transfer in text mode", b[73:77], newlineCheck)
	}
	if n := u32(44); n != tableEntries {
		return h, corruptAt(name, 44, "%d entries in a grain table, want %d", n, tableEntries)
	}
	fields := []struct {
		at  int
		out *int64
	}{
		{12, &h.capacity}, {20, &h.grain}, {28, &h.descriptorOffset}, {36, &h.descriptorSize},
		{48, &h.redundantOffset}, {56, &h.directoryOffset}, {64, &h.overhead},
	}
	for _, f := range fields {
		n := u64(f.at)
		if f.at == 56 && h.atEnd || f.at == 48 && h.compressed() {
			continue
		}
		if n > maxSectors {
			return h, corruptAt(name, int64(f.at), "%d sectors, at most %d are believed", n, int64(maxSectors))
		}
		*f.out = int64(n)
	}
	if h.flags&flagRedundant == 0 || h.compressed() { // a stream's second directory is ignored: writers leave anything there
		h.redundantOffset = 0
		h.flags &^= flagRedundant
	}
	if h.descriptorOffset == 0 {
		h.descriptorSize = 0
	}
	return h, h.validate(name, fileSize)
}

// wrappedDescriptor tells where the descriptor is in a header that is nothing but a wrapper around it: it has no capacity.
func wrappedDescriptor(b []byte, fileSize int64) (at, n int64, ok bool) {
	if len(b) < sparseHeaderBytes || binary.LittleEndian.Uint32(b) != sparseMagic || binary.LittleEndian.Uint64(b[12:]) != 0 {
		return 0, 0, false
	}
	start, sectors := binary.LittleEndian.Uint64(b[28:]), binary.LittleEndian.Uint64(b[36:])
	if start < 1 || start > maxSectors || sectors < 1 || sectors > maxDescriptorBytes/SectorSize || int64(start+sectors)*SectorSize > fileSize {
		return 0, 0, false
	}
	return int64(start) * SectorSize, int64(sectors) * SectorSize, true
}

func (h sparseHeader) validate(name string, fileSize int64) error {
	fileSectors := fileSize / SectorSize
	inFile := func(at int64, what string, start, n int64) error {
		if start < 1 || n > fileSectors || start > fileSectors-n {
			return corruptAt(name, at, "%s at sector %d, %d sectors, is not inside the file of %d bytes", what, start, n, fileSize)
		}
		return nil
	}
	largest := int64(maxGrain)
	if h.compressed() {
		largest = maxStream
	}
	if h.grain < minGrain || h.grain > largest || h.grain&(h.grain-1) != 0 {
		return corruptAt(name, 20, "grain of %d sectors, want a power of two from %d to %d", h.grain, minGrain, largest)
	}
	if h.capacity == 0 {
		return corruptAt(name, 12, "capacity is 0")
	}
	if n := h.tables(); n > maxDirectory {
		return corruptAt(name, 12, "capacity of %d sectors needs %d grain tables, at most %d are supported", h.capacity, n, maxDirectory)
	}
	if h.descriptorOffset != 0 {
		if h.descriptorSize*SectorSize > maxDescriptorBytes || h.descriptorSize < 1 {
			return corruptAt(name, 36, "descriptor of %d sectors", h.descriptorSize)
		}
		if err := inFile(28, "descriptor", h.descriptorOffset, h.descriptorSize); err != nil {
			return err
		}
	}
	if !h.atEnd {
		if err := inFile(56, "grain directory", h.directoryOffset, h.directorySectors()); err != nil {
			return err
		}
	}
	if h.flags&flagRedundant != 0 {
		if err := inFile(48, "redundant grain directory", h.redundantOffset, h.directorySectors()); err != nil {
			return err
		}
	}
	if h.overhead < 1 && !h.compressed() {
		return corruptAt(name, 64, "overhead is %d sectors", h.overhead)
	}
	return h.validateLayout(name)
}

// validateLayout checks that header, descriptor and directories do not lie on each other, nor where grains may be.
func (h sparseHeader) validateLayout(name string) error {
	parts := h.metadata()
	for i, a := range parts {
		if a.start+a.n > h.overhead && !h.compressed() {
			return corruptAt(name, 64, "overhead of %d sectors ends before the %s (%d+%d)", h.overhead, a.what, a.start, a.n)
		}
		for _, b := range parts[:i] {
			if a.start < b.start+b.n && b.start < a.start+a.n {
				return corruptAt(name, 48, "%s (sector %d+%d) overlaps the %s (%d+%d)", a.what, a.start, a.n, b.what, b.start, b.n)
			}
		}
	}
	return nil
}

type sparsePart struct {
	what     string
	start, n int64 // sectors
}

// metadata lists the parts whose place the header fixes. One that there is not has no sectors, and overlaps with nothing.
func (h sparseHeader) metadata() [4]sparsePart {
	parts := [4]sparsePart{{"header", 0, 1}}
	if !h.atEnd {
		parts[1] = sparsePart{"grain directory", h.directoryOffset, h.directorySectors()}
	}
	if h.descriptorOffset != 0 {
		parts[2] = sparsePart{"descriptor", h.descriptorOffset, h.descriptorSize}
	}
	if h.flags&flagRedundant != 0 {
		parts[3] = sparsePart{"redundant grain directory", h.redundantOffset, h.directorySectors()}
	}
	return parts
}

// overlapsMetadata names the part that shares sectors with [start, start+n), "" when there is none.
func (h sparseHeader) overlapsMetadata(start, n int64) string {
	for _, part := range h.metadata() {
		if start < part.start+part.n && part.start < start+n {
			return part.what
		}
	}
	return ""
}

// tables is the number of grain tables, and of entries in each directory.
func (h sparseHeader) tables() int64 { return ceilDiv(h.capacity, h.grain*tableEntries) }

func (h sparseHeader) directorySectors() int64 { return ceilDiv(h.tables()*4, SectorSize) }

func (h sparseHeader) grainBytes() int64 { return h.grain * SectorSize }

// shape: a grain of a stream may lie anywhere, since its marker tells which one it is.
func (h sparseHeader) shape() grainShape {
	s := grainShape{capacity: h.capacity, grain: h.grain, perTable: tableEntries, entryBytes: 4, firstGrain: h.overhead,
		directories: []int64{h.directoryOffset}}
	if h.compressed() {
		s.firstGrain = 1
	}
	if h.flags&flagRedundant != 0 {
		s.directories = append(s.directories, h.redundantOffset)
	}
	return s
}

func (h sparseHeader) tableAt(entry uint64) (int64, string) { return int64(entry), "" }

func (h sparseHeader) place(entry uint64) (grainPlace, string) {
	switch {
	case entry == 0:
		return grainPlace{kind: grainAbsent}, ""
	case entry == entryZero && h.flags&flagZeroGrains != 0:
		return grainPlace{kind: grainZero}, ""
	}
	return grainPlace{kind: grainHeld, sector: int64(entry)}, ""
}

// encode writes the header of a new extent.
func (h sparseHeader) encode() []byte {
	b := make([]byte, sparseHeaderBytes)
	le := binary.LittleEndian
	le.PutUint32(b[0:], sparseMagic)
	le.PutUint32(b[4:], h.version)
	le.PutUint32(b[8:], h.flags)
	le.PutUint64(b[12:], uint64(h.capacity))
	le.PutUint64(b[20:], uint64(h.grain))
	le.PutUint64(b[28:], uint64(h.descriptorOffset))
	le.PutUint64(b[36:], uint64(h.descriptorSize))
	le.PutUint32(b[44:], tableEntries)
	le.PutUint64(b[48:], uint64(h.redundantOffset))
	le.PutUint64(b[56:], uint64(h.directoryOffset))
	le.PutUint64(b[64:], uint64(h.overhead))
	if h.unclean {
		b[sparseUncleanAt] = 1
	}
	copy(b[73:], newlineCheck[:])
	return b
}

// newSparseHeader lays out an extent of capacity sectors: header, descriptor, then each directory followed by its tables, the
// redundant one first, and the grains from the next whole grain on.
func newSparseHeader(capacity int64, embedDescriptor bool) sparseHeader {
	h := sparseHeader{version: 1, flags: flagNewlines | flagRedundant, capacity: capacity, grain: newGrain}
	next := int64(1)
	if embedDescriptor {
		h.descriptorOffset, h.descriptorSize = next, newSparseDesc
		next += newSparseDesc
	}
	span := h.directorySectors() + h.tables()*tableSectors
	h.redundantOffset, h.directoryOffset = next, next+span
	h.overhead = ceilDiv(next+2*span, h.grain) * h.grain
	return h
}

// newDirectory is the directory at sector start of a new extent: its tables follow it without a gap.
func (h sparseHeader) newDirectory(start int64) []byte {
	b := make([]byte, h.directorySectors()*SectorSize)
	for i := range h.tables() {
		binary.LittleEndian.PutUint32(b[i*4:], uint32(start+h.directorySectors()+i*tableSectors))
	}
	return b
}

func decodeEntries(b []byte, into []uint32) {
	for i := range into {
		into[i] = binary.LittleEndian.Uint32(b[i*4:])
	}
}

func encodeEntries(entries []uint32) []byte {
	b := make([]byte, len(entries)*4)
	for i, e := range entries {
		binary.LittleEndian.PutUint32(b[i*4:], e)
	}
	return b
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }
