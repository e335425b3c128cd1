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

// catchUp is how much of what went by while somebody waited may go at once: on a machine that is busy those who wait are woken late, and what they did not take meanwhile is theirs.
const catchUp = 100 * time.Millisecond

// Bounds of what goes at once, in bytes: not less than a packet, not more than the sockets gather.
const (
	leastAtOnce = 1460
	mostAtOnce  = 256 << 10
)

// stepFor is how long a packet may take to come together: of a share that is smaller, less goes at once. Who gets nothing for long takes the connection for dead.
const stepFor = 5 * time.Second

// activeFor is how long a group that asked for something has its share.
const activeFor = 300 * time.Millisecond

// bucket is what a group may send now.
type bucket struct {
	tokens float64
	asked  time.Time
	waits  int // who was told to wait, and has not come back
}

func (b *bucket) active(now time.Time) bool { return b.waits > 0 || now.Sub(b.asked) < activeFor }

// core is a Valve without its waiting: it is told the time.
type core struct {
	limits  Limits
	at      time.Time // up to when buckets are filled
	buckets map[string]*bucket
}

func (c *core) weight(group string) int { return max(c.limits.Groups[group].Weight, 1) }

// divide divides a rate between groups, or what of it comes in a while.
func (c *core) divide(all []Demand, seconds float64) []float64 {
	for i := range all {
		all[i].Least = Least(c.limits.Rate, len(all)) * seconds
	}
	return Divide(float64(c.limits.Rate)*seconds, all)
}

// share returns what a group may send a second beside all that are active.
func (c *core) share(now time.Time, group string) float64 {
	all := []Demand{{Weight: c.weight(group), Want: -1}}
	for name, b := range c.buckets {
		if name != group && b.active(now) {
			all = append(all, Demand{Weight: c.weight(name), Want: -1})
		}
	}
	return c.divide(all, 1)[0]
}

// fill gives active groups what has come since, each no more than it can keep; what one can't keep is the others'.
func (c *core) fill(now time.Time) {
	passed := min(now.Sub(c.at), activeFor).Seconds()
	c.at = now
	if passed <= 0 {
		return
	}
	var active []*bucket
	var all []Demand
	for name, b := range c.buckets {
		if !b.active(now) {
			delete(c.buckets, name)
			continue
		}
		active = append(active, b)
		all = append(all, Demand{Weight: c.weight(name), Want: -1})
	}
	for i, share := range c.divide(all, 1) {
		keep := max(float64(c.limits.Rate)*burst.Seconds(), leastAtOnce) // all of it, where others are at rest
		if active[i].waits > 0 {
			keep = max(keep, share*catchUp.Seconds())
		}
		all[i].Want = max(0, keep-active[i].tokens)
	}
	for i, part := range c.divide(all, passed) {
		active[i].tokens += part
	}
}

// take says how many of n bytes of a group may go now, or how long to wait before it asks again: waited then says so.
func (c *core) take(now time.Time, group string, n int, waited bool) (granted int, wait time.Duration) {
	if c.limits.Rate <= 0 || c.limits.Groups[group].Pass {
		if waited {
			c.leave(group)
		}
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
	if waited {
		b.waits--
	}
	share := c.share(now, group)
	step := min(float64(n), mostAtOnce, max(share*burst.Seconds()/2, min(leastAtOnce, share*stepFor.Seconds())))
	if b.tokens >= step {
		granted = min(n, int(min(b.tokens, mostAtOnce)))
		b.tokens -= float64(granted)
		return max(granted, 1), 0
	}
	b.waits++
	return 0, time.Duration(math.Ceil((step-b.tokens)/share*1e9)) + time.Microsecond
}

// leave says that one of a group waits no more.
func (c *core) leave(group string) { c.buckets[group].waits-- }

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
	for waited := false; ; waited = true {
		v.mu.Lock()
		granted, wait := v.core.take(time.Now(), group, n, waited)
		v.mu.Unlock()
		if granted > 0 {
			return granted
		}
		t := time.NewTimer(min(wait, lookAgain))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			v.mu.Lock()
			defer v.mu.Unlock()
			v.core.leave(group)
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
	return Rate(c.share(time.Now(), group))
}
