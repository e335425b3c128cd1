package blockio

import (
	"encoding/binary"
	"fmt"
)

// The bytes that a streamOptimized extent has besides those of a sparse one. doc.go has the layout.
const (
	compressionDeflate = 1

	markerEnd    = 0 // of the stream
	markerFooter = 3

	grainMarkerBytes = 12 // number of the grain's first sector, size of what follows
	plainMarkerBytes = 4  // the size alone, without flagMarkers
	footerBytes      = 3 * SectorSize
)

// grainMarker stands before the compressed bytes of a grain.
type grainMarker struct {
	first int64 // sector of the disk with which the grain begins; -1 where the stream does not say
	size  int64 // compressed bytes that follow
}

// markerBytes is the size of what stands before a grain.
func (h sparseHeader) markerBytes() int64 {
	if h.flags&flagMarkers == 0 {
		return plainMarkerBytes
	}
	return grainMarkerBytes
}

// decodeGrainMarker reads b, of markerBytes. A grain that does not get smaller is stored all the same, and may take more than it
// holds; twice as much is never needed.
func (h sparseHeader) decodeGrainMarker(b []byte) (m grainMarker, wrong string) {
	m.first = -1
	if h.flags&flagMarkers != 0 {
		first := binary.LittleEndian.Uint64(b)
		if first > maxSectors {
			return m, fmt.Sprintf("the marker says sector %d of the disk", first)
		}
		m.first, b = int64(first), b[8:]
	}
	m.size = int64(binary.LittleEndian.Uint32(b))
	if m.size == 0 || m.size > 2*h.grainBytes() {
		return m, fmt.Sprintf("the marker says %d compressed bytes, for a grain of %d", m.size, h.grainBytes())
	}
	return m, ""
}

// decodeFooter reads the last three sectors of a stream that has its directory at the end: the footer's marker, the footer,
// which is the header once more with the directory's place in it, and the marker of the end.
func decodeFooter(name string, h sparseHeader, tail []byte, fileSize int64) (sparseHeader, error) {
	at := fileSize - footerBytes
	if at < SectorSize || fileSize%SectorSize != 0 || len(tail) != footerBytes {
		return h, corruptAt(name, max(fileSize, 0), "the stream is cut off: no footer in a file of %d bytes", fileSize)
	}
	le := binary.LittleEndian
	if val, size, kind := le.Uint64(tail), le.Uint32(tail[8:]), le.Uint32(tail[12:]); val != 1 || size != 0 || kind != markerFooter {
		return h, corruptAt(name, at, "the stream is cut off: no footer before the end of the file")
	}
	end := tail[2*SectorSize:]
	if val, size, kind := le.Uint64(end), le.Uint32(end[8:]), le.Uint32(end[12:]); val != 0 || size != 0 || kind != markerEnd {
		return h, corruptAt(name, at+2*SectorSize, "no end-of-stream marker behind the footer")
	}
	f, err := decodeSparseHeader(name, tail[SectorSize:2*SectorSize], fileSize)
	if err != nil {
		return h, fmt.Errorf("footer at offset %d: %w", at+SectorSize, err)
	}
	if f.atEnd {
		return h, corruptAt(name, at+SectorSize+56, "the footer does not say where the grain directory is")
	}
	if f.capacity != h.capacity || f.grain != h.grain || f.flags != h.flags {
		return h, corruptAt(name, at+SectorSize, "footer (%d sectors, grain %d, flags %08x) and header (%d, %d, %08x) differ",
			f.capacity, f.grain, f.flags, h.capacity, h.grain, h.flags)
	}
	f.descriptorOffset, f.descriptorSize = h.descriptorOffset, h.descriptorSize
	return f, f.validateLayout(name)
}

// hasFooter reports whether the last three sectors of a file are those of a stream with a footer.
func hasFooter(tail []byte) bool {
	le := binary.LittleEndian
	return le.Uint64(tail) == 1 && le.Uint32(tail[8:]) == 0 && le.Uint32(tail[12:]) == markerFooter &&
		le.Uint32(tail[SectorSize:]) == sparseMagic
}
