package processserver

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"failback/replication"
)

func hashes(r *rand.Rand, n int) []replication.Hash {
	h := make([]replication.Hash, n)
	for i := range h {
		binary.LittleEndian.PutUint64(h[i][:], r.Uint64())
		binary.LittleEndian.PutUint64(h[i][8:], r.Uint64())
	}
	return h
}

// TestContentsAreBounded remembers more than there is room for: memory stays, what is told was put, and of what may be remembered most is.
func TestContentsAreBounded(t *testing.T) {
	const limit = 1 << 20 // 64 Ki slots
	c := newContents(limit)
	r := rand.New(rand.NewPCG(1, 1))
	hs := hashes(r, 500_000)
	one := salt("one")
	c.hold("one", int64(len(hs)))
	for i, h := range hs {
		c.put(one, h, placeOf(3, int64(i)*replication.Page))
	}
	if got := len(c.slots) * slotBytes; got != limit {
		t.Errorf("%d bytes, want %d", got, limit)
	}
	kept, found := 0, 0
	for i, h := range hs {
		p, ok, may := c.find(one, h)
		if may {
			kept++
		}
		if ok {
			found++
			if p.disk() != 3 || p.off() != int64(i)*replication.Page {
				t.Fatalf("page %d is told at %d of disk %d", i, p.off(), p.disk())
			}
		}
		if _, ok, _ := c.find(salt("two"), h); ok {
			t.Fatal("one group is told of another's content")
		}
	}
	if kept < len(hs)/9 || kept > len(hs)/7 || found < kept*3/4 {
		t.Errorf("of %d pages %d may be remembered, and %d are", len(hs), kept, found)
	}
}

// TestContentsGrowWithTheGroups begins small, and forgets little when it grows.
func TestContentsGrowWithTheGroups(t *testing.T) {
	c := newContents(DefaultRepeats)
	r := rand.New(rand.NewPCG(2, 1))
	hs := hashes(r, 10_000)
	c.hold("one", int64(len(hs)))
	if len(c.slots) != leastSlot {
		t.Errorf("%d slots for %d pages", len(c.slots), len(hs))
	}
	for i, h := range hs {
		c.put(salt("one"), h, placeOf(0, int64(i)*replication.Page))
	}
	c.hold("two", 1<<20)
	if len(c.slots) != 1<<21 {
		t.Errorf("%d slots", len(c.slots))
	}
	found := 0
	for _, h := range hs {
		if _, ok, _ := c.find(salt("one"), h); ok {
			found++
		}
	}
	if found < len(hs)*9/10 {
		t.Errorf("%d of %d are found after it grew", found, len(hs))
	}
	if _, found, kept := c.find(salt("one"), replication.Hash{}); found || kept {
		t.Error("zeros are remembered")
	}
	if newContents(1000) != nil {
		t.Error("contents of no size")
	}
}
