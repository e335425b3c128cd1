package transport

import (
	"context"

	failbackpb "failback/proto"
	"failback/replication"
)

// This file has the calls about pins: both sides, and their messages.

func (s *operatorServer) Pin(ctx context.Context, r *failbackpb.PinRequest) (*failbackpb.PinReply, error) {
	p, err := s.ops.Pin(ctx, replication.GroupID(r.Group), pinFromWire(r.Pin))
	if err != nil {
		return nil, StatusOf(err)
	}
	return &failbackpb.PinReply{Point: pointToWire(p, 0)}, nil
}

func (s *operatorServer) Unpin(ctx context.Context, r *failbackpb.UnpinRequest) (*failbackpb.PinReply, error) {
	p, err := s.ops.Unpin(ctx, replication.GroupID(r.Group), replication.PointID(r.Point))
	if err != nil {
		return nil, StatusOf(err)
	}
	return &failbackpb.PinReply{Point: pointToWire(p, 0)}, nil
}

// Pin keeps a point from being dropped, and returns it as it is then. A pin that is there already is replaced.
func (c *OperatorClient) Pin(ctx context.Context, group replication.GroupID, pin replication.Pin) (replication.Point, error) {
	return c.pinned(c.rpc.Pin(ctx, &failbackpb.PinRequest{Group: string(group), Pin: pinToWire(pin)}))
}

// Unpin takes a pin back, and returns the point as it is then.
func (c *OperatorClient) Unpin(ctx context.Context, group replication.GroupID, point replication.PointID) (replication.Point, error) {
	return c.pinned(c.rpc.Unpin(ctx, &failbackpb.UnpinRequest{Group: string(group), Point: uint64(point)}))
}

func (c *OperatorClient) pinned(r *failbackpb.PinReply, err error) (replication.Point, error) {
	if err != nil {
		return replication.Point{}, c.problem(err)
	}
	return pointFromWire(r.Point), nil
}

func pinToWire(p replication.Pin) *failbackpb.Pin {
	return &failbackpb.Pin{Point: uint64(p.Point), UntilUnixNanos: nanos(p.Until), Note: p.Note}
}

func pinFromWire(p *failbackpb.Pin) replication.Pin {
	return replication.Pin{Point: replication.PointID(p.GetPoint()), Until: timeOf(p.GetUntilUnixNanos()), Note: p.GetNote()}
}
