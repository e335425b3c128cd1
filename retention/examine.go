package retention

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/crc32c"
)

// maxFindings bounds how many findings are kept (I12); the last one says that there are more.
const maxFindings = 10000

// Check reads every byte of the journal and returns everything that is not as it should be, what was found at the start included: records and their chain, headers, indexes, every block and that the
// indexes tell of nothing else, that the files of a point cover what its record says, and, within an unfinished move, that both ends can be had. It goes on behind each damage. progress may be nil;
// it gets bytes of files. A file that a running master target has replaced meanwhile is left out. An error says that the check did not come to its end.
func (i *Inspection) Check(ctx context.Context, progress func(done, total int64)) ([]Finding, error) {
	c := i.j.now.Load()
	x := &examination{i: i, c: c, ctx: ctx, report: progress, findings: i.Findings(), total: i.log.size, done: i.log.size}
	files := slices.Concat(c.files, i.strays)
	for _, s := range files {
		x.total += s.foot.size()
	}
	for _, f := range i.cycle {
		x.total += f.Size
	}
	x.advance(0)
	damaged := map[string]bool{}
	for _, s := range files {
		before := len(x.findings)
		at := x.done
		if s.bad == nil {
			if err := x.sealed(s); err != nil {
				return nil, err
			}
		}
		if len(x.findings) > before && i.running && i.missing(s.name) { // replaced meanwhile
			x.findings = x.findings[:before]
			damaged[s.name] = true
		}
		damaged[s.name] = damaged[s.name] || s.bad != nil || len(x.findings) > before
		x.advance(at + s.foot.size() - x.done)
	}
	if err := x.points(damaged); err != nil {
		return nil, err
	}
	if err := x.move(); err != nil {
		return nil, err
	}
	if err := x.openCycle(); err != nil {
		return nil, err
	}
	if len(x.findings) >= maxFindings {
		x.findings = append(x.findings, Finding{File: i.j.dir, What: fmt.Sprintf("only the first %d findings are listed", maxFindings), Damage: true})
	}
	return x.findings, nil
}

// examination is one call of Check.
type examination struct {
	i        *Inspection
	c        *catalog
	ctx      context.Context
	report   func(done, total int64)
	findings []Finding
	done     int64
	total    int64
}

func (x *examination) advance(n int64) {
	x.done += n
	if x.report != nil {
		x.report(x.done, x.total)
	}
}

func (x *examination) find(f Finding) {
	if len(x.findings) < maxFindings {
		x.findings = append(x.findings, f)
	}
}

// damage is a finding of what an error says, of the part of a file at an offset.
func damage(name string, at, n int64, err error) Finding {
	f := Finding{File: name, Off: at, Len: n, What: err.Error(), Damage: true}
	var c *Corruption
	if errors.As(err, &c) {
		f.What = c.Reason
	}
	return f
}

// sealed examines a file that the log names.
func (x *examination) sealed(s *sealed) error {
	if _, err := openSealed(s.h, s.name, &x.c.id, x.i.j.journal); err != nil {
		x.find(damage(s.name, 0, 0, err))
		return nil
	}
	bad := map[int64]bool{} // chunks
	if err := x.index(s, bad); err != nil {
		return err
	}
	parts, err := x.entries(s)
	if err != nil {
		return err
	}
	return x.spans(s, bad, parts)
}

