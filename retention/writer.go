package retention

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/crc32c"
)

// writer writes a segment or save file: entries as they come, and at the end their index. It keeps a bounded number of index entries in memory; the rest it
// spills as sorted runs into files beside it, which are worth nothing after a crash: scanning the entries gives them back. Not safe for concurrent use.
type writer struct {
	vol  volume
	name string // path
	f    file
	hdr  fileHeader
	salt uint32
	t    *tuning

	end     int64               // where the next entry begins, buffered ones included
	flushed int64               // what lies before was written to the file
	started int64               // what lies before is on its way to storage
	buf     []byte              // what lies between
	synced  bool                // the file's name is durable
	some    bool                // something is in it
	low     replication.PointID // the lowest version in it
	high    replication.PointID // the highest
	gone    int64               // bytes of the disks without content
	lost    int64               // of these: lost
	es      []entry
	runs    []*run
	err     error // sticky
}

// run is a spilled part of an index, sorted and disjoint.
type run struct {
	name   string
	f      file
	fences []fence
}

func (r *run) loadFences() ([]fence, error) { return r.fences, nil }

func (r *run) chunk(dst []entry, i int64, buf []byte) ([]entry, error) {
	if err := readFull(r.f, buf, i*chunkSize); err != nil {
		return dst, fmt.Errorf("read %s at %d: %w", r.name, i*chunkSize, err)
	}
	dst, err := parseChunk(dst, buf)
	if err != nil {
		return dst, corrupt(r.name, i*chunkSize, err)
	}
	return dst, nil
}

// createWriter makes a file and writes its header.
func createWriter(vol volume, name string, hdr fileHeader, t *tuning) (*writer, error) {
	f, err := vol.Create(name)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", base(name), noSpace(err))
	}
	w := &writer{vol: vol, name: name, f: f, hdr: hdr, salt: hdr.salt(), t: t, end: fileHeaderSize, buf: hdr.put()}
	return w, nil
}

// without adds an extent whose content is not here: the disks hold it (gone), or it is lost.
func (w *writer) without(disk replication.DiskNo, e replication.Extent, version replication.PointID, kind block.Kind) error {
	w.span(version)
	w.gone += e.Len()
	if kind == lost {
		w.lost += e.Len()
	}
	w.es = append(w.es, entry{disk: disk, kind: kind, ext: e, version: version})
	if len(w.es) >= w.t.spillEntries {
		return w.spill()
	}
	return nil
}

// span takes note of a version.
func (w *writer) span(version replication.PointID) {
	if !w.some || version < w.low {
		w.low = version
	}
	w.some, w.high = true, max(w.high, version)
}

// sealed returns the file that was sealed, under the name that it has now.
func (w *writer) sealed(name string, h *handles, foot footer) *sealed {
	h.forget(name)
	s := &sealed{name: name, h: h, hdr: w.hdr, salt: w.hdr.salt(), foot: foot, life: &life{}}
	if w.hdr.kind != segmentFile {
		s.rec = fileRecord{Low: w.low, High: w.high, Zero: w.some && w.high == 0, Gone: w.gone, Lost: w.lost}
	}
	s.prove()
	return s
}

// append adds a block. Its payload was written or copied when it returns.
func (w *writer) append(b *block.Block, version replication.PointID) error {
	if w.err != nil {
		return w.err
	}
	at, n := w.end, len(w.buf)
	w.buf = appendEntry(w.buf, b, version, where{at, w.salt})
	w.buf = append(w.buf, b.Payload...)
	w.end += int64(len(w.buf) - n)
	return w.indexed(b, version, at)
}

// indexed takes note of a block that lies at a file offset.
func (w *writer) indexed(b *block.Block, version replication.PointID, at int64) error {
	w.span(version)
	raw := int64(0)
	for _, e := range b.Extents {
		w.es = append(w.es, entry{b.Disk, b.Kind, e, version, at, uint32(raw)})
		if b.Kind == block.Data {
			raw += e.Len()
		}
	}
	if len(w.buf) >= w.t.writeBytes {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(w.es) >= w.t.spillEntries {
		return w.spill()
	}
	return nil
}

func (w *writer) fail(err error) error {
	if w.err == nil {
		w.err = noSpace(err)
	}
	return w.err
}

// flush writes what is buffered.
func (w *writer) flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	if _, err := w.f.WriteAt(w.buf, w.flushed); err != nil {
		return w.fail(fmt.Errorf("write %s: %w", base(w.name), err))
	}
	w.flushed += int64(len(w.buf))
	w.buf = w.buf[:0]
	if s, ok := w.f.(starter); ok && w.flushed-w.started >= startBytes {
		s.startWriting(w.started, w.flushed-w.started)
		w.started = w.flushed
	}
	return nil
}

