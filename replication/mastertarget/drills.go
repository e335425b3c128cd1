package mastertarget

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"failback/replication"
	"failback/replication/mastertarget/drill"
	"failback/retention"
)

const defaultScratch = 16 << 30 // bytes that a writable drill may write, where there is twice as much space

// drills are those under way, by mount point.
type drills struct {
	ctx context.Context // ends before the engine does
	end context.CancelFunc
	wg  sync.WaitGroup

	mu  sync.Mutex
	all map[string]*running
}

// running is a drill under way.
type running struct {
	group   replication.GroupID
	request replication.DrillRequest
	source  string // names its mount
	made    bool   // the mount point was made for it
	since   time.Time
	until   time.Time // zero: until it is ended
	files   []replication.DrillFile
	disks   []*shown
	without []replication.UnbornDisk
	log     *slog.Logger

	mounted *drill.Drill  // under drills.mu; nil: it is being started
	why     string        // it ended; under drills.mu
	ended   chan struct{} // closed when nothing of it is left

	once map[string]bool // files of which an error was logged; under drills.mu
}

// drillRecord is what the catalogue knows of a drill, so that what a kill leaves of it is found.
type drillRecord struct {
	Mountpoint string              `json:"mountpoint"`
	Source     string              `json:"source"` // as the table of mounts has it
	Made       bool                `json:"made"`
	Point      replication.PointID `json:"point"`
}

// cleanDrills takes away what a master target that was killed left of its drills.
func (e *Engine) cleanDrills() error {
	left := map[replication.GroupID][]drillRecord{}
	err := each(e.cat, bucketDrills, func(id replication.GroupID, r []drillRecord) error { left[id] = r; return nil })
	if err != nil {
		return err
	}
	for id, records := range left {
		var still []drillRecord
		for _, r := range records {
			log := e.cfg.Log.With("group", id, "point", r.Point, "mountpoint", r.Mountpoint)
			if err := drill.Clean(r.Source); err != nil { // tried again at the next start
				log.Error("the mount of a drill that was cut off is still there", "err", err)
				still = append(still, r)
				continue
			}
			if r.Made {
				_ = os.Remove(r.Mountpoint)
			}
			log.Warn("a drill was cut off; what was left of it is cleaned up")
		}
		if len(still) == 0 {
			err = e.cat.remove(bucketDrills, id)
		} else {
			err = e.cat.put(bucketDrills, id, still)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// saveDrillsLocked notes in the catalogue which drills of a group are under way.
func (e *Engine) saveDrillsLocked(id replication.GroupID) error {
	var records []drillRecord
	for _, d := range e.drills.all {
		if d.group == id {
			records = append(records, drillRecord{d.request.Mountpoint, d.source, d.made, d.request.Point})
		}
	}
	if len(records) == 0 {
		return e.cat.remove(bucketDrills, id)
	}
	return e.cat.put(bucketDrills, id, records)
}

// drilledPoints returns the points of a group that drills show, or are about to.
func (e *Engine) drilledPoints(id replication.GroupID) (points []replication.PointID) {
	e.drills.mu.Lock()
	defer e.drills.mu.Unlock()
	for _, d := range e.drills.all {
		if d.group == id {
			points = append(points, d.request.Point)
		}
	}
	return points
}

// whileDrills calls do while no drill begins, with what tells whether one shows a point of the group: such a point is not dropped.
func (g *group) whileDrills(do func(inUse func(replication.PointID) bool) error) error {
	g.steady.Lock() // the group's own: do may hang with its journal
	defer g.steady.Unlock()
	points := g.engine.drilledPoints(g.id)
	return do(func(p replication.PointID) bool { return slices.Contains(points, p) })
}

// drillsOf returns the drills of a group, for status.
func (e *Engine) drillsOf(id replication.GroupID) []replication.DrillStatus {
	all := []replication.DrillStatus{}
	e.drills.mu.Lock()
	defer e.drills.mu.Unlock()
	for _, d := range e.drills.all {
		if d.group == id && d.mounted != nil {
			all = append(all, d.statusLocked())
		}
	}
	slices.SortFunc(all, func(a, b replication.DrillStatus) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Mountpoint, b.Mountpoint))
	})
	return all
}