// index examines fences and chunks. What is bad is left out later.
func (x *examination) index(s *sealed, bad map[int64]bool) error {
	fences, err := s.loadFences()
	if err != nil {
		at := s.foot.index + s.foot.chunks*chunkSize
		f := damage(s.name, at, s.foot.chunks*fenceSize, err)
		f.Needs = x.c.mayNeed(s, s.foot.first, s.foot.last)
		x.find(f)
		fences = nil // what chunks say of themselves is told nevertheless
	}
	var es []entry
	var last entry
	sum, count, bytes, away, buf := uint32(0), uint64(0), int64(0), int64(0), make([]byte, chunkSize)
	for i := range s.foot.chunks {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		at := s.foot.index + i*chunkSize
		es, err = s.written(es[:0], i, buf)
		if err == nil && fences != nil {
			err = s.chunkFits(&x.c.id, fences[i], i, es, last, count > 0)
		}
		x.advance(chunkSize)
		if err != nil {
			bad[i] = true
			from, end := s.foot.first, s.foot.last
			if fences != nil {
				from = fences[i]
			}
			if fences != nil && i+1 < s.foot.chunks {
				end = fences[i+1]
			}
			f := damage(s.name, at, chunkSize, err)
			f.Needs = x.c.mayNeed(s, from, end)
			x.find(f)
			continue
		}
		sum = crc32c.Update(sum, buf)
		count += uint64(len(es))
		for _, e := range es {
			bytes += e.ext.Len()
			if !e.hasContent() {
				away += e.ext.Len()
			}
		}
		last = es[len(es)-1]
	}
	if len(bad) == 0 && (s.rec.Gone >= 0 && away != s.rec.Gone || sum != s.foot.indexCRC || count != s.foot.count || bytes != s.foot.bytes || s.foot.last != (fence{last.disk, last.ext.End})) {
		f := damage(s.name, s.foot.index, s.foot.chunks*chunkSize, malformed("index of %d entries and %d bytes, %d without content, with checksum %08x; footer and log say %d, %d, %d, %08x",
			count, bytes, away, sum, s.foot.count, s.foot.bytes, s.rec.Gone, s.foot.indexCRC))
		f.Needs = x.c.mayNeed(s, s.foot.first, s.foot.last)
		x.find(f)
	}
	return nil
}

// chunkFits compares a chunk with its fence, the chunk before and the bounds.
func (s *sealed) chunkFits(id *Identity, f fence, i int64, es []entry, last entry, some bool) error {
	if f != (fence{es[0].disk, es[0].ext.Off}) || i == 0 && f != s.foot.first {
		return malformed("fence is not the first key of its chunk")
	}
	for _, e := range es {
		if some && !last.before(e) || e.ext.End > id.size(e.disk) || e.version < s.low() || e.version > s.high() || !e.hasContent() && s.hdr.kind != packFile {
			return malformed("index entry of disk %d %v version %d", e.disk, e.ext, e.version)
		}
		last, some = e, true
	}
	return nil
}

// part is a stretch of a file that can't be read: the finding, and what is lost with it.
type part struct {
	Finding
	lost needs
}

// entries decodes every block, and goes on behind a bad one. It returns the bad parts, rising.
func (x *examination) entries(s *sealed) (bad []*part, err error) {
	raw := make([]byte, block.MaxRaw)
	for at := int64(fileHeaderSize); at < s.foot.dataEnd; {
		if err := x.ctx.Err(); err != nil {
			return nil, err
		}
		next, err := s.entry(at, &x.c.id, raw)
		if err != nil {
			if next, err = x.resume(s, at, next, &bad, err); err != nil {
				return nil, err
			}
		}
		x.advance(next - at)
		at = next
	}
	if n := s.foot.index - s.foot.dataEnd; n > 0 {
		b := make([]byte, n)
		if err := s.h.readAt(s.name, b, s.foot.dataEnd); err != nil || !replication.IsZero(b) {
			x.find(damage(s.name, s.foot.dataEnd, n, errors.Join(err, malformed("padding is not zeros"))))
		}
	}
	return bad, nil
}

// entry examines the block or the padding at an offset and returns where the next begins, if that is known.
func (s *sealed) entry(at int64, id *Identity, raw []byte) (next int64, err error) {
	if next, err = s.skipPadding(at); err != nil || next != at {
		return next, err
	}
	b, v, err := s.block(at, id)
	if err != nil {
		return at, err
	}
	next = at + int64(entryFixed+len(b.Extents)*extentSize+len(b.Payload))
	if v < s.low() || v > s.high() {
		return next, corruptf(s.name, at, "block of version %d in a file of versions %d to %d", v, s.low(), s.high())
	}
	if b.Kind == block.Data {
		if _, err := b.Decode(raw); err != nil {
			return next, corrupt(s.name, at, err)
		}
	}
	return next, nil
}

// resume notes that an entry is bad and finds the next good one: each says itself where it lies.
func (x *examination) resume(s *sealed, at, next int64, bad *[]*part, cause error) (int64, error) {
	if next <= at {
		var err error
		if next, err = s.findEntry(x.ctx, at+1, &x.c.id); err != nil {
			return 0, err
		}
	}
	f := damage(s.name, at, next-at, cause)
	if s.quarantined(at) {
		f.What += " (quarantined)"
	}
	*bad = append(*bad, &part{f, needs{c: x.c, cache: x.i.j.chunks}})
	return next, nil
}

