package transport

import (
	"context"
	"fmt"

	failbackpb "failback/proto"
	"failback/replication"
)

func (s *operatorServer) Adopt(ctx context.Context, r *failbackpb.AdoptRequest) (*failbackpb.AdoptReply, error) {
	if err := planFits(&failbackpb.PlanRequest{Yaml: r.PlanYaml}); err != nil {
		return nil, StatusOf(err)
	}
	if len(r.Disks) > replication.MaxDisks {
		return nil, StatusOf(&replication.Problem{Code: "no-such-disk", Message: fmt.Sprintf("%d disks are named; a group has at most %d", len(r.Disks), replication.MaxDisks), Remedy: "name each disk once"})
	}
	a, err := s.ops.Adopt(ctx, replication.AdoptRequest{Dir: r.Dir, Plan: r.PlanYaml, Disks: r.Disks, OldHostIsOff: r.OldHostIsOff, List: r.List})
	if err != nil {
		return nil, StatusOf(err)
	}
	return adoptionToWire(a), nil
}

// Adopt takes a group over from its journal and disks, or tells what that would find.
func (c *OperatorClient) Adopt(ctx context.Context, r replication.AdoptRequest) (replication.Adoption, error) {
	a, err := c.rpc.Adopt(ctx, &failbackpb.AdoptRequest{Dir: r.Dir, PlanYaml: r.Plan, Disks: r.Disks, OldHostIsOff: r.OldHostIsOff, List: r.List})
	if err != nil {
		return replication.Adoption{}, c.problem(err)
	}
	return adoptionFromWire(a), nil
}

func adoptionToWire(a replication.Adoption) *failbackpb.AdoptReply {
	r := &failbackpb.AdoptReply{
		Group: string(a.Group), Journal: utf8(a.Journal), Owner: utf8(a.Owner), Generation: uint64(a.Generation), Head: uint64(a.Head), MovingTo: uint64(a.MovingTo), Open: uint64(a.Open), Held: a.Held, Adopted: a.Adopted,
	}
	for _, p := range a.Points {
		r.Points = append(r.Points, pointToWire(p, a.Head))
	}
	for _, d := range a.Disks {
		r.Disks = append(r.Disks, &failbackpb.AdoptedDisk{Disk: string(d.Disk), Size: d.Size, Target: utf8(d.Target), State: utf8(d.State)})
	}
	for _, f := range a.Findings {
		r.Findings = append(r.Findings, findingToWire(f))
	}
	return r
}

func adoptionFromWire(r *failbackpb.AdoptReply) replication.Adoption {
	a := replication.Adoption{
		Group: replication.GroupID(r.Group), Journal: r.Journal, Owner: r.Owner, Generation: replication.Generation(r.Generation), Head: replication.PointID(r.Head), MovingTo: replication.PointID(r.MovingTo),
		Open: replication.PointID(r.Open), Held: r.Held, Adopted: r.Adopted, Points: []replication.Point{}, Disks: []replication.AdoptedDisk{}, Findings: []replication.Finding{},
	}
	for _, p := range r.Points {
		a.Points = append(a.Points, pointFromWire(p))
	}
	for _, d := range r.Disks {
		a.Disks = append(a.Disks, replication.AdoptedDisk{Disk: replication.DiskID(d.Disk), Size: d.Size, Target: d.Target, State: d.State})
	}
	for _, f := range r.Findings {
		a.Findings = append(a.Findings, findingFromWire(f))
	}
	return a
}
