package retention

import (
	"errors"
	"fmt"
	"time"

	"failback/replication"
)

// ErrCommitted: the disks were given back to their machine, which may run on them. What no file of the journal has, they may hold no more, so that nothing is read from them or written to them.
var ErrCommitted = errors.New("the disks were given to their machine")

// CutoverStep says how far a cutover is.
type CutoverStep string

// The steps of a cutover.
const (
	CutoverFinal     CutoverStep = "final"     // the last point is being made; all works as ever
	CutoverClosing   CutoverStep = "closing"   // the disks are brought to the point that was chosen, and closed; no cycle is begun
	CutoverCommitted CutoverStep = "committed" // the disks are the machine's
	CutoverUndoing   CutoverStep = "undoing"   // the disks are ours again, and are brought back
)

// Cutover is a planned failback, from the operator's word until it is undone, or the journal ends. The master target records each step before its first effect, and goes on with it after a restart.
type Cutover struct {
	Step  CutoverStep         `json:"step"`
	Since time.Time           `json:"since"`           // in this step
	Point replication.PointID `json:"point,omitempty"` // that the disks are brought to; 0: the one that is being made
	From  replication.PointID `json:"from"`            // where the disks stood before
	Held  bool                `json:"held,omitempty"`  // a rewind held them there
	Back  replication.PointID `json:"back,omitempty"`  // undoing: where the disks are brought
	Keep  bool                `json:"keep,omitempty"`  // undoing: and are held there; else they follow
	Begun bool                `json:"begun,omitempty"` // committed: the after-command was begun; where Ended is empty, it may be running, be it that the process which began it is gone
	Ended string              `json:"ended,omitempty"` // committed: what became of the after-command; empty: it is still to be run, if there is one

	Untaken bool `json:"untaken,omitempty"` // undoing: no session of ours has begun since the disks were their machine's, so that it may have written to them until now

	// What the operator asked for.
	Asked     replication.PointID `json:"asked,omitempty"` // 0: the one that is made at the end
	NotBefore time.Time           `json:"not_before,omitzero"`
	Stop      string              `json:"stop,omitempty"`  // command that stops the machine at the source
	After     string              `json:"after,omitempty"` // command to be run when the disks are closed
	Verify    bool                `json:"verify,omitempty"`
	Stopping  bool                `json:"stopping,omitempty"` // Stop was begun: the machine may be down
	Stopped   bool                `json:"stopped,omitempty"`  // Stop has come to its end
}

// RecordCutover notes how far a cutover is; nil: there is none any more. To note the same again changes nothing.
//
// That the disks are committed can be noted only when they stand at the point and their last session ended well (RecordFingerprints), and from then on, until another step is noted, the journal refuses (ErrCommitted) whatever
// would read disks, or rely on what they hold: readers, moves, cycles; and no point is dropped.
func (j *Journal) RecordCutover(x *Cutover) error {
	return j.commit(kindCutover, func(st *state) (any, error) {
		if sameJSON(st.cutover, x) {
			return nil, nil
		}
		return cutoverRecord{x}, nil
	})
}

// Cutover returns what RecordCutover noted last; nil: nothing.
func (j *Journal) Cutover() *Cutover { return j.now.Load().cutover.clone() }

// Cutover returns what Journal.Cutover does.
func (i *Inspection) Cutover() *Cutover { return i.j.Cutover() }

// TakeForOurs has points read although the disks were given to their machine. The caller has made sure that nobody has written to them, and makes sure again when he has read; or takes what the journal does not hold to be of any time.
func (i *Inspection) TakeForOurs() {
	st := i.j.now.Load().state.clone()
	st.cutover = nil
	i.j.publish(st)
}

type cutoverRecord struct {
	Cutover *Cutover `json:"cutover"` // nil: there is none any more
}

func (x *Cutover) clone() *Cutover {
	if x == nil {
		return nil
	}
	c := *x
	return &c
}

// cutOver adds what a record says of a cutover.
func (s *state) cutOver(x *Cutover) error {
	if x == nil {
		s.cutover = nil
		return nil
	}
	switch x.Step {
	case CutoverFinal, CutoverUndoing:
	case CutoverClosing, CutoverCommitted:
		if _, err := s.point(x.Point); err != nil || x.Point == replication.OriginalPoint {
			return fmt.Errorf("cutover is %s at point %d, which is not listed", x.Step, x.Point)
		}
	default:
		return fmt.Errorf("step %q of a cutover", x.Step)
	}
	if x.Step == CutoverCommitted && (s.head != x.Point || s.move != nil || len(s.fingerprints) == 0) {
		return fmt.Errorf("committed at point %d, with the head at %d, a move %v, and the last session ended well: %v", x.Point, s.head, s.move != nil, len(s.fingerprints) > 0)
	}
	s.cutover = x
	return nil
}

// away says whether the disks are their machine's.
func (s *state) away() bool { return s.cutover != nil && s.cutover.Step == CutoverCommitted }

// ours says that the disks are not their machine's.
func (s *state) ours() error {
	if !s.away() || leftOut(ruleCommitted) {
		return nil
	}
	return fmt.Errorf("%w, as of point %d", ErrCommitted, s.cutover.Point)
}

// whileAway says why a record can't be, while the disks are their machine's.
func (s *state) whileAway(k kind) error {
	err := s.ours()
	if err == nil {
		return nil
	}
	switch k {
	case kindContentIDs, kindFingerprints, kindCycleOpened, kindPointListed, kindMoveStarted, kindMoveProgress, kindMoveTurned, kindMoveCommitted, kindPointsDropped, kindFilesReplaced, kindDisksJoined, kindDiskGrown, kindDisksLeft:
		return fmt.Errorf("record of kind %d: %w", k, err)
	}
	return nil
}