// findEntry returns where the next entry begins whose header is good; the end of the entries when there is none. What can't be read is passed over.
func (s *sealed) findEntry(ctx context.Context, at int64, id *Identity) (int64, error) {
	magic := le.AppendUint32(nil, entryMagic)
	buf := make([]byte, 1<<20)
	for ; at+entryFixed <= s.foot.dataEnd; at += int64(len(buf)) - 3 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		b := buf[:min(int64(len(buf)), s.foot.dataEnd-at)]
		if s.h.readAt(s.name, b, at) != nil {
			b = b[:min(int64(len(b)), alignUp(at+4)-at)] // what storage can't read is whole sectors; more than the 3 bytes that are looked at twice, so that it goes on
			if s.h.readAt(s.name, b, at) != nil {
				at += int64(len(b)) - (int64(len(buf)) - 3)
				continue
			}
		}
		for k := 0; ; k++ {
			n := bytes.Index(b[k:], magic)
			if n < 0 {
				break
			}
			k += n
			if s.header(at+int64(k), id) {
				return at + int64(k), nil
			}
		}
		if len(b) < len(buf) {
			at += int64(len(b)) - int64(len(buf))
		}
	}
	return s.foot.dataEnd, nil
}

// header says whether a good header of an entry lies at an offset.
func (s *sealed) header(at int64, id *Identity) bool {
	var fixed [entryFixed]byte
	if at+entryFixed > s.foot.dataEnd || s.h.readAt(s.name, fixed[:], at) != nil {
		return false
	}
	n, p, err := entrySize(fixed[:])
	if err != nil || at+int64(n+p) > s.foot.dataEnd {
		return false
	}
	h := make([]byte, n)
	if s.h.readAt(s.name, h, at) != nil {
		return false
	}
	_, _, err = parseEntry(h, where{at, s.salt}, id.size)
	return err == nil
}

// spans compares the index with the blocks it points to, and gathers what is lost with the bad ones.
func (x *examination) spans(s *sealed, badChunks map[int64]bool, bad []*part) error {
	if _, err := s.loadFences(); err == nil {
		blocks, dst, buf := newContents(&x.c.id, 16), make([]byte, block.MaxRaw), make([]byte, chunkSize)
		packed := needs{c: x.c, cache: x.i.j.chunks}
		var es []entry
		for i := range s.foot.chunks {
			if badChunks[i] {
				continue
			}
			if err := x.ctx.Err(); err != nil {
				return err
			}
			if es, err = s.written(es[:0], i, buf); err != nil {
				x.find(damage(s.name, s.foot.index+i*chunkSize, chunkSize, err)) // it was good a moment ago
				continue
			}
			for _, e := range es {
				bad = x.span(span{e, s}, blocks, dst, bad)
				if e.kind == lost {
					packed.add(span{e, s})
				}
			}
		}
		if s.rec.Lost > 0 && len(packed.by) > 0 {
			x.find(Finding{File: s.name, Off: s.foot.index, What: fmt.Sprintf("content of %d bytes of the disks was lost before it was packed: it was damaged, and quarantined", s.rec.Lost), Damage: true, Needs: packed.by})
		}
	}
	for _, p := range bad {
		p.Needs = p.lost.by
		x.find(p.Finding)
	}
	return nil
}

// span examines one index entry. It returns the bad parts, with a new one where the index tells of something else than the block.
func (x *examination) span(sp span, blocks *contents, dst []byte, bad []*part) []*part {
	if !sp.hasContent() {
		return bad
	}
	k, _ := slices.BinarySearchFunc(bad, sp.at, func(p *part, at int64) int {
		switch {
		case p.Off+p.Len <= at:
			return -1
		case p.Off > at:
			return 1
		}
		return 0
	})
	if k == len(bad) || bad[k].Off > sp.at {
		err := x.c.holds(sp, blocks, dst)
		if err == nil {
			return bad
		}
		bad = slices.Insert(bad, k, &part{damage(sp.in.name, sp.at, 1, err), needs{c: x.c, cache: x.i.j.chunks}})
	}
	if sp.kind == block.Data { // that there are zeros the index says by itself
		bad[k].lost.add(sp)
	}
	return bad
}

// holds says whether the block that an index entry points to holds what the entry says.
func (c *catalog) holds(sp span, blocks *contents, dst []byte) error {
	if sp.kind == block.Data {
		return blocks.read(dst[:sp.ext.Len()], sp) // its length was checked with the chunk
	}
	b, v, err := sp.in.block(sp.at, &c.id)
	if err != nil {
		return err
	}
	if b.Kind != block.Zero || b.Disk != sp.disk || v != sp.version || !replication.NewSet(b.Extents...).Contains(sp.ext) {
		return corruptf(sp.in.name, sp.at, "block does not hold the zeros of disk %d %v", sp.disk, sp.ext)
	}
	return nil
}

