package crc32c

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

// TestSumsAreThoseOfHashCRC32 at every length and alignment that folding cuts differently, and from any sum on.
func TestSumsAreThoseOfHashCRC32(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 70<<10)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	check := func(crc uint32, p []byte) {
		t.Helper()
		if got, want := Update(crc, p), crc32.Update(crc, table, p); got != want {
			t.Fatalf("%d bytes after %08x: %08x, want %08x", len(p), crc, got, want)
		}
	}
	for n := range 2200 {
		check(0, b[:n])
		check(r.Uint32(), b[n%67:n%67+n])
	}
	for range 2000 {
		off := r.IntN(len(b))
		check(r.Uint32(), b[off:off+r.IntN(len(b)-off+1)])
	}
	for _, p := range [][]byte{make([]byte, 64<<10), b[:64<<10]} {
		if got, want := Checksum(p), crc32.Checksum(p, table); got != want {
			t.Fatalf("Checksum: %08x, want %08x", got, want)
		}
	}
	// RFC 3720, B.4: 32 bytes of zeros.
	if got := Checksum(make([]byte, 32)); got != 0x8a9136aa {
		t.Fatalf("32 zeros: %08x", got)
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{4 << 10, 64 << 10, 256 << 10} {
		p := make([]byte, n)
		for way, sum := range map[string]func([]byte) uint32{"crc32c": Checksum, "std": func(p []byte) uint32 { return crc32.Checksum(p, table) }} {
			b.Run(fmt.Sprintf("%s/%dK", way, n>>10), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					sum(p)
				}
			})
		}
	}
}
