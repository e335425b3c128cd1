package mastertarget

import (
	"path/filepath"
	"testing"

	"failback/replication"
	"failback/retention"
)

// TestPromisedPointIsMade: a cycle was given up, to be begun anew, and the master target killed in between. The point, whose number an operator was told, is made without waiting for the next one that is due.
func TestPromisedPointIsMade(t *testing.T) {
	p := newPairWith(t, 8, Config{})
	if _, _, err := p.master.Reprotect(t.Context(), p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	self := p.master.self.ID
	p.close()
	j, err := retention.OpenAs(filepath.Join(p.dir, "ret", "g"), "g", self)
	if err != nil {
		t.Fatal(err)
	}
	last, _ := j.Last()
	c := replication.Cycle{Point: j.NextPoint(), Base: last.ID, BaseChain: last.Chain, Route: replication.Journaled, Mode: replication.Changes, Kind: replication.Crash, Cut: replication.Cut{Snapshot: "gone"}}
	for _, d := range j.Identity().Disks {
		c.Cut.Sizes = append(c.Cut.Sizes, d.Size)
	}
	if err := j.Begin(c); err != nil {
		t.Fatal(err)
	}
	if err := j.Drop("the test gives it up"); err != nil {
		t.Fatal(err)
	}
	if !j.Owes() {
		t.Error("nothing is owed")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	p.open()
	p.listed(2)
	p.close()
}
