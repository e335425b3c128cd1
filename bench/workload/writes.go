package workload

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"failback/replication"
)

// Where a machine writes.
const (
	Hot        = "hot"        // nine of ten writes of 4 to 64 KiB within a sixteenth of the disk, the others anywhere
	Sequential = "sequential" // 256 KiB after 256 KiB, from the start again at the end
	Uniform    = "uniform"    // 4 to 64 KiB anywhere
	Discard    = "discard"    // as uniform, and every other time up to 1 MiB is given back
)

// Patterns are all of them.
var Patterns = []string{Hot, Sequential, Uniform, Discard}

// Writes draws what a machine writes, one after the other. The same seed makes the same writes.
type Writes struct {
	pattern string
	pages   int64 // of the disk
	r       *rand.Rand
	at      int64 // page where a sequential one goes on
}

// NewWrites begins to draw for a disk of so many bytes.
func NewWrites(pattern string, size int64, seed uint64) (*Writes, error) {
	if !slices.Contains(Patterns, pattern) {
		return nil, fmt.Errorf("no pattern of writes is called %q: there are %v", pattern, Patterns)
	}
	return &Writes{pattern: pattern, pages: size / replication.Page, r: rand.New(rand.NewPCG(seed, 3))}, nil
}

// Next returns what is written next, in whole pages; discard: it is given back.
func (w *Writes) Next() (x replication.Extent, discard bool) {
	const small, run, given, hotShare = 16, 64, 256, 16 // pages; the hot set is one of so many parts
	var at, n int64
	switch w.pattern {
	case Sequential:
		if at, n = w.at, min(run, w.pages-w.at); at+n == w.pages {
			w.at = 0
		} else {
			w.at += n
		}
	case Hot:
		at, n = w.r.Int64N(w.pages), 1+w.r.Int64N(small)
		if w.r.IntN(10) > 0 {
			at = w.pages/2 + w.r.Int64N(max(w.pages/hotShare, 1))
		}
	default:
		at, n = w.r.Int64N(w.pages), 1+w.r.Int64N(small)
		if w.pattern == Discard && w.r.IntN(2) == 0 {
			n, discard = 1+w.r.Int64N(given), true
		}
	}
	n = min(n, w.pages-at)
	return replication.Extent{Off: at * replication.Page, End: (at + n) * replication.Page}, discard
}

// Pages is a set of pages of a disk.
type Pages []uint64

// NewPages returns an empty set for a disk of so many bytes.
func NewPages(size int64) Pages { return make(Pages, (size/replication.Page+63)/64) }

// Add puts an extent of whole pages in, and returns how many bytes of it were not.
func (p Pages) Add(x replication.Extent) (n int64) {
	for page := x.Off / replication.Page; page < x.End/replication.Page; page++ {
		if bit := uint64(1) << (page % 64); p[page/64]&bit == 0 {
			p[page/64] |= bit
			n += replication.Page
		}
	}
	return n
}

// Join puts all of another set of the same disk in.
func (p Pages) Join(q Pages) {
	for i := range q {
		p[i] |= q[i]
	}
}

// Extents returns the set as extents that rise and don't touch.
func (p Pages) Extents() (all []replication.Extent) {
	for i, word := range p {
		if word == 0 {
			continue
		}
		for bit := range 64 {
			if word>>bit&1 == 0 {
				continue
			}
			off := (int64(i)*64 + int64(bit)) * replication.Page
			if n := len(all); n > 0 && all[n-1].End == off {
				all[n-1].End += replication.Page
			} else {
				all = append(all, replication.Extent{Off: off, End: off + replication.Page})
			}
		}
	}
	return all
}
