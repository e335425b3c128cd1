package replication

import "time"

// ApplyRequest asks for another plan of a group that is protected.
type ApplyRequest struct {
	Plan   []byte  // YAML; empty, where the group moves: the plan in force
	Group  GroupID // that is meant; "": the plan's
	MoveTo string  // the process server that is to read the group from now on, which may have the sources in other places; "": it stays where it is
	From   string  // Applied.From of what was shown: refused when the plan in force is another one by now; "": whichever it is
	DryRun bool    // only tell
}

// Applied is what changing a group's plan does, or did.
type Applied struct {
	Group    GroupID      `json:"group"`
	From     string       `json:"from"` // names the plan in force before
	Changes  []PlanChange `json:"changes"`
	Findings []Finding    `json:"findings"`
	Applied  bool         `json:"applied"` // false: nothing was changed
}

// Failed says whether the plan can't be applied.
func (a *Applied) Failed() bool {
	for _, c := range a.Changes {
		if c.Refused {
			return true
		}
	}
	for _, f := range a.Findings {
		if f.Severity == Error {
			return true
		}
	}
	return false
}

// PlanChange is a difference between the plan in force and another one.
type PlanChange struct {
	Subject string `json:"subject"` // group, or machine/disk
	Key     string `json:"key"`     // of the plan
	Was     string `json:"was"`     // "": was not there
	Now     string `json:"now"`     // "": is there no more
	Effect  string `json:"effect"`  // in words; why not, where it is refused
	Remedy  string `json:"remedy,omitempty"`
	Refused bool   `json:"refused"` // can't be changed while the group is protected
}

// UnbornDisk is a disk that a point does not have, or that a move to it leaves alone: it joined its group later, or has left it.
type UnbornDisk struct {
	Disk   DiskID  `json:"disk"`
	Joined PointID `json:"joined"`         // its first point; 0: there is none yet, or see Left
	Left   PointID `json:"left,omitempty"` // it has left: points up to this one have it, from its first one on; 0: it has not
}

// DepartedDisk is a disk that has left its group, and that some point has still.
type DepartedDisk struct {
	Disk   DiskID    `json:"disk"`
	Joined PointID   `json:"joined,omitempty"` // its first point, of a disk that joined the group later
	Last   PointID   `json:"last"`             // points up to this one have it
	Head   PointID   `json:"head"`             // what its target shows, as long as nobody writes to it
	Target string    `json:"target"`
	Left   time.Time `json:"left"`
}

// At says whether a point has the disk.
func (d *DepartedDisk) At(p PointID) bool { return d.Joined <= p && p <= d.Last }
