package retention

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"failback/replication"
	"failback/replication/block"
)

// What follows shows a journal's bytes to a person who debugs: everything as it is coded, and what is bad as bad.

// LogRecord is one record of the log, or a stretch where one should be.
type LogRecord struct {
	Off     int64           `json:"offset"`
	Len     int64           `json:"length"` // without padding
	Seq     uint64          `json:"sequence"`
	Kind    string          `json:"kind"`
	Chain   string          `json:"chain"`
	Payload json.RawMessage `json:"payload"`
	Bad     string          `json:"bad,omitempty"` // what is wrong; the rest is empty then
}

// kindNames name the kinds of records.
var kindNames = [...]string{
	kindIdentity: "identity", kindGeneration: "generation", kindContentIDs: "content-ids", kindCycleOpened: "cycle-opened", kindCycleDropped: "cycle-dropped",
	kindPointListed: "point-listed", kindMoveStarted: "move-started", kindMoveProgress: "move-progress", kindMoveTurned: "move-turned", kindMoveCommitted: "move-committed",
	kindPointVerified: "point-verified", kindPointPinned: "point-pinned", kindPointsSuspect: "points-suspect", kindJournalRetired: "journal-retired",
	kindFingerprints: "fingerprints", kindPointDrilled: "point-drilled", kindPointsDropped: "points-dropped", kindFilesReplaced: "files-replaced", kindCheckpoint: "checkpoint", kindSettings: "settings", kindDisksJoined: "disks-joined", kindDiskGrown: "disk-grown", kindDisksLeft: "disks-left", kindFileBlind: "file-blind",
}

func (k kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind-%d", uint16(k))
}

// EachRecord calls fn with every record of the log as it is now, one after the other, those behind a bad one too.
func (i *Inspection) EachRecord(fn func(LogRecord) error) error {
	f, err := i.j.vol.Open(i.log.name)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	for w := (logWalk{f: f, size: size}); ; {
		x, ok, err := w.next()
		if err != nil {
			return fmt.Errorf("read %s at %d: %w", i.log.name, x.at, err)
		}
		if !ok {
			return nil
		}
		r := LogRecord{Off: x.at, Len: x.next - x.at}
		if x.err != nil {
			r.Bad = x.err.Error()
		} else {
			r.Len, r.Seq, r.Kind, r.Chain, r.Payload = x.end-x.at, x.seq, x.kind.String(), hex.EncodeToString(x.chain[:]), x.payload
			if !json.Valid(r.Payload) {
				r.Payload, _ = json.Marshal(string(x.payload))
			}
		}
		if err := fn(r); err != nil {
			return err
		}
	}
}

// FilePart is a part of a file: its header, an entry, padding, an index chunk, an index entry, the fences or the footer.
type FilePart struct {
	Off    int64   `json:"offset"`
	Len    int64   `json:"length"`
	Kind   string  `json:"kind"`
	Fields []Field `json:"fields"`
	Bad    string  `json:"bad,omitempty"` // what is wrong
}

// Field is one value of a part, as a person reads it.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Names returns the files that EachPart can show, with slashes: those that the log names, and those of the open cycle.
func (i *Inspection) Names() (names []string) {
	for _, f := range i.j.now.Load().state.files {
		names = append(names, filepath.ToSlash(f.path()))
	}
	for _, f := range i.cycle {
		names = append(names, f.Name)
	}
	for _, s := range i.strays {
		if n, err := filepath.Rel(i.j.dir, s.name); err == nil {
			names = append(names, filepath.ToSlash(n))
		}
	}
	return names
}

// EachPart calls fn with every part of a segment, save or pack, named as Names does, in the order of the file; with headOnly, only with the header and the footer. Of a file that was not sealed there are the
// entries as far as they are whole.
func (i *Inspection) EachPart(name string, headOnly bool, fn func(FilePart) error) error {
	if !slices.Contains(i.Names(), name) {
		return fmt.Errorf("the journal has no file %q", name)
	}
	path := i.j.path(filepath.FromSlash(name))
	f, err := i.j.vol.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	d := &dumping{i: i, f: f, s: &sealed{name: path, h: i.j.files}, size: size, fn: fn, data: size}
	if d.headOnly = headOnly; !d.header() {
		return d.err
	}
	foot := d.footer()
	if !headOnly {
		d.entries()
		d.index()
	}
	if foot != nil && (headOnly || d.sealed) { // else the rest of the entries has told
		d.put(*foot)
	}
	return d.err
}

// dumping is one call of EachPart. Its first error ends it.
type dumping struct {
	i        *Inspection
	f        file
	s        *sealed
	size     int64
	data     int64 // end of the entries
	sealed   bool
	headOnly bool
	fn       func(FilePart) error
	err      error
}

func (d *dumping) put(p FilePart) {
	if d.err == nil {
		d.err = d.fn(p)
	}
}

func (d *dumping) read(n, at int64) ([]byte, error) {
	b := make([]byte, n)
	return b, readFull(d.f, b, at)
}

func field(name string, format string, args ...any) Field {
	return Field{name, fmt.Sprintf(format, args...)}
}

