package replication

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// TestPagesAgreeWithSet adds to Pages and to a Set, over several chunks, sparse and dense, and compares all that they answer.
func TestPagesAgreeWithSet(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		size := (2*chunkPages+r.Int64N(chunkPages))*Page + r.Int64N(2)*(1+r.Int64N(Page-1))
		all := (size + Page - 1) / Page
		p, want := NewPages(size), &Set{}
		longest := []int64{1, 3, 100, chunkList, 2 * chunkPages}[seed%5]
		around := r.Int64N(all) // half of them near each other, so that they meet
		for range 400 * (1 + seed%3*5) {
			at := r.Int64N(all)
			if r.IntN(2) == 0 {
				at = min(all-1, around+r.Int64N(2000))
			}
			e := Extent{at * Page, min(size, (at+1+r.Int64N(longest))*Page)}
			p.Add(e)
			want.Add(e)
		}
		samePages(t, seed, p, want)
		for range 200 {
			q := Extent{Off: r.Int64N(size)}
			q.End = min(size, q.Off+1+r.Int64N(8*Page))
			if r.IntN(3) == 0 {
				q.End = q.Off + 1 + r.Int64N(size-q.Off)
			}
			if got, w := p.Contains(q), want.Contains(q); got != w {
				t.Fatalf("seed %d: contains %v: got %v want %v", seed, q, got, w)
			}
			if got, w := p.Missing(nil, q), want.Missing(nil, q); !slices.Equal(got, w) {
				t.Fatalf("seed %d: missing of %v: got %v want %v", seed, q, got, w)
			}
		}
		c := p.Clone()
		o := NewPages(size, Extent{0, 5 * Page}, Extent{(all - 1) * Page, size}, Extent{7 * Page, 8 * Page})
		c.AddAll(o)
		samePages(t, seed, p, want)
		for e := range o.All() {
			want.Add(e)
		}
		samePages(t, seed, c, want)
		c.Add(Extent{End: size})
		samePages(t, seed, c, NewSet(Extent{End: size}))
	}
}

func samePages(t *testing.T, seed uint64, p *Pages, want *Set) {
	t.Helper()
	got := slices.Collect(p.All())
	if !slices.Equal(got, want.Extents()) {
		t.Fatalf("seed %d: got %d extents want %d", seed, len(got), len(want.Extents()))
	}
	if p.Bytes() != want.Bytes() || p.Extents() != len(got) || p.Digest() != want.Digest() {
		t.Fatalf("seed %d: got %d bytes in %d extents, digest %x; want %d in %d, %x", seed, p.Bytes(), p.Extents(), p.Digest(), want.Bytes(), len(got), want.Digest())
	}
	for range p.All() { // ends where it is told to
		break
	}
}

// TestPagesHoldNoMoreThanTheyWereTold: what is not a whole page is not in the set, but for the disk's last, which is short.
func TestPagesHoldNoMoreThanTheyWereTold(t *testing.T) {
	const size = 4*Page + 100
	p := NewPages(size, Extent{1, Page + 5}, Extent{2*Page - 1, 3*Page + 1}, Extent{4*Page + 1, size}, Extent{-Page, -1}, Extent{size, size + Page})
	if got, want := slices.Collect(p.All()), []Extent{{2 * Page, 3 * Page}}; !slices.Equal(got, want) {
		t.Errorf("got %v want %v", got, want)
	}
	p.Add(Extent{4 * Page, size + 3})
	if got, want := slices.Collect(p.All()), []Extent{{2 * Page, 3 * Page}, {4 * Page, size}}; !slices.Equal(got, want) || p.Bytes() != Page+100 {
		t.Errorf("got %v, %d bytes want %v", got, p.Bytes(), want)
	}
	if got := NewPages(0, Extent{0, 0}).Bytes(); got != 0 {
		t.Errorf("got %d bytes of a disk without any", got)
	}
}

// TestPagesAreSmall bounds the memory of what 16 bytes an extent would make large: scattered thinly over the largest disk, and every other page.
func TestPagesAreSmall(t *testing.T) {
	live := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, c := range []struct {
		name         string
		size, stride int64
		bound        float64 // bytes a page
	}{
		{"thin", 1 << 40, 256, 2.8},
		{"every other page", 8 << 30, 2, 0.3},
	} {
		before := live()
		p := NewPages(c.size)
		n := int64(0)
		for at := int64(0); at < p.pages(); at += c.stride {
			p.Add(Extent{at * Page, (at + 1) * Page})
			n++
		}
		if got := float64(live()-before) / float64(n); got > c.bound {
			t.Errorf("%s: got %.2f bytes a page of %d, want at most %.2f", c.name, got, n, c.bound)
		}
		runtime.KeepAlive(p)
	}
}

// TestTallyDigestIsFixed: both ends of another release compute it too.
func TestTallyDigestIsFixed(t *testing.T) {
	var tally Tally
	for _, e := range []Extent{{0, 4096}, {4096, 8192}, {}, {8000, 12288}, {65536, 69632}} {
		tally.Add(e)
	}
	var b []byte
	for _, v := range []uint64{0, 12288, 65536, 69632} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	if first, again, want := tally.Digest(), tally.Digest(), sha256.Sum256(b); first != want || again != want || tally.Bytes() != 12288+4096 {
		t.Errorf("got %x, %d bytes want %x", first, tally.Bytes(), want)
	}
	var none Tally
	if got, want := none.Digest(), sha256.Sum256(nil); got != want || none.Bytes() != 0 {
		t.Errorf("of nothing: got %x want %x", got, want)
	}
	defer func() {
		if recover() == nil {
			t.Error("an extent that does not rise was added")
		}
	}()
	tally = Tally{}
	tally.Add(Extent{4096, 8192})
	tally.Add(Extent{0, 4096})
}
