package transport

import (
	"context"
	"errors"

	"google.golang.org/grpc/status"

	failbackpb "failback/proto"
	"failback/replication"
)

// This file has the call about resyncs: both sides, and its messages.

func (s *operatorServer) Resync(ctx context.Context, r *failbackpb.ResyncRequest) (*failbackpb.ResyncReply, error) {
	x, err := s.ops.Resync(ctx, replication.ResyncRequest{Group: replication.GroupID(r.Group), Overwrite: r.Overwrite, Seen: r.Seen})
	if err != nil {
		return nil, overwritesToWire(err)
	}
	return &failbackpb.ResyncReply{Resync: resyncToWire(&x)}, nil
}

// Resync has a group's disks compared with their sources, whole, now, and returns why that is done.
func (c *OperatorClient) Resync(ctx context.Context, r replication.ResyncRequest) (s replication.ResyncStatus, err error) {
	x, err := c.rpc.Resync(ctx, &failbackpb.ResyncRequest{Group: string(r.Group), Overwrite: r.Overwrite, Seen: r.Seen})
	if err != nil {
		return s, overwritesFromWire(err, c.problem(err))
	}
	if got := resyncFromWire(x.Resync); got != nil {
		s = *got
	}
	return s, nil
}

// overwritesToWire makes a status of an error, with what it asks, if it does.
func overwritesToWire(err error) error {
	var o *replication.ResyncOverwrites
	if s, ok := status.FromError(StatusOf(err)); ok && errors.As(err, &o) {
		if with, err := s.WithDetails(&failbackpb.ResyncOverwrites{Seen: o.Seen}); err == nil {
			return with.Err()
		}
	}
	return StatusOf(err)
}

// overwritesFromWire adds to a problem what the status that it came with asks.
func overwritesFromWire(err, problem error) error {
	s, _ := status.FromError(err)
	for _, d := range s.Details() {
		if o, ok := d.(*failbackpb.ResyncOverwrites); ok {
			return &replication.ResyncOverwrites{Problem: replication.AsProblem(problem), Seen: o.Seen}
		}
	}
	return problem
}

func resyncToWire(s *replication.ResyncStatus) *failbackpb.ResyncStatus {
	if s == nil {
		return nil
	}
	return &failbackpb.ResyncStatus{Why: s.Why, SinceUnixNanos: nanos(s.Since), OpensUnixNanos: nanos(s.Opens), Asked: s.Asked}
}

func resyncFromWire(s *failbackpb.ResyncStatus) *replication.ResyncStatus {
	if s == nil {
		return nil
	}
	return &replication.ResyncStatus{Why: s.Why, Since: timeOf(s.SinceUnixNanos), Opens: timeOf(s.OpensUnixNanos), Asked: s.Asked}
}
