package mastertarget

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/link"
	"failback/replication/plan"
	"failback/replication/preflight"
	"failback/retention"
	"failback/retention/policy"
)

// A disk leaves a group with the plan that has it no more (apply.go). The disks are brought to the last point first, and the session ends as ever: the target is closed with the content id of that session, and what it looks like is noted.
// Then one record of the journal has the disk leave, with the plan (retention.Leave); from there on it is out, whatever is cut off: a catalogue that does not know yet learns it from the journal (group.agrees). Before, nothing has happened.
// The others are numbered anew, on both sides: the group is opened anew for it, under another generation. The process server lets go of what it keeps of the disk with the next point.
//
// A point that has the disk still is read from the journal and, read-only, from the target, as long as that is as it was left.

// leaves looks at the disks that leave.
func (a *applying) leaves() {
	g, subject := a.group, string(a.group.id)
	gone := plan.Leaving(a.was, a.plan)
	if len(gone) == 0 {
		return
	}
	points := g.journal.Points()
	switch {
	case len(points) == 0:
		a.find(replication.Error, preflight.CodeApply, subject, fmt.Sprintf("group %s has no point yet: disks leave a group that has one", g.id),
			fmt.Sprintf("wait for the first point (failback status %s), then apply the plan again; or unprotect the group, and protect it by this plan", g.id))
		return
	case g.held():
		a.find(replication.Error, preflight.CodeApply, subject, fmt.Sprintf("a rewind holds the disks of group %s at point %d: a disk would be left there for good", g.id, g.journal.Head()),
			fmt.Sprintf("failback advance %s, then apply the plan again; or, to have the disk as it is there, copy it first: failback export", g.id))
		return
	case len(a.plan.Disks()) > len(a.was.Disks())-len(gone):
		a.find(replication.Error, preflight.CodeApply, subject, fmt.Sprintf("disks leave (%s), and others join, with one plan", namesOfGone(gone)), "apply a plan without the disks that leave first, then one with those that join")
		return
	}
	if w := a.engine.worker(a.was.ProcessServer); w != nil && w.Minor < link.MinorLeaving {
		a.find(replication.Error, preflight.CodeApply, subject, fmt.Sprintf("process server %s (version %s) is of an earlier release, which can't go on without a disk", w.Name, w.Version), "upgrade it, then apply the plan again")
		return
	}
	last := points[len(points)-1].ID
	births := g.journal.Births()
	if !slices.ContainsFunc(a.was.Disks(), func(d plan.GroupDisk) bool { return births[d.No] != retention.NoPoint && !slices.Contains(gone, d) }) {
		a.find(replication.Error, preflight.CodeApply, subject, "no point has any of the disks that would stay", "wait for the next point, then apply the plan again")
		return
	}
	for _, d := range gone {
		if births[d.No] == retention.NoPoint {
			a.find(replication.Info, preflight.CodeApply, string(d.Name), fmt.Sprintf("no point has disk %s yet: its target %s stays as it is, written in parts", d.Name, d.Target), "none needed, unless that is worth something: it is not")
			continue
		}
		a.find(replication.Info, preflight.CodeApply, string(d.Name), fmt.Sprintf("disk %s leaves: points %s keep it; its target %s is brought to the last point, %d as it looks now, and closed", d.Name, pointsFrom(points, births[d.No]), d.Target, last), "none needed")
	}
	if c := g.journal.OpenCycle(); c != nil {
		a.find(replication.Info, preflight.CodeApply, subject, fmt.Sprintf("the cycle of point %d is under way, with disks that leave: it starts over without them", c.Point), "none needed")
	}
}

// tooOld says why a process server gets no orders: it would take the disks of earlier cuts for others, as they were numbered when another had not left yet. nil: it gets them.
func (g *group) tooOld(w *worker) *replication.Problem {
	if w.Minor >= link.MinorLeaving || len(g.journal.Departed()) == 0 {
		return nil
	}
	return &replication.Problem{Code: link.CodeVersion, Message: fmt.Sprintf("process server %s (version %s) is of an earlier release, and a disk has left group %s: it would take one disk of an earlier point for another", w.Name, w.Version, g.id),
		Remedy: "upgrade it: nothing is read there until then"}
}

