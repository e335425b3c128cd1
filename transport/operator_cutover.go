package transport

import (
	"context"
	"time"

	"google.golang.org/grpc"

	failbackpb "failback/proto"
	"failback/replication"
)

// This file has the calls about a planned failback: both sides, and their messages.

func (s *operatorServer) Commit(r *failbackpb.CommitRequest, out grpc.ServerStreamingServer[failbackpb.CutoverReply]) error {
	told := newTeller(out.Send)
	var last replication.CutoverStatus
	head, err := s.ops.Commit(out.Context(), replication.GroupID(r.Group), commitFromWire(r), func(c replication.CutoverStatus) {
		last = c
		told.tell(func() *failbackpb.CutoverReply { return &failbackpb.CutoverReply{Progress: cutoverToWire(c)} })
	})
	if err != nil {
		return StatusOf(err)
	}
	return out.Send(&failbackpb.CutoverReply{Progress: cutoverToWire(last), Head: uint64(head), Done: true})
}

func (s *operatorServer) Forecast(ctx context.Context, r *failbackpb.CommitRequest) (*failbackpb.CutoverForecast, error) {
	f, err := s.ops.Forecast(ctx, replication.GroupID(r.Group), commitFromWire(r))
	if err != nil {
		return nil, StatusOf(err)
	}
	return forecastToWire(f), nil
}

func (s *operatorServer) Undo(r *failbackpb.UndoRequest, out grpc.ServerStreamingServer[failbackpb.CutoverReply]) error {
	told := newTeller(out.Send)
	head, err := s.ops.Undo(out.Context(), replication.GroupID(r.Group), r.ToOriginal, func(c replication.CutoverStatus) {
		told.tell(func() *failbackpb.CutoverReply { return &failbackpb.CutoverReply{Progress: cutoverToWire(c)} })
	})
	if err != nil {
		return StatusOf(err)
	}
	return out.Send(&failbackpb.CutoverReply{Head: uint64(head), Done: true})
}

func (s *operatorServer) FinishCutover(ctx context.Context, r *failbackpb.FinishCutoverRequest) (*failbackpb.FinishCutoverReply, error) {
	head, err := s.ops.FinishCutover(ctx, replication.GroupID(r.Group))
	if err != nil {
		return nil, StatusOf(err)
	}
	if head == replication.NoPoint {
		return &failbackpb.FinishCutoverReply{}, nil
	}
	return &failbackpb.FinishCutoverReply{Head: uint64(head), AtPoint: true}, nil
}

// Commit gives the disks to their machine, and returns when the group is committed. Progress, if not nil, is called before it returns.
func (c *OperatorClient) Commit(ctx context.Context, group replication.GroupID, r replication.CommitRequest, progress func(replication.CutoverStatus)) (replication.PointID, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := c.rpc.Commit(ctx, commitToWire(group, r))
	if err != nil {
		return 0, c.problem(err)
	}
	return c.cutOver(in, progress)
}

// Forecast tells what a commit would take that is begun now.
func (c *OperatorClient) Forecast(ctx context.Context, group replication.GroupID, r replication.CommitRequest) (replication.Forecast, error) {
	f, err := c.rpc.Forecast(ctx, commitToWire(group, r))
	if err != nil {
		return replication.Forecast{}, c.problem(err)
	}
	return forecastFromWire(f), nil
}

// Undo takes a commit back. Progress as with Commit.
func (c *OperatorClient) Undo(ctx context.Context, group replication.GroupID, toOriginal bool, progress func(replication.CutoverStatus)) (replication.PointID, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := c.rpc.Undo(ctx, &failbackpb.UndoRequest{Group: string(group), ToOriginal: toOriginal})
	if err != nil {
		return 0, c.problem(err)
	}
	return c.cutOver(in, progress)
}

// FinishCutover ends a group that is committed. head is the point that its disks showed when they were given; replication.NoPoint: not known any more.
func (c *OperatorClient) FinishCutover(ctx context.Context, group replication.GroupID) (head replication.PointID, err error) {
	r, err := c.rpc.FinishCutover(ctx, &failbackpb.FinishCutoverRequest{Group: string(group)})
	if err != nil {
		return 0, c.problem(err)
	}
	if !r.AtPoint {
		return replication.NoPoint, nil
	}
	return replication.PointID(r.Head), nil
}

