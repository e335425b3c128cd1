package mastertarget

import (
	"context"

	"failback/replication"
	"failback/retention"
)

// The last step of a cutover: the operator's command, for a machine that has its disks.

// after runs the after-command of a committed group.
func (c *cutting) after(ctx context.Context, g *group, at *retention.Cutover) (over bool, err error) {
	if at.After != "" && at.Ended == "" {
		if c.ended == "" {
			if err := g.journal.StillOurs(); err != nil {
				return false, journalProblem(g.id, err)
			}
			c.mu.Lock()
			undo := c.wish != nil
			c.commands, c.doing = !undo, "running the after-command"
			c.mu.Unlock()
			if undo {
				return false, nil
			}
			ended, err := c.runAfter(ctx, g, at)
			c.mu.Lock()
			c.commands = false
			c.mu.Unlock()
			if err != nil || ended == "" {
				return false, err
			}
			c.ended = ended
		}
		at.Begun, at.Ended = true, c.ended
		if err := c.note(g, at); err != nil {
			return false, err
		}
		c.ended = ""
		c.engine.reached("after")
	}
	c.say("")
	return true, nil
}

// runAfter runs the after-command, and returns what became of it; "": it was cut off, and is run again. That it was begun is noted first: the next process may find it running still.
func (c *cutting) runAfter(ctx context.Context, g *group, at *retention.Cutover) (ended string, err error) {
	at.Begun = true
	if err := c.note(g, at); err != nil {
		return "", err
	}
	c.engine.reached("begun")
	switch err := runCommand(ctx, "after", at.After, g.id, at.Point); {
	case ctx.Err() != nil:
		return "", nil
	case err != nil:
		g.log.Warn("after-command failed", "err", err)
		g.happened(replication.EventCutover, replication.Warned, at.Point, "the after-command failed: %v", err)
		return err.Error(), nil
	}
	return afterDone, nil
}

// What became of an after-command, unless it failed.
const (
	afterDone   = "done"
	afterNotRun = "not run: an undo was asked for"
)
