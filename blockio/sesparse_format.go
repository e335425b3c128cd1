package blockio

import (
	"encoding/binary"
	"fmt"
)

// The bytes of a seSparse extent. doc.go has the layout.
const (
	seSparseMagic         = 0xcafebabe
	seSparseVolatileMagic = 0xcafecafe
	seSparseVersion       = 0x0000000200000001
	seSparseGrain         = 8    // sectors
	seSparseTable         = 64   // sectors
	seSparseTableEntries  = 4096 //
	maxSESparseDirectory  = 4 << 20

	seSparseTableTag  = 0x10000000 // upper half of a directory entry
	seSparseUnmapped  = 1          // upper four bits of a table entry: given up by the guest, which reads zeros
	seSparseZeroed    = 2
	seSparseAllocated = 3
)

// seSparseHeader is what of the constant header is needed for reading. All in sectors.
type seSparseHeader struct {
	capacity  int64
	volatile  seSparseRegion
	directory seSparseRegion
	tables    seSparseRegion
	grains    seSparseRegion
}

type seSparseRegion struct{ start, n int64 }

// decodeSESparseHeader reads and judges the constant header. fileSize bounds everything that it points to.
func decodeSESparseHeader(name string, b []byte, fileSize int64) (seSparseHeader, error) {
	var h seSparseHeader
	if len(b) < SectorSize {
		return h, corruptAt(name, 0, "seSparse header is cut off after %d of %d bytes", len(b), SectorSize)
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	if u64(0) != seSparseMagic {
		return h, corruptAt(name, 0, "magic %016x, want %016x", u64(0), uint64(seSparseMagic))
	}
	if u64(8) != seSparseVersion {
		return h, unsupported(name, "seSparse version %016x; %016x is known", u64(8), uint64(seSparseVersion))
	}
	fixed := []struct {
		at   int
		want uint64
		what string
	}{
		{24, seSparseGrain, "sectors in a grain"}, {32, seSparseTable, "sectors in a grain table"}, {40, 0, "flags"},
		{48, 0, "reserved"}, {56, 0, "reserved"}, {64, 0, "reserved"}, {72, 0, "reserved"},
	}
	for _, f := range fixed {
		if u64(f.at) != f.want {
			return h, corruptAt(name, int64(f.at), "%s: %d, want %d", f.what, u64(f.at), f.want)
		}
	}
	for at := 16; at <= 200; at += 8 {
		if at == 16 || at >= 80 {
			if n := u64(at); n > maxSectors {
				return h, corruptAt(name, int64(at), "%d sectors, at most %d are believed", n, int64(maxSectors))
			}
		}
	}
	region := func(at int) seSparseRegion { return seSparseRegion{int64(u64(at)), int64(u64(at + 8))} }
	h = seSparseHeader{capacity: int64(u64(16)), volatile: region(80), directory: region(128), tables: region(144), grains: region(192)}
	return h, h.validate(name, fileSize)
}

func (h seSparseHeader) validate(name string, fileSize int64) error {
	tables := ceilDiv(h.capacity, seSparseGrain*seSparseTableEntries)
	switch {
	case h.capacity == 0:
		return corruptAt(name, 16, "capacity is 0")
	case tables > maxSESparseDirectory:
		return corruptAt(name, 16, "capacity of %d sectors needs %d grain tables, at most %d are supported", h.capacity, tables, maxSESparseDirectory)
	case h.directory.n*SectorSize < tables*8:
		return corruptAt(name, 136, "grain directory of %d sectors; %d tables need %d", h.directory.n, tables, ceilDiv(tables*8, SectorSize))
	}
	regions := []struct {
		at   int64
		what string
		seSparseRegion
		whole bool // it is all inside the file; the others may be longer than what is in use
	}{
		{80, "volatile header", h.volatile, true}, {128, "grain directory", h.directory, true},
		{144, "grain tables", h.tables, false}, {192, "grains", h.grains, false},
	}
	for i, r := range regions {
		if r.start < 1 || r.n < 1 || r.whole && (r.start+r.n)*SectorSize > fileSize {
			return corruptAt(name, r.at, "%s at sector %d, %d sectors, is not inside the file of %d bytes", r.what, r.start, r.n, fileSize)
		}
		for _, o := range regions[:i] {
			if r.start < o.start+o.n && o.start < r.start+r.n {
				return corruptAt(name, r.at, "%s (sector %d+%d) overlaps the %s (%d+%d)", r.what, r.start, r.n, o.what, o.start, o.n)
			}
		}
	}
	return nil
}

// decodeSESparseVolatile reads the header that changes while the extent is in use. replay tells that a journal is to be replayed
// before the tables can be believed.
func decodeSESparseVolatile(name string, b []byte, at int64) (replay bool, err error) {
	if magic := binary.LittleEndian.Uint64(b); magic != seSparseVolatileMagic {
		return false, corruptAt(name, at, "magic of the volatile header is %016x, want %016x", magic, uint64(seSparseVolatileMagic))
	}
	return binary.LittleEndian.Uint64(b[24:]) != 0, nil
}

func (h seSparseHeader) shape() grainShape {
	return grainShape{capacity: h.capacity, grain: seSparseGrain, perTable: seSparseTableEntries, entryBytes: 8,
		firstGrain: h.grains.start, directories: []int64{h.directory.start}}
}

// tableAt: an entry has a tag and the number of a table.
func (h seSparseHeader) tableAt(entry uint64) (int64, string) {
	if entry == 0 {
		return 0, ""
	}
	number := int64(entry & 0xffffffff)
	if entry>>32 != seSparseTableTag || number*seSparseTable+seSparseTable > h.tables.n {
		return 0, fmt.Sprintf("directory entry %016x names no grain table", entry)
	}
	return h.tables.start + number*seSparseTable, ""
}

// place: the upper four bits tell the kind. The number of a grain is rotated: its lowest 12 bits come first.
func (h seSparseHeader) place(entry uint64) (grainPlace, string) {
	switch entry >> 60 {
	case 0:
		if entry == 0 {
			return grainPlace{kind: grainAbsent}, ""
		}
	case seSparseUnmapped, seSparseZeroed:
		return grainPlace{kind: grainZero}, ""
	case seSparseAllocated:
		number := int64(entry>>48&0xfff | entry&0xffffffffffff<<12)
		if number < h.grains.n/seSparseGrain {
			return grainPlace{kind: grainHeld, sector: h.grains.start + number*seSparseGrain}, ""
		}
	}
	return grainPlace{}, fmt.Sprintf("entry %016x names no grain", entry)
}

func (h seSparseHeader) overlapsMetadata(start, n int64) string {
	switch {
	case start < 1:
		return "header"
	case start < h.directory.start+h.directory.n && h.directory.start < start+n:
		return "grain directory"
	case start < h.volatile.start+h.volatile.n && h.volatile.start < start+n:
		return "volatile header"
	}
	return ""
}
