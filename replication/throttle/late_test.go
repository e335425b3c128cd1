package throttle

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// sent is what went, and when.
type sent struct {
	at time.Duration
	n  float64
}

// asker is one who asks a core as a Valve does: when he was told to, or later.
type asker struct {
	group  string
	next   time.Duration
	waited bool
}

// simulate has lanes of groups send all that they may for a while, each woken as much too late as late says. It returns what went, by group.
func simulate(l Limits, lanes map[string]int, span time.Duration, late func() time.Duration) map[string][]sent {
	start := time.Unix(1e9, 0)
	c := core{buckets: map[string]*bucket{}, limits: l, at: start}
	var all []*asker
	for group, n := range lanes {
		for range n {
			all = append(all, &asker{group: group})
		}
	}
	gone := map[string][]sent{}
	for {
		a := slices.MinFunc(all, func(a, b *asker) int { return int(a.next - b.next) })
		if a.next > span {
			return gone
		}
		granted, wait := c.take(start.Add(a.next), a.group, 256<<10, a.waited)
		if a.waited = granted == 0; a.waited {
			a.next += min(wait, lookAgain) + late()
			continue
		}
		gone[a.group] = append(gone[a.group], sent{a.next, float64(granted)})
		a.next += 100 * time.Microsecond // it is written
	}
}

// most returns the most that went within a while.
func most(all []sent, within time.Duration) (m float64) {
	for i := range all {
		sum := 0.
		for _, s := range all[i:] {
			if s.at-all[i].at >= within {
				break
			}
			sum += s.n
		}
		m = max(m, sum)
	}
	return m
}

func total(all []sent) (n float64) {
	for _, s := range all {
		n += s.n
	}
	return n
}

// TestWhoIsWokenLateHasWhatIsHis wakes those who wait too late, as a machine does that has twenty to run for each core.
func TestWhoIsWokenLateHasWhatIsHis(t *testing.T) {
	const span = 20 * time.Second
	for _, text := range []string{"512Kbps", "20Mbps", "1,023Mbps"} {
		for _, lanes := range []int{1, 4} {
			rate, err := ParseRate(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				most          time.Duration // by which they are late
				least, within float64       // of the limit: in all, and in any tenth of a second
			}{{0, .99, 1.35}, {40 * time.Millisecond, .98, 1.7}, {80 * time.Millisecond, .97, 2.01}} {
				random := rand.New(rand.NewPCG(1, 2))
				gone := simulate(Limits{Rate: rate}, map[string]int{"g": lanes}, span, func() time.Duration {
					if c.most == 0 {
						return 0
					}
					return time.Duration(random.Int64N(int64(c.most)))
				})["g"]
				if got := total(gone) / float64(rate) / span.Seconds(); got < c.least || got > 1.001 {
					t.Errorf("%s, %d lanes, up to %v late: %.3f of the limit, want %.2f to 1", text, lanes, c.most, got, c.least)
				}
				if got := most(gone, 100*time.Millisecond) / float64(rate) * 10; got > c.within {
					t.Errorf("%s, %d lanes, up to %v late: %.2f of the limit in a tenth of a second, want at most %.2f", text, lanes, c.most, got, c.within)
				}
			}
		}
	}
}

// TestWhatAPauseLeftIsNotMadeUpFor: nobody waited for it.
func TestWhatAPauseLeftIsNotMadeUpFor(t *testing.T) {
	const rate = 1 << 20
	start := time.Unix(1e9, 0)
	c := core{buckets: map[string]*bucket{}, limits: Limits{Rate: rate}, at: start}
	gone := func(at time.Duration) (n int) { // all that goes at once
		for {
			granted, _ := c.take(start.Add(at), "g", 1<<20, false)
			if n += granted; granted == 0 {
				c.leave("g")
				return n
			}
		}
	}
	at := time.Duration(0)
	for _, pause := range []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second} {
		at += pause
		if got, want := gone(at), int(rate*burst.Seconds()); got > want {
			t.Errorf("%d bytes went at once after a pause of %v, want at most %d", got, pause, want)
		}
	}
	at += time.Second
	gone(at)
	_, _ = c.take(start.Add(at), "g", 1<<20, false) // who waits
	if granted, _ := c.take(start.Add(at+time.Second), "g", 1<<20, true); granted > rate/10 {
		t.Errorf("%d bytes went at once for who was woken after a second, want at most %d", granted, rate/10)
	}
}

// TestNoGroupStarves gives groups of the least and the greatest priority a small limit: each has what keeps its connections alive, and what is left is divided by weight.
func TestNoGroupStarves(t *testing.T) {
	const span = time.Minute
	for name, c := range map[string]struct {
		rate   string
		groups map[string]int // their weights
		want   map[string]float64
	}{
		"OneBesideAHundred": {"512Kbps", map[string]int{"low": 1, "high": 100}, map[string]float64{"low": 8000, "high": 56000}},
		"TheLeastLimit":     {"64Kbps", map[string]int{"low": 1, "high": 100}, map[string]float64{"low": 2000, "high": 6000}},
		"WeightsAsEver":     {"20Mbps", map[string]int{"low": 1, "high": 4}, map[string]float64{"low": 500e3, "high": 2e6}},
		"Many":              {"512Kbps", map[string]int{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1, "high": 100}, map[string]float64{"a": 4000, "g": 4000, "high": 36000}},
	} {
		rate, err := ParseRate(c.rate)
		if err != nil {
			t.Fatal(err)
		}
		l, lanes := Limits{Rate: rate, Groups: map[string]Share{}}, map[string]int{}
		for group, w := range c.groups {
			l.Groups[group], lanes[group] = Share{Weight: w}, 1
		}
		gone := simulate(l, lanes, span, func() time.Duration { return 0 })
		for group, want := range c.want {
			if got := total(gone[group]) / span.Seconds(); got < .97*want || got > 1.03*want {
				t.Errorf("%s: group %s has %.0f bytes a second, want %.0f", name, group, got, want)
			}
			longest := time.Duration(0)
			for i, s := range gone[group][1:] {
				longest = max(longest, s.at-gone[group][i].at)
			}
			if longest > stepFor+lookAgain {
				t.Errorf("%s: nothing of group %s went for %v", name, group, longest)
			}
		}
	}
}

// TestSmallSharesGoInSmallSteps: a hundred groups at the least limit are all heard of within stepFor.
func TestSmallSharesGoInSmallSteps(t *testing.T) {
	l, lanes := Limits{Rate: MinRate, Groups: map[string]Share{"high": {Weight: 100}}}, map[string]int{"high": 1}
	for i := range 99 {
		name := string(rune('a'+i/26)) + string(rune('a'+i%26))
		l.Groups[name], lanes[name] = Share{Weight: 1}, 1
	}
	const span = 30 * time.Second
	for group, gone := range simulate(l, lanes, span, func() time.Duration { return 0 }) {
		last := time.Duration(0)
		for _, s := range append(gone, sent{at: span}) {
			if s.at-last > 2*stepFor {
				t.Errorf("nothing of group %s went from %v to %v", group, last, s.at)
			}
			last = s.at
		}
	}
}
