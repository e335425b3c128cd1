package mastertarget

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"failback/blockio"
	"failback/replication"
	"failback/replication/preflight"
	"failback/retention"
)

// journalProblem tells an error of the journal in the operator's words.
func journalProblem(id replication.GroupID, err error) error {
	p := &replication.Problem{Code: "journal", Message: fmt.Sprintf("journal of group %s", id), Err: err}
	switch {
	case errors.Is(err, retention.ErrOwned):
		p.Code, p.Remedy = preflight.CodeTakenOver, fmt.Sprintf("nothing is written here any more. Go on at the other one; or, when that one is off, take the group back with failback adopt. To forget the group here: failback unprotect %s", id)
	case errors.Is(err, retention.ErrCommitted):
		p.Code, p.Remedy = replication.CodeCommitted, fmt.Sprintf("`failback undo %s` takes it back, as long as nobody has written to the disks; `failback finish %s` ends it", id, id)
	case errors.Is(err, retention.ErrLocked):
		p.Remedy = "another master target has it open: only one may write a group"
	case errors.Is(err, retention.ErrOtherGroup):
		p.Remedy = "the directory belongs to another group: give this one another name, or move the directory away"
	case errors.Is(err, retention.ErrNotJournal):
		p.Remedy = "the directory is not a journal: move it away"
	case errors.Is(err, retention.ErrNewer):
		p.Remedy = "run the release that wrote it, or a newer one"
	case errors.Is(err, retention.ErrUnborn):
		p.Code, p.Message, p.Remedy = "disk-unborn", fmt.Sprintf("group %s", id), "choose a point from its first one on; failback status tells when each disk joined"
	case errors.Is(err, retention.ErrLeft):
		p.Code, p.Message, p.Remedy = codeLeft, fmt.Sprintf("group %s", id), "choose a point that has it; failback status tells which disks left after which point"
	case errors.Is(err, retention.ErrNoSpace):
		p.Code, p.Remedy = "retention-full", "give the retention volume more space; nothing listed is lost, and work goes on by itself"
	case errors.Is(err, retention.ErrCorrupt):
		p.Remedy = "keep the directory as it is: what is damaged in it is never served. `failback points` says which points are whole, and those can be exported; `failback journal check` tells what is damaged. The disks stand where they stood"
	case errors.Is(err, fs.ErrNotExist):
		p.Remedy = "see that the retention volume is mounted; a group whose journal is lost has to be unprotected and protected anew"
	default:
		p.Remedy = "see that the retention volume is mounted and writable"
	}
	return p
}

// targetProblem tells an error of a target in the operator's words.
func targetProblem(path string, err error) error {
	p := &replication.Problem{Code: "target", Message: "target " + path, Err: err, Remedy: "see that its datastore is mounted and writable"}
	switch {
	case errors.Is(err, blockio.ErrPoisoned):
		p.Remedy = "see to the storage below it; nothing listed is lost, and the group goes on from what is durable"
	case errors.Is(err, blockio.ErrInUse):
		p.Code, p.Remedy = "target-in-use", "unmount it, or stop what holds it (a second master target?)"
	case errors.Is(err, blockio.ErrNotTarget), errors.Is(err, blockio.ErrUnsupported):
		p.Code, p.Remedy = "target-refused", "give another target, or put this one in order as the message says"
	case errors.Is(err, blockio.ErrCorrupt):
		p.Code, p.Remedy = "target-corrupt", "give another target, or let its owner repair it"
	case errors.Is(err, syscall.ENOSPC):
		p.Code, p.Remedy = "target-full", "give its datastore more space; nothing listed is lost, and work goes on by itself"
	case errors.Is(err, os.ErrNotExist):
		p.Code = "target-missing"
	}
	return p
}
