package mastertarget

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"failback/replication"
	"failback/retention"
)

// Commit implements transport.Operations. The operator's word is noted in the journal first, and carried on with after a restart: the end of ctx ends only the waiting.
func (e *Engine) Commit(ctx context.Context, id replication.GroupID, r replication.CommitRequest, progress func(replication.CutoverStatus)) (replication.PointID, error) {
	g, err := e.group(id)
	if err != nil {
		return 0, err
	}
	if err := r.Check(); err != nil {
		return 0, err
	}
	if err := g.waitReady(ctx); err != nil {
		if !g.isAway() {
			return 0, err
		}
		c, err := e.runAfter(ctx, id, r)
		if err != nil {
			return 0, err
		}
		return c.committed(ctx, progress)
	}
	last, ok := g.journal.Last()
	if !ok {
		return 0, noPointYet(id)
	}
	if r.Point == 0 {
		err = g.waitConnected(ctx)
	} else if _, err = g.journal.Point(r.Point); err != nil {
		err = noSuchPoint(id, r.Point)
	} else if err = g.hasAllDisks(r.Point); err == nil && r.Verify && r.Point != last.ID {
		err = &replication.Problem{Code: replication.CodeCutover, Message: fmt.Sprintf("point %d can't be verified: the source has the last one only, which is %d", r.Point, last.ID), Remedy: "leave out --verify, or --point"}
	}
	if err != nil {
		return 0, err
	}
	c, err := e.beginCommit(ctx, id, r)
	if err != nil {
		return 0, err
	}
	return c.committed(ctx, progress)
}

// committed waits for the end for one who wants the group committed: what the journal says then is what counts.
func (c *cutting) committed(ctx context.Context, progress func(replication.CutoverStatus)) (replication.PointID, error) {
	head, err := c.await(ctx, progress)
	if s := c.told(); err == nil && isCommitted(c.at) {
		progress(replication.CutoverStatus{Step: string(c.at.Step), Since: c.at.Since, Point: c.at.Point, Down: s.Down})
	}
	switch {
	case err != nil:
		return 0, err
	case !isCommitted(c.at):
		return 0, &replication.Problem{Code: replication.CodeUndone, Message: fmt.Sprintf("the commit of group %s was taken back before its end", c.id), Remedy: fmt.Sprintf("`failback status %s` tells where the disks stand", c.id)}
	case c.at.After != "" && c.at.Ended != afterDone:
		return 0, &replication.Problem{Code: replication.CodeAfterCommand, Message: fmt.Sprintf("group %s is committed at point %d, but: %s", c.id, c.at.Point, cmp.Or(c.at.Ended, "its after-command has not run")),
			Remedy: fmt.Sprintf("do by hand what it was to do; or the same `failback commit` again, which runs it again; or `failback undo %s`", c.id)}
	}
	return head, nil
}

// hasAllDisks refuses a point that a disk joined after, or left after: its machine would get a disk of another time.
func (g *group) hasAllDisks(p replication.PointID) error {
	none := leftAlone(g.journal, p)
	if len(none) == 0 {
		return nil
	}
	if d := none[0]; d.Left != 0 {
		return &replication.Problem{Code: codeLeft, Message: fmt.Sprintf("point %d of group %s has disk %s, which left after point %d: its target is not brought to another point any more", p, g.id, d.Disk, d.Left),
			Remedy: fmt.Sprintf("choose a later point: `failback points %s`; or bring the other disks there without a cutover: `failback rewind %s %d`", g.id, g.id, p)}
	}
	return &replication.Problem{Code: "disk-unborn", Message: fmt.Sprintf("point %d of group %s does not have disk %s, which joined later", p, g.id, none[0].Disk), Remedy: fmt.Sprintf("choose a later point: `failback points %s`", g.id)}
}

// asked says whether a cutover is what an operator asks for.
func asked(at *retention.Cutover, r *replication.CommitRequest) bool {
	return at.Stop == r.Stop && at.After == r.After && at.Verify == r.Verify && at.NotBefore.Equal(r.NotBefore) && at.Asked == r.Point
}

