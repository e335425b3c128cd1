package volume

import (
	"fmt"
	"path/filepath"
	"strings"

	"failback/replication"
)

// Codes of findings. Stable; doc.go says what they mean.
const (
	CodeRoot       = "volume-root"
	CodeTarget     = "volume-target"
	CodeState      = "volume-state"
	CodeProgram    = "volume-program"
	CodeMountUnder = "volume-mount-under"
	CodeShared     = "volume-shared"
	CodeMemory     = "volume-memory"
	CodeOverlay    = "volume-overlay"
	CodeHostShare  = "volume-host-share"
	CodeNetwork    = "volume-network"
	CodeFUSE       = "volume-fuse"
	CodeFAT        = "volume-fat"
	CodeReadOnly   = "volume-read-only"
	CodeLocked     = "volume-locked"
	CodeNoCapacity = "volume-no-capacity"
	CodeHidden     = "volume-hidden"
	CodeSilent     = "volume-silent"
	CodeProbe      = "volume-probe"
	CodeBarrier    = "volume-barrier"
	CodeUntried    = "volume-untried"
	CodeNotEmpty   = "volume-not-empty"
	CodeUnknown    = "volume-unknown"
)

// Use is something of ours that takes a volume.
type Use struct {
	Code string // CodeTarget, CodeState or CodeProgram
	What string // for people: "target of disk erp-db/os of group erp"
	Path string
}

// placed is a use, and where it lies.
type placed struct {
	Use
	mount  int    // id of the mount that the path lies on; 0: not known
	device string // where the path is a block device: what FS is of a volume on it
}

// setting is what the rules are about besides the volume itself.
type setting struct {
	table Table
	root  string // FS of the operating system's own volume
	uses  []placed
}

// seen is what was seen of one volume.
type seen struct {
	Mount
	passed     bool  // it was not asked, as it would be refused anyway; nothing below is known
	silent     bool  // it did not answer; likewise
	err        error // nor is anything if this is set
	size, free int64
	magic      int64
	locked     bool     // by another than us
	state      []string // state directories found on it that are not among the uses
	foreign    []string // what lies on it besides journals
	asked      string   // the directory that was asked for, where it is not the top one
	probed     bool
	probe      error
}

// judge tells what speaks against journals on a volume. With shared, the rules about what else a volume is for warn only.
func judge(v seen, s setting, shared bool) []replication.Finding {
	j := bench{volume: v, shared: shared}
	if v.Hidden {
		j.refuse(CodeHidden, "another volume is mounted over it", "unmount the one above, or mount this one elsewhere")
		return j.found
	}
	j.kind()
	if v.ReadOnly {
		j.refuse(CodeReadOnly, "it is mounted read-only", "mount it read-write; where the kernel has made it so after an error, look into its log, and check the file system first")
	}
	j.company(s)
	switch {
	case v.passed:
		return j.found
	case v.silent:
		j.refuse(CodeSilent, fmt.Sprintf("it does not answer within %s", patience), "see that what holds it, "+v.Device+", is there")
		return j.found
	case v.err != nil:
		j.refuse(CodeSilent, v.err.Error(), "see that what holds it, "+v.Device+", is there, and that this process may look at it")
		return j.found
	case v.size <= 0:
		j.refuse(CodeNoCapacity, "it has no capacity", "choose a volume that has")
	}
	if v.locked {
		j.refuse(CodeLocked, "another master target has it", "one retention volume is for one master target: stop the other one, or give it another volume")
	}
	if v.probed && v.probe != nil {
		j.refuse(CodeProbe, "files can't be written, renamed and synced there: "+v.probe.Error(), "let this process write there; if it may, the volume is not fit to hold journals")
	}
	if len(v.foreign) > 0 {
		j.warn(CodeNotEmpty, "there is more on it than journals: "+some(v.foreign), "use an empty volume: what else grows there takes the journals' space")
	}
	return j.found
}

// bench collects findings about one volume.
type bench struct {
	volume seen
	shared bool
	found  []replication.Finding
}

func (j *bench) say(s replication.Severity, code, evidence, remedy string) {
	v := j.volume
	subject, what := v.Path, "volume "+v.Path
	if v.asked != "" {
		subject, what = v.asked, "retention volume "+v.asked
		if v.asked != v.Path {
			what += ", which lies on " + v.Path
		}
	}
	j.found = append(j.found, replication.Finding{Severity: s, Code: code, Subject: subject, Message: fmt.Sprintf("%s (%s on %s): %s", what, v.Type, v.Device, evidence), Remedy: remedy})
}

