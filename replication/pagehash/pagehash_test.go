package pagehash

import (
	"math/rand/v2"
	"testing"
)

// TestTwoIsSHA256 holds pairs of pages against crypto/sha256, at every alignment.
func TestTwoIsSHA256(t *testing.T) {
	fill := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, 2*(Page+64))
	for i := range 3000 {
		fill.Read(buf)
		if i%5 == 0 {
			clear(buf[:Page/2])
		}
		a, b := (*[Page]byte)(buf[i%64:]), (*[Page]byte)(buf[Page+64+i/64%64:])
		x, y := Two(a, b)
		if x != One(a[:]) || y != One(b[:]) {
			t.Fatalf("pair %d differs from crypto/sha256", i)
		}
	}
}

func BenchmarkTwo(b *testing.B) {
	buf := make([]byte, 64<<10)
	rand.NewChaCha8([32]byte{1}).Read(buf)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		for off := 0; off < len(buf); off += 2 * Page {
			Two((*[Page]byte)(buf[off:]), (*[Page]byte)(buf[off+Page:]))
		}
	}
}

// BenchmarkOne is what Two is held against: the same pages, one after the other.
func BenchmarkOne(b *testing.B) {
	buf := make([]byte, 64<<10)
	rand.NewChaCha8([32]byte{1}).Read(buf)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		for off := 0; off < len(buf); off += Page {
			One(buf[off : off+Page])
		}
	}
}
