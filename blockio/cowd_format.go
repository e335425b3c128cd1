package blockio

import "encoding/binary"

// The bytes of a COWD extent, which holds a vmfsSparse disk or snapshot. doc.go has the layout.
const (
	cowdMagic        = 0x44574f43 // "COWD"
	cowdHeaderBytes  = 2048
	cowdUncleanAt    = 1648
	cowdTableEntries = 4096
	maxCOWDGrain     = 2048 // sectors
	cowdKnownFlags   = 3
)

// cowdHeader is the beginning of a COWD extent. Offsets and sizes are in sectors.
type cowdHeader struct {
	capacity  int64
	grain     int64
	directory int64
	entries   int64 // in the directory
	unclean   bool
}

// decodeCOWDHeader reads and judges a header. fileSize bounds everything that it points to.
func decodeCOWDHeader(name string, b []byte, fileSize int64) (cowdHeader, error) {
	if len(b) < cowdHeaderBytes {
		return cowdHeader{}, corruptAt(name, 0, "COWD header is cut off after %d of %d bytes", len(b), cowdHeaderBytes)
	}
	u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(b[at:])) }
	if magic := u32(0); magic != cowdMagic {
		return cowdHeader{}, corruptAt(name, 0, "magic %08x, want %08x", magic, cowdMagic)
	}
	h := cowdHeader{capacity: u32(12), grain: u32(16), directory: u32(20), entries: u32(24), unclean: u32(cowdUncleanAt) != 0}
	switch {
	case u32(4) != 1:
		return h, unsupported(name, "COWD version %d; 1 is known", u32(4))
	case u32(8)&^cowdKnownFlags != 0:
		return h, unsupported(name, "COWD flags %08x; %08x are known", u32(8), cowdKnownFlags)
	case h.capacity == 0:
		return h, corruptAt(name, 12, "capacity is 0")
	case h.grain < 1 || h.grain > maxCOWDGrain || h.grain&(h.grain-1) != 0:
		return h, corruptAt(name, 16, "grain of %d sectors, want a power of two up to %d", h.grain, maxCOWDGrain)
	}
	if need := ceilDiv(h.capacity, h.grain*cowdTableEntries); h.entries < need {
		return h, corruptAt(name, 24, "%d entries in the grain directory, %d sectors need %d", h.entries, h.capacity, need)
	}
	if h.directory < cowdHeaderBytes/SectorSize {
		return h, corruptAt(name, 20, "grain directory at sector %d, inside the header", h.directory)
	}
	if end := h.directory*SectorSize + h.entries*4; end > fileSize {
		return h, corruptAt(name, 20, "grain directory at sector %d, %d entries, is not inside the file of %d bytes", h.directory, h.entries, fileSize)
	}
	return h, nil
}

func (h cowdHeader) directorySectors() int64 { return ceilDiv(h.entries*4, SectorSize) }

func (h cowdHeader) shape() grainShape {
	return grainShape{capacity: h.capacity, grain: h.grain, perTable: cowdTableEntries, entryBytes: 4,
		firstGrain: h.directory + h.directorySectors(), directories: []int64{h.directory}}
}

func (h cowdHeader) tableAt(entry uint64) (int64, string) { return int64(entry), "" }

func (h cowdHeader) place(entry uint64) (grainPlace, string) {
	if entry == 0 {
		return grainPlace{kind: grainAbsent}, ""
	}
	return grainPlace{kind: grainHeld, sector: int64(entry)}, ""
}

func (h cowdHeader) overlapsMetadata(start, n int64) string {
	switch {
	case start < h.directory:
		return "header"
	case start < h.directory+h.directorySectors() && h.directory < start+n:
		return "grain directory"
	}
	return ""
}