func (d *running) statusLocked() replication.DrillStatus {
	r := d.request
	s := replication.DrillStatus{Point: r.Point, Mountpoint: r.Mountpoint, Files: slices.Clone(d.files), Since: d.since, Until: d.until, Writable: r.Writable, Without: d.without}
	if r.Writable {
		s.Scratch = replication.DrillScratch{Dir: r.Scratch, Limit: r.ScratchSize}
	}
	if d.mounted != nil {
		u := d.mounted.Usage()
		s.Scratch.Used, s.Errors, s.LastError = u.Scratch, u.Errors, u.Last
	}
	return s
}

// Drill implements transport.Operations.
func (e *Engine) Drill(ctx context.Context, id replication.GroupID, r replication.DrillRequest, started func(replication.DrillStatus)) (string, error) {
	if err := drill.Available(); err != nil {
		return "", &replication.Problem{Code: "no-fuse", Message: "a drill can't be mounted on the master target's machine", Err: err,
			Remedy: "load the kernel's module (modprobe fuse), let the master target run as root, and let its container, if it runs in one, have /dev/fuse"}
	}
	g, err := e.group(id)
	if err != nil {
		return "", err
	}
	if err := g.view(ctx, func(toldByJournal) error { return nil }); err != nil {
		return "", err
	}
	d := &running{group: id, request: r, since: time.Now().UTC(), source: fmt.Sprintf("failback:%s@%d#%s", id, r.Point, rand.Text()), ended: make(chan struct{}), once: map[string]bool{}}
	if err := e.settle(&d.request); err != nil {
		return "", err
	}
	d.log = e.cfg.Log.With("group", id, "point", r.Point, "mountpoint", d.request.Mountpoint)
	if r.For > 0 {
		d.until = d.since.Add(r.For)
	}
	point, err := e.register(d)
	if err != nil {
		return "", err
	}
	if err := e.mountDrill(d, point); err != nil {
		e.unregister(d)
		return "", drillProblem(d.request.Mountpoint, err)
	}
	d.log.Info("drill", "writable", r.Writable, "for", r.For)
	e.happened(replication.EventDrill, replication.Healthy, id, r.Mountpoint, "a drill of point %d has begun at %s", r.Point, r.Mountpoint)
	e.changed()
	holder := ctx
	if r.Detach {
		holder = context.Background()
	}
	go e.watchDrill(holder, d)
	e.drills.mu.Lock()
	now := d.statusLocked()
	e.drills.mu.Unlock()
	started(now)
	if r.Detach {
		return "", nil
	}
	<-d.ended
	return d.why, nil
}

// settle puts what was left out into a request, and says what is wrong with it.
func (e *Engine) settle(r *replication.DrillRequest) error {
	refuse := func(code, message, remedy string) error {
		return &replication.Problem{Code: code, Message: message, Remedy: remedy}
	}
	if !filepath.IsAbs(r.Mountpoint) {
		return refuse("mountpoint", fmt.Sprintf("mount point %q is not an absolute path", r.Mountpoint), "name a directory of the master target's machine by its whole path, such as /mnt/drill")
	}
	var err error
	if r.Mountpoint, err = realPath(r.Mountpoint); err != nil {
		return drillProblem(r.Mountpoint, err)
	}
	for _, dir := range []string{e.cfg.Retention, e.cfg.State} {
		if within(r.Mountpoint, dir) != "" || within(resolved(dir), r.Mountpoint) != "" {
			return refuse("mountpoint", fmt.Sprintf("mount point %s is not apart from %s, which the master target keeps for itself", r.Mountpoint, dir), "name a directory elsewhere, such as /mnt/drill")
		}
	}
	if r.For < 0 || r.ScratchSize < 0 {
		return refuse("drill", fmt.Sprintf("a drill of %s with a scratch file of %d bytes", r.For, r.ScratchSize), "give numbers above zero")
	}
	if !r.Writable {
		r.Scratch, r.ScratchSize = "", 0
		return nil
	}
	if r.Scratch == "" {
		r.Scratch = e.cfg.State
	}
	if r.Scratch, err = filepath.Abs(r.Scratch); err == nil {
		r.Scratch, err = filepath.EvalSymlinks(r.Scratch)
	}
	if err != nil {
		return &replication.Problem{Code: "scratch", Message: "directory of the scratch file", Err: err, Remedy: "name by --scratch a directory that exists on the master target's machine"}
	}
	if dir := within(r.Scratch, e.cfg.Retention); dir != "" {
		return refuse("scratch", fmt.Sprintf("the scratch file would be on the retention volume, below %s", dir), "name by --scratch a directory elsewhere: the retention volume is for the journals only")
	}
	_, free, err := freeSpace(r.Scratch)
	if err != nil {
		return &replication.Problem{Code: "scratch", Message: "free space for the scratch file in " + r.Scratch, Err: err, Remedy: "name another directory by --scratch"}
	}
	if r.ScratchSize == 0 {
		r.ScratchSize = min(defaultScratch, free/2)
	}
	if r.ScratchSize > free {
		return refuse("scratch", fmt.Sprintf("the scratch file may take %d bytes, but only %d are free in %s", r.ScratchSize, free, r.Scratch), "give less by --scratch-size, or another directory by --scratch")
	}
	return nil
}

