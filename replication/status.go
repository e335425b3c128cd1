package replication

import (
	"fmt"
	"strings"
	"time"
)

// GroupState is the one word that says where a group is in its life.
type GroupState string

// The states of a group.
const (
	StateChecking    GroupState = "checking"      // sources and targets are being looked at; no byte has moved
	StateBaseline    GroupState = "baseline"      // the first point is being made by comparing
	StateProtected   GroupState = "protected"     // points are made as the policy says
	StateHeld        GroupState = "held"          // a rewind holds the head; points collect ahead of it
	StateResync      GroupState = "resync needed" // tracking was lost; the next point has to be made by comparing, and that waits for the plan's window, or the operator's word
	StateResyncing   GroupState = "resyncing"     // tracking was lost; a point is being made by comparing again
	StateFinal       GroupState = "final"         // a commit: the last point is made, or the disks are brought to it
	StateCommitted   GroupState = "committed"     // the disks are the machine's; nothing reads or writes them here
	StateError       GroupState = "error"         // stopped; the problem says why and what to do
	StateUnprotected GroupState = "unprotected"   // replication was ended; the disks stay at the head
)

// Status is what a master target tells of itself: its groups by name, and the process servers that it knows.
type Status struct {
	Groups  []GroupStatus  `json:"groups"`
	Workers []WorkerStatus `json:"workers"`
}

// WorkerStatus is one process server as the master target sees it.
type WorkerStatus struct {
	Name      string        `json:"name"`
	Connected bool          `json:"connected"`
	Version   string        `json:"version"`
	Since     time.Time     `json:"since,omitzero"`   // connected, or gone, since then
	ClockSkew time.Duration `json:"clock_skew_nanos"` // its clock less ours
	NoClock   bool          `json:"no_clock"`         // it told none: ClockSkew is 0
	Health    Level         `json:"health"`           // the worst of its alerts
	Alerts    []Alert       `json:"alerts"`           //
	Figures   *Figures      `json:"figures"`          // as it told them last; nil: it did not
}

// GroupStatus is one group.
type GroupStatus struct {
	Group         GroupID        `json:"group"`
	State         GroupState     `json:"state"`
	Since         time.Time      `json:"since,omitzero"` // when it came into State
	WaitsFor      string         `json:"waits_for"`      // in words; empty: nothing
	Problem       *Problem       `json:"problem"`        // nil: none
	Head          PointID        `json:"head"`           // what the disks show; 0, while Last is 0: they are at no point
	Last          PointID        `json:"last"`           // the last listed point; 0: none
	LastTime      time.Time      `json:"last_time,omitzero"`
	LastApp       PointID        `json:"last_app"` // the last one that is application-consistent; 0: none is
	LastAppTime   time.Time      `json:"last_app_time,omitzero"`
	Held          bool           `json:"held"` // a rewind holds the head
	Open          PointID        `json:"open"` // the point of the open cycle; 0: none
	Mode          Mode           `json:"mode"` // of the open cycle
	ProcessServer string         `json:"process_server"`
	Disks         []DiskStatus   `json:"disks"`
	Departed      []DepartedDisk `json:"departed,omitempty"` // disks that have left, and that some point has still
	Move          *MoveStatus    `json:"move"`               // nil: none under way
	Notices       []string       `json:"notices"`
	LagSeconds    float64        `json:"lag_seconds"` // age of the last listed point
	Generation    Generation     `json:"generation"`
	NextCut       time.Time      `json:"next_cut,omitzero"` // zero: not scheduled
	Space         *SpaceStatus   `json:"space"`             // nil: not known yet
	Drills        []DrillStatus  `json:"drills"`            // under way
	Scrub         *ScrubStatus   `json:"scrub"`             // nil: not known yet
	Pins          []Pin          `json:"pins"`              // points that are kept, whatever the policy says
	Behind        int            `json:"behind"`            // listed points that the disks are behind the last one
	CatchUp       time.Duration  `json:"catch_up_nanos"`    // how long it would take to bring them there, estimated; 0: no time, or not known
	Link          *LinkStatus    `json:"link"`              // nil: nothing is being shipped

	Resync   *ResyncStatus   `json:"resync"`   // nil: none is needed
	Original *OriginalStatus `json:"original"` // point 0; nil: it is not kept
	Cutover  *CutoverStatus  `json:"cutover"`  // nil: none

	Health Level   `json:"health"` // the worst of its alerts
	Alerts []Alert `json:"alerts"` // its own, and its process server's; the worst first
	// SilentSince is when the group was asked how it is, and has not answered yet, as storage hangs: all but the lag and the problem is as it was before. Zero: it answers.
	SilentSince time.Time `json:"silent_since,omitzero"`

	Bottleneck string `json:"bottleneck"` // what binds the work under way; empty: nothing that is known, see WaitsFor
	Because    string `json:"because"`    // how that was measured, in words
}

