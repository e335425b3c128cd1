package retention

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// sealed is a sealed segment or save file. It never changes. Safe for concurrent use.
type sealed struct {
	name string // path
	h    *handles
	hdr  fileHeader
	salt uint32 // of hdr
	foot footer
	rec  fileRecord // what the log says of it beyond foot; zero for segments
	bad  error      // why nothing of it can be read: it stands in for a file that is damaged (Inspection)

	rank  uint64    // rises in the order of naming; set before it is seen by others
	seen  uint64    // rises in the order of being seen first, as this one; likewise
	parts []stretch // quarantined, rising; never changes: a file that loses one is seen as another sealed from then on
	life  *life     // of the file, whichever sealed it is seen as

	mu     sync.Mutex
	fences []fence // nil until first needed
}

// life is what there is once of a file.
type life struct {
	catalogs int          // that name it; guarded by shelf.mu
	proved   atomic.Int64 // when this process last read all of it, or wrote it, in nanoseconds since 1970; 0: never
}

// prove notes that all of the file was found as it was written.
func (s *sealed) prove() { s.life.proved.Store(time.Now().UnixNano()) }

// proven says whether that is not longer ago than a time.
func (s *sealed) proven(within time.Duration) bool {
	at := s.life.proved.Load()
	return at != 0 && time.Since(time.Unix(0, at)) < within
}

// span is an indexed extent and the file that holds its content.
type span struct {
	entry
	in *sealed
}

// openSealed reads a sealed file's header and footer.
func openSealed(h *handles, name string, id *Identity, journal uuid) (*sealed, error) {
	f, err := h.acquire(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %w", corruptf(name, 0, "the file is missing"), err)
		}
		return nil, fmt.Errorf("open %s: %w", base(name), err)
	}
	size, err := f.f.Size()
	h.release(f)
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", name, err)
	}
	s := &sealed{name: name, h: h, life: &life{}}
	b := make([]byte, fileHeaderSize)
	if err := h.readAt(name, b, 0); err != nil {
		return nil, err
	}
	if s.hdr, err = parseFileHeader(b); err != nil {
		return nil, corrupt(name, 0, err)
	}
	s.salt = s.hdr.salt()
	if s.hdr.journal != journal || s.hdr.group != id.Group {
		return nil, corruptf(name, 0, "file of journal %s of group %q", s.hdr.journal, s.hdr.group)
	}
	at := max(size-footerSize, 0)
	b = make([]byte, footerSize)
	if err := h.readAt(name, b, at); err != nil {
		return nil, err
	}
	if s.foot, err = parseFooter(b); err != nil {
		return nil, corrupt(name, at, err)
	}
	if s.foot.journal != journal || s.foot.point != s.hdr.point || s.foot.size() != size {
		return nil, corruptf(name, at, "footer of another file, or of one of %d bytes rather than %d", s.foot.size(), size)
	}
	return s, nil
}

func (s *sealed) record() fileRecord {
	return fileRecord{Name: base(s.name), Size: s.foot.size(), Bytes: s.foot.bytes, Extents: s.foot.count, IndexCRC: s.foot.indexCRC, Low: s.rec.Low, High: s.rec.High, Zero: s.rec.Zero, Gone: s.rec.Gone, Lost: s.rec.Lost}
}

// low returns the lowest version that the file may hold.
func (s *sealed) low() replication.PointID {
	if s.hdr.kind == segmentFile {
		return s.hdr.point
	}
	return s.rec.Low
}

// high returns the highest version that the file may hold.
func (s *sealed) high() replication.PointID {
	if s.hdr.kind == segmentFile || s.rec.High == 0 && !s.rec.Zero {
		return s.hdr.point
	}
	return s.rec.High
}

// matches says whether the file is the one that a record of the log names.
func (s *sealed) matches(r fileRecord) error {
	if got := s.record(); got != r {
		return corruptf(s.name, s.foot.size()-footerSize, "not the file that the log names: got %+v, want %+v", got, r)
	}
	return nil
}

