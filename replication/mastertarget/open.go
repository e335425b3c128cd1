package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/retention"
)

// opened opens journal and targets, again and again until it works or the group's context ends. Where only writing fails, its points can be read meanwhile.
func (g *group) opened() bool {
	for wait := openRetry; ; wait = min(2*wait, openRetryMax) {
		g.endStandby(false)
		began := time.Now()
		err := g.open()
		if err == nil {
			g.learn(func(r *paceRecord) { r.Open = time.Since(began) })
			g.notice("standby", "")
			g.stuck(nil)
			return true
		}
		p := replication.AsProblem(err)
		most := openRetryMax
		if cantWrite(err) { // nothing arrives as long as it takes
			most = openRetryFull
		}
		g.standBy(err)
		if wait = min(wait, most); g.engine.cfg.retry > 0 {
			wait = g.engine.cfg.retry
		}
		g.log.Error("group can't be opened", "err", err, "again_in", wait)
		g.become(replication.StateError, p, "trying again every "+most.String())
		g.stuck(p)
		select {
		case <-time.After(wait):
		case <-g.ctx.Done():
			g.endStandby(true)
			return false
		}
	}
}

// open takes up journal and targets. What fails half way is closed again.
func (g *group) open() (err error) {
	if err := g.engine.volumeProblem(g.ctx); err != nil {
		return err
	}
	g.mu.Lock()
	from := g.record.Restored
	g.mu.Unlock()
	if from != nil {
		return g.takeRestored(*from)
	}
	if err := g.renew(); err != nil {
		return err
	}
	j, err := retention.OpenAs(g.engine.journalDir(g.id), g.id, g.engine.self.ID)
	if err != nil {
		return journalProblem(g.id, err)
	}
	defer func() {
		if err != nil {
			j.Close()
			closeAll(g.targets)
			g.targets = nil
		}
	}()
	if isCommitted(j.Cutover()) {
		g.journal = j
		return nil
	}
	if t := &g.tried; t.generation == 0 || t.generation != j.Generation() {
		if t.generation, err = j.TakeOver(g.engine.self, 0); err != nil {
			return journalProblem(g.id, err)
		}
	}
	if err := g.agrees(j); err != nil {
		return err
	}
	if err := j.RecordSettings(settingsOf(g.plan, g.held())); err != nil {
		return journalProblem(g.id, err)
	}
	if at := j.Cutover(); at != nil && at.Step == retention.CutoverUndoing && at.Untaken { // they were the machine's until just now
		if g.targets, err = g.openUnwritten(g.ctx, j); err != nil {
			if replication.AsProblem(err).Code != codeTargetChanged || g.ctx.Err() != nil { // it may go away: what the operator wanted stands
				return err
			}
			if jerr := recordTurn(j, turning{turn: turnWritten}); jerr != nil {
				g.log.Warn("the group can't be noted as committed again", "err", jerr)
				return err
			}
			g.undoRefused, g.journal = err, j
			return nil
		}
	} else if err := g.openTargets(j); err != nil {
		return err
	}
	if err := checkFingerprints(g.ctx, j, g.targets); err != nil {
		return err
	}
	if at := j.Cutover(); at != nil && at.Untaken { // from here on the disks may have content ids that are ours and not the newest, and what they looked like stays noted until the session has begun
		if err := recordTurn(j, turning{turn: turnTaken}); err != nil {
			return journalProblem(g.id, err)
		}
		g.engine.reached("taken")
	}
	if err := forgetTabled(j, g.targets); err != nil {
		return err
	}
	if err := beginSession(j, g.targets, &g.tried); err != nil {
		return err
	}
	if err := j.RecordFingerprints(nil); err != nil { // not earlier: an attempt that fails leaves the next one something to hold a disk without content id against
		return journalProblem(g.id, err)
	}
	if err := g.enlargeTargets(j); err != nil {
		return err
	}
	g.journal = j
	return nil
}

// openTargets opens the targets, with those first that were opened before an error.
func (g *group) openTargets(j *retention.Journal) error {
	known := j.ContentIDs()
	for i, d := range g.plan.Disks() {
		var ours []uint32
		if i < len(known) {
			ours = known[i]
		}
		t, err := openTarget(d.Target, sizedAs(j.SizeBefore(d.No), j.Identity().Disks[i], d.Target), ours)
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
		g.targets = append(g.targets, g.wrapped(d.Target, t))
	}
	return nil
}

func (g *group) wrapped(path string, t blockio.Target) blockio.Target {
	if wrap := g.engine.cfg.wrap; wrap != nil {
		return wrap(path, t)
	}
	return t
}

// trial is what the attempts to open a group have noted: the next one does not note it again, as they may go on for days (a datastore that is full).
type trial struct {
	generation replication.Generation // 0: none yet
	ids        []uint32               // content ids that the targets are given; nil: none yet
}