// OriginalStatus tells of point 0, the disks as they were before the first cycle.
type OriginalStatus struct {
	Saving bool  `json:"saving"` // the first cycle is being made: what it writes over is saved before
	Stored int64 `json:"stored"` // bytes on the retention volume: so far, or when it was listed
}

// ResyncStatus tells why a group's next point has to be made by comparing whole disks.
type ResyncStatus struct {
	Why   string    `json:"why"`
	Since time.Time `json:"since,omitzero"` // zero: none is needed, but for an operator's word
	Opens time.Time `json:"opens,omitzero"` // when it begins by itself, as the plan's resync_window says; zero: at once, or it is under way
	Asked bool      `json:"asked"`          // an operator asked for it
}

// ScrubStatus tells how whole a group's journal is. Amounts of the pass are bytes of files.
type ScrubStatus struct {
	Whole   time.Time `json:"whole,omitzero"` // when the journal was last read in whole; zero: never
	Next    time.Time `json:"next,omitzero"`  // when the next pass is due; zero: none is
	Running bool      `json:"running"`
	Done    int64     `json:"done"`
	Total   int64     `json:"total"`
	Parts   int       `json:"parts"`  // quarantined
	Lost    int64     `json:"lost"`   // bytes of the disks that points need and nobody has
	Points  []PointID `json:"points"` // that need them, rising
	Found   []string  `json:"found"`  // by the last pass, in words
}

// DiskComplete is the state of a disk of which the open cycle has all: it waits for the others, as a point is listed with all of its disks, or not.
const DiskComplete = "complete"

// Lacks says which disks the point that is being made still lacks, once others are there; empty: none is being made, or all are lacking.
func (g *GroupStatus) Lacks() string {
	const most = 3
	var names []string
	complete := 0
	for _, d := range g.Disks {
		switch {
		case d.State == DiskComplete:
			complete++
		case d.Queue > 0, d.Ledger.Total > 0: // else it has nothing to send, or joins later
			names = append(names, string(d.Disk))
		}
	}
	if g.Open == 0 || complete == 0 || len(names) == 0 {
		return ""
	}
	if more := len(names) - most; more > 0 {
		names = append(names[:most], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// SpaceStatus tells how a group's journal stands with its space. Amounts are bytes on the retention volume.
type SpaceStatus struct {
	Used   int64         `json:"used"`          // by the journal
	Dead   int64         `json:"dead"`          // of Used: needed by no point, to be given back when enough of a file is
	Spare  int64         `json:"spare"`         // of Used: copies of what the disks hold, given up first
	Limit  int64         `json:"limit"`         // that Used may come to
	Free   int64         `json:"free"`          // on the volume
	Total  int64         `json:"total"`         // of the volume
	Points int           `json:"points"`        // listed
	Covers time.Duration `json:"covers_nanos"`  // age of the oldest point
	Full   time.Time     `json:"full,omitzero"` // when Limit is reached at the present churn; zero: it is not
	Runway string        `json:"runway"`        // the same in words
	Doing  string        `json:"doing"`         // what is being done about it, and why; empty: nothing
}

// DiskStatus is one disk of a group.
type DiskStatus struct {
	Disk    DiskID  `json:"disk"`
	State   string  `json:"state"`
	Size    int64   `json:"size"`
	Ledger  Ledger  `json:"ledger"`  // of the open cycle, or of the last one
	Durable int64   `json:"durable"` // bytes of the open cycle that are durable on the master target
	Rate    float64 `json:"rate"`    // bytes a second looked at, lately
	Source  string  `json:"source"`
	Target  string  `json:"target"`
	Format  string  `json:"format"`
	View    string  `json:"view"`             // how a stable view of the source is made: reflink, command or none
	Joined  PointID `json:"joined,omitempty"` // its first point, of a disk that joined the group later
	Unborn  bool    `json:"unborn,omitempty"` // it has joined, and no point has it yet
	Queue   int     `json:"queue,omitempty"`  // its place among the disks of all groups that wait at the process server to be copied or compared whole; 0: it does not wait

	Backlog    Backlog      `json:"backlog"`
	Bottleneck string       `json:"bottleneck"` // as of the group
	Because    string       `json:"because"`
	Stages     []StageShare `json:"stages"` // the busiest first; empty: nothing is under way
}

// Backlog is what of a disk is still on its way, in bytes, by where it is.
type Backlog struct {
	Source        int64 `json:"source"`         // of the open cycle, still to be looked at
	ProcessServer int64 `json:"process_server"` // read, and not yet acknowledged as durable
	MasterTarget  int64 `json:"master_target"`  // durable, and not yet on the disk
}

// StageShare says how long a stage of the work was busy lately, or waited for.
type StageShare struct {
	Stage string  `json:"stage"`
	Share float64 `json:"share"` // 0 to 1
}
