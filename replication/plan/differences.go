package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"failback/replication"
)

// Differences tells what changes from the plan in force to another one of the same group, what that does while the group is protected, and what can't be done then. Disks are told apart by their names. With moves the group is to be read by
// another process server, which may have its sources in other places; nothing else changes then, also where that one has it already.
func Differences(was, now *Plan, moves bool) []replication.PlanChange {
	d := &differences{group: string(now.Group), moves: moves && was.ProcessServer != now.ProcessServer}
	if moves {
		defer d.nothingElse()
	}
	d.refused(d.group, "os", was.OS, now.OS, "a group has one OS type for its whole life", "protect the machines of the other type as a group of their own")
	if d.moves {
		d.done(d.group, "process_server", was.ProcessServer, now.ProcessServer, fmt.Sprintf("the next point is made by comparing the disks whole, unless %s has what %s knows; all points stay; what %s keeps of the group is released", now.ProcessServer, was.ProcessServer, was.ProcessServer))
	} else {
		d.refused(d.group, "process_server", was.ProcessServer, now.ProcessServer, "its snapshots, and what it knows of changes, are with the process server", fmt.Sprintf("failback move %s --process-server %s", d.group, now.ProcessServer))
	}
	p, q := was.Policy, now.Policy
	d.done(d.group, "policy.crash_interval", p.CrashInterval.String(), q.CrashInterval.String(), "the next point is made when it is due by this interval")
	d.done(d.group, "policy.app_interval", p.AppInterval.String(), q.AppInterval.String(), "from the next application-consistent point on")
	d.done(d.group, "policy.retention", p.Retention.String(), q.Retention.String(), "points that it does not keep are dropped within a minute, unless they are pinned")
	d.done(d.group, "policy.rpo_alert", p.RPOAlert.String(), q.RPOAlert.String(), "at once")
	d.done(d.group, "policy.head_lag", p.HeadLag.String(), q.HeadLag.String(), "at once")
	d.done(d.group, "policy.resync_window", p.ResyncWindow.String(), q.ResyncWindow.String(), "at once; a resync that is under way goes on")
	d.done(d.group, "retention", limits(was), limits(now), "what the journal may take from now on; where it takes more, spare copies and then history go")
	d.done(d.group, "priority", priority(was), priority(now), "at once; it takes the place of one that failback throttle priority set")
	d.done(d.group, "copy_order", copyOrder(was), copyOrder(now), "from the next point on that is made by comparing")
	switch {
	case was.KeepOriginal && !now.KeepOriginal:
		d.done(d.group, "keep_original", "true", "false", "point 0 is unpinned: policy drops it")
	case !was.KeepOriginal && now.KeepOriginal:
		d.refused(d.group, "keep_original", "false", "true", "what the disks held before is written over already", "leave keep_original out: point 0 is made with the first point, or never")
	}
	before := map[replication.DiskID]GroupDisk{}
	for _, x := range was.Disks() {
		before[x.Name] = x
	}
	for _, x := range now.Disks() {
		if old, ok := before[x.Name]; ok {
			d.disk(old, x)
			delete(before, x.Name)
			continue
		}
		d.all = append(d.all, replication.PlanChange{Subject: string(x.Name), Key: "disk", Now: fmt.Sprintf("%s to %s", x.Source, x.Target),
			Effect: "joins: it is compared whole and written with the next cycle that begins, and has content from that point on; points before don't have it"})
	}
	for _, m := range now.Machines {
		for _, old := range was.Machines {
			if old.Name == m.Name {
				d.done(m.Name, "quiesce", old.Quiesce.String(), m.Quiesce.String(), "from the next application-consistent point on")
			}
		}
	}
	for _, m := range was.Machines {
		if !slices.ContainsFunc(now.Machines, func(o Machine) bool { return o.Name == m.Name }) {
			d.done(m.Name, "machine", fmt.Sprintf("%d disks", len(m.Disks)), "", "leaves with all its disks; its commands to freeze and thaw it are not run any more")
		}
	}
	for _, x := range was.Disks() {
		if _, gone := before[x.Name]; gone {
			d.leaves(x, len(before) == len(was.Disks()))
		}
	}
	return d.all
}

