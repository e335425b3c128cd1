package preflight

import (
	"fmt"

	"failback/blockio"
	"failback/replication"
	"failback/replication/link"
	"failback/replication/plan"
)

// Source is what a process server found of a source.
type Source struct {
	plan.GroupDisk
	Problem *replication.Problem // nil: it can be read
	Size    int64                // bytes
	View    string               // reflink, command or none
	OS      string               // whose disk it looks like: linux, windows; "": it does not tell
	Mark    string               // by what, for people
}

// Usable says whether its size can be that of a disk.
func (s *Source) Usable() bool {
	return s.Problem == nil && s.Size > 0 && s.Size%blockio.SectorSize == 0 && s.Size <= replication.MaxDiskSize
}

// JudgeSources judges sources of a group with the OS type that its plan says.
func JudgeSources(os string, all []Source) []replication.Finding {
	var j judge
	for _, s := range all {
		switch name := string(s.Name); {
		case s.Problem != nil:
			j.problem(name, s.Problem)
		case !s.Usable():
			j.find(replication.Error, CodeSourceSize, name, fmt.Sprintf("disk %s: source %s has %d bytes", name, s.Path(), s.Size), "")
		case s.View == "none":
			j.find(replication.Warning, CodeNoSnapshot, name, fmt.Sprintf("disk %s: no stable view of source %s can be made", name, s.Path()), "")
		}
	}
	j.systems(os, all)
	return j.found
}

// JudgeQuiesce judges whether points of a group can be application-consistent, with commands of its plan for so many machines, and none for others; of those, some can't be run.
func JudgeQuiesce(group string, machines int, without []string, unrunnable []link.Unrunnable, all []Source) []replication.Finding {
	var j judge
	if machines == 0 {
		return nil
	}
	for _, u := range unrunnable {
		j.find(replication.Warning, CodeQuiesce, u.Machine, fmt.Sprintf("machine %s: the %s command can't be run on the process server: %s", u.Machine, u.Command, u.Why), "")
	}
	if len(without) > 0 {
		j.find(replication.Warning, CodeNoApp, group, fmt.Sprintf("group %s makes no application-consistent points: it has no quiesce commands for %s", group, some(without)), `give all its machines some; freeze: "true" and thaw: "true" for one that needs none`)
	}
	var live []string
	for _, s := range all {
		if s.Usable() && s.View == "none" {
			live = append(live, string(s.Name))
		}
	}
	if len(live) > 0 {
		j.find(replication.Warning, CodeNoApp, group, fmt.Sprintf("group %s makes no application-consistent points: %s read in place, without snapshots", group, are(live)), "")
	}
	return j.found
}

func are(disks []string) string {
	if len(disks) == 1 {
		return "disk " + disks[0] + " is"
	}
	return "disks " + some(disks) + " are"
}

// systems compares what disks look like with what the plan says of all its machines. A machine with disks of both kinds says nothing: one may come from elsewhere.
func (j *judge) systems(os string, all []Source) {
	marks := map[string]map[string]Source{} // by machine and OS type
	var machines []string
	for _, s := range all {
		if s.OS == "" {
			continue
		}
		if marks[s.Machine] == nil {
			marks[s.Machine] = map[string]Source{}
			machines = append(machines, s.Machine)
		}
		marks[s.Machine][s.OS] = s
	}
	for _, m := range machines {
		if len(marks[m]) > 1 {
			continue
		}
		for looks, s := range marks[m] {
			if looks != os {
				j.find(replication.Error, CodeOSDiffers, m, fmt.Sprintf("machine %s looks like a %s machine (disk %s: %s), and the plan says that all machines of the group run %s", m, looks, s.Name, s.Mark, os), "")
			}
		}
	}
}
