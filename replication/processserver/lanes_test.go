package processserver

import "testing"

// settle looks so many times at a link whose rate follows from the number of lanes.
func (l *laneCount) settle(looks int, rate func(lanes int) float64, limit int64) (most int) {
	for range looks {
		most = max(most, l.look(rate(l.now), true, limit))
	}
	return most
}

func TestMoreLanesAreUsedAsLongAsTheyHelp(t *testing.T) {
	each := func(n float64) func(int) float64 { // each lane carries one part of n
		return func(lanes int) float64 { return min(float64(lanes), n) }
	}
	for name, c := range map[string]struct {
		most       int
		rate       func(int) float64
		limit      int64
		want, peak int
	}{
		"OneIsEnough":    {16, each(1), 0, 4, 6},
		"FiveAreEnough":  {16, each(5), 0, 6, 9},
		"TenAreEnough":   {16, each(10), 0, 13, 16},
		"NeverEnough":    {16, each(100), 0, 16, 16},
		"Bounded":        {3, each(100), 0, 3, 3},
		"Limited":        {16, each(100), 3 * laneBytes, 3, 3},
		"LimitedToAWord": {16, each(100), 1000, 1, 1},
		"WideLimit":      {16, each(100), 1 << 30, 4, 4},
	} {
		l := newLaneCount(c.most)
		peak := l.settle(13, c.rate, c.limit)
		for l.trying != 0 { // to the end of a trial
			l.settle(1, c.rate, c.limit)
		}
		if l.now != c.want || peak != c.peak {
			t.Errorf("%s: %d lanes, at most %d; want %d, %d", name, l.now, peak, c.want, c.peak)
		}
	}
}

func TestLanesAreTriedSeldomWhereTheyDoNotHelp(t *testing.T) {
	l := newLaneCount(16)
	trials := 0
	for range 1000 {
		if l.look(1, true, 0); l.trying == 1 {
			trials++
		}
	}
	if trials < 5 || trials > 15 {
		t.Errorf("%d trials in 1000 looks", trials)
	}
	if l.settle(laneRestMax+20, func(lanes int) float64 { return float64(lanes) }, 0); l.now != 16 {
		t.Errorf("%d lanes on a link that got wider", l.now)
	}
}

func TestLanesComeBackAfterALimit(t *testing.T) {
	l := newLaneCount(8)
	l.look(1, true, laneBytes)
	if got := l.look(1, true, 0); got != lanesFirst {
		t.Errorf("%d lanes after a limit of one", got)
	}
	if got := newLaneCount(2); got.now != 2 {
		t.Errorf("%d of 2 lanes", got.now)
	}
}

func TestLanesThatWaitForTheSourceAreNotMoreLanes(t *testing.T) {
	l := newLaneCount(8)
	for range 50 {
		if got := l.look(1, false, 0); got != lanesFirst {
			t.Fatalf("%d lanes where the link does not bind", got)
		}
	}
}