func namesOfGone(gone []plan.GroupDisk) string {
	var names []string
	for _, d := range gone {
		names = append(names, string(d.Name))
	}
	return strings.Join(names, ", ")
}

// pointsFrom tells the points from a disk's first one on.
func pointsFrom(points []replication.Point, born replication.PointID) string {
	var ids []replication.PointID
	for _, p := range points {
		if p.ID >= born {
			ids = append(ids, p.ID)
		}
	}
	return retention.ListPoints(ids)
}

// settle brings the disks to where they are to be left, before the group is closed. They are claimed.
func (a *applying) settle() error {
	g := a.group
	if m := g.journal.Unfinished(); m != nil {
		if err := g.moveTo(g.ctx, m.To); err != nil {
			return fmt.Errorf("finish the move to point %d: %w", m.To, err)
		}
	}
	return g.catchUp()
}

// leave has the disks leave the journal of the group, which is closed.
func (a *applying) leave(gone []plan.GroupDisk) error {
	g := a.group
	g.mu.Lock()
	err, held := g.sealed, g.record.Held
	g.mu.Unlock()
	switch {
	case err != nil:
		return &replication.Problem{Code: "target", Message: fmt.Sprintf("the disks of group %s could not be closed: nothing has left", g.id), Err: err, Remedy: "see to the datastores of its targets, and apply the plan again"}
	case held:
		return &replication.Problem{Code: preflight.CodeApply, Message: fmt.Sprintf("a rewind holds the disks of group %s since the plan was looked at: nothing has left", g.id), Remedy: fmt.Sprintf("failback advance %s, then apply the plan again", g.id)}
	}
	var numbers []replication.DiskNo
	for _, d := range gone {
		numbers = append(numbers, d.No)
	}
	a.engine.reached("closed to leave")
	if err := retention.Leave(a.engine.journalDir(g.id), g.id, a.engine.self.ID, numbers, settingsOf(a.plan, false)); err != nil {
		return journalProblem(g.id, err)
	}
	a.engine.reached("left")
	return nil
}

// departs tells of the disks that left.
func (a *applying) departs(gone []plan.GroupDisk) {
	for _, d := range gone {
		a.engine.cfg.Log.Info("disk left", "group", a.group.id, "disk", d.Name, "target", d.Target)
		a.group.happened(replication.EventPlan, replication.Healthy, 0, "disk %s left the group: its target %s stays as it is, and is free; failback status tells which points have the disk", d.Name, d.Target)
	}
}

// departedOf returns the disks that have left, as far as a listed point has them, the earliest first.
func departedOf(j toldByJournal) (all []replication.DepartedDisk) {
	points := j.Points()
	for _, d := range j.Departed() {
		if slices.ContainsFunc(points, func(p replication.Point) bool { return d.At(p.ID) }) {
			all = append(all, replication.DepartedDisk{Disk: d.Disk.ID, Joined: d.Born, Last: d.Last, Head: d.Head, Target: d.Target, Left: d.Left})
		}
	}
	return all
}

// lacking returns the disks that a point does not have: they joined later, or left before and some point has them still. One that did both is told once.
func lacking(j toldByJournal, p replication.PointID) []replication.UnbornDisk {
	all := unborn(j, p)
	there := disksAt(j, p)
	for _, d := range departedOf(j) {
		if p <= d.Last || slices.ContainsFunc(there, func(o replication.Disk) bool { return o.ID == d.Disk }) {
			continue
		}
		if i := slices.IndexFunc(all, func(u replication.UnbornDisk) bool { return u.Disk == d.Disk }); i >= 0 {
			all[i].Left = d.Last
			continue
		}
		all = append(all, replication.UnbornDisk{Disk: d.Disk, Joined: d.Joined, Left: d.Last})
	}
	return all
}

// leftAlone returns the disks that a move to a point leaves alone: they joined later, or the point has them, and they have left.
func leftAlone(j toldByJournal, p replication.PointID) []replication.UnbornDisk {
	all := unborn(j, p)
	for _, d := range departedOf(j) {
		if d.At(p) {
			all = append(all, replication.UnbornDisk{Disk: d.Disk, Joined: d.Joined, Left: d.Last})
		}
	}
	return all
}