// startBytes is what is written to a file before storage is told to begin with it, so that it has not all to do when the file is synced.
const startBytes = 8 << 20

// starter is a file that may be on its way to storage before it is synced. It promises nothing.
type starter interface {
	startWriting(off, n int64)
}

// sync makes the entries durable.
func (w *writer) sync() error {
	if !leftOut(rulePadding) {
		w.pad()
	}
	if err := w.flush(); err != nil {
		return err
	}
	if err := syncFile(w.f, w.name); err != nil {
		return w.fail(err)
	}
	if !w.synced {
		if err := syncDir(w.vol, filepath.Dir(w.name)); err != nil {
			return w.fail(err)
		}
		w.synced = true
	}
	return nil
}

// pad fills the last sector with zeros: what is durable must not share it with what comes.
func (w *writer) pad() {
	n := alignUp(w.end) - w.end
	w.buf = append(w.buf, make([]byte, n)...)
	w.end += n
}

// spill sorts the entries in memory into a run on disk.
func (w *writer) spill() error {
	if len(w.es) == 0 {
		return nil
	}
	r := &run{name: fmt.Sprintf("%s%s%d", w.name, runSuffix, len(w.runs))}
	if err := removeIfThere(w.vol, r.name); err != nil { // of an attempt that could not remove it
		return w.fail(err)
	}
	f, err := w.vol.Create(r.name)
	if err != nil {
		return w.fail(fmt.Errorf("create %s: %w", base(r.name), err))
	}
	r.f = f
	w.runs = append(w.runs, r)
	o, err := newOverlay(chains(w.es))
	if err != nil {
		return w.fail(err)
	}
	x := indexWriter{f: f, name: r.name, t: w.t}
	if err := x.all(o); err != nil {
		return w.fail(err)
	}
	r.fences = x.fences
	w.es = w.es[:0]
	return nil
}

