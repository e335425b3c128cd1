package processserver

import "testing"

// settle looks so many times at a link whose rate follows from the number of lanes.
func (l *laneCount) settle(looks int, rate func(lanes int) float64, limit int64) (most int) {
	for range looks {
		most = max(most, l.look(bound(rate(l.now)), limit))
	}
	return most
}

// bound is what left where the link binds.
func bound(rate float64) totals { return totals{frames: 1, full: 1, payload: rate, sent: rate} }

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
		if l.look(bound(1), 0); l.trying == 1 {
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
	l.look(bound(1), laneBytes)
	if got := l.look(bound(1), 0); got != lanesFirst {
		t.Errorf("%d lanes after a limit of one", got)
	}
	if got := newLaneCount(2); got.now != 2 {
		t.Errorf("%d of 2 lanes", got.now)
	}
}

func TestLanesThatWaitForTheSourceAreNotMoreLanes(t *testing.T) {
	l := newLaneCount(8)
	for range 50 {
		if got := l.look(totals{frames: 1, payload: 1}, 0); got != lanesFirst {
			t.Fatalf("%d lanes where the link does not bind", got)
		}
	}
}

// TestAStreamKeepsToOneLane: each more costs compression, and has to give more than that.
func TestAStreamKeepsToOneLane(t *testing.T) {
	each := func(n float64) func(int) float64 {
		return func(lanes int) float64 { return min(float64(lanes), n) }
	}
	l := newLaneCount(8)
	if l.stream(true); l.now != 1 {
		t.Fatalf("%d lanes", l.now)
	}
	if peak := l.settle(laneRest, each(8), 0); peak != 1 {
		t.Errorf("%d lanes at once", peak)
	}
	if l.settle(40, each(1.15), 0); l.now != 1 && l.trying == 0 {
		t.Errorf("%d lanes for a seventh more", l.now)
	}
	if l.settle(400, each(8), 0); l.now != 8 {
		t.Errorf("%d lanes where each helps", l.now)
	}
	if l.stream(true); l.now != 8 {
		t.Errorf("%d lanes: told once more, it forgot", l.now)
	}
	if l.stream(false); l.now != lanesFirst {
		t.Errorf("%d lanes without streams", l.now)
	}
}

// TestAnotherLaneHasTheTurnOfOneThatIsStuck: a connection that moves nothing of its frame.
func TestAnotherLaneHasTheTurnOfOneThatIsStuck(t *testing.T) {
	u := newLaneUse(3)
	u.stream(true)
	takes := func() (all [3]bool) {
		for no := range all {
			all[no], _ = u.of(uint32(no))
		}
		return all
	}
	l := &openLane{no: 0}
	u.opens(l)
	u.feel()
	l.frames.Add(1) // begins to send
	u.feel()
	if got := takes(); got != [3]bool{true, false, false} {
		t.Fatalf("it has only begun: %v", got)
	}
	_, moved := u.of(1)
	u.feel()
	if got := takes(); got != [3]bool{false, true, false} {
		t.Fatalf("it is stuck: %v", got)
	}
	select {
	case <-moved:
	default:
		t.Error("nobody is told")
	}
	l.frames.Add(1) // it was sent after all
	u.feel()
	if got := takes(); got != [3]bool{true, false, false} {
		t.Fatalf("it moves again: %v", got)
	}
	l.frames.Add(1)
	u.feel()
	u.feel()
	u.closes(l)
	if got := takes(); got != [3]bool{true, false, false} {
		t.Errorf("its next attempt: %v", got)
	}
	l = &openLane{no: 0}
	u.opens(l)
	l.frames.Add(1)
	l.held.Store(true)
	u.feel()
	u.feel()
	if got := takes(); got != [3]bool{true, false, false} {
		t.Errorf("a limit holds it back: %v", got)
	}
}

// TestLanesThatLoseToEachOtherAreFewer: where many of them send the same again and again, and fewer carry as much.
func TestLanesThatLoseToEachOtherAreFewer(t *testing.T) {
	losing := func(rate, again func(lanes int) float64) func(*laneCount, int) (sum int) {
		return func(l *laneCount, looks int) (sum int) {
			for range looks {
				w := bound(rate(l.now))
				w.again = again(l.now) * w.sent
				sum += l.look(w, 0)
			}
			return sum
		}
	}
	same := func(int) float64 { return 1 }
	crowd := func(lanes int) float64 { return 0.06 * float64(lanes-1) }

	l := newLaneCount(8)
	look := losing(same, func(int) float64 { return 0.2 })
	if look(&l, 1); l.now != lanesFirst {
		t.Errorf("%d lanes at once: all connections lose when they begin", l.now)
	}
	if look(&l, 6); l.now != 1 {
		t.Errorf("%d lanes that all lose, want 1", l.now)
	}

	l = newLaneCount(8)
	if mean := float64(losing(same, crowd)(&l, 1000)) / 1000; mean > 1.2 {
		t.Errorf("%.2f lanes where one carries it all and more lose", mean)
	}

	// A line that loses by itself: each lane carries as much as it can.
	l = newLaneCount(8)
	look = losing(func(lanes int) float64 { return float64(lanes) }, func(int) float64 { return 0.2 })
	look(&l, 60)
	if mean := float64(look(&l, 1000)) / 1000; mean < 7.5 {
		t.Errorf("%.2f lanes of 8 where each helps", mean)
	}

	l = newLaneCount(8)
	l.stream(true)
	if losing(same, crowd)(&l, 30); l.now != 1 && l.trying == 0 {
		t.Errorf("%d lanes in a stream", l.now)
	}
}