// disksAt returns the disks that a point has, as they are numbered now.
func disksAt(j toldByJournal, p replication.PointID) (all []replication.Disk) {
	births := j.Births()
	for i, d := range j.Identity().Disks {
		if births[i] <= p {
			all = append(all, d)
		}
	}
	for _, d := range j.Departed() {
		if d.At(p) {
			all = append(all, d.Disk)
		}
	}
	return all
}

// diskAt finds a disk by its name: among those that a point has, else any, of which its reader will say why the point does not have it.
func diskAt(j toldByJournal, p replication.PointID, name string) (replication.DiskNo, error) {
	no, err := findDisk(disksAt(j, p), name)
	if err == nil {
		return no, nil
	}
	if no, err := findDisk(j.Identity().Disks, name); err == nil {
		return no, nil
	}
	for _, d := range slices.Backward(j.Departed()) { // the last of that name
		if string(d.Disk.ID) == name || d.Disk.ID.Short() == name {
			return d.Disk.No, nil
		}
	}
	_, other := findDisk(j.Identity().Disks, name)
	return 0, cmp.Or(other, err)
}

// misses says whether a drill, which it tells of that, has to do without a disk that has left: its target is not as it was left.
func (e *Engine) misses(d *running, j toldByJournal, disk replication.Disk) bool {
	for _, l := range j.Departed() {
		if l.Disk.No != disk.No {
			continue
		}
		t, err := e.openLeft(e.drills.ctx, &l)
		if err == nil {
			return t.Close() != nil
		}
		d.log.Warn("drill without a disk that left", "disk", disk.ID, "err", err)
		d.without = append(d.without, replication.UnbornDisk{Disk: disk.ID, Joined: l.Born, Left: l.Last})
		return true
	}
	return false
}

// leftReader is a point of a disk that has left.
type leftReader struct {
	*retention.Reader
	target *leftTarget
}

// Close ends it.
func (l *leftReader) Close() error { return errors.Join(l.Reader.Close(), l.target.Close()) }

// lendsDeparted is a journal, open or looked at, that knows disks that have left.
type lendsDeparted interface {
	Departed() []retention.Departed
	Reader(replication.PointID, replication.DiskNo, retention.Disk) (*retention.Reader, error)
}

// departed opens a disk that has left at a point. Its target is the one that we left, or it is refused (I8): while it is read, too.
func (e *Engine) departed(ctx context.Context, id replication.GroupID, j lendsDeparted, p replication.PointID, no replication.DiskNo) (link.Content, error) {
	all := j.Departed()
	i := slices.IndexFunc(all, func(d retention.Departed) bool { return d.Disk.No == no })
	if i < 0 {
		return nil, &replication.Problem{Code: "no-such-disk", Message: fmt.Sprintf("group %s has no disk %d", id, no)}
	}
	d := &all[i]
	if !d.At(p) {
		var err error = &retention.Left{Disk: d.Disk.ID, Point: p, Last: d.Last}
		if p < d.Born {
			err = &retention.Unborn{Disk: d.Disk.ID, Point: p, Born: d.Born}
		}
		return nil, journalProblem(id, err)
	}
	t, err := e.openLeft(ctx, d)
	if err != nil {
		return nil, err
	}
	r, err := j.Reader(p, no, t)
	if err != nil {
		t.Close()
		return nil, journalProblem(id, err)
	}
	return &leftReader{r, t}, nil
}

