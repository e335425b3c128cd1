package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/link"
	"failback/replication/plan"
	"failback/retention"
)

// maxSkew is how far the clocks of the two sides may be apart before it is worth a word.
const maxSkew = 30 * time.Second

// codeNewer is the code of a master target that is newer than its process server (facts: in the product we replace, reprotect succeeded then, and replication failed).
const codeNewer = "master-target-newer"

// preflight looks at a plan with the eyes of this master target.
type preflight struct {
	engine   *Engine
	plan     *plan.Plan
	known    *group // the group, where it is protected already
	findings []replication.Finding
	sizes    []int64  // of the sources, by disk number; 0: not known
	places   []string // of the sources, by disk number; "": not known
	exists   []bool   // the target does
	there    int      // disks, with the first numbers, that the group has already: they are not looked at again
	holds    int64    // bytes that the targets may hold other than zeros
	adopt    bool     // a journal of this very group is there, from an earlier protection
}

func (f *preflight) find(s replication.Severity, code, subject, message, remedy string) {
	f.findings = append(f.findings, replication.Finding{Severity: s, Code: code, Subject: subject, Message: message, Remedy: remedy})
}

func (f *preflight) problem(subject string, err error) {
	p := replication.AsProblem(err)
	f.find(replication.Error, p.Code, subject, p.Error(), p.Remedy)
}

func (f *preflight) failed() bool {
	return slices.ContainsFunc(f.findings, func(x replication.Finding) bool { return x.Severity == replication.Error })
}

// Check implements transport.Operations.
func (e *Engine) Check(ctx context.Context, planYAML []byte, ask replication.PathAsk) (replication.Checked, error) {
	p, err := plan.Parse(planYAML)
	if err != nil {
		return replication.Checked{}, err
	}
	f := e.preflight(ctx, p)
	f.standing()
	found := replication.Checked{Group: p.Group}
	if ask.Each > 0 {
		found.Path = f.path(ctx, ask)
	}
	found.Findings = f.findings
	return found, nil
}

// standing looks at a group that is protected already: what holds it up now, and what will hold up its next cut.
func (f *preflight) standing() {
	if f.known == nil || f.failed() {
		return
	}
	f.known.mu.Lock()
	problem := f.known.problem
	f.known.mu.Unlock()
	if problem != nil {
		f.problem(string(f.plan.Group), problem)
	}
	if f.known.isReady() != nil {
		return
	}
	for _, d := range f.known.journal.Identity().Disks {
		if size := f.sizes[d.No]; size != 0 && size != d.Size {
			f.find(replication.Error, "size-differs", string(d.ID), fmt.Sprintf("disk %s: source %s has %d bytes now, the group's disk has %d", d.ID, f.plan.Disks()[d.No].Path(), size, d.Size),
				"give the source its size back; for a disk that has grown, unprotect the group and protect it anew with a target of that size")
		}
	}
}

// preflight runs all checks that the earlier ones leave sense in.
func (e *Engine) preflight(ctx context.Context, p *plan.Plan) *preflight {
	f := &preflight{engine: e, plan: p, sizes: make([]int64, len(p.Disks())), places: make([]string, len(p.Disks())), exists: make([]bool, len(p.Disks()))}
	f.findings = append(f.findings, p.Findings()...)
	if g, err := e.group(p.Group); err == nil {
		f.known = g
		if err := g.cutoverProblem(); err != nil {
			f.problem(string(p.Group), err)
			return f
		}
		p.Number(g.plan.Names()) // a disk that joined may stand anywhere in it
		if !samePlan(g.plan, p) {
			f.find(replication.Error, "group-exists", string(p.Group), fmt.Sprintf("group %s is protected already, by another plan", p.Group),
				"failback apply shows what differs, and changes what can be changed while it is protected. Or use the plan it was protected with, or give this one another name; to protect it by this plan, unprotect it with --keep-journal first: its points stay where the disks are the same")
			return f
		}
		f.find(replication.Info, "group-exists", string(p.Group), fmt.Sprintf("group %s is protected by this plan already", p.Group), "none needed: reprotect carries on")
	}
	if err := checkRetention(e.cfg.Retention); err != nil {
		f.problem(e.cfg.Retention, err)
	}
	if f.failed() {
		return f
	}
	f.volume(ctx)
	f.sources(ctx)
	if f.known == nil {
		f.journal()
		f.targets(ctx)
	}
	return f
}

