package mastertarget

import (
	"slices"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

func TestDecide(t *testing.T) {
	now := time.Unix(1000, 0)
	protected := situation{now: now, points: 3, last: now.Add(-time.Minute), interval: 5 * time.Minute}
	with := func(f func(*situation)) situation { s := protected; f(&s); return s }
	for name, c := range map[string]struct {
		s    situation
		want step
	}{
		"FirstPoint":               {situation{now: now, interval: time.Hour}, stepCycle},
		"NothingDue":               {protected, stepWait},
		"Due":                      {with(func(s *situation) { s.last = now.Add(-5 * time.Minute) }), stepCycle},
		"CutAskedFor":              {with(func(s *situation) { s.cuts = 1 }), stepCycle},
		"OpenCycleBeforeRelease":   {with(func(s *situation) { s.open, s.unreleased = true, true }), stepCycle},
		"ReleaseBeforeNewCut":      {with(func(s *situation) { s.cuts, s.unreleased = 1, true }), stepRelease},
		"VerifyBeforeNewCut":       {with(func(s *situation) { s.cuts, s.verifies = 1, 1 }), stepVerify},
		"VerifyBeforeScheduledCut": {with(func(s *situation) { s.verifies, s.last = 1, now.Add(-time.Hour) }), stepVerify},
		"OpenCycleBeforeVerify":    {with(func(s *situation) { s.open, s.verifies = true, 1 }), stepCycle},
		"LastCutBeforeVerify":      {with(func(s *situation) { s.final, s.cuts, s.verifies = true, 1, 1 }), stepCycle},
		"NoCycleWhileCommitted":    {with(func(s *situation) { s.closing, s.cuts = true, 1 }), stepWait},
		"RepairWhileCommitting":    {with(func(s *situation) { s.closing, s.damaged, s.open = true, true, true }), stepRepair},
		"ResyncAskedFor":           {with(func(s *situation) { s.resync = true }), stepCycle},
		"ResyncWaits":              {with(func(s *situation) { s.compares, s.last, s.cuts = now.Add(time.Hour), now.Add(-time.Hour), 1 }), stepWait},
		"ReleaseWhileResyncWaits":  {with(func(s *situation) { s.compares, s.unreleased = now.Add(time.Hour), true }), stepRelease},
		"AppOneIsStarved":          {with(func(s *situation) { s.app, s.lastApp = time.Hour, now.Add(-63*time.Minute) }), stepCycle},
		"MissedSchedules":          {with(func(s *situation) { s.last = now.Add(-24 * time.Hour) }), stepCycle},
	} {
		got, until := decide(c.s)
		if got != c.want {
			t.Errorf("%s: got %v want %v", name, got, c.want)
		}
		if got == stepWait && !until.After(now) {
			t.Errorf("%s: waits until %v, which has passed", name, until)
		}
	}
}

// TestAppDue runs schedules: the offsets of the cuts that are made by themselves, and which of them are application-consistent.
func TestAppDue(t *testing.T) {
	start := time.Unix(100_000, 0)
	const minute = time.Minute
	for name, c := range map[string]struct {
		crash, app time.Duration
		late       func(n int) time.Duration // how long after it is due the n-th cut is made, by the process server's clock
		want       []time.Duration           // of application-consistent ones, from the first point on, of two hours
	}{
		"EveryTwelfth": {5 * minute, 60 * minute, nil, []time.Duration{0, 60 * minute, 120 * minute}},
		"Each":         {10 * minute, 10 * minute, nil, []time.Duration{0, 10 * minute, 20 * minute, 30 * minute, 40 * minute, 50 * minute, 60 * minute, 70 * minute, 80 * minute, 90 * minute, 100 * minute, 110 * minute, 120 * minute}},
		"TheNearest":   {7 * minute, 15 * minute, nil, []time.Duration{0, 14 * minute, 28 * minute, 42 * minute, 56 * minute, 70 * minute, 84 * minute, 98 * minute, 112 * minute}},
		"ClockBehind":  {5 * minute, 60 * minute, func(int) time.Duration { return -2 * time.Second }, []time.Duration{0, 60*minute - 24*time.Second, 120*minute - 48*time.Second}},
		"OneIsLate": {5 * minute, 60 * minute, func(n int) time.Duration {
			if n == 12 {
				return 4 * minute
			}
			return 0
		}, []time.Duration{0, 64 * minute}},
	} {
		s := situation{interval: c.crash, app: c.app, points: 1}
		var got []time.Duration
		for n := 0; ; n++ {
			at := s.due()
			if s.last.IsZero() {
				at = start
			}
			s.now = at
			if at.After(start.Add(2 * time.Hour)) {
				break
			}
			app := s.appDue()
			if c.late != nil && n > 0 {
				at = at.Add(c.late(n))
			}
			if s.last = at; app {
				s.lastApp = at
				got = append(got, at.Sub(start))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	due := situation{now: start, interval: minute, app: minute, last: start.Add(-minute), lastApp: start.Add(-minute)}
	if !due.appDue() {
		t.Error("not due when it is")
	}
	for name, s := range map[string]func(*situation){
		"NoCommands":          func(s *situation) { s.app = 0 },
		"LastPointOfACutover": func(s *situation) { s.final = true },
		"CutByHandMeanwhile":  func(s *situation) { s.last = start.Add(-time.Second) },
		"TriedALittleTimeAgo": func(s *situation) { s.lastApp = start.Add(-minute / 4) },
	} {
		x := due
		if s(&x); x.appDue() {
			t.Errorf("%s: due", name)
		}
	}
}

// TestLastApp: a point that was to be application-consistent counts, as it says itself.
func TestLastApp(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	points := []replication.Point{{Time: at(1), Kind: replication.App}, {Time: at(2), Kind: replication.Crash, NotApp: "no"}, {Time: at(3), Kind: replication.Crash}}
	for n, want := range []time.Time{{}, at(1), at(2), at(2)} {
		if got := lastApp(points[:n]); got != want {
			t.Errorf("of %d points: %v, want %v", n, got, want)
		}
	}
}

func TestMissedApp(t *testing.T) {
	for between, want := range map[time.Duration]int{0: 0, time.Hour: 0, 65 * time.Minute: 0, 117 * time.Minute: 0, 118 * time.Minute: 1, 2 * time.Hour: 1, 3*time.Hour + 4*time.Minute: 2} {
		if got := missedApp(between, time.Hour, 5*time.Minute); got != want {
			t.Errorf("%s: %d, want %d", between, got, want)
		}
	}
	if missedApp(time.Hour, 0, time.Minute) != 0 {
		t.Error("some were missed, without commands for them")
	}
}

func TestWhyNotApp(t *testing.T) {
	for _, c := range []struct {
		cut             replication.Cut
		ordered, before bool
		want            string
	}{
		{replication.Cut{App: true}, true, false, ""},
		{replication.Cut{App: true}, true, true, ""},
		{replication.Cut{NotApp: "late"}, true, true, "late"},
		{replication.Cut{}, true, false, "the process server is of an earlier release, which freezes nothing"},
		{replication.Cut{Held: true}, true, false, ""}, // cut before it was asked for
		{replication.Cut{}, false, false, ""},
		{replication.Cut{}, false, true, cutAnew},
		{replication.Cut{Held: true}, true, true, cutAnew},
		{replication.Cut{NotApp: strings.Repeat("x", 5000)}, true, false, strings.Repeat("x", maxNotApp)},
	} {
		if got := whyNotApp(c.cut, c.ordered, c.before); got != c.want {
			t.Errorf("%+v, ordered %v: %q, want %q", c.cut, c.ordered, got, c.want)
		}
	}
}