// openLeft opens the target of a disk that has left, for reading.
func (e *Engine) openLeft(ctx context.Context, d *retention.Departed) (*leftTarget, error) {
	refuse := func(err error, format string, args ...any) error {
		return &replication.Problem{Code: codeLeft, Message: fmt.Sprintf("disk %s left after point %d, and its points need its target %s as it was then: %s", d.Disk.ID, d.Last, d.Target, fmt.Sprintf(format, args...)), Err: err,
			Remedy: "without it, only the disks that have not left can be had of those points"}
	}
	if by := e.holder(d.Target); by != "" {
		return nil, refuse(nil, "group %s writes to it now", by)
	}
	r, err := blockio.OpenReader(d.Target)
	if err != nil {
		return nil, refuse(err, "it can't be read")
	}
	t := &leftTarget{Reader: r, was: blockio.Fingerprint(d.Fingerprint), refuse: refuse}
	is := r.Description()
	switch {
	case r.Size() != d.Disk.Size:
		err = refuse(nil, "it has %d bytes, and had %d", r.Size(), d.Disk.Size)
	case len(is.Parents) > 0:
		err = refuse(nil, "it is a snapshot on %s by now", is.Parents[0].Path)
	case is.ContentID == 0 && d.Fingerprint == "":
		err = refuse(nil, "it can't be told whether it is")
	case is.ContentID != 0 && len(d.ContentIDs) > 0 && !slices.Contains(d.ContentIDs, is.ContentID):
		err = refuse(nil, "its content id is %08x, and was %08x", is.ContentID, d.ContentIDs[0])
	}
	if err == nil {
		if t.files, err = t.written(); err == nil {
			err = t.unchanged(ctx)
		}
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return t, nil
}

// codeLeft is the code of what is needed of a target that a disk has left.
const codeLeft = "disk-left"

// leftTarget is the target of a disk that has left, while it is read: nobody keeps others from writing to it, so that what was read counts only if its files were not written to since they were looked at.
type leftTarget struct {
	blockio.Reader
	was    blockio.Fingerprint // "": the content id tells
	files  []fileTime
	refuse func(error, string, ...any) error
}

type fileTime struct {
	path  string
	size  int64
	mtime time.Time
	inode os.FileInfo
}

// written looks when the files were last written to.
func (t *leftTarget) written() (all []fileTime, err error) {
	is := t.Description()
	for _, path := range append([]string{is.Path}, is.Extents...) {
		st, err := os.Stat(path)
		if err != nil {
			return nil, t.refuse(err, "it can't be looked at")
		}
		all = append(all, fileTime{path, st.Size(), st.ModTime(), st})
	}
	return all, nil
}

// unchanged holds it against what it looked like.
func (t *leftTarget) unchanged(ctx context.Context) error {
	f, ok := t.Reader.(fingerprinted)
	if t.was == "" || !ok {
		return nil
	}
	now, err := f.Fingerprint(ctx)
	if err == nil {
		err = t.was.Check(now)
	}
	if errors.Is(err, blockio.ErrChanged) {
		return t.refuse(err, "it was written to")
	} else if err != nil {
		return t.refuse(err, "it can't be told whether it was written to")
	}
	return nil
}

// ReadAt reads, and makes sure that it is still what it was.
func (t *leftTarget) ReadAt(b []byte, off int64) (int, error) {
	n, err := t.Reader.ReadAt(b, off)
	if serr := t.still(); serr != nil {
		return 0, serr
	}
	return n, err
}

// NextData tells holes, likewise.
func (t *leftTarget) NextData(off int64) (start, end int64, err error) {
	start, end, err = t.Reader.NextData(off)
	if serr := t.still(); serr != nil {
		return 0, 0, serr
	}
	return start, end, err
}

func (t *leftTarget) still() error {
	now, err := t.written()
	if err != nil {
		return err
	}
	for i, f := range now {
		if was := t.files[i]; f.size != was.size || !f.mtime.Equal(was.mtime) || !os.SameFile(f.inode, was.inode) {
			return t.refuse(nil, "%s is being written to", f.path)
		}
	}
	return nil
}

// showsDisk opens a disk at a point, for who looks: one that has left too.
func (g *group) showsDisk(p replication.PointID, disk replication.DiskNo) (link.Content, error) {
	if int(disk) < len(g.targets) {
		return g.content(p, disk)
	}
	c, err := g.engine.departed(g.ctx, g.id, g.journal, p, disk)
	if err != nil {
		return nil, err
	}
	return &occupyingLeft{c, sync.OnceFunc(g.occupy(p, policy.Reader))}, nil
}

// occupyingLeft is a point of a disk that has left, which is not dropped meanwhile.
type occupyingLeft struct {
	link.Content
	leave func()
}

// Close ends it.
func (o *occupyingLeft) Close() error {
	o.leave()
	return o.Content.Close()
}