func (s *sealed) loadFences() ([]fence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bad != nil {
		return nil, s.bad
	}
	if s.fences != nil {
		return s.fences, nil
	}
	b := make([]byte, s.foot.chunks*fenceSize)
	at := s.foot.index + s.foot.chunks*chunkSize
	if err := s.h.readAt(s.name, b, at); err != nil {
		return nil, err
	}
	if crc(b) != s.foot.fenceCRC {
		return nil, corruptf(s.name, at, "checksum of the index's fences")
	}
	s.fences = parseFences(b)
	return s.fences, nil
}

// chunk appends the entries of the i-th index chunk to dst, with what is quarantined as lost. buf has chunkSize bytes.
func (s *sealed) chunk(dst []entry, i int64, buf []byte) ([]entry, error) {
	n := len(dst)
	dst, err := s.written(dst, i, buf)
	if len(s.parts) > 0 && err == nil {
		s.lose(dst[n:])
	}
	return dst, err
}

// written is chunk as the file has it.
func (s *sealed) written(dst []entry, i int64, buf []byte) ([]entry, error) {
	at := s.foot.index + i*chunkSize
	if err := s.h.readAt(s.name, buf, at); err != nil {
		return dst, err
	}
	n := len(dst)
	dst, err := parseChunk(dst, buf)
	if err != nil {
		return dst, corrupt(s.name, at, err)
	}
	for _, e := range dst[n:] {
		if e.at >= s.foot.dataEnd {
			return dst, corruptf(s.name, at, "index entry points to %d, behind the entries", e.at)
		}
	}
	return dst, nil
}

// startChunk returns the first chunk that may hold an entry that ends behind (disk, off).
func startChunk(fences []fence, disk replication.DiskNo, off int64) int64 {
	i := sort.Search(len(fences), func(i int) bool { return fences[i].after(disk, off) })
	return int64(max(i-1, 0))
}

// mayHold says whether the file's bounds leave room for a byte of e.
func (s *sealed) mayHold(disk replication.DiskNo, e replication.Extent) bool {
	f, l := s.foot.first, s.foot.last
	return !(f.after(disk, e.End-1) || l.disk < disk || l.disk == disk && l.off <= e.Off)
}

// block reads the header of the block at a file offset and its payload, which is not decoded yet.
func (s *sealed) block(at int64, id *Identity) (b block.Block, version replication.PointID, err error) {
	var fixed [entryFixed]byte
	if err := s.h.readAt(s.name, fixed[:], at); err != nil {
		return b, 0, err
	}
	n, p, err := entrySize(fixed[:])
	if err != nil {
		return b, 0, corrupt(s.name, at, err)
	}
	if at+int64(n+p) > s.foot.dataEnd {
		return b, 0, corruptf(s.name, at, "block reaches behind the entries")
	}
	buf := make([]byte, n+p)
	if err := s.h.readAt(s.name, buf, at); err != nil {
		return b, 0, err
	}
	b, version, err = parseEntry(buf[:n], where{at, s.salt}, id.size)
	if err == nil {
		err = checkPayload(buf, buf[n:])
	}
	if err != nil {
		return b, 0, corrupt(s.name, at, err)
	}
	b.Payload = buf[n:]
	return b, version, nil
}

// contents reads the content of data spans. It keeps the blocks that it decoded last, so that the extents of one block are decoded once.
// Safe for concurrent use.
type contents struct {
	id  *Identity
	max int // blocks kept

	mu     sync.Mutex
	blocks map[blockKey]*decoded
	oldest []blockKey // in the order they were decoded
}

type blockKey struct {
	in *sealed
	at int64
}

type decoded struct {
	once    sync.Once
	block   block.Block // without payload
	version replication.PointID
	raw     []byte
	err     error
}

func newContents(id *Identity, max int) *contents {
	return &contents{id: id, max: max, blocks: map[blockKey]*decoded{}}
}

// read copies the content of the data span sp to dst, which has its length. Its checksum was checked over the whole block (I9).
func (c *contents) read(dst []byte, sp span) error {
	k := blockKey{sp.in, sp.at}
	c.mu.Lock()
	d := c.blocks[k]
	if d == nil {
		d = &decoded{}
		c.blocks[k] = d
		c.oldest = append(c.oldest, k)
		if len(c.oldest) > c.max {
			delete(c.blocks, c.oldest[0])
			c.oldest = append(c.oldest[:0], c.oldest[1:]...)
		}
	}
	c.mu.Unlock()
	d.once.Do(func() { d.load(k, c.id) })
	if d.err != nil {
		c.mu.Lock()
		if c.blocks[k] == d { // an I/O error may be gone next time
			delete(c.blocks, k)
		}
		c.mu.Unlock()
		return d.err
	}
	return d.copyTo(dst, sp)
}

