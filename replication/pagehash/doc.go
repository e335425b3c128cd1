// Package pagehash computes SHA-256 of several pages at a time.
//
// The processor's instructions for SHA-256 each wait for the one before: a single message leaves half of the unit idle. Two messages, whose rounds take turns, take little longer than one. Where registers have
// 512 bits, sixteen messages are hashed without these instructions, one in each lane of 32: quicker still, and several times as quick on processors that lack them. Sums are SHA-256 as FIPS 180-4 has it, cut to
// 16 bytes, so that nothing depends on which way they were made; each way is held against crypto/sha256 by tests, and once at start.
package pagehash

import "crypto/sha256"

// Page is the length of a page in bytes.
const Page = 4096

// Most is how many pages are worth giving at a time.
const Most = 16

// Sum is the first 16 bytes of a page's SHA-256.
type Sum = [16]byte

// One returns the sum of b, which may have any length.
func One(b []byte) Sum {
	sum := sha256.Sum256(b)
	return Sum(sum[:16])
}

// All puts the sums of up to Most pages where dst says.
func All(dst []*Sum, pages []*[Page]byte) {
	dst = dst[:len(pages)]
	if len(pages) >= sixteenLeast {
		sixteen(dst, pages)
		return
	}
	for ; pairs && len(pages) > 1; dst, pages = dst[2:], pages[2:] {
		*dst[0], *dst[1] = two(pages[0], pages[1])
	}
	for i := range pages {
		*dst[i] = One(pages[i][:])
	}
}
