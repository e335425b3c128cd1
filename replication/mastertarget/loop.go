package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"failback/replication"
	"failback/replication/link"
	"failback/replication/plan"
	"failback/retention"
)

// Waits between tries of a step that failed for a reason that may go away.
const (
	retryMin = time.Second
	retryMax = 30 * time.Second
)

// loop gives orders to the group's process server, one after another, until the group's context ends.
func (g *group) loop() {
	defer g.refuseRequests()
	retry := retryMin
	released := replication.PointID(0) // the source was told to keep only this one
	var on *worker
	var probes sync.WaitGroup
	defer probes.Wait()
	for g.ctx.Err() == nil {
		w := g.engine.worker(g.plan.ProcessServer)
		if w == nil {
			g.become(g.settled(), nil, "process server "+g.plan.ProcessServer+" to connect")
			var err error
			if w, err = g.engine.waitWorker(g.ctx, g.plan.ProcessServer); err != nil {
				return
			}
		}
		if p := g.tooOld(w); p != nil {
			g.become(g.settled(), p, "process server "+w.Name+" to be upgraded")
			g.stuck(p)
			asked, _ := g.cutsAsked()
			g.answerCuts(asked, replication.Cycle{}, p)
			g.sleep(w, time.Now().Add(retryMax))
			continue
		}
		if w != on { // it may have lost its state while it was away: release again, and look at its sources
			on, released = w, 0
			probes.Go(func() { g.probe(w) })
		}
		last, _ := g.journal.Last()
		now := g.situation(last, released)
		next, until := decide(now)
		var err error
		switch next {
		case stepCycle:
			if err = g.cycle(w, now.appDue()); err != nil && g.journal.OpenCycle() == nil {
				released = 0 // a cut that did not become a cycle goes: who asks for one later wants what is there then
			}
		case stepRelease:
			if err = w.Release(w.ctx, g.spec(0, g.journal.DisksAt(last.ID)), last.ID); err == nil || !gone(w, err) {
				released = last.ID // what could not be released is tried again with the next point
				g.notice("release", "")
				if err != nil {
					g.log.Warn("source did not release earlier points", "err", err)
					g.notice("release", "the source did not release earlier points: "+err.Error())
				}
				err = nil
			}
		case stepRepair:
			err = g.repair(w, last)
		case stepVerify:
			g.verify(w)
		case stepWait:
			full := g.heldBack()
			waits := g.resyncWaits()
			if full != nil {
				waits = "space on the retention volume"
				g.stuck(full)
			}
			g.become(g.settled(), full, waits)
			g.sleep(w, until)
		}
		switch {
		case g.heldBack() != nil && next == stepCycle: // what is durable of it stays
			retry = retryMin
		case err == nil:
			retry = retryMin
			if next == stepCycle || next == stepWait && g.heldBack() == nil { // what comes between the tries of a step says nothing of it
				g.stuck(nil)
			}
		case g.ctx.Err() != nil:
			return
		case errors.Is(err, errResyncWaits):
			retry = retryMin
		case !w.connected():
			g.log.Warn("process server gone", "step", next, "err", err)
		default:
			g.mend(err)
			g.log.Warn("step failed", "step", next, "err", err, "again_in", retry)
			g.become(g.settled(), replication.AsProblem(err), fmt.Sprintf("trying again in %s", retry))
			g.stuck(replication.AsProblem(err))
			g.sleep(w, time.Now().Add(retry))
			retry = min(2*retry, retryMax)
		}
	}
}

// gone says whether an order failed because its process server went.
func gone(w *worker, err error) bool {
	var p *replication.Problem
	return err != nil && (!w.connected() || errors.As(err, &p) && p.Code == link.CodeUnreachable)
}

func (g *group) situation(last replication.Point, released replication.PointID) situation {
	damaged := g.repairDue(last.ID)
	closing := g.disksTaken() != nil
	now := time.Now()
	compares := g.compares(now)
	points := g.journal.Points()
	tried := lastApp(points)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.appTried.After(tried) {
		tried = g.appTried
	}
	return situation{
		now: now, resync: g.record.Resync, compares: compares, open: g.journal.OpenCycle() != nil, points: len(points), last: last.Time,
		interval: time.Duration(g.plan.Policy.CrashInterval), app: g.appInterval(), lastApp: tried, cuts: len(g.requests.cut), verifies: len(g.requests.verify), unreleased: released != last.ID, damaged: damaged, full: g.full != "", final: g.final, closing: closing,
	}
}

