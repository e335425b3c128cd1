package retention

import (
	"container/heap"
	"math"

	"failback/replication"
)

// chunked is an index that lies in chunks: of a sealed file, or a run that a writer has spilled.
type chunked interface {
	loadFences() ([]fence, error)
	chunk(dst []entry, i int64, buf []byte) ([]entry, error)
}

// cursor walks an index upwards in memory for one chunk.
type cursor struct {
	src   chunked
	in    *sealed // what the spans carry; nil for runs
	disk  replication.DiskNo
	whole bool                // all disks; else only disk
	from  replication.PointID // only versions in [from, to]
	to    replication.PointID

	next_ int64 // next chunk
	es    []entry
	i     int
	buf   []byte
}

// allVersions is the to of a cursor that leaves no later version out.
const allVersions = replication.PointID(math.MaxUint64)

func newCursor(s *sealed, disk replication.DiskNo, from, to replication.PointID) *cursor {
	return &cursor{src: s, in: s, disk: disk, from: from, to: to, next_: -1}
}

// next returns the next span that ends behind off of the cursor's disk, false at the end. off must not fall.
func (c *cursor) next(off int64) (span, bool, error) {
	for {
		for ; c.i < len(c.es); c.i++ {
			e := c.es[c.i]
			if !c.whole && (e.disk < c.disk || e.disk == c.disk && e.ext.End <= off) {
				continue
			}
			if !c.whole && e.disk > c.disk {
				return span{}, false, nil
			}
			if c.whole || e.version >= c.from && e.version <= c.to {
				c.i++
				return span{e, c.in}, true, nil
			}
		}
		fences, err := c.src.loadFences()
		if err != nil {
			return span{}, false, err
		}
		if !c.whole {
			c.next_ = max(c.next_, startChunk(fences, c.disk, off))
		}
		c.next_ = max(c.next_, 0)
		if c.next_ >= int64(len(fences)) || !c.whole && fences[c.next_].disk > c.disk {
			return span{}, false, nil
		}
		if c.buf == nil {
			c.buf = make([]byte, chunkSize)
		}
		if c.es, err = c.src.chunk(c.es[:0], c.next_, c.buf); err != nil {
			return span{}, false, err
		}
		c.next_++
		c.i = 0
	}
}

// feed gives spans that rise and do not overlap; a cursor, or a slice in memory.
type feed interface {
	// next returns the next span that ends behind off; off does not fall.
	next(off int64) (span, bool, error)
}

type sliceFeed struct {
	es []entry
}

func (s *sliceFeed) next(int64) (span, bool, error) {
	if len(s.es) == 0 {
		return span{}, false, nil
	}
	e := s.es[0]
	s.es = s.es[1:]
	return span{entry: e}, true, nil
}

// noLimit is a limit behind every disk's end.
const noLimit = math.MaxInt64

// overlay lays indexes over each other: it gives spans that rise and do not overlap, where at each byte the span that stands above wins.
type overlay struct {
	heads heads
}

type head struct {
	span
	feed feed
}

// allBelow says whether everything that follows in the feed stands below a span that the head stands below, as all of it is of one version and file, and none of it is lost: what is lost stands below
// the content of a file that was named earlier, what follows it may stand above. (Files that tell of a segment's version are named with it, and then ranks decide, or later: so it can't be. It is not relied upon.)
func (h *head) allBelow() bool {
	return h.in != nil && h.in.hdr.kind == segmentFile && len(h.in.parts) == 0
}

// standing ranks what tells of one version: content; that it is lost; that a disk holds it, or held it once. That a disk holds what was lost is believed of nothing but the content.
func (e *entry) standing() int {
	switch {
	case e.hasContent():
		return 2
	case e.kind == lost && !leftOut(ruleLostAboveGone):
		return 1
	}
	return 0
}

