package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"failback/replication"
	"failback/retention"
)

// A resync makes a point by comparing whole disks, as it is not known what has changed since the last one, or as what is known can't be believed. It begins by itself, in the plan's resync_window; until that opens the group waits,
// and asks its source again whenever a point is due: what was lost for a moment only may be there again. An operator's word has it begin at once; that stands in the catalogue until the point is listed. A cycle that has begun to compare goes
// on, whatever the time.
//
// Where others have written to a disk, what they wrote is newer than all that the group knows, and what it knows of the disk's content is not true any more, at any point. Then only an operator, who was told so, can have it written over: the
// journal is ended and another one begun, and its first cycle compares the disks as they stand.

// need is why the next point has to be made by comparing.
type need struct {
	why   string
	since time.Time
	tried time.Time // when the source was asked last
}

const resyncRemedy = "to have it overwritten with what the source has: `failback resync GROUP`, which tells what is lost by that, and asks before"

// errResyncWaits is in the chain of an error that says that a resync waits for its window.
var errResyncWaits = errors.New("the resync waits for its window")

// resyncWhy says why a cycle compares whose source knows nothing against its changes.
func (g *group) resyncWhy() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.need != nil:
		return g.need.why
	case g.record.Resync:
		return askedFor
	}
	return "it was begun so"
}

const askedFor = "an operator asked for it"

// resyncAsked says whether an operator wants a point made by comparing.
func (g *group) resyncAsked() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.record.Resync
}

// compares returns until when a resync that is needed waits; zero: none is, or it may begin.
func (g *group) compares(now time.Time) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.need == nil || g.mayResyncLocked(now) {
		return time.Time{}
	}
	next := g.need.tried.Add(time.Duration(g.plan.Policy.CrashInterval)) // it may be known again
	if opens := g.plan.Policy.ResyncWindow.Opens(now); !opens.IsZero() && opens.Before(next) {
		return opens
	}
	if !next.After(now) { // it is asked at once, and waits still
		return now
	}
	return next
}

// mayResyncLocked says whether a resync may begin. g.mu is held.
func (g *group) mayResyncLocked(now time.Time) bool {
	return g.record.Resync || g.final || g.plan.Policy.ResyncWindow.Open(now)
}

// resyncs is called before a cycle goes on or begins, with why it is a resync; "": it is none. Where that has to wait, the cycle that is open is given up, and the error says so.
func (g *group) resyncs(c replication.Cycle, open *replication.Cycle, why string) error {
	now := time.Now()
	g.mu.Lock()
	if why == "" {
		g.need = nil
		g.mu.Unlock()
		return nil
	}
	fresh := g.need == nil
	if fresh {
		g.need = &need{since: now}
	}
	g.need.why, g.need.tried = why, now
	goes := g.mayResyncLocked(now) || open != nil && open.Mode == replication.Compare
	g.mu.Unlock()
	if goes {
		g.notice("tracking", fmt.Sprintf("point %d is made by comparing whole disks: %s", c.Point, why))
		if open == nil || open.Mode != replication.Compare {
			g.log.Warn("comparing", "point", c.Point, "why", why)
			g.happened(replication.EventState, replication.Warned, c.Point, "a resync begins: %s", why)
		}
		return nil
	}
	if open != nil {
		if err := g.journal.Drop(why); err != nil {
			return journalProblem(g.id, err)
		}
	}
	if fresh {
		g.log.Warn("resync needed", "point", c.Point, "why", why, "window", g.plan.Policy.ResyncWindow)
		g.happened(replication.EventState, replication.Warned, c.Point, "a resync is needed, and waits for its window (%s): %s", g.plan.Policy.ResyncWindow, why)
	}
	return g.resyncHoldsUp()
}

// resyncHoldsUp says why no point can be made now; nil: one can.
func (g *group) resyncHoldsUp() error {
	waits := g.resyncWaits()
	g.mu.Lock()
	defer g.mu.Unlock()
	if waits == "" || g.need == nil {
		return nil
	}
	return &replication.Problem{Code: replication.CodeResyncNeeded, Message: fmt.Sprintf("group %s makes no point now: whole disks have to be compared (%s), and that waits for %s", g.id, g.need.why, waits), Err: errResyncWaits,
		Remedy: fmt.Sprintf("`failback resync %s` does it now", g.id)}
}

// resyncWaits says what a resync waits for; "": none waits.
func (g *group) resyncWaits() string {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.need == nil || g.mayResyncLocked(now) {
		return ""
	}
	w := g.plan.Policy.ResyncWindow
	if opens := w.Opens(now); !opens.IsZero() {
		return fmt.Sprintf("resync_window (%s), which opens at %s", w, utc(opens))
	}
	return fmt.Sprintf("resync_window (%s)", w)
}

