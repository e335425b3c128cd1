package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"failback/replication"
	"failback/retention"
)

// cutting brings a group's cutover to its end, step by step, as its journal says (retention.Cutover): each step is noted there before its first effect, so that after a restart it goes on with the one that was under way. It
// outlives the group's handles, which are given back at the end, and taken again to undo it.
//
//	             the last point is listed          disks at the point,
//	             (stop-command before it)          closed, fingerprints noted          after-command
//	── final ───────────────────────────► closing ─────────────────────────► committed ──────────────► (finish)
//	     │ undo: nothing was changed         │ undo                              │ undo: the targets are as they were left
//	     ▼                                   ▼                                   ▼
//	   (none) ◄────────────────────────── undoing ◄───────────────────────────────┘
//	             disks where they were
type cutting struct {
	engine *Engine
	id     replication.GroupID

	done chan struct{}       // closed when it has ended; then:
	err  error               //
	head replication.PointID //
	at   *retention.Cutover  // what the journal said then

	// Of run alone, until it has ended.
	refusal  error     // why it was not taken back, though an operator wanted that
	owed     *undoWish // that was looked at, and has yet to be noted
	quits    error     // why it is given up, which has yet to be noted
	stopping bool      // the stop-command was begun
	again    bool      // the after-command is to be run again
	stopped  time.Time // the machine; zero: it was not stopped by this process
	ended    string    // what became of the after-command, which has yet to be noted

	mu       sync.Mutex
	stop     context.CancelCauseFunc // of the step under way; nil: none is
	wish     *undoWish               // an operator's, that has not been looked at
	over     bool                    // no wish is looked at any more
	commands bool                    // the after-command runs: the machine may be starting on the disks
	doing    string
	down     time.Duration // the machine was, until the disks were closed; 0: not known
}

// undoWish is an operator who wants the disks back where they were.
type undoWish struct{ toOriginal bool }

// errUndone is the cause of the end of a step that an operator takes back.
var errUndone = errors.New("taken back by failback undo")

// drive sees to it that a group's cutover is brought to its end.
func (e *Engine) drive(id replication.GroupID) *cutting {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.driveLocked(id, nil, false)
}

// driveLocked is drive; again: an after-command that failed, or was not run, is run again. e.mu is held.
func (e *Engine) driveLocked(id replication.GroupID, wish *undoWish, again bool) *cutting {
	if c := e.cuttings[id]; c != nil {
		return c
	}
	c := &cutting{engine: e, id: id, done: make(chan struct{}), wish: wish, again: again}
	e.cuttings[id] = c
	e.wg.Go(c.run)
	return c
}

// wish has a cutover taken back.
func (e *Engine) wish(id replication.GroupID, w *undoWish) (*cutting, error) {
	for {
		e.mu.Lock()
		c := e.cuttings[id]
		if c == nil {
			c = e.driveLocked(id, w, false)
			e.mu.Unlock()
			return c, nil
		}
		e.mu.Unlock()
		c.mu.Lock()
		switch {
		case c.over:
			c.mu.Unlock()
			<-c.done
			continue
		case c.commands:
			c.mu.Unlock()
			return nil, afterRuns(id)
		}
		c.wish = w
		if c.stop != nil {
			c.stop(errUndone)
		}
		c.mu.Unlock()
		return c, nil
	}
}

// run takes one step after the other.
func (c *cutting) run() {
	wait := retryMin
	for {
		g, at, err := c.next()
		if err != nil {
			for c.taken(); !c.end(0, nil, err); c.taken() { // whoever wishes something now gets the same answer
			}
			return
		}
		ctx, cancel := c.begin(g)
		over, err := c.step(ctx, g, at)
		cancel()
		switch {
		case over && c.end(g.journal.Head(), g.journal.Cutover(), err):
			return
		case over, err == nil:
			wait = retryMin
			continue
		}
		g.log.Warn("cutover waits", "step", at.Step, "err", err, "again_in", wait)
		g.happened(replication.EventCutover, replication.Warned, at.Point, "step %s of the cutover failed, and is tried again: %v", at.Step, err)
		g.mend(err)
		p := replication.AsProblem(err)
		c.say(fmt.Sprintf("trying again in %s: %s. What to do: %s", wait, p.Error(), p.Remedy))
		ctx, cancel = c.begin(g)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		cancel()
		wait = min(2*wait, retryMax)
	}
}

