package mastertarget

import (
	"context"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

// settleUpkeep has the group's upkeep do what there is to do.
func settleUpkeep(t *testing.T, g *group) {
	t.Helper()
	for range 200 {
		more, err := g.upkeep.once(context.Background())
		if err == nil && !more {
			return
		}
	}
	t.Fatal("upkeep does not come to an end")
}

// TestUpkeep makes points on a journal that may not grow beyond a limit: history gives way, what is listed stays as it was, and where pins forbid it, replication is held back until they go.
func TestUpkeep(t *testing.T) {
	p := newPair(t, 3)
	p.drops = true // the group's own upkeep goes on beside what the test does
	ctx := context.Background()
	const hard = 8 << 20
	p.plan = append(p.plan, "retention: {soft: 6MiB, hard: 8MiB, reserve: 64KiB}\n"...)
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	forget := func() { // what is not listed any more is not promised
		listed := map[replication.PointID]bool{}
		for _, x := range g.journal.Points() {
			listed[x.ID] = true
		}
		for id := range p.kept {
			if !listed[id] {
				delete(p.kept, id)
			}
		}
	}
	made := 0
	change := func() { // what does not compress
		p.change()
		for i, b := range p.live {
			for k := range b[:300<<10] {
				b[(k+made*50<<10)%len(b)] = byte(p.r.Uint32())
			}
			p.write(i)
		}
	}
	cut := func() {
		t.Helper()
		change()
		short, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		id, err := p.master.Cut(short, "g", false)
		if err != nil {
			s := g.status()
			t.Fatalf("cut %d: %v: %+v, space %+v", made, err, s.Problem, s.Space)
		}
		p.keep(id)
		p.listed(id)
		made++
	}
	for range 40 {
		cut()
		if made%4 == 0 {
			settleUpkeep(t, g)
			forget()
			p.contents("after upkeep")
		}
	}
	settleUpkeep(t, g)
	s := g.status().Space
	if s == nil || s.Used > hard+hard/10 || s.Points >= made || s.Points < 2 || !strings.Contains(s.Runway, "covers") {
		t.Errorf("after %d points: %+v", made, s)
	}
	for _, x := range g.journal.Points() {
		if err := g.journal.Pin(x.ID, time.Time{}, ""); err != nil {
			t.Fatal(err)
		}
	}
	for tries := 0; g.heldBack() == nil; tries++ {
		if tries == 60 {
			t.Fatalf("replication is not held back: %+v", g.status().Space)
		}
		change()
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		if id, err := p.master.Cut(short, "g", false); err == nil {
			p.keep(id)
			for g.heldBack() == nil {
				if last, _ := g.journal.Last(); last.ID >= id {
					break
				}
				time.Sleep(time.Millisecond)
			}
		}
		cancel()
		for _, x := range g.journal.Points() {
			if err := g.journal.Pin(x.ID, time.Time{}, ""); err != nil {
				t.Fatal(err)
			}
		}
		settleUpkeep(t, g)
	}
	if why := g.heldBack(); why.Code != "retention-full" || !strings.Contains(why.Message, "pinned") || !strings.Contains(why.Remedy, "`failback unpin g ") {
		t.Errorf("held back: %+v", why)
	}
	forget()
	p.contents("held back")
	for _, x := range g.journal.Points() {
		if err := g.journal.Unpin(x.ID); err != nil {
			t.Fatal(err)
		}
	}
	settleUpkeep(t, g)
	if why := g.heldBack(); why != nil {
		t.Errorf("still held back: %+v", why)
	}
	cut()
	forget()
	p.contents("at the end")
	if err := g.journal.Check(ctx); err != nil {
		t.Error(err)
	}
	p.close()
}