// sources asks the process server to look.
func (f *preflight) sources(ctx context.Context) {
	wait, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	w, err := f.engine.waitWorker(wait, f.plan.ProcessServer)
	if err != nil {
		f.problem(f.plan.ProcessServer, notConnected(f.plan.ProcessServer))
		return
	}
	ours, theirs := link.Ours(f.engine.cfg.Version), link.Version{Major: link.ProtocolMajor, Minor: w.Minor, Program: w.Version}
	if ours.NewerThan(theirs) {
		f.find(replication.Error, codeNewer, w.Name, fmt.Sprintf("this master target is newer than process server %s: it speaks %s, that one %s", w.Name, ours, theirs),
			"upgrade the process server first: a master target must not be newer than its process servers")
	}
	if skew := w.Skew.Abs(); skew > maxSkew {
		f.find(replication.Warning, codeSkew, w.Name, fmt.Sprintf("the clock of process server %s is %s away from this master target's", w.Name, skew.Round(time.Second)),
			"synchronise both with NTP: points are named by the process server's time")
	}
	probed, err := w.Probe(ctx, specOf(f.plan, nil, replication.Session{Group: f.plan.Group}))
	if err != nil {
		f.problem(f.plan.ProcessServer, err)
		return
	}
	disks := f.plan.Disks()
	for _, p := range probed {
		if int(p.Disk) >= len(disks) {
			continue
		}
		d := disks[p.Disk]
		f.places[p.Disk] = p.Place
		switch {
		case p.Problem != nil:
			f.problem(string(d.Name), p.Problem)
		case p.Size <= 0 || p.Size%blockio.SectorSize != 0 || p.Size > replication.MaxDiskSize:
			f.find(replication.Error, "source-size", string(d.Name), fmt.Sprintf("disk %s: source %s has %d bytes", d.Name, d.Path(), p.Size), "a disk is a positive multiple of 512 bytes, at most 64 TiB")
		default:
			f.sizes[p.Disk] = p.Size
			if p.View == "none" {
				f.find(replication.Warning, "no-snapshot", string(d.Name), fmt.Sprintf("disk %s: no stable view of source %s can be made", d.Name, d.Path()),
					"keep the disk still while it is read, put it on xfs or btrfs, or give snapshot and release commands in the plan")
			}
		}
	}
}

// journal looks at what is in the group's place on the retention volume.
func (f *preflight) journal() {
	dir := f.engine.journalDir(f.plan.Group)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return
	}
	j, err := retention.OpenAs(dir, f.plan.Group, f.engine.self.ID)
	if errors.Is(err, retention.ErrOwned) {
		f.find(replication.Error, codeTaken, dir, replication.AsProblem(journalProblem(f.plan.Group, err)).Error(), "when that one is off or gone, take the group over with failback adopt "+dir)
		return
	}
	if err != nil {
		f.problem(dir, journalProblem(f.plan.Group, err))
		return
	}
	defer j.Close()
	if at := j.Cutover(); at != nil {
		f.find(replication.Error, replication.CodeCommitted, dir, fmt.Sprintf("%s holds the journal of a group %s whose cutover is %s, at point %d", dir, f.plan.Group, at.Step, at.Point),
			"take the group over as it stands with failback adopt "+dir+", then undo or finish it; or, if its points are not needed any more, move the directory away")
		return
	}
	id := j.Identity()
	f.renumber(id.Disks)
	same := len(id.Disks) == len(f.plan.Disks())
	for i, d := range f.plan.Disks() {
		same = same && id.Disks[i].ID == d.Name && id.Targets[i] == d.Target && (f.sizes[i] == 0 || id.Disks[i].Size == f.sizes[i])
	}
	if !same {
		f.find(replication.Error, "journal", dir, fmt.Sprintf("%s holds the journal of a group %s with other disks", dir, f.plan.Group),
			"move the directory away if its points are not needed any more, or use the plan that it was made with")
		return
	}
	if keeps := id.KeepOriginal; f.plan.KeepOriginal && !keeps {
		f.find(replication.Error, "keep-original", dir, fmt.Sprintf("the journal at %s was begun without keep_original: what the disks held before is not there any more", dir),
			"leave keep_original out; or move the directory away, and begin anew with the disks as they are")
		return
	} else if keeps && !f.plan.KeepOriginal {
		f.find(replication.Info, "keep-original", dir, fmt.Sprintf("the journal at %s was begun with keep_original: its point 0 stays", dir), "none needed; to give it up, unpin point 0: policy drops it then")
	}
	f.adopt = true
	f.find(replication.Info, "journal", dir, fmt.Sprintf("%s holds this group's journal with %d points: they stay", dir, len(j.Points())), "none needed")
}

