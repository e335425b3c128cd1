package processserver

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"failback/replication/block"
)

// What levels cost and give, as measured: of programs, of text, of what does not compress.
var (
	programs = [levels]cost{{0, 1}, {4.6e-9, .713}, {2.2e-9, .728}, {9.8e-9, .581}, {24e-9, .544}}
	texts    = [levels]cost{{0, 1}, {3e-9, .45}, {1.5e-9, .44}, {6e-9, .29}, {14e-9, .25}}
	packed   = [levels]cost{{0, 1}, {.33e-9, 1}, {.24e-9, 1}, {.17e-9, 1}, {.29e-9, 1}}
)

// world is a machine, a link and a source as they truly are.
type world struct {
	plant
	strangers float64 // cores that others would use; they get half at most,
	greed     float64 // or this share
	noise     float64 // of what is measured, as a share
	hiccups   float64 // share of the windows in which the link stands still for some of the time
	feels     bool    // it is known how long the network holds lanes
	near      bool    // it is in the same room
	far       cost    // CPU seconds a raw byte, and a payload byte, that others spend on this machine: the other end, or a tunnel
}

// pass tells what a ladder sees of some time's work with a mix, and the rate.
func (w world) pass(m mix, r *rand.Rand, seconds float64) (window, float64) {
	all := w.cores
	w.cores = max(all-w.strangers, all*(1-w.most()))
	if r.Float64() < w.hiccups {
		w.link *= .2 + .6*r.Float64()
	}
	fixed, wire := w.fixed, w.wire
	w.fixed, w.wire = fixed+w.far.cpu, wire+w.far.ratio
	rate := w.rate(m)
	c := m.of(w.costs)
	frames := max(1, int(rate*seconds/block.FrameRaw))
	used := rate * (w.fixed + c.cpu + w.wire*c.ratio)
	off := func() float64 { return 1 + w.noise*(2*r.Float64()-1) }
	v := window{seconds: seconds, frames: frames, raw: rate * seconds, payload: rate * seconds * c.ratio * off(), cores: all, own: rate * (fixed + c.cpu + wire*c.ratio) * seconds * off()}
	v.idle = max(0, 1-(used+w.strangers)/all*off())
	if w.feels {
		v.span, v.held = 4*seconds, 4*seconds*min(1, rate*c.ratio/w.link*off())
	}
	v.streamed = v.raw * m.streams()
	v.encoding = v.raw * (m[block.LevelStream]*w.costs[block.LevelStream].cpu + m[block.LevelStreamBest]*w.costs[block.LevelStreamBest].cpu)
	v.worked, v.waited = v.encoding, max(0, seconds*m.streams()-v.encoding) // by the one lane
	if rate >= .999*w.link/c.ratio || v.streamed > 0 && v.worked >= .999*seconds {
		v.full = frames
	} else {
		v.empty = frames
	}
	return v, rate
}

// most is which share of the cores others get at most.
func (w world) most() float64 {
	if w.greed > 0 {
		return w.greed
	}
	return .5
}

// run lets a ladder work for so many windows and returns the mean rate of those after the first ten, and the mix at the end.
func (w world) run(windows int) (mean float64, last mix) {
	r := rand.New(rand.NewPCG(1, 2))
	e := newEstimate()
	e.near = w.near
	m := only(e.first())
	for i := range windows {
		for range 8 {
			var took [levels]time.Duration
			var payload [levels]int
			f := 1 + .3*(2*r.Float64()-1) // blocks differ
			for l, c := range w.costs[:alone] {
				took[l] = time.Duration(c.cpu * block.MaxRaw * f * 1e9)
				payload[l] = int(min(1, c.ratio*f) * block.MaxRaw)
			}
			e.sample(block.MaxRaw, took, payload)
		}
		v, rate := w.pass(m, r, .25)
		if next, ok := e.take(v); ok {
			m = next
		}
		if i >= 10 {
			mean += rate / float64(windows-10)
		}
	}
	return mean, m
}

