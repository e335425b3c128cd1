package transport

import (
	"context"

	failbackpb "failback/proto"
	"failback/replication"
)

func (s *operatorServer) Apply(ctx context.Context, r *failbackpb.ApplyRequest) (*failbackpb.ApplyReply, error) {
	if err := planFits(&failbackpb.PlanRequest{Yaml: r.PlanYaml}); err != nil {
		return nil, StatusOf(err)
	}
	a, err := s.ops.Apply(ctx, replication.ApplyRequest{Plan: r.PlanYaml, Group: replication.GroupID(r.Group), MoveTo: r.MoveTo, From: r.From, DryRun: r.DryRun})
	if err != nil {
		return nil, StatusOf(err)
	}
	return appliedToWire(a), nil
}

// Apply changes the plan of a group that is protected, or has another process server read it, or tells what that would do.
func (c *OperatorClient) Apply(ctx context.Context, r replication.ApplyRequest) (replication.Applied, error) {
	a, err := c.rpc.Apply(ctx, &failbackpb.ApplyRequest{PlanYaml: r.Plan, Group: string(r.Group), MoveTo: r.MoveTo, From: r.From, DryRun: r.DryRun})
	if err != nil {
		return replication.Applied{}, c.problem(err)
	}
	return appliedFromWire(a), nil
}

func appliedToWire(a replication.Applied) *failbackpb.ApplyReply {
	r := &failbackpb.ApplyReply{Group: string(a.Group), From: a.From, Applied: a.Applied}
	for _, c := range a.Changes {
		r.Changes = append(r.Changes, &failbackpb.PlanChange{Subject: c.Subject, Key: c.Key, Was: utf8(c.Was), Now: utf8(c.Now), Effect: utf8(c.Effect), Remedy: utf8(c.Remedy), Refused: c.Refused})
	}
	for _, f := range a.Findings {
		r.Findings = append(r.Findings, findingToWire(f))
	}
	return r
}

func appliedFromWire(r *failbackpb.ApplyReply) replication.Applied {
	a := replication.Applied{Group: replication.GroupID(r.Group), From: r.From, Applied: r.Applied, Changes: []replication.PlanChange{}, Findings: []replication.Finding{}}
	for _, c := range r.Changes {
		a.Changes = append(a.Changes, replication.PlanChange{Subject: c.Subject, Key: c.Key, Was: c.Was, Now: c.Now, Effect: c.Effect, Remedy: c.Remedy, Refused: c.Refused})
	}
	for _, f := range r.Findings {
		a.Findings = append(a.Findings, findingFromWire(f))
	}
	return a
}

func unbornToWire(all []replication.UnbornDisk) (out []*failbackpb.UnbornDisk) {
	for _, u := range all {
		out = append(out, &failbackpb.UnbornDisk{Disk: string(u.Disk), Joined: uint64(u.Joined), Left: uint64(u.Left)})
	}
	return out
}

func unbornFromWire(all []*failbackpb.UnbornDisk) (out []replication.UnbornDisk) {
	for _, u := range all {
		out = append(out, replication.UnbornDisk{Disk: replication.DiskID(u.Disk), Joined: replication.PointID(u.Joined), Left: replication.PointID(u.Left)})
	}
	return out
}

func departedToWire(all []replication.DepartedDisk) (out []*failbackpb.DepartedDisk) {
	for _, d := range all {
		out = append(out, &failbackpb.DepartedDisk{Disk: string(d.Disk), Joined: uint64(d.Joined), Last: uint64(d.Last), Head: uint64(d.Head), Target: d.Target, LeftUnixNanos: nanos(d.Left)})
	}
	return out
}

func departedFromWire(all []*failbackpb.DepartedDisk) (out []replication.DepartedDisk) {
	for _, d := range all {
		out = append(out, replication.DepartedDisk{Disk: replication.DiskID(d.Disk), Joined: replication.PointID(d.Joined), Last: replication.PointID(d.Last), Head: replication.PointID(d.Head), Target: d.Target, Left: timeOf(d.LeftUnixNanos)})
	}
	return out
}

func disksToWire(disks []replication.DiskNo) (out []uint32) {
	for _, d := range disks {
		out = append(out, uint32(d))
	}
	return out
}

func disksFromWire(disks []uint32) (out []replication.DiskNo) {
	for _, d := range atMost(replication.MaxDisks, disks) {
		out = append(out, replication.DiskNo(d))
	}
	return out
}
