package transport

import (
	"context"
	"io"

	"google.golang.org/grpc"

	failbackpb "failback/proto"
	"failback/replication"
)

// Events tells what happened, oldest first, until all is told; with r.Follow, until ctx ends or tell returns an error.
func (c *OperatorClient) Events(ctx context.Context, r replication.EventsRequest, tell func(replication.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.Events(ctx, &failbackpb.EventsRequest{Group: string(r.Group), SinceUnixNanos: nanos(r.Since), After: r.After, Follow: r.Follow})
	if err != nil {
		return c.problem(err)
	}
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return c.problem(err)
		}
		if err := tell(eventFromWire(m.GetEvent())); err != nil {
			return err
		}
	}
}

func (s *operatorServer) Events(r *failbackpb.EventsRequest, out grpc.ServerStreamingServer[failbackpb.EventsReply]) error {
	ask := replication.EventsRequest{Group: replication.GroupID(r.Group), Since: timeOf(r.SinceUnixNanos), After: r.After, Follow: r.Follow}
	err := s.ops.Events(out.Context(), ask, func(e replication.Event) error {
		return out.Send(&failbackpb.EventsReply{Event: eventToWire(e)})
	})
	if err != nil {
		return StatusOf(err)
	}
	return nil
}

func eventToWire(e replication.Event) *failbackpb.Event {
	return &failbackpb.Event{
		No: e.No, UnixNanos: nanos(e.Time), Kind: string(e.Kind), Group: string(e.Group), Subject: utf8(e.Subject), Level: string(e.Level), Message: utf8(e.Message), Remedy: utf8(e.Remedy),
		Code: e.Code, Rule: e.Rule, Point: uint64(e.Point),
	}
}

func eventFromWire(r *failbackpb.Event) replication.Event {
	return replication.Event{
		No: r.GetNo(), Time: timeOf(r.GetUnixNanos()), Kind: replication.EventKind(r.GetKind()), Group: replication.GroupID(r.GetGroup()), Subject: r.GetSubject(), Level: replication.Level(r.GetLevel()),
		Message: r.GetMessage(), Remedy: r.GetRemedy(), Code: r.GetCode(), Rule: r.GetRule(), Point: replication.PointID(r.GetPoint()),
	}
}

func alertsToWire(alerts []replication.Alert) (out []*failbackpb.Alert) {
	for _, a := range alerts {
		out = append(out, &failbackpb.Alert{
			Rule: a.Rule, Code: a.Code, Group: string(a.Group), Subject: utf8(a.Subject), Level: string(a.Level), RaisedUnixNanos: nanos(a.Raised), Message: utf8(a.Message), Remedy: utf8(a.Remedy),
		})
	}
	return out
}

func alertsFromWire(alerts []*failbackpb.Alert) []replication.Alert {
	out := []replication.Alert{}
	for _, a := range alerts {
		out = append(out, replication.Alert{
			Rule: a.Rule, Code: a.Code, Group: replication.GroupID(a.Group), Subject: a.Subject, Level: replication.Level(a.Level), Raised: timeOf(a.RaisedUnixNanos), Message: a.Message, Remedy: a.Remedy,
		})
	}
	return out
}

func stagesToWire(stages []replication.StageShare) (out []*failbackpb.StageShare) {
	for _, s := range stages {
		out = append(out, &failbackpb.StageShare{Stage: s.Stage, Share: s.Share})
	}
	return out
}

func stagesFromWire(stages []*failbackpb.StageShare) []replication.StageShare {
	out := []replication.StageShare{}
	for _, s := range stages {
		out = append(out, replication.StageShare{Stage: s.Stage, Share: s.Share})
	}
	return out
}

func toldFigures(f *replication.Figures) *failbackpb.Figures {
	if f == nil {
		return nil
	}
	return figuresToWire(*f)
}

func toldWhen(f *replication.Figures) int64 {
	if f == nil {
		return 0
	}
	return nanos(f.Time)
}
