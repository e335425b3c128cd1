package replication

import (
	"iter"
	"math/bits"
	"slices"
)

// Pages is a set of pages of one disk of a known size: what is durable of a cycle, or what it covers. It takes two to three bytes for a page and, however many there are,
// one bit for each page of the disk: 32 MiB for a TiB (I12). Next to that, 64 bytes for each 256 MiB of the disk that holds one. It is not safe for concurrent use.
type Pages struct {
	size   int64
	n      int64        // pages in the set
	chunks []*pageChunk // by page/chunkPages; nil: none
}

const (
	chunkPages = 1 << 16
	chunkList  = chunkPages / 16 // pages that a chunk lists; more take as much as its bits
)

// NewPages returns the set of the given extents of a disk of size bytes.
func NewPages(size int64, x ...Extent) *Pages {
	p := &Pages{size: size}
	for _, e := range x {
		p.Add(e)
	}
	return p
}

// pages is the number of pages of the disk.
func (p *Pages) pages() int64 { return (p.size + Page - 1) / Page }

// Add puts the pages of e into the set: those of which e holds every byte, the short one at the disk's end included.
func (p *Pages) Add(e Extent) {
	e.Off, e.End = max(e.Off, 0), min(e.End, p.size)
	first, end := (e.Off+Page-1)/Page, e.End/Page
	if e.End == p.size {
		end = p.pages()
	}
	if first >= end {
		return
	}
	if n := int((end-1)/chunkPages) + 1; n > len(p.chunks) {
		p.chunks = append(p.chunks, make([]*pageChunk, n-len(p.chunks))...)
	}
	for first < end {
		i := first / chunkPages
		stop := min(end, (i+1)*chunkPages)
		c := p.chunks[i]
		if c == nil {
			c = &pageChunk{}
			p.chunks[i] = c
		}
		was := c.n
		c.add(int(first-i*chunkPages), int(stop-i*chunkPages))
		p.n += int64(c.n - was)
		first = stop
	}
}

// AddAll puts the pages of o, a set of the same disk, into p.
func (p *Pages) AddAll(o *Pages) {
	for e := range o.All() {
		p.Add(e)
	}
}

// Bytes returns how many bytes the set holds.
func (p *Pages) Bytes() int64 {
	n := p.n * Page
	if last := p.pages() - 1; last >= 0 && p.next(last, true) == last {
		n -= (last+1)*Page - p.size
	}
	return n
}

// All gives the set's extents, rising, that neither overlap nor touch. The set must not change meanwhile.
func (p *Pages) All() iter.Seq[Extent] {
	return func(yield func(Extent) bool) {
		first, end := int64(0), int64(0) // of a run that may go on
		for i, c := range p.chunks {
			base := int64(i) * chunkPages
			if c == nil {
				continue
			}
			for a, b := range c.runs {
				if base+int64(a) != end {
					if first < end && !yield(p.extent(first, end)) {
						return
					}
					first = base + int64(a)
				}
				end = base + int64(b)
			}
		}
		if first < end {
			yield(p.extent(first, end))
		}
	}
}

// Extents returns how many extents All gives, and is as slow.
func (p *Pages) Extents() (n int) {
	for range p.All() {
		n++
	}
	return n
}

func (p *Pages) extent(first, end int64) Extent {
	return Extent{first * Page, min(end*Page, p.size)}
}

// next returns the first page from on that is in the set, or is not; the number of the disk's pages when there is none.
func (p *Pages) next(from int64, in bool) int64 {
	for all := p.pages(); from < all; {
		i := from / chunkPages
		if i >= int64(len(p.chunks)) {
			if in {
				return all
			}
			return from
		}
		stop := min((i+1)*chunkPages, all)
		if c := p.chunks[i]; c == nil {
			if !in {
				return from
			}
		} else if at := i*chunkPages + int64(c.next(int(from-i*chunkPages), in)); at < stop {
			return at
		}
		from = stop
	}
	return from
}

// Contains says whether every byte of e is in the set.
func (p *Pages) Contains(e Extent) bool {
	return e.Empty() || e.Off >= 0 && e.End <= p.size && p.next(e.Off/Page, false)*Page >= e.End
}

// Overlaps says whether any page of e is in the set.
func (p *Pages) Overlaps(e Extent) bool {
	return !e.Empty() && p.next(e.Off/Page, true)*Page < e.End
}

// Missing appends to dst the parts of e that are not in the set, rising.
func (p *Pages) Missing(dst []Extent, e Extent) []Extent {
	e = e.Intersect(Extent{End: p.size})
	for e.Off < e.End {
		first := p.next(e.Off/Page, false)
		if first*Page >= e.End {
			break
		}
		end := p.next(first, true)
		dst = append(dst, p.extent(first, end).Intersect(e))
		e.Off = end * Page
	}
	return dst
}

