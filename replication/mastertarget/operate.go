package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"failback/replication"
	"failback/replication/link"
	"failback/replication/preflight"
	"failback/retention"
)

// connectPatience is how long an operator's command waits for a process server that is not connected just now.
const connectPatience = 15 * time.Second

// waitConnected waits for the group's process server, with patience.
func (g *group) waitConnected(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	if _, err := g.engine.waitWorker(ctx, g.plan.ProcessServer); err != nil {
		return notConnected(g.plan.ProcessServer)
	}
	return nil
}

func notConnected(name string) *replication.Problem {
	return &replication.Problem{Code: preflight.CodeAway, Message: fmt.Sprintf("process server %s is not connected", name),
		Remedy: "start it with --name " + name + " and this master target's address, and see that the VPN lets it through"}
}

// Cut implements transport.Operations. It answers when the source has been cut.
func (e *Engine) Cut(ctx context.Context, id replication.GroupID, app bool) (replication.PointID, error) {
	g, err := e.group(id)
	if err != nil {
		return 0, err
	}
	if err := g.waitReady(ctx); err != nil {
		return 0, err
	}
	if len(g.journal.Points()) == 0 {
		return 0, noPointYet(id)
	}
	g.mu.Lock()
	final := g.final
	g.mu.Unlock()
	if at := g.journal.Cutover(); at != nil && (final || at.Step != retention.CutoverFinal) {
		return 0, underWay(id, at)
	}
	if err := g.resyncHoldsUp(); err != nil {
		return 0, err
	}
	if app && g.appInterval() == 0 {
		return 0, &replication.Problem{Code: replication.CodeNotApp, Message: fmt.Sprintf("the plan of group %s has no commands that keep %s still", id, strings.Join(g.plan.Unquiesced(), ", ")),
			Remedy: "add quiesce: {freeze: COMMAND, thaw: COMMAND} to all machines of the plan, and apply it: failback apply PLAN"}
	}
	if err := g.waitConnected(ctx); err != nil {
		return 0, err
	}
	answer := make(chan cutAnswer, 1)
	g.mu.Lock()
	g.requests.cut = append(g.requests.cut, cutRequest{answer: answer, app: app})
	g.mu.Unlock()
	g.wake()
	select {
	case a := <-answer:
		if a.err != nil {
			return 0, a.err
		}
		return a.point, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-g.ctx.Done():
		return 0, errClosing
	}
}