func (d *dumping) header() bool {
	p := FilePart{Len: fileHeaderSize, Kind: "header"}
	b, err := d.read(fileHeaderSize, 0)
	if err == nil {
		d.s.hdr, err = parseFileHeader(b)
	}
	if err != nil {
		p.Bad = err.Error()
		d.put(p)
		return false
	}
	h := d.s.hdr
	d.s.salt = h.salt()
	p.Fields = []Field{
		field("kind", "%s", []string{segmentFile: "segment", saveFile: "save", packFile: "pack"}[h.kind]), field("journal", "%s", h.journal), field("group", "%s", h.group), field("point", "%d", h.point),
		field("generation", "%d", h.generation), field("session", "%d", h.session), field("lane", "%d", h.lane), field("attempt", "%d", h.attempt), field("checksum", "%08x", d.s.salt),
	}
	d.put(p)
	return d.err == nil
}

func (d *dumping) footer() *FilePart {
	if d.size < fileHeaderSize+footerSize {
		return nil
	}
	p := &FilePart{Off: d.size - footerSize, Len: footerSize, Kind: "footer"}
	b, err := d.read(footerSize, p.Off)
	var f footer
	if err == nil {
		f, err = parseFooter(b)
	}
	if err == nil && f.size() != d.size {
		err = malformed("footer of a file of %d bytes", f.size())
	}
	if err != nil {
		p.Bad = err.Error()
		return p
	}
	d.s.foot, d.data, d.sealed = f, f.dataEnd, true
	p.Fields = []Field{
		field("journal", "%s", f.journal), field("point", "%d", f.point), field("entries-end", "%d", f.dataEnd), field("index", "%d", f.index), field("index-entries", "%d", f.count), field("chunks", "%d", f.chunks),
		field("index-checksum", "%08x", f.indexCRC), field("fences-checksum", "%08x", f.fenceCRC), field("first", "%d:%d", f.first.disk, f.first.off), field("last", "%d:%d", f.last.disk, f.last.off), field("bytes", "%d", f.bytes),
	}
	return p
}

func (d *dumping) entries() {
	id := &d.i.j.id
	buf, raw := make([]byte, entryFixed+block.MaxRanges*extentSize+block.MaxPayload), make([]byte, block.MaxRaw)
	for at := int64(fileHeaderSize); at < d.data && d.err == nil; {
		b, n, v, err := scanEntry(d.f, where{at, d.s.salt}, d.data, buf, raw, id)
		if errors.Is(err, errFormat) && at != alignUp(at) && replication.IsZero(buf[:4]) {
			next := min(alignUp(at), d.data)
			d.put(FilePart{Off: at, Len: next - at, Kind: "padding"})
			at = next
			continue
		}
		if err != nil && !d.sealed {
			d.put(FilePart{Off: at, Len: d.data - at, Kind: "rest", Bad: fmt.Sprintf("not sealed; no whole entry begins here: %v", err)})
			return
		}
		if err != nil {
			d.s.foot.dataEnd = d.data
			next, ferr := d.s.findEntry(context.Background(), at+1, id)
			if ferr != nil {
				d.err = ferr
				return
			}
			d.put(FilePart{Off: at, Len: next - at, Kind: "entry", Bad: err.Error()})
			at = next
			continue
		}
		p := FilePart{Off: at, Len: n, Kind: "entry", Fields: []Field{
			field("disk", "%d", b.Disk), field("holds", "%s", kindOf(b.Kind)), field("version", "%d", v), field("codec", "%d", b.Codec), field("raw", "%d", b.Raw), field("raw-checksum", "%08x", b.CRC), field("payload", "%d", len(b.Payload)),
		}}
		for _, e := range b.Extents {
			p.Fields = append(p.Fields, field("extent", "%d-%d", e.Off, e.End))
		}
		d.put(p)
		at += n
	}
}

func kindOf(k block.Kind) string {
	switch k {
	case block.Data:
		return "data"
	case block.Zero:
		return "zeros"
	case gone:
		return "nothing"
	}
	return fmt.Sprintf("kind-%d", k)
}

func (d *dumping) index() {
	if !d.sealed {
		return
	}
	for i := range d.s.foot.chunks {
		at := d.s.foot.index + i*chunkSize
		b, err := d.read(chunkSize, at)
		var es []entry
		if err == nil {
			es, err = parseChunk(nil, b)
		}
		p := FilePart{Off: at, Len: chunkSize, Kind: "chunk", Fields: []Field{field("index-entries", "%d", len(es))}}
		if err != nil {
			p.Bad = err.Error()
		}
		d.put(p)
		if err != nil {
			continue
		}
		for k, e := range es {
			d.put(FilePart{Off: at + 8 + int64(k)*indexEntrySize, Len: indexEntrySize, Kind: "index-entry", Fields: []Field{
				field("disk", "%d", e.disk), field("holds", "%s", kindOf(e.kind)), field("extent", "%d-%d", e.ext.Off, e.ext.End), field("version", "%d", e.version), field("entry", "%d", e.at), field("begin", "%d", e.raw),
			}})
		}
	}
	at, n := d.s.foot.index+d.s.foot.chunks*chunkSize, d.s.foot.chunks*fenceSize
	p := FilePart{Off: at, Len: n, Kind: "fences"}
	b, err := d.read(n, at)
	if err == nil && crc(b) != d.s.foot.fenceCRC {
		err = malformed("checksum of the index's fences")
	}
	if err != nil {
		p.Bad = err.Error()
	}
	for _, f := range parseFences(b) {
		p.Fields = append(p.Fields, field("fence", "%d:%d", f.disk, f.off))
	}
	d.put(p)
}