// cutOver follows a commit or an undo to its end.
func (c *OperatorClient) cutOver(in grpc.ServerStreamingClient[failbackpb.CutoverReply], progress func(replication.CutoverStatus)) (replication.PointID, error) {
	for {
		r, err := in.Recv()
		if err != nil {
			return 0, c.problem(endedEarly(err))
		}
		if r.Progress != nil && progress != nil {
			progress(cutoverFromWire(r.Progress))
		}
		if r.Done {
			return replication.PointID(r.Head), nil
		}
	}
}

func commitToWire(group replication.GroupID, r replication.CommitRequest) *failbackpb.CommitRequest {
	return &failbackpb.CommitRequest{Group: string(group), Point: uint64(r.Point), StopCommand: r.Stop, AfterCommand: r.After, Verify: r.Verify, NotBeforeUnixNanos: nanos(r.NotBefore)}
}

func commitFromWire(r *failbackpb.CommitRequest) replication.CommitRequest {
	return replication.CommitRequest{Point: replication.PointID(r.Point), Stop: r.StopCommand, After: r.AfterCommand, Verify: r.Verify, NotBefore: timeOf(r.NotBeforeUnixNanos)}
}

func cutoverToWire(c replication.CutoverStatus) *failbackpb.CutoverStatus {
	return &failbackpb.CutoverStatus{
		Step: c.Step, SinceUnixNanos: nanos(c.Since), Point: uint64(c.Point), From: uint64(c.From), Held: c.Held, NotBeforeUnixNanos: nanos(c.NotBefore), Doing: utf8(c.Doing), Done: c.Done, Total: c.Total, LeftNanos: int64(c.Left),
		Next: c.Next, StopCommand: utf8(c.Stop), AfterCommand: utf8(c.After), AfterEnded: utf8(c.Ended), DownNanos: int64(c.Down),
	}
}

func cutoverFromWire(c *failbackpb.CutoverStatus) replication.CutoverStatus {
	return replication.CutoverStatus{
		Step: c.Step, Since: timeOf(c.SinceUnixNanos), Point: replication.PointID(c.Point), From: replication.PointID(c.From), Held: c.Held, NotBefore: timeOf(c.NotBeforeUnixNanos), Doing: c.Doing, Done: c.Done, Total: c.Total, Left: time.Duration(c.LeftNanos),
		Next: c.Next, Stop: c.StopCommand, After: c.AfterCommand, Ended: c.AfterEnded, Down: time.Duration(c.DownNanos),
	}
}

func forecastToWire(f replication.Forecast) *failbackpb.CutoverForecast {
	w := &failbackpb.CutoverForecast{Point: uint64(f.Point), CutUnixNanos: nanos(f.Cut), AheadNanos: int64(f.Ahead), DownNanos: int64(f.Down), Bytes: f.Bytes, Churn: f.Churn, Cycles: int64(f.Cycles), Doubts: f.Doubts}
	for _, p := range f.Parts {
		w.Parts = append(w.Parts, &failbackpb.ForecastPart{What: p.What, Down: p.Down, TakesNanos: int64(p.Takes), Bytes: p.Bytes, How: p.How})
	}
	return w
}

func forecastFromWire(w *failbackpb.CutoverForecast) replication.Forecast {
	f := replication.Forecast{Point: replication.PointID(w.Point), Cut: timeOf(w.CutUnixNanos), Ahead: time.Duration(w.AheadNanos), Down: time.Duration(w.DownNanos), Bytes: w.Bytes, Churn: w.Churn, Cycles: int(w.Cycles),
		Parts: []replication.ForecastPart{}, Doubts: append([]string{}, w.Doubts...)}
	for _, p := range w.Parts {
		f.Parts = append(f.Parts, replication.ForecastPart{What: p.What, Down: p.Down, Takes: time.Duration(p.TakesNanos), Bytes: p.Bytes, How: p.How})
	}
	return f
}
