package mastertarget

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"failback/replication"
	"failback/retention"
)

// final makes the last point, and chooses it, unless another one was asked for.
func (c *cutting) final(ctx context.Context, g *group, at *retention.Cutover) (over bool, err error) {
	if wait := time.Until(at.NotBefore); !at.NotBefore.IsZero() && wait > 0 {
		c.say("waiting until " + at.NotBefore.UTC().Format(time.DateTime) + " UTC; replication goes on")
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false, nil
		}
	}
	if err := c.allows(g, at); err != nil {
		return c.giveUp(g, err)
	}
	g.engine.changed()
	if at.Stop != "" && !at.Stopped {
		if err := g.journal.StillOurs(); err != nil {
			return false, journalProblem(g.id, err)
		}
		if at.Point == 0 && !at.Stopping {
			if err := c.near(ctx, g); err != nil || ctx.Err() != nil {
				return false, unlessEnded(ctx, err)
			}
			c.engine.reached("near")
		}
		c.say("running the stop-command")
		c.stopping = true
		if !at.Stopping {
			at.Stopping = true
			if err := c.note(g, at); err != nil {
				return false, err
			}
		}
		err := runCommand(ctx, "stop", at.Stop, g.id, at.Point)
		switch {
		case ctx.Err() != nil:
			return false, nil
		case err != nil:
			return c.giveUp(g, &replication.Problem{Code: replication.CodeStopCommand, Message: err.Error(), Remedy: "see why it failed; it runs on the master target's machine, as its user, and has to end with 0 when the machine is stopped"})
		}
		at.Stopped = true
		c.stopped = time.Now()
		if err := c.note(g, at); err != nil {
			return false, err
		}
		c.engine.reached("stopped")
	}
	p := at.Point
	if p == 0 {
		if p, err = c.lastPoint(ctx, g, "making the last point"); err != nil || ctx.Err() != nil {
			return false, unlessEnded(ctx, err)
		}
		if err := g.hasAllDisks(p); err != nil {
			return c.giveUp(g, err)
		}
		c.engine.reached("cut")
	}
	if at.Verify {
		c.say(fmt.Sprintf("comparing point %d with the source", p))
		switch _, v, differing, err := c.engine.Verify(ctx, g.id, p, func([]replication.Ledger) {}); {
		case ctx.Err() != nil:
			return false, nil
		case err != nil:
			return c.giveUp(g, err)
		case !v.Equal:
			return c.giveUp(g, &replication.Problem{Code: "verify-differs", Message: fmt.Sprintf("point %d differs from the source by %d bytes, in %v", p, v.Differs, differing),
				Remedy: "do not fail back to this point: the next one is made by comparing. A source without snapshots differs too when it was written to since: stop the machine first (--stop-command)"})
		}
	}
	return c.chosen(g, at, p)
}

// allows says what would have the commit given up in the end, before anything is done for it: from here on no drill begins.
func (c *cutting) allows(g *group, at *retention.Cutover) error {
	e := c.engine
	defer e.administer(g.id)()
	g.mu.Lock()
	g.final = true // no cycle begins by itself, and no limit of the link counts
	g.mu.Unlock()
	if err := e.drillsRunning(g.id); err != nil {
		return err
	}
	if at.Point == 0 {
		return nil
	}
	return g.shows(at.Point)
}

// shows says why a machine can't be given a point; nil: it can.
func (g *group) shows(p replication.PointID) error {
	if _, err := g.journal.Point(p); err != nil {
		return noSuchPoint(g.id, p)
	}
	return g.hasAllDisks(p)
}

