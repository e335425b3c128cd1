package preflight

import (
	"slices"
	"strings"

	"failback/replication"
	"failback/replication/plan"
	"failback/retention/volume"
)

// Rule is what a code of a finding stands for.
type Rule struct {
	Code   string               `json:"code"`
	ASR    string               `json:"asr,omitempty"` // the code that Azure Site Recovery has for the same thing
	Worst  replication.Severity `json:"severity"`      // the worst that it is found with
	What   string               `json:"what"`          // is found, and why it matters
	Remedy string               `json:"remedy"`        // in general; a finding may know better
}

// Codes of what this package finds, and of what a master target finds of journals and groups. Stable.
const (
	CodeAway          = "process-server-away"
	CodeNeverSeen     = "process-server-never-seen"
	CodeTurnedAway    = "process-server-refused"
	CodeNewer         = "master-target-newer"
	CodeSkew          = "clock-skew"
	CodeCache         = "process-server-space"
	CodeBusy          = "process-server-busy"
	CodeExpires       = "certificate-expires"
	CodeExpired       = "certificate-expired"
	CodeSource        = "source"
	CodeUnseen        = "sources-unseen"
	CodeSourceSize    = "source-size"
	CodeNoSnapshot    = "no-snapshot"
	CodeQuiesce       = "quiesce-command"
	CodeNoApp         = "no-app-points"
	CodeOSDiffers     = "os-differs"
	CodePath          = "path"
	CodePathMTU       = "path-mtu"
	CodePathLoss      = "path-loss"
	CodePathSilent    = "path-silent"
	CodeUnmeasured    = "path-unmeasured"
	CodeBaseline      = "baseline-time"
	CodeChurn         = "churn-exceeds-link"
	CodeRPO           = "rpo"
	CodeTarget        = "target"
	CodeInRetention   = "target-in-retention"
	CodeInUse         = "target-in-use"
	CodeDatastore     = "datastore"
	CodeRefused       = "target-refused"
	CodeCorrupt       = "target-corrupt"
	CodeFull          = "target-full"
	CodeSizeDiffers   = "size-differs"
	CodeFormat        = "target-format"
	CodeIsSource      = "target-is-source"
	CodeActive        = "target-lvm-active"
	CodeMissing       = "target-missing"
	CodeVMThere       = "machine-there"
	CodeTwice         = "target-twice"
	CodeTargetName    = "target-name"
	CodeTargetSpace   = "target-space"
	CodeMachine       = "machine"
	CodeCrowd         = "too-many-disks"
	CodePVSCSI        = "pvscsi"
	CodeNoLSI         = "no-lsi-logic"
	CodeTools         = "vmware-tools"
	CodeEnableUUID    = "disk-enable-uuid"
	CodeLVM           = "lvm-below"
	CodeUUID          = "uuid-clash"
	CodeJournalSpace  = "journal-space"
	CodeOriginal      = "keep-original"
	CodeOriginalSpace = "keep-original-space"
	CodeGroupExists   = "group-exists"
	CodeJournal       = "journal"
	CodeTakenOver     = "taken-over"
	CodeRetention     = "retention"
	CodeRetentionFull = "retention-full"
	CodeApply         = "plan-change"
	CodeElsewhere     = "journal-elsewhere"
	CodeJournalInUse  = "journal-in-use"
	CodeOldHost       = "old-host"
	CodeUnproved      = "target-unproved"
)

// Explain returns the rule of a code.
func Explain(code string) (Rule, bool) {
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.Code == code })
	if i < 0 {
		return Rule{}, false
	}
	return rules[i], true
}

// Like returns the rules of what Azure Site Recovery has a code for.
func Like(asr string) (all []Rule) {
	for _, r := range rules {
		if r.ASR == asr && asr != "" {
			all = append(all, r)
		}
	}
	return all
}

// Rules returns all rules, by what they are about.
func Rules() []Rule { return slices.Clone(rules) }

// Near returns codes that look like one that is none.
func Near(code string) (near []string) {
	for _, r := range rules {
		if code != "" && strings.Contains(r.Code, code) {
			near = append(near, r.Code)
		}
	}
	return near
}