func (w world) bestFixed() (level block.Level, rate float64) {
	w.cores = max(w.cores-w.strangers, w.cores*(1-w.most()))
	w.fixed, w.wire = w.fixed+w.far.cpu, w.wire+w.far.ratio
	for l := range alone {
		if r := w.rate(only(block.Level(l))); r > rate {
			level, rate = block.Level(l), r
		}
	}
	return level, rate
}

// TestLadderIsAsFastAsTheBestLevel lets it work in worlds of all kinds: it is never told what binds.
func TestLadderIsAsFastAsTheBestLevel(t *testing.T) {
	for name, costs := range map[string][levels]cost{"programs": programs, "texts": texts, "packed": packed} {
		for _, mbits := range []float64{10, 20, 100, 300, 1000, 3000, 10000, 100000} {
			for _, cores := range []float64{1, 2, 8, 32} {
				for _, fixed := range []float64{1e-9, 3e-9} {
					for _, source := range []float64{100e6, math.Inf(1)} {
						for _, strangers := range []float64{0, cores / 3, 2 * cores} {
							for _, far := range []cost{{}, {.5e-9, 6 * wireCost}} {
								for _, feels := range []bool{false, true} {
									if far.ratio > 0 && strangers > 0 && !feels { // then little tells who of them works for us
										continue
									}
									w := world{plant: plant{costs, cores, fixed, mbits * 1e6 / 8, source, wireCost, 0}, strangers: strangers, noise: .03, far: far, feels: feels}
									got, m := w.run(80)
									if level, best := w.bestFixed(); got < .9*best {
										t.Errorf("%s at %.0f Mbit/s (felt: %v), %.0f cores, %.0f ns, source %.0f, strangers on %.1f cores, others %.1f ns a payload byte: %.1f MB/s by %.2f, level %d alone has %.1f (%.2f)",
											name, mbits, feels, cores, fixed*1e9, source/1e6, strangers, far.ratio*1e9, got/1e6, m, level, best/1e6, got/best)
									}
								}
							}
						}
					}
				}
			}
		}
	}
}

// TestLadderInOneRoom begins uncompressed, and compresses where the network turns out to be slow nevertheless.
func TestLadderInOneRoom(t *testing.T) {
	for name, costs := range map[string][levels]cost{"programs": programs, "texts": texts, "packed": packed} {
		for _, mbits := range []float64{10, 100, 1000, 10000, 100000} {
			for _, cores := range []float64{2, 8} {
				w := world{plant: plant{costs, cores, 2e-9, mbits * 1e6 / 8, math.Inf(1), wireCost, 0}, noise: .03, near: true, feels: true}
				got, m := w.run(40)
				if level, best := w.bestFixed(); got < .9*best {
					t.Errorf("%s at %.0f Mbit/s, %.0f cores: %.1f MB/s by %.2f, level %d alone has %.1f", name, mbits, cores, got/1e6, m, level, best/1e6)
				}
			}
		}
	}
	e := newEstimate()
	if e.near, e.streams = true, 1; e.first() != block.Raw {
		t.Errorf("it begins with level %v", e.first())
	}
}

// TestLadderSparesTheLink says what it does when the link is not what binds.
func TestLadderSparesTheLink(t *testing.T) {
	for _, feels := range []bool{false, true} {
		w := world{plant: plant{texts, 8, 2e-9, 10e9, 50e6, wireCost, 0}, noise: .03, feels: feels} // a slow source, a fast link
		if _, m := w.run(40); m[block.LevelZstd2] < .99 {
			t.Errorf("cores are idle, and it sends more than it must: %v", m)
		}
	}
	w := world{plant: plant{packed, 2, 2e-9, 1e6, math.Inf(1), wireCost, 0}}
	if _, m := w.run(40); m.of(w.costs).cpu > .3e-9 {
		t.Errorf("works at what does not compress: %v", m)
	}
}

