package replication

import (
	"fmt"
	"slices"
	"sort"
)

// Extent is a half-open range of bytes of one disk: [Off, End).
type Extent struct {
	Off, End int64
}

// Len returns the extent's length in bytes.
func (e Extent) Len() int64 { return e.End - e.Off }

// Empty says whether the extent holds no byte.
func (e Extent) Empty() bool { return e.End <= e.Off }

// Overlaps says whether the two share a byte.
func (e Extent) Overlaps(o Extent) bool { return e.Off < o.End && o.Off < e.End }

// Intersect returns the bytes that both hold; empty when there are none.
func (e Extent) Intersect(o Extent) Extent {
	x := Extent{max(e.Off, o.Off), min(e.End, o.End)}
	if x.End < x.Off {
		x.End = x.Off
	}
	return x
}

// Outward rounds the extent outward to pages, bounded by the disk's size (I13).
func (e Extent) Outward(size int64) Extent {
	return Extent{e.Off &^ (Page - 1), min((e.End+Page-1)&^(Page-1), size)}
}

// Check says whether the extent is not empty and lies within a disk of the given size.
func (e Extent) Check(size int64) error {
	if e.Off < 0 || e.End <= e.Off || e.End > size {
		return fmt.Errorf("extent %v outside a disk of %d bytes", e, size)
	}
	return nil
}

func (e Extent) String() string { return fmt.Sprintf("[%d,%d)", e.Off, e.End) }

// Set is a set of bytes of one disk, kept as rising extents that neither overlap nor touch. The zero value is empty. It is
// not safe for concurrent use. An extent takes 16 bytes, and one between others the time to move them: what a cycle covers is kept as Pages.
type Set struct {
	x []Extent // Invariant: x[i].Off < x[i].End < x[i+1].Off
}

// NewSet returns the set that holds the given extents.
func NewSet(x ...Extent) *Set {
	s := &Set{}
	for _, e := range x {
		s.Add(e)
	}
	return s
}

// Add puts the bytes of e into the set.
func (s *Set) Add(e Extent) {
	if e.Empty() {
		return
	}
	if n := len(s.x); n == 0 || s.x[n-1].End < e.Off { // the common case: rising
		s.x = append(s.x, e)
		return
	}
	i := sort.Search(len(s.x), func(i int) bool { return s.x[i].End >= e.Off })
	j := i
	for j < len(s.x) && s.x[j].Off <= e.End {
		e.Off, e.End = min(e.Off, s.x[j].Off), max(e.End, s.x[j].End)
		j++
	}
	s.x = slices.Replace(s.x, i, j, e)
}

// Extents returns the set's extents, rising. The caller must not change them, and must not use them after the next Add.
func (s *Set) Extents() []Extent {
	if s == nil {
		return nil
	}
	return s.x
}

// Bytes returns how many bytes the set holds.
func (s *Set) Bytes() (n int64) {
	for _, e := range s.Extents() {
		n += e.Len()
	}
	return n
}

// Contains says whether every byte of e is in the set.
func (s *Set) Contains(e Extent) bool {
	x := s.Extents()
	i := sort.Search(len(x), func(i int) bool { return x[i].End > e.Off })
	return e.Empty() || i < len(x) && x[i].Off <= e.Off && e.End <= x[i].End
}

// Missing appends to dst the parts of e that are not in the set, rising.
func (s *Set) Missing(dst []Extent, e Extent) []Extent {
	x := s.Extents()
	i := sort.Search(len(x), func(i int) bool { return x[i].End > e.Off })
	for ; e.Off < e.End && i < len(x) && x[i].Off < e.End; i++ {
		if x[i].Off > e.Off {
			dst = append(dst, Extent{e.Off, x[i].Off})
		}
		e.Off = x[i].End
	}
	if e.Off < e.End {
		dst = append(dst, e)
	}
	return dst
}

// Clone returns an independent copy.
func (s *Set) Clone() *Set { return &Set{x: slices.Clone(s.Extents())} }

// Digest returns the set's Tally.Digest. Two sets have the same digest exactly when they are equal.
func (s *Set) Digest() [32]byte {
	var t Tally
	for _, e := range s.Extents() {
		t.Add(e)
	}
	return t.Digest()
}