// within returns dir, resolved, if path is it or below it; else "".
func within(path, dir string) string {
	dir = resolved(dir)
	if path != dir && !strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") {
		return ""
	}
	return dir
}

// resolved returns an absolute path without symbolic links, as far as it can be told.
func resolved(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return dir
}

// realPath resolves symbolic links of a path whose last element need not exist.
func realPath(path string) (string, error) {
	path = filepath.Clean(path)
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return path, err
	}
	path = filepath.Join(parent, filepath.Base(path))
	if st, err := os.Lstat(path); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		return filepath.EvalSymlinks(path)
	}
	return path, nil
}

// register notes a drill, in the catalogue too, before anything is mounted: from here on its point is not dropped, and its group does not go.
func (e *Engine) register(d *running) (replication.Point, error) {
	defer e.administer(d.group)()
	g, err := e.group(d.group)
	var disks []replication.Disk
	var points []replication.Point
	if err == nil && g.isReady() == nil {
		err = g.disksTaken()
		g.mu.Lock()
		final := g.final
		g.mu.Unlock()
		if at := g.journal.Cutover(); err == nil && at != nil && (final || !time.Now().Before(at.NotBefore)) { // it would be refused in the end, when the source is stopped
			err = underWay(d.group, at)
		}
	}
	if err == nil {
		err = g.view(e.drills.ctx, func(j toldByJournal) error {
			disks, points = disksAt(j, d.request.Point), j.Points()
			d.without = lacking(j, d.request.Point)
			disks = slices.DeleteFunc(disks, func(disk replication.Disk) bool { return e.misses(d, j, disk) })
			for i := range disks {
				disks[i].Size = j.SizeAt(disks[i].No, d.request.Point)
				disks[i].No = j.Slot(disks[i].No)
			}
			return nil
		})
	}
	if err != nil {
		return replication.Point{}, err
	}
	g.steady.Lock()
	defer g.steady.Unlock()
	if g.isReady() == nil {
		points = g.journal.Points() // none of them goes while the lock is held
	}
	e.drills.mu.Lock()
	defer e.drills.mu.Unlock()
	if e.drills.ctx.Err() != nil {
		return replication.Point{}, errClosing
	}
	i := slices.IndexFunc(points, func(p replication.Point) bool { return p.ID == d.request.Point })
	if i < 0 {
		return replication.Point{}, noSuchPoint(d.group, d.request.Point)
	}
	point := points[i]
	if other := e.drills.all[d.request.Mountpoint]; other != nil {
		return point, &replication.Problem{Code: "mountpoint", Message: fmt.Sprintf("point %d of group %s is mounted at %s", other.request.Point, other.group, d.request.Mountpoint),
			Remedy: "name another directory, or end that drill: failback drill --end " + d.request.Mountpoint}
	}
	taken := map[string]bool{}
	for _, disk := range disks {
		name := fmt.Sprintf("%s-%s.raw", disk.ID.Machine(), disk.ID.Short())
		if taken[name] { // a-b/c and a/b-c
			name = fmt.Sprintf("%s-%s-%d.raw", disk.ID.Machine(), disk.ID.Short(), disk.No)
		}
		taken[name] = true
		d.files = append(d.files, replication.DrillFile{Disk: disk.ID, Path: filepath.Join(d.request.Mountpoint, name), Size: disk.Size})
		d.disks = append(d.disks, &shown{engine: e, ctx: e.drills.ctx, group: d.group, point: d.request.Point, disk: disk.No, size: disk.Size})
	}
	if _, err := os.Lstat(d.request.Mountpoint); errors.Is(err, fs.ErrNotExist) {
		d.made = true
	}
	e.drills.all[d.request.Mountpoint] = d
	if err := e.saveDrillsLocked(d.group); err != nil {
		delete(e.drills.all, d.request.Mountpoint)
		return point, err
	}
	e.drills.wg.Add(1)
	return point, nil
}

