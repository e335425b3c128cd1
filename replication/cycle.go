package replication

import (
	"fmt"
	"time"
)

// Mode says how a cycle finds what to send.
type Mode string

// The modes of a cycle.
const (
	Compare Mode = "compare" // against the master target's hashes: a baseline, or a resync after tracking was lost
	Changes Mode = "changes" // the source knows, or finds by its own table, what changed since the cycle's base
)

// Route says where a cycle's bytes go on the master target.
type Route string

// The routes of a cycle.
const (
	Through   Route = "through"   // written through to the disks: a baseline; its segment has extents and no content
	Journaled Route = "journaled" // into segment files; the disks move there later. Disks that join with the cycle are written through
)

// Cycle is the cycle that is open in a group: there is at most one.
type Cycle struct {
	Point     PointID   `json:"point"`      // the point it makes
	Base      PointID   `json:"base"`       // the point it starts from, 0 for the first baseline
	BaseChain ChainHash `json:"base_chain"` // chain hash of Base, empty for the first baseline (I10)
	Mode      Mode      `json:"mode"`
	Route     Route     `json:"route"`
	Kind      Kind      `json:"kind"`
	Cut       Cut       `json:"cut"`
}

// Cut is what the process server tells of a cut it made.
type Cut struct {
	Time     time.Time `json:"time"`
	Snapshot string    `json:"snapshot"` // names this cut: what is durable of a cycle counts only for the same snapshot
	Stable   bool      `json:"stable"`   // the view does not change while it is read, and survives the process server's restart
	Tracked  bool      `json:"tracked"`  // changes since the base are known or can be found
	Sizes    []int64   `json:"sizes"`    // by disk number, bytes
	Held     bool      `json:"-"`        // it was there when it was asked for: what its machine wrote since is not in it

	App    bool          `json:"app,omitempty"`          // the machines that have commands for it were kept still from before the first disk was cut until after the last
	NotApp string        `json:"not_app,omitempty"`      // why they were not, where they were to be
	Skew   time.Duration `json:"skew_nanos,omitempty"`   // all disks were cut within so long, from Time on
	Frozen time.Duration `json:"frozen_nanos,omitempty"` // from the first freeze command's begin to the last thaw command's end
}

// Attempted says whether the cut is, or was to be, application-consistent.
func (c *Cut) Attempted() bool { return c.App || c.NotApp != "" }

// Quiesce are the commands that keep a machine still while its disks are cut. The process server runs them.
type Quiesce struct {
	Machine string        `json:"machine"`
	Freeze  string        `json:"freeze"`        // has its applications flush, and write nothing more
	Thaw    string        `json:"thaw"`          // lets them write again; may be run again, also where nothing is frozen
	Timeout time.Duration `json:"timeout_nanos"` // that the machine may be frozen; and that thaw may take
}

// Total is what the process server says of one disk at the end of a cycle: the master target lists the point only if what is durable is exactly that.
type Total struct {
	Disk   DiskNo
	Bytes  int64    // bytes covered: data, zero and, in compare mode, equal
	Digest [32]byte // Set.Digest of the covered extents
}

// Session names one process server's turn at shipping a group's cycles. A newer session of the same generation takes the older one's place.
type Session struct {
	Group      GroupID
	Generation Generation
	ID         uint64 // rises with each session the master target grants
}

// Lane names one attempt of one connection of a session; frames of a stale attempt are cut off.
type Lane struct {
	Session
	Point   PointID
	Lane    uint32
	Attempt uint64
}

func (l Lane) String() string {
	return fmt.Sprintf("%s generation %d session %d point %d lane %d attempt %d", l.Group, l.Generation, l.ID, l.Point, l.Lane, l.Attempt)
}

// Hash is the first 128 bits of SHA-256 over a page. The zero Hash stands for a page of zeros: it is never computed from bytes. It decides what not
// to send, so it is cryptographic (I9).
type Hash [16]byte