// appInterval is the time between application-consistent points; 0: no machine has commands for them.
func (g *group) appInterval() time.Duration {
	if len(g.plan.Freezes()) == 0 {
		return 0
	}
	return time.Duration(g.plan.Policy.AppInterval)
}

// lastTried is when machines were frozen last, or were to be.
func (g *group) lastTried() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.appTried
}

// sleep waits for a request, for the worker's end, or for the given time.
func (g *group) sleep(w *worker, until time.Time) {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-t.C:
	case <-g.requests.wake:
	case <-w.ctx.Done():
	case <-g.ctx.Done():
	}
}

func (g *group) wake() {
	select {
	case g.requests.wake <- struct{}{}:
	default:
	}
}

// probe learns how the sources are read, for status.
func (g *group) probe(w *worker) {
	ctx, cancel := g.orderContext(w)
	defer cancel()
	probed, err := w.Probe(ctx, g.spec(0, len(g.targets)))
	if err != nil {
		return // the next order tells
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range probed.Disks {
		if int(p.Disk) < len(g.views) {
			g.views[p.Disk] = p.View
		}
	}
}

// orderContext ends when the group ends or the worker goes.
func (g *group) orderContext(w *worker) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(g.ctx)
	stop := context.AfterFunc(w.ctx, func() { cancel(errGone) })
	return ctx, func() { stop(); cancel(nil) }
}

// cycle goes on with the open cycle, or begins one, and returns when its point is listed. app: one that begins is to be application-consistent.
func (g *group) cycle(w *worker, app bool) error {
	ctx, cancel := g.orderContext(w)
	defer cancel()
	g.mu.Lock()
	g.stopShip = cancel
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.stopShip = nil
	}()
	before, _ := g.journal.Last()
	asked, appAsked := g.cutsAsked()
	resync := g.resyncAsked()
	g.pace.watch.begin()
	app = app || appAsked
	c, fresh, err := g.begin(ctx, w, app)
	if fresh || err != nil { // a cycle that goes on was cut before it was asked for, and so was one whose cut the source has held since
		g.answerCuts(asked, c, err)
	}
	if err != nil {
		return err
	}
	if fresh {
		g.pace.watch.cutMade()
	}
	g.become(g.settled(), nil, "")
	session, err := g.grant(c)
	if err != nil {
		return err
	}
	began := time.Now()
	g.ships(c.Point)
	order := g.shipment(c)
	err = w.Ship(ctx, g.spec(session, len(c.Cut.Sizes)), order, g.note)
	g.revoke()
	last, _ := g.journal.Last()
	if last.ID == c.Point {
		g.cycleMeasured(c, before, last)
	}
	g.shipped()
	if last.ID == c.Point { // the answer may have been lost
		g.cycled(c, last, time.Since(began))
		g.resynced(c, resync)
		g.listed(last)
		return nil
	}
	if err == nil {
		return fmt.Errorf("process server says that point %d is shipped, but it is not listed", c.Point)
	}
	if !order.Ahead && g.isFinal() {
		g.log.Info("the order is given again, ahead of the queue", "point", c.Point, "err", err)
		return nil
	}
	return g.failed(c, err)
}

// isFinal says whether the last point of a cutover is being made.
func (g *group) isFinal() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.final
}

// shipment is the order to ship a cycle.
func (g *group) shipment(c replication.Cycle) link.Shipment {
	return link.Shipment{
		Point: c.Point, Base: c.Base, Mode: c.Mode, Snapshot: c.Cut.Snapshot, Repeats: true, Streams: g.streams(), Joining: g.joining(), LargestFirst: g.plan.CopyOrder == plan.CopyLargest, Ahead: g.isFinal(),
		Fresh: g.nothingDurable(),
	}
}

// nothingDurable says whether nothing of the open cycle is. No lane of it is open meanwhile: there is no session, or one whose order was not given yet.
func (g *group) nothingDurable() bool {
	for _, d := range g.journal.Identity().Disks {
		if g.journal.Durable(d.No) > 0 {
			return false
		}
	}
	return true
}

