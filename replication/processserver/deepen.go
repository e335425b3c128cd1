package processserver

import "failback/replication/block"

// Where a stream waits for the link, its core may as well do more for less to send: LevelStreamBest is worth it where a core has the time: at 20 Mbit/s with a core that does 17 MB/s of it, at 40 not. What changes levels
// begins a new stream, so this is done with patience: where it was worth bestGain in bestAfter windows more than it was not, until lanes did not wait for the link in bestLeaves of them. Then not again for bestRest
// windows; twice as many each further time, up to bestRestMax.
const (
	bestGain    = 1.03
	bestAfter   = 4
	bestLeaves  = 3
	bestRest    = 16
	bestRestMax = 1024
)

// bestSpare is the share of a core that LevelStreamBest has to leave: what is behind it would wait for it else. bestBusy is that of the time above which it is what lanes do.
const (
	bestSpare = 0.1
	bestBusy  = 0.7
)

// deep is what is known of when LevelStreamBest is worth it.
type deep struct {
	worth int // windows in which it was, less those in which it was not
	slow  int // windows in a row in which it kept the link waiting
	rest  int // windows until it is chosen again
	next  int // what rest was last
}

// deepen says whether what goes at LevelStream is to go at LevelStreamBest. Next is what is chosen else, p what it was chosen for.
func (e *estimate) deepen(w window, p plant, next mix) mix {
	stream, best := only(block.LevelStream), only(block.LevelStreamBest)
	d := &e.deep
	d.rest = max(0, d.rest-1)
	if e.now == best && e.streams > 0 {
		switch {
		case w.fills() && next == stream:
			d.slow = 0
		case w.fills(): // the link takes more now
			d.leave()
			return next
		case e.shows(w) && w.worked >= bestBusy*w.seconds: // else it is the source that has no more
			if d.slow++; d.slow == bestLeaves {
				d.leave()
				return stream
			}
		}
		return best
	}
	p.streams *= 1 - bestSpare
	if next != stream || e.now != stream || d.rest > 0 || !w.fills() || p.rate(best) < bestGain*p.rate(stream) {
		d.worth = max(0, d.worth-1)
		return next
	}
	if d.worth++; d.worth < bestAfter {
		return next
	}
	d.worth, d.slow = 0, 0
	return best
}

// leave notes that LevelStreamBest is left.
func (d *deep) leave() {
	next := min(max(bestRest, 2*d.next), bestRestMax)
	*d = deep{rest: next, next: next}
}
