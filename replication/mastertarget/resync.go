package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"time"

	"failback/replication"
)

// A resync makes a point by comparing whole disks, as it is not known what has changed since the last one, or as what is known can't be believed. It begins by itself, in the plan's resync_window; until that opens the group waits,
// and asks its source again whenever a point is due: what was lost for a moment only may be there again. An operator's word has it begin at once; that stands in the catalogue until the point is listed. A cycle that has begun to compare goes
// on, whatever the time.

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

// resynced notes that a point is listed: what was needed is done. asked: an operator had asked for a resync before it was cut; what he asks for later is another.
func (g *group) resynced(c replication.Cycle, asked bool) {
	if c.Mode != replication.Compare {
		return
	}
	if asked {
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
	s := &replication.ResyncStatus{Why: askedFor, Asked: g.record.Resync}
	switch {
	case g.need != nil:
		s.Why, s.Since = g.need.why, g.need.since
	case !s.Asked:
		return nil
	}
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
		return e.overwrite(ctx, r)
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
	return replication.ResyncStatus{Why: askedFor, Asked: true}, nil // it is done already
}

// lastPoint returns the last point of a group that is open.
func (g *group) lastPoint() (p replication.Point, ok bool) {
	if g.isReady() != nil {
		return p, false
	}
	return g.journal.Last()
}