// next returns the group when it is open, one way or the other, and how far its cutover is.
func (c *cutting) next() (*group, *retention.Cutover, error) {
	e := c.engine
	for {
		g, err := e.group(c.id)
		if err != nil {
			return nil, nil, err
		}
		g.mu.Lock()
		finishing := g.record.Finishing
		g.mu.Unlock()
		if finishing {
			return nil, nil, &replication.Problem{Code: replication.CodeCutover, Message: fmt.Sprintf("group %s is being finished", c.id), Remedy: fmt.Sprintf("`failback finish %s` again, if it is still there", c.id)}
		}
		if err := e.wait(e.ctx, func() bool { return g.ctx.Err() != nil || g.isReady() == nil || g.isAway() }); err != nil {
			return nil, nil, err
		}
		if g.ctx.Err() == nil {
			return g, g.journal.Cutover(), nil
		}
		if err := e.wait(e.ctx, func() bool { now, err := e.group(c.id); return err != nil || now != g }); err != nil {
			return nil, nil, err
		}
	}
}

// begin returns the context of a step: it ends with the group's handles, or when an operator takes the cutover back.
func (c *cutting) begin(g *group) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancelCause(g.ctx)
	c.mu.Lock()
	c.stop = stop
	if c.wish != nil {
		stop(errUndone)
	}
	c.mu.Unlock()
	return ctx, func() {
		c.mu.Lock()
		c.stop = nil
		c.mu.Unlock()
		stop(nil)
	}
}

// end ends it, unless an operator has a wish since.
func (c *cutting) end(head replication.PointID, at *retention.Cutover, err error) bool {
	e := c.engine
	e.mu.Lock()
	c.mu.Lock()
	if c.wish != nil && e.ctx.Err() == nil {
		c.mu.Unlock()
		e.mu.Unlock()
		return false
	}
	c.over, c.head, c.at, c.err = true, head, at, err
	delete(e.cuttings, c.id)
	c.mu.Unlock()
	e.mu.Unlock()
	close(c.done)
	e.changed()
	return true
}

func (c *cutting) say(doing string) {
	c.mu.Lock()
	c.doing = doing
	c.mu.Unlock()
	c.engine.changed()
}

func (c *cutting) told() replication.CutoverStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return replication.CutoverStatus{Doing: c.doing, Down: c.down}
}

// taken returns the wish that is to be looked at, once; one that could not be noted comes again, unless there is a newer one.
func (c *cutting) taken() *undoWish {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.wish
	if w == nil {
		w = c.owed
	}
	c.wish, c.owed = nil, nil
	if w != nil {
		c.refusal = nil
	}
	return w
}

