package mastertarget

import (
	"fmt"
	"time"

	"failback/replication"
	"failback/retention"
)

// footing is all that the state of an open group follows from.
type footing struct {
	cutover retention.CutoverStep // "": there is none
	final   bool                  // the last point of a cutover is being made
	points  int                   // listed
	cycle   replication.Mode      // of the open one; "": none is
	waits   bool                  // the next point has to be made by comparing, and that waits
	held    bool                  // a rewind holds the head
}

// state says in which state a group is. A commit that waits for its time is none yet: all goes on as ever.
func (s footing) state() replication.GroupState {
	switch s.cutover {
	case retention.CutoverFinal:
		if s.final {
			return replication.StateFinal
		}
	case retention.CutoverClosing:
		return replication.StateFinal
	case retention.CutoverCommitted:
		return replication.StateCommitted
	case retention.CutoverUndoing: // the disks don't follow yet
		return replication.StateHeld
	}
	switch {
	case s.points == 0:
		return replication.StateBaseline
	case s.cycle == "" && s.waits:
		return replication.StateResync
	case s.held:
		return replication.StateHeld
	case s.cycle == replication.Compare:
		return replication.StateResyncing
	}
	return replication.StateProtected
}

// turn is what happens to a cutover.
type turn string

// The turns, and between which steps each leads, see cutting. All others are refused.
const (
	turnCommit  turn = "commit"  // an operator's word: none → final
	turnChosen  turn = "chosen"  // the point is listed, and may be given to the machine: final → closing
	turnSealed  turn = "sealed"  // the disks show it, and are closed: closing → committed
	turnGiveUp  turn = "give up" // nothing was changed: final, closing → none
	turnUndo    turn = "undo"    // an operator's word: closing, committed → undoing
	turnTaken   turn = "taken"   // the disks are as they were left, and ours again: undoing, untaken → undoing
	turnWritten turn = "written" // they are not: undoing, untaken → committed
	turnBack    turn = "back"    // the disks are where they were: undoing → none
)

// turning is a turn with what it needs to know.
type turning struct {
	turn turn
	now  time.Time

	request replication.CommitRequest // of turnCommit
	point   replication.PointID       // of turnChosen
	head    replication.PointID       // of turnCommit and turnChosen: where the disks stand, or are on their way to
	held    bool                      // likewise: a rewind holds them there
	last    replication.PointID       // of turnUndo: the last point
	origin  bool                      // of turnUndo: to point 0
}

// turned returns what a cutover is after a turn; nil: none, before or after. at stays as it is.
func turned(at *retention.Cutover, t turning) (*retention.Cutover, error) {
	step, untaken := retention.CutoverStep(""), false
	var next retention.Cutover
	if at != nil {
		next, step, untaken = *at, at.Step, at.Untaken
	}
	next.Since = t.now.UTC()
	switch {
	case t.turn == turnCommit && step == "":
		r := t.request
		next.Step, next.Point, next.Asked, next.From, next.Held = retention.CutoverFinal, r.Point, r.Point, t.head, t.held
		next.NotBefore, next.Stop, next.After, next.Verify = r.NotBefore.UTC(), r.Stop, r.After, r.Verify
	case t.turn == turnChosen && step == retention.CutoverFinal:
		next.Step, next.Point, next.From, next.Held = retention.CutoverClosing, t.point, t.head, t.held
	case t.turn == turnSealed && step == retention.CutoverClosing:
		next.Step = retention.CutoverCommitted
	case t.turn == turnGiveUp && (step == retention.CutoverFinal || step == retention.CutoverClosing):
		return nil, nil
	case t.turn == turnUndo && (step == retention.CutoverClosing || step == retention.CutoverCommitted):
		next.Step, next.Back, next.Keep = retention.CutoverUndoing, next.From, next.Held
		if t.origin {
			next.Back, next.Keep = replication.OriginalPoint, true
		} else if !next.Keep { // the disks follow
			next.Back = t.last
		}
		next.Untaken = step == retention.CutoverCommitted
	case t.turn == turnTaken && step == retention.CutoverUndoing && untaken:
		next.Since, next.Untaken = at.Since, false
	case t.turn == turnWritten && step == retention.CutoverUndoing && untaken:
		next.Since, next.Step, next.Untaken = at.Since, retention.CutoverCommitted, false
	case t.turn == turnBack && step == retention.CutoverUndoing && !untaken:
		return nil, nil
	default:
		return nil, fmt.Errorf("a cutover that is %q (untaken %v) has no turn %q", step, untaken, t.turn)
	}
	return &next, nil
}

// act is what a cutover's goroutine does next.
type act string

const (
	actRest     act = "rest"      // nothing is left to do
	actTellGone act = "tell"      // that it was given up, which is noted already
	actGiveUp   act = "give up"   // what nothing was done for
	actTurnBack act = "turn back" // note that it is undone
	actFinal    act = "final"     // go on with the step
	actClosing  act = "closing"   // likewise
	actUndoing  act = "undoing"   // likewise
	actTakeBack act = "take back" // look at the disks, and take them
	actRefuse   act = "refuse"    // say that the disks were written to since the look
	actAgain    act = "again"     // have the after-command run again
	actAfter    act = "after"     // run the after-command, if it is to run
)

// deciding is all that the next act of a cutover follows from.
type deciding struct {
	step    retention.CutoverStep // "": there is none
	wish    bool                  // an operator wants it taken back
	quits   bool                  // it is being given up, for what went wrong
	written bool                  // the disks were written to since an undo had looked at them
	again   bool                  // an operator wants the after-command run again, which has not come to a good end
}

// act decides. An operator's wish goes before all else, as long as the step can be taken back.
func (d deciding) act() act {
	switch d.step {
	case "":
		if d.quits {
			return actTellGone
		}
		return actRest
	case retention.CutoverFinal:
		if d.wish || d.quits {
			return actGiveUp
		}
		return actFinal
	case retention.CutoverClosing:
		switch {
		case d.wish:
			return actTurnBack
		case d.quits:
			return actGiveUp
		}
		return actClosing
	case retention.CutoverUndoing:
		return actUndoing
	}
	switch {
	case d.wish:
		return actTakeBack
	case d.written:
		return actRefuse
	case d.again:
		return actAgain
	}
	return actAfter
}
