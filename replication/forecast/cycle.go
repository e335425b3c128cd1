package forecast

import "time"

// Cycle is what one cycle took, from the order to cut until its point was listed. Amounts are bytes, of all disks together.
type Cycle struct {
	Cut      time.Time     `json:"cut"`
	Span     time.Duration `json:"span"`     // from the cut before: what changed in it is what the cycle brings
	Changed  int64         `json:"changed"`  // sent, zero, or sent by reference
	Read     int64         `json:"read"`     // from the sources
	Cutting  time.Duration `json:"cutting"`  // from the order until the cut was made
	Starting time.Duration `json:"starting"` // from there until the first frame came
	Sending  time.Duration `json:"sending"`  // from there until the source had sent all
	Ending   time.Duration `json:"ending"`   // from there until the point was listed
	Limit    int64         `json:"limit"`    // bytes a second that the link was limited to; 0: it was not
}

// Took returns how long the whole cycle took.
func (c Cycle) Took() time.Duration { return c.Cutting + c.Starting + c.Sending + c.Ending }

// Kept is how many cycles are worth keeping: what was longer ago says little of now.
const Kept = 16

// Habit is what a group's cycles have in common.
type Habit struct {
	churn    float64       // bytes a second that change
	fixed    time.Duration // of each cycle
	rate     float64       // bytes a second that are sent; 0: not known, as nothing was ever sent
	scanning bool          // what changed is found by reading all: that is in fixed
}

// HabitOf takes the means of the cycles, each weighed by what it carried or how long it covers. Of no cycles, nothing is known.
func HabitOf(cycles []Cycle) Habit {
	var h Habit
	var span, sending, fixed time.Duration
	var changed, read int64
	for _, c := range cycles {
		span += c.Span
		changed += c.Changed
		read += c.Read
		sending += c.Sending
		fixed += c.Cutting + c.Starting + c.Ending
	}
	n := time.Duration(max(len(cycles), 1))
	if span > 0 {
		h.churn = float64(changed) / span.Seconds()
	}
	h.fixed = fixed / n
	if h.scanning = read > 2*changed; h.scanning { // to send what is found takes no time of its own, as it is done meanwhile
		h.fixed += sending / n
	} else if sending > 0 {
		h.rate = float64(changed) / sending.Seconds()
	}
	return h
}

// takes returns how long a cycle takes that carries so many bytes.
func (h Habit) takes(bytes int64) time.Duration {
	return h.fixed + h.sends(bytes)
}

func (h Habit) sends(bytes int64) time.Duration {
	if h.rate <= 0 {
		return 0
	}
	return time.Duration(float64(bytes) / h.rate * float64(time.Second))
}

// changes returns how many bytes change in so long.
func (h Habit) changes(d time.Duration) int64 { return int64(h.churn * d.Seconds()) }

// Most points that are made ahead of the machine's stop, and the least time that another one must promise to save.
const (
	mostAhead = 3
	worthIt   = 2 * time.Second
)

// Another says whether one more point is to be made before the machine is stopped, and the disks brought up to it: the first, and others while each was much quicker than the one before, and there is something left to gain. None
// is where the last point takes as long whatever it carries, as its source is read in whole.
func (h Habit) Another(made int, before, last time.Duration) bool {
	switch {
	case h.scanning, made >= mostAhead:
		return false
	case made == 0:
		return true
	case last < h.fixed+worthIt:
		return false
	}
	return made == 1 || last < before*7/10
}
