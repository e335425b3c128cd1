package transport

import (
	"context"
	"time"

	failbackpb "failback/proto"
	"failback/replication"
)

// This file has the calls about jobs: both sides, and their messages.

func (s *operatorServer) Jobs(ctx context.Context, r *failbackpb.JobsRequest) (*failbackpb.JobsReply, error) {
	jobs, err := s.ops.Jobs(ctx, replication.GroupID(r.Group))
	if err != nil {
		return nil, StatusOf(err)
	}
	out := &failbackpb.JobsReply{}
	for _, j := range jobs {
		out.Jobs = append(out.Jobs, jobToWire(j))
	}
	return out, nil
}

func (s *operatorServer) CancelJob(ctx context.Context, r *failbackpb.CancelJobRequest) (*failbackpb.CancelJobReply, error) {
	if err := s.ops.CancelJob(ctx, r.Id); err != nil {
		return nil, StatusOf(err)
	}
	return &failbackpb.CancelJobReply{}, nil
}

// Jobs returns what operators asked for, of a group or, for "", of all; the earliest first.
func (c *OperatorClient) Jobs(ctx context.Context, group replication.GroupID) ([]replication.Job, error) {
	r, err := c.rpc.Jobs(ctx, &failbackpb.JobsRequest{Group: string(group)})
	if err != nil {
		return nil, c.problem(err)
	}
	jobs := []replication.Job{}
	for _, j := range r.Jobs {
		jobs = append(jobs, jobFromWire(j))
	}
	return jobs, nil
}

// CancelJob takes back what an operator asked for, where that can be.
func (c *OperatorClient) CancelJob(ctx context.Context, id uint64) error {
	if _, err := c.rpc.CancelJob(ctx, &failbackpb.CancelJobRequest{Id: id}); err != nil {
		return c.problem(err)
	}
	return nil
}

func jobToWire(j replication.Job) *failbackpb.Job {
	return &failbackpb.Job{
		Id: j.ID, Kind: string(j.Kind), Group: string(j.Group), Point: uint64(j.Point), Detail: j.Detail, State: string(j.State), BeganUnixNanos: nanos(j.Began), EndedUnixNanos: nanos(j.Ended), Resumed: j.Resumed,
		Doing: utf8(j.Doing), Done: j.Done, Total: j.Total, LeftNanos: int64(j.Left), Result: utf8(j.Result), Problem: problemToWire(j.Problem),
	}
}

func jobFromWire(j *failbackpb.Job) replication.Job {
	return replication.Job{
		ID: j.Id, Kind: replication.JobKind(j.Kind), Group: replication.GroupID(j.Group), Point: replication.PointID(j.Point), Detail: j.Detail, State: replication.JobState(j.State), Began: timeOf(j.BeganUnixNanos), Ended: timeOf(j.EndedUnixNanos),
		Resumed: j.Resumed, Doing: j.Doing, Done: j.Done, Total: j.Total, Left: time.Duration(j.LeftNanos), Result: j.Result, Problem: problemFromWire(j.Problem),
	}
}
