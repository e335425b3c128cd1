package policy

import (
	"slices"
	"time"

	"failback/replication"
)

// Drop returns the points that the grid does not keep, by rising number. now serves only to tell whether a pin has ended: ages are relative to the newest points. What it leaves,
// it leaves again: dropping is done when it returns nothing. An invalid grid drops nothing.
func Drop(points []Point, now time.Time, g Grid) []replication.PointID {
	if g.Validate() != nil {
		return nil
	}
	line := byNumber(points)
	safe := protection(line, now)
	var all []replication.PointID
	for { // the second round finds something only where the clock jumped backwards and a drop has joined what the jump divided
		losers := g.losers(line)
		gone := make(map[replication.PointID]bool)
		for _, id := range losers {
			if safe[id] == "" {
				gone[id] = true
				all = append(all, id)
			}
		}
		if len(gone) == 0 {
			slices.Sort(all)
			return all
		}
		line = slices.DeleteFunc(line, func(p Point) bool { return gone[p.ID] })
	}
}

// slot is a run of a line's points, from lo up to hi, of which one of each kind is kept.
type slot struct {
	lo, hi int
	step   int // of the grid; len(grid): past its end
}

// losers returns the points that are not the best of their slot, or past the grid's end.
func (g Grid) losers(line []Point) []replication.PointID {
	var ids []replication.PointID
	for _, s := range g.slots(line) {
		points := line[s.lo:s.hi]
		switch {
		case s.step == len(g):
			for _, p := range points {
				ids = append(ids, p.ID)
			}
		case g[s.step].Every > 0 && s.hi < len(line): // the newest slot is not full yet
			ids = append(ids, others(points)...)
		}
	}
	return ids
}

// others returns all points but the best of each kind.
func others(points []Point) []replication.PointID {
	best := make(map[replication.Kind]*Point)
	for i := range points {
		p := &points[i]
		if b := best[p.Kind]; b == nil || p.rank() > b.rank() {
			best[p.Kind] = p
		}
	}
	var ids []replication.PointID
	for i := range points {
		if p := &points[i]; best[p.Kind] != p {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// slots divides a line, newest first. The newest slot is not full yet and counts as no age; nor do those beside a backward jump of the clock. A step ends where as much full history is newer as
// it and those before it are long, at the next border of a slot of the coarser step.
func (g Grid) slots(line []Point) []slot {
	var all []slot
	var newer time.Duration // full history newer than the slot
	step, end := 0, g[0].For
	joined := func(i int) bool { return i > 0 && i < len(line) && !line[i].Time.Before(line[i-1].Time) } // i and the one before it, by the clock
	for hi := len(line); hi > 0; {
		for step < len(g) && newer >= end && !(joined(hi) && number(line[hi-1].Time, g.size(step+1)) == number(line[hi].Time, g.size(step+1))) {
			if step++; step < len(g) {
				end += g[step].For
			}
		}
		if step == len(g) {
			return append(all, slot{0, hi, step})
		}
		lo, size := hi-1, g.size(step)
		for joined(lo) && number(line[lo-1].Time, size) == number(line[lo].Time, size) {
			lo--
		}
		if joined(hi) && joined(lo) {
			newer += size
		}
		all = append(all, slot{lo, hi, step})
		hi = lo
	}
	return all
}

// number returns the number of the slot of a size that a time lies in.
func number(t time.Time, size time.Duration) int64 {
	seconds, s := t.Unix(), int64(size/time.Second)
	n := seconds / s
	if seconds%s < 0 {
		n--
	}
	return n
}
