package mastertarget

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

// TestMovesReckonTheirSpace discards all that the disks hold: a few bytes in the journal, and as much to save as the disks are large. The disks don't follow at that price; an operator is told
// what it takes, which pins forbid it, and gives points up if he says so. Until then nothing has changed.
func TestMovesReckonTheirSpace(t *testing.T) {
	p := newPairWith(t, 9, Config{quiet: time.Millisecond})
	ctx := context.Background()
	none := func(replication.MoveStatus) {}
	p.plan = append(p.plan, "retention: {soft: 11MiB, hard: 12MiB, reserve: 64KiB}\n"...)
	noise := func(off, n int) {
		for i, b := range p.live {
			for k := range b[min(off, len(b)):min(off+n, len(b))] {
				b[off+k] = byte(1 + p.r.Uint32()%255)
			}
			p.write(i)
		}
	}
	noise(0, 4<<20)
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, none); err != nil { // held: all is first touch later
		t.Fatal(err)
	}
	cut := func() (id replication.PointID) {
		t.Helper()
		if id, err = p.master.Cut(ctx, "g", false); err != nil {
			t.Fatal(err)
		}
		p.keep(id)
		p.listed(id)
		return id
	}
	for range 3 { // the same part again and again: each point is worth what it stored
		noise(0, 600<<10)
		cut()
	}
	for i := range p.live {
		clear(p.live[i])
		p.write(i)
	}
	last := cut()
	advance := replication.MoveRequest{Advance: true}
	unchanged := func(what string) {
		t.Helper()
		if head, points := g.journal.Head(), g.journal.Points(); head != 1 || len(points) != 5 || g.journal.Unfinished() != nil || !g.held() {
			t.Fatalf("%s: head %d, %d points, held %v", what, head, len(points), g.held())
		}
	}
	refused := func(what, code string, words ...string) {
		t.Helper()
		_, err := p.master.Move(ctx, "g", advance, none)
		if problemCode(err) != code {
			t.Fatalf("%s: got %v, want a problem of code %s", what, err, code)
		}
		problem := replication.AsProblem(err)
		for _, w := range words {
			if !strings.Contains(problem.Message+"; "+problem.Remedy, w) {
				t.Errorf("%s: %q is not in %+v", what, w, problem)
			}
		}
		unchanged(what)
	}
	plan, err := p.master.PlanMove(ctx, "g", advance)
	all := p.sizes[0] + p.sizes[1] + p.sizes[2]
	if err != nil || plan.From != 1 || plan.To != last || plan.Write != all || plan.Save != all || !plan.Fits || len(plan.GiveUp) == 0 || plan.GiveUp[0] != 2 || plan.Takes <= 0 {
		t.Fatalf("plan of the move: %+v, %v", plan, err)
	}
	unchanged("planned")
	refused("history", replication.CodeMoveGivesUp, "dropping points 2, 3", "`failback advance g 5 --give-up-history`", "nothing was changed", "hard limit of 12MiB")
	advance.GiveUp = plan.GiveUp[:1]
	refused("too little allowed", replication.CodeMoveGivesUp)
	for _, id := range []replication.PointID{2, 3, 4} {
		if _, err := p.master.Pin(ctx, "g", replication.Pin{Point: id, Note: "audit"}); err != nil {
			t.Fatal(err)
		}
	}
	advance.GiveUpAny = true
	refused("pinned", replication.CodeMoveSpace, "pinned points 2, 3, 4 would give", "`failback unpin g 2` (pinned: audit)")
	for _, id := range []replication.PointID{2, 3, 4} {
		if _, err := p.master.Unpin(ctx, "g", id); err != nil {
			t.Fatal(err)
		}
	}
	leave := g.occupy(2, "being read")
	plan, err = p.master.PlanMove(ctx, "g", advance)
	if err != nil || !slices.Equal(plan.InUse, []replication.PointID{2}) && plan.Fits && slices.Contains(plan.GiveUp, 2) {
		t.Errorf("with a reader of point 2: %+v, %v", plan, err)
	}
	leave()

	// The disks follow by themselves only where it costs no more than a quarter of the journal.
	advance.GiveUpAny, advance.GiveUp = false, nil
	if err := g.hold(false, nil); err != nil {
		t.Fatal(err)
	}
	p.master.changed()
	waits := func() bool {
		return slices.ContainsFunc(g.status().Notices, func(n string) bool {
			return strings.Contains(n, "the disks wait at point 1") && strings.Contains(n, "--give-up-history") && strings.Contains(n, "costs history")
		})
	}
	for end := time.Now().Add(20 * time.Second); !waits(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("status does not say what the disks wait for: %+v", g.status().Notices)
		}
	}
	if len(g.journal.Points()) != 5 {
		t.Errorf("points were given up though nobody said so: %+v", g.journal.Points())
	}
	if plan, err = p.master.PlanMove(ctx, "g", advance); err != nil {
		t.Fatal(err)
	}
	advance.GiveUp = plan.GiveUp
	head, err := p.master.Move(ctx, "g", advance, none)
	if err != nil || head != last {
		t.Fatalf("advance that may give up %v: head %d, %v", plan.GiveUp, head, err)
	}
	left := g.journal.Points()
	for id := range p.kept {
		if !slices.ContainsFunc(left, func(x replication.Point) bool { return x.ID == id }) {
			if !slices.Contains(plan.GiveUp, id) {
				t.Errorf("point %d was given up, which was not asked for", id)
			}
			delete(p.kept, id)
		}
	}
	if len(p.kept) < 2 || p.kept[1] == nil {
		t.Errorf("%d points are left", len(p.kept))
	}
	p.contents("after the move")
	p.disksShow(last)
	p.close()
}