func (d *decoded) load(k blockKey, id *Identity) {
	d.block, d.version, d.err = k.in.block(k.at, id)
	if d.err != nil {
		return
	}
	if d.block.Kind != block.Data {
		d.err = corruptf(k.in.name, k.at, "block is not of the kind that the index says")
		return
	}
	if d.raw, d.err = d.block.Decode(make([]byte, d.block.Raw)); d.err != nil {
		d.err = corrupt(k.in.name, k.at, d.err)
	}
	d.block.Payload = nil
}

// copyTo copies a span's bytes after checking that the block really holds them: the index alone is not believed.
func (d *decoded) copyTo(dst []byte, sp span) error {
	if d.block.Disk != sp.disk || d.version != sp.version {
		return corruptf(sp.in.name, sp.at, "block is of disk %d version %d, the index says disk %d version %d", d.block.Disk, d.version, sp.disk, sp.version)
	}
	raw := int64(0)
	for _, e := range d.block.Extents {
		if e.Off <= sp.ext.Off && sp.ext.End <= e.End {
			if raw+sp.ext.Off-e.Off != int64(sp.raw) {
				break
			}
			copy(dst, d.raw[sp.raw:int64(sp.raw)+sp.ext.Len()])
			return nil
		}
		raw += e.Len()
	}
	return corruptf(sp.in.name, sp.at, "block does not hold disk %d %v at %d of its bytes, as the index says", sp.disk, sp.ext, sp.raw)
}

// clip narrows a span to e, which it overlaps.
func (sp span) clip(e replication.Extent) span {
	x := sp.ext.Intersect(e)
	if sp.kind == block.Data {
		sp.raw += uint32(x.Off - sp.ext.Off)
	}
	sp.ext = x
	return sp
}

// verifyIndex reads the whole index: checksums, order, counts, fences.
func (s *sealed) verifyIndex(id *Identity) error {
	fences, err := s.loadFences()
	if err != nil {
		return err
	}
	var es []entry
	var last entry
	sum, count, bytes, away, buf := uint32(0), uint64(0), int64(0), int64(0), make([]byte, chunkSize)
	for i := range s.foot.chunks {
		if es, err = s.written(es[:0], i, buf); err != nil {
			return err
		}
		at := s.foot.index + i*chunkSize
		sum = crc32.Update(sum, castagnoli, buf)
		if fences[i] != (fence{es[0].disk, es[0].ext.Off}) || i == 0 && fences[0] != s.foot.first {
			return corruptf(s.name, at, "fence is not the first key of its chunk")
		}
		for _, e := range es {
			if count > 0 && !last.before(e) || e.ext.End > id.size(e.disk) || e.version < s.low() || e.version > s.high() || !e.hasContent() && s.hdr.kind != packFile {
				return corruptf(s.name, at, "index entry of disk %d %v version %d", e.disk, e.ext, e.version)
			}
			last = e
			count++
			bytes += e.ext.Len()
			if !e.hasContent() {
				away += e.ext.Len()
			}
		}
	}
	if away != s.rec.Gone {
		return corruptf(s.name, s.foot.index, "index without the content of %d bytes, the log says %d", away, s.rec.Gone)
	}
	if sum != s.foot.indexCRC || count != s.foot.count || bytes != s.foot.bytes || s.foot.last != (fence{last.disk, last.ext.End}) {
		return corruptf(s.name, s.foot.index, "index of %d entries and %d bytes with checksum %08x, the footer says %d, %d, %08x", count, bytes, sum, s.foot.count, s.foot.bytes, s.foot.indexCRC)
	}
	return nil
}

// coverage adds what the file holds to sets, by disk.
func (s *sealed) coverage(sets []*replication.Pages) error {
	for c := (&cursor{src: s, in: s, whole: true}); ; {
		sp, ok, err := c.next(0)
		if err != nil || !ok {
			return err
		}
		sets[sp.disk].Add(sp.ext)
	}
}
