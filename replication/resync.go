package replication

// ResyncRequest has a group's disks compared with their sources, whole, now.
type ResyncRequest struct {
	Group     GroupID
	Overwrite bool // also where others have written to the disks since, and that is lost by it, with the group's points
}

// Codes of problems about resyncs.
const (
	CodeResyncNeeded     = "resync-needed"     // no point can be made of changes, and comparing waits for its window
	CodeResyncOverwrites = "resync-overwrites" // what others have written to the disks would be lost: ResyncRequest.Overwrite says that it may be
)
