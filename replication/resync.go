package replication

// ResyncRequest has a group's disks compared with their sources, whole, now.
type ResyncRequest struct {
	Group     GroupID
	Overwrite bool   // also where others have written to the disks since, and that is lost by it, with the group's points
	Seen      string // with Overwrite: ResyncOverwrites.Seen of the question that it answers
}

// ResyncOverwrites is what an operator is asked before what others have written is lost (CodeResyncOverwrites). The Problem is in its chain.
type ResyncOverwrites struct {
	*Problem
	Seen string // names all that would be lost, as it was seen: who agrees gives it back, and agrees to nothing else
}

// Unwrap returns the problem.
func (o *ResyncOverwrites) Unwrap() error { return o.Problem }

// Codes of problems about resyncs.
const (
	CodeResyncNeeded     = "resync-needed"     // no point can be made of changes, and comparing waits for its window
	CodeResyncOverwrites = "resync-overwrites" // what others have written to the disks would be lost: ResyncRequest.Overwrite and Seen say that it may be; a ResyncOverwrites is in the chain
)
