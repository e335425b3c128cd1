package transport

import (
	"context"

	failbackpb "failback/proto"
	"failback/replication"
)

// This file has the call about resyncs: both sides, and its messages.

func (s *operatorServer) Resync(ctx context.Context, r *failbackpb.ResyncRequest) (*failbackpb.ResyncReply, error) {
	x, err := s.ops.Resync(ctx, replication.ResyncRequest{Group: replication.GroupID(r.Group), Overwrite: r.Overwrite})
	if err != nil {
		return nil, StatusOf(err)
	}
	return &failbackpb.ResyncReply{Resync: resyncToWire(&x)}, nil
}

// Resync has a group's disks compared with their sources, whole, now, and returns why that is done.
func (c *OperatorClient) Resync(ctx context.Context, r replication.ResyncRequest) (s replication.ResyncStatus, err error) {
	x, err := c.rpc.Resync(ctx, &failbackpb.ResyncRequest{Group: string(r.Group), Overwrite: r.Overwrite})
	if err != nil {
		return s, c.problem(err)
	}
	if got := resyncFromWire(x.Resync); got != nil {
		s = *got
	}
	return s, nil
}

func resyncToWire(s *replication.ResyncStatus) *failbackpb.ResyncStatus {
	if s == nil {
		return nil
	}
	return &failbackpb.ResyncStatus{Why: s.Why, SinceUnixNanos: nanos(s.Since), OpensUnixNanos: nanos(s.Opens)}
}

func resyncFromWire(s *failbackpb.ResyncStatus) *replication.ResyncStatus {
	if s == nil {
		return nil
	}
	return &replication.ResyncStatus{Why: s.Why, Since: timeOf(s.SinceUnixNanos), Opens: timeOf(s.OpensUnixNanos)}
}
