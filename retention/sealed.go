package retention

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/crc32c"
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
	usual    atomic.Int64 // bytes that the entry read last takes
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

// block reads the header of the block at a file offset and its payload, which is checked, and not decoded yet.
func (s *sealed) block(at int64, id *Identity) (b block.Block, version replication.PointID, err error) {
	b, version, _, err = s.blockInto(nil, at, id)
	return b, version, err
}

// blockInto is block, with the payload in buf's memory where there is enough of it. It returns the memory that was used.
//
// How long an entry is, its header says. It is read together with as much as the last one of the file took, up to the end of a page: to ask storage twice takes twice as long.
func (s *sealed) blockInto(buf []byte, at int64, id *Identity) (b block.Block, version replication.PointID, used []byte, err error) {
	if cap(buf) < entryFixed {
		buf = make([]byte, entryMax)
	}
	guess := entryFixed
	if n := s.life.usual.Load(); n > 0 {
		guess = max(guess, int(min(alignUp(at+n)-at, s.foot.dataEnd-at, int64(cap(buf)))))
	}
	err = s.h.readAt(s.name, buf[:guess], at)
	if inPart(err) && guess > entryFixed { // it may be what lies behind the entry that can't be read
		guess = entryFixed
		err = s.h.readAt(s.name, buf[:guess], at)
	}
	if err != nil {
		return b, 0, buf, err
	}
	n, err := s.entryLen(buf[:entryFixed], at)
	if err != nil {
		return b, 0, buf, err
	}
	if cap(buf) < n {
		buf = append(make([]byte, 0, n), buf[:guess]...)
	}
	buf = buf[:n]
	if guess < n {
		if err := s.h.readAt(s.name, buf[guess:], at+int64(guess)); err != nil {
			return b, 0, buf, err
		}
	}
	s.life.usual.Store(int64(n))
	b, version, err = s.parse(buf, at, id)
	return b, version, buf, err
}

// entryLen returns how many bytes the entry takes whose fixed part was read at a file offset.
func (s *sealed) entryLen(fixed []byte, at int64) (int, error) {
	n, p, err := entrySize(fixed)
	if err != nil {
		return 0, corrupt(s.name, at, err)
	}
	if at+int64(n+p) > s.foot.dataEnd {
		return 0, corruptf(s.name, at, "block reaches behind the entries")
	}
	return n + p, nil
}

// parse returns the block that buf holds, which was read at a file offset. Its payload lies there.
func (s *sealed) parse(buf []byte, at int64, id *Identity) (b block.Block, version replication.PointID, err error) {
	n, p, err := entrySize(buf)
	if err == nil && n+p != len(buf) {
		err = malformed("entry of %d bytes, and before of %d", n+p, len(buf))
	}
	if err == nil {
		b, version, err = parseEntry(buf[:n], where{at, s.salt}, id.size)
	}
	if err == nil {
		err = checkPayload(buf, buf[n:])
	}
	if err != nil {
		return b, 0, corrupt(s.name, at, err)
	}
	if b.Payload = buf[n:]; b.Codec == block.None && (b.CRC != le.Uint32(buf[52:]) || b.Raw != p) {
		return b, 0, corruptf(s.name, at, "checksum of a payload that is not encoded")
	}
	return b, version, nil
}

// contents reads the content of data spans. It keeps the blocks that it decoded last, so that the extents of one block are decoded once, and the memory of those that it gave up, for others.
// Safe for concurrent use.
type contents struct {
	id  *Identity
	max int // blocks kept

	mu     sync.Mutex
	blocks map[blockKey]*decoded
	oldest []blockKey // in the order they were decoded
	unused [][]byte   // of entryMax each
}

type blockKey struct {
	in *sealed
	at int64
}

type decoded struct {
	users  int                // under contents.mu, as what follows
	gaveUp bool               // by contents: its memory goes with the last user
	disk   replication.DiskNo // with end
	end    int64              // of its last extent, where it is kept until a walk has passed it; 0: until others come

	once    sync.Once
	block   block.Block // without payload
	version replication.PointID
	raw     []byte
	mem     []byte // what raw lies in; nil: not of contents
	err     error
}