// unregister forgets a drill of which nothing is mounted any more.
func (e *Engine) unregister(d *running) {
	defer e.drills.wg.Done()
	for _, s := range d.disks {
		s.close()
	}
	if d.made {
		_ = os.Remove(d.request.Mountpoint)
	}
	e.drills.mu.Lock()
	defer e.drills.mu.Unlock()
	delete(e.drills.all, d.request.Mountpoint)
	if err := e.saveDrillsLocked(d.group); err != nil {
		d.log.Error("forget the drill", "err", err)
	}
	close(d.ended)
}

func (e *Engine) mountDrill(d *running, point replication.Point) error {
	if d.made {
		if err := os.Mkdir(d.request.Mountpoint, 0o755); err != nil {
			d.made = false
			return err
		}
	}
	o := drill.Options{
		Dir: d.request.Mountpoint, Source: d.source, Time: point.Time, Writable: d.request.Writable, Scratch: d.request.Scratch, Limit: d.request.ScratchSize,
		Failed: func(file string, off int64, err error) { e.drillFailed(d, file, off, err) },
		Log:    func(line string) { d.log.Debug("fuse", "said", strings.TrimSpace(line)) },
	}
	for i, f := range d.files {
		if err := d.disks[i].open(); err != nil {
			return err
		}
		o.Files = append(o.Files, drill.File{Name: filepath.Base(f.Path), Content: d.disks[i]})
	}
	mounted, err := drill.Start(o)
	if err != nil {
		return err
	}
	e.drills.mu.Lock()
	defer e.drills.mu.Unlock()
	d.mounted = mounted
	return nil
}

// drillFailed logs the first error of each file; the rest is counted.
func (e *Engine) drillFailed(d *running, file string, off int64, err error) {
	e.drills.mu.Lock()
	first := !d.once[file]
	d.once[file] = true
	e.drills.mu.Unlock()
	if !first || e.drills.ctx.Err() != nil {
		return
	}
	said := "drill can't read or write"
	if errors.Is(err, retention.ErrCorrupt) {
		said = "drill met damage"
	}
	d.log.Error(said, "file", file, "off", off, "err", err)
}

// watchDrill ends a drill when its time is over, when nobody holds it any more, or with the engine; and cleans up.
func (e *Engine) watchDrill(holder context.Context, d *running) {
	var over <-chan time.Time
	if !d.until.IsZero() {
		t := time.NewTimer(time.Until(d.until))
		defer t.Stop()
		over = t.C
	}
	why := ""
	select {
	case <-d.mounted.Done():
		e.drills.mu.Lock()
		why = cmp.Or(d.why, "it was unmounted")
		e.drills.mu.Unlock()
	case <-over:
		why = "its time was over"
	case <-holder.Done():
		why = "the command that held it ended"
	case <-e.drills.ctx.Done():
		why = "the master target shut down"
	}
	err := d.mounted.End(true)
	for wait := retryMin; err != nil && e.drills.ctx.Err() == nil; err = d.mounted.End(true) {
		d.log.Error("drill does not end", "why", why, "err", err, "again_in", wait)
		select {
		case <-time.After(wait):
		case <-e.drills.ctx.Done():
		}
	}
	if err != nil { // the kernel ends it with this process; the next one finds its mount by the catalogue
		d.log.Error("drill does not end", "why", why, "err", err)
		d.why = why
		close(d.ended)
		e.drills.wg.Done()
		return
	}
	u := d.mounted.Usage()
	d.log.Info("drill ended", "why", why, "written", u.Scratch, "errors", u.Errors)
	e.happened(replication.EventDrill, replication.Healthy, d.group, d.request.Mountpoint, "the drill of point %d at %s ended: %s", d.request.Point, d.request.Mountpoint, why)
	e.drills.mu.Lock()
	d.why = why
	e.drills.mu.Unlock()
	e.unregister(d)
	e.changed()
}

