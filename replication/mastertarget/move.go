package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"time"

	"failback/replication"
	"failback/retention"
)

// moveIntent is what an operator's move was to come to, and what was before: so that it can be taken back after a restart too.
type moveIntent struct {
	From replication.PointID `json:"from"`
	To   replication.PointID `json:"to"`
	Held bool                `json:"held"` // the head was held before
}

// moveRun is a move that is under way.
type moveRun struct {
	stop     context.CancelCauseFunc
	operator bool                // an operator asked for it
	from, to replication.PointID // as it began
	done     chan struct{}       // closed when it has ended
	err      error               // then
}

// phaseRoom is the phase of a move before retention's: space is made for what it saves.
const phaseRoom = "room"

// movePause is how long a move waits for those who rewrite the journal, before it tries again.
const movePause = 500 * time.Millisecond

// errTakenBack is the cause of the end of a move that an operator takes back.
var errTakenBack = errors.New("taken back")

// begun notes that a move begins; its end has to be told to ended. For moves of our own it refuses when an operator wants the disks.
func (g *group) begun(ctx context.Context, to replication.PointID, operator bool) (context.Context, *moveRun) {
	ctx, stop := context.WithCancelCause(ctx)
	r := &moveRun{stop: stop, operator: operator, from: g.journal.Head(), to: to, done: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !operator && g.claims > 0 {
		stop(nil)
		return nil, nil
	}
	g.under = r
	return ctx, r
}

// ended notes that a move has ended.
func (g *group) ended(r *moveRun, err error) {
	r.stop(nil)
	r.err = err
	g.mu.Lock()
	if g.under == r {
		g.under = nil
	}
	g.mu.Unlock()
	close(r.done)
	g.engine.changed()
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
	m := &meter{assumed: g.pace.moves.bytes()}
	start := time.Now()
	tell := func(p retention.MoveProgress) {
		rate, left := m.read(p, time.Now())
		g.tellMove(&replication.MoveStatus{From: from, To: to, Phase: p.Phase, Done: p.Done, Total: p.Total, Rate: rate, Left: left})
	}
	err := g.journal.Move(ctx, disks, to, tell)
	for errors.Is(err, retention.ErrInUse) { // files of the journal are being rewritten, and the move has to go over one of which nothing can be read
		select {
		case <-time.After(movePause):
			err = g.journal.Move(ctx, disks, to, tell)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	took := time.Since(start)
	g.tellMove(nil)
	if err == nil {
		g.pace.moves.learn(m.written, took)
		g.log.Info("disks moved", "from", from, "to", to, "bytes", m.written, "seconds", took.Seconds())
		g.happened(replication.EventMove, replication.Healthy, to, "the disks moved from point %d to point %d in %s", from, to, took.Round(time.Millisecond))
	}
	g.engine.changed()
	if err != nil {
		g.mend(err)
		if errors.Is(err, retention.ErrCorrupt) {
			g.journal.Suspect(err)
			g.rouse()
		}
		return journalProblem(g.id, err)
	}
	return nil
}

// tellMove puts a move into status; nil: none is under way.
func (g *group) tellMove(m *replication.MoveStatus) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.move = m
}

// claim takes the disks for an operator: moves of our own are stopped and none begin until the returned function is called.
func (g *group) claim() (release func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.claims > 0 {
		return nil, &replication.Problem{Code: "busy", Message: fmt.Sprintf("the disks of group %s are being moved already", g.id),
			Remedy: fmt.Sprintf("wait until that is done; `failback status %s` shows how far it is, `failback move cancel %s` takes it back", g.id, g.id)}
	}
	if g.under != nil {
		g.under.stop(nil)
	}
	return g.claimLocked(), nil
}

func (g *group) claimLocked() (release func()) {
	g.claims++
	return func() {
		g.mu.Lock()
		g.claims--
		g.mu.Unlock()
		g.engine.changed()
	}
}

// movable returns the group if its disks can be moved to a point of the request, which it fills in.
func (e *Engine) movable(ctx context.Context, id replication.GroupID, r *replication.MoveRequest) (*group, error) {
	g, err := e.group(id)
	if err != nil {
		return nil, err
	}
	if err := g.waitReady(ctx); err != nil {
		return nil, err
	}
	if err := g.disksTaken(); err != nil {
		return nil, err
	}
	last, ok := g.journal.Last()
	if !ok {
		return nil, noPointYet(id)
	}
	if r.Advance && r.To == 0 {
		r.To = last.ID
	}
	if _, err := g.journal.Point(r.To); err != nil {
		return nil, noSuchPoint(id, r.To)
	}
	if head := g.journal.Head(); g.journal.Unfinished() == nil {
		switch {
		case !r.Advance && r.To > head && g.held(): // else the disks follow, and may be a little behind: a rewind to where they are going is meant
			return nil, &replication.Problem{Code: "wrong-direction", Message: fmt.Sprintf("point %d lies ahead of the head, which is %d", r.To, head), Remedy: fmt.Sprintf("use `failback advance %s %d`", id, r.To)}
		case r.Advance && r.To < head:
			return nil, &replication.Problem{Code: "wrong-direction", Message: fmt.Sprintf("point %d lies behind the head, which is %d", r.To, head), Remedy: fmt.Sprintf("use `failback rewind %s %d`", id, r.To)}
		}
	}
	return g, nil
}

// PlanMove implements transport.Operations.
func (e *Engine) PlanMove(ctx context.Context, id replication.GroupID, r replication.MoveRequest) (replication.MovePlan, error) {
	g, err := e.movable(ctx, id, &r)
	if err != nil {
		return replication.MovePlan{}, err
	}
	room, err := g.reckon(ctx, r.To, 0)
	if err != nil {
		return replication.MovePlan{}, journalProblem(id, err)
	}
	return room.plan, nil
}

// Move implements transport.Operations.
func (e *Engine) Move(ctx context.Context, id replication.GroupID, r replication.MoveRequest, progress func(replication.MoveStatus)) (replication.PointID, error) {
	g, err := e.movable(ctx, id, &r)
	if err != nil {
		return 0, err
	}
	release, err := g.claim()
	if err != nil {
		return 0, err
	}
	run, under := g.begun(g.ctx, r.To, true)
	g.wg.Add(1)
	e.wg.Go(func() {
		defer g.wg.Done()
		err := g.operatorMove(run, r)
		release()
		g.wake()
		g.ended(under, err)
	})
	return g.await(ctx, under, progress)
}

// operatorMove does what an operator asked for.
func (g *group) operatorMove(ctx context.Context, r replication.MoveRequest) error {
	if m := g.journal.Unfinished(); m != nil && r.To != m.From && r.To != m.To { // what it will need is known when it is done
		if err := g.moveTo(ctx, m.To); err != nil {
			return g.movedBack(ctx, m.From, m.To, err)
		}
	}
	from := g.journal.Head()
	if err := g.makeRoom(ctx, &r, 0); err != nil {
		return g.movedBack(ctx, from, r.To, err)
	}
	// The head is held before the disks move, and let go of before they go to the latest: a move that is cut off is finished in the same sense.
	last, _ := g.journal.Last()
	held := g.held()
	if err := g.hold(!r.Advance || r.To != last.ID, &moveIntent{from, r.To, held}); err != nil {
		return err
	}
	err := g.moveTo(ctx, r.To)
	if err != nil && g.journal.Unfinished() == nil && g.journal.Head() == from { // it never began
		err = errors.Join(err, g.hold(held, nil))
	}
	return g.movedBack(ctx, from, r.To, err)
}

// movedBack says of a move that an operator ended that it was no failure.
func (g *group) movedBack(ctx context.Context, from, to replication.PointID, err error) error {
	if err == nil || !errors.Is(context.Cause(ctx), errTakenBack) {
		return err
	}
	return &replication.Problem{Code: replication.CodeMoveCancelled, Message: fmt.Sprintf("the move of group %s from point %d to point %d was taken back by failback move cancel", g.id, from, to),
		Remedy: fmt.Sprintf("`failback status %s` tells where the disks stand", g.id)}
}

// await waits for a move's end, and tells how far it is. The end of ctx ends only the waiting.
func (g *group) await(ctx context.Context, r *moveRun, progress func(replication.MoveStatus)) (replication.PointID, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.done:
			if r.err == nil {
				g.become(g.settled(), nil, "")
			}
			return g.journal.Head(), r.err
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
