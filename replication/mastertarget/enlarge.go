package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/retention"
)

// A source that has grown takes its target with it, as a part of the resync that follows. The journal says first how large the disk is from the next point on; then the group is opened anew, and whoever opens it makes the target as large, before
// anything else is done with it: a power failure between the two, or within the growing, is followed by just that. Points before have the disk as large as it was. Sources that have shrunk are refused.

// codeResized is the code of a source that has another size, where nothing is done about it, or not yet.
const codeResized = "source-resized"

// growsAfter is how long a source must have had a size, in looks at it, before its target follows by itself: growth can't be taken back, and a larger file may lie at a source's path for a moment. An operator's resync does not wait. Tests set it.
var growsAfter = time.Minute

// sight is a size that sources have been seen with.
type sight struct {
	said  string // of which disks, and how large
	since time.Time
}

// lasts says whether what is seen now has been seen for long enough, and notes it.
func (s *sight) lasts(said string, now time.Time) bool {
	if s.said != said {
		*s = sight{said, now}
		return growsAfter == 0
	}
	return said != "" && now.Sub(s.since) >= growsAfter
}

// larger is a disk that is to grow.
type larger struct {
	replication.Disk
	size int64
}

// resized looks whether sources have other sizes, when a cut has failed. nil: they have not, or it can't be told. Else targets are made larger, or the error says why not.
func (g *group) resized(ctx context.Context, w *worker, c replication.Cycle, open *replication.Cycle, disks int) error {
	known := g.journal.Identity().Disks[:disks]
	survey, err := w.Probe(ctx, g.spec(0, disks))
	if err != nil {
		return nil
	}
	var all []larger
	var why []string
	for _, p := range survey.Disks {
		if int(p.Disk) >= len(known) || p.Problem != nil || p.Size == known[p.Disk].Size {
			continue
		}
		d := larger{known[p.Disk], p.Size}
		if err := g.mayEnlarge(d); err != nil {
			return err
		}
		all, why = append(all, d), append(why, fmt.Sprintf("the source of disk %s has grown from %d to %d bytes", d.ID, d.Size, d.size))
	}
	said := strings.Join(why, "; ")
	lasts := g.seen.lasts(said, time.Now())
	if len(all) == 0 {
		return nil
	}
	if !lasts && !g.resyncAsked() {
		return &replication.Problem{Code: codeResized, Message: fmt.Sprintf("group %s: %s: its target grows, for good, once it has been seen so for %v", g.id, said, growsAfter),
			Remedy: fmt.Sprintf("none needed, if that is meant: failback resync %s has it grow at once; else give the source its size again", g.id)}
	}
	if err := g.resyncs(c, open, said); err != nil {
		return err
	}
	g.engine.wg.Go(func() { g.engine.enlarge(g, all) })
	return &replication.Problem{Code: codeStarting, Message: fmt.Sprintf("group %s: %s: its target grows, and the group is opened anew", g.id, said), Remedy: "none needed"}
}

// mayEnlarge says why a disk can't follow its source; nil: it can.
func (g *group) mayEnlarge(d larger) error {
	target := g.plan.Disks()[d.No].Target
	has := fmt.Sprintf("disk %s: its source has %d bytes now, the group has it with %d", d.ID, d.size, d.Size)
	anew := fmt.Sprintf("give the source its size again; or protect the group anew, with another target: failback unprotect %s, then failback reprotect", g.id)
	if d.size < d.Size {
		return &replication.Problem{Code: codeResized, Message: has + ": a disk that shrinks would lose what its points have behind its new end", Remedy: anew}
	}
	err := blockio.CanGrow(g.targets[d.No].Description().Format)
	if err == nil {
		err = g.journal.MayGrow(d.No, d.size)
	}
	if err == nil && d.size%blockio.SectorSize != 0 {
		err = fmt.Errorf("disks have whole sectors of %d bytes", blockio.SectorSize)
	}
	if err == nil {
		err = canHold(filepath.Dir(target), d.size)
	}
	if err != nil {
		return &replication.Problem{Code: codeResized, Message: fmt.Sprintf("%s, and target %s can't grow with it", has, target), Err: err, Remedy: anew}
	}
	return nil
}

// canHold says whether the file system of a directory takes a file of a size, which takes no space.
func canHold(dir string, size int64) error {
	f, err := os.CreateTemp(dir, ".failback-size-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close(), os.Remove(f.Name()))
}

// enlarge notes that disks grow, and opens the group anew.
func (e *Engine) enlarge(g *group, all []larger) {
	defer e.administer(g.id)()
	e.mu.Lock()
	there := e.groups[g.id] == g
	e.mu.Unlock()
	if !there || e.ctx.Err() != nil || g.disksTaken() != nil { // a commit or an undo has them since: it is tried again with the next cut
		return
	}
	e.closed(g)
	for _, d := range all {
		if err := retention.Grow(e.journalDir(g.id), g.id, e.self.ID, d.No, d.size); err != nil { // it is tried again with the next cut
			g.log.Error("note that a disk grows", "disk", d.ID, "err", err)
			continue
		}
		g.log.Info("disk grows", "disk", d.ID, "was", d.Size, "bytes", d.size)
		g.happened(replication.EventPlan, replication.Healthy, 0, "disk %s grows with its source, from %d to %d bytes; points up to now have it with %d", d.ID, d.Size, d.size, d.Size)
	}
	e.reopenLocked(g)
}

// sizedAs returns a disk of the journal as its target is: with its size before it grew, where a power failure came between the journal and the target.
func sizedAs(before int64, d replication.Disk, path string) replication.Disk {
	if before > 0 {
		if is, err := blockio.Probe(path); err == nil && is.Size == before {
			d.Size = before
		}
	}
	return d
}

// enlargeTargets makes those targets as large as the journal has them that are not yet. Their session has begun: content ids are ours, and nothing is held against what they looked like.
func (g *group) enlargeTargets(j *retention.Journal) error {
	ids := j.ContentIDs()
	for i, d := range g.plan.Disks() {
		want := j.Identity().Disks[i]
		if g.targets[i].Size() == want.Size {
			continue
		}
		if err := g.targets[i].Close(); err != nil {
			return targetProblem(d.Target, err)
		}
		if err := blockio.Grow(d.Target, want.Size, blockio.TargetOptions{ResumeContentIDs: ids[i]}); err != nil {
			return targetProblem(d.Target, err)
		}
		t, err := openTarget(d.Target, want, ids[i])
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
		g.targets[i] = g.wrapped(d.Target, t)
		if err := t.SetContentID(ids[i][0]); err != nil { // the newest, that it has: now it may be written
			return targetProblem(d.Target, err)
		}
		g.log.Info("target has grown", "disk", d.Name, "bytes", want.Size)
	}
	return nil
}