// await waits for the end, and tells how far it is. The end of ctx ends only the waiting.
func (c *cutting) await(ctx context.Context, progress func(replication.CutoverStatus)) (replication.PointID, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return c.head, c.err
		case <-tick.C:
			if g, err := c.engine.group(c.id); err == nil {
				if s := g.cutoverStatus(); s != nil {
					progress(*s)
				}
			}
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// step takes the step that the journal says is under way. over: the cutover is at its end, or nothing is left to do for now. An error that is not over is one that may go away.
func (c *cutting) step(ctx context.Context, g *group, at *retention.Cutover) (over bool, err error) {
	if at == nil {
		at = &retention.Cutover{}
	}
	w := c.taken()
	if w != nil && ctx.Err() != nil && g.ctx.Err() == nil { // what it ended has ended
		var cancel context.CancelFunc
		ctx, cancel = c.begin(g)
		defer cancel()
	}
	if w != nil && w.toOriginal {
		if c.refusal = noOriginalNow(g.id, at); c.refusal != nil { // it had come further when that was asked for
			w = nil
		}
	}
	again := c.again && at.Ended != afterDone
	switch (deciding{step: at.Step, wish: w != nil, quits: c.quits != nil, written: g.undoRefused != nil, again: again}).act() {
	case actRest:
		return true, nil
	case actTellGone: // it was noted after all
		return true, c.gaveUp(g, c.quits)
	case actGiveUp:
		if w == nil {
			return c.giveUp(g, c.quits)
		}
		if over, err = c.giveUp(g, nil); err != nil {
			c.owed = w
		}
		return over, err
	case actTurnBack:
		if err := c.turnBack(g, at, w); err != nil {
			c.owed = w
			return false, err
		}
		return false, nil
	case actFinal:
		return c.final(ctx, g, at)
	case actClosing:
		return c.closing(ctx, g, at)
	case actUndoing:
		return c.undoing(ctx, g, at)
	case actTakeBack:
		c.again = false
		return c.takeBack(ctx, g, at, w)
	case actRefuse:
		c.refusal, g.undoRefused = g.undoRefused, nil
		return true, nil
	case actAgain:
		at.Ended = ""
		if err := c.note(g, at); err != nil {
			return false, err
		}
	}
	c.again = false
	return c.after(ctx, g, at)
}

// turn notes a turn of the cutover, which was at before, in the journal, and returns what it is now.
func (c *cutting) turn(g *group, at *retention.Cutover, t turning) (*retention.Cutover, error) {
	next, err := turned(at, t)
	if err != nil {
		return nil, err
	}
	return next, c.note(g, next)
}

// recordTurn is turn for who needs no cutting: a journal that is being opened, or closed.
func recordTurn(j *retention.Journal, t turning) error {
	next, err := turned(j.Cutover(), t)
	if err != nil {
		return err
	}
	return j.RecordCutover(next)
}

// note notes a step in the journal.
func (c *cutting) note(g *group, at *retention.Cutover) error {
	var err error
	if fails := c.engine.cfg.notes; fails != nil {
		err = fails(at)
	}
	if err == nil {
		err = g.journal.RecordCutover(at)
	}
	if err != nil {
		return journalProblem(g.id, err)
	}
	c.engine.changed()
	return nil
}

// giveUp ends a commit before the disks were moved: all is as before. why is nil where an operator wanted that. Where that can't be noted, it is not over, and is tried again: nothing else is done meanwhile.
func (c *cutting) giveUp(g *group, why error) (over bool, err error) {
	at := g.journal.Cutover()
	c.quits = why
	c.stopping = c.stopping || at != nil && at.Stopping
	if _, err := c.turn(g, at, turning{turn: turnGiveUp, now: time.Now()}); err != nil {
		return false, err
	}
	return true, c.gaveUp(g, why)
}

// gaveUp tells that a commit was given up.
func (c *cutting) gaveUp(g *group, why error) error {
	c.quits = nil
	g.mu.Lock()
	g.final = false
	g.mu.Unlock()
	g.wake()
	const again = "start the machine at the source again, if it does not run: the stop-command was begun"
	if why == nil {
		g.log.Info("commit taken back")
		g.happened(replication.EventCutover, replication.Healthy, 0, "the commit was taken back before the disks moved")
		if c.stopping {
			g.notice("commit", "the commit was taken back: "+again)
		}
		g.become(g.settled(), nil, "")
		return nil
	}
	p := *replication.AsProblem(why)
	p.Message, p.Err = fmt.Sprintf("group %s is not committed, and its disks were not changed: %s", g.id, p.Error()), nil
	if c.stopping {
		p.Remedy += "; " + again
	}
	g.log.Warn("commit given up", "err", why)
	g.happened(replication.EventCutover, replication.Critical, 0, "%s", p.Message)
	g.notice("commit", p.Message+". What to do: "+p.Remedy)
	g.become(g.settled(), nil, "")
	return &p
}

// reached tells tests that a step has come that far.
func (e *Engine) reached(step string) {
	if e.cfg.reached != nil {
		e.cfg.reached(step)
	}
}