// begin cuts at the source and records the open cycle. An open cycle with the same snapshot goes on; with another, it starts over, under the same number.
// app: it is to be application-consistent. fresh: the cut was made just now.
func (g *group) begin(ctx context.Context, w *worker, app bool) (c replication.Cycle, fresh bool, err error) {
	last, _ := g.journal.Last()
	c = replication.Cycle{Point: g.journal.NextPoint(), Base: last.ID, BaseChain: last.Chain, Mode: replication.Changes, Route: replication.Journaled, Kind: replication.Crash}
	open := g.journal.OpenCycle()
	disks := len(g.targets)
	if open != nil {
		c, disks = *open, len(open.Cut.Sizes)
		app = open.Cut.Attempted() && time.Since(g.lastTried()) >= g.appInterval() // else its machines were frozen for it just now
	}
	spec := g.spec(0, disks)
	if app {
		spec.Quiesce = g.plan.Freezes()
		g.mu.Lock()
		g.appTried = time.Now() // whatever becomes of the order
		g.mu.Unlock()
	}
	g.become(g.settled(), nil, "the source to be cut")
	cut, err := w.Cut(ctx, spec, c.Point, link.Base{Point: c.Base, Snapshot: last.Snapshot})
	if err != nil {
		if rerr := g.resized(ctx, w, c, open, disks); rerr != nil {
			return c, false, rerr
		}
		return c, false, err
	}
	g.seen = sight{}
	cut.NotApp = whyNotApp(cut.Cut, len(spec.Quiesce) > 0, open != nil && open.Cut.Attempted() && open.Cut.Snapshot != cut.Snapshot)
	if err := g.checkSizes(cut.Sizes, disks); err != nil {
		return c, false, err
	}
	g.notice("stable", "")
	if !cut.Stable {
		g.notice("stable", "at least one source has no snapshots: keep its disk still while it is read; a cycle that is cut off starts over")
	}
	c.Cut, c.Kind = cut.Cut, replication.Crash
	if cut.App {
		c.Kind = replication.App
	}
	why := cut.UntrackedWhy
	if last.Suspect { // what is wrong in it, no later change mends
		why = fmt.Sprintf("point %d differs from the source", last.ID)
	}
	lacks, asked := "", false
	if open == nil { // one that is open is not given up for it: what it leaves damaged, the next one brings
		lacks, asked = g.unrepairable(last.ID), g.resyncAsked()
	}
	if lacks != "" {
		why = lacks
	}
	if why == "" {
		why = g.resyncWhy()
	}
	if !cut.Tracked || c.Base == 0 || last.Suspect || lacks != "" || asked {
		c.Mode = replication.Compare
	}
	if c.Base == 0 {
		c.Route = replication.Through
	}
	g.notice("tracking", "")
	if c.Base == 0 || c.Mode != replication.Compare {
		why = ""
	}
	if err := g.resyncs(c, open, why); err != nil {
		return c, false, err
	}
	again := open != nil && open.Cut.Snapshot == c.Cut.Snapshot
	if again && open.Mode == c.Mode && resumes(c) {
		return *open, false, nil
	}
	if open != nil {
		why := "the source has another snapshot now"
		if again {
			why = "a source without snapshots may have changed since"
		}
		g.log.Warn("open cycle starts over: "+why, "point", c.Point)
		if err := g.journal.Drop(why); err != nil {
			return c, false, journalProblem(g.id, err)
		}
	}
	if err := g.journal.Begin(c); err != nil {
		return c, false, journalProblem(g.id, err)
	}
	g.log.Info("cycle begun", "point", c.Point, "base", c.Base, "mode", c.Mode, "route", c.Route, "joining", len(g.joining()))
	return c, !again && !c.Cut.Held, nil
}

// whyNotApp says why a cut is not application-consistent, where it was to be; empty: it is, or was not to be. ordered: with this order; before: with that of an earlier cut of the same point, which is gone.
func whyNotApp(c replication.Cut, ordered, before bool) string {
	switch {
	case c.App:
		return ""
	case c.NotApp == "" && ordered && !c.Held:
		return "the process server is of an earlier release, which freezes nothing"
	case c.NotApp == "" && before:
		return cutAnew
	}
	return strings.ToValidUTF8(c.NotApp[:min(len(c.NotApp), maxNotApp)], "")
}

// cutAnew is why a point is not application-consistent of which an earlier cut was, or was to be.
const cutAnew = "its snapshots were gone, and it was cut anew without freezing: the machines had been frozen for it shortly before"

// maxNotApp bounds what is kept with a point of what a process server says of a failed freeze.
const maxNotApp = 1000

// resumes says whether what is durable of an open cycle may stay when it goes on. What a journal holds of a source that changes while it is read may not: a page that
// was shipped, and has its old content again by now, would be told equal to the base, and what was shipped of it would stand. A disk that is written through is
// compared as it stands, with what was shipped.
func resumes(c replication.Cycle) bool { return c.Cut.Stable || c.Route == replication.Through }

