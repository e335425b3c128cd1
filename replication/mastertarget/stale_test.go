package mastertarget

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"failback/replication"
	"failback/retention"
	"failback/retention/policy"
)

// heldAtOne makes a pair whose disks are held at point 1, with three points 3, 4 and 5 of the same bytes: when one of the earlier two goes, its files are dead.
func heldAtOne(t *testing.T) (*pair, *group) {
	p := newPair(t, 21)
	p.drops = true
	p.plan = append(p.plan, "retention: {soft: 60MiB, hard: 64MiB, reserve: 64KiB}\n"...)
	p.begin()
	if _, err := p.master.Move(t.Context(), "g", replication.MoveRequest{To: 1}, func(replication.MoveStatus) {}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for i, b := range p.live {
			for k := range b[:300<<10] {
				b[k] = byte(p.r.Uint32())
			}
			p.write(i)
		}
		id, err := p.master.Cut(t.Context(), "g", false)
		if err != nil {
			t.Fatal(err)
		}
		p.keep(id)
		p.listed(id)
	}
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	settleUpkeep(t, g)
	return p, g
}

// dead returns the files that no point needs.
func dead(t *testing.T, g *group) (files []string) {
	t.Helper()
	use, err := g.journal.Use(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range use.Files {
		if f.Dead == f.Size {
			files = append(files, f.Name)
		}
	}
	return files
}

// TestFilesThatGoMeanwhile has files rewritten, as a move that makes room does, after others have looked which there are: these look again, and nobody is alarmed.
func TestFilesThatGoMeanwhile(t *testing.T) {
	p, g := heldAtOne(t)
	ctx := t.Context()
	k := g.upkeep
	k.mu.Lock() // the group's own upkeep waits, with what it knows
	if err := g.journal.DropPoints([]replication.PointID{2, 3}, "a test"); err != nil {
		t.Fatal(err)
	}
	k.seen = 0
	if err := k.look(ctx, g.policyPoints(nil), time.Now()); err != nil {
		t.Fatal(err)
	}
	gone := dead(t, g)
	if len(gone) < 2 {
		t.Fatalf("dead are %v", gone)
	}
	for _, name := range gone {
		if _, err := g.journal.Rewrite(ctx, []string{name}, retention.RewriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range gone {
		if err := k.do(ctx, policy.Action{Do: policy.Rewrite, File: name}); err != nil {
			t.Errorf("upkeep, asked to rewrite what has gone: %v", err)
		}
	}
	if k.seen != 0 {
		t.Error("upkeep does not look again")
	}
	k.mu.Unlock()
	settleUpkeep(t, g)

	x := room{files: []retention.FileUse{{Name: gone[0], Size: 1 << 20, Dead: 1 << 20}}}
	if err := g.giveWay(ctx, &x); !changedMeanwhile(err) {
		t.Errorf("a move that makes room by what has gone: %v", err)
	}
	x = room{files: []retention.FileUse{{Name: "seg/none"}}, plan: replication.MovePlan{GiveUp: []replication.PointID{2}}}
	if err := g.giveWay(ctx, &x); !changedMeanwhile(err) {
		t.Errorf("a move that gives up a point that has gone: %v", err)
	}
	p.contents("at the end")
	p.close()
}

// TestHistoryIsNotGivenUpForWhatIsDead has a journal beyond its limit that was looked at before a point went, whose files are dead since: they go, and no other point does.
func TestHistoryIsNotGivenUpForWhatIsDead(t *testing.T) {
	p, g := heldAtOne(t)
	ctx := t.Context()
	k := g.upkeep
	k.mu.Lock()
	defer func() { p.close() }()
	defer k.mu.Unlock()
	k.seen = 0
	if err := k.look(ctx, g.policyPoints(nil), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := g.journal.DropPoints([]replication.PointID{3}, "a test"); err != nil {
		t.Fatal(err)
	}
	if len(dead(t, g)) == 0 {
		t.Fatal("point 3 went, and nothing is dead")
	}
	f, err := os.Create(filepath.Join(g.engine.journalDir(g.id), "big")) // takes no space, and counts
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	used, err := directorySize(g.engine.journalDir(g.id))
	if err == nil {
		err = f.Truncate(65<<20 - used) // over the limit, and not by so much that replication is held back first
	}
	if err != nil {
		t.Fatal(err)
	}
	for steps := 0; len(dead(t, g)) > 0; steps++ {
		if steps == 50 {
			t.Fatalf("%v are still there", dead(t, g))
		}
		if _, err := k.onceLocked(ctx); err != nil {
			t.Fatal(err)
		}
		if left := len(g.journal.Points()); left != 4 {
			t.Fatalf("%d points are left of 4, as what is dead was not known", left)
		}
	}
}
