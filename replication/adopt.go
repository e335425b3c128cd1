package replication

// AdoptRequest asks a master target to take a group over from its journal and disks.
type AdoptRequest struct {
	Dir          string            // the group's journal on the retention volume of the master target that is asked
	Plan         []byte            // the group's plan; empty: as the journal has it
	Disks        map[string]string // where a disk lies now, by its id; else as the plan says
	OldHostIsOff bool              // the operator's word: the machine that had the group runs no more, or can't reach the disks
	List         bool              // only tell; nothing is changed
}

// Adoption tells whose a journal is and what adopting its group finds.
type Adoption struct {
	Group      GroupID       `json:"group"`
	Journal    string        `json:"journal"` // its directory
	Owner      string        `json:"owner"`   // the master target that has the group, for a person to read; "": nobody
	Generation Generation    `json:"generation"`
	Head       PointID       `json:"head"`      // 0: the disks are at no point
	MovingTo   PointID       `json:"moving_to"` // of a move that is not finished; 0: none
	Open       PointID       `json:"open"`      // the point of the open cycle; 0: none
	Held       bool          `json:"held"`      // a rewind holds the head, or will: the disks don't stand at the last point
	Points     []Point       `json:"points"`
	Disks      []AdoptedDisk `json:"disks"`
	Findings   []Finding     `json:"findings"`
	Adopted    bool          `json:"adopted"` // the group is this master target's now
}

// AdoptedDisk is a disk of a group that is to be adopted.
type AdoptedDisk struct {
	Disk   DiskID `json:"disk"`
	Size   int64  `json:"size"`
	Target string `json:"target"` // where it was looked for
	State  string `json:"state"`  // in words
}

// Failed says whether something stands in the way.
func (a *Adoption) Failed() bool {
	for _, f := range a.Findings {
		if f.Severity == Error {
			return true
		}
	}
	return false
}
