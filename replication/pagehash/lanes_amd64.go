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
var pairs = cpu.X86.HasAVX && cpu.X86.HasSSSE3 && hasSHA() && proven(2, func(dst []*Sum, p []*[Page]byte) { *dst[0], *dst[1] = two(p[0], p[1]) })

// sixteenLeast is from how many pages on sixteen at a time are quicker: fewer take as long as all. Above Most: it can't be done here.
var sixteenLeast = func() int {
	switch {
	case !cpu.X86.HasAVX512F || !cpu.X86.HasAVX512BW || !proven(Most, sixteen) || !proven(3, sixteen):
		return Most + 1
	case pairs:
		return 9
	}
	return 3
}()

// proven says whether so many pages have the sums that crypto/sha256 gives.
func proven(n int, sums func([]*Sum, []*[Page]byte)) bool {
	var dst []*Sum
	var pages []*[Page]byte
	for i := range n {
		p := new([Page]byte)
		for j := range p {
			p[j] = byte(j>>(i%5)) ^ byte(i*0x5a)
		}
		dst, pages = append(dst, new(Sum)), append(pages, p)
	}
	sums(dst, pages)
	for i := range pages {
		if *dst[i] != One(pages[i][:]) {
			return false
		}
	}
	return true
}

// states is the eight words of SHA-256, a to h, of sixteen messages each.
type states [8][16]uint32

// sixteenInitial is what FIPS 180-4 begins with.
var sixteenInitial = func() (s states) {
	for i, w := range []uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {
		for lane := range s[i] {
			s[i][lane] = w
		}
	}
	return s
}()

// sixteen puts the sums of up to sixteen pages where dst says.
func sixteen(dst []*Sum, pages []*[Page]byte) {
	s := sixteenInitial
	var p, end [16]*byte
	for lane := range p {
		p[lane], end[lane] = &pages[min(lane, len(pages)-1)][0], &ending[0]
	}
	sixteenBlocks(&s, &p, Page/64)
	sixteenBlocks(&s, &end, 1)
	for lane := range pages {
		for i := range 4 {
			binary.BigEndian.PutUint32(dst[lane][4*i:], s[i][lane])
		}
	}
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

// sixteenBlocks takes n blocks of 64 bytes, from each address of p on, into the message of the same lane of s. n is above 0.
//
//go:noescape
func sixteenBlocks(s *states, p *[16]*byte, n uint64)