// Points implements transport.Operations.
func (e *Engine) Points(ctx context.Context, id replication.GroupID) (replication.PointID, []replication.Point, error) {
	g, err := e.group(id)
	if err != nil {
		return 0, nil, err
	}
	var head replication.PointID
	var points []replication.Point
	err = g.view(ctx, func(j toldByJournal) error {
		head, points = j.Head(), j.Points()
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	for i := range points {
		points[i].Damaged = g.damagedBytes(points[i].ID)
	}
	return head, points, nil
}

// Export implements transport.Operations.
func (e *Engine) Export(ctx context.Context, id replication.GroupID, point replication.PointID, disk string) (link.Content, error) {
	g, err := e.group(id)
	if err != nil {
		return nil, err
	}
	var no, slot replication.DiskNo
	var size int64
	err = g.view(ctx, func(j toldByJournal) (err error) {
		if !slices.ContainsFunc(j.Points(), func(p replication.Point) bool { return p.ID == point }) {
			return noSuchPoint(id, point)
		}
		if no, err = diskAt(j, point, disk); err != nil {
			return fmt.Errorf("group %s: %w", id, err)
		}
		size, slot = j.SizeAt(no, point), j.Slot(no)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if g.isReady() != nil {
		return g.exported(ctx, point, slot, size)
	}
	return g.showsDisk(point, g.journal.Number(slot))
}

// findDisk finds a disk by its id, or by machine/id.
func findDisk(disks []replication.Disk, name string) (replication.DiskNo, error) {
	var found []replication.Disk
	for _, d := range disks {
		if string(d.ID) == name || d.ID.Short() == name {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 1:
		return found[0].No, nil
	case 0:
		var all []string
		for _, d := range disks {
			all = append(all, string(d.ID))
		}
		return 0, &replication.Problem{Code: "no-such-disk", Message: fmt.Sprintf("there is no disk %q", name), Remedy: "its disks are " + strings.Join(all, ", ")}
	}
	return 0, &replication.Problem{Code: "no-such-disk", Message: fmt.Sprintf("%q is the id of %d disks", name, len(found)), Remedy: fmt.Sprintf("say which, as in %q", found[0].ID)}
}

// Unprotect implements transport.Operations. A move under way is finished first, so that the disks stand at a point; where it can't be, only with the journal kept, which has the move and both ends of it as far as they can be had.
func (e *Engine) Unprotect(_ context.Context, id replication.GroupID, keepJournal, giveUpOriginal bool) (replication.PointID, string, error) {
	defer e.administer(id)()
	g, err := e.group(id)
	if err != nil {
		return 0, "", err
	}
	if err := e.drillsRunning(id); err != nil {
		return 0, "", err
	}
	if e.takenFromUs(g) {
		return e.forgetTaken(g)
	}
	if err := e.cutoverStands(g); err != nil {
		return 0, "", err
	}
	if err := e.originalLost(g); err != nil && !keepJournal && !giveUpOriginal {
		return 0, "", err
	}
	head := replication.NoPoint
	var disks []replication.Disk
	ready := g.isReady() == nil
	if ready {
		release, err := g.claim()
		if err != nil {
			return 0, "", err
		}
		defer release()
		if e.apart(func() { head, err = g.atRest(keepJournal) }); err != nil {
			return 0, "", err
		}
		disks = g.journal.Identity().Disks
	}
	e.closed(g)
	bye := farewell{Worker: g.plan.ProcessServer, Spec: specOf(g.plan, disks, replication.Session{Group: id})}
	if err := e.cat.change(change{bucketFarewells, farewellKey(id, bye.Worker), bye}, change{bucketGroups, id, nil}); err != nil {
		e.reopenLocked(g) // it is protected as before
		return 0, "", fmt.Errorf("unprotect group %s: %w", id, err)
	}
	e.mu.Lock()
	delete(e.groups, id)
	e.mu.Unlock()
	e.changed()
	e.cfg.Log.Info("unprotected", "group", id, "head", head, "keep_journal", keepJournal)
	e.happened(replication.EventPlan, replication.Healthy, id, "", "group %s is not protected any more", id)
	e.sendOff(g.plan.ProcessServer)
	dir := e.journalDir(id)
	if keepJournal {
		if err := e.giveUp(dir, id); err != nil {
			e.cfg.Log.Warn("journal not given up: another master target has to adopt it", "group", id, "err", err)
		}
		return head, dir, nil
	}
	if !ready { // the disks could not be brought to a point: without the journal they never can
		m, err := unfinished(dir)
		if err != nil {
			return head, dir, &replication.Problem{Code: "journal", Message: fmt.Sprintf("group %s is unprotected, but its journal stays at %s: it can't be told whether the disks stand in the middle of a move, out of which only the journal brings them", id, dir), Err: err,
				Remedy: "`failback journal check` tells what is wrong with it; protect the group again by the same plan when that is mended; or remove the directory, and give up the points and perhaps the disks' content"}
		}
		if m != nil {
			return head, dir, &replication.Problem{Code: "journal", Message: fmt.Sprintf("group %s is unprotected, but its journal stays at %s: the disks stand between points %d and %d, and only it brings them to either", id, dir, m.From, m.To),
				Remedy: "see that the targets are there, protect the group again by the same plan, and unprotect it when it is open; or remove the directory, and give the disks' content up"}
		}
	}
	if err := retention.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return head, dir, &replication.Problem{Code: "journal", Message: fmt.Sprintf("group %s is unprotected, but its journal is still at %s", id, dir), Err: err, Remedy: "remove the directory"}
	}
	return head, "", nil
}

// atRest brings the disks, which are claimed, to where they are to stay, and returns the point; NoPoint: they are at none. Where the journal is kept, they may stay in the middle of a move that can't be finished.
func (g *group) atRest(keepJournal bool) (replication.PointID, error) {
	between := false
	if m := g.journal.Unfinished(); m != nil {
		err := g.moveTo(g.ctx, m.To)
		between = err != nil && keepJournal && g.ctx.Err() == nil && g.journal.Unfinished() != nil
		switch {
		case between:
			g.log.Warn("ends in the middle of a move, with the journal kept", "from", m.From, "to", m.To, "err", err)
		case err != nil:
			p := *replication.AsProblem(err)
			p.Message = fmt.Sprintf("finish the move to point %d: %s", m.To, p.Message)
			p.Remedy = strings.TrimPrefix(fmt.Sprintf("%s; or end it with the disks where they are, between points, and the journal kept, which alone may bring them to one: `failback unprotect %s --keep-journal`", p.Remedy, g.id), "; ")
			return 0, &p
		}
	}
	if between {
		return replication.NoPoint, nil
	}
	if err := g.catchUp(); err != nil {
		return 0, err
	}
	g.moving.Lock() // a move that has just been stopped
	defer g.moving.Unlock()
	if g.journal.AtPoint() {
		return g.journal.Head(), nil
	}
	return replication.NoPoint, nil
}

// originalLost says what is lost without the journal of a group that keeps point 0, and has not listed a point: what was written over, which its disks do not hold any more. nil: nothing is.
func (e *Engine) originalLost(g *group) error {
	var saved int64
	if g.isReady() == nil {
		saved, _ = g.journal.OriginalStored()
	} else if i, err := retention.Inspect(e.journalDir(g.id)); err == nil {
		saved = i.OriginalStored()
		i.Close()
	} else if g.plan.KeepOriginal && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, retention.ErrNotJournal) {
		return &replication.Problem{Code: replication.CodeOriginalLost, Message: fmt.Sprintf("the plan of group %s keeps the original, and its journal can't be read: it can't be told whether it holds what the first cycle has written over on the disks", g.id), Err: err,
			Remedy: fmt.Sprintf("`failback journal check` tells what is wrong with it; keep it: `failback unprotect %s --keep-journal`; or give up what the disks were: --give-up-original", g.id)}
	}
	if saved == 0 {
		return nil
	}
	var disks []string
	for _, d := range g.plan.Disks() {
		disks = append(disks, string(d.Name))
	}
	return &replication.Problem{Code: replication.CodeOriginalLost,
		Message: fmt.Sprintf("group %s has no point yet, and its plan keeps the original: what the first cycle has written over on its disks (%s) is in the journal only, %d bytes there. The disks hold neither what they were nor what the source is, and without the journal never will",
			g.id, strings.Join(disks, ", "), saved),
		Remedy: fmt.Sprintf("let the first cycle end, and bring the disks back: `failback rewind %s 0`; or keep the journal: `failback unprotect %s --keep-journal`; or give up what the disks were: --give-up-original", g.id, g.id)}
}

// giveUp makes a journal that stays nobody's.
func (e *Engine) giveUp(dir string, id replication.GroupID) error {
	j, err := retention.OpenAs(dir, id, e.self.ID)
	if err != nil {
		return err
	}
	return errors.Join(j.GiveUp(), j.Close())
}

// takenFromUs says whether another master target has taken the group over, or we have yet to.
func (e *Engine) takenFromUs(g *group) bool {
	if g.isReady() == nil {
		return errors.Is(g.journal.StillOurs(), retention.ErrOwned)
	}
	g.mu.Lock()
	restored := g.record.Restored != nil
	g.mu.Unlock()
	if restored {
		return true
	}
	i, err := retention.Inspect(e.journalDir(g.id))
	if err != nil {
		return false
	}
	defer i.Close()
	o, known, _ := i.Owner()
	return known && o.ID != e.self.ID
}

// forgetTaken forgets a group that is another master target's. Its journal, its disks and its process server are that one's.
func (e *Engine) forgetTaken(g *group) (replication.PointID, string, error) {
	e.closed(g)
	if err := e.cat.remove(bucketGroups, g.id); err != nil {
		e.reopenLocked(g)
		return 0, "", fmt.Errorf("unprotect group %s: %w", g.id, err)
	}
	e.mu.Lock()
	delete(e.groups, g.id)
	e.mu.Unlock()
	e.changed()
	e.cfg.Log.Info("forgotten: another master target has it", "group", g.id)
	return replication.NoPoint, e.journalDir(g.id), nil
}

// catchUp brings disks that follow, and may be a little behind, to the last point.
func (g *group) catchUp() error {
	last, ok := g.journal.Last()
	head := g.journal.Head()
	if !ok || g.held() || head == last.ID {
		return nil
	}
	err := g.makeRoom(g.ctx, nil, followShare)
	if err == nil {
		err = g.moveTo(g.ctx, last.ID)
	}
	if err != nil {
		p := replication.AsProblem(err)
		p.Remedy += fmt.Sprintf("; to leave the disks at point %d, where they are, `failback rewind %s %d` before", head, g.id, head)
		return p
	}
	return nil
}

// unfinished returns the move that a journal which nobody has open says is not finished, or nil. An error is that it can't be told.
func unfinished(dir string) (*retention.Move, error) {
	i, err := retention.Inspect(dir)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, retention.ErrNotJournal) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer i.Close()
	if !i.Whole() {
		var what []error
		for _, f := range i.Findings() {
			if f.Fatal {
				what = append(what, fmt.Errorf("%s at %d: %s", f.File, f.Off, f.What))
			}
		}
		return nil, fmt.Errorf("its log is damaged: %w", errors.Join(what...))
	}
	return i.Unfinished(), nil
}
