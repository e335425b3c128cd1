package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"failback/replication"
)

// Step is one stretch of a grid: over For, one point of each kind every Every; 0: all of them.
type Step struct {
	For   time.Duration
	Every time.Duration
}

// Grid says which points are kept, from the newest back: its steps follow one another. Parse and Reaching make none that Validate refuses.
type Grid []Step

// Bounds of a grid.
const (
	MaxSteps = 8
	MaxReach = 10 * 366 * 24 * time.Hour
)

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

// Failback is the default: all points of the last two hours, then one an hour, up to a day.
func Failback() Grid { return Reaching(day) }

// Reaching returns the grid that the product which this one replaces has for a retention: all points of the last two hours; then, with up to a day, one an hour; with more, one every two
// hours up to seven days, and one every four beyond. Its steps are rounded up to whole slots; a reach of 0 has the last two hours.
func Reaching(reach time.Duration) Grid {
	reach = min(max(reach, 0), MaxReach-day)
	var g Grid
	add := func(end, every time.Duration) {
		length := min(end, reach) - g.Reach()
		if length <= 0 {
			return
		}
		unit := max(every, time.Second)
		g = append(g, Step{(length + unit - 1) / unit * unit, every})
	}
	if reach == 0 {
		return Grid{{2 * hour, 0}}
	}
	add(2*hour, 0)
	if reach <= day {
		add(day, hour)
		return g
	}
	add(7*day, 2*hour)
	add(MaxReach, 4*hour)
	return g
}

// Reach returns how far back the grid goes.
func (g Grid) Reach() time.Duration {
	var d time.Duration
	for _, s := range g {
		d += s.For
	}
	return d
}

// Validate says what is wrong with a grid, and how it would be right.
func (g Grid) Validate() error {
	if len(g) == 0 || len(g) > MaxSteps {
		return fmt.Errorf("a grid has 1 to %d steps, not %d: write such as all for 2h, every 1h for 22h", MaxSteps, len(g))
	}
	var before, reach time.Duration
	for i, s := range g {
		switch {
		case s.For < time.Second || s.Every < 0 || s.For%time.Second != 0 || s.Every%time.Second != 0:
			return fmt.Errorf("step %d: its times are whole seconds, and it is at least one long", i+1)
		case s.For > MaxReach-reach:
			return fmt.Errorf("step %d: the grid reaches farther back than %s", i+1, text(MaxReach))
		case s.Every == 0 && i > 0:
			return fmt.Errorf("step %d keeps all points, but follows one that does not keep them, or keeps them all as well: only the first step can keep all", i+1)
		case s.Every > s.For:
			return fmt.Errorf("step %d keeps one point every %s, but is only %s long: make it that long, or leave it out", i+1, text(s.Every), text(s.For))
		case before > 0 && (s.Every <= before || s.Every%before != 0):
			return fmt.Errorf("step %d keeps one point every %s after one every %s: from step to step it becomes a multiple, such as %s, as the points kept there are chosen from those that were kept before",
				i+1, text(s.Every), text(before), text(2*before))
		}
		before, reach = s.Every, reach+s.For
	}
	return nil
}

// Stretch returns the grid for points that are made every interval: slots that would have less than one point each are made longer, so that the age counted in slots is that of the clock.
func (g Grid) Stretch(interval time.Duration) Grid {
	up := func(d, unit time.Duration) time.Duration { return (d + unit - 1) / unit * unit }
	var out Grid
	for _, s := range g {
		n := len(out)
		if s.Every > 0 {
			unit := s.Every
			if n > 0 && out[n-1].Every > 0 {
				unit = out[n-1].Every
			}
			s.Every = up(max(s.Every, interval), unit)
			s.For = max(s.For, s.Every)
		}
		if n > 0 && out[n-1].Every == s.Every {
			out[n-1].For += s.For
		} else {
			out = append(out, s)
		}
	}
	return out
}

// size returns how long the slots of a step are in which age is counted. A step that keeps all has those of the step that follows.
func (g Grid) size(step int) time.Duration {
	step = min(step, len(g)-1)
	switch {
	case g[step].Every > 0:
		return g[step].Every
	case step+1 < len(g):
		return g[step+1].Every
	}
	return max(g[step].For/4, time.Second).Truncate(time.Second)
}

// Count returns how many points of one kind the grid keeps when they are made every interval, about.
func (g Grid) Count(interval time.Duration) int64 {
	var n int64
	for i, s := range g {
		every := max(s.Every, interval, time.Second)
		length := s.For
		if i == 0 {
			length += g.size(0) // the slot that is not full yet
		}
		n += int64((length + every - 1) / every)
	}
	return n
}

// Parse reads a grid: failback; how far back, such as 24h or 3d (see Reaching); or steps, such as all for 2h, every 1h for 22h.
func Parse(s string) (Grid, error) {
	const how = "write failback, how far back such as 24h or 7d, or steps such as all for 2h, every 1h for 22h"
	s = strings.TrimSpace(s)
	if s == "failback" {
		return Failback(), nil
	}
	if !strings.Contains(s, "for") {
		d, err := replication.ParseDuration(s)
		if err != nil {
			return nil, fmt.Errorf("%w; or %s", err, how)
		}
		if time.Duration(d) > MaxReach-day {
			return nil, fmt.Errorf("%s is farther back than %s", d, text(MaxReach-day))
		}
		return Reaching(time.Duration(d)), nil
	}
	var g Grid
	for _, part := range strings.Split(s, ",") {
		f := strings.Fields(part)
		if len(f) > 0 && f[0] == "then" {
			f = f[1:]
		}
		switch {
		case len(f) == 3 && f[0] == "all" && f[1] == "for":
			f = []string{"every", "0s", "for", f[2]}
		case len(f) != 4 || f[0] != "every" || f[2] != "for":
			return nil, fmt.Errorf("%q is not a step of a grid: %s", strings.TrimSpace(part), how)
		}
		step, err := ParseStep(f[3], f[1])
		if err != nil {
			return nil, err
		}
		g = append(g, step)
	}
	return g, g.Validate()
}

// ParseStep reads one step's two durations; every may be all.
func ParseStep(length, every string) (Step, error) {
	f, err := replication.ParseDuration(length)
	if err != nil {
		return Step{}, fmt.Errorf("for: %w", err)
	}
	if every == "all" || every == "0" {
		return Step{For: time.Duration(f)}, nil
	}
	e, err := replication.ParseDuration(every)
	if err != nil {
		return Step{}, fmt.Errorf("every: %w; or write all", err)
	}
	return Step{time.Duration(f), time.Duration(e)}, nil
}

// String returns the grid in the form that Parse reads: its reach, where it is the one of Reaching, else its steps.
func (g Grid) String() string {
	if slices.Equal(g, Reaching(g.Reach())) {
		return text(g.Reach())
	}
	return g.Steps()
}

// Steps returns the steps in words that Parse reads.
func (g Grid) Steps() string {
	var parts []string
	for _, s := range g {
		if s.Every == 0 {
			parts = append(parts, "all for "+text(s.For))
		} else {
			parts = append(parts, "every "+text(s.Every)+" for "+text(s.For))
		}
	}
	return strings.Join(parts, ", ")
}

// MarshalText writes the grid as String has it.
func (g Grid) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

func text(d time.Duration) string { return replication.Duration(d).String() }
