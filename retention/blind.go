package retention

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"failback/replication"
)

// A file of which nothing can be read, as it is gone, or neither its index nor its blocks tell what was in it, is blind: it may have had any byte in the versions that the log says it had. What stands above those in
// another file is known nevertheless, and so is what the disks show: at their own point, and wherever no version lies between that and the one that is looked for. All else may have been in it, and is lost.

// blind returns the files of which nothing can be read.
func blind(files []*sealed) (out []*sealed) {
	for _, s := range files {
		if s.bad != nil {
			out = append(out, s)
		}
	}
	return out
}

// seeing returns the others.
func seeing(files []*sealed) []*sealed {
	if !slices.ContainsFunc(files, func(s *sealed) bool { return s.bad != nil }) {
		return files
	}
	return slices.DeleteFunc(slices.Clone(files), func(s *sealed) bool { return s.bad != nil })
}

// hides says whether a blind file may have a newer version, up to a point, than the one that was found, and the newest that it may have. sp.in is nil where nothing was found.
func (c *catalog) hides(b *sealed, sp *span, p replication.PointID) (newest replication.PointID, may bool) {
	born := c.born(sp.disk)
	if b.low() > p || born == NoPoint || b.hdr.kind == segmentFile && b.high() <= born { // up to a disk's birth no segment has anything of it
		return 0, false
	}
	newest = min(b.high(), p)
	if sp.in != nil {
		counts := !sp.attempt() || b.rank < sp.in.rank || !slices.Contains(c.mixed, newest) // of several attempts at a cycle the later one counts
		if sp.version > newest || sp.version == newest && sp.hasContent() && counts {
			return 0, false
		}
	}
	return newest, true
}

// doubt returns a blind file that may have a newer version, up to a point, than the one that was found, and the newest that it may have; nil: none. sp.in is nil where nothing was found.
func (c *catalog) doubt(sp *span, p replication.PointID) (in *sealed, newest replication.PointID) {
	for _, b := range c.blind {
		if v, may := c.hides(b, sp, p); may && (in == nil || v > newest) {
			in, newest = b, v
		}
	}
	return in, newest
}

// sighted returns the catalog without its blind files: for what may be reckoned without them.
func (c *catalog) sighted() *catalog {
	if len(c.blind) == 0 {
		return c
	}
	return &catalog{state: c.state, files: seeing(c.files), search: seeing(c.search), chunks: c.chunks, dir: c.dir}
}

// sure appends a span that was found at a point, or, where a blind file leaves doubt, what is known nevertheless: spans that together are the same extent.
func (c *catalog) sure(dst []span, sp span, p replication.PointID) ([]span, error) {
	b, newest := c.doubt(&sp, p)
	if b == nil || leftOut(ruleDoubt) {
		return append(dst, sp), nil
	}
	return c.known(dst, sp, p, b, newest)
}

// known appends what is known of a span that was found at a point where a blind file may have a newer version. A move that writes over a byte that only the disks hold saves it before (I4): so where they hold it at a listed point
// before the file's versions, it was not changed since, and the file has nothing of it, as far as the disks went.
func (c *catalog) known(dst []span, sp span, p replication.PointID, b *sealed, newest replication.PointID) ([]span, error) {
	before, ok := c.before(b)
	if !ok || newest > c.reached(sp.disk) || leftOut(ruleDoubtUnchanged) {
		return c.doubtful(dst, sp, p, b, newest)
	}
	was, err := c.visible(c.chunks, sp.disk, before, sp.ext)
	if errors.Is(err, ErrCorrupt) {
		return c.doubtful(dst, sp, p, b, newest)
	}
	if err != nil {
		return dst, err
	}
	var then []span
	for _, w := range was {
		if then, err = c.sure(then[:0], w, before); err != nil {
			return dst, err
		}
		for _, x := range then {
			if part := sp.clip(x.ext); x.in == nil || x.kind == gone {
				dst = append(dst, part)
			} else if dst, err = c.doubtful(dst, part, p, b, newest); err != nil {
				return dst, err
			}
		}
	}
	return dst, nil
}

// doubtful appends what is known of a span of which a blind file may well have a newer version: that the disks show it, or nothing.
func (c *catalog) doubtful(dst []span, sp span, p replication.PointID, b *sealed, newest replication.PointID) ([]span, error) {
	onDisk := span{entry: entry{disk: sp.disk, kind: gone, ext: sp.ext, version: newest}, in: b}
	away := span{entry: entry{disk: sp.disk, kind: lost, ext: sp.ext, version: newest}, in: b}
	head, moving := c.stands(sp.disk)
	switch {
	case !c.atPoint() || moving || c.blindBetween(min(p, head), max(p, head)) || p > head && sp.in != nil && sp.version > head:
		return append(dst, away), nil
	case p >= head:
		return append(dst, onDisk), nil
	}
	if _, err := c.point(head); err != nil { // of a disk that left: what its target shows of a later version is not kept any more
		return append(dst, away), nil
	}
	since, err := c.visible(c.chunks, sp.disk, head, sp.ext)
	if errors.Is(err, ErrCorrupt) {
		return append(dst, away), nil
	}
	if err != nil {
		return dst, err
	}
	for i := range since {
		x := onDisk
		if since[i].in != nil && since[i].version > p && !leftOut(ruleDoubtWrittenOver) {
			x = away // the disks show a newer version
		}
		x.ext = since[i].ext
		dst = append(dst, x)
	}
	return dst, nil
}

// reached returns the newest point that a disk has content of.
func (c *catalog) reached(d replication.DiskNo) replication.PointID {
	head, moving := c.stands(d)
	if moving {
		return max(c.move.From, c.move.To)
	}
	return head
}