const (
	info, warning, refused = replication.Info, replication.Warning, replication.Error

	ownDisk   = "give the retention volume a disk of its own with ext4, xfs or btrfs"
	unhandled = "do what the message says"
)

var rules = []Rule{
	// The plan.
	{plan.CodeName, "", refused, "a name in the plan is missing or has a form that names can't have", "choose a name of letters, digits, dots, dashes and underscores"},
	{plan.CodeOS, "", refused, "the plan does not say what its machines run: all machines of a group run the same, linux or windows", "write os: linux or os: windows; machines of different kinds take two groups"},
	{plan.CodeNoDisks, "", refused, "the plan, or a machine in it, has no disks", "list the disks that come home"},
	{plan.CodeTooMany, "", refused, "the group has more than 60 disks", "divide the machines between groups on several master targets"},
	{plan.CodeDuplicate, "", refused, "two machines, or two disks of one machine, have one name", "give each its own"},
	{plan.CodeSource, "", refused, "a source is not written as one", "write image: and the whole path of a file or block device on the process server"},
	{plan.CodeTarget, "", refused, "a target is not written as one", "write the whole path of the VMDK, raw file or block device on the master target"},
	{plan.CodeFormat, "", refused, "a target's format is not one, or does not go with its name", "leave format out, or see failback check --help"},
	{plan.CodeSameTarget, "", refused, "two disks have one target: they would overwrite each other", "give each disk its own target"},
	{plan.CodeSameSource, "", refused, "two disks have one source", "give each disk its own source, or leave one out"},
	{plan.CodeSamePath, "", warning, "a target has the path of a source: on one machine it would be overwritten", "name another target, if both programs are on one machine or share this path"},
	{plan.CodeCommands, "", refused, "a snapshot command is without its release, or the reverse", "give both, or neither"},
	{plan.CodePolicy, "", refused, "times of the policy are too short, too long, or do not go together", unhandled},
	{plan.CodeQuiesce, "", refused, "a quiesce of the plan lacks one of its two commands, or has a timeout that is too short or too long", "write both freeze and thaw, and a timeout from 1s to 5m"},
	{plan.CodeRetention, "", refused, "limits of the journal do not go together", "write such as retention: {soft: 70%, hard: 90%, reserve: 2%}, or sizes such as 500GiB"},

	// The process server.
	{CodeNeverSeen, "95226", refused, "the process server has not connected since the master target was started: it can't reach it, does not run, or has another name", "start it with the plan's name and this master target's address, and see that the VPN lets it through"},
	{CodeAway, "806", refused, "the process server was connected, and is not any more", "start it again, and see that the VPN lets it through"},
	{CodeTurnedAway, "", refused, "the process server comes, and the master target turns it away: another major version of the protocol, a name that belongs to another key, or two of one name", "what the finding says; the master target's log has all that were turned away"},
	{CodeNewer, "", refused, "the master target is newer than its process server: it must not be", "upgrade the process server first: a master target must not be newer than its process servers"},
	{CodeSkew, "", warning, "the clocks of the two sides are more than a minute apart", "synchronise both with NTP: points are named by the process server's time"},
	{CodeCache, "", refused, "the volume of the process server's state directory has no room for its tables of hashes, or would have less than 30 % free", "give it more space, or another --state; add no machines to it before"},
	{CodeBusy, "", warning, "the process server's machine has 80 % or more of its cores or of its memory in use", "give it more, or protect the group by another process server; add no machines to it before"},
	{CodeExpired, "", refused, "a certificate of either side, or the CA's, has expired", "make a new one with failback pki issue, or where the CA itself expired, all anew with failback pki init"},
	{CodeExpires, "", warning, "a certificate of either side, or the CA's, expires within 30 days", "renew it: failback pki issue CA-DIR ROLE --out DIR --keep-key; where it is the CA's, make all anew with failback pki init"},

	// The sources.
	{CodeSource, "78093", refused, "a source can't be read by the process server: it is gone, not its to read, or no disk", "see that the machine's disk is there, and that the process server may read it"},
	{CodeUnseen, "", refused, "the process server did not say what it sees of its sources", unhandled},
	{CodeSourceSize, "", refused, "a source has a size that no disk has", "a disk is a positive multiple of 512 bytes, at most 64 TiB"},
	{CodeNoSnapshot, "", warning, "no view of a source can be made that stays the same while it is read", "keep the disk still while it is read, put it on xfs or btrfs, or give snapshot and release commands in the plan"},
	{CodeQuiesce, "", warning, "a command of the plan that freezes or thaws a machine can't be run on the process server: points that are to be application-consistent are crash-consistent", "see that it is there, and that the process server's user may run it; sh -n tells what is wrong with how it is written"},
	{CodeNoApp, "", warning, "the plan has commands that freeze machines, and a machine of the group has none, or a disk no snapshots: what is read in place is never application-consistent, and nothing is frozen for it", "put the disk on xfs or btrfs, or give snapshot and release commands in the plan"},
	{CodeOSDiffers, "", refused, "a machine's disks look like those of another OS type than the plan says: all machines of a group run the same", "correct os in the plan; machines of different kinds take two groups"},

	// The path.
	{CodePath, "", info, "what the way between the two sides is like: times, rates, loss, clocks", "none needed"},
	{CodePathMTU, "78028", refused, "large packets vanish on the path where small ones pass: a hop has a smaller MTU, and ICMP is filtered", "clamp the MSS on the VPN gateways, or let ICMP type 3 code 4 through"},
	{CodePathSilent, "78028", refused, "nothing came over the path while it was filled", "see what the VPN does with long transfers, and try again with a longer --path-time"},
	{CodePathLoss, "", warning, "TCP had to send more than 5 % of the segments again", "some loss is how TCP finds the link's rate; this much points at a bad line, a policer without a queue, or a duplex mismatch: ask who runs the VPN"},
	{CodeUnmeasured, "", warning, "the path could not be measured", "try again"},
	{CodeBaseline, "", info, "how long the first point takes at most at the path's rate", "none needed"},
	{CodeRPO, "78169", warning, "points will be older than the plan's rpo_alert before the next one is made, by the path's rate and the churn", "shorten crash_interval, raise rpo_alert, or get a faster link; compression, not reckoned with here, may be enough"},
	{CodeChurn, "78188", refused, "more changes than the link carries: the RPO grows without end", "get a faster link, or protect fewer or quieter disks over it; changes to the same blocks within an interval count once: measure the churn with a longer crash_interval"},

	// The targets.
	{CodeDatastore, "8061", refused, "a target's datastore is not there, or does not answer", "mount the datastore, or make the directory"},
	{CodeVMThere, "78052", warning, "a target is to be created in the folder of a machine that is there already: of the same name, perhaps another", "see that the folder's machine is the one that comes home, and is switched off; else name another folder"},
	{CodeTarget, "", refused, "a target can't be read or written; or, as a mere notice, what is odd about it", "see that its datastore is mounted and writable"},
	{CodeMissing, "", refused, "a target is missing that can't be created: a device, or a disk that the journal needs", "attach the disk, or put the target back"},
	{CodeInUse, "", refused, "a target is used: by another group, a mount, a lock, another program", "unmount it, or stop what holds it (a second master target?)"},
	{CodeActive, "", refused, "the master target's machine has found volumes of LVM on a target, and activated them: it may write there", "deactivate them (vgchange -an) and keep this machine's LVM off such disks (devices file or global_filter in lvm.conf)"},
	{CodeRefused, "", refused, "something speaks against a target: a snapshot, a lock, a session that ended badly, a type that is never written", "give another target, or put this one in order as the message says"},
	{CodeCorrupt, "", refused, "a target's metadata is damaged", "give another target, or let its owner repair it"},
	{CodeFull, "", refused, "a target's datastore is full", "give its datastore more space"},
	{CodeSizeDiffers, "", refused, "source and target differ in size, or a source in size from the group's disk", "give a target of the source's size, or a path where none exists: it is created then; or give the source its size back"},
	{CodeFormat, "", warning, "a target exists with another format than the plan says", "write the format that it has, or remove the target to have it created anew"},
	{CodeInRetention, "", refused, "a target lies in the retention directory", "put the target on a datastore: the retention volume is for the journal only"},
	{CodeIsSource, "", refused, "a target is a source of the group, on one machine", "give another target: a rewind would overwrite the source"},
	{CodeTwice, "", refused, "two targets are one disk, or have one UUID", "give each disk a target of its own"},
	{CodeUUID, "", refused, "two disks have one UUID: a target and one that is attached to the master target's machine, as where both are copies of one template, or two that are attached", "detach the copy, or give it a UUID of its own: which of them a machine sees is a matter of chance"},
	{CodeTargetName, "", warning, "a target is a device by a name that the kernel gives anew at each start", "name it by its link below /dev/disk/by-id"},
	{CodeTargetSpace, "", warning, "what targets may come to take, and what is free where they lie", "make sure that there is room for it, or give another datastore; targets are thin, and take what is written"},

	// The master target's machine.
	{CodeMachine, "", info, "what the master target's machine is, and how many disks are attached to it", "none needed"},
	{CodeCrowd, "", refused, "the master target would have more than 60 disks: those that are attached to its machine, and the targets of all its groups", "protect the group on another master target"},
	{CodePVSCSI, "", warning, "the master target's machine has a controller of the kind Paravirtual: Azure Site Recovery refuses such a master target", "attach targets to controllers of the kind LSI Logic"},
	{CodeNoLSI, "", warning, "the master target's machine has no controller of the kind LSI Logic, to which targets are to be attached", "give it controllers of that kind while it is switched off"},
	{CodeTools, "", warning, "VMware's tools do not run on the master target's machine: without them Azure Site Recovery can't find its datastores", "install and start open-vm-tools"},
	{CodeEnableUUID, "", refused, "the master target's machine does not show the UUIDs of its disks: nothing tells which is which. Where a target is such a disk, it is refused", "set disk.EnableUUID to TRUE in the machine's configuration, and start it anew"},
	{CodeLVM, "", warning, "a target, or the retention volume, lies on a volume of LVM, which Azure Site Recovery does not support for a master target: one disk that fails takes all that lies on it, and a thin pool may be full before the volume is", "put it on a disk of its own, without LVM"},

	// The retention volume.
	{CodeRetention, "", refused, "the retention directory is not there, or can't be written", "mount the retention volume, or give the directory where it is mounted with --retention"},
	{CodeRetentionFull, "", refused, "the retention volume is full", "give it more space"},
	{volume.CodeRoot, "", refused, "the retention volume is the file system of the operating system", "mount the retention volume"},
	{volume.CodeTarget, "", refused, "a target lies on the retention volume", ownDisk},
	{volume.CodeState, "", refused, "a state directory lies on the retention volume", ownDisk},
	{volume.CodeProgram, "", refused, "a program of ours lies on the retention volume", ownDisk},
	{volume.CodeMountUnder, "", refused, "another volume is mounted below the retention volume", "mount it elsewhere"},
	{volume.CodeShared, "", refused, "the retention volume's file system is mounted elsewhere too", ownDisk},
	{volume.CodeMemory, "", refused, "the retention volume lies in memory: it is gone when the power is", ownDisk},
	{volume.CodeOverlay, "", refused, "the retention volume is an overlay: it may last as long as a container", "mount a volume of its own there"},
	{volume.CodeHostShare, "", refused, "the retention volume is a folder of the machine that this one runs on, which decides what a sync means", ownDisk},
	{volume.CodeNetwork, "", refused, "the retention volume is a network's: whether a sync has reached a disk, and who holds a lock, is not to be known", ownDisk + "; it may be attached over iSCSI or lie on a datastore as a virtual disk"},
	{volume.CodeFUSE, "", refused, "the retention volume is the file system of a program, which decides what a sync means", ownDisk},
	{volume.CodeFAT, "", refused, "the retention volume is FAT or exFAT, which do not survive a power failure", ownDisk},
	{volume.CodeReadOnly, "", refused, "the retention volume is mounted read-only", "mount it read-write; look into the kernel's log first"},
	{volume.CodeLocked, "", refused, "another master target has the retention volume", "stop the other one, or give it another volume"},
	{volume.CodeNoCapacity, "", refused, "the retention volume has no capacity", "choose a volume that has"},
	{volume.CodeHidden, "", refused, "another volume is mounted over the retention volume", "unmount the one above, or mount this one elsewhere"},
	{volume.CodeSilent, "", refused, "the retention volume does not answer", "see that what holds it is there"},
	{volume.CodeProbe, "", refused, "files can't be written, renamed and synced on the retention volume", "let the master target write there; if it may, the volume is not fit to hold journals"},
	{volume.CodeBarrier, "", warning, "the retention volume is mounted without write barriers: a sync does not empty the disk's cache", "mount it without that option, unless the disk has a cache that survives a power failure"},
	{volume.CodeUntried, "", warning, "journals have not been tried on the retention volume's type of file system", ownDisk},
	{volume.CodeNotEmpty, "", warning, "there is more on the retention volume than journals: what grows there takes their space", "use an empty volume"},
	{volume.CodeUnknown, "", refused, "the retention volume can't be found or judged", "mount it there, or name the directory where it is mounted by --retention"},

	// The group and its journal.
	{CodeJournalSpace, "", refused, "what the points that are kept may take of the retention volume, and how far back they would reach", "give the retention volume more space, raise the plan's limits (retention), or keep points for less long (policy.retention)"},
	{CodeOriginal, "", refused, "what point 0 takes, or that a journal was begun without it", "leave keep_original out; or move the journal away, and begin anew with the disks as they are"},
	{CodeOriginalSpace, "", warning, "point 0 may not fit on the retention volume", "give the retention volume more space, or leave keep_original out; if it does not fit, the first cycle is held back: nothing is written over that is not saved"},
	{CodeGroupExists, "", refused, "a group of this name is protected already: by this plan, or by another", "failback apply shows what differs; or give the plan another name"},
	{CodeJournal, "", refused, "a journal is in the group's place: its own, another's, or one that can't be read", "move the directory away if its points are not needed any more, or use the plan that it was made with"},
	{CodeTakenOver, "", refused, "the group's journal belongs to another master target: a group has one", "when that one is off or gone, take the group over with failback adopt"},
	{replication.CodeCommitted, "", refused, "the group is committed: its disks are the machine's", "failback undo takes it back, failback finish ends it"},
	{replication.CodeCutover, "", refused, "a commit of the group is under way, or was when its master target was lost", "failback status shows how far it is; failback undo takes it back"},

	// What failback apply and failback adopt find besides.
	{CodeApply, "", refused, "a change of the plan can't be made while the group is protected", "failback apply --dry-run tells what to do about each"},
	{CodeElsewhere, "", refused, "the journal to be adopted does not lie in its place on the retention volume", "mount the retention volume that it lies on, or copy it there"},
	{CodeJournalInUse, "", refused, "a master target has the journal open", "stop that one: only one may write a group"},
	{CodeOldHost, "", refused, "whether the old master target still writes can't be seen from here", "make sure that its machine is off, and say so: --old-host-is-off"},
	{CodeUnproved, "", warning, "it can't be told whether another has written to a target since the last session", "make sure that it is the disk that failback wrote last"},
}

// Elsewhere says where codes of Azure Site Recovery are told that no check can find.
func Elsewhere(asr string) string { return elsewhere[asr] }

var elsewhere = map[string]string{
	"78022": "the master target does not answer: every command of failback says so (code unreachable), and process servers log it",
	"78144": "no application-consistent point in time: it is told of a group that replicates, not before",
	"78174": "the source machine's agent is silent: there is no agent; that a source can't be read is the code " + CodeSource,
	"78186": "the process server can't be reached from the source machine: nothing there has to reach it; that it can't read a source is the code " + CodeSource,
}
