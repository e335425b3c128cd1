package mastertarget

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/link"
	"failback/replication/plan"
	"failback/replication/preflight"
	"failback/replication/preflight/machine"
)

// targets looks at the disks to be written.
func (f *looking) targets(ctx context.Context) {
	var ours []blockio.Description
	var names []string
	stores := map[uint64]*preflight.Datastore{} // by file system
	silent := f.silent()
	for _, d := range f.plan.Disks()[f.there:] {
		if f.refused(string(d.Name), plan.CodeTarget, plan.CodeSameTarget, plan.CodeFormat) {
			continue
		}
		t := preflight.Target{GroupDisk: d, SourceSize: f.sizes[d.No], Silent: silent[filepath.Dir(d.Target)]}
		if !t.Silent {
			f.target(ctx, &t)
			f.exists[d.No], f.serials[d.No] = t.Exists, blockio.SerialOfUUID(t.Is.UUID)
			f.takes(stores, t)
		}
		f.add(preflight.JudgeTarget(t))
		if t.Exists && t.Is.TargetRefusal == "" {
			ours, names = append(ours, t.Is), append(names, string(d.Name))
		}
	}
	for _, fs := range slices.Sorted(maps.Keys(stores)) {
		f.add(preflight.JudgeDatastore(*stores[fs]))
	}
	f.add(preflight.JudgeTwins(names, append(ours, f.engine.held()...)))
}

// silent returns the directories of targets that do not answer: they are not touched.
func (f *looking) silent() map[string]bool {
	silent := map[string]bool{}
	for _, d := range f.plan.Disks()[f.there:] {
		silent[filepath.Dir(d.Target)] = false
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, dir := range slices.Collect(maps.Keys(silent)) {
		wg.Go(func() {
			answers := f.engine.volumes.Answers(dir)
			mu.Lock()
			defer mu.Unlock()
			silent[dir] = !answers
		})
	}
	wg.Wait()
	return silent
}

// target looks at one target, whose datastore answers.
func (f *looking) target(ctx context.Context, t *preflight.Target) {
	if inside(t.Target, f.engine.cfg.Retention) {
		t.Retention = f.engine.cfg.Retention
		return
	}
	if t.Holder = f.engine.holder(t.Target); t.Holder != "" {
		return
	}
	desc, err := blockio.Probe(t.Target)
	if errors.Is(err, fs.ErrNotExist) {
		f.absent(t)
		return
	}
	if err != nil {
		t.Problem = replication.AsProblem(targetProblem(t.Target, err))
		return
	}
	t.Exists, t.Is = true, desc
	if desc.TargetRefusal != "" {
		return
	}
	if place := link.Place(bootID(), desc.Device, desc.Inode); place != "" {
		if i := slices.Index(f.places, place); i >= 0 {
			t.SourceOf = f.plan.Disks()[i].Name
			return
		}
	}
	for _, l := range machine.Above(f.engine.root(), deviceNumber(desc.Device)) {
		if l.LVM != "" && desc.Format == blockio.FormatDevice {
			t.LVM = append(t.LVM, l.LVM)
		}
	}
	disk, err := blockio.OpenTarget(t.Target, blockio.TargetOptions{})
	if err == nil {
		defer disk.Close()
		n, derr := dataIn(ctx, disk)
		f.holds += n
		err = derr
	} else if f.adopt { // it is looked at when the group is opened
		return
	}
	if err != nil {
		t.Problem = replication.AsProblem(targetProblem(t.Target, err))
	}
}

// absent looks at where a target is to be created.
func (f *looking) absent(t *preflight.Target) {
	dir := filepath.Dir(t.Target)
	st, err := os.Stat(dir)
	t.NoDirectory = err != nil || !st.IsDir()
	t.Needed = f.adopt
	t.IsDevice = t.Format == string(blockio.FormatDevice) || strings.HasPrefix(t.Target, "/dev/") && !strings.HasPrefix(t.Target, "/dev/shm/") // shm holds files
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.EqualFold(filepath.Ext(e.Name()), ".vmx") {
			t.VM = filepath.Join(dir, e.Name())
		}
	}
}

// takes adds what a target may come to take to what others take of its file system.
func (f *looking) takes(stores map[uint64]*preflight.Datastore, t preflight.Target) {
	if t.IsDevice || t.Retention != "" || t.Holder != "" || t.Problem != nil || t.Exists && (t.Is.Format == blockio.FormatDevice || t.Is.TargetRefusal != "") {
		return
	}
	dir := filepath.Dir(t.Target)
	fs, free, err := freeSpace(dir)
	if err != nil {
		return // told by what looks at the directory
	}
	if stores[fs] == nil {
		stores[fs] = &preflight.Datastore{Dir: dir, Free: free}
	}
	if t.Exists {
		stores[fs].Grown += max(t.Is.Size-allocated(t.Is.Extents), 0)
		return
	}
	stores[fs].Created += f.sizes[t.No]
	stores[fs].Data += f.data[t.No]
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

// journalSpace tells what the journal may take.
func (f *looking) journalSpace() {
	if f.adopt {
		return // it is there, and measured when the group is opened
	}
	e := f.engine
	v, err := e.volume()
	if err != nil {
		return // told by what looks at the volume
	}
	j := preflight.Journal{Dir: e.cfg.Retention, Group: f.plan.Group, Total: v.Total, Free: v.Free, Limits: limitsOn(f.plan, v), Grid: f.plan.Policy.Grid(), Interval: time.Duration(f.plan.Policy.CrashInterval), Churn: f.churn, Original: f.plan.KeepOriginal, Holds: f.holds}
	for _, n := range f.sizes {
		j.Disks += n
	}
	e.mu.Lock()
	j.Others = len(e.groups)
	e.mu.Unlock()
	f.add(preflight.JudgeJournal(j))
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