// lastPoint makes a point, and returns when it is listed.
func (c *cutting) lastPoint(ctx context.Context, g *group, doing string) (replication.PointID, error) {
	c.say(doing)
	answer := make(chan cutAnswer, 1)
	g.mu.Lock()
	g.requests.cut = append(g.requests.cut, cutRequest{answer: answer})
	g.mu.Unlock()
	g.wake()
	var p replication.PointID
	select {
	case a := <-answer:
		if a.err != nil {
			return 0, a.err
		}
		p = a.point
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	return p, c.awaits(ctx, g, p, "sending point %d, ahead of all limits of the link")
}

// awaits returns when a point is listed.
func (c *cutting) awaits(ctx context.Context, g *group, p replication.PointID, doing string) error {
	c.say(fmt.Sprintf(doing, p))
	return g.engine.wait(ctx, func() bool { last, ok := g.journal.Last(); return ok && last.ID >= p })
}

// unlessEnded returns err, or nil where it only says that the step was ended.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// chosen notes which point it is to be: from here on no cycle is taken.
func (c *cutting) chosen(g *group, at *retention.Cutover, p replication.PointID) (over bool, err error) {
	e := c.engine
	defer e.administer(g.id)() // no drill begins meanwhile
	if err := cmp.Or(e.drillsRunning(g.id), g.shows(p)); err != nil {
		return c.giveUp(g, err)
	}
	t := turning{turn: turnChosen, now: time.Now(), point: p, head: g.journal.Head(), held: g.held()}
	if m := g.journal.Unfinished(); m != nil {
		t.head = m.To
	}
	if _, err := c.turn(g, at, t); err != nil {
		return false, err
	}
	e.reached("closing")
	return false, nil
}

// closing brings the disks to the point, and closes them.
func (c *cutting) closing(ctx context.Context, g *group, at *retention.Cutover) (over bool, err error) {
	release, err := g.claim()
	if err != nil {
		return false, err
	}
	defer release()
	g.stopCycles()
	c.say(fmt.Sprintf("bringing the disks to point %d", at.Point))
	before := g.journal.Head()
	if err := g.bringTo(ctx, at.Point); err != nil {
		if ctx.Err() == nil && g.journal.Unfinished() == nil && g.journal.Head() == before && g.journal.Err() == nil { // nothing was written
			return c.giveUp(g, err)
		}
		return false, unlessEnded(ctx, err)
	}
	c.engine.reached("moved")
	if ctx.Err() != nil {
		return false, nil
	}
	c.say("closing the disks")
	began := time.Now()
	if err := c.engine.seal(g); err != nil {
		return false, err
	}
	c.ranFor(g, at, time.Since(began))
	return false, nil
}

// ranFor notes how long the machine was down, where this process saw it stop, and how long closing took.
func (c *cutting) ranFor(g *group, at *retention.Cutover, closing time.Duration) {
	g.learn(func(r *paceRecord) { r.Close = closing })
	if c.stopped.IsZero() {
		return
	}
	c.mu.Lock()
	c.down = time.Since(c.stopped)
	c.mu.Unlock()
	g.log.Info("the machine was down from its stop until the disks were closed", "point", at.Point, "seconds", time.Since(c.stopped).Seconds())
}

// bringTo moves the disks, if they are not there. No point is given up for it.
func (g *group) bringTo(ctx context.Context, p replication.PointID) error {
	head := g.journal.Head()
	if g.journal.Unfinished() == nil && head == p {
		return nil
	}
	if err := g.makeRoom(ctx, &replication.MoveRequest{To: p, Advance: p >= head}, 0); err != nil {
		return err
	}
	return g.moveTo(ctx, p)
}

// stopCycles ends the shipment under way; what is durable of it stays. decide begins none.
func (g *group) stopCycles() {
	g.mu.Lock()
	stop := g.stopShip
	g.mu.Unlock()
	if stop != nil {
		stop()
	}
	g.wake()
}

// seal closes the group's targets, notes that they are the machine's, and opens the group without them.
func (e *Engine) seal(g *group) error {
	defer e.administer(g.id)()
	g.mu.Lock()
	g.sealing = true
	g.mu.Unlock()
	e.reopenLocked(g)
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sealed
}

// sealNow notes that the targets, which have been closed, are the machine's.
func (g *group) sealNow() error {
	at := g.journal.Cutover()
	if at == nil || at.Step != retention.CutoverClosing {
		return nil
	}
	g.engine.reached("closed")
	err := recordTurn(g.journal, turning{turn: turnSealed, now: time.Now()})
	if err == nil {
		g.log.Info("committed", "point", at.Point)
		g.happened(replication.EventCutover, replication.Healthy, at.Point, "the group is committed: its disks are the machines', at point %d", at.Point)
		g.engine.reached("committed")
	}
	return err
}
