package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"failback/replication"
)

// apart does a job's work to its end, and returns what came of it to one who waits as long as ctx lasts; he is told how far it is as often as he listens. When he goes before the work has begun, and nothing was begun by then, it is not
// done at all.
func apart[T, P any](ctx context.Context, b *Keeper, j *job, life context.Context, progress func(P), work func(ctx context.Context, tell func(P)) (T, string, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	news := make(chan P, 1) // the newest that has not been told
	var begun atomic.Bool
	tell := func(p P) {
		begun.Store(true)
		select {
		case <-news:
		default:
		}
		select {
		case news <- p:
		default:
		}
	}
	done := make(chan outcome, 1)
	b.wg.Go(func() {
		v, result, err := work(life, tell)
		if err != nil && errors.Is(context.Cause(life), errLeft) { // or it had begun just then
			result, err = b.follow(b.ctx, j)
			if errors.Is(err, errLost) {
				err = errLeft
			}
		}
		j.ended(result, err)
		done <- outcome{v, err}
	})
	for {
		select {
		case p := <-news:
			progress(p)
		case o := <-done:
			select {
			case p := <-news:
				progress(p)
			default:
			}
			return o.value, o.err
		case <-ctx.Done():
			if !begun.Load() {
				j.stop(errLeft)
			}
			var none T
			return none, context.Cause(ctx)
		}
	}
}

// Move implements transport.Operations.
func (b *Keeper) Move(ctx context.Context, id replication.GroupID, r replication.MoveRequest, progress func(replication.MoveStatus)) (replication.PointID, error) {
	kind, detail := replication.JobRewind, fmt.Sprintf("the disks to point %d", r.To)
	if r.Advance {
		if kind = replication.JobAdvance; r.To == 0 {
			detail = "the disks to the latest point"
		}
	}
	j, life := b.begin(kind, id, r.To, detail)
	return apart(ctx, b, j, life, progress, func(ctx context.Context, tell func(replication.MoveStatus)) (replication.PointID, string, error) {
		head, err := b.engine.Move(ctx, id, r, func(m replication.MoveStatus) {
			j.tell(m.Phase, m.Done, m.Total, m.Left)
			tell(m)
		})
		return head, fmt.Sprintf("the disks stand at point %d", head), err
	})
}

// Commit implements transport.Operations.
func (b *Keeper) Commit(ctx context.Context, id replication.GroupID, r replication.CommitRequest, progress func(replication.CutoverStatus)) (replication.PointID, error) {
	detail := "at the last point"
	if r.Point != 0 {
		detail = fmt.Sprintf("at point %d", r.Point)
	}
	j, life := b.begin(replication.JobCommit, id, r.Point, detail)
	return b.cutOver(ctx, j, life, progress, func(ctx context.Context, tell func(replication.CutoverStatus)) (replication.PointID, error) {
		return b.engine.Commit(ctx, id, r, tell)
	}, "committed at point %d")
}

// Undo implements transport.Operations.
func (b *Keeper) Undo(ctx context.Context, id replication.GroupID, toOriginal bool, progress func(replication.CutoverStatus)) (replication.PointID, error) {
	detail := "the disks to where they were"
	if toOriginal {
		detail = "the disks to point 0"
	}
	j, life := b.begin(replication.JobUndo, id, 0, detail)
	return b.cutOver(ctx, j, life, progress, func(ctx context.Context, tell func(replication.CutoverStatus)) (replication.PointID, error) {
		return b.engine.Undo(ctx, id, toOriginal, tell)
	}, "undone: the disks stand at point %d")
}

func (b *Keeper) cutOver(ctx context.Context, j *job, life context.Context, progress func(replication.CutoverStatus), do func(context.Context, func(replication.CutoverStatus)) (replication.PointID, error), result string) (replication.PointID, error) {
	return apart(ctx, b, j, life, progress, func(ctx context.Context, tell func(replication.CutoverStatus)) (replication.PointID, string, error) {
		head, err := do(ctx, func(c replication.CutoverStatus) {
			j.tell(c.Doing, c.Done, c.Total, c.Left)
			tell(c)
		})
		return head, fmt.Sprintf(result, head), err
	})
}

// Verify implements transport.Operations. It ends with who asked, as ever.
func (b *Keeper) Verify(ctx context.Context, id replication.GroupID, point replication.PointID, progress func([]replication.Ledger)) (replication.PointID, replication.Verify, []replication.DiskID, error) {
	detail := "the last point"
	if point != 0 {
		detail = fmt.Sprintf("point %d", point)
	}
	j, life := b.begin(replication.JobVerify, id, point, detail)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(life, func() { stop(context.Cause(life)) })()
	p, v, differing, err := b.engine.Verify(ctx, id, point, func(disks []replication.Ledger) {
		var done, total int64
		for _, l := range disks {
			done, total = done+l.Done, total+l.Total
		}
		j.tell("comparing with the source", done, total, 0)
		progress(disks)
	})
	result := fmt.Sprintf("point %d is equal to the source", p)
	if !v.Equal {
		result = fmt.Sprintf("point %d DIFFERS from the source by %d bytes, in %v", p, v.Differs, differing)
	}
	ended := err
	if err != nil && ctx.Err() != nil && b.ctx.Err() == nil {
		ended = errCancelled
		if context.Cause(ctx) == errCancelled {
			err = &replication.Problem{Code: "cancelled", Message: "the verification was cancelled by failback jobs cancel", Remedy: "none needed"}
		}
	}
	j.ended(result, ended)
	return p, v, differing, err
}

// Reprotect implements transport.Operations. The job goes on until the first point is listed.
func (b *Keeper) Reprotect(ctx context.Context, planYAML []byte) (replication.GroupID, bool, error) {
	id, carriedOn, err := b.engine.Reprotect(ctx, planYAML)
	if err != nil || carriedOn {
		return id, carriedOn, err
	}
	j, life := b.begin(replication.JobReprotect, id, 0, "until the first point is listed")
	b.wg.Go(func() { j.ended(b.follow(life, j)) })
	return id, carriedOn, nil
}

// Resync implements transport.Operations. The job goes on until a point is listed that was made so.
func (b *Keeper) Resync(ctx context.Context, r replication.ResyncRequest) (replication.ResyncStatus, error) {
	s, err := b.engine.Resync(ctx, r)
	if err != nil {
		return s, err
	}
	detail := "whole disks are compared with their sources"
	if r.Overwrite {
		detail += ", and what others wrote is overwritten"
	}
	j, life := b.begin(replication.JobResync, r.Group, 0, detail)
	b.wg.Go(func() { j.ended(b.follow(life, j)) })
	return s, nil
}

// FinishCutover implements transport.Operations.
func (b *Keeper) FinishCutover(ctx context.Context, id replication.GroupID) (replication.PointID, error) {
	j, _ := b.begin(replication.JobFinish, id, 0, "the points go, the disks stay")
	head, err := b.engine.FinishCutover(ctx, id)
	j.ended("the group has ended", err)
	return head, err
}

// Unprotect implements transport.Operations.
func (b *Keeper) Unprotect(ctx context.Context, id replication.GroupID, keepJournal, giveUpOriginal bool) (replication.PointID, string, error) {
	j, _ := b.begin(replication.JobUnprotect, id, 0, "replication ends, the disks stay")
	head, journal, err := b.engine.Unprotect(ctx, id, keepJournal, giveUpOriginal)
	j.ended("the group has ended", err)
	return head, journal, err
}
