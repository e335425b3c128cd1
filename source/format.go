package source

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"failback/replication"
	"failback/replication/crc32c"
)

const (
	tableMagic   = "FBTABLE\n"
	sealMagic    = "FBSEALED"
	changesMagic = "FBCHANGE"

	tableVersion   = 1
	changesVersion = 1

	blockSize       = 4096
	tableHeaderSize = 76
	sealSize        = 36
	sealOffset      = blockSize
	statesOffset    = 2 * blockSize
	stateSize       = 8

	hashSize    = 16
	regionPages = replication.Region / replication.Page
	recordSize  = regionPages * hashSize

	changesHeaderSize = 64
	changesExtentSize = 16
	changesTailSize   = 4
)

// The kinds of a region's record.
const (
	kindAbsent = 0
	kindHashes = 1
	kindZero   = 2
)

var (
	le = binary.LittleEndian

	errFormat = errors.New("not what was written") // corruption of a table or changes file
)

// cutID says which cut of a disk a file belongs to.
type cutID struct {
	size     int64
	point    replication.PointID
	snapshot [16]byte
}

func newCutID(size int64, point replication.PointID, snapshot string) cutID {
	sum := sha256.Sum256([]byte(snapshot))
	return cutID{size, point, [16]byte(sum[:16])}
}

type tableHeader struct {
	cutID
	nonce [16]byte
}

func appendTableHeader(b []byte, h tableHeader) []byte {
	start := len(b)
	b = append(b, tableMagic...)
	b = le.AppendUint32(b, tableVersion)
	b = le.AppendUint32(b, replication.Page)
	b = le.AppendUint32(b, replication.Region)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(h.size))
	b = le.AppendUint64(b, uint64(h.point))
	b = append(b, h.snapshot[:]...)
	b = append(b, h.nonce[:]...)
	return le.AppendUint32(b, crc32c.Checksum(b[start:]))
}

func parseTableHeader(b []byte) (h tableHeader, err error) {
	switch {
	case len(b) < tableHeaderSize || string(b[:8]) != tableMagic:
		return h, fmt.Errorf("table header: %w", errFormat)
	case crc32c.Checksum(b[:tableHeaderSize-4]) != le.Uint32(b[tableHeaderSize-4:]):
		return h, fmt.Errorf("table header's checksum: %w", errFormat)
	case le.Uint32(b[8:]) != tableVersion:
		return h, fmt.Errorf("table version %d, want %d: %w", le.Uint32(b[8:]), tableVersion, errFormat)
	case le.Uint32(b[12:]) != replication.Page || le.Uint32(b[16:]) != replication.Region:
		return h, fmt.Errorf("table of pages of %d and regions of %d: %w", le.Uint32(b[12:]), le.Uint32(b[16:]), errFormat)
	}
	h.size = int64(le.Uint64(b[24:]))
	h.point = replication.PointID(le.Uint64(b[32:]))
	copy(h.snapshot[:], b[40:])
	copy(h.nonce[:], b[56:])
	if h.size <= 0 || h.size > replication.MaxDiskSize {
		return h, fmt.Errorf("table of a disk of %d bytes: %w", h.size, errFormat)
	}
	return h, nil
}

func appendSeal(b []byte, h tableHeader) []byte {
	start := len(b)
	b = append(b, sealMagic...)
	b = append(b, h.nonce[:]...)
	b = le.AppendUint64(b, uint64(regions(h.size)))
	return le.AppendUint32(b, crc32c.Checksum(b[start:]))
}

// regions returns the number of regions of a disk.
func regions(size int64) int64 { return (size + replication.Region - 1) / replication.Region }

// pagesOf returns the number of pages of a region.
func pagesOf(size, region int64) int {
	n := min(size-region*replication.Region, replication.Region)
	return int((n + replication.Page - 1) / replication.Page)
}

// recordsOffset is where the records of a table start.
func recordsOffset(size int64) int64 {
	return (statesOffset + regions(size)*stateSize + blockSize - 1) &^ (blockSize - 1)
}

func stateOffset(region int64) int64 { return statesOffset + region*stateSize }

func recordOffset(size, region int64) int64 { return recordsOffset(size) + region*recordSize }

func tableFileSize(size int64) int64 { return recordOffset(size, regions(size)) }

// regionSum is the checksum of a region's record. scratch has room for 12 bytes.
func regionSum(nonceSum uint32, region int64, kind uint32, record, scratch []byte) uint32 {
	le.PutUint64(scratch, uint64(region))
	le.PutUint32(scratch[8:], kind)
	return crc32c.Update(crc32c.Update(nonceSum, scratch[:12]), record)
}

// changesHeader says whose changes a file holds.
type changesHeader struct {
	cutID
	base replication.PointID
}

func appendChanges(b []byte, h changesHeader, x []replication.Extent) []byte {
	start := len(b)
	b = append(b, changesMagic...)
	b = le.AppendUint32(b, changesVersion)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(h.point))
	b = le.AppendUint64(b, uint64(h.base))
	b = le.AppendUint64(b, uint64(h.size))
	b = append(b, h.snapshot[:]...)
	b = le.AppendUint64(b, uint64(len(x)))
	for _, e := range x {
		b = le.AppendUint64(b, uint64(e.Off))
		b = le.AppendUint64(b, uint64(e.End))
	}
	return le.AppendUint32(b, crc32c.Checksum(b[start:]))
}

// changesFileSize bounds a changes file.
const changesFileSize = changesHeaderSize + maxExtents*changesExtentSize + changesTailSize

func parseChanges(b []byte) (h changesHeader, set *replication.Set, err error) {
	if len(b) < changesHeaderSize+changesTailSize || len(b) > changesFileSize || string(b[:8]) != changesMagic {
		return h, nil, fmt.Errorf("changes of %d bytes: %w", len(b), errFormat)
	}
	body, tail := b[:len(b)-changesTailSize], b[len(b)-changesTailSize:]
	count := le.Uint64(b[56:])
	switch {
	case crc32c.Checksum(body) != le.Uint32(tail):
		return h, nil, fmt.Errorf("changes' checksum: %w", errFormat)
	case le.Uint32(b[8:]) != changesVersion:
		return h, nil, fmt.Errorf("changes version %d, want %d: %w", le.Uint32(b[8:]), changesVersion, errFormat)
	case count > maxExtents || uint64(len(body)-changesHeaderSize) != count*changesExtentSize:
		return h, nil, fmt.Errorf("%d changes in %d bytes: %w", count, len(b), errFormat)
	}
	h.point = replication.PointID(le.Uint64(b[16:]))
	h.base = replication.PointID(le.Uint64(b[24:]))
	h.size = int64(le.Uint64(b[32:]))
	copy(h.snapshot[:], b[40:])
	set = &replication.Set{}
	last := int64(-1)
	for b := body[changesHeaderSize:]; len(b) > 0; b = b[changesExtentSize:] {
		e := replication.Extent{Off: int64(le.Uint64(b)), End: int64(le.Uint64(b[8:]))}
		if err := e.Check(h.size); err != nil || e.Off <= last {
			return h, nil, fmt.Errorf("changes with %v after %d: %w", e, last, errFormat)
		}
		last = e.End
		set.Add(e)
	}
	return h, set, nil
}
