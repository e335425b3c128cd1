package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"time"

	"failback/replication"
	"failback/retention"
)

// follow moves the disks to the last point whenever it can: unless a rewind holds the head, or the operator moves. It first finishes a move that was interrupted.
func (g *group) follow() {
	retry := retryMin
	for {
		var to replication.PointID
		err := g.engine.wait(g.ctx, func() bool { to = g.due(); return to != 0 })
		if err != nil {
			return
		}
		ctx, stop := context.WithCancel(g.ctx)
		g.mu.Lock()
		asked := g.asked
		if !asked { // from here on, claim ends it
			g.stopMove = stop
		}
		g.mu.Unlock()
		if asked { // since due was asked: what it said holds no more
			stop()
			continue
		}
		err = g.moveTo(ctx, to)
		interrupted := ctx.Err() != nil
		stop()
		switch {
		case g.ctx.Err() != nil:
			return
		case err == nil, interrupted: // the operator wanted the disks
			g.notice("move", "")
			retry = retryMin
		default:
			g.log.Warn("move failed", "to", to, "err", err, "again_in", retry)
			g.notice("move", fmt.Sprintf("disks can't move to point %d: %v", to, err))
			select {
			case <-time.After(retry):
			case <-g.ctx.Done():
				return
			}
			retry = min(2*retry, retryMax)
		}
	}
}

// due returns the point that the disks should move to by themselves, or 0.
func (g *group) due() replication.PointID {
	g.mu.Lock()
	asked, held := g.asked, g.record.Held
	g.mu.Unlock()
	if asked {
		return 0
	}
	if m := g.journal.Unfinished(); m != nil {
		if last, _ := g.journal.Last(); !held {
			return last.ID
		}
		return m.To
	}
	last, ok := g.journal.Last()
	if head := g.journal.Head(); !ok || held || head == 0 || head == last.ID {
		return 0
	}
	return last.ID
}

// moveTo moves the disks. The end of ctx stops it at a safe place: the next move goes on from there.
func (g *group) moveTo(ctx context.Context, to replication.PointID) error {
	g.moving.Lock()
	defer g.moving.Unlock()
	disks := make([]retention.Disk, len(g.targets))
	for i, t := range g.targets {
		disks[i] = t
	}
	from := g.journal.Head()
	start := time.Now()
	var done int64
	err := g.journal.Move(ctx, disks, to, func(p retention.MoveProgress) {
		g.mu.Lock()
		g.move = &replication.MoveStatus{From: from, To: to, Phase: p.Phase, Done: p.Done, Total: p.Total}
		g.mu.Unlock()
		done = p.Done
	})
	g.mu.Lock()
	g.move = nil
	g.mu.Unlock()
	if err == nil {
		g.log.Info("disks moved", "from", from, "to", to, "bytes", done, "seconds", time.Since(start).Seconds())
	}
	g.engine.changed()
	if err != nil {
		g.mend(err)
		return journalProblem(g.id, err)
	}
	return nil
}

// claim takes the disks for an operator: moves of our own are stopped and none begin until the returned function is called.
func (g *group) claim() (release func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asked {
		return nil, &replication.Problem{Code: "busy", Message: fmt.Sprintf("the disks of group %s are being moved already", g.id), Remedy: "wait until that is done; `failback status` shows how far it is"}
	}
	g.asked = true
	if g.stopMove != nil {
		g.stopMove()
	}
	return func() {
		g.mu.Lock()
		g.asked = false
		g.mu.Unlock()
		g.engine.changed()
	}, nil
}

// Move implements transport.Operations.
func (e *Engine) Move(ctx context.Context, id replication.GroupID, to replication.PointID, advance bool, progress func(replication.MoveStatus)) (replication.PointID, error) {
	g, err := e.group(id)
	if err != nil {
		return 0, err
	}
	if err := g.waitReady(ctx); err != nil {
		return 0, err
	}
	last, ok := g.journal.Last()
	if !ok {
		return 0, noPointYet(id)
	}
	if advance && to == 0 {
		to = last.ID
	}
	if _, err := g.journal.Point(to); err != nil {
		return 0, noSuchPoint(id, to)
	}
	if head := g.journal.Head(); g.journal.Unfinished() == nil {
		switch {
		case !advance && to > head:
			return 0, &replication.Problem{Code: "wrong-direction", Message: fmt.Sprintf("point %d lies ahead of the head, which is %d", to, head), Remedy: fmt.Sprintf("use `failback advance %s %d`", id, to)}
		case advance && to < head:
			return 0, &replication.Problem{Code: "wrong-direction", Message: fmt.Sprintf("point %d lies behind the head, which is %d", to, head), Remedy: fmt.Sprintf("use `failback rewind %s %d`", id, to)}
		}
	}
	release, err := g.claim()
	if err != nil {
		return 0, err
	}
	// The head is held before the disks move, and let go of before they go to the latest: a move that is cut off is finished in the same sense.
	held, from := g.held(), g.journal.Head()
	if err := g.hold(!advance || to != last.ID); err != nil {
		release()
		return 0, err
	}
	done := make(chan error, 1)
	g.wg.Add(1)
	e.wg.Go(func() {
		defer g.wg.Done()
		err := g.moveTo(g.ctx, to)
		if err != nil && g.journal.Unfinished() == nil && g.journal.Head() == from { // it never began
			err = errors.Join(err, g.hold(held))
		}
		release()
		g.wake()
		done <- err
	})
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err == nil {
				g.become(g.settled(), nil, "")
			}
			return g.journal.Head(), err
		case <-tick.C:
			g.mu.Lock()
			m := g.move
			g.mu.Unlock()
			if m != nil {
				progress(*m)
			}
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func noPointYet(id replication.GroupID) error {
	return &replication.Problem{Code: "no-point-yet", Message: fmt.Sprintf("group %s has no point yet: its baseline is not complete", id), Remedy: "wait until `failback points` lists one"}
}

func noSuchPoint(id replication.GroupID, p replication.PointID) error {
	return &replication.Problem{Code: "no-such-point", Message: fmt.Sprintf("group %s has no point %d", id, p), Remedy: fmt.Sprintf("`failback points %s` lists the points", id)}
}
