package processserver

import (
	"math"

	"failback/replication/block"
)

// levels are all there are: those whose blocks decode alone, cheapest first, block.Raw to block.LevelZstd2; and those of streams, block.LevelStream and block.LevelStreamBest.
const (
	alone  = int(block.LevelZstd2) + 1
	levels = int(block.LevelStreamBest) + 1
)

// cost is what a level costs and what it gives, measured on blocks of the very data.
type cost struct {
	cpu   float64 // CPU seconds a raw byte
	ratio float64 // payload bytes a raw byte
}

// mix says which share of the content is compressed at which level. The shares add up to 1.
type mix [levels]float64

func only(l block.Level) (m mix) { m[l] = 1; return m }

// uses says which levels are in the mix.
func (m mix) uses() (used [levels]bool) {
	for l, share := range m {
		used[l] = share > 0
	}
	return used
}

// streams returns the share that goes in streams.
func (m mix) streams() float64 { return m[block.LevelStream] + m[block.LevelStreamBest] }

// level returns the level of all, if it is one of those whose blocks decode alone.
func (m mix) level() (block.Level, bool) {
	for l := range alone {
		if m[l] == 1 {
			return block.Level(l), true
		}
	}
	return 0, false
}

// of returns what the mix costs and gives.
func (m mix) of(costs [levels]cost) (c cost) {
	for l, share := range m {
		c.cpu += share * costs[l].cpu
		c.ratio += share * costs[l].ratio
	}
	return c
}

// plant is what content passes through, as far as it bounds the rate. +Inf: it does not bind.
type plant struct {
	costs  [levels]cost
	cores  float64 // CPU seconds a second
	fixed  float64 // CPU seconds a raw byte of everything but compression and what is paid for each byte sent
	link   float64 // payload bytes a second
	source float64 // raw bytes a second
	wire   float64 // CPU seconds a payload byte: TLS, the socket, and whatever this machine does further on

	streams float64 // lanes that have streams at a time, each on one core; 0: they can't be chosen
}

// rate returns how many raw bytes a second pass with a mix.
func (p plant) rate(m mix) float64 {
	c := m.of(p.costs)
	cpu := p.cores / (p.fixed + c.cpu + p.wire*c.ratio)
	for l := alone; l < levels; l++ {
		if m[l] > 0 {
			cpu = min(cpu, p.streams/(m[l]*p.costs[l].cpu))
		}
	}
	return min(cpu, p.link/c.ratio, p.source)
}

// best returns the mix with the highest rate: where compression and the link are both busy all the time, or, where one of them can't be, what spares the other. Of
// mixes that are as fast, the one that sends least. With two things that bind, no mix of more than two levels is better than all of two.
// LevelStream is in none, as a part of a stream gains by all that comes before it. What goes at it may go at LevelStreamBest: estimate.deepen says.
// What is not compressed is in none: it gains little by the reckoning, and where others on this machine, such as the other end, pay for what is sent and strangers hide that, it loses a fifth.
func (p plant) best() mix {
	var found mix
	rate, ratio := -1.0, math.Inf(1)
	try := func(m mix) {
		const alike = 0.03 // costs are not known any better, and what is sent costs others too, which is seen late
		r, c := p.rate(m), m.of(p.costs).ratio
		if r > rate*(1+alike) || r > rate*(1-alike) && c < ratio {
			found, rate, ratio = m, max(r, rate), c
		}
	}
	for a := range alone {
		try(only(block.Level(a)))
	}
	if p.streams > 0 {
		try(only(block.LevelStream))
	}
	for a := int(block.LevelLZ4); a < alone; a++ {
		for b := a + 1; b < alone; b++ {
			if s, ok := p.meet(a, b); ok {
				m := mix{}
				m[a], m[b] = 1-s, s
				try(m)
			}
		}
	}
	return found
}

// meet returns the share of level b, the rest being level a, at which the cores and the link take the same rate; or, where the source binds before they do, at which the
// cores take just as much.
func (p plant) meet(a, b int) (share float64, ok bool) {
	x, y := p.costs[a], p.costs[b]
	want := func(c cost) float64 { // 0 where both are busy
		used := p.fixed + c.cpu + p.wire*c.ratio
		if !math.IsInf(p.source, 1) {
			return p.cores - p.source*used
		}
		return p.cores*c.ratio - p.link*used
	}
	if math.IsInf(p.link, 1) && math.IsInf(p.source, 1) {
		return 0, false
	}
	at0, at1 := want(x), want(y)
	if at0 == at1 || (at0 < 0) == (at1 < 0) {
		return 0, false
	}
	share = at0 / (at0 - at1)
	return share, share > 0 && share < 1
}
