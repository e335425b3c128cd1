package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"failback/bench/harness"
	"failback/bench/relay"
	"failback/bench/report"
	"failback/bench/stand"
	"failback/replication"
)

// patience is how long a scenario waits for a point.
const patience = 15 * time.Minute

// pair is both daemons in a new directory, running.
type pair struct {
	*stand.Stand
	lab   *lab
	relay *relay.Relay // nil: they speak without one
}

// pairOptions say how both daemons are started.
type pairOptions struct {
	counted            bool     // a relay between them counts what goes over the wire
	processServer      []string // more of its flags
	retention, targets string   // "": in the stand's directory
}

// pair starts both daemons.
func (l *lab) pair(ctx context.Context, o pairOptions) (*pair, error) {
	l.runs++
	dir := filepath.Join(l.Dir, fmt.Sprintf("stand-%d", l.runs))
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	s, err := stand.New(dir, stand.Options{Binaries: l.Binaries, Retention: o.retention, Targets: o.targets, ProcessServerFlags: o.processServer})
	if err != nil {
		return nil, err
	}
	p := &pair{Stand: s, lab: l}
	if o.counted {
		if p.relay, err = relay.New(s.Listen); err != nil {
			return nil, errors.Join(err, p.close())
		}
		s.ProcessServerFlags = append(s.ProcessServerFlags, "--master-target", p.relay.Addr())
	}
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// close ends both daemons and removes their directory.
func (p *pair) close() error {
	var errs []error
	if p.relay != nil {
		errs = append(errs, p.relay.Close())
	}
	return errors.Join(append(errs, p.Close(), os.RemoveAll(p.Dir))...)
}

// sample runs a piece of work and tells what it took of both daemons; profiles are taken meanwhile where they are wanted.
func (p *pair) sample(work func() error) (report.Sample, error) {
	if p.lab.profiling != nil {
		plain := work
		work = func() error { return p.lab.profileDuring(context.Background(), p, plain) }
	}
	return harness.Measure(func() (s report.Sample, err error) {
		mt, ps := p.MasterTarget.Usage(), p.ProcessServer.Usage()
		var wire int64
		if p.relay != nil {
			wire = p.relay.Total()
		}
		begin := time.Now()
		if err := work(); err != nil {
			return s, err
		}
		s.Seconds = time.Since(begin).Seconds()
		if p.relay != nil {
			s.Wire = p.relay.Total() - wire
		}
		mtNow, psNow := p.MasterTarget.Usage(), p.ProcessServer.Usage()
		s.CPU = (mtNow.CPU() - mt.CPU() + psNow.CPU() - ps.CPU()).Seconds()
		s.PeakRSS = map[string]int64{"master-target": mtNow.PeakRSS, "process-server": psNow.PeakRSS}
		return s, nil
	})
}

// reprotect sends a plan and returns when its first point is listed.
func (p *pair) reprotect(ctx context.Context, plan stand.Plan) error {
	path, err := p.WritePlan(plan)
	if err != nil {
		return err
	}
	if err := p.Do(ctx, nil, "reprotect", path); err != nil {
		return err
	}
	return p.listed(ctx, plan.Group, 1)
}

// cut takes a point and returns when it is listed.
func (p *pair) cut(ctx context.Context, group string) (replication.PointID, error) {
	point, err := p.Cut(ctx, group)
	if err != nil {
		return 0, err
	}
	return point, p.listed(ctx, group, point)
}

// listed waits until a point is listed. A group that stops is an error.
func (p *pair) listed(ctx context.Context, group string, point replication.PointID) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	g, err := p.Wait(ctx, group, fmt.Sprintf("point %d is listed", point), func(g replication.GroupStatus) bool {
		return g.Last >= point || g.State == replication.StateError
	})
	if err == nil && g.Last < point {
		err = fmt.Errorf("group %s stopped: %v", group, g.Problem)
	}
	return err
}

// onePlan is the plan of a group with one disk.
func onePlan(group, source, target, changes string) stand.Plan {
	return stand.Plan{Group: group, Machines: []stand.Machine{{Name: group, Disks: []stand.Disk{{ID: "disk", Source: source, Target: target, Changes: changes}}}}}
}

// flatOf returns the file with the content of a flat VMDK that we make.
func flatOf(vmdk string) string { return vmdk[:len(vmdk)-len(".vmdk")] + "-flat.vmdk" }
