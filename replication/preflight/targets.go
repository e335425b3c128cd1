package preflight

import (
	"fmt"
	"path/filepath"

	"failback/blockio"
	"failback/replication"
	"failback/replication/plan"
)

// Target is what a master target found of a target.
type Target struct {
	plan.GroupDisk
	SourceSize int64                // bytes; 0: not known
	Retention  string               // the retention directory, where the target lies in it
	Holder     replication.GroupID  // a group that has it already; "": none
	Silent     bool                 // its datastore does not answer; nothing below is known
	Problem    *replication.Problem // why it can't be read, or opened to be written
	Exists     bool
	Is         blockio.Description // if it does
	SourceOf   replication.DiskID  // it is the source of this disk, on this very machine
	LVM        []string            // volumes that this machine has activated on it

	// Of one that does not exist:
	NoDirectory bool   // nor does the directory
	IsDevice    bool   // it would be a device
	Needed      bool   // the group's journal needs it
	VM          string // a machine's configuration (.vmx) in the directory
}

// JudgeTarget judges a target.
func JudgeTarget(t Target) []replication.Finding {
	var j judge
	name := string(t.Name)
	refuse := func(code, message, remedy string) {
		j.find(replication.Error, code, name, fmt.Sprintf("disk %s: ", name)+message, remedy)
	}
	switch {
	case t.Retention != "":
		refuse(CodeInRetention, fmt.Sprintf("target %s lies in the retention directory %s", t.Target, t.Retention), "")
	case t.Holder != "":
		refuse(CodeInUse, fmt.Sprintf("target %s belongs to group %s", t.Target, t.Holder), "give each disk a target of its own")
	case t.Silent:
		refuse(CodeDatastore, fmt.Sprintf("target %s does not answer", t.Target), "see that the datastore is mounted, and that what holds it is there")
	case !t.Exists && t.Problem != nil:
		j.problem(name, t.Problem)
	case !t.Exists:
		j.absent(t)
	case t.Is.TargetRefusal != "":
		refuse(CodeRefused, fmt.Sprintf("target %s: %s", t.Target, t.Is.TargetRefusal), "")
	default:
		j.existing(t)
	}
	return j.found
}

// existing judges a disk that is there.
func (j *judge) existing(t Target) {
	name := string(t.Name)
	if t.SourceSize != 0 && t.Is.Size != t.SourceSize {
		j.find(replication.Error, CodeSizeDiffers, name, fmt.Sprintf("disk %s: source %s has %d bytes, target %s has %d", name, t.Path(), t.SourceSize, t.Target, t.Is.Size),
			"give a target of the source's size, or a path where none exists: it is created then")
	}
	if t.Format != "" && t.Format != string(t.Is.Format) {
		j.find(replication.Warning, CodeFormat, name, fmt.Sprintf("disk %s: target %s exists with the format %s, not %s as the plan says; it is used as it is", name, t.Target, t.Is.Format, t.Format), "")
	}
	switch {
	case t.SourceOf != "":
		j.find(replication.Error, CodeIsSource, name, fmt.Sprintf("disk %s: target %s is the source of disk %s, on this very machine", name, t.Target, t.SourceOf), "")
		return
	case len(t.LVM) > 0:
		j.find(replication.Error, CodeActive, name, fmt.Sprintf("disk %s: target %s: this machine's LVM has activated on it: %s", name, t.Target, some(t.LVM)), "")
	case t.Problem != nil:
		j.problem(name, t.Problem)
	}
	for _, n := range t.Is.Notices {
		j.find(replication.Info, CodeTarget, name, fmt.Sprintf("disk %s: target %s: %s", name, t.Target, n), "none needed")
	}
}

// absent judges where a target is to be created.
func (j *judge) absent(t Target) {
	name := string(t.Name)
	switch {
	case t.Needed:
		j.find(replication.Error, CodeMissing, name, fmt.Sprintf("disk %s: target %s is missing, but the group's journal needs it", name, t.Target), "put the target back, or move the journal away to begin anew")
	case t.NoDirectory:
		j.find(replication.Error, CodeDatastore, name, fmt.Sprintf("disk %s: %s, where target %s would be created, is no directory", name, filepath.Dir(t.Target), filepath.Base(t.Target)), "")
	case t.IsDevice:
		j.find(replication.Error, CodeMissing, name, fmt.Sprintf("disk %s: device %s does not exist", name, t.Target), "attach the disk to the master target; a device is never created")
	case t.VM != "":
		j.find(replication.Warning, CodeVMThere, name, fmt.Sprintf("disk %s: target %s is to be created in the folder of a machine that is there: %s", name, t.Target, t.VM), "")
	}
}

// JudgeTwins tells of targets that are one disk: names are those of the first of the descriptions, which are the plan's; the rest is of other groups.
func JudgeTwins(names []string, all []blockio.Description) []replication.Finding {
	var j judge
	for _, t := range blockio.FindTwins(all) {
		if t.First < len(names) { // or it is no business of this plan
			j.find(replication.Error, CodeTwice, names[t.First], fmt.Sprintf("disk %s: %s", names[t.First], t.Reason), "")
		}
	}
	return j.found
}
