package mastertarget

import (
	"context"
	"fmt"

	"failback/replication"
)

// CancelMove implements transport.Operations. It takes back, or finishes, the move that is under way, whoever began it, or one that was cut off.
//
// Taken back, the disks stand where the move came from, and are held, or follow, as they were and did before an operator's move. One that followed by itself is held there: it would begin again
// at once. As long as a move only saves, taking it back is to do nothing.
func (e *Engine) CancelMove(ctx context.Context, id replication.GroupID, finish bool, progress func(replication.MoveStatus)) (replication.PointID, error) {
	g, err := e.group(id)
	if err != nil {
		return 0, err
	}
	if err := g.waitReady(ctx); err != nil {
		return 0, err
	}
	if err := g.disksTaken(); err != nil {
		return 0, err
	}
	g.mu.Lock()
	if g.cancelling {
		g.mu.Unlock()
		return 0, &replication.Problem{Code: "busy", Message: fmt.Sprintf("a move of group %s is being cancelled already", id), Remedy: fmt.Sprintf("wait until that is done; `failback status %s` shows how far it is", id)}
	}
	was := g.under
	if was == nil && g.journal.Unfinished() == nil {
		g.mu.Unlock()
		return 0, g.noMove()
	}
	if finish && was != nil {
		g.mu.Unlock()
		return g.await(ctx, was, progress)
	}
	g.cancelling = true
	release := g.claimLocked()
	g.mu.Unlock()

	if was != nil {
		was.stop(errTakenBack)
	}
	run, under := g.begun(g.ctx, 0, true)
	g.wg.Add(1)
	e.wg.Go(func() {
		defer g.wg.Done()
		err := g.settleMove(run, was, finish)
		g.mu.Lock()
		g.cancelling = false
		g.mu.Unlock()
		release()
		g.wake()
		g.ended(under, err)
	})
	return g.await(ctx, under, progress)
}

func (g *group) noMove() error {
	return &replication.Problem{Code: replication.CodeNoMove, Message: fmt.Sprintf("the disks of group %s are not moving: they stand at point %d", g.id, g.journal.Head()),
		Remedy: fmt.Sprintf("a move that has been finished is taken back by another one: `failback rewind %s POINT`, or `failback advance %s POINT`", g.id, g.id)}
}

// settleMove brings the disks to one end of the move that was under way, or cut off.
func (g *group) settleMove(ctx context.Context, was *moveRun, finish bool) error {
	if was != nil {
		<-was.done // it has stopped at a safe place
	}
	m := g.journal.Unfinished()
	switch {
	case m == nil && was != nil && g.journal.Head() == was.from: // it had only saved
		if was.operator {
			return nil // it has put back what it had changed
		}
		return g.hold(true, nil)
	case m == nil:
		return g.noMove()
	case finish:
		return g.moveTo(ctx, m.To)
	}
	g.mu.Lock()
	intent := g.record.Move
	g.mu.Unlock()
	held := true
	if intent != nil && intent.From == m.From && intent.To == m.To {
		held = intent.Held
	}
	// As with any move, what is to follow is noted first. Cut off between the two, the disks come to an end of the move all the same.
	if err := g.hold(held, intent); err != nil {
		return err
	}
	if err := g.moveTo(ctx, m.From); err != nil {
		return fmt.Errorf("take the move from point %d to %d back: %w", m.From, m.To, err)
	}
	g.log.Info("move taken back", "from", m.From, "to", m.To, "held", held)
	g.happened(replication.EventMove, replication.Healthy, m.From, "the move from point %d to point %d was taken back", m.From, m.To)
	return nil
}
