package link

import (
	"context"
	"fmt"
	"io"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/throttle"
)

// Source is one disk of a group as the process server sees it.
type Source struct {
	Disk     replication.Disk // Size 0: not known yet
	Path     string           // file or block device
	Snapshot string           // commands of the plan, "" = none
	Release  string
	Changes  string
}

// Spec names a group and a session in every order.
type Spec struct {
	Session  replication.Session // ID 0 where the order does not ship
	Instance string              // names this protection of the group: what a source holds of another one is of no use; "" with a probe
	Disks    []Source

	// Quiesce are the commands that keep machines still: with a cut, those that are to be still meanwhile, so that it is application-consistent; with a probe, those that are to be looked at.
	Quiesce []replication.Quiesce
}

// Survey is what a process server found when it looked at a group's sources, and at itself.
type Survey struct {
	Disks []Probed
	Dir   string // its state directory

	Quiesce []Unrunnable // commands of Spec.Quiesce that can't be run there
}

// Unrunnable is a command that can't be run.
type Unrunnable struct {
	Machine string
	Command string // freeze or thaw
	Why     string
}

// Probed is what a process server found of one source.
type Probed struct {
	Disk    replication.DiskNo
	Size    int64
	Data    int64                // bytes that may be other than zeros, as far as holes tell; 0: none, or not known
	OS      string               // linux or windows, by what is written on the disk; "": that does not tell
	Mark    string               // what it is told by, for people
	View    string               // reflink | command | none: how a stable view will be made
	Place   string               // names the file or device over all machines, see Place; "" = not known
	Problem *replication.Problem // nil: readable
}

// Place names a file (device and inode number) or a block device (its number, and 0) of a machine, by the id of the machine's boot, in the same way on both ends: so
// that a source which is its own target is found.
func Place(boot string, device, inode uint64) string {
	if boot == "" || device == 0 {
		return ""
	}
	return fmt.Sprintf("%s/%d/%d", boot, device, inode)
}

// Shipment is the order to ship a cut.
type Shipment struct {
	Point, Base replication.PointID
	Mode        replication.Mode
	Snapshot    string               // Cut.Snapshot
	Repeats     bool                 // the master target resolves references (block.Repeat)
	Streams     []replication.DiskNo // whose blocks may come as parts of their lanes' streams (block.Stream): what is written through
	Fresh       bool                 // nothing of it is durable yet: that need not be asked
	Joining     []replication.DiskNo // that the base does not have: they are compared, whatever the mode, with the target disks as they stand

	// Of the disks of a comparison, which line up at the process server, those of all groups together:
	LargestFirst bool // they line up by size; else by number
	Ahead        bool // none of them lines up: a machine is kept down for it
}

// Repair is the order to send parts of a cut again.
type Repair struct {
	Point    replication.PointID
	Snapshot string                                      // Cut.Snapshot: this very cut
	Extents  map[replication.DiskNo][]replication.Extent // rising; at most MaxRepair in all
}

// MaxRepair bounds the extents of a repair order.
const MaxRepair = 4096

// Verified is the outcome of a verify order.
type Verified struct {
	Differs int64                // bytes, in pages
	Disks   []replication.DiskNo // that differ
}

// Base is the point that a cycle starts from. The zero Base is none: a baseline.
type Base struct {
	Point    replication.PointID
	Snapshot string // Cut.Snapshot, when it was made
}

// Cut is a cut and, where it is not tracked, why.
type Cut struct {
	replication.Cut
	UntrackedWhy string
}

// Codes of problems that the other end acts on.
const (
	CodeTrackingLost = "tracking-lost" // what changed since the base is not known: a compare must follow (I10)
	CodeIncomplete   = "incomplete"    // what is durable of a cycle is not what was sent
	CodeStale        = "stale"         // a call of an earlier session or generation (I7)
	CodeUnreachable  = "unreachable"   // the connection ended
	CodeSnapshotGone = "snapshot-gone" // the source has another cut now
)

// Worker is a process server as its master target sees it.
type Worker interface {
	// Probe looks at the sources: sizes, or why they can't be read.
	Probe(ctx context.Context, s Spec) (Survey, error)
	// Cut makes a point over all disks; the same point again gives the same cut as long as its views are stable. Changes since base are tracked only if
	// the source still has the very cut that the master target listed as base (I10); of disks that base does not have, nothing is tracked, nor does it matter.
	// A cut that could not be made application-consistent is made all the same, and says why (Cut.NotApp).
	Cut(ctx context.Context, s Spec, point replication.PointID, base Base) (Cut, error)
	// Ship sends what is not durable yet of a cut and finishes the cycle. It returns when the point is listed.
	Ship(ctx context.Context, s Spec, sh Shipment, progress func(replication.Progress)) error
	// Release lets go of every point but keep (I6).
	Release(ctx context.Context, s Spec, keep replication.PointID) error
	// Verify compares a held cut with the master target's content of that point, by hashes.
	Verify(ctx context.Context, s Spec, point replication.PointID, progress func([]replication.Ledger)) (Verified, error)
	// Repair sends parts of a held cut again, over a lane, and returns when they are durable. A cut that is not held, or may have changed since it was made, is refused (I10).
	Repair(ctx context.Context, s Spec, r Repair) error
	// Forget lets go of everything.
	Forget(ctx context.Context, s Spec) error
}

