package transport

import (
	"context"
	"time"

	"google.golang.org/grpc"

	failbackpb "failback/proto"
	"failback/replication"
)

// This file has the calls about moves: both sides, and their messages.

func (s *operatorServer) Move(r *failbackpb.MoveRequest, out grpc.ServerStreamingServer[failbackpb.MoveReply]) error {
	told := newTeller(out.Send)
	head, err := s.ops.Move(out.Context(), replication.GroupID(r.Group), moveRequestFromWire(r), func(m replication.MoveStatus) {
		told.tell(func() *failbackpb.MoveReply { return &failbackpb.MoveReply{Progress: moveToWire(m)} })
	})
	if err != nil {
		return StatusOf(err)
	}
	return out.Send(&failbackpb.MoveReply{Head: uint64(head), Done: true})
}

func (s *operatorServer) PlanMove(ctx context.Context, r *failbackpb.MoveRequest) (*failbackpb.MovePlan, error) {
	p, err := s.ops.PlanMove(ctx, replication.GroupID(r.Group), moveRequestFromWire(r))
	if err != nil {
		return nil, StatusOf(err)
	}
	return movePlanToWire(p), nil
}

func (s *operatorServer) CancelMove(r *failbackpb.CancelMoveRequest, out grpc.ServerStreamingServer[failbackpb.MoveReply]) error {
	told := newTeller(out.Send)
	head, err := s.ops.CancelMove(out.Context(), replication.GroupID(r.Group), r.Finish, func(m replication.MoveStatus) {
		told.tell(func() *failbackpb.MoveReply { return &failbackpb.MoveReply{Progress: moveToWire(m)} })
	})
	if err != nil {
		return StatusOf(err)
	}
	return out.Send(&failbackpb.MoveReply{Head: uint64(head), Done: true})
}

// Move moves the disks and returns when they stand at the point. Progress, if not nil, is called before it returns.
func (c *OperatorClient) Move(ctx context.Context, group replication.GroupID, r replication.MoveRequest, progress func(replication.MoveStatus)) (replication.PointID, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := c.rpc.Move(ctx, moveRequestToWire(group, r))
	if err != nil {
		return 0, c.problem(err)
	}
	return c.moved(in, progress)
}

// PlanMove tells what a move would take, without moving anything.
func (c *OperatorClient) PlanMove(ctx context.Context, group replication.GroupID, r replication.MoveRequest) (replication.MovePlan, error) {
	p, err := c.rpc.PlanMove(ctx, moveRequestToWire(group, r))
	if err != nil {
		return replication.MovePlan{}, c.problem(err)
	}
	return movePlanFromWire(p), nil
}

// CancelMove takes the move that is under way, or was interrupted, back; or finishes it. Progress as with Move.
func (c *OperatorClient) CancelMove(ctx context.Context, group replication.GroupID, finish bool, progress func(replication.MoveStatus)) (replication.PointID, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := c.rpc.CancelMove(ctx, &failbackpb.CancelMoveRequest{Group: string(group), Finish: finish})
	if err != nil {
		return 0, c.problem(err)
	}
	return c.moved(in, progress)
}

// moved follows a move to its end.
func (c *OperatorClient) moved(in grpc.ServerStreamingClient[failbackpb.MoveReply], progress func(replication.MoveStatus)) (replication.PointID, error) {
	for {
		r, err := in.Recv()
		if err != nil {
			return 0, c.problem(endedEarly(err))
		}
		if r.Done {
			return replication.PointID(r.Head), nil
		}
		if r.Progress != nil && progress != nil {
			progress(moveFromWire(r.Progress))
		}
	}
}

func moveRequestToWire(group replication.GroupID, r replication.MoveRequest) *failbackpb.MoveRequest {
	return &failbackpb.MoveRequest{Group: string(group), Point: uint64(r.To), Advance: r.Advance, GiveUp: pointsToWire(r.GiveUp), GiveUpAny: r.GiveUpAny}
}

func moveRequestFromWire(r *failbackpb.MoveRequest) replication.MoveRequest {
	return replication.MoveRequest{To: replication.PointID(r.Point), Advance: r.Advance, GiveUp: pointsFromWire(r.GiveUp), GiveUpAny: r.GiveUpAny}
}

func moveToWire(m replication.MoveStatus) *failbackpb.MoveStatus {
	return &failbackpb.MoveStatus{From: uint64(m.From), To: uint64(m.To), Phase: m.Phase, Done: m.Done, Total: m.Total, Rate: m.Rate, LeftNanos: int64(m.Left)}
}

func moveFromWire(m *failbackpb.MoveStatus) replication.MoveStatus {
	return replication.MoveStatus{
		From: replication.PointID(m.From), To: replication.PointID(m.To), Phase: m.Phase, Done: m.Done, Total: m.Total, Rate: m.Rate, Left: time.Duration(m.LeftNanos),
	}
}

func movePlanToWire(p replication.MovePlan) *failbackpb.MovePlan {
	return &failbackpb.MovePlan{
		From: uint64(p.From), To: uint64(p.To), Write: p.Write, Save: p.Save, Need: p.Need, Free: p.Free, Fits: p.Fits, Compact: p.Compact, Spares: p.Spares,
		GiveUp: pointsToWire(p.GiveUp), Lacks: p.Lacks, Pinned: pointsToWire(p.Pinned), InUse: pointsToWire(p.InUse), Why: p.Why, TakesNanos: int64(p.Takes), Unborn: unbornToWire(p.Unborn),
	}
}

func movePlanFromWire(p *failbackpb.MovePlan) replication.MovePlan {
	return replication.MovePlan{
		From: replication.PointID(p.From), To: replication.PointID(p.To), Write: p.Write, Save: p.Save, Need: p.Need, Free: p.Free, Fits: p.Fits, Compact: p.Compact, Spares: p.Spares,
		GiveUp: pointsFromWire(p.GiveUp), Lacks: p.Lacks, Pinned: pointsFromWire(p.Pinned), InUse: pointsFromWire(p.InUse), Why: p.Why, Takes: time.Duration(p.TakesNanos), Unborn: unbornFromWire(p.Unborn),
	}
}

func pointsToWire(ids []replication.PointID) (out []uint64) {
	for _, id := range ids {
		out = append(out, uint64(id))
	}
	return out
}

func pointsFromWire(ids []uint64) []replication.PointID {
	out := []replication.PointID{}
	for _, id := range ids {
		out = append(out, replication.PointID(id))
	}
	return out
}
