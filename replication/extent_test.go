package replication

import (
	"math/rand/v2"
	"testing"
)

// TestSetAgreesWithBytes compares a Set with a plain array of booleans under random additions.
func TestSetAgreesWithBytes(t *testing.T) {
	const n = 64
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var s Set
		var want [n]bool
		for range 12 {
			o := r.Int64N(n)
			e := Extent{o, min(n, o+r.Int64N(9))}
			s.Add(e)
			for x := e.Off; x < e.End; x++ {
				want[x] = true
			}
		}
		var got [n]bool
		last := int64(-1)
		for _, e := range s.Extents() {
			if e.Empty() || e.Off <= last {
				t.Fatalf("seed %d: extents %v touch or are empty", seed, s.Extents())
			}
			last = e.End
			for x := e.Off; x < e.End; x++ {
				got[x] = true
			}
		}
		if got != want {
			t.Fatalf("seed %d: got %v want %v", seed, got, want)
		}
		o := r.Int64N(n)
		q := Extent{o, min(n, o+1+r.Int64N(20))}
		var miss [n]bool
		all := true
		for _, e := range s.Missing(nil, q) {
			for x := e.Off; x < e.End; x++ {
				miss[x] = true
			}
		}
		for x := q.Off; x < q.End; x++ {
			all = all && want[x]
			if miss[x] == want[x] {
				t.Fatalf("seed %d: missing of %v wrong at %d", seed, q, x)
			}
		}
		if s.Contains(q) != all {
			t.Fatalf("seed %d: contains %v got %v want %v", seed, q, !all, all)
		}
	}
}

func TestExtentOutwardStopsAtTheDisksEnd(t *testing.T) {
	if got, want := (Extent{5000, 5001}).Outward(6000), (Extent{4096, 6000}); got != want {
		t.Errorf("got %v want %v", got, want)
	}
}
