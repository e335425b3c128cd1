package retention

import (
	"failback/replication"
	"failback/replication/block"
)

// entry is one extent of an index: where its content lies in the file.
type entry struct {
	disk    replication.DiskNo
	kind    block.Kind
	ext     replication.Extent
	version replication.PointID
	at      int64  // file offset of the header of the block that holds it
	raw     uint32 // where the extent begins in the block's raw bytes; 0 for Zero
}

// putChunk codes up to chunkEntries index entries into b, which has chunkSize bytes.
func putChunk(b []byte, es []entry) {
	clear(b)
	le.PutUint32(b[4:], uint32(len(es)))
	for i, e := range es {
		x := b[8+i*indexEntrySize:]
		le.PutUint32(x, uint32(e.disk))
		x[4] = byte(e.kind)
		le.PutUint64(x[8:], uint64(e.ext.Off))
		le.PutUint64(x[16:], uint64(e.ext.End))
		le.PutUint64(x[24:], uint64(e.version))
		le.PutUint64(x[32:], uint64(e.at))
		le.PutUint32(x[40:], e.raw)
	}
	le.PutUint32(b, crc(b[4:chunkSize]))
}

// parseChunk appends the entries of an index chunk to dst.
func parseChunk(dst []entry, b []byte) ([]entry, error) {
	if len(b) != chunkSize || le.Uint32(b) != crc(b[4:]) {
		return dst, malformed("checksum of an index chunk")
	}
	n := le.Uint32(b[4:])
	if n == 0 || n > chunkEntries {
		return dst, malformed("index chunk of %d entries", n)
	}
	for i := range int(n) {
		x := b[8+i*indexEntrySize:]
		e := entry{
			disk: replication.DiskNo(le.Uint32(x)), kind: block.Kind(x[4]), ext: replication.Extent{Off: int64(le.Uint64(x[8:])), End: int64(le.Uint64(x[16:]))},
			version: replication.PointID(le.Uint64(x[24:])), at: int64(le.Uint64(x[32:])), raw: le.Uint32(x[40:]),
		}
		if e.ext.Off < 0 || e.ext.End <= e.ext.Off || e.ext.End > replication.MaxDiskSize || e.at < fileHeaderSize && e.hasContent() || e.at > maxFileEnd || e.raw >= block.MaxRaw ||
			!e.hasContent() && e.kind != gone && e.kind != lost || e.kind == block.Data && int64(e.raw)+e.ext.Len() > block.MaxRaw {
			return dst, malformed("index entry %d", i)
		}
		if k := len(dst); i > 0 && !dst[k-1].before(e) {
			return dst, malformed("index entries out of order")
		}
		dst = append(dst, e)
	}
	return dst, nil
}

// hasContent says whether the file has the extent's content.
func (e *entry) hasContent() bool { return e.kind == block.Data || e.kind == block.Zero }

// before says whether e ends before o begins.
func (e entry) before(o entry) bool {
	return e.disk < o.disk || e.disk == o.disk && e.ext.End <= o.ext.Off
}

// fence is the first key of an index chunk.
type fence struct {
	disk replication.DiskNo
	off  int64
}

// after says whether the fence's key is beyond (disk, off).
func (f fence) after(disk replication.DiskNo, off int64) bool {
	return f.disk > disk || f.disk == disk && f.off > off
}

func appendFence(dst []byte, f fence) []byte {
	dst = le.AppendUint64(dst, uint64(f.disk))
	return le.AppendUint64(dst, uint64(f.off))
}

func parseFences(b []byte) []fence {
	f := make([]fence, len(b)/fenceSize)
	for i := range f {
		f[i] = fence{replication.DiskNo(le.Uint64(b[i*fenceSize:])), int64(le.Uint64(b[i*fenceSize+8:]))}
	}
	return f
}

// footer ends a sealed segment or save file.
type footer struct {
	journal  uuid
	point    replication.PointID
	dataEnd  int64  // end of the entries
	index    int64  // offset of the first index chunk
	count    uint64 // index entries
	chunks   int64
	indexCRC uint32 // of all chunks
	fenceCRC uint32 // of the fences, which follow the chunks
	first    fence  // lowest disk and offset
	last     fence  // highest disk, and end of its highest extent
	bytes    int64  // of the disks, covered by the index
}

func (f footer) size() int64 { return f.index + f.chunks*(chunkSize+fenceSize) + footerSize }

func (f footer) put() []byte {
	b := make([]byte, footerSize)
	copy(b, footerMagic)
	le.PutUint32(b[8:], contentVersion)
	le.PutUint64(b[16:], uint64(f.dataEnd))
	le.PutUint64(b[24:], uint64(f.index))
	le.PutUint64(b[32:], f.count)
	le.PutUint64(b[40:], uint64(f.chunks))
	le.PutUint32(b[48:], f.indexCRC)
	le.PutUint32(b[52:], f.fenceCRC)
	le.PutUint32(b[56:], uint32(f.first.disk))
	le.PutUint32(b[60:], uint32(f.last.disk))
	le.PutUint64(b[64:], uint64(f.first.off))
	le.PutUint64(b[72:], uint64(f.last.off))
	le.PutUint64(b[80:], uint64(f.bytes))
	le.PutUint64(b[88:], uint64(f.point))
	copy(b[96:], f.journal[:])
	le.PutUint32(b[12:], crc(b[16:]))
	return b
}

func parseFooter(b []byte) (f footer, err error) {
	if len(b) != footerSize || string(b[:8]) != footerMagic {
		return f, malformed("no footer: the file was not sealed")
	}
	if le.Uint32(b[12:]) != crc(b[16:]) {
		return f, malformed("checksum of the footer")
	}
	if v := le.Uint32(b[8:]); v != contentVersion {
		return f, newer("the file", v, contentVersion)
	}
	f = footer{
		dataEnd: int64(le.Uint64(b[16:])), index: int64(le.Uint64(b[24:])), count: le.Uint64(b[32:]), chunks: int64(le.Uint64(b[40:])),
		indexCRC: le.Uint32(b[48:]), fenceCRC: le.Uint32(b[52:]),
		first: fence{replication.DiskNo(le.Uint32(b[56:])), int64(le.Uint64(b[64:]))}, last: fence{replication.DiskNo(le.Uint32(b[60:])), int64(le.Uint64(b[72:]))},
		bytes: int64(le.Uint64(b[80:])), point: replication.PointID(le.Uint64(b[88:])), journal: uuid(b[96:112]),
	}
	if f.dataEnd < fileHeaderSize || f.index != alignUp(f.dataEnd) || f.dataEnd > maxFileEnd || f.chunks < 1 || f.chunks > maxIndexChunks ||
		f.count < uint64(f.chunks) || f.count > uint64(f.chunks)*chunkEntries {
		return f, malformed("footer with %d chunks of %d entries after %d", f.chunks, f.count, f.dataEnd)
	}
	return f, nil
}