func newContents(id *Identity, max int) *contents {
	return &contents{id: id, max: max, blocks: map[blockKey]*decoded{}}
}

// read copies the content of the data span sp to dst, which has its length. Its checksum was checked over the whole block (I9).
func (c *contents) read(dst []byte, sp span) error {
	k := blockKey{sp.in, sp.at}
	d := c.take(k)
	defer c.release(d)
	d.once.Do(func() { c.load(d, k) })
	if d.err != nil {
		c.mu.Lock()
		if c.blocks[k] == d { // an I/O error may be gone next time
			delete(c.blocks, k)
			d.gaveUp = true
		}
		c.mu.Unlock()
		return d.err
	}
	return d.copyTo(dst, sp)
}

// take returns the block, which may have to be loaded yet, to be released.
func (c *contents) take(k blockKey) *decoded {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.blocks[k]
	if d == nil {
		d = &decoded{}
		c.blocks[k] = d
		c.oldest = append(c.oldest, k)
		if len(c.oldest) > c.max {
			if old := c.blocks[c.oldest[0]]; old != nil {
				delete(c.blocks, c.oldest[0])
				old.gaveUp = true
				c.reuseLocked(old)
			}
			c.oldest = append(c.oldest[:0], c.oldest[1:]...)
		}
	}
	d.users++
	return d
}

func (c *contents) release(d *decoded) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.users--
	c.reuseLocked(d)
}

// reuseLocked takes back the memory of a block that was given up, and that nobody uses.
func (c *contents) reuseLocked(d *decoded) {
	if d.gaveUp && d.users == 0 && d.mem != nil {
		c.unused = append(c.unused, d.mem)
		d.mem, d.raw = nil, nil
	}
}

// memory returns memory for an entry, or its content.
func (c *contents) memory() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.unused)
	if n == 0 {
		return make([]byte, entryMax)
	}
	b := c.unused[n-1]
	c.unused = c.unused[:n-1]
	return b[:cap(b)]
}

// has says whether the block is kept.
func (c *contents) has(k blockKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocks[k] != nil
}

// keep keeps a block that was read and whose payload was checked, until it is passed. It copies what it needs.
func (c *contents) keep(k blockKey, b *block.Block, version replication.PointID) {
	d := c.take(k)
	defer c.release(d)
	d.once.Do(func() {
		d.version, d.mem = version, c.memory()
		if d.decode(k, b, d.mem); d.err == nil && b.Codec == block.None {
			d.raw = d.mem[:copy(d.mem, d.raw)]
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	d.disk, d.end = b.Disk, b.Extents[len(b.Extents)-1].End
}

// passed gives up what was kept, and that only what lies before an offset of the disk may need.
func (c *contents) passed(disk replication.DiskNo, off int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.oldest = slices.DeleteFunc(c.oldest, func(k blockKey) bool {
		d := c.blocks[k]
		if d == nil || d.end == 0 || d.disk != disk || d.end > off {
			return false
		}
		delete(c.blocks, k)
		d.gaveUp = true
		c.reuseLocked(d)
		return true
	})
}

func (c *contents) load(d *decoded, k blockKey) {
	b, version, entry, err := k.in.blockInto(c.memory(), k.at, c.id)
	d.version, d.mem = version, entry
	if d.err = err; err != nil {
		return
	}
	if b.Codec == block.None {
		d.decode(k, &b, nil)
		return
	}
	d.mem = c.memory()
	d.decode(k, &b, d.mem)
	c.mu.Lock()
	c.unused = append(c.unused, entry)
	c.mu.Unlock()
}

// decode takes a block whose payload was checked. raw has room for its content, which may also stay where the payload lies.
func (d *decoded) decode(k blockKey, b *block.Block, raw []byte) {
	d.block = *b
	if b.Kind != block.Data {
		d.err = corruptf(k.in.name, k.at, "block is not of the kind that the index says")
		return
	}
	if b.Codec == block.None { // the payload is the content, and has its checksum
		d.raw = b.Payload
	} else if d.raw, d.err = b.Decode(raw); d.err != nil {
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
		sum = crc32c.Update(sum, buf)
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