func TestLadderMixesWhereBothBind(t *testing.T) {
	w := world{plant: plant{programs, 2, 2e-9, 125e6, math.Inf(1), wireCost, 0}}
	got, m := w.run(60)
	level, best := w.bestFixed()
	used := 0
	for _, share := range m {
		if share > .05 {
			used++
		}
	}
	if used != 2 || got < best {
		t.Errorf("%v: %.0f MB/s, level %d alone has %.0f", m, got/1e6, level, best/1e6)
	}
}

// TestLadderFollowsTheLink changes the link's rate under it.
func TestLadderFollowsTheLink(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	e, m := newEstimate(), only(firstLevel)
	var took [levels]time.Duration
	var payload [levels]int
	for l, c := range programs[:alone] {
		took[l], payload[l] = time.Duration(c.cpu*block.MaxRaw*1e9), int(c.ratio*block.MaxRaw)
	}
	for _, mbits := range []float64{1000, 20, 10000, 100, 1000} {
		w := world{plant: plant{programs, 2, 2e-9, mbits * 1e6 / 8, math.Inf(1), wireCost, 0}, noise: .02}
		var rate float64
		for range 24 { // six seconds
			e.sample(block.MaxRaw, took, payload)
			var v window
			v, rate = w.pass(m, r, .25)
			m, _ = e.take(v)
		}
		if _, best := w.bestFixed(); rate < .92*best {
			t.Errorf("at %.0f Mbit/s: %v has %.1f MB/s, the best level %.1f", mbits, m, rate/1e6, best/1e6)
		}
	}
}

// TestLadderIsNotStarved: where others take most of the cores, that we have less than half is no sign that nothing of ours binds. More work would make it less still.
func TestLadderIsNotStarved(t *testing.T) {
	for name, costs := range map[string][levels]cost{"programs": programs, "texts": texts} {
		for _, mbits := range []float64{1000, 3000} {
			for _, greed := range []float64{.6, .7, .8} {
				w := world{plant: plant{costs, 2, 3e-9, mbits * 1e6 / 8, math.Inf(1), wireCost, 0}, strangers: 4, greed: greed, noise: .03}
				got, m := w.run(80)
				if level, best := w.bestFixed(); got < .9*best {
					t.Errorf("%s at %.0f Mbit/s, others on %.0f %% of the cores: %.1f MB/s by %.2f, level %d alone has %.1f (%.2f)", name, mbits, 100*greed, got/1e6, m, level, best/1e6, got/best)
				}
			}
		}
	}
}

// TestLadderSitsHiccupsOut: a link that stands still for a moment is not a slow one.
func TestLadderSitsHiccupsOut(t *testing.T) {
	for name, costs := range map[string][levels]cost{"programs": programs, "texts": texts} {
		for _, strangers := range []float64{0, 2} {
			w := world{plant: plant{costs, 2, 3e-9, 125e6, math.Inf(1), wireCost, 0}, strangers: strangers, noise: .03, hiccups: .2}
			got, m := w.run(200)
			best, by := 0.0, block.Raw
			for l := range alone {
				r, sum := rand.New(rand.NewPCG(1, 2)), 0.0
				for range 2000 {
					_, rate := w.pass(only(block.Level(l)), r, .25)
					sum += rate / 2000
				}
				if sum > best {
					best, by = sum, block.Level(l)
				}
			}
			if got < .9*best {
				t.Errorf("%s, strangers on %.0f cores: %.1f MB/s by %.2f, level %d alone has %.1f (%.2f)", name, strangers, got/1e6, m, by, best/1e6, got/best)
			}
		}
	}
}

// TestRawIsInNoMix: all is compressed, or nothing.
func TestRawIsInNoMix(t *testing.T) {
	for _, costs := range [][levels]cost{programs, texts, packed} {
		for _, cores := range []float64{.3, .7, 1, 2, 8} {
			for mbits := 10.0; mbits < 20000; mbits *= 1.3 {
				p := plant{costs, cores, 3e-9, mbits * 1e6 / 8, math.Inf(1), wireCost, 0}
				if m := p.best(); m[block.Raw] > 0 && m[block.Raw] < 1 {
					t.Fatalf("%.1f cores at %.0f Mbit/s: %.2f", cores, mbits, m)
				}
			}
		}
	}
}

