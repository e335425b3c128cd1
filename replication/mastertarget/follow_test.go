package mastertarget

import (
	"context"
	"testing"
	"time"

	"failback/replication"
)

func TestDecideFollow(t *testing.T) {
	now := time.Unix(1000, 0)
	behind := following{now: now, head: 3, last: 5, bound: 30 * time.Second, takes: 4 * time.Second, quiet: now.Add(-time.Minute), quietFor: quietFor}
	with := func(f func(*following)) following { s := behind; f(&s); return s }
	for name, c := range map[string]struct {
		s     following
		move  bool
		again time.Time
	}{
		"Quiet":                     {behind, true, time.Time{}},
		"QuietSinceAMoment":         {with(func(f *following) { f.quiet = now.Add(-quietFor / 2) }), false, now.Add(quietFor / 2)},
		"QuietLongEnough":           {with(func(f *following) { f.quiet = now.Add(-quietFor) }), true, time.Time{}},
		"NeverACycle":               {with(func(f *following) { f.quiet = time.Time{} }), true, time.Time{}},
		"CycleUnderWay":             {with(func(f *following) { f.cycling = true }), false, time.Time{}},
		"CycleAndAtTheBound":        {with(func(f *following) { f.cycling, f.takes = true, f.bound }), true, time.Time{}},
		"CycleAndLittleRoom":        {with(func(f *following) { f.cycling, f.tight = true, true }), true, time.Time{}},
		"HeldAndLittleRoom":         {with(func(f *following) { f.held, f.tight = true, true }), false, time.Time{}},
		"JustListedAndAtTheBound":   {with(func(f *following) { f.quiet, f.takes = now, time.Hour }), true, time.Time{}},
		"AtOnce":                    {with(func(f *following) { f.cycling, f.bound, f.quiet = true, 0, now }), true, time.Time{}},
		"AtOnceAndThere":            {with(func(f *following) { f.bound, f.takes, f.head = 0, 0, f.last }), false, time.Time{}},
		"There":                     {with(func(f *following) { f.head = f.last }), false, time.Time{}},
		"AtNoPoint":                 {with(func(f *following) { f.head, f.last = 0, 0 }), false, time.Time{}},
		"Held":                      {with(func(f *following) { f.held, f.takes = true, time.Hour }), false, time.Time{}},
		"OperatorMoves":             {with(func(f *following) { f.claimed, f.unfinished = true, true }), false, time.Time{}},
		"CutOff":                    {with(func(f *following) { f.unfinished, f.cycling = true, true }), true, time.Time{}},
		"CutOffAndHeld":             {with(func(f *following) { f.unfinished, f.held = true, true }), true, time.Time{}},
		"CutOffOnItsWayToTheLast":   {with(func(f *following) { f.unfinished, f.head = true, f.last }), true, time.Time{}},
		"HeldOutOfSpaceAndQuiet":    {with(func(f *following) { f.quiet = now.Add(-time.Hour) }), true, time.Time{}},
		"ClockWentBackAfterACycle":  {with(func(f *following) { f.quiet = now.Add(time.Second) }), false, now.Add(time.Second + quietFor)},
		"NoEstimateYetAndItIsQuiet": {with(func(f *following) { f.takes = 0 }), true, time.Time{}},
	} {
		move, again := decideFollow(c.s)
		if move != c.move || !again.Equal(c.again) {
			t.Errorf("%s: got %v, again %v; want %v, %v", name, move, again, c.move, c.again)
		}
	}
}

// TestDisksLag makes points faster than it becomes quiet: the disks wait, status says how far they are behind, and several points are applied in one move when the operator asks, when catching up
// would take too long, and before unprotect.
func TestDisksLag(t *testing.T) {
	p := newPairWith(t, 6, Config{quiet: time.Hour})
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	cut := func() replication.PointID {
		t.Helper()
		p.change()
		p.live[0][0]++ // something in any case
		p.write(0)
		id, err := p.master.Cut(ctx, "g", false)
		if err != nil {
			t.Fatal(err)
		}
		p.keep(id)
		p.listed(id)
		return id
	}
	until := func(what string, ready func(replication.GroupStatus) bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := p.master.wait(ctx, func() bool { return ready(g.status()) }); err != nil {
			t.Fatalf("%s: %+v", what, g.status())
		}
	}
	cut()
	cut()
	last := cut()
	until("status tells", func(s replication.GroupStatus) bool {
		g.behind()
		return s.Behind == 3 && s.CatchUp > 0 && s.CatchUp < time.Minute
	})
	if head := g.journal.Head(); head != 1 {
		t.Errorf("the disks went to point %d, while cycles came one after another", head)
	}
	head, err := p.master.Move(ctx, "g", replication.MoveRequest{To: last - 1}, func(replication.MoveStatus) {})
	if err != nil || head != last-1 || !g.held() {
		t.Errorf("rewind to a point that the disks have not come to yet: head %d, held %v, %v", head, g.held(), err)
	}
	if head, err = p.master.Move(ctx, "g", replication.MoveRequest{Advance: true}, func(replication.MoveStatus) {}); err != nil || head != last || g.held() {
		t.Errorf("advance: head %d, held %v, %v", head, g.held(), err)
	}
	until("there", func(s replication.GroupStatus) bool { g.behind(); return s.Behind == 0 && s.CatchUp == 0 })
	g.pace.moves.mu.Lock()
	g.pace.moves.value = 1 // as slow as it gets
	g.pace.moves.mu.Unlock()
	last = cut()
	until("they follow, as it would take too long later", func(s replication.GroupStatus) bool { return s.Head == last && s.Move == nil })
	g.pace.moves.mu.Lock()
	g.pace.moves.value = 1 << 30
	g.pace.moves.mu.Unlock()
	cut()
	last = cut()
	p.contents("behind")
	if head := g.journal.Head(); head != last-2 {
		t.Errorf("head %d, want %d", head, last-2)
	}
	if head, _, err = p.master.Unprotect(ctx, "g", true, false); err != nil || head != last {
		t.Errorf("unprotect: head %d, %v; want %d", head, err, last)
	}
	p.close()
}
