package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/retention"
)

// A group that is committed holds its journal, locked, and nothing of its targets: no descriptor, no lock, as the machine is going to run on them. Nothing reads them, since what the journal does not have they may not have either
// by then; its points are listed and can't be looked into. It rests until it is undone, or finished.

// rest waits until the committed group ends, and looks now and then whether the journal is still ours.
func (g *group) rest() {
	if n, err := directorySize(g.engine.journalDir(g.id)); err == nil {
		g.journalSize.Store(n)
	}
	close(g.away)
	g.become(replication.StateCommitted, nil, "")
	g.engine.drive(g.id)
	g.engine.changed()
	for {
		select {
		case <-time.After(upkeepEvery):
		case <-g.ctx.Done():
			return
		}
		if err := g.journal.StillOurs(); err != nil {
			g.mend(err)
		}
	}
}

func (g *group) isAway() bool {
	select {
	case <-g.away:
		return true
	default:
		return false
	}
}

// committedProblem is why a committed group can't be used.
func (g *group) committedProblem() error {
	at := g.journal.Cutover()
	if at == nil { // it is being opened again
		return &replication.Problem{Code: codeStarting, Message: fmt.Sprintf("group %s is being opened", g.id), Remedy: "try again in a moment"}
	}
	return &replication.Problem{Code: replication.CodeCommitted,
		Message: fmt.Sprintf("group %s is committed at point %d since %s: its disks are the machine's, and are neither read nor written here", g.id, at.Point, at.Since.UTC().Format(time.DateTime)),
		Remedy:  fmt.Sprintf("`failback undo %s` takes it back, as long as nobody has written to the disks; `failback finish %s` ends it: the disks stay as they are, and the points go", g.id, g.id)}
}

// awayStatus adds to the status of a committed group what its journal tells.
func (g *group) awayStatus(s *replication.GroupStatus) {
	j := g.journal
	s.Head, s.Generation, s.Pins, s.Departed = j.Head(), j.Generation(), pinsOf(j.Points(), time.Now()), departedOf(j)
	if last, ok := j.Last(); ok {
		s.Last, s.LastTime, s.LagSeconds = last.ID, last.Time, time.Since(last.Time).Seconds()
	}
	births := j.Births()
	for i, d := range j.Identity().Disks {
		if i < len(s.Disks) {
			s.Disks[i].Size, s.Disks[i].State, s.Disks[i].Joined = d.Size, "committed", births[i]
		}
	}
	if at := j.Cutover(); isCommitted(at) {
		s.State, s.Since = replication.StateCommitted, at.Since
	}
}

// openUnwritten opens the targets of a journal whose disks were given to their machine, and refuses where one is not, to the byte as far as that can be told, as it was left (I8): the very content id, and the fingerprint that was
// taken then. It tells of all disks, not of the first alone. Opening takes locks, and writes nothing.
func (g *group) openUnwritten(ctx context.Context, j *retention.Journal) (targets []blockio.Target, err error) {
	var refused []string
	var first *replication.Problem
	ids, prints := j.ContentIDs(), j.Fingerprints()
	for i, d := range g.plan.Disks() {
		var newest []uint32
		if i < len(ids) && len(ids[i]) > 0 {
			newest = ids[i][:1]
		}
		t, err := openTarget(d.Target, j.Identity().Disks[i], newest)
		if err == nil {
			t = g.wrapped(d.Target, t)
			targets = append(targets, t)
			err = unwritten(ctx, prints, i, t)
		}
		if err != nil {
			p := replication.AsProblem(err)
			if first == nil || first.Code != codeTargetChanged && p.Code == codeTargetChanged { // that it was written to is what counts: that another one is in use goes away
				first = p
			}
			refused = append(refused, fmt.Sprintf("disk %s: %s", d.Name, p.Error()))
		}
	}
	if len(refused) == 0 {
		return targets, nil
	}
	if cerr := closeAll(targets); cerr != nil {
		g.log.Warn("close targets", "err", cerr)
	}
	code, remedy := first.Code, "see that the targets are there, and in nobody's use (is the machine running on them? shut it down first); then try again"
	if code == codeTargetChanged {
		remedy = fmt.Sprintf("the machine ran on them, or somebody else wrote: its bytes are newer than ours, and are not overwritten. To keep them: `failback finish %s`. To give them up: revert the disks to the platform's snapshot of before it was started, "+
			"if there is one, and undo again; or finish, and protect the group anew: `failback reprotect` compares with the source", g.id)
	}
	return nil, &replication.Problem{Code: code, Message: fmt.Sprintf("group %s can't be taken back: %s", g.id, strings.Join(refused, "; ")), Remedy: remedy}
}

// codeTargetChanged is the code of a target that holds what we did not write.
const codeTargetChanged = "target-changed"

// sameFile says whether two paths name one file or device.
func sameFile(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	return resolved(a) == resolved(b)
}

// unwritten says why a target may have been written to since its fingerprint was taken. What can't be told counts as written to.
func unwritten(ctx context.Context, prints []string, i int, t blockio.Target) error {
	cant := &replication.Problem{Code: codeTargetChanged, Message: fmt.Sprintf("it can't be told whether target %s was written to", t.Description().Path)}
	if i >= len(prints) || prints[i] == "" && t.Description().ContentID == 0 {
		cant.Message += ": it has no content id, and no fingerprint was taken"
		return cant
	}
	if prints[i] == "" { // a disk that keeps tables: its content id tells
		return nil
	}
	now, err := t.Fingerprint(ctx)
	if err == nil {
		err = blockio.Fingerprint(prints[i]).Check(now)
	}
	switch {
	case errors.Is(err, blockio.ErrChanged):
		return &replication.Problem{Code: codeTargetChanged, Message: fmt.Sprintf("target %s was changed by something else", t.Description().Path), Err: err}
	case errors.Is(err, blockio.ErrUnsupported): // taken by another version
		cant.Err = err
		return cant
	case err != nil:
		return targetProblem(t.Description().Path, err)
	}
	return nil
}

func isCommitted(at *retention.Cutover) bool {
	return at != nil && at.Step == retention.CutoverCommitted
}

// mayBeWritten says whether the disks are their machine's, or were until an undo that has not taken them yet: whatever they hold may be its.
func mayBeWritten(at *retention.Cutover) bool {
	return isCommitted(at) || at != nil && at.Step == retention.CutoverUndoing && at.Untaken
}
