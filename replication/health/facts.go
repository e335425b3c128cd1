package health

import (
	"time"

	"failback/replication"
)

// Facts is what is known at a moment.
type Facts struct {
	Now     time.Time
	Servers []Server
	Groups  []Group
}

// Server is a process server that a group needs, or that is connected.
type Server struct {
	Name      string
	Connected bool
	Since     time.Time // connected, or gone, since then
	Needed    bool      // a group that is not committed belongs to it
	Skew      time.Duration
	Figures   *replication.Figures // as told last; nil: not told
}

// Group is one group.
type Group struct {
	Name     replication.GroupID
	Server   string
	State    replication.GroupState
	Problem  *replication.Problem // nil: none
	WaitsFor string
	Interval time.Duration // between its points
	RPOAlert time.Duration // age of the last point that is an alert

	AppInterval time.Duration // between its application-consistent points; 0: it makes none
	LastApp     time.Time     // when the last of them was cut; zero: there is none
	NotApp      string        // why the last one that was to be one is not; empty: it is

	Last     replication.PointID
	LastTime time.Time // when it was cut
	Cut      time.Time // when the open cycle was cut; zero: none is open
	Changes  bool      // the open cycle is one of changes
	HeldBack bool      // for lack of space
	Limited  bool      // the rate is bound by a limit that was set

	Closed bool          // it is being opened, or can't be: what its cycle, its journal and its disks do is not known
	Silent time.Duration // for so long it has not told how it is, although it was asked; Last and its time are as told before
	Where  string        // its journal is

	SpaceKnown  bool // HeldBack is
	DamageKnown bool // Parts and Lost are

	Cycles  []Cycle       // the last ones that came to their end, oldest first; at most KeptCycles count
	Changed float64       // bytes a second that change, by these cycles
	Applied float64       // bytes a second that moves were seen to write; 0: not known
	Behind  int           // points that the disks are behind the last one, and not held there
	CatchUp time.Duration // how long it would take to bring them there
	HeadLag time.Duration // how long it may take

	Parts int   // of the journal, in quarantine
	Lost  int64 // bytes that points need and nobody has

	Disks []Disk // of the open cycle
}

// Disk is how far a disk of an open cycle is, in bytes.
type Disk struct {
	Name   replication.DiskID
	Total  int64 // to look at
	Done   int64
	Queued bool  // it waits for its turn
	Sent   int64 // anything that rises as work goes on
	Wire   int64 // sent over the link
}

// Cycle is one that came to its end.
type Cycle struct {
	Gap   time.Duration // between the cut of the point before and its own: in which its changes came together
	Took  time.Duration // to ship it
	Wire  int64         // bytes on the wire
	Bytes int64         // changed
	Bound string        // what its rate was bound by, most of the time: a stage's name; empty: not known
}

// KeptCycles is how many cycles the rate of changes is judged by.
const KeptCycles = 3

// changing says whether points are expected of the group.
func (g Group) changing() bool {
	switch g.State {
	case replication.StateCommitted, replication.StateUnprotected, replication.StateFinal:
		return false
	}
	return true
}