// chains sorts entries and deals them out to as few feeds as it takes for none to overlap within one: mostly one.
func chains(es []entry) []feed {
	slices.SortFunc(es, func(a, b entry) int {
		switch {
		case a.disk != b.disk:
			return int(int64(a.disk) - int64(b.disk))
		case a.ext.Off != b.ext.Off:
			if a.ext.Off < b.ext.Off {
				return -1
			}
			return 1
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	disjoint := true
	for i := 1; i < len(es) && disjoint; i++ {
		disjoint = es[i-1].before(es[i])
	}
	if disjoint {
		return []feed{&sliceFeed{es}}
	}
	var fs []*sliceFeed
next:
	for _, e := range es {
		for _, f := range fs {
			if f.es[len(f.es)-1].before(e) {
				f.es = append(f.es, e)
				continue next
			}
		}
		fs = append(fs, &sliceFeed{[]entry{e}})
	}
	out := make([]feed, len(fs))
	for i, f := range fs {
		out[i] = f
	}
	return out
}

// seal writes the index and the footer and makes the file durable. It returns false when there is nothing in the file.
func (w *writer) seal() (foot footer, some bool, err error) {
	if len(w.es) == 0 && len(w.runs) == 0 {
		return foot, false, w.err
	}
	feeds := chains(w.es)
	for _, r := range w.runs {
		feeds = append(feeds, &cursor{src: r, whole: true})
	}
	o, err := newOverlay(feeds)
	if err != nil {
		return foot, false, w.fail(err)
	}
	w.pad()
	if err := w.flush(); err != nil {
		return foot, false, err
	}
	x := indexWriter{f: w.f, name: w.name, at: w.end, t: w.t}
	if err := x.all(o); err != nil {
		return foot, false, w.fail(err)
	}
	foot = footer{
		journal: w.hdr.journal, point: w.hdr.point, dataEnd: w.end, index: w.end, count: x.count, chunks: int64(len(x.fences)),
		indexCRC: x.crc, first: x.fences[0], last: x.last, bytes: x.bytes,
	}
	var tail []byte
	for _, f := range x.fences {
		tail = appendFence(tail, f)
	}
	foot.fenceCRC = crc(tail)
	tail = append(tail, foot.put()...)
	if _, err := w.f.WriteAt(tail, x.at); err != nil {
		return foot, false, w.fail(fmt.Errorf("write %s: %w", base(w.name), err))
	}
	if err := syncFile(w.f, w.name); err != nil {
		return foot, false, w.fail(err)
	}
	return foot, true, nil
}

// close lets go of the file and removes the runs.
func (w *writer) close() error {
	err := w.f.Close()
	for _, r := range w.runs {
		err = errors.Join(err, r.f.Close(), removeIfThere(w.vol, r.name))
	}
	w.runs, w.es, w.buf = nil, nil, nil
	if w.err == nil {
		w.err = ErrClosed
	}
	return err
}

// indexWriter writes index chunks one after another.
type indexWriter struct {
	f    file
	name string
	at   int64 // where the next chunk goes
	t    *tuning

	es     []entry
	buf    []byte
	fences []fence
	count  uint64
	crc    uint32
	bytes  int64
	last   fence
}

// all writes an overlay's spans.
func (x *indexWriter) all(o *overlay) error {
	for {
		sp, ok, err := o.next(noLimit)
		if err != nil {
			return err
		}
		if ok {
			x.es = append(x.es, sp.entry)
		}
		if len(x.es) == chunkEntries || !ok && len(x.es) > 0 {
			x.chunk()
		}
		if len(x.buf) >= x.t.writeBytes || !ok && len(x.buf) > 0 {
			if _, err := x.f.WriteAt(x.buf, x.at); err != nil {
				return fmt.Errorf("write the index of %s: %w", base(x.name), noSpace(err))
			}
			x.at += int64(len(x.buf))
			x.buf = x.buf[:0]
		}
		if !ok {
			return nil
		}
	}
}

func (x *indexWriter) chunk() {
	n := len(x.buf)
	x.buf = append(x.buf, make([]byte, chunkSize)...)
	putChunk(x.buf[n:], x.es)
	x.crc = crc32c.Update(x.crc, x.buf[n:])
	x.fences = append(x.fences, fence{x.es[0].disk, x.es[0].ext.Off})
	x.count += uint64(len(x.es))
	for _, e := range x.es {
		x.bytes += e.ext.Len()
	}
	e := x.es[len(x.es)-1]
	x.last = fence{e.disk, e.ext.End}
	x.es = x.es[:0]
}

// scan reads the entries of an unsealed file, or of one whose seal did not become durable, up to a torn one at a sector's begin: that one, and what follows,
// was never acknowledged. Every payload is decoded. Each good block goes to found.
func scan(f file, name string, id *Identity, found func(b *block.Block, version replication.PointID, at int64) error) (hdr fileHeader, end int64, err error) {
	size, err := f.Size()
	if err != nil {
		return hdr, 0, fmt.Errorf("size of %s: %w", base(name), err)
	}
	h := make([]byte, fileHeaderSize)
	if size < fileHeaderSize {
		return hdr, 0, nil
	}
	if err := readFull(f, h, 0); err != nil {
		return hdr, 0, fmt.Errorf("read %s: %w", base(name), err)
	}
	if hdr, err = parseFileHeader(h); err != nil {
		if errors.Is(err, ErrNewer) {
			return hdr, 0, corrupt(name, 0, err)
		}
		return hdr, 0, nil // torn before anything in it was acknowledged
	}
	buf := make([]byte, entryFixed+block.MaxRanges*extentSize+block.MaxPayload)
	raw := make([]byte, block.MaxRaw)
	end = fileHeaderSize
	salt := hdr.salt()
	for at := end; at+entryFixed <= size; {
		b, n, version, err := scanEntry(f, where{at, salt}, size, buf, raw, id)
		if errors.Is(err, errFormat) && at != alignUp(at) && le.Uint32(buf) == 0 && !leftOut(ruleScanPadding) {
			at = alignUp(at) // padding
			continue
		}
		if errors.Is(err, errFormat) {
			break
		}
		if err == nil {
			err = found(&b, version, at)
		}
		if err != nil {
			return hdr, end, fmt.Errorf("read %s at %d: %w", base(name), at, err)
		}
		at += n
		end = at
	}
	return hdr, end, nil
}

// scanEntry reads and decodes one entry and returns its length. A bad one is errFormat.
func scanEntry(f file, w where, size int64, buf, raw []byte, id *Identity) (b block.Block, length int64, version replication.PointID, err error) {
	if err := readFull(f, buf[:entryFixed], w.at); err != nil {
		return b, 0, 0, err
	}
	n, p, err := entrySize(buf)
	if err != nil {
		return b, 0, 0, err
	}
	if w.at+int64(n+p) > size {
		return b, 0, 0, malformed("entry is cut off")
	}
	if err := readFull(f, buf[:n+p], w.at); err != nil {
		return b, 0, 0, err
	}
	if b, version, err = parseEntry(buf[:n], w, id.size); err != nil {
		return b, 0, 0, err
	}
	if err := checkPayload(buf, buf[n:n+p]); err != nil {
		return b, 0, 0, err
	}
	if b.Kind == block.Data {
		b.Payload = buf[n : n+p]
		if _, err := b.Decode(raw); err != nil {
			return b, 0, 0, malformed("%v", err)
		}
	}
	return b, int64(n + p), version, nil
}
