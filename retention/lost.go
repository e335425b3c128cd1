package retention

import (
	"errors"
	"io/fs"
	"slices"

	"failback/replication"
)

// What listed points need of damaged parts. The reader's own look-up decides where it can be asked: a point needs a part when looking up the bytes at the point comes upon it.

// lostFile is the finding of a file of which nothing can be read.
func (c *catalog) lostFile(s *sealed) Finding {
	f := Finding{File: s.name, What: s.bad.Error(), Damage: true, Fatal: true}
	var at *Corruption
	if errors.As(s.bad, &at) {
		f.Off, f.What = at.Off, at.Reason
		switch {
		case f.Off > 0:
			f.Len = footerSize
		case !errors.Is(s.bad, fs.ErrNotExist):
			f.Len = fileHeaderSize
		}
	}
	f.Needs = c.mayNeed(s, fence{}, fence{disk: replication.DiskNo(len(c.id.Disks))})
	return f
}

// mayNeed is what points may need of a part of a file's index that can't be read: that of the disks from first up to last.
func (c *catalog) mayNeed(s *sealed, first, last fence) (ns []Need) {
	since := c.class(s.low())
	if since == NoPoint {
		return nil
	}
	var points []replication.PointID
	for _, p := range c.points {
		if p.ID >= since {
			points = append(points, p.ID)
		}
	}
	for d := range c.id.Disks {
		no := replication.DiskNo(d)
		if no < first.disk || no > last.disk || no == last.disk && last.off == 0 {
			continue
		}
		of := points
		if l := c.departed(no); l != nil {
			of = slices.DeleteFunc(slices.Clone(points), func(p replication.PointID) bool { return p > l.Last })
		}
		if len(of) > 0 {
			ns = append(ns, Need{Disk: c.number(no), Points: of})
		}
	}
	return ns
}

// needs gathers what points need of the spans of a damaged part.
type needs struct {
	c     *catalog
	cache *chunkCache
	by    []Need
}

// add adds a span that can't be read.
func (n *needs) add(sp span) {
	since := n.c.class(sp.version)
	if since == NoPoint {
		return
	}
	var points []replication.PointID
	var bytes, spare int64
	for _, p := range n.c.points {
		if p.ID < since {
			continue
		}
		l := n.c.departed(sp.disk)
		if l != nil && p.ID > l.Last {
			break
		}
		shown := n.shown(sp, p.ID)
		if shown == 0 {
			break // what is newer shows no more of it
		}
		points = append(points, p.ID)
		bytes = max(bytes, shown)
		if p.ID == n.c.head && n.c.move == nil && l == nil {
			spare = shown
		}
	}
	if len(points) == 0 {
		return
	}
	no := n.c.number(sp.disk)
	k := slices.IndexFunc(n.by, func(x Need) bool { return x.Disk == no })
	if k < 0 {
		k = len(n.by)
		n.by = append(n.by, Need{Disk: no})
	}
	x := &n.by[k]
	x.Bytes += bytes
	x.Spare += spare
	x.Points = append(x.Points, points...)
	slices.Sort(x.Points)
	x.Points = slices.Compact(x.Points)
}

// shown returns how many bytes of a span a point shows; of a page all, where other damage keeps it from being known.
func (n *needs) shown(sp span, p replication.PointID) (bytes int64) {
	for e := sp.ext; e.Off < e.End; {
		part := replication.Extent{Off: e.Off, End: min(e.Off+holesPart, e.End)}
		ps, err := n.c.lookup(n.cache, sp.disk, p, part)
		if err != nil { // a reader may be luckier with less of it
			part.End = min(e.Off&^(replication.Page-1)+replication.Page, e.End)
			ps, err = n.c.lookup(n.cache, sp.disk, p, part)
		}
		if err != nil {
			bytes += part.Len()
		}
		for _, x := range ps {
			if x.in == sp.in && x.at == sp.at && x.version == sp.version {
				bytes += x.ext.Len()
			}
		}
		e.Off = part.End
	}
	return bytes
}
