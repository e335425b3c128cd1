// Package pagehash computes SHA-256 of two pages at a time.
//
// The processor's instructions for SHA-256 each wait for the one before: a single message leaves half of the unit idle. Two messages, whose rounds take turns, take little longer than one. Sums are
// SHA-256 as FIPS 180-4 has it, cut to 16 bytes, so that nothing depends on which way they were made; Two is held against crypto/sha256 by tests, and once at start.
package pagehash

import "crypto/sha256"

// Page is the length of a page in bytes.
const Page = 4096

// Sum is the first 16 bytes of a page's SHA-256.
type Sum = [16]byte

// One returns the sum of b, which may have any length.
func One(b []byte) Sum {
	sum := sha256.Sum256(b)
	return Sum(sum[:16])
}

// Two returns the sums of two pages.
func Two(a, b *[Page]byte) (Sum, Sum) {
	if !pairs {
		return One(a[:]), One(b[:])
	}
	return two(a, b)
}