// Clone returns an independent copy.
func (p *Pages) Clone() *Pages {
	c := *p
	c.chunks = slices.Clone(p.chunks)
	for i, x := range c.chunks {
		if x != nil {
			c.chunks[i] = x.clone()
		}
	}
	return &c
}

// Total adds the set up.
func (p *Pages) Total() (t Tally) {
	for e := range p.All() {
		t.Add(e)
	}
	return t
}

// Digest returns what Set.Digest does of the same bytes.
func (p *Pages) Digest() [32]byte {
	t := p.Total()
	return t.Digest()
}

// pageChunk is the set of pages of one stretch of chunkPages. All of them: neither a list nor bits.
type pageChunk struct {
	n    int
	list []uint16                 // rising, while there are at most chunkList
	bits *[chunkPages / 64]uint64 // else
}

func (c *pageChunk) clone() *pageChunk {
	x := *c
	x.list = slices.Clone(c.list)
	if c.bits != nil {
		b := *c.bits
		x.bits = &b
	}
	return &x
}

// add puts the pages [a, b) into the chunk.
func (c *pageChunk) add(a, b int) {
	switch {
	case c.n == chunkPages:
		return
	case b-a == chunkPages:
		*c = pageChunk{n: chunkPages}
		return
	case c.bits == nil && c.addListed(a, b):
		return
	case c.bits == nil:
		c.bits = new([chunkPages / 64]uint64)
		for _, p := range c.list {
			c.bits[p/64] |= 1 << (p % 64)
		}
		c.list = nil
	}
	for a < b {
		w, stop := a/64, min(b, (a/64+1)*64)
		mask := ^uint64(0) << (a % 64)
		if r := stop % 64; r != 0 {
			mask &= 1<<r - 1
		}
		c.n += bits.OnesCount64(mask &^ c.bits[w])
		c.bits[w] |= mask
		a = stop
	}
	if c.n == chunkPages {
		c.bits = nil
	}
}

// addListed does so in the list, unless that would grow too long.
func (c *pageChunk) addListed(a, b int) bool {
	if b-a > chunkList {
		return false
	}
	i := c.n // the common case: rising
	if i > 0 && int(c.list[i-1]) >= a {
		i, _ = slices.BinarySearch(c.list, uint16(a))
	}
	k := i
	for k < c.n && int(c.list[k]) < b {
		k++
	}
	more := b - a - (k - i)
	if more == 0 {
		return true
	}
	if c.n+more > chunkList {
		return false
	}
	if c.n+more > cap(c.list) {
		list := make([]uint16, c.n, c.n+more+c.n/4+2)
		copy(list, c.list)
		c.list = list
	}
	c.list = c.list[:c.n+more]
	copy(c.list[i+b-a:], c.list[k:c.n])
	for p := a; p < b; p++ {
		c.list[i+p-a] = uint16(p)
	}
	c.n += more
	return true
}

// runs gives the runs of pages [a, b), rising.
func (c *pageChunk) runs(yield func(a, b int) bool) {
	if c.n == chunkPages || c.bits != nil {
		for a := c.next(0, true); a < chunkPages; {
			b := c.next(a, false)
			if !yield(a, b) {
				return
			}
			a = c.next(b, true)
		}
		return
	}
	for i := 0; i < c.n; {
		k := i + 1
		for k < c.n && c.list[k] == c.list[k-1]+1 {
			k++
		}
		if !yield(int(c.list[i]), int(c.list[k-1])+1) {
			return
		}
		i = k
	}
}

// next returns the first page from on that is in the chunk, or is not; chunkPages when there is none.
func (c *pageChunk) next(from int, in bool) int {
	switch {
	case from >= chunkPages:
		return chunkPages
	case c.n == chunkPages:
		if in {
			return from
		}
		return chunkPages
	case c.bits != nil:
		for w := from / 64; w < len(c.bits); w++ {
			x := c.bits[w]
			if !in {
				x = ^x
			}
			if w == from/64 {
				x &= ^uint64(0) << (from % 64)
			}
			if x != 0 {
				return w*64 + bits.TrailingZeros64(x)
			}
		}
		return chunkPages
	}
	i, found := slices.BinarySearch(c.list, uint16(from))
	if in {
		if i == c.n {
			return chunkPages
		}
		return int(c.list[i])
	}
	for ; found && i < c.n && int(c.list[i]) == from; i++ {
		from++
	}
	return from
}
