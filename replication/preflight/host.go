package preflight

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"failback/replication"
	"failback/replication/preflight/machine"
)

// Place is a target or the retention volume, and what is known of where it lies.
type Place struct {
	Subject string // of what is found about it: the disk, or the directory
	What    string // for people: "target of disk erp-db/os"
	Path    string
	Device  bool            // it is a block device
	Number  string          // of that device, else of the one that its file system is on: "8:1"; "": not known
	Serial  string          // of a VMDK: its UUID in 32 hexadecimal digits; "": none
	Below   []machine.Layer // from that device down
	Above   []machine.Layer // made of that device by this machine; of block devices only
}

// Host is the machine of the master target.
type Host struct {
	machine.Machine
	Retention Place
	Targets   []Place // of the plan
	Held      []Place // of the other groups
}

// lsiLogic are the drivers of the controllers that are named LSI Logic and LSI Logic SAS; pvscsi is that of VMware's paravirtual one.
var lsiLogic = []string{"mptspi", "mptsas"}

const pvscsi = "vmw_pvscsi"

// JudgeHost judges the machine of the master target.
func JudgeHost(h Host) []replication.Finding {
	var j judge
	attached := h.crowd(&j)
	if h.VMware() {
		h.vmware(&j)
	} else {
		vendor := h.Vendor
		if vendor == "" {
			vendor = "its firmware does not say whose"
		}
		j.find(replication.Info, CodeMachine, "master target", fmt.Sprintf("the master target's machine, with %s attached, is no virtual machine of VMware's (%s): its controllers, its tools and disk.EnableUUID were not judged", plural(attached, "disk"), vendor), "")
	}
	h.lvm(&j)
	h.clashes(&j)
	for _, p := range h.Targets {
		if unstable.MatchString(p.Path) {
			j.find(replication.Warning, CodeTargetName, p.Subject, fmt.Sprintf("%s: %s is a name that another disk may have after a restart", p.What, p.Path), "")
		}
	}
	return j.found
}

// unstable are names that the kernel gives in the order in which it finds disks.
var unstable = regexp.MustCompile(`^/dev/(sd[a-z]+|vd[a-z]+|xvd[a-z]+|nvme\d+n\d+)$`)

// crowd counts the disks of the master target, its own included, and returns how many are attached.
func (h *Host) crowd(j *judge) int {
	own := map[string]bool{}
	for _, d := range h.Disks {
		own[d.Number] = true
	}
	count := func(places []Place) (n int) {
		for _, p := range places {
			if !p.Device || !own[p.Number] {
				n++
			}
		}
		return n
	}
	attached, held, wanted := len(h.Disks), count(h.Held), count(h.Targets)
	if n := attached + held + wanted; n > replication.MaxDisks && len(h.Targets) <= replication.MaxDisks { // of a plan that is too large alone it is said there
		j.find(replication.Error, CodeCrowd, "master target", fmt.Sprintf("the master target would have %d disks, and at most %d are allowed: %d that are attached to its machine, %d more that are targets of other groups, and %d of this plan",
			n, replication.MaxDisks, attached, held, wanted), "")
	}
	return attached
}

// vmware judges what VMware has to show of a machine.
func (h *Host) vmware(j *judge) {
	lsi, para := h.Driven(lsiLogic...), h.Driven(pvscsi)
	switch {
	case para > 0:
		j.find(replication.Warning, CodePVSCSI, "master target", fmt.Sprintf("the master target's machine has %s of the kind Paravirtual (PVSCSI), and %d of LSI Logic", plural(para, "controller"), lsi), "")
	case lsi == 0:
		j.find(replication.Warning, CodeNoLSI, "master target", "the master target's machine has no controller of the kind LSI Logic", "")
	}
	if h.Tools != machine.ToolsRunning {
		j.find(replication.Warning, CodeTools, "master target", fmt.Sprintf("the master target's machine is a virtual one of VMware's, and its tools are %s: no process vmtoolsd runs", h.Tools), "")
	}
	var scsi []string
	shown := false
	for _, d := range h.Disks {
		if strings.HasPrefix(d.Name, "sd") {
			scsi = append(scsi, d.Name)
			shown = shown || d.Serial != ""
		}
	}
	if len(scsi) > 0 && !shown {
		severity := replication.Warning
		if slices.ContainsFunc(h.Targets, func(p Place) bool { return p.Device }) {
			severity = replication.Error // nothing tells which disk is which
		}
		j.find(severity, CodeEnableUUID, "master target", fmt.Sprintf("none of the disks %s shows its UUID (no wwn-0x… or scsi-3… below /dev/disk/by-id): disk.EnableUUID is not TRUE for the master target's machine", some(scsi)), "")
	}
	if lsi > 0 && para == 0 && h.Tools == machine.ToolsRunning && (len(scsi) == 0 || shown) {
		j.find(replication.Info, CodeMachine, "master target", fmt.Sprintf("the master target's machine: a virtual one of VMware's, with %s attached, %s of the kind LSI Logic, tools running", plural(len(h.Disks), "disk"), plural(lsi, "controller")), "")
	}
}

// lvm tells what lies on volumes of LVM.
func (h *Host) lvm(j *judge) {
	lies := map[string][]string{}
	for _, p := range append([]Place{h.Retention}, h.Targets...) {
		for _, l := range p.Below {
			if l.LVM != "" {
				lies[l.LVM] = append(lies[l.LVM], fmt.Sprintf("%s (%s)", p.Path, p.What))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lies)) {
		j.find(replication.Warning, CodeLVM, name, fmt.Sprintf("on %s, a volume of LVM, lie: %s", name, some(lies[name])), "")
	}
}

// clashes finds disks of one UUID: those of a target are found besides, among targets, by what looks at these.
func (h *Host) clashes(j *judge) {
	of := map[string]machine.Disk{}
	for _, d := range h.Disks {
		if first, ok := of[d.Serial]; ok && d.Serial != "" {
			j.find(replication.Error, CodeUUID, "/dev/"+d.Name, fmt.Sprintf("/dev/%s and /dev/%s, both attached to the master target's machine, have one UUID: %s", first.Name, d.Name, d.Serial), "")
		}
		of[d.Serial] = d
	}
	for _, p := range h.Targets {
		if d, ok := of[p.Serial]; ok && p.Serial != "" && !p.Device {
			j.find(replication.Error, CodeUUID, p.Subject, fmt.Sprintf("%s: %s has the UUID of /dev/%s, which is attached to the master target's machine: %s", p.What, p.Path, d.Name, p.Serial), "")
		}
	}
}
