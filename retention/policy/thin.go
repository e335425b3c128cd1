package policy

import (
	"fmt"
	"time"

	"failback/replication"
)

// give chooses the point that is given up for space: the one whose loss costs least (see the package's doc).
func (x *state) give() Action {
	if x.Yield == 0 {
		return Action{Do: Nothing}
	}
	p, how := x.victim()
	if p == nil {
		return Action{Do: Nothing}
	}
	return Action{
		Do: Give, Point: p.ID, Frees: p.Frees,
		Why: fmt.Sprintf("dropping point %d of %s early, %s: %s", p.ID, clock(p.Time, x.now), how, x.tight()),
	}
}

// victim returns the point to be given up, and in what way it is the least loss; nil: none.
func (x *state) victim() (*Point, string) {
	if p := x.first(Drop(x.line, x.now, x.Grid), -1); p != nil {
		return p, "which the grid does not keep"
	}
	if len(x.line) <= MinPoints {
		return nil, ""
	}
	oldest := x.oldest()
	if oldest == nil {
		return nil, ""
	}
	if newest := x.line[len(x.line)-1]; newest.Time.Sub(oldest.Time) > x.Grid.Reach()+x.Grid.size(len(x.Grid)-1) {
		return oldest, fmt.Sprintf("the oldest, from before the last %s", ago(x.Grid.Reach()))
	}
	for _, r := range x.Grid.ladder() {
		if p := x.first(x.Grid.thinned(x.line, r), oldest.Frees); p != nil {
			return p, fmt.Sprintf("thinning to one every %s", ago(r.size))
		}
	}
	return oldest, "the oldest"
}

// first returns the oldest of the points with these numbers that may be dropped and gives back enough, where both are known: a part of what the oldest would.
func (x *state) first(ids []replication.PointID, oldest int64) *Point {
	for _, id := range ids {
		if p := &x.line[x.index(id)]; x.safe[id] == "" && (oldest < 0 || p.Frees < 0 || p.Frees >= oldest/leastGain) {
			return p
		}
	}
	return nil
}

// oldest returns the oldest point that may be dropped.
func (x *state) oldest() *Point {
	for i := range x.line {
		if p := &x.line[i]; x.safe[p.ID] == "" {
			return p
		}
	}
	return nil
}

// rung is one way to make a grid coarser: its step, with slots of a size.
type rung struct {
	step int
	size time.Duration
}

// ladder returns the ways to make the grid coarser, the least loss first: the last step, until it has one slot, then the one before, and so on.
func (g Grid) ladder() []rung {
	var all []rung
	for i := len(g) - 1; i >= 0; i-- {
		size := 2 * g[i].Every
		if size == 0 {
			size = max(g.size(i)/8, time.Second).Truncate(time.Second)
		}
		for ; size <= g[i].For; size *= 2 {
			all = append(all, rung{i, size})
		}
	}
	return all
}

// thinned returns the points that a rung does not keep, by rising number. Only the rung's step is looked at; age is counted as ever.
func (g Grid) thinned(line []Point, r rung) []replication.PointID {
	lo, hi := len(line), 0
	for _, s := range g.slots(line) {
		if s.step == r.step {
			lo, hi = min(lo, s.lo), max(hi, s.hi)
		}
	}
	var ids []replication.PointID
	for lo < hi {
		end := lo + 1
		for end < hi && !line[end].Time.Before(line[end-1].Time) && number(line[end].Time, r.size) == number(line[lo].Time, r.size) {
			end++
		}
		ids = append(ids, others(line[lo:end])...)
		lo = end
	}
	return ids
}

// clock writes a time of day, with the day unless it is today.
func clock(t, now time.Time) string {
	t = t.In(now.Location())
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// ago writes a length of time for people, roughly.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*hour && d%hour != 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 4*day:
		return fmt.Sprintf("%d h", d/hour)
	}
	return fmt.Sprintf("%d d", d/day)
}
