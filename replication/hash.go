package replication

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"failback/replication/pagehash"
)

var zeroPage [Page]byte

// IsZero says whether b holds only zeros.
func IsZero(b []byte) bool {
	for len(b) > Page {
		if !bytes.Equal(b[:Page], zeroPage[:]) {
			return false
		}
		b = b[Page:]
	}
	return bytes.Equal(b, zeroPage[:len(b)])
}

// HashPage returns the hash of one page, or of the short page at a disk's end.
func HashPage(b []byte) Hash {
	if IsZero(b) {
		return Hash{}
	}
	return pagehash.One(b)
}

// HashPages appends to dst the hashes of the pages of b; the last one may be short.
func HashPages(dst []Hash, b []byte) []Hash {
	n := len(dst)
	dst = slices.Grow(dst, (len(b)+Page-1)/Page)[:n+len(b)/Page]
	var sums [pagehash.Most]*pagehash.Sum // of pages that are not zero
	var pages [pagehash.Most]*[Page]byte
	gathered := 0
	for ; len(b) >= Page; n, b = n+1, b[Page:] {
		page := (*[Page]byte)(b)
		if *page == zeroPage {
			dst[n] = Hash{}
			continue
		}
		sums[gathered], pages[gathered] = (*pagehash.Sum)(&dst[n]), page
		if gathered++; gathered == len(pages) {
			pagehash.All(sums[:], pages[:])
			gathered = 0
		}
	}
	pagehash.All(sums[:gathered], pages[:gathered])
	if len(b) > 0 {
		dst = append(dst, HashPage(b))
	}
	return dst
}

// HashRegion folds the hashes of a region's pages into one. A region of zeros has the zero Hash.
func HashRegion(pages []Hash) Hash {
	h := sha256.New()
	zero := true
	for i := range pages {
		zero = zero && pages[i] == Hash{}
		h.Write(pages[i][:])
	}
	if zero {
		return Hash{}
	}
	return Hash(h.Sum(nil)[:16])
}
