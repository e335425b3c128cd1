package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"failback/replication"
)

// errLost is the end of a job of which nobody knows how it ended.
var errLost = errors.New("the master target was started anew meanwhile")

// resume follows a job that the process before this one began.
func (b *Keeper) resume(ctx context.Context, j *job) (string, error) {
	switch now := j.read(); now.Kind {
	case replication.JobReprotect, replication.JobResync, replication.JobRewind, replication.JobAdvance, replication.JobCommit, replication.JobUndo, replication.JobFinish, replication.JobUnprotect:
		return b.follow(ctx, j)
	default:
		return "the master target was started anew in the middle of it: ask again", errLost
	}
}

// follow looks at a job's group until its status says how the job has ended.
func (b *Keeper) follow(ctx context.Context, j *job) (string, error) {
	tick := time.NewTicker(b.poll)
	defer tick.Stop()
	for {
		now := j.read()
		s, err := b.engine.Status(ctx, now.Group)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if err != nil || len(s.Groups) != 1 {
			return judgeGone(now.Kind)
		}
		g := s.Groups[0]
		if over, result, err := judge(now, g); over {
			return result, err
		}
		doing, done, total, left := progressOf(now.Kind, g)
		j.tell(doing, done, total, left)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// judgeGone says how a job has ended whose group is not there.
func judgeGone(kind replication.JobKind) (string, error) {
	if kind == replication.JobFinish || kind == replication.JobUnprotect {
		return "the group has ended", nil
	}
	return "the group has ended since", errLost
}

// judge says whether a job is over, by the status of its group, and how.
func judge(j replication.Job, g replication.GroupStatus) (over bool, result string, err error) {
	if j.Resumed && (j.Kind == replication.JobFinish || j.Kind == replication.JobUnprotect) { // to end a group is not gone on with by itself
		return true, "the group is there still: ask again", errLost
	}
	if g.State == replication.StateChecking || g.State == replication.StateError { // it is not open yet
		return false, "", nil
	}
	switch j.Kind {
	case replication.JobReprotect:
		if g.Last != 0 {
			return true, "the first point is listed", nil
		}
		return false, "", nil
	case replication.JobResync:
		if g.Last != 0 && (g.Resync == nil || !g.Resync.Asked) {
			return true, fmt.Sprintf("the disks were compared: point %d is listed", g.Last), nil
		}
		return false, "", nil
	case replication.JobRewind, replication.JobAdvance:
		to := j.Point
		if j.Kind == replication.JobAdvance && to == 0 {
			to = g.Last
		}
		switch {
		case g.Move != nil:
			return false, "", nil
		case g.Head == to:
			return true, fmt.Sprintf("the disks stand at point %d", g.Head), nil
		default:
			return true, fmt.Sprintf("the disks stand at point %d: the move had not begun when the master target was started anew", g.Head), errLost
		}
	case replication.JobCommit:
		c := g.Cutover
		switch {
		case c == nil:
			return true, "the commit was taken back, or given up: failback status tells why", errLost
		case c.Step == "committed" && c.Ended != "" && c.Ended != "done":
			return true, "", &replication.Problem{Code: replication.CodeAfterCommand, Message: fmt.Sprintf("committed at point %d, but: %s", c.Point, c.Ended)}
		case c.Step == "committed" && (c.After == "" || c.Ended != ""):
			return true, fmt.Sprintf("committed at point %d", c.Point), nil
		case c.Step == "undoing":
			return true, "", &replication.Problem{Code: replication.CodeUndone, Message: "the commit is being taken back"}
		}
		return false, "", nil
	case replication.JobUndo:
		switch c := g.Cutover; {
		case c == nil:
			return true, fmt.Sprintf("undone: the disks stand at point %d", g.Head), nil
		case c.Step == "committed":
			return true, "the group is committed still: undo again", errLost
		}
		return false, "", nil
	}
	return false, "", nil
}

// progressOf reads from a group's status how far a job is.
func progressOf(kind replication.JobKind, g replication.GroupStatus) (doing string, done, total int64, left time.Duration) {
	switch kind {
	case replication.JobCommit, replication.JobUndo:
		if c := g.Cutover; c != nil {
			return c.Doing, c.Done, c.Total, c.Left
		}
	case replication.JobRewind, replication.JobAdvance:
		if m := g.Move; m != nil {
			return m.Phase, m.Done, m.Total, m.Left
		}
	case replication.JobReprotect, replication.JobResync:
		rate := 0.0
		for _, d := range g.Disks {
			done, total, rate = done+d.Ledger.Done, total+d.Ledger.Total, rate+d.Rate
		}
		if rate > 0 && total > done {
			left = time.Duration(float64(total-done) / rate * float64(time.Second))
		}
		return string(g.State), done, total, left
	}
	if g.WaitsFor != "" {
		return "waits for " + g.WaitsFor, 0, 0, 0
	}
	return "", 0, 0, 0
}
