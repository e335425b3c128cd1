package mastertarget

import (
	"errors"
	"testing"

	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
	"failback/retention"
)

// unsynced is a target whose sync fails once.
type unsynced struct {
	blockio.Target
	failed bool
}

var errSync = errors.New("the sync failed")

func (u *unsynced) Size() int64             { return 1 << 20 }
func (u *unsynced) Zero(int64, int64) error { return nil }
func (u *unsynced) Description() blockio.Description {
	return blockio.Description{}
}

func (u *unsynced) Sync() error {
	if u.failed {
		return nil
	}
	u.failed = true
	return errSync
}

func TestNoLaneIsToldDurableWhatTheSyncOfAnotherLost(t *testing.T) {
	dir := t.TempDir()
	j, err := retention.Create(dir+"/g", retention.Identity{Group: "g", Disks: []replication.Disk{{ID: "a/one", Size: 1 << 20}}, Targets: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	c := newThroughCycle(j, []blockio.Target{&unsynced{}}, nil)
	if err := c.write(&block.Block{Kind: block.Zero, Extents: []replication.Extent{{Off: 0, End: 4096}}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.sync(); !errors.Is(err, errSync) { // one lane
		t.Fatalf("got %v", err)
	}
	if err := c.sync(); !errors.Is(err, errSync) { // another, which had written before
		t.Errorf("got %v", err)
	}
}

// zeroed is a target that takes zeros and holds nothing.
type zeroed struct {
	blockio.Target
	size int64
}

func (z zeroed) Size() int64             { return z.size }
func (z zeroed) Zero(int64, int64) error { return nil }
func (z zeroed) Sync() error             { return nil }
func (z zeroed) Description() blockio.Description {
	return blockio.Description{}
}

// TestWhatIsWrittenThroughIsNotedThoughItHasNoBytes: zeros and what was equal count too, or the set of what is to be noted grows with them.
func TestWhatIsWrittenThroughIsNotedThoughItHasNoBytes(t *testing.T) {
	const pages = 2*throughSyncExtents + 2*block.MaxRanges
	const size = pages * replication.Page
	j, err := retention.Create(t.TempDir()+"/g", retention.Identity{Group: "g", Disks: []replication.Disk{{ID: "a/one", Size: size}}, Targets: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Begin(replication.Cycle{Point: 1, Route: replication.Through, Mode: replication.Compare, Cut: replication.Cut{Sizes: []int64{size}}}); err != nil {
		t.Fatal(err)
	}
	c := newThroughCycle(j, []blockio.Target{zeroed{size: size}}, nil)
	for page := int64(0); page < pages; {
		b := block.Block{Kind: block.Zero}
		for range block.MaxRanges {
			b.Extents = append(b.Extents, replication.Extent{Off: page * replication.Page, End: (page + 1) * replication.Page})
			page += 2
		}
		if err := c.write(&b, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := j.Durable(0), int64(throughSyncExtents*replication.Page); got != want {
		t.Errorf("got %d bytes noted want %d", got, want)
	}
	if err := c.sync(); err != nil {
		t.Fatal(err)
	}
	if got, want := j.Durable(0), int64(size/2); got != want {
		t.Errorf("got %d bytes noted want %d", got, want)
	}
}

// midst is zeroed, and calls something in the midst of a sync.
type midst struct {
	zeroed
	sync func()
}

func (m midst) Sync() error { m.sync(); return nil }

// TestWhatIsWrittenDuringASyncIsNotNotedByIt: it may not be part of what that made durable.
func TestWhatIsWrittenDuringASyncIsNotNotedByIt(t *testing.T) {
	const size = 1 << 20
	j, err := retention.Create(t.TempDir()+"/g", retention.Identity{Group: "g", Disks: []replication.Disk{{ID: "a/one", Size: size}}, Targets: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Begin(replication.Cycle{Point: 1, Route: replication.Through, Mode: replication.Compare, Cut: replication.Cut{Sizes: []int64{size}}}); err != nil {
		t.Fatal(err)
	}
	var c *throughCycle
	zero := func(off int64) {
		if err := c.write(&block.Block{Kind: block.Zero, Extents: []replication.Extent{{Off: off, End: off + 4096}}}, nil); err != nil {
			t.Error(err)
		}
	}
	syncs := 0
	c = newThroughCycle(j, []blockio.Target{midst{zeroed{size: size}, func() {
		if syncs++; syncs == 1 {
			zero(8192)
		}
	}}}, nil)
	zero(0)
	for want := int64(4096); want <= 8192; want += 4096 {
		if err := c.sync(); err != nil {
			t.Fatal(err)
		}
		if got := j.Durable(0); got != want {
			t.Errorf("after %d syncs %d bytes are noted, want %d", syncs, got, want)
		}
	}
}
