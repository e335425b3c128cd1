package mastertarget

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// ghosts is a link on which calls come twice, and come again late: after the next ones, after their lane has ended, after their point is listed and in later sessions.
type ghosts struct {
	link.Authority
	mu   sync.Mutex
	r    *rand.Rand
	late []ghost

	came, refused int
	wrong         []string // what was taken of a session that had ended
}

// ghost is a call that comes again.
type ghost struct {
	of   replication.Session
	what string
	call func(a link.Authority) error
}

// appear keeps a call, and has some of those that are kept come. It says whether the call itself is to come twice at once.
func (g *ghosts) appear(x ghost) (twice bool) {
	g.mu.Lock()
	if g.r.IntN(2) == 0 {
		g.late = append(g.late, x)
	}
	var due []ghost
	for len(g.late) > 0 && g.r.IntN(3) == 0 {
		i := g.r.IntN(len(g.late))
		due = append(due, g.late[i])
		g.late = slices.Delete(g.late, i, i+1)
	}
	twice = g.r.IntN(4) == 0
	g.mu.Unlock()
	for _, d := range due {
		g.comes(d, x.of)
	}
	return twice
}

// comes has a call come once more, while now is the newest session that is known of.
func (g *ghosts) comes(d ghost, now replication.Session) {
	err := d.call(g.Authority)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.came++
	if err != nil {
		g.refused++
	} else if d.of != now {
		g.wrong = append(g.wrong, fmt.Sprintf("%s of session %d, in session %d", d.what, d.of.ID, now.ID))
	}
}

func (g *ghosts) Lane(ctx context.Context, l replication.Lane) (link.Lane, error) {
	lane, err := g.Authority.Lane(ctx, l)
	if err != nil {
		return nil, err
	}
	g.appear(ghost{l.Session, "lane", func(a link.Authority) error {
		again, err := a.Lane(ctx, l)
		if err == nil {
			again.Close()
		}
		return err
	}})
	return &ghostLane{lane, g, l.Session}, nil
}

type ghostLane struct {
	link.Lane
	g  *ghosts
	of replication.Session
}

func (l *ghostLane) Send(f *block.Frame) error {
	if slices.ContainsFunc(f.Blocks, func(b block.Block) bool { return b.Codec == block.Stream }) { // the parts of a stream come in their order, once, or their lane ends: see TestStreamsAreForWhatIsWrittenThrough
		return l.Lane.Send(f)
	}
	copied := func() *block.Frame {
		c := &block.Frame{Blocks: slices.Clone(f.Blocks)}
		for i := range c.Blocks {
			c.Blocks[i].Payload = bytes.Clone(c.Blocks[i].Payload)
		}
		return c
	}
	late, now := copied(), copied()
	if err := l.Lane.Send(f); err != nil {
		return err
	}
	if l.g.appear(ghost{l.of, "frame", func(link.Authority) error { return l.Lane.Send(late) }}) {
		return l.Lane.Send(now)
	}
	return nil
}

func (g *ghosts) Finish(ctx context.Context, f link.Fence, t []replication.Total) (replication.PointID, error) {
	p, err := g.Authority.Finish(ctx, f, t)
	if err == nil {
		g.appear(ghost{f.Session, "finish", func(a link.Authority) error { _, err := a.Finish(ctx, f, t); return err }})
	}
	return p, err
}

// TestCallsThatComeTwiceAndLate makes points over such a link: they are what the sources were, and nothing is taken of a session that has ended.
func TestCallsThatComeTwiceAndLate(t *testing.T) {
	t.Parallel()
	came, refused := 0, 0
	for seed := range uint64(4) {
		p := newPair(t, seed)
		g := &ghosts{Authority: p.master, r: rand.New(rand.NewPCG(seed, 6))}
		p.link.Authority = g
		ctx := context.Background()
		if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
			t.Fatal(err)
		}
		p.listed(1)
		p.keep(1)
		for range 6 {
			p.another()
		}
		group, err := p.master.group("g")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.master.wait(ctx, func() bool { group.gate.RLock(); defer group.gate.RUnlock(); return !group.active }); err != nil {
			t.Fatal(err)
		}
		for _, d := range g.late { // all that is left, when every session has ended
			g.comes(d, replication.Session{})
		}
		p.contents("at the end")
		for _, w := range g.wrong {
			t.Errorf("seed %d: taken: %s", seed, w)
		}
		came, refused = came+g.came, refused+g.refused
		if _, v, _, err := p.master.Verify(ctx, "g", 0, func([]replication.Ledger) {}); err != nil || !v.Equal {
			t.Errorf("verify: %v, error %v", v.Equal, err)
		}
		p.close()
	}
	t.Logf("%d calls came again, %d of them were refused", came, refused)
	if came < 50 || refused < 10 || refused == came {
		t.Errorf("%d calls came again and %d were refused: this tests little", came, refused)
	}
}