func TestPickTakesLevelsInTheirShares(t *testing.T) {
	l := &ladder{pinned: true}
	l.now.Store(&mix{0, 0, .25, .75, 0})
	p := pick{ladder: l}
	var got [levels]int
	for range 1000 {
		got[p.level(nil)]++
	}
	if got != [levels]int{0, 0, 250, 750, 0} {
		t.Errorf("got %v", got)
	}
	l.now.Store(&mix{1})
	for range 10 {
		if got := p.level(nil); got != block.Raw {
			t.Fatal(fmt.Sprint("got ", got, " of a mix that it is not in"))
		}
	}
}

// TestLadderStreamsWhereTheLinkIsSlow lets it work where blocks may go in streams, which it can't try on samples: a stream gains by what came before, and has one core.
func TestLadderStreamsWhereTheLinkIsSlow(t *testing.T) {
	for name, c := range map[string]struct {
		costs  [levels]cost
		stream cost
		mbits  float64
		cold   float64 // what samples cost, as a multiple of what the same costs all the time
		easy   float64 // to which share of what all compresses to samples do, at first
		want   bool
	}{
		"TextAt20":              {texts, cost{17e-9, .19}, 20, 1, 1, true},
		"ProgramsAt20":          {programs, cost{28e-9, .42}, 20, 1, 1, true},
		"ProgramsAt100":         {programs, cost{28e-9, .42}, 100, 1, 1, true},
		"ProgramsAt100Cold":     {programs, cost{28e-9, .42}, 100, 4, 1, true},
		"ProgramsAt100ColdEasy": {programs, cost{28e-9, .42}, 100, 4, .4, true},
		"ProgramsAt1000":        {programs, cost{28e-9, .42}, 1000, 1, 1, false},
		"ProgramsAt1000Cold":    {programs, cost{28e-9, .42}, 1000, 4, 1, false},
		"ProgramsAt10000":       {programs, cost{28e-9, .42}, 10000, 1, 1, false},
		"GainsNothing":          {programs, cost{60e-9, .55}, 20, 1, 1, false}, // not as thought
		"Packed":                {packed, cost{5e-9, 1}, 20, 1, 1, false},
	} {
		r := rand.New(rand.NewPCG(1, 2))
		e := newEstimate()
		e.streams = 1
		m := only(e.first())
		c.costs[block.LevelStream] = c.stream
		c.costs[block.LevelStreamBest] = cost{bestCPU * c.stream.cpu, math.Pow(c.stream.ratio, bestPower)}
		w := world{plant: plant{c.costs, 2, 2e-9, c.mbits * 1e6 / 8, math.Inf(1), wireCost, 1}, noise: .03}
		streams, late, rate := 0.0, 0.0, 0.0
		for i := range 80 {
			easy := 1.
			if i < 20 {
				easy = c.easy
			}
			sampled := func(k cost) cost { return cost{k.cpu * c.cold, k.ratio * easy} }
			var took [levels]time.Duration
			var payload [levels]int
			for l, k := range c.costs {
				k = sampled(k)
				took[l], payload[l] = time.Duration(k.cpu*block.MaxRaw*1e9), int(k.ratio*block.MaxRaw)
			}
			e.sample(block.MaxRaw, took, payload)
			for range 4 * int(m[block.LevelStream]) {
				e.streamed(block.LevelStream, block.MaxRaw, sampled(c.stream), sampled(c.costs[block.LevelZstd2]))
			}
			v, now := w.pass(m, r, .25)
			if next, ok := e.take(v); ok {
				m = next
			}
			streams += m.streams() / 80
			if i >= 40 {
				late, rate = late+m.streams()/40, rate+now/40
			}
		}
		if c.want && streams < .9 || !c.want && late > .1 {
			t.Errorf("%s: %.0f %% of the time in streams, %.0f %% in the end, want them %v", name, 100*streams, 100*late, c.want)
		}
		if level, best := w.bestFixed(); rate < .9*best {
			t.Errorf("%s: %.1f MB/s, level %d alone has %.1f", name, rate/1e6, level, best/1e6)
		}
	}
}

