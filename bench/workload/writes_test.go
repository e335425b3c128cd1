package workload

import (
	"slices"
	"testing"

	"failback/replication"
)

func TestWritesStayOnTheDiskAndRepeat(t *testing.T) {
	const size = 8 << 20
	for _, pattern := range Patterns {
		a, errA := NewWrites(pattern, size, 7)
		b, errB := NewWrites(pattern, size, 7)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		discards, hot := 0, 0
		for range 2000 {
			x, discard := a.Next()
			if y, again := b.Next(); x != y || discard != again {
				t.Fatalf("%s: the same seed drew %v and %v", pattern, x, y)
			}
			if x.Off < 0 || x.End > size || x.Len() <= 0 || x.Off%replication.Page != 0 || x.Len()%replication.Page != 0 {
				t.Fatalf("%s: %v of a disk of %d", pattern, x, size)
			}
			if discard {
				discards++
			}
			if x.Off >= size/2 && x.Off < size/2+size/16 {
				hot++
			}
		}
		if (discards > 0) != (pattern == Discard) {
			t.Errorf("%s: %d discards", pattern, discards)
		}
		if (hot > 1500) != (pattern == Hot) {
			t.Errorf("%s: %d of 2000 are in the hot set", pattern, hot)
		}
	}
	if _, err := NewWrites("cold", size, 1); err == nil {
		t.Error("a pattern that there is not was taken")
	}
}

func TestPagesAreWhatWasAdded(t *testing.T) {
	const page = replication.Page
	p, q := NewPages(1<<20), NewPages(1<<20)
	for i, c := range []struct{ from, to, new int64 }{{2, 4, 2}, {3, 5, 1}, {60, 70, 10}, {5, 6, 1}, {255, 256, 1}} {
		if got := p.Add(replication.Extent{Off: c.from * page, End: c.to * page}); got != c.new*page {
			t.Errorf("%d: %d new bytes, want %d pages", i, got, c.new)
		}
	}
	q.Add(replication.Extent{Off: 6 * page, End: 7 * page})
	p.Join(q)
	want := []replication.Extent{{Off: 2 * page, End: 7 * page}, {Off: 60 * page, End: 70 * page}, {Off: 255 * page, End: 256 * page}}
	if got := p.Extents(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
