package mastertarget

import (
	"context"
	"slices"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/link"
	"failback/replication/throttle"
)

// toldLimits is a process server that notes what it is told.
type toldLimits struct {
	link.Worker
	limits chan throttle.Limits
}

func (w *toldLimits) Limit(l throttle.Limits) { w.limits <- l }

// next returns the next limits that are as wanted.
func (w *toldLimits) next(t *testing.T, what string, want func(throttle.Limits) bool) {
	t.Helper()
	for late := time.After(10 * time.Second); ; {
		select {
		case l := <-w.limits:
			if want(l) {
				return
			}
		case <-late:
			t.Fatalf("%s: was not told", what)
		}
	}
}

func TestThrottleIsHandedOutAndKept(t *testing.T) {
	p := newPair(t, 8)
	p.plan = p.stablePlan("priority: 20\n")
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	change := func(c replication.ThrottleChange) replication.ThrottleStatus {
		t.Helper()
		s, err := p.master.Throttle(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	schedule := "8Mbps"
	if s := change(replication.ThrottleChange{Schedule: &schedule}); s.Limit != 1e6 || s.Schedule != schedule || len(s.Groups) != 1 || s.Groups[0].Priority != 20 {
		t.Errorf("got %+v", s)
	}
	p.bye() // another program in its place, that tells what it is told
	w := &toldLimits{Worker: p.worker, limits: make(chan throttle.Limits, 100)}
	bye, err := p.master.Connected(link.Peer{Name: "ps", Minor: link.ProtocolMinor}, w)
	if err != nil {
		t.Fatal(err)
	}
	w.next(t, "one that comes", func(l throttle.Limits) bool { return l.Rate == 1e6 && l.Groups["g"] == throttle.Share{Weight: 20} })
	change(replication.ThrottleChange{Group: "g", Priority: 30, Let: true, Pass: time.Hour})
	w.next(t, "priority and pass", func(l throttle.Limits) bool { return l.Groups["g"] == throttle.Share{Weight: 30, Pass: true} })
	other := &toldLimits{limits: make(chan throttle.Limits, 100)}
	leave, err := p.master.Connected(link.Peer{Name: "ps2", Minor: link.ProtocolMinor}, other)
	if err != nil {
		t.Fatal(err)
	}
	other.next(t, "one that rests beside another", func(l throttle.Limits) bool { return l.Rate > 0 && l.Rate < 1e5 && len(l.Groups) == 0 })
	leave()
	change(replication.ThrottleChange{Group: "g", Let: true})
	w.next(t, "no pass", func(l throttle.Limits) bool { return l.Rate == 1e6 && !l.Groups["g"].Pass })

	for _, bad := range []replication.ThrottleChange{{Group: "g", Priority: 101}, {Group: "nobody", Priority: 1}} {
		if _, err := p.master.Throttle(ctx, bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	wrong := "1Mbps on fridays"
	if _, err := p.master.Throttle(ctx, replication.ThrottleChange{Schedule: &wrong}); replication.AsProblem(err).Code != CodeThrottle {
		t.Errorf("%q: got %v", wrong, err)
	}
	for _, none := range []string{"", " ; ", "in Europe/Berlin"} {
		if s, err := p.master.Throttle(ctx, replication.ThrottleChange{Schedule: &none}); replication.AsProblem(err).Code != CodeThrottle {
			t.Errorf("%q: got %+v, %v", none, s, err)
		}
	}
	bye()
	p.close()
	p.open()
	if s := change(replication.ThrottleChange{}); s.Limit != 1e6 || s.Groups[0].Priority != 30 {
		t.Errorf("after a restart: %+v", s)
	}
	if _, again, err := p.master.Reprotect(ctx, p.stablePlan("priority: 40\n")); err != nil || !again {
		t.Errorf("a plan with another priority: %v, %v", again, err)
	}
	if s := change(replication.ThrottleChange{}); s.Groups[0].Priority != 40 {
		t.Errorf("a plan with another priority left %d", s.Groups[0].Priority)
	}
	p.close()
}

// TestShipmentsKeepToTheLimit ships within one process, where frames wait instead of their bytes.
func TestShipmentsKeepToTheLimit(t *testing.T) {
	p := newPair(t, 9)
	p.plan = p.stablePlan("")
	ctx := context.Background()
	schedule := "20MB/s"
	if _, err := p.master.Throttle(ctx, replication.ThrottleChange{Schedule: &schedule}); err != nil {
		t.Fatal(err)
	}
	for i := range p.live {
		for k := range p.live[i] {
			p.live[i][k] = byte(p.r.Uint32())
		}
		p.write(i)
	}
	begin := time.Now()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	if took, least := time.Since(begin), 250*time.Millisecond; took < least { // 6 MiB
		t.Errorf("took %s at a limit that wants %s", took, least)
	}
	p.keep(1)
	p.contents("throttled")
	p.close()
}

func TestPartsOfALimit(t *testing.T) {
	for name, c := range map[string]struct {
		rate  throttle.Rate
		sends []sending
		want  []throttle.Rate
	}{
		"ByWeight":               {1e6, []sending{{1, 10}, {2, 30}}, []throttle.Rate{250e3, 750e3}},
		"OneRests":               {1e6, []sending{{1, 10}, {}}, []throttle.Rate{980e3, 20e3}},
		"OneIsOfLittlePriority":  {64e3, []sending{{1, 1}, {1, 100}}, []throttle.Rate{8e3, 56e3}},
		"ItHasTwoGroups":         {64e3, []sending{{2, 2}, {1, 100}}, []throttle.Rate{16e3, 48e3}},
		"TheLeastLimitOfAll":     {8e3, []sending{{1, 1}, {1, 100}, {}}, []throttle.Rate{1333, 6506, 160}},
		"OneRestsBesideTheFirst": {64e3, []sending{{1, 100}, {}}, []throttle.Rate{62720, 1280}},
	} {
		if got := partsOf(c.rate, c.sends); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v want %v", name, got, c.want)
		}
	}
}