// targets looks at the disks to be written.
func (f *preflight) targets(ctx context.Context) {
	var ours []blockio.Description
	var names []string
	for _, d := range f.plan.Disks()[f.there:] {
		name := string(d.Name)
		if inside(d.Target, f.engine.cfg.Retention) {
			f.find(replication.Error, "target-in-retention", name, fmt.Sprintf("disk %s: target %s lies in the retention directory %s", d.Name, d.Target, f.engine.cfg.Retention),
				"put the target on a datastore: the retention volume is for the journal only")
			continue
		}
		if other := f.engine.holder(d.Target); other != "" {
			f.find(replication.Error, "target-in-use", name, fmt.Sprintf("disk %s: target %s belongs to group %s", d.Name, d.Target, other), "give each disk a target of its own")
			continue
		}
		desc, err := blockio.Probe(d.Target)
		if errors.Is(err, fs.ErrNotExist) {
			f.absent(d)
			continue
		}
		if err != nil {
			f.problem(name, targetProblem(d.Target, err))
			continue
		}
		f.exists[d.No] = true
		if desc.TargetRefusal != "" {
			f.find(replication.Error, "target-refused", name, fmt.Sprintf("disk %s: target %s: %s", d.Name, d.Target, desc.TargetRefusal), "give another target, or put this one in order as the message says")
			continue
		}
		if size := f.sizes[d.No]; size != 0 && desc.Size != size {
			f.find(replication.Error, "size-differs", name, fmt.Sprintf("disk %s: source %s has %d bytes, target %s has %d", d.Name, d.Path(), size, d.Target, desc.Size),
				"give a target of the source's size, or a path where none exists: it is created then")
		}
		if d.Format != "" && d.Format != string(desc.Format) {
			f.find(replication.Warning, "target-format", name, fmt.Sprintf("disk %s: target %s exists with the format %s, not %s as the plan says; it is used as it is", d.Name, d.Target, desc.Format, d.Format),
				"write the format that it has, or remove the target to have it created anew")
		}
		ours, names = append(ours, desc), append(names, name)
		if place := link.Place(bootID(), desc.Device, desc.Inode); place != "" {
			if i := slices.Index(f.places, place); i >= 0 {
				f.find(replication.Error, "target-is-source", name, fmt.Sprintf("disk %s: target %s is the source of disk %s, on this very machine", d.Name, d.Target, f.plan.Disks()[i].Name),
					"give another target: a rewind would overwrite the source")
				continue
			}
		}
		if t, err := blockio.OpenTarget(d.Target, blockio.TargetOptions{}); err != nil && !f.adopt {
			f.problem(name, targetProblem(d.Target, err))
		} else if err == nil {
			if n, err := dataIn(ctx, t); err != nil {
				f.problem(name, targetProblem(d.Target, err))
			} else {
				f.holds += n
			}
			t.Close()
		}
		for _, n := range desc.Notices {
			f.find(replication.Info, "target", name, fmt.Sprintf("disk %s: target %s: %s", d.Name, d.Target, n), "none needed")
		}
	}
	f.space()
	f.original()
	for _, t := range blockio.FindTwins(append(ours, f.engine.held()...)) {
		if t.First < len(ours) { // or it is no business of this plan
			f.find(replication.Error, "target-twice", names[t.First], fmt.Sprintf("disk %s: %s", names[t.First], t.Reason), "give each disk a target of its own")
		}
	}
}

// space warns where the targets that are to be created, thin, could grow beyond what their file system has free.
func (f *preflight) space() {
	wanted := map[uint64]int64{} // by file system
	where := map[uint64]string{}
	free := map[uint64]int64{}
	for _, d := range f.plan.Disks()[f.there:] {
		if f.exists[d.No] {
			continue
		}
		dir := filepath.Dir(d.Target)
		fs, n, err := freeSpace(dir)
		if err != nil {
			continue // told by what looks at the directory
		}
		wanted[fs] += f.sizes[d.No]
		where[fs], free[fs] = dir, n
	}
	for fs, n := range wanted {
		if n > free[fs] {
			f.find(replication.Warning, "target-space", where[fs], fmt.Sprintf("targets of %d bytes in all are to be created at %s, where %d are free", n, where[fs], free[fs]),
				"they are thin and take what the sources' data takes; make sure that there is room for it, or give another datastore")
		}
	}
}

