// Package mastertarget is the authority's engine: it owns a master target's groups, their disks, journals and points, and gives process servers orders.
//
// Each group has one goroutine that gives orders, one after another (loop.go): it asks decide, a pure function, what is next, and does it. A second one
// moves the disks (move.go), since cycles go on arriving while disks move.
//
//	                targets open,            first point
//	                journal open             listed
//	 ── checking ──────────────► baseline ───────────────► protected ◄───────────┐
//	       │  ▲                     │                       │  ▲  │ rewind        │ advance to
//	can't  │  │ tried again         │          tracking lost│  │  ▼               │ the latest
//	open   ▼  │ by itself           │                       ▼  │ held ────────────┘
//	      error                     │               resyncing ─┘ point listed
//	                                │                       │
//	                                └──► unprotected ◄──────┘  from any state, at the operator's word: the group is forgotten
//
//	protected, held ──commit──► final ──► committed ──finish──► (forgotten)      undo leads back from final and committed
//
// What state an open group is in follows from its journal and from what its operator wants, by a pure function (states.go), as does each turn of a cutover and what is done next for it. Checking and error lead to any of these states, as what was
// opened stands, and each of these to error, where handles break. Else one leads to another so, and not otherwise:
//
//	baseline → protected
//	protected → held, resync needed, resyncing, final
//	held → protected, resync needed, resyncing, final, committed
//	resync needed → protected, held, final
//	resyncing → protected, held, final
//	final → protected, held, resync needed, resyncing, committed
//	committed → held
//
// A commit that is being undone holds the disks until they are where they were; where they turn out to be written to, the group is committed as before.
//
// Where tracking is lost and the plan's resync_window is not open, the group is in need of a resync until it opens or an operator says so (resync.go). Targets that others have written to are error, until he says what may be lost.
//
// A source that has grown takes its target with it (enlarge.go), and a resync follows; one that has shrunk is refused.
//
// A cycle: cut at the source → record the open cycle durably (Begin) → ship → list the point → let the source release the earlier one (I6) → move the
// disks forward when it is time, unless a rewind holds them. Every step may be cut off and is then done again from what is durable: the cut by its snapshot's name, shipping by coverage,
// listing by the totals, the move by its record.
//
// Where machines of the plan have commands that freeze them, a scheduled point is application-consistent every app_interval (situation.appDue, a pure function of what the journal's points say of themselves): the order to cut carries the commands then.
// What came of it is in the cycle's record and on the point. A cut that fails altogether is tried again without freezing.
//
// A reference (repeats.go) is resolved as it arrives, from the base's point or, in a first baseline, from the disk as it stands, and believed by its hash only. The
// bytes enter the journal as an ordinary block, compressed again by s2: the journal stands for itself. What can't be resolved is passed over and counted, and the lane's end says so.
//
// The disks follow by themselves (follow.go): decideFollow, a pure function, lets them fall behind while cycles come one after another, as long as catching up would not take too long, so that
// several cycles are applied in one move. Before a move saves, its space is reckoned and made (room.go): by what nobody needs, then by spares, and by points only at the operator's word. A move
// is taken back or finished at his word too (cancel.go), as long as it is not done: what was before an operator's move is in the catalogue until then.
//
// Damage of the journal (damage.go) is found by scrubbing (scrub.go), by moves before they begin, or by whoever reads it. It is mended from the disks, where they show the same; else the loop orders the source to send it again from
// the snapshot of the last point: that very cut, or not at all (I10). Where that can't be, the next cycle compares: pages that are lost differ from whatever the source has, so that its point is whole. The points in between stay damaged.
//
// A group that can't be opened as something can't be written (a datastore or the retention volume is full, or read-only) is shown (standby.go): its journal is looked at, locked against others, and its disks are read, so that points
// are listed, drilled and exported. It is tried again every few seconds; what tries have noted in the journal the next does not note again.
//
// The catalogue (bbolt, in the state directory) says which groups there are, by which plan, whether a rewind holds the head, and which drills are
// under way, so that what a kill leaves of them is cleaned up. All else is in the group's journal, which outranks it.
//
// Another master target may take a group over (adopt.go), with its journal and disks alone: the journal keeps the plan and names its owner. One that is not the owner any more stops before its next write,
// and says who has the group.
//
// A state directory is made anew of a backup (backup.go). Its groups are taken over from their journals when they are opened, which outrank it; a group that another has taken over since stays out.
//
// A plan that changes (apply.go) is compared with the one in force, by package plan; what can be changed is, and the group is opened anew with it. Disks that join are in the journal first, with the plan: after a crash that counts. Their
// numbers are the next ones, wherever they stand in the plan. The next cycle brings them in: the process server compares them whole, with the targets as they stand, and ships the others' changes; a lane's blocks go through
// to the disks that join, and into the journal for the others. A disk that leaves (leave.go) is out with one record of the journal; its target stays as it is, and is read for the points that have it as long as nobody writes to it.
//
// A group moves to another process server by a plan that names it (apply.go): it is in the catalogue in one change with the order to the old one to forget the group, which is given when that one is there.
//
// A cutover (cutover.go, cutting.go) gives the disks to their machine. Its steps are in the journal, each before its first effect; one goroutine takes them, whichever handles the group has at the time. A committed group
// (away.go) has its journal open, and nothing of its targets; undo opens them again when they are as they were left. That a group is being finished is in the catalogue, as its journal goes.
//
// A drill (drills.go) shows the disks of a point as files, by package drill. What it reads is lent by the group (shown.go), which takes it back before its journal closes and lends it
// again when it has been opened anew.
package mastertarget