// EndDrill implements transport.Operations.
func (e *Engine) EndDrill(_ context.Context, mountpoint string, force bool) (replication.GroupID, replication.DrillStatus, error) {
	path, _ := realPath(mountpoint)
	e.drills.mu.Lock()
	d := e.drills.all[path]
	if d == nil || d.mounted == nil {
		e.drills.mu.Unlock()
		return "", replication.DrillStatus{}, &replication.Problem{Code: "no-such-drill", Message: fmt.Sprintf("no drill of ours is mounted at %s", mountpoint), Remedy: "`failback status` lists the drills"}
	}
	d.why = "it was ended by failback drill --end"
	last := d.statusLocked()
	e.drills.mu.Unlock()
	if err := d.mounted.End(force); err != nil {
		e.drills.mu.Lock()
		d.why = ""
		e.drills.mu.Unlock()
		return "", replication.DrillStatus{}, drillProblem(path, err)
	}
	<-d.ended
	return d.group, last, nil
}

// RecordDrill implements transport.Operations.
func (e *Engine) RecordDrill(ctx context.Context, id replication.GroupID, point replication.PointID, outcome replication.DrillOutcome, note string) (replication.Drilled, error) {
	g, err := e.group(id)
	if err != nil {
		return replication.Drilled{}, err
	}
	if err := g.waitReady(ctx); err != nil {
		return replication.Drilled{}, err
	}
	d := replication.Drilled{Outcome: outcome, Time: time.Now().UTC(), Note: note}
	if err := d.Check(); err != nil {
		return d, &replication.Problem{Code: "drill-outcome", Message: "the outcome can't be recorded", Err: err, Remedy: "record passed or failed, with a note of one line"}
	}
	switch err := g.journal.MarkDrilled(point, d); {
	case errors.Is(err, retention.ErrNoPoint):
		return d, noSuchPoint(id, point)
	case err != nil:
		g.mend(err)
		return d, journalProblem(id, err)
	}
	g.log.Info("drill recorded", "point", point, "outcome", outcome, "note", note)
	g.happened(replication.EventDrill, replication.Healthy, point, "a drill of point %d %s", point, outcome)
	return d, nil
}

// drillsRunning is the problem of a group that can't go while drills show it.
func (e *Engine) drillsRunning(id replication.GroupID) error {
	e.drills.mu.Lock()
	defer e.drills.mu.Unlock()
	for _, path := range slices.Sorted(maps.Keys(e.drills.all)) {
		if d := e.drills.all[path]; d.group == id {
			return &replication.Problem{Code: "drill-running", Message: fmt.Sprintf("point %d of group %s is mounted at %s", d.request.Point, id, path),
				Remedy: "end the drill first: failback drill --end " + path}
		}
	}
	return nil
}

// drillProblem tells an error of a drill in the operator's words.
func drillProblem(mountpoint string, err error) error {
	var told *replication.Problem
	if errors.As(err, &told) {
		return err
	}
	p := &replication.Problem{Code: "drill", Message: "drill at " + mountpoint, Err: err, Remedy: "see that the directory is there, and that the master target may mount"}
	switch {
	case errors.Is(err, drill.ErrInUse):
		p.Code, p.Remedy = "drill-in-use", "unmount what is mounted from it, detach its loop devices (losetup -D detaches all that are not in use), and leave the directory; or end it by --force, which gives errors to who uses it"
	case errors.Is(err, drill.ErrDead):
		p.Code, p.Remedy = "mountpoint", "take it away: umount -l "+mountpoint
	case errors.Is(err, drill.ErrMounted), errors.Is(err, drill.ErrNotEmpty), errors.Is(err, syscall.ENOTDIR):
		p.Code, p.Remedy = "mountpoint", "name an empty directory, or one that does not exist: it is made, and removed afterwards"
	case errors.Is(err, fs.ErrNotExist):
		p.Code, p.Remedy = "mountpoint", "make the directory above it first"
	case errors.Is(err, fs.ErrPermission):
		p.Remedy = "let the master target run as root: only root may mount"
	}
	return p
}
