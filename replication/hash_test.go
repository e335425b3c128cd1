package replication_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"failback/replication"
)

// TestHashPagesIsHashPage: pages are hashed two at a time, whichever of them are zero, and whatever the last one's length.
func TestHashPagesIsHashPage(t *testing.T) {
	fill, rng := rand.NewChaCha8([32]byte{1}), rand.New(rand.NewPCG(1, 2))
	for range 500 {
		b := make([]byte, rng.IntN(18*replication.Page))
		var want []replication.Hash
		for off := 0; off < len(b); off += replication.Page {
			page := b[off:min(off+replication.Page, len(b))]
			if rng.IntN(3) > 0 {
				fill.Read(page)
			}
			want = append(want, replication.HashPage(page))
		}
		if got := replication.HashPages(nil, b); !slices.Equal(got, want) {
			t.Fatalf("%d bytes: got %x, want %x", len(b), got, want)
		}
	}
}
