package mastertarget

import (
	"slices"
	"time"

	"failback/replication"
)

// requests are what operators asked of a group's loop.
type requests struct {
	cut    []cutRequest     // waiting for the number of the next point
	verify []*verifyRequest // waiting to be worked on
	wake   chan struct{}    // holds one
}

type cutRequest struct {
	answer chan<- cutAnswer
	app    bool // it is to be application-consistent
}

type cutAnswer struct {
	point replication.PointID
	err   error
}

// situation is all that decide looks at.
type situation struct {
	now        time.Time
	open       bool          // a cycle is open
	points     int           // listed
	last       time.Time     // when the last listed point was cut
	interval   time.Duration // between points
	app        time.Duration // between application-consistent ones; 0: there are no commands for them
	lastApp    time.Time     // when the last point was cut, or failed to be, that is, or was to be, application-consistent; zero: there is none
	cuts       int           // requests to cut
	verifies   int           // requests to verify
	unreleased bool          // the source was not yet told to release what came before the last point
	damaged    bool          // the last point lacks something that its source may still have
	full       bool          // replication is held back: there is no space for more
	final      bool          // the last point of a cutover is being made: no other one begins by itself
	resync     bool          // an operator wants the next point made by comparing, now
	compares   time.Time     // the next point has to be made by comparing, and that waits until then; zero: it need not, or may begin
	closing    bool          // the disks are given to their machine, or taken back: no cycle begins, and none goes on
}

// step is what the group's loop does next.
type step string

const (
	stepCycle   step = "cycle"   // go on with the open cycle, or begin one
	stepRepair  step = "repair"  // have the source send again what is damaged
	stepRelease step = "release" // let the source release earlier points
	stepVerify  step = "verify"
	stepWait    step = "wait" // until something is asked for, or the time given
)

// fullWait is how long the loop waits for space before it looks again, should nobody wake it.
const fullWait = time.Minute

// decide says what is next, and for stepWait until when. An open cycle goes first: releasing would take its cut away. Releasing comes before a new
// cut, so that a source holds no more than two points.
func decide(s situation) (step, time.Time) {
	due := s.due()
	switch {
	case s.closing && s.damaged && !s.full: // the disks may be waiting for it, and able to go neither way without
		return stepRepair, time.Time{}
	case s.closing:
		return stepWait, s.now.Add(fullWait)
	case s.full && (s.open || s.points == 0):
		return stepWait, s.now.Add(fullWait)
	case s.open, s.points == 0:
		return stepCycle, time.Time{}
	case s.damaged: // while the source has the point for certain
		return stepRepair, time.Time{}
	case s.unreleased:
		return stepRelease, time.Time{}
	case s.verifies > 0 && !(s.final && s.cuts > 0): // before a new cut: the source still has the point; but no machine is kept down for it
		return stepVerify, time.Time{}
	case s.full: // until it is said that there is space again
		return stepWait, s.now.Add(fullWait)
	case s.compares.After(s.now):
		return stepWait, s.compares
	case s.cuts > 0, s.resync, !due.After(s.now) && !s.final:
		return stepCycle, time.Time{}
	case s.final:
		return stepWait, s.now.Add(fullWait)
	}
	return stepWait, due
}

// due is when the next point is to be made by itself: an interval after the last one, whoever asked for that; but where that goes on and on, the application-consistent one comes at its own time.
func (s situation) due() time.Time {
	due := s.last.Add(s.interval)
	if s.app > 0 && !s.lastApp.IsZero() {
		if own := s.lastApp.Add(s.app + s.interval/2); own.Before(due) {
			return own
		}
	}
	return due
}

// appDue says whether a cut that is made now, by itself, is to be application-consistent: of the scheduled ones, those that are the nearest to every app interval. No machine that was stopped for its last point is frozen for it.
func (s situation) appDue() bool {
	return s.app > 0 && !s.final && !s.due().After(s.now) && (s.lastApp.IsZero() || !s.lastApp.Add(s.app-s.interval/2).After(s.now))
}

// lastAttempted returns the last of the points that is, or was to be, application-consistent; false: there is none.
func lastAttempted(points []replication.Point) (replication.Point, bool) {
	for _, p := range slices.Backward(points) {
		if p.Attempted() {
			return p, true
		}
	}
	return replication.Point{}, false
}

// lastApp returns when that one was cut; zero: there is none. One that failed is tried again after as long a time: whatever it failed for, machines are not frozen again and again.
func lastApp(points []replication.Point) time.Time {
	p, _ := lastAttempted(points)
	return p.Time
}
