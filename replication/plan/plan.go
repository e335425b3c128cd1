package plan

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"failback/replication"
	"failback/replication/throttle"
	"failback/retention/policy"
)

// Plan is one group as the operator wants it. Defaults are filled in: what a plan leaves out and what it says in full are the same Plan.
type Plan struct {
	Group         replication.GroupID `json:"group"`
	OS            string              `json:"os"` // linux or windows
	ProcessServer string              `json:"process_server"`
	Policy        Policy              `json:"policy"`
	Retention     policy.Limits       `json:"retention"`           // what the group's journal may take of the retention volume
	Priority      int                 `json:"priority,omitzero"`   // its weight where groups share a limit; 0: the default
	KeepOriginal  bool                `json:"keep_original"`       // keep point 0, the disks as they were before the first cycle
	CopyOrder     string              `json:"copy_order,omitzero"` // in which disks are copied or compared whole: CopyLargest, or as the plan lists them
	Machines      []Machine           `json:"machines"`

	order []replication.DiskID // disks whose numbers are given; see Number
}

// CopyLargest has the largest disk copied first.
const CopyLargest = "largest"

// Machine is one machine of the group.
type Machine struct {
	Name    string   `json:"name"`
	Quiesce *Quiesce `json:"quiesce,omitempty"` // nil: its points are crash-consistent
	Disks   []Disk   `json:"disks"`
	line    int
}

// Quiesce are the commands that keep a machine still while its disks are cut.
type Quiesce struct {
	Freeze  string               `json:"freeze"`
	Thaw    string               `json:"thaw"`
	Timeout replication.Duration `json:"timeout"` // that it may be frozen, and that thaw may take
}

// QuiesceTimeout is how long a machine may be frozen, where the plan does not say it; MaxQuiesceTimeout the most that it can say.
const (
	QuiesceTimeout    = replication.Duration(30 * time.Second)
	MaxQuiesceTimeout = replication.Duration(5 * time.Minute)
)

// Quiesced returns the commands of the machines that have some.
func (p *Plan) Quiesced() (all []replication.Quiesce) {
	for _, m := range p.Machines {
		if q := m.Quiesce; q != nil {
			all = append(all, replication.Quiesce{Machine: m.Name, Freeze: q.Freeze, Thaw: q.Thaw, Timeout: time.Duration(q.Timeout)})
		}
	}
	return all
}

// Freezes returns what Quiesced does, where that is all machines; else none: a point is no more consistent than any of them.
func (p *Plan) Freezes() []replication.Quiesce {
	if all := p.Quiesced(); len(all) == len(p.Machines) {
		return all
	}
	return nil
}

// Unquiesced returns the names of the machines without such commands.
func (p *Plan) Unquiesced() (names []string) {
	for _, m := range p.Machines {
		if m.Quiesce == nil {
			names = append(names, m.Name)
		}
	}
	return names
}

// Disk is one disk of a machine.
type Disk struct {
	ID       string `json:"id"`
	Source   string `json:"source"`             // as written, "image:/path"
	Target   string `json:"target"`             // path on the master target
	Format   string `json:"format,omitempty"`   // of a target that is to be created; empty: by the target's name
	Snapshot string `json:"snapshot,omitempty"` // commands; empty: none
	Release  string `json:"release,omitempty"`
	Changes  string `json:"changes,omitempty"`
	line     int
}

// Image is the scheme of a source that is a regular file or a block device.
const Image = "image:"

// Path returns the path that an image source names; empty for any other source.
func (d Disk) Path() string {
	path, ok := strings.CutPrefix(d.Source, Image)
	if !ok {
		return ""
	}
	return path
}

// GroupDisk is a disk with its names in the group.
type GroupDisk struct {
	Disk
	No      replication.DiskNo
	Name    replication.DiskID // machine/id
	Machine string
}

// Disks returns all disks in the order of their numbers: that of the plan, but for those that Number has named.
func (p *Plan) Disks() []GroupDisk {
	var all []GroupDisk
	for _, m := range p.Machines {
		for _, d := range m.Disks {
			all = append(all, GroupDisk{Disk: d, Name: replication.DiskID(m.Name + "/" + d.ID), Machine: m.Name})
		}
	}
	place := func(d GroupDisk) int {
		if i := slices.Index(p.order, d.Name); i >= 0 {
			return i
		}
		return len(p.order)
	}
	slices.SortStableFunc(all, func(a, b GroupDisk) int { return place(a) - place(b) })
	for i := range all {
		all[i].No = replication.DiskNo(i)
	}
	return all
}

// Number gives the disks that are named the first numbers, in that order: a group's disks keep theirs, wherever a disk that joins stands in the plan. The others follow in the order of the plan. The numbers are no
// part of the plan's Canonical form.
func (p *Plan) Number(names []replication.DiskID) { p.order = slices.Clone(names) }

// Names returns the disks' names in the order of their numbers.
func (p *Plan) Names() (names []replication.DiskID) {
	for _, d := range p.Disks() {
		names = append(names, d.Name)
	}
	return names
}

// SetTarget says that the target of a disk lies elsewhere.
func (p *Plan) SetTarget(disk replication.DiskID, path string) {
	for m := range p.Machines {
		for d := range p.Machines[m].Disks {
			if replication.DiskID(p.Machines[m].Name+"/"+p.Machines[m].Disks[d].ID) == disk {
				p.Machines[m].Disks[d].Target = path
			}
		}
	}
}

// Policy says how often a point is made and how long it is kept.
type Policy struct {
	CrashInterval replication.Duration `json:"crash_interval"`         // between crash-consistent points
	AppInterval   replication.Duration `json:"app_interval"`           // between application-consistent points
	Retention     policy.Grid          `json:"retention"`              // which points are kept
	RPOAlert      replication.Duration `json:"rpo_alert"`              // the last point older than this is an alert
	HeadLag       replication.Duration `json:"head_lag"`               // how long bringing the disks to the last point may come to take; 0: they follow each point at once
	ResyncWindow  throttle.Window      `json:"resync_window,omitzero"` // when a resync may begin by itself
}

// Grid returns the grid by which points are dropped: that of the plan, for points that are made every CrashInterval.
func (p Policy) Grid() policy.Grid { return p.Retention.Stretch(time.Duration(p.CrashInterval)) }

// failback is the policy of that name, the default: the fixed values of the product that this one replaces.
var failback = Policy{
	CrashInterval: replication.Duration(5 * time.Minute),
	AppInterval:   replication.Duration(60 * time.Minute),
	Retention:     policy.Failback(),
	RPOAlert:      replication.Duration(15 * time.Minute),
	HeadLag:       replication.Duration(30 * time.Second),
}

// Canonical returns the plan in one fixed form: two plans mean the same exactly when their canonical forms are equal. The form is itself a plan
// that Parse reads.
func (p *Plan) Canonical() []byte {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		panic(err) // values that are texts only
	}
	return append(b, '\n')
}
