package transport

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	failbackpb "failback/proto"
	"failback/replication"
)

// This file has the calls about drills: both sides, and their messages.

func (s *operatorServer) Drill(r *failbackpb.DrillRequest, out grpc.ServerStreamingServer[failbackpb.DrillReply]) error {
	var last replication.DrillStatus
	why, err := s.ops.Drill(out.Context(), replication.GroupID(r.Group), drillRequestFromWire(r), func(d replication.DrillStatus) {
		last = d
		_ = out.Send(&failbackpb.DrillReply{Drill: drillToWire(d)}) // a caller who has gone ends the drill through its context
	})
	if err != nil || r.Detach {
		return StatusOf(err)
	}
	return out.Send(&failbackpb.DrillReply{Drill: drillToWire(last), Ended: true, Why: why})
}

func (s *operatorServer) EndDrill(ctx context.Context, r *failbackpb.EndDrillRequest) (*failbackpb.EndDrillReply, error) {
	group, d, err := s.ops.EndDrill(ctx, r.Mountpoint, r.Force)
	if err != nil {
		return nil, StatusOf(err)
	}
	return &failbackpb.EndDrillReply{Group: string(group), Drill: drillToWire(d)}, nil
}

func (s *operatorServer) RecordDrill(ctx context.Context, r *failbackpb.RecordDrillRequest) (*failbackpb.RecordDrillReply, error) {
	d := drilledFromWire(r.Drilled)
	d, err := s.ops.RecordDrill(ctx, replication.GroupID(r.Group), replication.PointID(r.Point), d.Outcome, d.Note)
	if err != nil {
		return nil, StatusOf(err)
	}
	return &failbackpb.RecordDrillReply{Drilled: drilledToWire(d)}, nil
}

// Drill mounts the disks of a point on the master target's machine, and calls started. Unless it is detached, it returns when the drill has ended, and says why; the end
// of ctx ends the drill.
func (c *OperatorClient) Drill(ctx context.Context, group replication.GroupID, r replication.DrillRequest, started func(replication.DrillStatus)) (why string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := c.rpc.Drill(ctx, drillRequestToWire(group, r))
	if err != nil {
		return "", c.problem(err)
	}
	first, err := in.Recv()
	if err != nil {
		return "", c.problem(endedEarly(err))
	}
	if first.Ended || first.Drill == nil {
		return "", c.problem(status.Error(codes.Internal, "the master target did not say what it mounted"))
	}
	started(drillFromWire(first.Drill))
	end, err := in.Recv()
	switch {
	case r.Detach && errors.Is(err, io.EOF):
		return "", nil
	case err != nil:
		return "", c.problem(endedEarly(err))
	}
	return end.Why, nil
}

// EndDrill ends the drill that is mounted there.
func (c *OperatorClient) EndDrill(ctx context.Context, mountpoint string, force bool) (replication.GroupID, replication.DrillStatus, error) {
	r, err := c.rpc.EndDrill(ctx, &failbackpb.EndDrillRequest{Mountpoint: mountpoint, Force: force})
	if err != nil {
		return "", replication.DrillStatus{}, c.problem(err)
	}
	return replication.GroupID(r.Group), drillFromWire(r.Drill), nil
}

// RecordDrill records on a point what a drill of it came to.
func (c *OperatorClient) RecordDrill(ctx context.Context, group replication.GroupID, point replication.PointID, outcome replication.DrillOutcome, note string) (replication.Drilled, error) {
	d := drilledToWire(replication.Drilled{Outcome: outcome, Note: note})
	r, err := c.rpc.RecordDrill(ctx, &failbackpb.RecordDrillRequest{Group: string(group), Point: uint64(point), Drilled: d})
	if err != nil {
		return replication.Drilled{}, c.problem(err)
	}
	return drilledFromWire(r.Drilled), nil
}

func drillRequestToWire(group replication.GroupID, r replication.DrillRequest) *failbackpb.DrillRequest {
	return &failbackpb.DrillRequest{
		Group: string(group), Point: uint64(r.Point), Mountpoint: r.Mountpoint, Writable: r.Writable, Scratch: r.Scratch, ScratchBytes: r.ScratchSize,
		ForNanos: int64(r.For), Detach: r.Detach,
	}
}

func drillRequestFromWire(r *failbackpb.DrillRequest) replication.DrillRequest {
	return replication.DrillRequest{
		Point: replication.PointID(r.Point), Mountpoint: r.Mountpoint, Writable: r.Writable, Scratch: r.Scratch, ScratchSize: r.ScratchBytes,
		For: time.Duration(r.ForNanos), Detach: r.Detach,
	}
}

func drillToWire(d replication.DrillStatus) *failbackpb.DrillStatus {
	r := &failbackpb.DrillStatus{
		Point: uint64(d.Point), Mountpoint: d.Mountpoint, SinceUnixNanos: nanos(d.Since), UntilUnixNanos: nanos(d.Until), Writable: d.Writable,
		Scratch: d.Scratch.Dir, ScratchUsed: d.Scratch.Used, ScratchLimit: d.Scratch.Limit, Errors: d.Errors, LastError: d.LastError, Without: unbornToWire(d.Without),
	}
	for _, f := range d.Files {
		r.Files = append(r.Files, &failbackpb.DrillFile{Disk: string(f.Disk), Path: f.Path, Size: f.Size})
	}
	return r
}

func drillFromWire(r *failbackpb.DrillStatus) replication.DrillStatus {
	d := replication.DrillStatus{
		Point: replication.PointID(r.GetPoint()), Mountpoint: r.GetMountpoint(), Files: []replication.DrillFile{}, Since: timeOf(r.GetSinceUnixNanos()),
		Until: timeOf(r.GetUntilUnixNanos()), Writable: r.GetWritable(),
		Scratch: replication.DrillScratch{Dir: r.GetScratch(), Used: r.GetScratchUsed(), Limit: r.GetScratchLimit()}, Errors: r.GetErrors(), LastError: r.GetLastError(),
	}
	d.Without = unbornFromWire(r.GetWithout())
	for _, f := range r.GetFiles() {
		d.Files = append(d.Files, replication.DrillFile{Disk: replication.DiskID(f.Disk), Path: f.Path, Size: f.Size})
	}
	return d
}

func drilledToWire(d replication.Drilled) *failbackpb.Drilled {
	return &failbackpb.Drilled{Outcome: string(d.Outcome), UnixNanos: nanos(d.Time), Note: d.Note}
}

func drilledFromWire(r *failbackpb.Drilled) replication.Drilled {
	return replication.Drilled{Outcome: replication.DrillOutcome(r.GetOutcome()), Time: timeOf(r.GetUnixNanos()), Note: r.GetNote()}
}
