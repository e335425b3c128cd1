package mastertarget

import (
	"testing"
	"time"
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
