package replication

import (
	"slices"
	"time"
)

// MaxHeadLag is the most that a plan may have the disks be behind, in the time that it takes to catch up.
const MaxHeadLag = time.Hour

// MoveRequest says where an operator wants the disks.
type MoveRequest struct {
	To      PointID // with Advance, 0 is the latest
	Advance bool    // else it is a rewind, which holds the disks there

	// Where there is no space for what the move saves, points may have to be given up: these, or any that nothing forbids.
	GiveUp    []PointID
	GiveUpAny bool
}

// Allows says whether the points may be given up.
func (r *MoveRequest) Allows(points []PointID) bool {
	return r.GiveUpAny || !slices.ContainsFunc(points, func(p PointID) bool { return !slices.Contains(r.GiveUp, p) })
}

// MovePlan is what a move would take. Amounts are bytes.
type MovePlan struct {
	From    PointID       `json:"from"`             // where the disks stand, or will when an unfinished move is done
	To      PointID       `json:"to"`               //
	Write   int64         `json:"write"`            // of the disks
	Save    int64         `json:"save"`             // of Write: only the disks hold it, so that it is saved before; before compression
	Need    int64         `json:"need"`             // to be free on the retention volume, the reserve included
	Free    int64         `json:"free"`             // that may be taken there
	Fits    bool          `json:"fits"`             // now, or after what follows
	Compact bool          `json:"compact"`          // files of the journal have to be rewritten first
	Spares  bool          `json:"spares"`           // spare copies have to be dropped first
	GiveUp  []PointID     `json:"give_up"`          // points that have to be given up first
	Lacks   int64         `json:"lacks"`            // not to be had
	Pinned  []PointID     `json:"pinned"`           // points that would give more, if their pins were taken back
	InUse   []PointID     `json:"in_use"`           // likewise, if drills and readers ended
	Why     string        `json:"why"`              // in words
	Takes   time.Duration `json:"takes_nanos"`      // estimated
	Unborn  []UnbornDisk  `json:"unborn,omitempty"` // disks that joined after To: they are left as they were at their first point; and those that To has and that have left
}

// MoveStatus is a move of the head that is under way.
type MoveStatus struct {
	From  PointID       `json:"from"`
	To    PointID       `json:"to"`
	Phase string        `json:"phase"` // in one word: room, save, write…
	Done  int64         `json:"done"`  // bytes of the phase
	Total int64         `json:"total"`
	Rate  float64       `json:"rate"`       // bytes a second, lately; 0: not known yet
	Left  time.Duration `json:"left_nanos"` // until the disks stand there, at this rate; 0: not known
}

// Codes of problems with moves that a caller can act on.
const (
	CodeOriginalLost  = "original-lost"  // unprotecting loses what the disks were before, of which point 0 was to be made, and nobody said that it may go
	CodeMoveGivesUp   = "move-gives-up"  // the move fits only if points are given up, and nobody said that they may be
	CodeMoveSpace     = "move-space"     // the move does not fit
	CodeMoveCancelled = "move-cancelled" // an operator took the move back
	CodeNoMove        = "no-move"        // nothing moves
)