// beginCommit notes what is to be done, durably, or takes part in the same that is under way.
func (e *Engine) beginCommit(ctx context.Context, id replication.GroupID, r replication.CommitRequest) (*cutting, error) {
	for {
		c, was, err := e.tryCommit(id, r)
		if err != nil || c != nil {
			return c, err
		}
		select { // without e.admin, which it may need to come to its end
		case <-was.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// tryCommit is beginCommit; it returns the cutting before, where that has yet to end.
func (e *Engine) tryCommit(id replication.GroupID, r replication.CommitRequest) (c, was *cutting, err error) {
	defer e.administer(id)()
	g, err := e.group(id) // it may have been opened anew meanwhile
	if err == nil {
		err = g.isReady()
	}
	if err != nil {
		return nil, nil, err
	}
	if at := g.journal.Cutover(); at != nil {
		if at.Step == retention.CutoverUndoing || !asked(at, &r) {
			return nil, nil, g.cutoverProblem()
		}
		return e.drive(id), nil, nil
	}
	e.mu.Lock()
	was = e.cuttings[id]
	e.mu.Unlock()
	if was != nil {
		return nil, was, nil
	}
	if err := e.drillsRunning(id); err != nil {
		return nil, nil, err
	}
	g.notice("commit", "")
	begins := turning{turn: turnCommit, now: time.Now(), request: r, head: g.journal.Head(), held: g.held()}
	err = g.whileDrills(func(func(replication.PointID) bool) error { // nor is a point dropped meanwhile
		if _, err := g.journal.Point(r.Point); r.Point != 0 && err != nil {
			return noSuchPoint(id, r.Point)
		}
		if err := recordTurn(g.journal, begins); err != nil {
			g.mend(err)
			return journalProblem(id, err)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	g.keepQuiet(r.Stop, r.After)
	g.log.Info("commit", "point", r.Point, "stop", r.Stop != "", "after", r.After != "", "verify", r.Verify, "not_before", r.NotBefore)
	g.happened(replication.EventCutover, replication.Healthy, r.Point, "a commit has begun%s", notBefore(r.NotBefore))
	e.reached("final")
	return e.drive(id), nil, nil
}

// runAfter has the after-command of a committed group run, which failed, or did not run: who gives the same command line again wants that.
func (e *Engine) runAfter(ctx context.Context, id replication.GroupID, r replication.CommitRequest) (*cutting, error) {
	for {
		c, was, err := e.tryAfter(id, r)
		if err != nil || c != nil {
			return c, err
		}
		select {
		case <-was.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (e *Engine) tryAfter(id replication.GroupID, r replication.CommitRequest) (c, was *cutting, err error) {
	defer e.administer(id)()
	g, err := e.group(id)
	if err != nil {
		return nil, nil, err
	}
	at, _ := e.cutoverOf(g)
	if !g.isAway() || !isCommitted(at) || at.After == "" || at.Ended == afterDone || !asked(at, &r) {
		if err := g.isReady(); err != nil {
			return nil, nil, err
		}
		return nil, nil, underWay(id, g.journal.Cutover())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	was = e.cuttings[id]
	switch {
	case at.Ended == "":
		return e.driveLocked(id, nil, false), nil, nil
	case was != nil:
		return nil, was, nil
	}
	return e.driveLocked(id, nil, true), nil, nil
}

// Undo implements transport.Operations. It takes back a commit that is under way, too.
func (e *Engine) Undo(ctx context.Context, id replication.GroupID, toOriginal bool, progress func(replication.CutoverStatus)) (replication.PointID, error) {
	g, err := e.group(id)
	if err != nil {
		return 0, err
	}
	if err := g.waitReady(ctx); err != nil && !g.isAway() {
		return 0, err
	}
	at := g.journal.Cutover()
	if at == nil {
		return 0, &replication.Problem{Code: replication.CodeNotCommitted, Message: fmt.Sprintf("group %s is not committed: there is nothing to undo", id), Remedy: fmt.Sprintf("to move its disks: `failback rewind %s POINT`, or `failback advance %s`", id, id)}
	}
	if isCommitted(at) && at.Begun && at.Ended == "" {
		return 0, afterRuns(id)
	}
	if toOriginal {
		if err := noOriginalNow(id, at); err != nil {
			return 0, err
		}
	}
	if _, err := g.journal.Point(replication.OriginalPoint); toOriginal && err != nil {
		return 0, &replication.Problem{Code: "no-such-point", Message: fmt.Sprintf("group %s has no point 0: its plan does not keep the original, or it was given up", id), Remedy: fmt.Sprintf("without --to-original the disks go to where they were before the commit; `failback points %s` lists the points", id)}
	}
	c, err := e.wish(id, &undoWish{toOriginal})
	if err != nil {
		return 0, err
	}
	head, err := c.await(ctx, progress)
	switch {
	case c.refusal != nil:
		return 0, c.refusal
	case err != nil:
		return 0, err
	case c.at != nil:
		return 0, &replication.Problem{Code: replication.CodeCutover, Message: fmt.Sprintf("the commit of group %s is not undone: it is %s", id, c.at.Step), Remedy: fmt.Sprintf("undo again; `failback status %s` tells how far it is", id)}
	}
	return head, nil
}

func afterRuns(id replication.GroupID) error {
	return &replication.Problem{Code: replication.CodeCutover, Message: fmt.Sprintf("the after-command of group %s is running: it may be starting the machine on the disks", id),
		Remedy: "wait until it has ended (one that a restart cut off is run again); then shut the machine down, if it was started, and undo: that is possible as long as it has written nothing"}
}

// noOriginalNow says why the disks can't be brought to point 0 by undoing; nil: they can.
func noOriginalNow(id replication.GroupID, at *retention.Cutover) error {
	switch at.Step {
	case retention.CutoverFinal:
		return &replication.Problem{Code: replication.CodeCutover, Message: fmt.Sprintf("the commit of group %s has not begun to move its disks: to take it back does not move them to point 0, and nothing was done", id),
			Remedy: fmt.Sprintf("`failback undo %s`, and then `failback rewind %s 0`", id, id)}
	case retention.CutoverUndoing:
		return &replication.Problem{Code: replication.CodeCutover, Message: fmt.Sprintf("the commit of group %s is being undone already, to point %d", id, at.Back), Remedy: fmt.Sprintf("wait until that is done; then `failback rewind %s 0`", id)}
	}
	return nil
}

// FinishCutover implements transport.Operations. That it was begun is in the catalogue first: what a crash leaves is finished at the next start.
func (e *Engine) FinishCutover(_ context.Context, id replication.GroupID) (replication.PointID, error) {
	defer e.administer(id)()
	g, err := e.group(id)
	if err != nil {
		return 0, err
	}
	if e.takenFromUs(g) {
		return 0, journalProblem(id, retention.ErrOwned)
	}
	g.mu.Lock()
	begun := g.record.Finishing
	g.mu.Unlock()
	at, known := e.cutoverOf(g)
	if !begun && (at == nil || at.Step != retention.CutoverCommitted) {
		if err := g.cutoverProblem(); err != nil {
			return 0, err
		}
		if !known {
			return 0, g.isReady()
		}
		return 0, &replication.Problem{Code: replication.CodeNotCommitted, Message: fmt.Sprintf("group %s is not committed: there is nothing to finish", id),
			Remedy: fmt.Sprintf("`failback commit %s` gives the disks to their machine; `failback unprotect %s` ends replication without", id, id)}
	}
	e.mu.Lock()
	c := e.cuttings[id]
	e.mu.Unlock()
	if c != nil {
		return 0, &replication.Problem{Code: replication.CodeCutover, Message: fmt.Sprintf("the commit of group %s is not at its end: %s", id, cmp.Or(c.told().Doing, "wait")), Remedy: fmt.Sprintf("wait until it is; `failback status %s` shows how far it is", id)}
	}
	if err := g.changeRecord(func(r *groupRecord) { r.Finishing = true }); err != nil {
		return 0, err
	}
	e.reached("finishing")
	head := replication.NoPoint
	if at != nil {
		head = at.Point
	}
	e.closed(g)
	return head, e.finishRest(g)
}

// finishRest removes what is left of a group that is finished. The disks are not touched. Where that fails, the group stays, with a problem that says so.
func (e *Engine) finishRest(g *group) error {
	id, dir := g.id, e.journalDir(g.id)
	err := e.volumeProblem(e.ctx) // else all is gone where its volume is not there
	var owned *retention.Owned
	if err == nil {
		if err = retention.OwnedBy(dir, e.self.ID); errors.As(err, &owned) {
			e.cfg.Log.Warn("another master target has the journal: the group is forgotten here, and it stays", "group", id, "dir", dir, "owner", owned.Owner.Host)
			err = e.cat.remove(bucketGroups, id)
			e.mu.Lock()
			delete(e.groups, id)
			e.mu.Unlock()
			e.changed()
			return err
		} else if errors.Is(err, retention.ErrNotJournal) || errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = e.cat.put(bucketFarewells, farewellKey(id, g.plan.ProcessServer), farewell{Worker: g.plan.ProcessServer, Spec: specOf(g.plan, nil, replication.Session{Group: id})})
	}
	if err == nil {
		switch err = retention.Remove(dir); {
		case errors.Is(err, os.ErrNotExist):
			err = nil
		case errors.Is(err, retention.ErrNotJournal): // what an earlier attempt has left is not the journal's
			e.cfg.Log.Warn("the journal is gone, and files of somebody else stay in its place", "group", id, "dir", dir)
			err = nil
		}
		e.reached("removed")
	}
	if err == nil {
		err = e.cat.remove(bucketGroups, id)
	}
	if err != nil {
		p := &replication.Problem{Code: "journal", Message: fmt.Sprintf("group %s is finished, and its disks stay as they are; but its journal is still at %s", id, dir), Err: err, Remedy: fmt.Sprintf("`failback finish %s` again, when the retention volume can be written", id)}
		g.mu.Lock()
		r := g.record
		g.mu.Unlock()
		left := newGroup(e, g.plan, r)
		left.become(replication.StateError, p, "")
		e.mu.Lock()
		e.groups[id] = left
		e.mu.Unlock()
		return p
	}
	e.mu.Lock()
	delete(e.groups, id)
	e.mu.Unlock()
	e.changed()
	e.cfg.Log.Info("finished", "group", id)
	e.happened(replication.EventCutover, replication.Healthy, id, "", "group %s is finished: its disks are the machines', its points are gone", id)
	e.sendOff(g.plan.ProcessServer)
	return nil
}

// cutoverOf returns how far a group's cutover is, by its journal, be it open or not.
func (e *Engine) cutoverOf(g *group) (at *retention.Cutover, known bool) {
	if g.isAway() || g.isReady() == nil {
		return g.journal.Cutover(), true
	}
	i, err := retention.Inspect(e.journalDir(g.id))
	if err != nil {
		return nil, false
	}
	defer i.Close()
	return i.Cutover(), i.Whole()
}

// cutoverProblem is why a group with a cutover does nothing else; nil: there is none.
func (g *group) cutoverProblem() error {
	if g.isAway() {
		return g.committedProblem()
	}
	if g.isReady() != nil {
		return nil
	}
	return underWay(g.id, g.journal.Cutover())
}

func underWay(id replication.GroupID, at *retention.Cutover) error {
	what := "a commit"
	switch {
	case at == nil:
		return nil
	case at.Step == retention.CutoverUndoing:
		return &replication.Problem{Code: replication.CodeCutover, Message: fmt.Sprintf("the commit of group %s is being undone", id), Remedy: fmt.Sprintf("wait until that is done; `failback status %s` shows how far it is", id)}
	}
	return &replication.Problem{Code: replication.CodeCutover, Message: fmt.Sprintf("%s of group %s is under way since %s", what, id, at.Since.UTC().Format(time.DateTime)),
		Remedy: fmt.Sprintf("`failback status %s` shows how far it is; `failback undo %s` takes it back", id, id)}
}

// disksTaken is why nobody else moves the disks, or ends what moves them; nil: anybody may.
func (g *group) disksTaken() error {
	at := g.journal.Cutover()
	if at == nil || at.Step == retention.CutoverFinal {
		return nil
	}
	return underWay(g.id, at)
}

// cutoverStatus tells of a cutover; nil: there is none.
func (g *group) cutoverStatus() *replication.CutoverStatus {
	if !g.isAway() && g.isReady() != nil {
		return nil
	}
	at := g.journal.Cutover()
	if at == nil {
		return nil
	}
	s := &replication.CutoverStatus{Step: string(at.Step), Since: at.Since, Point: at.Point, From: at.From, Held: at.Held, NotBefore: at.NotBefore, Stop: at.Stop, After: at.After, Ended: at.Ended}
	g.engine.mu.Lock()
	c := g.engine.cuttings[g.id]
	g.engine.mu.Unlock()
	if c != nil {
		now := c.told()
		s.Doing, s.Down = now.Doing, now.Down
	}
	g.mu.Lock()
	if m := g.move; m != nil {
		s.Done, s.Total, s.Left = m.Done, m.Total, m.Left
	} else if at.Step == retention.CutoverFinal && g.link != nil {
		for _, l := range g.ledgers {
			s.Done, s.Total = s.Done+l.Done, s.Total+l.Total
		}
	}
	g.mu.Unlock()
	s.Next = nextOf(at)
	return s
}

// nextOf says what comes after a step.
func nextOf(at *retention.Cutover) string {
	switch at.Step {
	case retention.CutoverFinal:
		return "the disks are brought to the point and closed; failback undo takes it back"
	case retention.CutoverClosing:
		return "the disks are closed, and are the machine's; failback undo takes it back"
	case retention.CutoverUndoing:
		return "replication goes on"
	}
	return "failback undo, as long as nobody has written to the disks; failback finish in the end"
}

// lastOf returns the last listed point.
func lastOf(j *retention.Journal) replication.PointID {
	points := j.Points()
	return slices.MaxFunc(points, func(a, b replication.Point) int { return cmp.Compare(a.ID, b.ID) }).ID
}

// cutoverStands refuses to forget a group that has a cutover, be it open or not.
func (e *Engine) cutoverStands(g *group) error {
	if err := g.cutoverProblem(); err != nil {
		return err
	}
	if at, _ := e.cutoverOf(g); isCommitted(at) {
		return &replication.Problem{Code: replication.CodeCommitted, Message: fmt.Sprintf("group %s is committed at point %d", g.id, at.Point), Remedy: fmt.Sprintf("`failback finish %s` ends it: the disks stay as they are, and the points go", g.id)}
	}
	return nil
}
