package pagehash

import (
	"encoding/binary"

	"golang.org/x/sys/cpu"
)

// state is the eight words of SHA-256 as the processor's instructions want them: F E B A, H G D C.
type state [8]uint32

// initial is what FIPS 180-4 begins with.
var initial = state{0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667, 0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372}

// ending is the block that follows a page: a bit, zeros, and the page's length in bits.
var ending = func() (b [64]byte) {
	b[0] = 0x80
	binary.BigEndian.PutUint64(b[56:], Page*8)
	return b
}()

// pairs says whether two can be computed at a time here.
var pairs = cpu.X86.HasAVX && cpu.X86.HasSSSE3 && hasSHA() && proven()

// proven says whether two pages have the sums that crypto/sha256 gives.
func proven() bool {
	var a, b [Page]byte
	for i := range a {
		a[i], b[i] = byte(i), byte(i>>3)^0x5a
	}
	x, y := two(&a, &b)
	return x == One(a[:]) && y == One(b[:])
}

func two(a, b *[Page]byte) (Sum, Sum) {
	x, y := initial, initial
	blocks(&x, &y, &a[0], &b[0], Page/64)
	blocks(&x, &y, &ending[0], &ending[0], 1)
	return x.sum(), y.sum()
}

func (s *state) sum() (out Sum) {
	binary.BigEndian.PutUint32(out[0:], s[3])
	binary.BigEndian.PutUint32(out[4:], s[2])
	binary.BigEndian.PutUint32(out[8:], s[7])
	binary.BigEndian.PutUint32(out[12:], s[6])
	return out
}

// hasSHA says whether the processor has instructions for SHA-256.
func hasSHA() bool

// blocks takes n blocks of 64 bytes from p into a, and as many from q into b. n is above 0.
//
//go:noescape
func blocks(a, b *state, p, q *byte, n uint64)
