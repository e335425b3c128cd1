package mastertarget

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// halfOpen is a link on which connections of lanes stop carrying, and the master target does not learn of it.
type halfOpen struct {
	link.Authority
	mu       sync.Mutex
	lanes    int // opened
	breaking int
	swallow  bool // the frame that breaks it arrived nevertheless, and nobody knows
}

func (h *halfOpen) Lane(ctx context.Context, l replication.Lane) (link.Lane, error) {
	lane, err := h.Authority.Lane(ctx, l)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lanes++
	return &halfOpenLane{Lane: lane, h: h}, nil
}

// breaks says whether the next connection that is used breaks.
func (h *halfOpen) breaks() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.breaking == 0 {
		return false
	}
	h.breaking--
	return true
}

type halfOpenLane struct {
	link.Lane
	h    *halfOpen
	dead bool
}

func (l *halfOpenLane) Send(f *block.Frame) error {
	if !l.dead && l.h.breaks() {
		l.dead = true
		if l.h.swallow {
			return l.Lane.Send(f)
		}
	}
	if l.dead {
		f.Free()
		return errCut
	}
	return l.Lane.Send(f)
}

func (l *halfOpenLane) Flush() (int64, error) {
	if l.dead {
		return 0, errCut
	}
	return l.Lane.Flush()
}

func (l *halfOpenLane) Close() { // of what broke, nothing is heard
	if !l.dead {
		l.Lane.Close()
	}
}

// stablePlan is the pair's plan with a snapshot of each disk.
func (p *pair) stablePlan(more string) []byte {
	var y strings.Builder
	fmt.Fprintf(&y, "group: g\nos: linux\nprocess_server: ps\n%spolicy: {crash_interval: 1h, app_interval: 1h, rpo_alert: 2h}\nmachines:\n", more)
	names := []string{"one", "two", "one"}
	for i, machine := range []string{"a", "a", "b"} {
		if i == 0 || machine == "b" {
			fmt.Fprintf(&y, "  - name: %s\n    disks:\n", machine)
		}
		fmt.Fprintf(&y, "      - {id: %s, source: 'image:%s', target: %s, snapshot: 'cp $FAILBACK_SOURCE %s/views/%d.$1 && echo %s/views/%d.$1', release: 'rm -f $2'}\n",
			names[i], p.src(i), p.dst(i), p.dir, i, p.dir, i)
	}
	return []byte(y.String())
}

// TestALaneThatBreaksCostsNoMoreThanWhatItCarried breaks connections in the middle of a baseline and of a cycle: the order goes on, what was lost is sent again, and the
// ledger knows of it.
func TestALaneThatBreaksCostsNoMoreThanWhatItCarried(t *testing.T) {
	t.Parallel()
	for _, swallow := range []bool{false, true} {
		t.Run(fmt.Sprintf("Arrived=%v", swallow), func(t *testing.T) {
			p := newPair(t, 5)
			p.plan = p.stablePlan("")
			h := &halfOpen{Authority: p.master, breaking: 2, swallow: swallow}
			p.link.Authority = h
			ctx := context.Background()
			if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
				t.Fatal(err)
			}
			p.listed(1)
			p.keep(1)
			p.contents("baseline")
			p.ledgersAddUp(1)
			for i := range p.live { // enough for several frames
				for k := range p.live[i] {
					p.live[i][k] = byte(p.r.Uint32())
				}
				p.write(i)
			}
			h.mu.Lock()
			h.breaking = 2
			h.mu.Unlock()
			id, err := p.master.Cut(ctx, "g", false)
			if err != nil {
				t.Fatal(err)
			}
			p.keep(id)
			p.listed(id)
			p.contents("after lanes broke")
			again := p.ledgersAddUp(id)
			if h.breaking != 0 || again == 0 {
				t.Errorf("%d connections were not broken, %d bytes sent again", h.breaking, again)
			}
			g, _ := p.master.group("g")
			if g.session != 2 {
				t.Errorf("%d sessions for two points: orders were given again", g.session)
			}
			p.close()
		})
	}
}

// ledgersAddUp looks at the ledgers of a point, once they have been told, and returns how much was sent again.
func (p *pair) ledgersAddUp(id replication.PointID) (again int64) {
	p.t.Helper()
	s, err := p.master.Status(context.Background(), "g")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, d := range s.Groups[0].Disks {
		if err := d.Ledger.Check(); err != nil {
			p.t.Errorf("point %d, %s: %v", id, d.Disk, err)
		}
		again += d.Ledger.Again
	}
	return again
}

