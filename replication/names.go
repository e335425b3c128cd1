package replication

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
)

// GroupID names a replication group: 1 to 63 letters, digits, '-', '_' or '.', not starting with '.' or '-'. It is also the name of
// the group's directory on the retention volume.
type GroupID string

// DiskID names a disk within its group: "machine/id".
type DiskID string

// Machine returns the machine's part of the name.
func (d DiskID) Machine() string { m, _, _ := strings.Cut(string(d), "/"); return m }

// Short returns the name without the machine's part.
func (d DiskID) Short() string { _, s, _ := strings.Cut(string(d), "/"); return s }

// DiskNo is a disk's number within its group, from 0 in the order of the plan that the group began with; disks that join later have the next ones. It stands for the disk on the wire and in the
// journal and never changes its meaning while the group lives.
type DiskNo uint32

// PointID numbers a group's points from 1; 0 is the content before the first cycle (OriginalPoint). It is also the number of the segment that the cycle to that
// point makes, and so the version of the bytes that it changed. A number of which nothing was listed may be used again; any
// other is never used twice.
type PointID uint64

// OriginalPoint is the point of the disks as they were before the first cycle, where the group keeps it. It comes from no cycle, and none starts from it.
const OriginalPoint PointID = 0

// NoPoint is the number of no point.
const NoPoint PointID = math.MaxUint64

// Generation fences writers of a group (I7): a lower one than the highest seen is refused on every call.
type Generation uint64

// Region is the unit of comparing: a run of 1 MiB, aligned, short at the disk's end.
const Region = 1 << 20

// Page is the granularity at which changes are known and journalled (I13): 4 KiB, aligned, short at the disk's end.
const Page = 4 << 10

// MaxDisks bounds the disks of a group, and of a master target with its own included (facts: the product we replace allows 60).
const MaxDisks = 60

// MaxDiskSize bounds a disk: 64 TiB, above the 62 TB that a VMDK may have.
const MaxDiskSize = 64 << 40

// Kind says what a point's consistency is.
type Kind string

// The kinds of points.
const (
	Original Kind = "original" // point 0: the disks as they were before the first cycle
	Crash    Kind = "crash"    // crash-consistent: what a power failure would have left
	App      Kind = "app"      // application-consistent: applications had flushed
	Final    Kind = "final"    // the last point of a planned failback
)

// CodeNotApp is the code of a point that can't be, or could not be made, application-consistent.
const CodeNotApp = "not-application-consistent"

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$`)

// ValidName says whether s can name a group, machine, disk or process server; the error tells the rule.
func ValidName(s string) error {
	if !nameForm.MatchString(s) {
		return fmt.Errorf("%q is not a name: 1 to 63 letters, digits, '-', '_' or '.', starting with a letter, digit or '_'", s)
	}
	return nil
}

// Disk is one disk of a group as all sides agree on it.
type Disk struct {
	No   DiskNo `json:"no"`
	ID   DiskID `json:"id"`
	Size int64  `json:"size"` // bytes, a multiple of 512
}

// ChainHash is the hash over a group's records up to and including a point's: SHA-256, hexadecimal. A cycle names the point it starts from by
// number and chain hash (I10).
type ChainHash string

// Point is one listed recovery point.
type Point struct {
	ID          PointID   `json:"point"`
	Time        time.Time `json:"time"` // when the source was cut, by the process server's clock
	Kind        Kind      `json:"kind"`
	Chain       ChainHash `json:"chain"`
	Snapshot    string    `json:"snapshot"`              // Cut.Snapshot: what the source calls the cut that it was made from
	Bytes       int64     `json:"bytes"`                 // bytes of the disks that its cycle changed
	Stored      int64     `json:"stored"`                // bytes that its segment takes on the retention volume
	Pinned      bool      `json:"pinned"`                // not dropped by policy
	PinnedUntil time.Time `json:"pinned_until,omitzero"` // when the pin ends by itself; zero: never
	PinNote     string    `json:"pin_note,omitempty"`    // the operator's words; one line, or empty
	Verified    *Verify   `json:"verified"`              // nil: never compared with the source
	Suspect     bool      `json:"suspect"`               // I14
	Damaged     int64     `json:"damaged,omitempty"`     // bytes of the disks that it needs and that are lost: known to who keeps the journal, never noted with the point
	Drill       *Drilled  `json:"drill"`                 // nil: no outcome of a drill was recorded

	Skew   time.Duration `json:"skew_nanos,omitempty"` // Cut.Skew; 0: not known
	NotApp string        `json:"not_app,omitempty"`    // Cut.NotApp
}

// Attempted says whether the point is, or was to be, application-consistent.
func (p *Point) Attempted() bool { return p.Kind == App || p.NotApp != "" }

// Pin says that a point is kept, whatever the policy says.
type Pin struct {
	Point PointID   `json:"point"`
	Until time.Time `json:"until,omitzero"` // when it ends by itself; zero: it does not
	Note  string    `json:"note"`           // the operator's words; one line, or empty
}

// HeldAt says whether a pin keeps the point at a time: one that has ended does not, though it may still be noted.
func (p *Point) HeldAt(now time.Time) bool {
	return p.Pinned && (p.PinnedUntil.IsZero() || now.Before(p.PinnedUntil))
}

// Verify is the outcome of comparing a point with the source's snapshot.
type Verify struct {
	Time    time.Time `json:"time"`
	Equal   bool      `json:"equal"`
	Differs int64     `json:"differs"` // bytes, in pages, that differ
}