// above says whether a span stands above another: it has the higher version, or content of the same, or its file was named later, or it was written later. What is lost of one attempt at
// a cycle is not to be had from an earlier one, which may hold what an earlier round sent.
func (sp *span) above(o *span) bool {
	attempts := sp.in != nil && o.in != nil && (sp.kind == lost && o.attempt() || o.kind == lost && sp.attempt()) && !leftOut(ruleLostOfAttempts)
	switch {
	case sp.version != o.version:
		return sp.version > o.version
	case sp.standing() != o.standing() && !attempts:
		return (sp.standing() > o.standing()) != leftOut(ruleContentAbove)
	case sp.in != o.in && sp.in != nil && o.in != nil:
		return sp.in.rank > o.in.rank
	}
	return sp.at > o.at != leftOut(ruleLaterWins)
}

// attempt says whether it is content as it came off the wire.
func (sp *span) attempt() bool { return sp.hasContent() && sp.in.hdr.kind == segmentFile }

type heads []*head

func (h heads) Len() int { return len(h) }
func (h heads) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.disk != b.disk {
		return a.disk < b.disk
	}
	if a.ext.Off != b.ext.Off {
		return a.ext.Off < b.ext.Off
	}
	return a.above(&b.span)
}
func (h heads) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)   { *h = append(*h, x.(*head)) }
func (h *heads) Pop() any {
	o := *h
	x := o[len(o)-1]
	*h = o[:len(o)-1]
	return x
}

// newOverlay lays feeds over each other.
func newOverlay(fs []feed) (*overlay, error) {
	o := &overlay{}
	for _, f := range fs {
		sp, ok, err := f.next(0)
		if err != nil {
			return nil, err
		}
		if ok {
			o.heads = append(o.heads, &head{span: sp, feed: f})
		}
	}
	heap.Init(&o.heads)
	return o, nil
}

// cut moves the lowest head to begin at off at least, taking the feed's next span when nothing is left of it.
func (o *overlay) cut(disk replication.DiskNo, off int64) error {
	h := o.heads[0]
	if h.disk == disk && h.ext.End > off {
		h.span = h.span.clip(replication.Extent{Off: off, End: h.ext.End})
		heap.Fix(&o.heads, 0)
		return nil
	}
	sp, ok, err := h.feed.next(off)
	for err == nil && ok && (sp.disk < disk || sp.disk == disk && sp.ext.End <= off) {
		sp, ok, err = h.feed.next(off)
	}
	if err != nil {
		return err
	}
	if !ok {
		heap.Pop(&o.heads)
		return nil
	}
	if sp.disk == disk && sp.ext.Off < off {
		sp = sp.clip(replication.Extent{Off: off, End: sp.ext.End})
	}
	h.span = sp
	heap.Fix(&o.heads, 0)
	return nil
}

// seek drops everything of the disk before off.
func (o *overlay) seek(disk replication.DiskNo, off int64) error {
	for len(o.heads) > 0 && (o.heads[0].disk < disk || o.heads[0].disk == disk && o.heads[0].ext.Off < off) {
		if err := o.cut(disk, off); err != nil {
			return err
		}
	}
	return nil
}

// next returns the next span, cut off at limit, and false when there is none that begins before limit.
func (o *overlay) next(limit int64) (span, bool, error) {
	if len(o.heads) == 0 || o.heads[0].ext.Off >= limit {
		return span{}, false, nil
	}
	top := o.heads[0]
	cur := *top
	// What overlaps: a head below is cut, as cur covers it; a head above ends cur. What follows a head below in its feed may stand above.
	heap.Pop(&o.heads)
	end := min(cur.ext.End, limit)
	for len(o.heads) > 0 && o.heads[0].disk == cur.disk && o.heads[0].ext.Off < end {
		h := o.heads[0]
		if h.above(&cur.span) {
			end = h.ext.Off
			break
		}
		upTo := end
		if !h.allBelow() && !leftOut(ruleCutOne) {
			upTo = min(end, h.ext.End)
		}
		if err := o.cut(cur.disk, upTo); err != nil {
			return span{}, false, err
		}
	}
	if end < cur.ext.End {
		top.span = cur.span.clip(replication.Extent{Off: end, End: cur.ext.End})
		heap.Push(&o.heads, top)
	} else {
		sp, ok, err := top.feed.next(end)
		if err != nil {
			return span{}, false, err
		}
		if ok {
			top.span = sp
			heap.Push(&o.heads, top)
		}
	}
	return cur.span.clip(replication.Extent{Off: cur.ext.Off, End: end}), true, nil
}
