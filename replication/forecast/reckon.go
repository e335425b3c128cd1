package forecast

import (
	"fmt"
	"time"

	"failback/replication"
)

// Facts are what a forecast stands on. Amounts are bytes, rates bytes a second.
type Facts struct {
	Now    time.Time
	Cycles []Cycle // the last ones, the earliest first; never empty where a point is to be made

	Chosen replication.PointID // by the operator; 0: one that is made in the end
	Next   replication.PointID // that the next cut makes
	Cut    time.Time           // of the last point, or of the chosen one
	Open   time.Time           // cut of the cycle that is under way; zero: none is
	Stop   bool                // there is a stop-command: points are made ahead of it
	Verify bool                // the point is compared with the source
	Size   int64               // of all disks

	Behind   int64         // that the disks are behind the last point, or away from the chosen one
	Held     bool          // a rewind holds the disks: they don't catch up before
	MoveRate float64       // of disks that move
	Moved    bool          // MoveRate was measured
	Brief    time.Duration // that the shortest moves take
	Scan     float64       // rate at which the disks are compared; 0: not known
	Close    time.Duration // to close the disks: what it took to open them
}

// assumedScan is the rate of comparing, before it was measured: of a slow disk.
const assumedScan = 64 << 20

// Reckon returns the forecast.
func Reckon(f Facts) replication.Forecast {
	out := replication.Forecast{Point: f.Chosen, Cut: f.Cut, Cycles: len(f.Cycles), Doubts: []string{}}
	add := func(p replication.ForecastPart) {
		if out.Parts = append(out.Parts, p); p.Down {
			out.Down += p.Takes
		} else {
			out.Ahead += p.Takes
		}
	}
	write := f.Behind
	if f.Chosen == 0 {
		write = f.last(&out, add)
	}
	if f.Verify {
		rate, how := f.Scan, "the rate of the last comparison"
		if rate <= 0 {
			rate, how = assumedScan, "nothing was compared yet: 64 MiB/s are assumed"
		}
		add(replication.ForecastPart{What: "compare it with the source", Down: true, Takes: over(f.Size, rate), Bytes: f.Size, How: how})
	}
	how := fmt.Sprintf("the last moves wrote %.1f MB/s", f.MoveRate/1e6)
	if !f.Moved {
		how = fmt.Sprintf("no move was measured yet: %.0f MB/s are assumed", f.MoveRate/1e6)
	}
	add(replication.ForecastPart{What: "bring the disks to it", Down: true, Takes: f.Brief + over(write, f.MoveRate), Bytes: write, How: how})
	add(replication.ForecastPart{What: "close the disks", Down: true, Takes: f.Close, How: "what it took to open them"})
	return out
}

// last reckons the points that are to be made, and returns what the disks have to write when the last one is there.
func (f Facts) last(out *replication.Forecast, add func(replication.ForecastPart)) (write int64) {
	h := HabitOf(f.Cycles)
	out.Churn, out.Point = h.churn, f.Next
	if h.scanning {
		out.Doubts = append(out.Doubts, "what changed is found by reading whole disks: a changes command makes the last point quicker")
	}
	if c := f.Cycles[len(f.Cycles)-1]; c.Limit > 0 {
		out.Doubts = append(out.Doubts, fmt.Sprintf("the last cycles were limited to %.1f MB/s on the link, and the last one will not be", float64(c.Limit)/1e6))
	}
	how := fmt.Sprintf("the last %d cycles: each takes %s and what it sends, at %s; %.1f MB/s change", len(f.Cycles), round(h.fixed), perSecond(h.rate), h.churn/1e6)
	behind, since, now := f.Behind, f.Cut, f.Now
	if !f.Open.IsZero() {
		carries := h.changes(f.Open.Sub(f.Cut))
		rest := max(0, h.takes(carries)-now.Sub(f.Open))
		add(replication.ForecastPart{What: "the cycle that is under way", Down: !f.Stop, Takes: rest, Bytes: carries, How: how})
		behind, since, now = behind+carries, f.Open, now.Add(rest)
		out.Point++
	}
	if f.Stop {
		catchUp := func() (took time.Duration) {
			if f.Held || behind == 0 {
				return 0
			}
			took = over(behind, f.MoveRate)
			add(replication.ForecastPart{What: "the disks catch up", Takes: took, Bytes: behind, How: "as the move below"})
			behind, now = 0, now.Add(took)
			return took
		}
		for made, before, took := 0, time.Duration(0), time.Duration(0); h.Another(made, before, took); made++ {
			carries := h.changes(now.Sub(since))
			before, took = took, h.takes(carries)
			add(replication.ForecastPart{What: "a point before the machine stops", Takes: took, Bytes: carries, How: how})
			behind, since, now = behind+carries, now, now.Add(took)
			took += catchUp()
			out.Point++
		}
		catchUp()
	}
	out.Cut, out.Bytes = now, h.changes(now.Sub(since))
	add(replication.ForecastPart{What: fmt.Sprintf("point %d, the last", out.Point), Down: true, Takes: h.takes(out.Bytes), Bytes: out.Bytes, How: how})
	return behind + out.Bytes
}

// over returns how long n bytes take.
func over(n int64, rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(n) / rate * float64(time.Second))
}

func perSecond(rate float64) string {
	if rate <= 0 {
		return "no time of its own"
	}
	return fmt.Sprintf("%.1f MB/s", rate/1e6)
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