func (g *group) checkSizes(sizes []int64, disks int) error {
	for i, d := range g.journal.Identity().Disks[:disks] {
		if i >= len(sizes) || sizes[i] != d.Size {
			got := int64(0)
			if i < len(sizes) {
				got = sizes[i]
			}
			return &replication.Problem{Code: codeResized, Message: fmt.Sprintf("disk %s: its source has %d bytes now, the group has it with %d", d.ID, got, d.Size),
				Remedy: "give the source its size again, or unprotect the group and protect it anew"}
		}
	}
	return nil
}

// failed looks at why shipping failed: a cycle that can't be finished as it is starts over, by comparing where tracking is in doubt (I10).
func (g *group) failed(c replication.Cycle, err error) error {
	var p *replication.Problem
	code := ""
	if errors.As(err, &p) {
		code = p.Code
	}
	switch {
	case code == link.CodeTrackingLost, code == link.CodeIncomplete:
		g.log.Warn("cycle can't be finished as it is: comparing", "point", c.Point, "err", err)
		if err := g.journal.Drop(err.Error()); err != nil {
			return journalProblem(g.id, err)
		}
		compared := c.Mode == replication.Compare
		c.Mode = replication.Compare
		if !compared {
			if err := g.resyncs(c, nil, err.Error()); err != nil {
				return err
			}
		}
		if err := g.journal.Begin(c); err != nil {
			return journalProblem(g.id, err)
		}
		if compared { // to compare did not help: not at once again, and not silently
			return err
		}
		return nil
	case errors.Is(err, retention.ErrNoSpace):
		return journalProblem(g.id, err)
	}
	return err
}

// listed tells all who wait that a point is listed, and sets the disks moving.
func (g *group) listed(p replication.Point) {
	g.log.Info("point listed", "point", p.ID, "bytes", p.Bytes, "stored", p.Stored)
	g.pointListed(p)
	g.mu.Lock()
	g.quiet = time.Now()
	g.mu.Unlock()
	g.become(g.settled(), nil, "")
}

// note takes what the process server tells of the order under way. One whose disks wait in the queue ends when a commit has begun since: it is given again, ahead of all others, and what is durable stays.
func (g *group) note(p replication.Progress) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := p.Disks
	g.ledgers, g.link, g.queue = l, &p.Link, p.Queue
	if g.final && g.stopShip != nil && slices.ContainsFunc(p.Queue, func(place int) bool { return place > 0 }) {
		g.stopShip()
	}
	now := time.Now()
	g.spannedLocked(now)
	for _, d := range l {
		if int(d.Disk) >= len(g.rates) {
			continue
		}
		r := &g.rates[d.Disk]
		if seconds := now.Sub(r.at).Seconds(); d.Done < r.done || seconds > 60 {
			*r = rate{at: now, done: d.Done}
		} else if seconds >= 0.5 {
			r.value += (float64(d.Done-r.done)/seconds - r.value) / 2
			r.at, r.done = now, d.Done
		}
	}
}

// shipped notes that nothing is being shipped any more.
func (g *group) shipped() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.link, g.queue = nil, nil
}

// cutsAsked returns how many wait for a cut, and whether one of them wants an application-consistent one.
func (g *group) cutsAsked() (n int, app bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.requests.cut), slices.ContainsFunc(g.requests.cut, func(r cutRequest) bool { return r.app })
}

// answerCuts tells the first n that asked for a cut, before it was made, its number, or why there is none; who asked while it was made gets the next one. A
// process server that went is not an answer: it comes back; nor is that replication was held back meanwhile.
func (g *group) answerCuts(n int, c replication.Cycle, err error) {
	if err != nil && g.ctx.Err() == nil && (g.engine.worker(g.plan.ProcessServer) == nil || g.heldBack() != nil) {
		return
	}
	g.mu.Lock()
	waiting := g.requests.cut[:n]
	g.requests.cut = slices.Clone(g.requests.cut[n:])
	g.mu.Unlock()
	for _, r := range waiting {
		r.answer <- cutAnswer{c.Point, err}
	}
}

func (g *group) refuseRequests() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.requests.cut {
		r.answer <- cutAnswer{err: errClosing}
	}
	for _, v := range g.requests.verify {
		v.done <- errClosing
	}
	g.requests.cut, g.requests.verify = nil, nil
}
