package transport

import (
	"context"
	"time"

	"failback/replication"
	"failback/replication/link"
)

// Operations is what an operator can ask of a master target. Its engine implements it; an error is, or wraps, a *replication.Problem wherever an
// operator can do something about it.
type Operations interface {
	// Check tells everything that would go wrong with a plan, before a byte moves. The error is for a plan that can't be read.
	Check(ctx context.Context, planYAML []byte, path replication.PathAsk) (replication.Checked, error)
	// Reprotect starts protection of the plan's group, or carries on where it is protected by the same plan already.
	Reprotect(ctx context.Context, planYAML []byte) (group replication.GroupID, carriedOn bool, err error)
	// Adopt takes a group over from its journal and disks, or tells what that would find. What stands in the way is among the findings, and an error too unless it only tells.
	Adopt(ctx context.Context, r replication.AdoptRequest) (replication.Adoption, error)
	// Apply changes the plan of a group that is protected, or tells what that would do. What can't be changed is among the changes and findings, and an error too unless it only tells.
	Apply(ctx context.Context, r replication.ApplyRequest) (replication.Applied, error)
	// Status tells of one group, or of all for "".
	Status(ctx context.Context, group replication.GroupID) (replication.Status, error)
	// Events tells what happened, oldest first, and returns when all is told; with r.Follow, it goes on until ctx ends. It ends with the first error of tell.
	Events(ctx context.Context, r replication.EventsRequest, tell func(replication.Event) error) error
	// Support gives what somebody who helps from afar needs to know of a group and of the master target, as files: no secrets, and no content of disks. It ends with the first error of give.
	Support(ctx context.Context, group replication.GroupID, give func(name string, content []byte) error) error
	// Backup returns the text of a backup of the master target's state, of at most backup.Max bytes.
	Backup(ctx context.Context) ([]byte, error)
	// Cut takes a point now. It returns when the point's number is given; the point is listed later.
	Cut(ctx context.Context, group replication.GroupID, app bool) (replication.PointID, error)
	// Points lists the group's points, rising.
	Points(ctx context.Context, group replication.GroupID) (head replication.PointID, points []replication.Point, err error)
	// Move moves the disks, and returns when they stand at the point. Without advance it is a rewind, which holds the head there. With advance,
	// at the latest the head is let go. Where the move only fits when points are given up that the request does not allow, nothing is changed
	// (replication.CodeMoveGivesUp). The end of ctx ends the waiting, never the move. Progress is called by one goroutine at a time, and not after Move returned.
	Move(ctx context.Context, group replication.GroupID, r replication.MoveRequest, progress func(replication.MoveStatus)) (head replication.PointID, err error)
	// PlanMove tells what a move would take, without moving anything.
	PlanMove(ctx context.Context, group replication.GroupID, r replication.MoveRequest) (replication.MovePlan, error)
	// CancelMove takes the move that is under way, or was interrupted, back; or finishes it. Context and progress as with Move.
	CancelMove(ctx context.Context, group replication.GroupID, finish bool, progress func(replication.MoveStatus)) (head replication.PointID, err error)
	// Verify compares a point (0: the last) with the source's snapshot, and tells which disks differ. Progress as with Move.
	Verify(ctx context.Context, group replication.GroupID, point replication.PointID, progress func([]replication.Ledger)) (replication.PointID, replication.Verify, []replication.DiskID, error)
	// Export opens the content of one disk at a point. Disk is the disk's id, or machine/id. The caller closes the content.
	Export(ctx context.Context, group replication.GroupID, point replication.PointID, disk string) (link.Content, error)
	// Drill mounts the disks of a point, and calls started. Detached, it returns then; else when the drill has ended, with the reason, and the end of ctx ends the drill.
	Drill(ctx context.Context, group replication.GroupID, r replication.DrillRequest, started func(replication.DrillStatus)) (why string, err error)
	// EndDrill ends the drill that is mounted there. One that is in use ends only by force: who uses it gets errors.
	EndDrill(ctx context.Context, mountpoint string, force bool) (replication.GroupID, replication.DrillStatus, error)
	// RecordDrill records on a point what a drill of it came to. Its time is now.
	RecordDrill(ctx context.Context, group replication.GroupID, point replication.PointID, outcome replication.DrillOutcome, note string) (replication.Drilled, error)
	// Pin keeps a point from being dropped, and returns it as it is then. A pin that is there already is replaced.
	Pin(ctx context.Context, group replication.GroupID, pin replication.Pin) (replication.Point, error)
	// Unpin takes a pin back, and returns the point as it is then.
	Unpin(ctx context.Context, group replication.GroupID, point replication.PointID) (replication.Point, error)
	// Resync has a group's disks compared with their sources, whole, now: the next point is made so. It returns why that is done, when it is noted and will be done after a restart too. Where others have written to the disks, it is refused
	// (replication.CodeResyncOverwrites) unless the request says that this may be lost.
	Resync(ctx context.Context, r replication.ResyncRequest) (replication.ResyncStatus, error)
	// Scrub begins to read the group's journal in whole, at a rate in bytes a second (0: as fast as arrivals allow), or takes part in the pass under way; damage is mended as far as it can be. It
	// returns when the pass has begun, or, with wait, when it has ended. The end of ctx ends the waiting, never the pass. Progress as with Move.
	Scrub(ctx context.Context, group replication.GroupID, rate int64, wait bool, progress func(replication.ScrubStatus)) (replication.ScrubStatus, error)
	// Commit gives the disks to their machine, and returns the point that they show then. It goes on after a restart; one that asks for the same takes part. The end of ctx ends the waiting, never the commit. Progress as with Move.
	Commit(ctx context.Context, group replication.GroupID, r replication.CommitRequest, progress func(replication.CutoverStatus)) (head replication.PointID, err error)
	// Undo takes a commit back, also one that is under way: the disks go to where they were, or to point 0, and replication goes on. It is refused where somebody has written to them. Context and progress as with Commit.
	// Forecast tells what Commit would take if it began now.
	Forecast(ctx context.Context, group replication.GroupID, r replication.CommitRequest) (replication.Forecast, error)
	Undo(ctx context.Context, group replication.GroupID, toOriginal bool, progress func(replication.CutoverStatus)) (head replication.PointID, err error)
	// FinishCutover ends a group that is committed: its points go, its disks stay. Head is the point that they showed when they were given; replication.NoPoint: not known any more.
	FinishCutover(ctx context.Context, group replication.GroupID) (head replication.PointID, err error)
	// Jobs returns what operators asked for, of a group or, for "", of all: what runs, and what has ended lately; the earliest first.
	Jobs(ctx context.Context, group replication.GroupID) ([]replication.Job, error)
	// CancelJob takes back what an operator asked for, where that can be.
	CancelJob(ctx context.Context, id uint64) error
	// Unprotect stops replication; the disks stay at the head. Journal is where the journal was kept, or empty. Without giveUpOriginal it is refused where what the disks were before would be lost (CodeOriginalLost).
	Unprotect(ctx context.Context, group replication.GroupID, keepJournal, giveUpOriginal bool) (head replication.PointID, journal string, err error)
	// Volumes tells of every volume that is mounted, and whether journals may lie on it.
	Volumes(ctx context.Context) ([]replication.Volume, error)
	// Token makes a token by which a process server may enrol, once, by the name. Life 0 is the default. With replace its key takes the place of one that has the name.
	Token(ctx context.Context, name string, life time.Duration, replace bool) (t link.Token, until time.Time, err error)
	// Throttle changes how much may go over the link, where c says so, and tells how that stands.
	Throttle(ctx context.Context, c replication.ThrottleChange) (replication.ThrottleStatus, error)
	// Rebind gives the name of a process server to another key, and returns the one that had it, or "".
	Rebind(ctx context.Context, name, key string) (was string, err error)
	// ForgetServer takes a process server that is not connected, and that no group needs, off the status, and its name off its key, which it returns; "": it was bound to none.
	ForgetServer(ctx context.Context, name string) (key string, err error)
}