// points compares what the files of each point cover with its record. Points whose files were rewritten, or are damaged, are passed over.
func (x *examination) points(damaged map[string]bool) error {
	by := map[string]*sealed{}
	for _, s := range x.c.files {
		by[s.name] = s
	}
next:
	for _, p := range x.c.points {
		l, ok := x.i.log.listed[p.ID]
		if !ok || l.route != replication.Journaled {
			continue
		}
		var files []*sealed
		for _, f := range l.files {
			s := by[x.i.j.path(segDir, f.Name)]
			if s == nil || damaged[s.name] {
				continue next
			}
			files = append(files, s)
		}
		if err := x.covers(p.ID, l, files); err != nil {
			return err
		}
	}
	return nil
}

// covers compares the bytes that files hold of each disk with the record of their point: number and digest. Of a compare the record counts equal bytes too, which no file has.
func (x *examination) covers(p replication.PointID, l listing, files []*sealed) error {
	var sum int64
	for d := range x.c.id.Disks {
		n, digest, err := digestOf(x.ctx, files, replication.DiskNo(d))
		if x.ctx.Err() != nil {
			return x.ctx.Err()
		}
		if err != nil {
			x.find(damage(x.i.log.name, l.at, 0, fmt.Errorf("coverage of point %d: %w", p, err)))
			return nil
		}
		if sum += n; p != 0 && x.c.born(replication.DiskNo(d)) == p { // written through: its segment has nothing of it
			sum += x.c.id.size(replication.DiskNo(d))
		}
		for _, r := range l.disks {
			if int(r.Disk) == d && (n > r.Bytes || n == r.Bytes && !bytes.Equal(digest, r.Digest)) {
				x.find(Finding{File: x.i.log.name, Off: l.at, Damage: true, What: fmt.Sprintf("the files of point %d hold other extents of disk %d than its record says", p, d),
					Needs: []Need{{Disk: x.c.number(replication.DiskNo(d)), Points: []replication.PointID{p}}}})
			}
		}
	}
	if sum != l.bytes {
		x.find(Finding{File: x.i.log.name, Off: l.at, Damage: true, What: fmt.Sprintf("the files of point %d hold %d bytes of the disks, its record says %d", p, sum, l.bytes)})
	}
	return nil
}

// digestOf returns how many bytes files hold of a disk, and what Set.Digest would say of them.
func digestOf(ctx context.Context, files []*sealed, disk replication.DiskNo) (n int64, digest []byte, err error) {
	o, err := layers(files, disk, 0, allVersions)
	if err != nil {
		return 0, nil, err
	}
	h := sha256.New()
	var e replication.Extent
	put := func() {
		if !e.Empty() {
			n += e.Len()
			h.Write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(e.Off)), uint64(e.End)))
		}
	}
	for {
		sp, ok, err := o.next(noLimit)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return 0, nil, err
		}
		if !ok {
			put()
			return n, h.Sum(nil), nil
		}
		if sp.ext.Off != e.End {
			put()
			e = sp.ext
		}
		e.End = sp.ext.End
	}
}

// move makes sure that both ends of an unfinished move can be had.
func (x *examination) move() error {
	u := x.c.move
	if u == nil || x.i.log.fatal {
		return nil
	}
	for d := range x.c.id.Disks {
		for _, at := range []replication.PointID{u.From, u.To} {
			var away int64
			err := x.c.differing(replication.DiskNo(d), u.From, u.To, at, 0, func(sp span) error {
				if sp.in == nil {
					away += sp.ext.Len()
				}
				return x.ctx.Err()
			})
			if x.ctx.Err() != nil {
				return x.ctx.Err()
			}
			if err != nil && !errors.Is(err, ErrCorrupt) {
				return fmt.Errorf("check the unfinished move: %w", err)
			}
			if err == nil && away > 0 { // damage of a file was found before
				x.find(Finding{File: x.i.j.dir, What: fmt.Sprintf("%d bytes at point %d that the unfinished move from %d to %d writes over are not in the journal", away, at, u.From, u.To), Damage: true,
					Needs: []Need{{Disk: x.c.number(replication.DiskNo(d)), Points: []replication.PointID{at}, Bytes: away}}})
			}
		}
	}
	return nil
}
