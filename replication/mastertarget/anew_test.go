package mastertarget

import (
	"context"
	"testing"

	"failback/replication/link"
)

// TestProtectedAnewIsNotTheOldPoint protects a group again whose process server never heard that the first protection had ended: its points have the same
// numbers, and must not be taken for the new ones.
func TestProtectedAnewIsNotTheOldPoint(t *testing.T) {
	p := newPair(t, 3)
	defer p.close()
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.bye()
	if _, _, err := p.master.Unprotect(ctx, "g", false, false); err != nil {
		t.Fatal(err)
	}
	if err := p.master.cat.remove(bucketFarewells, farewellKey("g", "ps")); err != nil {
		t.Fatal(err)
	}
	p.change()
	p.change()
	p.connect()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	p.contents("protected anew")
}

// TestBaseOfAnotherCutIsCompared has the source hold another cut of the base's number than the one that was listed, as a restored backup of its state would.
func TestBaseOfAnotherCutIsCompared(t *testing.T) {
	p := newPair(t, 4)
	defer p.close()
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	p.change()
	cut, err := p.worker.Cut(ctx, g.spec(0, len(g.targets)), 2, baseOf(g, "of another life"))
	if err != nil {
		t.Fatal(err)
	}
	if cut.Tracked || cut.UntrackedWhy == "" {
		t.Errorf("changes since another cut of point 1 are tracked: %+v", cut)
	}
	if cut, err = p.worker.Cut(ctx, g.spec(0, len(g.targets)), 2, baseOf(g, "")); err != nil || !cut.Tracked {
		t.Errorf("changes since point 1 are not tracked: %+v, error %v", cut, err)
	}
}

// baseOf is the group's last point as a base, by another snapshot's name if one is given.
func baseOf(g *group, snapshot string) link.Base {
	last, _ := g.journal.Last()
	if snapshot == "" {
		snapshot = last.Snapshot
	}
	return link.Base{Point: last.ID, Snapshot: snapshot}
}
