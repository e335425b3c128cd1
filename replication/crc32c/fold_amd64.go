package crc32c

import (
	"hash/crc32"

	"golang.org/x/sys/cpu"
)

// foldLeast is the length from which on folding is quicker; above any: it can't be done here.
var foldLeast = func() int {
	if x := cpu.X86; !x.HasSSE42 || !x.HasAVX512F || !x.HasAVX512DQ || !x.HasAVX512VPCLMULQDQ || !proven() {
		return never
	}
	return 512
}()

// proven says whether folding gives what package hash/crc32 does.
func proven() bool {
	p := make([]byte, 3<<10+255)
	for i := range p {
		p[i] = byte(i*i>>3) ^ byte(i)
	}
	return folded(0x12345678, p) == crc32.Update(0x12345678, table, p)
}

// folded is Update. p has 256 bytes or more.
func folded(crc uint32, p []byte) uint32 {
	n := len(p) &^ 255
	return crc32.Update(^fold(^crc, &p[0], uint64(n)), table, p[n:])
}

// fold returns the state after n bytes from p on, of the state before them: the complements of sums. n is a multiple of 256, above 0.
//
//go:noescape
func fold(state uint32, p *byte, n uint64) uint32
