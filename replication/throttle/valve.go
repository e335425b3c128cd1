package throttle

import (
	"context"
	"math"
	"sync"
	"time"
)

// Limits is what a process server may send.
type Limits struct {
	Rate   Rate // of all its groups together; 0: no limit
	Groups map[string]Share
}

// Share is a group's part in it.
type Share struct {
	Weight int
	Pass   bool // it is let through: what it sends counts for nothing
}

// burst is how much may go at once after a pause: smooth within a tenth of a second.
const burst = 25 * time.Millisecond

// Bounds of what goes at once, in bytes: not less than a packet, not more than the sockets gather.
const (
	leastAtOnce = 1460
	mostAtOnce  = 256 << 10
)

// activeFor is how long a group that asked for something has its share.
const activeFor = 300 * time.Millisecond

// bucket is what a group may send now.
type bucket struct {
	tokens float64
	asked  time.Time
}

// core is a Valve without its waiting: it is told the time.
type core struct {
	limits  Limits
	at      time.Time // up to when buckets are filled
	buckets map[string]*bucket
}

// weights returns the weight of a group and that of all that are active.
func (c *core) weights(now time.Time, group string) (one, all float64) {
	for name, b := range c.buckets {
		w := float64(max(c.limits.Groups[name].Weight, 1))
		if now.Sub(b.asked) < activeFor || name == group {
			all += w
		}
		if name == group {
			one = w
		}
	}
	return one, all
}

// fill gives active groups what has come since, each no more than it can keep; what one can't keep is the others'.
func (c *core) fill(now time.Time) {
	passed := now.Sub(c.at)
	c.at = now
	if passed <= 0 {
		return
	}
	for name, b := range c.buckets {
		if now.Sub(b.asked) >= activeFor {
			delete(c.buckets, name)
		}
	}
	rate := float64(c.limits.Rate)
	var names []string
	var room []Demand
	for name, b := range c.buckets {
		w := max(c.limits.Groups[name].Weight, 1)
		names = append(names, name)
		keep := max(rate*burst.Seconds(), leastAtOnce) // all of it, where others are at rest
		room = append(room, Demand{Weight: w, Want: max(0, keep-b.tokens)})
	}
	for i, part := range Divide(rate*min(passed, activeFor).Seconds(), room) {
		c.buckets[names[i]].tokens += part
	}
}

// take says how many of n bytes of a group may go now, or how long to wait before it asks again.
func (c *core) take(now time.Time, group string, n int) (granted int, wait time.Duration) {
	if c.limits.Rate <= 0 || c.limits.Groups[group].Pass {
		return n, 0
	}
	b := c.buckets[group]
	if b == nil {
		b = &bucket{}
		c.buckets[group] = b
	}
	c.fill(now)
	c.buckets[group] = b // it may have rested for long
	b.asked = now
	one, all := c.weights(now, group)
	share := float64(c.limits.Rate) * one / all
	step := min(float64(n), mostAtOnce, max(share*burst.Seconds()/2, leastAtOnce))
	if b.tokens >= step {
		granted = min(n, int(min(b.tokens, mostAtOnce)))
		b.tokens -= float64(granted)
		return max(granted, 1), 0
	}
	return 0, time.Duration(math.Ceil((step-b.tokens)/share*1e9)) + time.Microsecond
}

// Valve keeps groups to their limits. It is safe for concurrent use.
type Valve struct {
	mu   sync.Mutex
	core core
}

// NewValve returns a valve without limits.
func NewValve() *Valve { return &Valve{core: core{buckets: map[string]*bucket{}}} }

// Set changes the limits. It counts at once, for those too that wait.
func (v *Valve) Set(l Limits) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.core.limits.Rate == 0 { // nothing was counted
		v.core.at = time.Now()
	}
	v.core.limits = l
}

// lookAgain is how long one waits at most before it looks whether the limits have changed.
const lookAgain = 50 * time.Millisecond

// Allow waits until some of n bytes of a group may go, and returns how many: 1 to n. When ctx has ended it waits no more.
func (v *Valve) Allow(ctx context.Context, group string, n int) int {
	for {
		v.mu.Lock()
		granted, wait := v.core.take(time.Now(), group, n)
		v.mu.Unlock()
		if granted > 0 {
			return granted
		}
		t := time.NewTimer(min(wait, lookAgain))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return n
		}
	}
}

// Limit returns what a group may send a second now, alone or beside those that send too; 0: no limit.
func (v *Valve) Limit(group string) Rate {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := &v.core
	if c.limits.Rate <= 0 || c.limits.Groups[group].Pass {
		return 0
	}
	now := time.Now()
	one, all := c.weights(now, group)
	if one == 0 { // at rest: what it would have
		one = float64(max(c.limits.Groups[group].Weight, 1))
		all += one
	}
	return Rate(float64(c.limits.Rate) * one / all)
}
