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
	c := newThroughCycle(j, []blockio.Target{&unsynced{}})
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