// dataIn returns how many bytes a disk may hold other than zeros.
func dataIn(ctx context.Context, disk blockio.Target) (n int64, err error) {
	for at := int64(0); at < disk.Size(); {
		start, end, err := disk.NextData(at)
		if err != nil || start >= end {
			return n, err
		}
		n, at = n+end-start, end
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
	}
	return n, nil
}

// original tells what point 0 may take.
func (f *preflight) original() {
	if !f.plan.KeepOriginal || f.adopt || f.there > 0 {
		return
	}
	most := f.holds + f.holds/32
	f.find(replication.Info, "keep-original", string(f.plan.Group), fmt.Sprintf("point 0, the disks as they are now, takes at most %d bytes of the retention volume: what of the targets' %d bytes of data differs from the sources, compressed",
		most, f.holds), "none needed; failback status tells what it takes. Targets that are created take nothing")
	v, err := f.engine.volume()
	if err != nil {
		f.problem(f.engine.cfg.Retention, err)
		return
	}
	room := v.Free - max(f.plan.Retention.Reserve.Of(v.Total), v.Limits.Reserve.Of(v.Total))
	if hard := f.plan.Retention.Hard.Of(v.Total); hard > 0 {
		room = min(room, hard)
	}
	if most > room {
		f.find(replication.Warning, "keep-original-space", string(f.plan.Group), fmt.Sprintf("point 0 may take up to %d bytes, and %d of the retention volume may be used", most, max(room, 0)),
			"give the retention volume more space, or leave keep_original out; if it does not fit, the first cycle is held back: nothing is written over that is not saved")
	}
}

// bootID names this machine's boot; "" where that can't be told.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// held describes the targets of all groups that are open.
func (e *Engine) held() (all []blockio.Description) {
	e.mu.Lock()
	groups := slices.Collect(maps.Values(e.groups))
	e.mu.Unlock()
	for _, g := range groups {
		if g.isReady() != nil {
			continue
		}
		for _, t := range g.targets {
			all = append(all, t.Description())
		}
	}
	return all
}

// absent looks at where a target is to be created.
func (f *preflight) absent(d plan.GroupDisk) {
	if f.adopt {
		f.find(replication.Error, "target-missing", string(d.Name), fmt.Sprintf("disk %s: target %s is missing, but the group's journal needs it", d.Name, d.Target),
			"put the target back, or move the journal away to begin anew")
		return
	}
	dir := filepath.Dir(d.Target)
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		f.find(replication.Error, "8061", string(d.Name), fmt.Sprintf("disk %s: %s, where target %s would be created, is no directory", d.Name, dir, filepath.Base(d.Target)), "mount the datastore, or make the directory")
		return
	}
	if d.Format == string(blockio.FormatDevice) || strings.HasPrefix(d.Target, "/dev/") && !strings.HasPrefix(d.Target, "/dev/shm/") { // shm holds files
		f.find(replication.Error, "target-missing", string(d.Name), fmt.Sprintf("disk %s: device %s does not exist", d.Name, d.Target), "attach the disk to the master target; a device is never created")
	}
}

// inside says whether path lies in dir, symbolic links followed as far as they exist.
func inside(path, dir string) bool {
	real := func(p string) string {
		if r, err := filepath.EvalSymlinks(p); err == nil {
			return r
		}
		if r, err := filepath.EvalSymlinks(filepath.Dir(p)); err == nil {
			return filepath.Join(r, filepath.Base(p))
		}
		return filepath.Clean(p)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(real(abs), real(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// holder returns the group that has the target already, or "".
func (e *Engine) holder(target string) replication.GroupID {
	e.mu.Lock()
	groups := maps.Clone(e.groups)
	e.mu.Unlock()
	for id, g := range groups {
		for _, d := range g.plan.Disks() {
			if sameFile(d.Target, target) {
				return id
			}
		}
	}
	return ""
}
