package blockio

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
)

// grainDecoder inflates grains, one at a time. Its buffers are at most three times the largest grain.
type grainDecoder struct {
	compressed []byte
	source     bytes.Reader
	inflate    io.ReadCloser
}

// readCompressed fills p with the bytes at off of the grain whose marker is at sector. p stays inside the grain. A grain that is
// wanted whole is inflated into its place and not kept: whoever reads in order does not come back.
func (e *grainExtent) readCompressed(p []byte, off, sector int64) error {
	g := off / e.file.grainBytes()
	if b, ok := e.cache.grains.get(grainKey{e, g}); ok {
		copy(p, b[off%e.file.grainBytes():])
		return nil
	}
	if int64(len(p)) == e.file.grainBytes() {
		_, err := e.inflate(p, g, sector)
		return err
	}
	b := make([]byte, e.file.grainBytes())
	n, err := e.inflate(b, g, sector)
	if err != nil {
		return err
	}
	e.cache.grains.put(grainKey{e, g}, b[:n], int64(len(b)))
	copy(p, b[off%e.file.grainBytes():n])
	return nil
}

// inflate reads grain g into p, of a whole grain. The last grain may be a whole one, or end with the disk.
func (e *grainExtent) inflate(p []byte, g, sector int64) (int, error) {
	d := <-e.cache.decoders
	if d == nil {
		d = &grainDecoder{}
	}
	defer func() { e.cache.decoders <- d }()
	b, err := d.read(e.file, e.stream, g, sector)
	if err != nil {
		return 0, err
	}
	n, err := d.decode(p, b)
	if err != nil {
		return 0, corruptAt(e.file.st.Name(), sector*SectorSize, "grain %d: %v", g, err)
	}
	if int64(n) != e.file.grainBytes() && int64(n) != e.file.need(g) {
		return 0, corruptAt(e.file.st.Name(), sector*SectorSize, "grain %d has %d bytes, want %d", g, n, e.file.need(g))
	}
	return n, nil
}

// read returns the compressed bytes of grain g, until the next call.
func (d *grainDecoder) read(f *grainFile, h *sparseHeader, g, sector int64) ([]byte, error) {
	m, err := readGrainMarker(f, h, g, sector)
	if err != nil {
		return nil, err
	}
	if int64(cap(d.compressed)) < m.size {
		d.compressed = make([]byte, 2*h.grainBytes())
	}
	b := d.compressed[:m.size]
	return b, readFull(f.st, b, sector*SectorSize+h.markerBytes())
}

// readGrainMarker reads what stands before grain g, which says whose grain it is.
func readGrainMarker(f *grainFile, h *sparseHeader, g, sector int64) (grainMarker, error) {
	b := make([]byte, h.markerBytes())
	if err := readFull(f.st, b, sector*SectorSize); err != nil {
		return grainMarker{}, err
	}
	m, wrong := h.decodeGrainMarker(b)
	if wrong == "" && m.first >= 0 && m.first != g*h.grain {
		wrong = fmt.Sprintf("the marker says sector %d of the disk, want %d", m.first, g*h.grain)
	}
	if wrong != "" {
		return m, corruptAt(f.st.Name(), sector*SectorSize, "grain %d: %s", g, wrong)
	}
	return m, nil
}

// decode inflates a zlib stream (RFC 1950) into p, and checks its checksum. More than p holds is an error.
func (d *grainDecoder) decode(p, compressed []byte) (int, error) {
	d.source.Reset(compressed)
	var err error
	if d.inflate == nil {
		d.inflate, err = zlib.NewReader(&d.source)
	} else {
		err = d.inflate.(zlib.Resetter).Reset(&d.source, nil)
	}
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(d.inflate, p)
	if errors.Is(err, io.ErrUnexpectedEOF) && n > 0 {
		// Either the end of the data, after its checksum, or that of what we have of it: ask again.
		err = nil
	}
	if err != nil {
		return n, err
	}
	var more [1]byte
	switch k, err := io.ReadFull(d.inflate, more[:]); {
	case k > 0:
		return n, fmt.Errorf("it inflates to more than %d bytes", len(p))
	case err != io.EOF:
		return n, err
	}
	return n, nil
}