// TestAnEarlierAttemptOfALaneIsFenced keeps a stale attempt sending.
func TestAnEarlierAttemptOfALaneIsFenced(t *testing.T) {
	p := newPair(t, 6)
	p.plan = p.stablePlan("")
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.bye() // no order of the group's own comes between
	g, _ := p.master.group("g")
	for _, through := range []bool{false, true} {
		c := replication.Cycle{Point: 2, Base: 1, Mode: replication.Compare, Route: replication.Journaled, Cut: replication.Cut{Snapshot: "s", Sizes: p.sizes}}
		last, _ := g.journal.Last()
		c.BaseChain = last.Chain
		if err := g.journal.Begin(c); err != nil {
			t.Fatal(err)
		}
		if through { // as far as the session knows: it is fenced before anything of the journal
			c.Route = replication.Through
		}
		session, err := g.grant(c)
		if err != nil {
			t.Fatal(err)
		}
		s := replication.Session{Group: "g", Generation: g.journal.Generation(), ID: session}
		open := func(attempt uint64) link.Lane {
			l, err := p.master.Lane(ctx, replication.Lane{Session: s, Point: 2, Lane: 1, Attempt: attempt})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		frame := func() *block.Frame {
			f := block.NewFrame()
			var enc block.Encoder
			f.Add(&enc, block.Block{Extents: []replication.Extent{{Off: 0, End: 4096}}}, make([]byte, 4096), block.Raw, nil)
			return f
		}
		first := open(8)
		if err := first.Send(frame()); err != nil {
			t.Fatal(err)
		}
		second := open(9)
		if err := first.Send(frame()); replication.AsProblem(err).Code != link.CodeStale {
			t.Errorf("through %v: an earlier attempt was let in: %v", through, err)
		}
		if _, err := first.Flush(); replication.AsProblem(err).Code != link.CodeStale {
			t.Errorf("through %v: an earlier attempt was flushed: %v", through, err)
		}
		if _, err := p.master.Lane(ctx, replication.Lane{Session: s, Point: 2, Lane: 1, Attempt: 9}); replication.AsProblem(err).Code != link.CodeStale {
			t.Errorf("through %v: an attempt was let in twice: %v", through, err)
		}
		if err := second.Send(frame()); err != nil {
			t.Error(err)
		}
		if through {
			g.through = nil
			g.revoke()
			if err := g.journal.Drop("test"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := second.Flush(); err != nil {
			t.Error(err)
		}
		if g.journal.Durable(0) != 4096 {
			t.Errorf("%d bytes durable", g.journal.Durable(0))
		}
		first.Close()
		second.Close()
		if _, err := p.master.Lane(ctx, replication.Lane{Session: s, Point: 2, Lane: 1, Attempt: 7}); replication.AsProblem(err).Code != link.CodeStale {
			t.Errorf("an attempt that is older than one that was there was let in: %v", err)
		}
		g.revoke()
		if err := g.journal.Drop("test"); err != nil {
			t.Fatal(err)
		}
	}
	p.close()
}

// TestLanesOfASessionAreBounded opens as many as there may be, and one more; and again, when one has gone.
func TestLanesOfASessionAreBounded(t *testing.T) {
	p := newPair(t, 7)
	p.plan = p.stablePlan("")
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.bye() // no order of the group's own comes between
	g, _ := p.master.group("g")
	c := replication.Cycle{Point: 2, Base: 1, Mode: replication.Compare, Route: replication.Journaled, Cut: replication.Cut{Snapshot: "s", Sizes: p.sizes}}
	last, _ := g.journal.Last()
	c.BaseChain = last.Chain
	if err := g.journal.Begin(c); err != nil {
		t.Fatal(err)
	}
	session, err := g.grant(c)
	if err != nil {
		t.Fatal(err)
	}
	s := replication.Session{Group: "g", Generation: g.journal.Generation(), ID: session}
	open := func(no uint32) (link.Lane, error) {
		return p.master.Lane(ctx, replication.Lane{Session: s, Point: 2, Lane: no, Attempt: uint64(no) + 1})
	}
	var lanes []link.Lane
	for no := range uint32(maxLanes) {
		l, err := open(no)
		if err != nil {
			t.Fatalf("lane %d of %d: %v", no, maxLanes, err)
		}
		lanes = append(lanes, l)
	}
	if _, err := open(maxLanes); replication.AsProblem(err).Code != CodeLanes || replication.AsProblem(err).Remedy == "" {
		t.Errorf("one more: got %v", err)
	}
	lanes[0].Close()
	l, err := open(maxLanes)
	if err != nil {
		t.Errorf("when one has gone: %v", err)
	} else {
		l.Close()
	}
	for _, l := range lanes[1:] {
		l.Close()
	}
	if _, err := open(0); replication.AsProblem(err).Code != link.CodeStale { // its connection comes to life again
		t.Errorf("an attempt that has ended was let in again: %v", err)
	}
	if _, err := open(maxLaneNo); replication.AsProblem(err).Code != CodeLanes {
		t.Errorf("lane %d: got %v", maxLaneNo, err)
	}
	var opening sync.WaitGroup
	var in atomic.Int32
	for range 3 * maxLanes { // all at once: one of each attempt is let in, and the newest stays
		for attempt := uint64(100); attempt < 104; attempt++ {
			opening.Go(func() {
				l, err := p.master.Lane(ctx, replication.Lane{Session: s, Point: 2, Lane: 7, Attempt: attempt})
				switch {
				case err == nil:
					in.Add(1)
					l.Close()
				case replication.AsProblem(err).Code != link.CodeStale:
					t.Errorf("attempt %d: %v", attempt, err)
				}
			})
		}
	}
	opening.Wait()
	if n := in.Load(); n < 1 || n > 4 {
		t.Errorf("%d attempts were let in, of four", n)
	}
	g.revoke()
	if err := g.journal.Drop("test"); err != nil {
		t.Fatal(err)
	}
	p.close()
}
