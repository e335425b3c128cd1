package mastertarget

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"failback/replication"
	"failback/replication/forecast"
)

// Forecast implements transport.Operations.
func (e *Engine) Forecast(ctx context.Context, id replication.GroupID, r replication.CommitRequest) (replication.Forecast, error) {
	g, err := e.group(id)
	if err != nil {
		return replication.Forecast{}, err
	}
	if err := g.waitReady(ctx); err != nil {
		return replication.Forecast{}, err
	}
	if err := g.disksTaken(); err != nil {
		return replication.Forecast{}, err
	}
	last, ok := g.journal.Last()
	if !ok {
		return replication.Forecast{}, noPointYet(id)
	}
	to := last
	if r.Point != 0 {
		if to, err = g.journal.Point(r.Point); err != nil {
			return replication.Forecast{}, noSuchPoint(id, r.Point)
		}
	}
	f := forecast.Facts{Now: time.Now(), Chosen: r.Point, Next: last.ID + 1, Cut: to.Time, Stop: r.Stop != "", Verify: r.Verify, Size: g.bytes(), Held: g.held()}
	if f.Behind, _, err = g.journal.EstimateWrite(ctx, to.ID); err != nil {
		return replication.Forecast{}, journalProblem(id, err)
	}
	if c := g.journal.OpenCycle(); c != nil {
		f.Open = c.Cut.Time
	}
	m := g.pace
	m.mu.Lock()
	f.Cycles, f.Scan, f.Close = m.record.Cycles, m.record.Scan, cmp.Or(m.record.Close, m.record.Open)
	m.mu.Unlock()
	rate, brief := m.moves.known()
	f.MoveRate, f.Moved, f.Brief = m.moves.bytes(), rate > 0, brief
	if r.Point == 0 && len(f.Cycles) == 0 {
		return replication.Forecast{}, &replication.Problem{Code: replication.CodeNoForecast, Message: fmt.Sprintf("no cycle of group %s was measured yet: how fast its disks change, and how long a point takes, is not known", id),
			Remedy: fmt.Sprintf("wait for two points, or make them: `failback cut %s`", id)}
	}
	out := forecast.Reckon(f)
	if r.Point == 0 && e.worker(g.plan.ProcessServer) == nil {
		out.Doubts = append(out.Doubts, fmt.Sprintf("process server %s is not connected: nothing begins before it is", g.plan.ProcessServer))
	}
	return out, nil
}

// near makes what is left to do little, while the machine still runs: the last point will carry only what changes while the one before it is on its way, unless its source is read in whole anyway, and the disks wait close by, unless a rewind holds them.
func (c *cutting) near(ctx context.Context, g *group) error {
	g.mu.Lock()
	g.nearing = true
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.nearing = false
		g.mu.Unlock()
	}()
	g.engine.changed()
	if open := g.journal.OpenCycle(); open != nil { // it may be one that compares whole disks
		if err := c.awaits(ctx, g, open.Point, "sending point %d before the machine is stopped"); err != nil {
			return err
		}
	}
	g.pace.mu.Lock()
	habit := forecast.HabitOf(g.pace.record.Cycles)
	g.pace.mu.Unlock()
	for made, before, took := 0, time.Duration(0), time.Duration(0); habit.Another(made, before, took); made++ {
		start := time.Now()
		if _, err := c.lastPoint(ctx, g, fmt.Sprintf("making point %d before the machine is stopped, so that the last one is small", g.journal.NextPoint())); err != nil {
			return err
		}
		if err := c.catchUp(ctx, g); err != nil {
			return err
		}
		before, took = took, time.Since(start)
	}
	return c.catchUp(ctx, g)
}

// catchUp waits until the disks stand at the last point, or something keeps them that is not over by itself: it keeps them later, too, and is told then.
func (c *cutting) catchUp(ctx context.Context, g *group) error {
	c.say("bringing the disks up before the machine is stopped")
	return g.engine.wait(ctx, func() bool {
		last, _ := g.journal.Last()
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.claims == 0 && (g.journal.Head() == last.ID || g.record.Held || g.notices["move"] != "")
	})
}
