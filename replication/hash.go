package replication

import (
	"bytes"
	"crypto/sha256"

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
	var first *[Page]byte // of two that are not zero, whose hash goes to at
	at := 0
	for len(b) >= Page {
		page := (*[Page]byte)(b)
		b = b[Page:]
		dst = append(dst, Hash{})
		switch {
		case *page == zeroPage:
		case first == nil:
			first, at = page, len(dst)-1
		default:
			dst[at], dst[len(dst)-1] = pagehash.Two(first, page)
			first = nil
		}
	}
	if first != nil {
		dst[at] = pagehash.One(first[:])
	}
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
