package processserver

import "sync"

// passed counts what has left of a shipment.
type passed struct {
	mu  sync.Mutex
	all totals
}

// totals are what has passed since the beginning. See left.
type totals struct {
	frames, full   int
	payload        float64
	worked, waited float64
	sent, again    float64
}

func (p *passed) note(f left) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &p.all
	t.frames++
	if f.full {
		t.full++
	}
	t.payload += float64(f.payload)
	t.worked, t.waited = t.worked+f.worked, t.waited+f.waited
	t.sent, t.again = t.sent+f.sent, t.again+f.again
}

func (p *passed) totals() totals {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all
}

func (t totals) less(o totals) totals {
	return totals{t.frames - o.frames, t.full - o.full, t.payload - o.payload, t.worked - o.worked, t.waited - o.waited, t.sent - o.sent, t.again - o.again}
}

// fills says whether frames waited for the link.
func (t totals) fills() bool {
	return 2*t.full > t.frames && t.frames > 0 && t.waited >= waitsFor*t.worked
}

// loses says whether more than laneAgain of what was sent was sent again.
func (t totals) loses() bool { return t.again > laneAgain*t.sent }
