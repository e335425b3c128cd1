package retention

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// Bounds of what is noted of damage (I12).
const (
	maxHeld      = 64      // extents told of one part
	maxHeldParts = 64      // parts of a file found at a time whose extents are looked up, each by reading all of its index
	maxParts     = 1024    // parts of one file: beyond, neighbours become one
	partsAtOnce  = 256     // parts in one record
	maxToldLost  = 64      // extents told of one point and disk
	maxLostFound = 1 << 20 // lost extents that are looked for at a time
)

// stretch is a range of a file's bytes.
type stretch struct{ off, end int64 }

// stretches returns what is quarantined of a file, rising.
func (s *state) stretches(f namedFile) (out []stretch) {
	name := filepath.ToSlash(f.path())
	for _, p := range s.damage {
		if p.File == name {
			out = append(out, stretch{p.Off, p.Off + p.Len})
		}
	}
	return out
}

// quarantine adds parts. One that overlaps another of its file takes its place with it.
func (s *state) quarantine(parts []Part) error {
	for _, p := range parts {
		if !slices.ContainsFunc(s.files, func(f namedFile) bool { return filepath.ToSlash(f.path()) == p.File }) {
			return fmt.Errorf("part of %q quarantined, which is not there", p.File)
		}
		if p.Off < fileHeaderSize || p.Len <= 0 || p.Off > maxFileEnd || p.Len > maxFileEnd {
			return fmt.Errorf("part of %q quarantined at %d with %d bytes", p.File, p.Off, p.Len)
		}
		s.damage = append(s.damage, p)
	}
	slices.SortStableFunc(s.damage, func(a, b Part) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Off, b.Off)) })
	out := s.damage[:0]
	of := map[string]int{}
	for _, p := range s.damage {
		of[p.File]++
		if n := len(out); n > 0 && out[n-1].File == p.File && (out[n-1].Off+out[n-1].Len > p.Off || of[p.File] > maxParts) {
			out[n-1] = out[n-1].with(p)
			continue
		}
		out = append(out, p)
	}
	s.damage = out
	return nil
}

// with joins a part with one that begins behind its begin.
func (p Part) with(o Part) Part {
	p.Len = max(p.Off+p.Len, o.Off+o.Len) - p.Off
	held := slices.Concat(p.Held, o.Held)
	p.Held = held[:min(len(held), maxHeld)]
	p.More += o.More + len(held) - len(p.Held)
	return p
}

