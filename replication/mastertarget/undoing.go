package mastertarget

import (
	"context"
	"fmt"
	"time"

	"failback/replication"
	"failback/retention"
)

// The steps that take a cutover back: they are noted as undoing before the first of them.

// turnBack notes that a commit which has begun to move the disks is to be undone.
func (c *cutting) turnBack(g *group, at *retention.Cutover, w *undoWish) error {
	at, err := c.turn(g, at, turning{turn: turnUndo, now: time.Now(), last: lastOf(g.journal), origin: w.toOriginal})
	if err != nil {
		return err
	}
	g.log.Info("commit is undone", "back", at.Back, "held", at.Keep)
	g.happened(replication.EventCutover, replication.Healthy, at.Back, "the commit is being undone: the disks go to point %d", at.Back)
	c.engine.reached("undoing")
	return nil
}

// takeBack opens the disks of a committed group again, if nobody wrote to them.
func (c *cutting) takeBack(ctx context.Context, g *group, at *retention.Cutover, w *undoWish) (over bool, err error) {
	if at.After != "" && at.Ended == "" {
		if at.Begun {
			c.refusal = afterRuns(g.id)
			return false, nil
		}
		at.Ended = afterNotRun // whatever becomes of the undo: nobody is to be surprised by it at a later start
		if err := c.note(g, at); err != nil {
			c.owed = w
			return false, err
		}
	}
	c.say("looking whether the disks are as they were left")
	targets, err := g.openUnwritten(ctx, g.journal)
	if err == nil {
		if cerr := closeAll(targets); cerr != nil {
			err = targetProblem(string(g.id), cerr)
		}
	}
	if err != nil {
		c.say("")
		c.refusal = err
		return true, nil
	}
	c.engine.reached("unwritten")
	if err := c.turnBack(g, at, w); err != nil {
		c.owed = w
		return false, err
	}
	c.engine.reopen(g)
	return false, nil
}

// undoing brings the disks back, and has the group go on. Where they can't be brought there, they are held where they are: nothing is lost, and the operator says where they go.
func (c *cutting) undoing(ctx context.Context, g *group, at *retention.Cutover) (over bool, err error) {
	release, err := g.claim()
	if err != nil {
		return false, err
	}
	defer release()
	g.stopCycles()
	c.say(fmt.Sprintf("bringing the disks back to point %d", at.Back))
	keep, why := at.Keep, g.bringTo(ctx, at.Back)
	switch {
	case why != nil && (ctx.Err() != nil || g.journal.Unfinished() != nil || g.journal.Err() != nil):
		return false, unlessEnded(ctx, why)
	case why != nil:
		p := *replication.AsProblem(why)
		p.Message, p.Err = fmt.Sprintf("the commit of group %s is undone, and its disks are held at point %d, but not brought to point %d: %s", g.id, g.journal.Head(), at.Back, p.Error()), nil
		keep, why = true, &p
	}
	c.engine.reached("back")
	if err := g.hold(keep, nil); err != nil {
		return false, err
	}
	c.engine.reached("held")
	if _, err := c.turn(g, at, turning{turn: turnBack, now: time.Now()}); err != nil {
		return false, err
	}
	g.mu.Lock()
	g.final = false
	g.mu.Unlock()
	g.log.Info("commit undone", "head", g.journal.Head(), "held", keep)
	g.happened(replication.EventCutover, replication.Healthy, g.journal.Head(), "the commit was undone: the disks are at point %d", g.journal.Head())
	c.say("")
	g.wake()
	g.become(g.settled(), nil, "")
	return true, why
}