func (j *bench) refuse(code, evidence, remedy string) {
	j.say(replication.Error, code, evidence, remedy)
}
func (j *bench) warn(code, evidence, remedy string) {
	j.say(replication.Warning, code, evidence, remedy)
}

// trial refuses, or warns where sharing is allowed.
func (j *bench) trial(code, evidence, remedy string) {
	if j.shared {
		j.warn(code, evidence, remedy+" (--allow-shared-volume lets it pass, for trials)")
		return
	}
	if j.volume.asked != "" {
		remedy += "; for a trial, start master-target with --allow-shared-volume"
	}
	j.refuse(code, evidence, remedy)
}

// kind judges the type of file system.
func (j *bench) kind() {
	const another = "use a disk of its own with ext4, xfs or btrfs"
	v := j.volume
	switch kindOf(v.Type, v.magic) {
	case kindFAT:
		j.refuse(CodeFAT, "FAT and exFAT do not survive a power failure", another)
	case kindMemory:
		j.trial(CodeMemory, "it lies in memory: what it holds is gone when the power is", another)
	case kindOverlay:
		j.trial(CodeOverlay, "it is an overlay: what is written lies elsewhere, often for as long as a container lives", "mount a volume of its own there")
	case kindNetwork:
		j.refuse(CodeNetwork, "it is a network's: whether a sync has reached a disk, and who holds a lock, is not to be known here", another+"; it may be attached over iSCSI or lie on a datastore as a virtual disk")
	case kindHostShare:
		j.trial(CodeHostShare, "it is a folder of the machine that this one runs on, which decides what a sync means", another)
	case kindFUSE:
		j.refuse(CodeFUSE, "it is the file system of a program, which decides what a sync means", another)
	case kindUntried:
		j.warn(CodeUntried, "journals have not been tried on this type of file system", another)
	}
	for _, option := range []string{"nobarrier", "barrier=0"} {
		if v.has(option) {
			j.warn(CodeBarrier, "it is mounted with "+option+": a sync does not empty the disk's cache", "mount it without, unless the disk has a cache that survives a power failure")
			break
		}
	}
}

// company judges what else is on the volume.
func (j *bench) company(s setting) {
	const own = "give the retention volume a disk of its own"
	v := j.volume
	if v.FS == s.root {
		evidence := "it is the file system of the operating system"
		if v.asked != "" && v.asked != v.Path {
			evidence += ": nothing is mounted there"
		}
		j.trial(CodeRoot, evidence, "mount the retention volume")
	}
	on := map[int]bool{} // mounts of this file system
	var below, alike []string
	for _, m := range s.table {
		on[m.ID] = m.FS == v.FS
		switch {
		case m.ID == v.ID || m.Hidden || v.FS == s.root: // of the root it needs no saying
		case m.FS == v.FS:
			alike = append(alike, m.Path)
		case under(m.Path, v.Path):
			below = append(below, m.Path)
		}
	}
	lie := map[string][]string{} // by code
	for _, u := range s.uses {
		switch {
		case u.device != "" && u.device == v.FS:
			j.refuse(CodeTarget, fmt.Sprintf("it is what is on %s, the %s", u.Path, u.What), "give another target: it would be overwritten")
		case u.mount != 0 && on[u.mount] && (v.FS != s.root || u.Code == CodeTarget):
			lie[u.Code] = append(lie[u.Code], fmt.Sprintf("%s (%s)", u.Path, u.What))
		}
	}
	lie[CodeState] = append(lie[CodeState], v.state...)
	for _, c := range []struct {
		code, what string
		names      []string
		remedy     string
	}{
		{CodeTarget, "targets lie on it", lie[CodeTarget], own},
		{CodeState, "state directories lie on it", lie[CodeState], own},
		{CodeProgram, "programs of ours lie on it", lie[CodeProgram], own},
		{CodeMountUnder, "other volumes are mounted below it", below, "mount them elsewhere"},
		{CodeShared, "the same file system is mounted elsewhere too", alike, own},
	} {
		if len(c.names) > 0 {
			j.trial(c.code, c.what+": "+some(c.names), c.remedy)
		}
	}
}

// maxNamed is how many names evidence gives.
const maxNamed = 5

// some joins names, the first of them where there are many.
func some(names []string) string {
	if more := len(names) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), more)
	}
	return strings.Join(names, ", ")
}

// under says whether p is a place in dir, other than dir itself.
func under(p, dir string) bool {
	rel, err := filepath.Rel(dir, p)
	return err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