// before returns the newest listed point before all versions of a file.
func (c *catalog) before(b *sealed) (id replication.PointID, ok bool) {
	for _, p := range c.points {
		if p.ID < b.low() {
			id, ok = p.ID, true
		}
	}
	return id, ok
}

// blindBetween says whether a blind file may have versions after one point, up to another.
func (c *catalog) blindBetween(after, upTo replication.PointID) bool {
	return slices.ContainsFunc(c.blind, func(b *sealed) bool { return b.high() > after && b.low() <= upTo && after < upTo })
}

// eachDoubt calls fn with what a point shows of a disk that may have been in a blind file, and can't be had.
func (c *catalog) eachDoubt(ctx context.Context, disk replication.DiskNo, p replication.PointID, fn func(span)) error {
	if c.absent(disk, p) != nil {
		return nil
	}
	return c.eachDoubtMoved(ctx, disk, p, fn)
}

// eachDoubtMoved is eachDoubt of what a move to the point needs: of a disk that joined later that is what it had at its birth.
func (c *catalog) eachDoubtMoved(ctx context.Context, disk replication.DiskNo, p replication.PointID, fn func(span)) error {
	if c.born(disk) == NoPoint || !slices.ContainsFunc(c.blind, func(b *sealed) bool { return b.low() <= p }) {
		return nil
	}
	v, err := newView(c, disk, p)
	if err != nil {
		return err
	}
	var ps []span
	for e, size := (replication.Extent{}), c.id.size(disk); e.Off < size; e.Off = e.End {
		e.End = min(e.Off+holesPart, size)
		if ps, err = v.pieces(ps[:0], e); err != nil {
			return err
		}
		for _, sp := range ps {
			if sp.kind == lost && sp.in.bad != nil {
				fn(sp)
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// reckonBlind adds what points lack because of blind files.
func (c *catalog) reckonBlind(ctx context.Context, d *Damage) error {
	for _, b := range c.blind {
		p := Part{File: c.relative(b), Len: max(b.foot.size(), 1), What: b.bad.Error()}
		var x *Corruption
		if errors.As(b.bad, &x) {
			p.What = x.Reason
		}
		d.Parts = append(d.Parts, p)
	}
	if len(c.blind) == 0 {
		return nil
	}
	var most int64
	for _, p := range c.points {
		var all int64
		for no := range c.id.Disks {
			x := DamagedDisk{Disk: c.number(replication.DiskNo(no))}
			if err := c.eachDoubt(ctx, replication.DiskNo(no), p.ID, func(sp span) { x.add(sp.ext) }); err != nil {
				return err
			}
			if x.Bytes == 0 {
				continue
			}
			all += x.Bytes
			k, ok := slices.BinarySearchFunc(d.Points, p.ID, func(p DamagedPoint, id replication.PointID) int { return cmp.Compare(p.Point, id) })
			if !ok {
				d.Points = slices.Insert(d.Points, k, DamagedPoint{Point: p.ID})
			}
			disks := &d.Points[k].Disks
			i, ok := slices.BinarySearchFunc(*disks, x.Disk, func(o DamagedDisk, no replication.DiskNo) int { return cmp.Compare(o.Disk, no) })
			if !ok {
				*disks = slices.Insert(*disks, i, x)
				continue
			}
			o := &(*disks)[i]
			o.Bytes += x.Bytes
			o.Extents = append(o.Extents, x.Extents[:min(len(x.Extents), maxToldLost-len(o.Extents))]...)
			slices.SortFunc(o.Extents, func(a, b replication.Extent) int { return cmp.Compare(a.Off, b.Off) })
		}
		most = max(most, all)
	}
	d.Bytes += most
	return nil
}

// frozen says whether a file is a segment of which a blind file may be a later attempt: by itself it does not tell what of it counts.
func (c *catalog) frozen(s *sealed) bool {
	return s.hdr.kind == segmentFile && slices.Contains(c.mixed, s.hdr.point) && slices.ContainsFunc(c.blind, func(b *sealed) bool { return b.low() <= s.hdr.point && s.hdr.point <= b.high() })
}

// standing is that of the state. While a file is blind nothing counts as spare: what the disks hold may be a version that it had.
func (c *catalog) standing(over []span, fn func(i int, class replication.PointID, spare bool)) {
	c.state.standing(over, func(i int, class replication.PointID, spare bool) {
		fn(i, class, spare && (len(c.blind) == 0 || leftOut(ruleDoubtNoSpare)))
	})
}

// goBlind notes, durably, that nothing of a file can be told any more: part of its index is damaged, and can't be made again. Until then whoever comes upon that part fails, and nobody else knows.
func (j *Journal) goBlind(s *sealed, f namedFile, found []Finding) error {
	cause := corruptf(s.name, 0, "its index is damaged, and its blocks do not tell it")
	if i := slices.IndexFunc(found, func(x Finding) bool { return x.Off >= s.foot.dataEnd || x.Off < fileHeaderSize }); i >= 0 {
		cause = corruptf(s.name, found[i].Off, "%s; its blocks do not tell what it was", found[i].What)
	}
	var x *Corruption
	errors.As(cause, &x)
	b := j.broken(f, j.now.Load().state, cause)
	b.rank, b.life = s.rank, s.life
	name := j.relative(s)
	return j.commit(kindFileBlind, func(st *state) (any, error) {
		if !slices.ContainsFunc(st.files, func(f namedFile) bool { return j.path(f.path()) == s.name }) {
			return nil, nil // it was replaced meanwhile
		}
		return blindRecord{File: name, What: x.Reason}, nil
	}, b)
}
