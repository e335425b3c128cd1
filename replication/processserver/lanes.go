package processserver

import "time"

// lanesFirst is how many lanes a shipment begins with, where it may have as many.
const lanesFirst = 4

// lanesEvery is how long a number of lanes is looked at; a new number is first let run for as long: connections begin slowly.
const lanesEvery = 2 * time.Second

// laneGain is by how much the rate must rise for more lanes to be worth it, and laneRest for how many looks it is not tried again after it was not; twice
// as many each further time, up to laneRestMax.
const (
	laneGain    = 1.08
	laneRest    = 8
	laneRestMax = 128
)

// laneAgain is the share of what lanes send that they may send again. Above, they may be losing it to each other, as connections under BBR do, and half of them are tried: where they carry laneKeeps of the rate, they
// are enough. On a line that loses by itself they don't, and more are tried again.
const (
	laneAgain = 0.05
	laneKeeps = 0.97
)

// streamGain is laneGain where each lane more costs compression, which what a trial sends pays in any case. A stream is left alone for laneRest looks at first; sooner by streamHaste for each in which it sent more than
// streamAgain of what it sent again: a connection that loses is held back by that, and one that does not seldom is.
const (
	streamGain  = 1.2
	streamAgain = 0.002
	streamHaste = 3
)

// laneBytes is the least that a lane is to carry in a second where a limit says how much all may: a lane that gets less can't answer the other side's signs of life in time.
const laneBytes = 64 << 10

// laneCount says how many lanes are worth it. It has no clock: it is told what was seen in lanesEvery, again and again.
type laneCount struct {
	now, most int
	streams   bool // what is sent stands on what the same lane has sent before: each lane more costs some of that

	limited bool    // what may leave was limited when it was looked last
	begun   bool    // there was a look at a link that binds: what connections lose when they begin is over
	before  float64 // rate with was lanes; while trying
	was     int
	trying  int // looks since the trial began; 0: none
	rest    int // looks until the next trial
	penalty int
	lossy   bool // fewer lanes carried less, though what was sent was sent again: the next trial is one with more
}

func newLaneCount(most int) laneCount {
	return laneCount{now: min(lanesFirst, most), most: most, penalty: laneRest}
}

// first is how many lanes are used where nothing is known, and the least where there is no limit.
func (l *laneCount) first() int {
	if l.streams {
		return 1
	}
	return min(lanesFirst, l.most)
}

// stream says whether what is sent goes in streams from now on.
func (l *laneCount) stream(on bool) {
	if on == l.streams {
		return
	}
	*l = laneCount{streams: on, most: l.most, penalty: laneRest}
	if l.now = l.first(); on {
		l.rest = laneRest
	}
}

func (l *laneCount) gain() float64 {
	if l.streams {
		return streamGain
	}
	return laneGain
}

// look takes what left in a while, and how much may leave in a second (0: no limit). It returns how many lanes to use.
func (l *laneCount) look(w totals, limit int64) int {
	if limit > 0 { // no more lanes than it feeds, and no trials: the limit is what binds
		l.trying, l.limited = 0, true
		l.now = max(1, min(l.now, l.most, int(limit/laneBytes)))
		return l.now
	}
	if l.limited { // it has gone
		l.limited, l.now = false, max(l.now, l.first())
		return l.now
	}
	fewer := w.loses() && !l.lossy && !l.streams && l.now > 1
	switch {
	case !w.fills(): // whatever was tried, nothing is learnt
		l.trying = 0
	case l.trying == 1: // they have just begun
		l.trying = 2
	case l.trying == 2 && l.now < l.was:
		if l.lossy = w.payload < l.before*laneKeeps; l.lossy {
			l.back()
		} else if l.trying, l.rest = 0, l.penalty; fewer {
			l.try(w, l.now/2)
		}
	case l.trying == 2 && w.payload < l.before*l.gain():
		l.lossy = false
		l.back()
	case l.rest > 0:
		if l.rest--; l.streams && w.again > streamAgain*w.sent {
			l.rest = max(0, l.rest-streamHaste)
		}
	case fewer && !l.begun:
		l.begun = true
	case fewer:
		l.try(w, l.now/2)
	case l.now < l.most:
		if l.trying == 2 {
			l.penalty = laneRest
		}
		l.try(w, min(l.most, l.now+max(1, l.now/2)))
	default:
		l.trying = 0
	}
	return l.now
}

// try begins a trial of n lanes.
func (l *laneCount) try(w totals, n int) {
	l.begun = true
	l.before, l.was, l.now, l.trying = w.payload, l.now, n, 1
}

// back ends a trial that did not help.
func (l *laneCount) back() {
	l.now, l.trying = l.was, 0
	l.rest, l.penalty = l.penalty, min(2*l.penalty, laneRestMax)
}
