package retention

import (
	"errors"
	"math"
	"slices"
	"sync"

	"failback/replication"
	"failback/replication/block"
)

// Bounds of regions, in bytes.
const (
	minRegion  = 4 * replication.Page // of a disk
	maxRegion  = 256 << 20            // of a disk; an offset within fits 32 bits
	regionOwn  = 256                  // what a region takes beside its spans, about
	regionSpan = 32                   // what a span takes
)

// directlyUpTo is in how many files a lookup is about as quick as in a region.
const directlyUpTo = 4

// regions keep, for readers, what the indexes of all files together say of stretches of a disk at a point. To find that the disks hold a byte, a lookup has to ask every file up to the point; of a
// region that is looked into again and again, this is done once. Memory is bounded: the one that came first goes first. Safe for concurrent use.
type regions struct {
	max     int // bytes
	spans   int // of a region, about
	touches int // lookups in a region before it is made: making it takes as long as some

	mu     sync.Mutex
	all    map[regionKey]*region
	oldest []regionKey // in the order they came
	bytes  int
}

type regionKey struct {
	disk  replication.DiskNo
	point replication.PointID
	set   filesUpTo
	ext   replication.Extent
}

// filesUpTo names the set of files that may hold versions up to a point, with what is quarantined of them. Files go, and those that come are seen later: no two sets that a journal ever had are alike
// in both.
type filesUpTo struct {
	seen uint64 // the last
	n    int
}

// region is what a set of files says of a stretch of a disk, once it was looked into often enough.
type region struct {
	touched int // under regions.mu
	bytes   int // likewise: what it takes

	once  sync.Once
	err   error
	spans []regionEntry // what a file has, rising; the disks hold the rest
	files []*sealed
}

// regionEntry is a span, small. Offsets count from the region's begin.
type regionEntry struct {
	at       int64
	version  replication.PointID
	off, end uint32
	raw      uint32
	in       uint16 // of region.files
	kind     block.Kind
}

func newRegions(t *tuning) *regions {
	return &regions{max: t.regionBytes, spans: t.regionSpans, touches: t.regionTouches, all: map[regionKey]*region{}}
}

// layout is how a disk at a point is divided into regions, as of a catalog.
type layout struct {
	c    *catalog
	set  filesUpTo
	size int64 // of a region: a power of two
}

// layout makes regions of about so many spans, going by how many extents there are.
func (r *regions) layout(c *catalog, point replication.PointID, disk int64) *layout {
	l := &layout{c: c, size: minRegion}
	var extents float64
	for _, s := range c.files {
		if s.low() <= point {
			l.set.n++
			l.set.seen = max(l.set.seen, s.seen)
			extents += float64(s.foot.count)
		}
	}
	for l.size < maxRegion && float64(2*l.size)*extents <= float64(r.spans)*float64(disk) {
		l.size *= 2
	}
	return l
}

// lookup does what catalog.lookup does.
func (r *regions) lookup(l *layout, cache *chunkCache, disk replication.DiskNo, point replication.PointID, size int64, e replication.Extent) (out []span, err error) {
	if l.set.n <= directlyUpTo || l.set.n > math.MaxUint16 || len(l.c.blind) > 0 { // what is sure depends on where the disks stand
		return l.c.lookup(cache, disk, point, e)
	}
	for e.Off < e.End {
		k := regionKey{disk: disk, point: point, set: l.set, ext: replication.Extent{Off: e.Off &^ (l.size - 1)}}
		k.ext.End = min(k.ext.Off+l.size, size)
		if leftOut(ruleRegionFiles) {
			k.set = filesUpTo{}
		}
		part := e.Intersect(k.ext)
		x, err := r.region(l.c, cache, k)
		if err != nil {
			return nil, err
		}
		if x != nil {
			out = x.lookup(out, k, part, l.c.floor())
		} else if sps, err := l.c.lookup(cache, disk, point, part); err != nil {
			return nil, err
		} else {
			out = append(out, sps...)
		}
		e.Off = part.End
	}
	return out, nil
}

// region returns the region, or nil while it is not worth making, or can't be made.
func (r *regions) region(c *catalog, cache *chunkCache, k regionKey) (*region, error) {
	r.mu.Lock()
	x := r.all[k]
	if x == nil {
		x = &region{}
		r.all[k] = x
		r.oldest = append(r.oldest, k)
		r.takesLocked(x, regionOwn)
	}
	x.touched++
	ready := x.touched > r.touches
	r.mu.Unlock()
	if !ready {
		return nil, nil
	}
	x.once.Do(func() {
		x.err = x.make(c, cache, k)
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case r.all[k] != x:
		case x.err != nil && !errors.Is(x.err, ErrCorrupt): // it may be gone the next time
			r.bytes -= x.bytes
			delete(r.all, k)
			r.oldest = slices.DeleteFunc(r.oldest, func(o regionKey) bool { return o == k })
		default:
			r.takesLocked(x, cap(x.spans)*regionSpan+cap(x.files)*8)
		}
	})
	if errors.Is(x.err, ErrCorrupt) { // who asks for less may be luckier
		return nil, nil
	}
	return x, x.err
}

// takesLocked accounts for memory, and lets go of the oldest regions where it is too much.
func (r *regions) takesLocked(x *region, n int) {
	x.bytes += n
	r.bytes += n
	for r.bytes > r.max && len(r.oldest) > 1 {
		k := r.oldest[0]
		r.oldest = r.oldest[1:]
		r.bytes -= r.all[k].bytes
		delete(r.all, k)
	}
}

func (x *region) make(c *catalog, cache *chunkCache, k regionKey) error {
	found, err := c.lookup(cache, k.disk, k.point, k.ext)
	if err != nil {
		return err
	}
	files := map[*sealed]uint16{}
	for _, sp := range found {
		if sp.in == nil {
			continue
		}
		in, ok := files[sp.in]
		if !ok {
			in = uint16(len(x.files))
			files[sp.in] = in
			x.files = append(x.files, sp.in)
		}
		x.spans = append(x.spans, regionEntry{at: sp.at, version: sp.version, off: uint32(sp.ext.Off - k.ext.Off), end: uint32(sp.ext.End - k.ext.Off), raw: sp.raw, in: in, kind: sp.kind})
	}
	x.spans = slices.Clip(x.spans)
	return nil
}

// lookup appends the spans that together are e, which lies within.
func (x *region) lookup(out []span, k regionKey, e replication.Extent, floor replication.PointID) []span {
	disk := func(end int64) {
		if e.Off < end {
			out = append(out, span{entry: entry{disk: k.disk, ext: replication.Extent{Off: e.Off, End: end}, version: floor}})
			e.Off = end
		}
	}
	i, _ := slices.BinarySearchFunc(x.spans, uint32(e.Off-k.ext.Off), func(s regionEntry, off uint32) int {
		if s.end <= off {
			return -1
		}
		return 1
	})
	for ; i < len(x.spans) && k.ext.Off+int64(x.spans[i].off) < e.End; i++ {
		s := &x.spans[i]
		ext := replication.Extent{Off: k.ext.Off + int64(s.off), End: k.ext.Off + int64(s.end)}
		disk(ext.Off)
		sp := span{entry{disk: k.disk, kind: s.kind, ext: ext, version: s.version, at: s.at, raw: s.raw}, x.files[s.in]}.clip(e)
		out = append(out, sp)
		e.Off = sp.ext.End
	}
	disk(e.End)
	return out
}