// Leaving returns the disks of the plan in force that another plan has no more, by their names.
func Leaving(was, now *Plan) (gone []GroupDisk) {
	names := now.Names()
	for _, x := range was.Disks() {
		if !slices.Contains(names, x.Name) {
			gone = append(gone, x)
		}
	}
	return gone
}

// leaves tells of a disk that is in the plan no more; all: no other stays.
func (d *differences) leaves(x GroupDisk, all bool) {
	c := replication.PlanChange{Subject: string(x.Name), Key: "disk", Was: fmt.Sprintf("%s to %s", x.Source, x.Target),
		Effect: "leaves: its replication ends. Its target stays as it is, and is free to be used or deleted; it is not moved any more, not by a rewind either. Points up to the last one keep it, as long as nobody writes to its target, and until they are dropped; later points don't have it"}
	if all {
		c.Refused, c.Effect = true, "all disks of the group in force would leave"
		c.Remedy = fmt.Sprintf("failback unprotect %s ends its protection; then failback reprotect with this plan", d.group)
	}
	d.all = append(d.all, c)
}

type differences struct {
	group string
	moves bool // to another process server
	all   []replication.PlanChange
}

// nothingElse refuses, in a move to another process server, what is not about where the group is read.
func (d *differences) nothingElse() {
	for i := range d.all {
		c := &d.all[i]
		if !c.Refused && !slices.Contains([]string{"process_server", "source", "snapshot", "release", "changes", "quiesce"}, c.Key) {
			c.Refused, c.Effect, c.Remedy = true, "a move says where the group is read, and nothing else", "failback apply changes it, before the move or after"
		}
	}
}

func (d *differences) done(subject, key, was, now, effect string) {
	if was != now {
		d.all = append(d.all, replication.PlanChange{Subject: subject, Key: key, Was: was, Now: now, Effect: effect})
	}
}

func (d *differences) refused(subject, key, was, now, why, remedy string) {
	if was != now {
		d.all = append(d.all, replication.PlanChange{Subject: subject, Key: key, Was: was, Now: now, Effect: why, Remedy: remedy, Refused: true})
	}
}

func (d *differences) disk(was, now GroupDisk) {
	name := string(now.Name)
	again := fmt.Sprintf("failback unprotect %s --keep-journal, then failback reprotect with this plan: its points stay, and the next one is made by comparing", d.group)
	if d.moves {
		d.done(name, "source", was.Source, now.Source, "it is read there, and compared whole: see that it is the same disk")
	} else {
		d.refused(name, "source", was.Source, now.Source, "what has changed is known of this source only", again)
	}
	d.refused(name, "target", was.Target, now.Target, "the target holds what the journal does not: content of every point", "leave the target where it is; after a move of the datastore, name the new place with failback adopt --disk")
	d.refused(name, "format", was.Format, now.Format, "the target has its format", "write the format that it has, or leave it out as before")
	const next = "from the next cut on; where changes are not known then, that point is made by comparing"
	d.done(name, "snapshot", was.Snapshot, now.Snapshot, next)
	d.done(name, "release", was.Release, now.Release, "for the views that are let go of from now on")
	d.done(name, "changes", was.Changes, now.Changes, next)
}

// String is how a plan says it; empty: it does not.
func (q *Quiesce) String() string {
	if q == nil {
		return ""
	}
	return fmt.Sprintf("freeze %q, thaw %q, timeout %s", q.Freeze, q.Thaw, q.Timeout)
}

func limits(p *Plan) string {
	return fmt.Sprintf("soft %s, hard %s, reserve %s", p.Retention.Soft, p.Retention.Hard, p.Retention.Reserve)
}

func copyOrder(p *Plan) string { return cmp.Or(p.CopyOrder, "given") }

func priority(p *Plan) string { return strconv.Itoa(cmp.Or(p.Priority, replication.DefaultPriority)) }