// TestStreamsGoDeeperWhereTheLinkLeavesTime: at six times the work, a sixteenth less is sent. It is not known beforehand what it costs, nor what it gives, of this very data.
func TestStreamsGoDeeperWhereTheLinkLeavesTime(t *testing.T) {
	stream, best := cost{10e-9, .295}, cost{60e-9, .275}
	for name, c := range map[string]struct {
		best      cost
		mbits     float64
		cores     float64
		strangers float64
		hiccups   float64
		until     int // the window from which the link has 1 Gbit/s; 0: none
		want      bool
	}{
		"At5":             {best, 5, 2, 0, 0, 0, true},
		"At20":            {best, 20, 2, 0, 0, 0, true},
		"At20OneCore":     {best, 20, 1, 0, 0, 0, true},
		"At20Hiccups":     {best, 20, 2, 0, .1, 0, true},
		"At20Strangers":   {best, 20, 4, 6, 0, 0, true},
		"At50":            {best, 50, 2, 0, 0, 0, false},
		"At100":           {best, 100, 2, 0, 0, 0, false},
		"At20Slower":      {cost{200e-9, .275}, 20, 2, 0, 0, 0, false},
		"At20GivesLittle": {cost{60e-9, .294}, 20, 2, 0, 0, 0, true}, // and costs nothing: the core is idle
		"At20Then1000":    {best, 20, 2, 0, 0, 200, false},
	} {
		r := rand.New(rand.NewPCG(1, 2))
		e := newEstimate()
		e.streams = 1
		m := only(e.first())
		costs := programs
		costs[block.LevelStream], costs[block.LevelStreamBest] = stream, c.best
		w := world{plant: plant{costs, c.cores, 2e-9, c.mbits * 1e6 / 8, math.Inf(1), wireCost, 1}, strangers: c.strangers, hiccups: c.hiccups, noise: .03}
		late, rate, changes := 0.0, 0.0, 0
		for i := range 400 {
			if i == c.until && i > 0 {
				w.link = 1000e6 / 8
			}
			var took [levels]time.Duration
			var payload [levels]int
			for l, k := range costs[:alone] {
				took[l], payload[l] = time.Duration(k.cpu*block.MaxRaw*1e9), int(k.ratio*block.MaxRaw)
			}
			e.sample(block.MaxRaw, took, payload)
			if level := block.LevelStream; m.streams() > 0 {
				if m[block.LevelStreamBest] > 0 {
					level = block.LevelStreamBest
				}
				e.streamed(level, block.MaxRaw, costs[level], costs[block.LevelZstd2])
			}
			v, now := w.pass(m, r, .25)
			if next, ok := e.take(v); ok {
				if next[block.LevelStreamBest] != m[block.LevelStreamBest] {
					changes++
				}
				m = next
			}
			if i >= 300 {
				late, rate = late+m[block.LevelStreamBest]/100, rate+now/100
			}
		}
		if c.want && late < .9 || !c.want && late > .1 {
			t.Errorf("%s: %.0f %% of the end so deep, want it %v", name, 100*late, c.want)
		}
		if changes > 12 {
			t.Errorf("%s: changed %d times", name, changes)
		}
		if c.until == 0 {
			if most := max(w.rate(only(block.LevelStream)), w.rate(only(block.LevelStreamBest))); rate < .95*most*(1-c.hiccups/2) {
				t.Errorf("%s: %.1f MB/s, a level of streams alone has %.1f", name, rate/1e6, most/1e6)
			}
		}
	}
}