// resynced notes that a point is listed: what was needed is done.
func (g *group) resynced(c replication.Cycle) {
	if c.Mode != replication.Compare {
		return
	}
	if g.resyncAsked() {
		if err := g.changeRecord(func(r *groupRecord) { r.Resync = false }); err != nil {
			g.log.Error("note that the resync is done", "err", err) // it is made again, which does no harm
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.need = nil
}

func (g *group) resyncStatus() *replication.ResyncStatus {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.need == nil {
		return nil
	}
	s := &replication.ResyncStatus{Why: g.need.why, Since: g.need.since}
	if c := g.journal.OpenCycle(); c == nil && !g.mayResyncLocked(now) {
		s.Opens = g.plan.Policy.ResyncWindow.Opens(now)
	}
	return s
}

// Resync implements transport.Operations.
func (e *Engine) Resync(ctx context.Context, r replication.ResyncRequest) (replication.ResyncStatus, error) {
	g, err := e.group(r.Group)
	if err != nil {
		return replication.ResyncStatus{}, err
	}
	err = g.waitReady(ctx)
	var p *replication.Problem
	if errors.As(err, &p) && p.Code == codeTargetChanged {
		return e.overwrite(r, p)
	}
	if err == nil {
		err = g.cutoverProblem()
	}
	if _, ok := g.lastPoint(); err == nil && !ok {
		err = &replication.Problem{Code: "no-point", Message: fmt.Sprintf("group %s has no point yet: its first one is made by comparing", g.id), Remedy: fmt.Sprintf("none needed; failback status %s shows how far it is", g.id)}
	}
	if err != nil {
		return replication.ResyncStatus{}, err
	}
	if err := g.changeRecord(func(r *groupRecord) { r.Resync = true }); err != nil {
		return replication.ResyncStatus{}, err
	}
	g.log.Info("resync asked for")
	g.wake()
	if s := g.resyncStatus(); s != nil {
		return *s, nil
	}
	return replication.ResyncStatus{Why: askedFor, Since: time.Now()}, nil
}

// lastPoint returns the last point of a group that is open.
func (g *group) lastPoint() (p replication.Point, ok bool) {
	if g.isReady() != nil {
		return p, false
	}
	return g.journal.Last()
}

// renewal is a journal that another one takes the place of.
type renewal struct {
	Journal string             `json:"journal"` // its name: Identity.UUID
	Disks   []replication.Disk `json:"disks"`   // as it has them
}

// overwrite has a group begin anew whose disks others have written to, where the operator was told what that means.
func (e *Engine) overwrite(r replication.ResyncRequest, changed *replication.Problem) (s replication.ResyncStatus, err error) {
	e.admin.Lock()
	defer e.admin.Unlock()
	g, err := e.group(r.Group)
	if err != nil {
		return s, err
	}
	if err := e.drillsRunning(g.id); err != nil {
		return s, err
	}
	i, err := retention.Inspect(e.journalDir(g.id))
	if err != nil {
		return s, journalProblem(g.id, err)
	}
	points, id, at := i.Points(), i.Identity(), i.Cutover()
	if err := i.Close(); err != nil {
		return s, journalProblem(g.id, err)
	}
	if at != nil {
		return s, underWay(g.id, at)
	}
	if !r.Overwrite {
		lost := fmt.Sprintf("its %d points", len(points))
		if n := len(pinsOf(points, time.Now())); n > 0 {
			lost += fmt.Sprintf(" (%d of them pinned)", n)
		}
		return s, &replication.Problem{Code: replication.CodeResyncOverwrites,
			Message: fmt.Sprintf("%s. What was written there is newer than all that group %s knows. A resync overwrites it with what the source has now, and %s are given up, as part of their content was on that disk", changed.Error(), g.id, lost),
			Remedy:  fmt.Sprintf("copy the target first if what is on it may be needed, and leave the machine off; `failback resync %s --yes` does it. With keep_original in the plan, what is overwritten is kept, as point 0 of the points to come", g.id)}
	}
	g.end()
	g.wg.Wait() // from here on it can't come to be open
	defer e.reopenLocked(g)
	if g.journal != nil {
		return s, &replication.Problem{Code: "resync", Message: fmt.Sprintf("group %s goes on: its disks are as it left them", g.id), Remedy: "ask again, if a resync is wanted nevertheless"}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	record := g.record
	record.Renew, record.Held, record.Move, record.Resync = &renewal{Journal: id.UUID, Disks: id.Disks}, false, nil, false
	if err := e.cat.put(bucketGroups, g.id, record); err != nil {
		return s, err
	}
	g.record = record
	g.log.Warn("points are given up for a resync", "points", len(points), "why", changed)
	g.happened(replication.EventPlan, replication.Warned, 0, "an operator gives %d points up, and has the disks overwritten: %s", len(points), changed)
	return replication.ResyncStatus{Why: changed.Error(), Since: time.Now()}, nil
}

// renew puts a new journal in the place of one that an operator has given up. A crash leaves one of: the old one, part of it or nothing, the new one.
func (g *group) renew() error {
	g.mu.Lock()
	r := g.record.Renew
	g.mu.Unlock()
	if r == nil {
		return nil
	}
	dir := g.engine.journalDir(g.id)
	j, err := retention.OpenAs(dir, g.id, g.engine.self.ID)
	made := false
	switch {
	case err == nil:
		made = j.Identity().UUID != r.Journal
		if err := j.Close(); err != nil {
			return journalProblem(g.id, err)
		}
	case !errors.Is(err, retention.ErrNotJournal) && !errors.Is(err, fs.ErrNotExist):
		return journalProblem(g.id, err)
	}
	if !made {
		if err := retention.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, retention.ErrNotJournal) {
			return journalProblem(g.id, err)
		}
		id := retention.Identity{Group: g.id, Created: time.Now().UTC(), KeepOriginal: g.plan.KeepOriginal, Disks: r.Disks}
		for _, d := range g.plan.Disks() {
			id.Targets = append(id.Targets, d.Target)
		}
		j, err := retention.Create(dir, id)
		if err != nil {
			return journalProblem(g.id, err)
		}
		if err := j.Close(); err != nil {
			return journalProblem(g.id, err)
		}
	}
	g.tried = trial{}
	return g.changeRecord(func(r *groupRecord) { r.Renew = nil })
}
