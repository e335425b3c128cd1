package pagehash

import (
	"math/rand/v2"
	"testing"
)

// TestAllIsSHA256 holds every way to hash any number of pages against crypto/sha256, at every alignment.
func TestAllIsSHA256(t *testing.T) {
	ways := map[string]func([]*Sum, []*[Page]byte){"all": All}
	if pairs {
		ways["two"] = func(dst []*Sum, pages []*[Page]byte) {
			for i := range pages {
				*dst[i], _ = two(pages[i], pages[(i+1)%len(pages)])
			}
		}
	}
	if sixteenLeast <= Most {
		ways["sixteen"] = sixteen
	}
	fill := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, Most*(Page+64))
	for i := range 320 {
		fill.Read(buf)
		if i%5 == 0 {
			clear(buf[:Page/2])
		}
		var pages []*[Page]byte
		for n := range 1 + i%Most {
			pages = append(pages, (*[Page]byte)(buf[n*(Page+64)+(i+7*n)%64:]))
		}
		for name, way := range ways {
			sums, dst := make([]Sum, len(pages)), []*Sum(nil)
			for n := range sums {
				dst = append(dst, &sums[n])
			}
			way(dst, pages)
			for n := range sums {
				if sums[n] != One(pages[n][:]) {
					t.Fatalf("%s: page %d of %d differs from crypto/sha256", name, n, len(pages))
				}
			}
		}
	}
}

// BenchmarkAll hashes so many pages at a time, in every way there is.
func BenchmarkAll(b *testing.B) {
	buf := make([]byte, Most*Page)
	rand.NewChaCha8([32]byte{1}).Read(buf)
	var pages []*[Page]byte
	var dst []*Sum
	for off := 0; off < len(buf); off += Page {
		pages, dst = append(pages, (*[Page]byte)(buf[off:])), append(dst, new(Sum))
	}
	run := func(name string, n int, way func([]*Sum, []*[Page]byte)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(n * Page))
			for b.Loop() {
				way(dst[:n], pages[:n])
			}
		})
	}
	run("one", 1, func(dst []*Sum, pages []*[Page]byte) { *dst[0] = One(pages[0][:]) })
	if pairs {
		run("two", 2, func(dst []*Sum, pages []*[Page]byte) { *dst[0], *dst[1] = two(pages[0], pages[1]) })
	}
	if sixteenLeast <= Most {
		run("sixteen", Most, sixteen)
		run("eleven", 11, sixteen)
	}
}