// as returns the file with exactly these parts quarantined.
func (s *sealed) as(parts []stretch) *sealed {
	if slices.Equal(parts, s.parts) {
		return s
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &sealed{name: s.name, h: s.h, hdr: s.hdr, salt: s.salt, foot: s.foot, rec: s.rec, bad: s.bad, rank: s.rank, parts: parts, life: s.life, fences: s.fences}
}

// lose makes lost what lies in a quarantined part. That there are zeros the index says by itself.
func (s *sealed) lose(es []entry) {
	for i := range es {
		if es[i].kind == block.Data && s.quarantined(es[i].at) {
			es[i].kind = lost
		}
	}
}

func (s *sealed) quarantined(at int64) bool {
	k, ok := slices.BinarySearchFunc(s.parts, at, func(p stretch, at int64) int { return cmp.Compare(p.off, at) })
	return ok || k > 0 && s.parts[k-1].end > at
}

// journaled says whether a file has the span's content. Else the disks hold it, or it is lost.
func (sp *span) journaled() bool { return sp.in != nil && sp.hasContent() }

// lostError is what a reader of lost content gets.
func (sp *span) lostError() error {
	if sp.in.bad != nil {
		at, why := int64(0), sp.in.bad.Error()
		var x *Corruption
		if errors.As(sp.in.bad, &x) {
			at, why = x.Off, x.Reason
		}
		return corruptf(sp.in.name, at, "disk %d %v may have been written by this file, of which nothing can be read: %s", sp.disk, sp.ext, why)
	}
	return corruptf(sp.in.name, sp.at, "disk %d %v, written by point %d, was here, and is lost: this part of the file is damaged and quarantined", sp.disk, sp.ext, sp.version)
}

// buried says whether another file than those that are mine tells of the same version: that it is lost, or what an earlier attempt or round of its cycle sent. over[0], which stands above, can't be given
// up as spare then: the other would show.
func buried(over []span, mine func(span) bool) bool {
	return slices.ContainsFunc(over[1:], func(o span) bool {
		return o.version == over[0].version && (o.kind == lost && !leftOut(ruleLostBuried) || o.hasContent() && !leftOut(ruleSentBuried)) && (mine == nil || !mine(o))
	})
}

// anyLost says whether anything of the journal is lost.
func (s *state) anyLost() bool {
	return len(s.damage) > 0 || slices.ContainsFunc(s.files, func(f namedFile) bool { return f.Lost > 0 })
}

// eachLost calls fn with the spans, rising, that listed points need and no file has, on one disk: they are shown from the point since on, up to the point before, exclusive (0: to the last). spare: the disks
// hold them, standing at the head.
func (c *catalog) eachLost(disk replication.DiskNo, fn func(sp span, since, before replication.PointID, spare bool) error) error {
	if !c.anyLost() {
		return nil
	}
	first, end := replication.PointID(0), replication.PointID(0) // the first point that has it, and the first that does not have it any more; 0: none. Of one that has not left, moves need what it is left as before its birth
	if l := c.departed(disk); l != nil {
		if first = c.class(c.born(disk)); first == NoPoint {
			return nil
		}
		if p := c.class(l.Last + 1); p != NoPoint {
			end = p
		}
	}
	return sweep(c.files, disk, func(e replication.Extent, over []span) (err error) {
		newer := end
		c.standing(over, func(i int, class replication.PointID, spare bool) {
			if since := max(class, first); err == nil && over[i].kind == lost && (newer == 0 || since < newer) {
				err = fn(over[i].clip(e), since, newer, spare)
			}
			newer = class
		})
		return err
	})
}

// Damage tells what is damaged of a journal.
type Damage struct {
	Parts  []Part         // quarantined, by file and offset, whether anybody needs them or not
	Points []DamagedPoint // that need what is lost, rising
	Bytes  int64          // of the disks: lost, each version once
}

// DamagedPoint is a point that can't be had whole.
type DamagedPoint struct {
	Point replication.PointID
	Disks []DamagedDisk // rising
}

// Bytes returns how many bytes of the disks the point lacks.
func (p DamagedPoint) Bytes() (n int64) {
	for _, d := range p.Disks {
		n += d.Bytes
	}
	return n
}

// DamagedDisk is what a point lacks of a disk.
type DamagedDisk struct {
	Disk    replication.DiskNo
	Bytes   int64
	Extents []replication.Extent // rising; the first maxToldLost of them
}

// Damage tells what is quarantined, and which points need what of it is lost, from the indexes alone. What the disks hold, standing at the head, is not lost: Mend saves it.
func (j *Journal) Damage(ctx context.Context) (Damage, error) {
	if err := j.usable(); err != nil {
		return Damage{}, err
	}
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	return c.reckonDamage(ctx)
}

func (c *catalog) reckonDamage(ctx context.Context) (Damage, error) {
	d := Damage{Parts: slices.Clone(c.damage)}
	for no := range c.id.Disks {
		disks := make([]DamagedDisk, len(c.points))
		err := c.eachLost(replication.DiskNo(no), func(sp span, since, before replication.PointID, spare bool) error {
			if spare {
				return ctx.Err()
			}
			d.Bytes += sp.ext.Len()
			i, err := c.point(since)
			for ; err == nil && i < len(c.points) && (before == 0 || c.points[i].ID < before); i++ {
				disks[i].add(sp.ext)
			}
			return cmp.Or(err, ctx.Err())
		})
		if err != nil {
			return d, err
		}
		for i := range disks {
			if disks[i].Bytes == 0 {
				continue
			}
			disks[i].Disk = c.number(replication.DiskNo(no))
			k, ok := slices.BinarySearchFunc(d.Points, c.points[i].ID, func(p DamagedPoint, id replication.PointID) int { return cmp.Compare(p.Point, id) })
			if !ok {
				d.Points = slices.Insert(d.Points, k, DamagedPoint{Point: c.points[i].ID})
			}
			d.Points[k].Disks = append(d.Points[k].Disks, disks[i])
		}
	}
	for i := range d.Points {
		slices.SortFunc(d.Points[i].Disks, func(a, b DamagedDisk) int { return cmp.Compare(a.Disk, b.Disk) })
	}
	return d, c.reckonBlind(ctx, &d)
}

func (d *DamagedDisk) add(e replication.Extent) {
	d.Bytes += e.Len()
	if n := len(d.Extents); n > 0 && d.Extents[n-1].End == e.Off {
		d.Extents[n-1].End = e.End
	} else if n < maxToldLost {
		d.Extents = append(d.Extents, e)
	}
}

// quarantine notes, durably, that parts of files are damaged. What has gone meanwhile, or is known already, is left out.
func (j *Journal) quarantine(parts []Part) error {
	for chunk := range slices.Chunk(parts, partsAtOnce) {
		err := j.commit(kindQuarantined, func(st *state) (any, error) {
			var fresh []Part
			for _, p := range chunk {
				there := slices.ContainsFunc(st.files, func(f namedFile) bool { return filepath.ToSlash(f.path()) == p.File })
				known := slices.ContainsFunc(st.damage, func(o Part) bool { return o.File == p.File && o.Off <= p.Off && p.Off+p.Len <= o.Off+o.Len })
				if there && !known {
					fresh = append(fresh, p)
				}
			}
			if len(fresh) == 0 {
				return nil, nil
			}
			return quarantineRecord{fresh}, nil
		})
		if err != nil {
			return fmt.Errorf("quarantine what is damaged: %w", err)
		}
	}
	return nil
}

// part makes the part of a file that an entry at an offset begins: up to the next entry that can be told from its begin, or a byte. held is what the index says of it.
func (j *Journal) part(s *sealed, at, n int64, cause error, held []Held) Part {
	p := Part{File: j.relative(s), Off: at, Len: max(n, 1), What: cause.Error(), Found: time.Now().UTC()}
	var c *Corruption
	if errors.As(cause, &c) {
		p.What = c.Reason
	}
	p.Held = held[:min(len(held), maxHeld)]
	p.More = len(held) - len(p.Held)
	return p
}

// held gathers what the index of a file says that lies in a stretch.
func (s *sealed) held(ctx context.Context, in stretch) (out []Held, err error) {
	fences, err := s.loadFences()
	if err != nil {
		return nil, err
	}
	var es []entry
	buf := make([]byte, chunkSize)
	for i := range fences {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if es, err = s.written(es[:0], int64(i), buf); err != nil {
			continue // told by itself
		}
		for _, e := range es {
			if e.kind == block.Data && e.at >= in.off && e.at < in.end {
				out = append(out, Held{e.disk, e.ext.Off, e.ext.End, e.version})
			}
		}
	}
	return out, nil
}