// Limited is a worker that can be told how much it may send.
type Limited interface {
	// Limit sets what all of its groups may send from now on. It does not wait.
	Limit(throttle.Limits)
}

// Measured is a worker that tells what it measures of itself.
type Measured interface {
	// Figures returns the newest figures; the zero Figures: there are none yet. It does not wait.
	Figures() replication.Figures
}

// Fence names the session, and the point, that a call belongs to.
type Fence struct {
	replication.Session
	Point replication.PointID
}

// Authority is a master target as a process server sees it.
type Authority interface {
	// Coverage tells what is durable of the group's open cycle, a bounded number of extents at a time: disk by disk, rising. It ends with the first error of tell. The
	// extents are tell's until it returns.
	Coverage(ctx context.Context, f Fence, tell func(replication.DiskNo, []replication.Extent) error) error
	// Compare starts telling the master target's side of a disk: of the given extents (whole regions, rising), or of all when there are none.
	Compare(ctx context.Context, f Fence, disk replication.DiskNo, extents []replication.Extent) (Comparison, error)
	// Pages returns the hashes of the pages of the region at off.
	Pages(ctx context.Context, f Fence, disk replication.DiskNo, off int64) ([]replication.Hash, error)
	// Lane opens a lane.
	Lane(ctx context.Context, l replication.Lane) (Lane, error)
	// Finish makes the cycle a point.
	Finish(ctx context.Context, f Fence, totals []replication.Total) (replication.PointID, error)
}

// Warmer is an authority that can connect lanes before they are wanted.
type Warmer interface {
	// Warm has connections of lanes made until n are there that no lane uses. It does not wait for them.
	Warm(n int)
}

// Side is a piece of the master target's side of a disk.
type Side struct {
	replication.Extent                  // one region, or a run of any length that is zero
	Zero               bool             // known to be zero without reading
	Hash               replication.Hash // of the region, when not Zero
}

// Comparison tells a disk's regions in rising order. Next returns io.EOF after the last one.
type Comparison interface {
	Next() (Side, error)
	Close()
}

// Lane carries frames in order. Send takes the frame over; Flush half-closes and returns when all that was sent is durable (I5), but for repeats of so many bytes that could not be
// resolved: they are needed by value. One goroutine at a time.
type Lane interface {
	Send(f *block.Frame) error
	Flush() (byValue int64, err error)
	Close() // gives up; harmless after Flush
}

// Metered is a lane that knows what its socket took.
type Metered interface {
	// Wire returns the bytes that the lane has put on the wire, TLS included. It only rises.
	Wire() int64
}

// Strained is a lane that knows what the network does to it.
type Strained interface {
	// Strain returns what its connection saw. ok false: that is not known.
	Strain() (s Strain, ok bool)
}

// Strain is what the network did to a connection. All of it rises until the lane is connected anew.
type Strain struct {
	Held  time.Duration // how long it, or whoever paces the lane, has held what was sent: not the time in which nothing was under way, nor that in which the other end had no room
	Sent  int64         // bytes, those sent again included
	Again int64         // bytes that were sent again
	Acked int64         // bytes that the other end has said it has
}

// Distant is a lane that knows how far the other end is.
type Distant interface {
	// Trip returns the shortest round trip that its connection saw; 0: not known.
	Trip() time.Duration
}

// Paced is a lane that can be slowed down.
type Paced interface {
	// Pace has the lane ask before it puts n bytes on the wire, how many of them may go now: 1 to n. The answer may take its time.
	Pace(allow func(n int) int)
}

// Buffered is a lane whose socket can be told what to hold.
type Buffered interface {
	// Buffer sets how many bytes that are not on the wire yet the socket takes, until the lane ends.
	Buffer(bytes int)
}

// Peer is what a process server says of itself when it connects.
type Peer struct {
	Name    string
	Home    string        // names its state directory: two of one name have different ones; "": not told
	Key     string        // names the public key of its certificate; "": it came without one, within one process
	Version string        // release of its program
	Minor   uint32        // of the protocol that it speaks
	Skew    time.Duration // its clock less ours, one network delay included
	NoClock bool          // it told none, and Skew is 0

	Certificates []replication.Certificate // that it showed when it connected: its own, and those that this one hangs on
}

// Content is one disk as it was at a point. It stays readable, and the same, until it is closed.
type Content interface {
	io.ReaderAt
	// Size is the disk's size in bytes.
	Size() int64
	// NextData returns the first range at or after off that may hold bytes other than zero; start == end == Size() when there is none.
	NextData(off int64) (start, end int64, err error)
	Close() error
}
