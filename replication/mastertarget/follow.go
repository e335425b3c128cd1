package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"time"

	"failback/replication"
)

// following is all that decideFollow looks at.
type following struct {
	now        time.Time
	claimed    bool // an operator moves the disks
	held       bool // a rewind holds the head
	unfinished bool // a move was cut off
	head, last replication.PointID
	bound      time.Duration // that bringing the disks to the last point may come to take
	takes      time.Duration // to bring them there, estimated
	tight      bool          // what that may save takes much of the room that there is
	cycling    bool          // a cycle is under way
	quiet      time.Time     // when the last one ended
	quietFor   time.Duration
}

// quietFor is how long no cycle is under way before the disks catch up, although they may still lag: then moving takes nothing from arrivals.
const quietFor = 2 * time.Second

// decideFollow says whether the disks are to move by themselves, to the last point; and else, when to ask again: zero when only an event can change it. As long as cycles come one after another
// the disks wait: what several of them changed is saved and written once. They go when waiting longer would make catching up take longer than the bound, or what that saves might not fit any more, and when it is quiet.
func decideFollow(f following) (move bool, again time.Time) {
	still := f.quiet.Add(f.quietFor)
	switch {
	case f.claimed:
		return false, time.Time{}
	case f.unfinished:
		return true, time.Time{}
	case f.held, f.last == 0, f.head == f.last:
		return false, time.Time{}
	case f.tight, f.takes >= f.bound: // also when the disks are to follow at once
		return true, time.Time{}
	case f.cycling:
		return false, time.Time{}
	case f.now.Before(still):
		return false, still
	}
	return true, time.Time{}
}

// lag is how far the disks are behind, as last estimated.
type lag struct {
	head, last replication.PointID
	points     int
	takes      time.Duration
	disks      []int64 // bytes to be written to each of them; empty: not known
	tight      bool    // what moving there saves may come to half of the room that there is
}

// behind tells how far the disks are behind the last point. It reads indexes when that has changed.
func (g *group) behind() lag {
	head, points := g.journal.Head(), g.journal.Points()
	now := lag{head: head}
	for _, p := range points {
		if now.last = p.ID; p.ID > head {
			now.points++
		}
	}
	g.mu.Lock()
	was := g.lag
	g.mu.Unlock()
	if now.points == 0 || g.journal.Unfinished() != nil {
		now.points = 0
	} else if g.plan.Policy.HeadLag == 0 { // they go at once
		now.takes = time.Millisecond
	} else if was.head == now.head && was.last == now.last {
		now.takes, now.tight, now.disks = was.takes, was.tight, was.disks
	} else if n, disks, err := g.journal.EstimateWrite(g.ctx, now.last); err == nil {
		now.disks = disks
		now.takes = max(g.pace.moves.takes(n), time.Millisecond)
		free, reserve, _, err := g.spaceFor(0)
		now.tight = err == nil && n > 0 && n >= (free-reserve)/2
	} else {
		g.log.Warn("how far the disks are behind is not known", "err", err)
		now.takes = replication.MaxHeadLag // go and see
	}
	g.mu.Lock()
	g.lag = now
	g.mu.Unlock()
	return now
}

// followed says where the disks are to move to by themselves, NoPoint: nowhere now, and when to ask again.
func (g *group) followed(l lag) (to replication.PointID, again time.Time) {
	m := g.journal.Unfinished()
	open, taken := g.journal.OpenCycle() != nil, g.disksTaken() != nil
	g.mu.Lock()
	f := following{
		now: time.Now(), claimed: g.claims > 0 || taken, held: g.record.Held, unfinished: m != nil, head: g.journal.Head(), last: l.last,
		bound: time.Duration(g.plan.Policy.HeadLag), takes: l.takes, tight: l.tight, cycling: open && g.full == "", quiet: g.quiet, quietFor: quietFor,
	}
	if g.nearing {
		f.bound = 0
	}
	g.mu.Unlock()
	if q := g.engine.cfg.quiet; q != 0 {
		f.quietFor = q
	}
	f.cycling = f.cycling && g.engine.worker(g.plan.ProcessServer) != nil
	move, again := decideFollow(f)
	switch {
	case !move:
		return replication.NoPoint, again
	case m != nil && f.held:
		return m.To, again
	}
	return l.last, again
}

// follow moves the disks to the last point when it is time: unless a rewind holds the head, or the operator moves. It first finishes a move that was interrupted.
func (g *group) follow() {
	retry := retryMin
	for {
		to := g.waitDue()
		if to == replication.NoPoint {
			return
		}
		ctx, under := g.begun(g.ctx, to, false)
		if under == nil { // an operator wants the disks, since it was asked
			continue
		}
		start := time.Now()
		err := g.makeRoom(ctx, nil, g.followMay())
		if err == nil {
			err = g.moveTo(ctx, to)
		}
		interrupted := ctx.Err() != nil
		g.ended(under, err)
		switch {
		case g.ctx.Err() != nil:
			return
		case err == nil, interrupted: // the operator wanted the disks
			g.notice("move", "")
			retry = retryMin
		default:
			var p *replication.Problem
			remedy := ""
			if errors.As(err, &p) && p.Remedy != "" {
				remedy = ". What to do: " + p.Remedy
			}
			g.log.Warn("move failed", "to", to, "err", err, "again_in", retry)
			g.happened(replication.EventMove, replication.Warned, to, "the disks can't move to point %d: %v", to, err)
			g.notice("move", fmt.Sprintf("the disks wait at point %d and can't move to point %d: %v%s", g.journal.Head(), to, err, remedy))
			select {
			case <-time.After(max(retry, useShare*time.Since(start))): // reckoning reads the indexes
			case <-g.ctx.Done():
				return
			}
			retry = min(2*retry, retryMax)
		}
	}
}

// waitDue returns the point that the disks are to move to now, once there is one; NoPoint when the group ends.
func (g *group) waitDue() (to replication.PointID) {
	for g.ctx.Err() == nil {
		l := g.behind()
		var again time.Time
		if to, again = g.followed(l); to != replication.NoPoint {
			return to
		}
		ctx, stop := context.WithCancel(g.ctx)
		if !again.IsZero() {
			stop()
			ctx, stop = context.WithDeadline(g.ctx, again)
		}
		_ = g.engine.wait(ctx, func() bool {
			if last, _ := g.journal.Last(); last.ID != l.last || g.journal.Head() != l.head {
				return true // what it takes has to be reckoned anew
			}
			now, when := g.followed(l)
			return now != replication.NoPoint || !when.Equal(again)
		})
		stop()
	}
	return replication.NoPoint
}
