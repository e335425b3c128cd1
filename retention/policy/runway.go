package policy

import (
	"fmt"
	"math"
	"time"
)

// Runway says how long a journal reaches back, and how long its space lasts.
type Runway struct {
	Points int           `json:"points"`
	Covers time.Duration `json:"covers_nanos"`  // age of the oldest point
	Churn  float64       `json:"churn"`         // bytes that come to be stored, a second, lately; negative: not known
	Steady int64         `json:"steady"`        // bytes the journal takes when the grid is full, at this churn; negative: not known
	Limit  int64         `json:"limit"`         // bytes it may take; 0: not known
	Full   time.Time     `json:"full,omitzero"` // when it reaches Limit at this churn; zero: it does not
	now    time.Time
}

// churnHalf is the time after which what came counts half: a nightly job should show, and be forgotten by noon.
const churnHalf = 2 * hour

// Forecast reckons the runway of a journal that takes used bytes and may take limit. The churn is measured from what the points took when they came, compressed as it was.
//
// Whatever is newer than the grid's first step comes in full; of what is older, as much stays as has stayed until now: the thinned part's bytes an hour against the churn. As long as
// that can't be seen, all of it is taken to stay, which is so when different blocks change each time.
func Forecast(points []Point, g Grid, used, limit int64, now time.Time) Runway {
	line := byNumber(points)
	r := Runway{Points: len(line), Churn: churn(line), Steady: -1, Limit: limit, now: now}
	if len(line) == 0 {
		return r
	}
	r.Covers = max(now.Sub(line[0].Time), 0)
	if r.Churn < 0 || len(g) == 0 {
		return r
	}
	span := max(line[len(line)-1].Time.Sub(line[0].Time), 0)
	fine, reach := g[0].For, g.Reach()
	stays := 1.0
	if old := span - fine; old >= max(fine/2, g.size(0)) && r.Churn > 0 {
		stays = (float64(used) - r.Churn*fine.Seconds()) / old.Seconds() / r.Churn
		stays = min(max(stays, 0), 1)
	}
	r.Steady = int64(min(r.Churn*(fine.Seconds()+stays*(reach-fine).Seconds()), math.MaxInt64/2))
	if limit <= 0 || r.Steady <= limit && used < limit {
		return r
	}
	r.Full = now
	if used < limit {
		rate := r.Churn
		if span >= fine {
			rate *= stays
		}
		left := float64(limit-used) / rate
		if !(left < MaxReach.Seconds()) {
			r.Full = time.Time{}
			return r
		}
		r.Full = now.Add(time.Duration(left) * time.Second)
	}
	return r
}

// churn returns the bytes a second that the points brought, the newest weighing most; negative: not known.
func churn(line []Point) float64 {
	if len(line) < 2 {
		return -1
	}
	newest := line[len(line)-1].Time
	var bytes, seconds float64
	for i := 1; i < len(line); i++ {
		p, before := line[i], line[i-1]
		d := p.Time.Sub(before.Time).Seconds() / float64(p.ID-before.ID) // of those between that were dropped nothing is known: they were like this one
		if d <= 0 {
			continue
		}
		w := math.Exp2(-max(newest.Sub(p.Time), 0).Hours() / churnHalf.Hours())
		bytes += w * float64(p.Stored)
		seconds += w * d
	}
	if seconds == 0 {
		return -1
	}
	return bytes / seconds
}

// String says it in a line: covers 31 h; full at 14:20 at this churn.
func (r Runway) String() string {
	switch {
	case r.Points == 0:
		return "no points yet"
	case r.Churn < 0:
		return fmt.Sprintf("covers %s; runway unknown until there are two points", ago(r.Covers))
	case !r.Full.IsZero() && !r.Full.After(r.now):
		return fmt.Sprintf("covers %s; full: %s are not enough at this churn", ago(r.Covers), size(r.Limit))
	case !r.Full.IsZero():
		return fmt.Sprintf("covers %s; full at %s at this churn", ago(r.Covers), clock(r.Full, r.now))
	case r.Steady < 0 || r.Limit <= 0:
		return fmt.Sprintf("covers %s", ago(r.Covers))
	}
	return fmt.Sprintf("covers %s; %s of %s at this churn", ago(r.Covers), size(r.Steady), size(r.Limit))
}
