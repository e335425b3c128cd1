package crc32c

import (
	"hash/crc32"

	"golang.org/x/sys/cpu"
)

// foldLeast is the length from which on folding is quicker; above any: it can't be done here.
var foldLeast = func() int {
	if x := cpu.X86; !x.HasAVX512F || !x.HasAVX512DQ || !x.HasAVX512VPCLMULQDQ || !proven() {
		return never
	}
	return 1 << 10
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
	var rest [64]byte // as many bytes as have the sum of the first n
	fold(^crc, &p[0], uint64(n), &rest)
	return crc32.Update(crc32.Update(^uint32(0), table, rest[:]), table, p[n:])
}

// fold makes of n bytes from p on, and the state before them, 64 bytes that have the same state after them when it was 0 before. n is a multiple of 256, above 0.
//
//go:noescape
func fold(state uint32, p *byte, n uint64, out *[64]byte)