// openTarget opens a target, and refuses one that is not the one agreed on (I8).
func openTarget(path string, d replication.Disk, ours []uint32) (blockio.Target, error) {
	t, err := openSized(path, d, ours)
	if err != nil {
		return nil, err
	}
	if err := sameContent(t, ours); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// codeTargetSize is the code of a target that has another size than the group has it with.
const codeTargetSize = "target-size"

// openSized opens a target of the size agreed on, whatever it holds. It takes its lock, and writes nothing.
func openSized(path string, d replication.Disk, ours []uint32) (blockio.Target, error) {
	t, err := blockio.OpenTarget(path, blockio.TargetOptions{ResumeContentIDs: ours})
	if err != nil {
		return nil, targetProblem(path, err)
	}
	if t.Size() != d.Size {
		defer t.Close()
		return nil, &replication.Problem{Code: codeTargetSize, Message: fmt.Sprintf("target %s has %d bytes, the group has it with %d", path, t.Description().Size, d.Size),
			Remedy: "put the right disk there"}
	}
	return t, nil
}

// sameContent refuses a disk whose content id is none of ours; without any there is nothing to hold it against.
func sameContent(t fingerprinted, ours []uint32) error {
	desc := t.Description()
	if len(ours) > 0 && desc.ContentID != 0 && !slices.Contains(ours, desc.ContentID) {
		return &replication.Problem{Code: codeTargetChanged,
			Message: fmt.Sprintf("target %s was changed by something else: its content id is %08x, ours was %08x", desc.Path, desc.ContentID, ours[0]),
			Remedy:  "find out who wrote it (was the machine powered on?); " + resyncRemedy}
	}
	return nil
}

// checkFingerprints holds the disks against what they looked like when our last session ended (I8). After a session that ended badly
// there is nothing to hold them against.
func checkFingerprints(ctx context.Context, j *retention.Journal, targets []blockio.Target) error {
	for i, was := range j.Fingerprints() {
		if i >= len(targets) {
			continue
		}
		if err := sameFingerprint(ctx, was, targets[i]); err != nil {
			return err
		}
	}
	return nil
}

// forgetTabled forgets what those disks looked like that have a content id: to be given another one changes their files, and the id tells.
func forgetTabled(j *retention.Journal, targets []blockio.Target) error {
	known := j.Fingerprints()
	if len(known) == 0 {
		return nil
	}
	prints := make([]string, len(targets)) // disks may have joined since
	for i := range min(len(known), len(prints)) {
		if targets[i].Description().ContentID == 0 {
			prints[i] = known[i]
		}
	}
	if err := j.RecordFingerprints(prints); err != nil {
		return journalProblem(j.Identity().Group, err)
	}
	return nil
}

// fingerprinted is a disk that can be looked at so.
type fingerprinted interface {
	Description() blockio.Description
	Fingerprint(ctx context.Context) (blockio.Fingerprint, error)
}

// sameFingerprint holds a disk against what it looked like; "": there is nothing to hold it against.
func sameFingerprint(ctx context.Context, was string, t fingerprinted) error {
	if was == "" {
		return nil
	}
	now, err := t.Fingerprint(ctx)
	if err == nil {
		err = blockio.Fingerprint(was).Check(now)
	}
	switch path := t.Description().Path; {
	case errors.Is(err, blockio.ErrChanged):
		return &replication.Problem{Code: codeTargetChanged, Message: fmt.Sprintf("target %s was changed by something else", path), Err: err,
			Remedy: "find out who wrote it (was the machine powered on? is it the right disk? was it copied, and not with its times, as cp --preserve does?); " + resyncRemedy}
	case err != nil && !errors.Is(err, blockio.ErrUnsupported): // taken by another version: it can't be compared
		return targetProblem(path, err)
	}
	return nil
}

// fingerprints returns what the disks look like now.
func fingerprints(targets []blockio.Target) ([]string, error) {
	var all []string
	for _, t := range targets {
		f, err := t.Fingerprint(context.Background()) // the group's context has ended
		if err != nil {
			return nil, err
		}
		all = append(all, string(f))
	}
	return all, nil
}

// beginSession gives the targets content ids of this session: first into the journal, then onto the disks (I8).
func beginSession(j *retention.Journal, targets []blockio.Target, tried *trial) error {
	found, fresh := make([]uint32, len(targets)), tried.ids
	if fresh == nil {
		fresh = make([]uint32, len(targets))
		for i := range fresh {
			fresh[i] = blockio.NewContentID()
		}
	}
	noted := true
	for i, known := range j.ContentIDs() {
		found[i] = targets[i].Description().ContentID
		noted = noted && len(known) > 0 && known[0] == fresh[i] && slices.Contains(known, found[i])
	}
	if !noted {
		for _, ids := range [][]uint32{found, fresh} {
			if err := j.RecordContentIDs(ids); err != nil {
				return journalProblem(j.Identity().Group, err)
			}
		}
	}
	tried.ids = fresh
	for i, t := range targets {
		if err := t.SetContentID(fresh[i]); err != nil {
			return targetProblem(t.Description().Path, err)
		}
	}
	return nil
}

func closeAll(targets []blockio.Target) (first error) {
	for _, t := range targets {
		if err := t.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// close gives targets and journal back. A move that an operator asked for may be under way still: it has been told to end, and writes what it has begun. Fingerprints are taken of disks that nobody writes.
func (g *group) close() {
	g.moving.Lock()
	defer g.moving.Unlock()
	g.takeBack()
	if g.isAway() { // it has no targets, and what they looked like stays noted: who takes them back holds them against it
		if err := g.journal.Close(); err != nil {
			g.log.Error("close journal", "err", err)
		}
		return
	}
	look, err := fingerprints(g.targets)
	err = errors.Join(err, closeAll(g.targets))
	if err == nil {
		err = g.journal.RecordFingerprints(look)
	}
	g.mu.Lock()
	sealing := g.sealing
	g.mu.Unlock()
	if err == nil && sealing {
		err = g.sealNow()
	}
	g.mu.Lock()
	g.sealed = err
	g.mu.Unlock()
	if err != nil {
		g.log.Error("close targets", "err", err)
	}
	if err := g.journal.Close(); err != nil {
		g.log.Error("close journal", "err", err)
	}
}
