package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"failback/bench/harness"
	"failback/bench/report"
	"failback/bench/stand"
	"failback/bench/workload"
	"failback/replication"
)

const (
	manyDisks    = 16
	manyCycles   = 3
	memoryTarget = 256 << 20 // bytes that neither daemon may reach
)

// memory protects many disks at once, takes points with changes, rewinds and advances, and tells each daemon's peak memory.
func (l *lab) memory(ctx context.Context, s *report.Scenario) error {
	part := l.Size / manyDisks
	s.Bytes = part * manyDisks
	s.About = fmt.Sprintf("%d disks of %s: a baseline (the time told), %d points with 1 %% changed, rewind, advance", manyDisks, report.Size(part), manyCycles)
	dir, remove, err := l.Scratch("memory")
	if err != nil {
		return err
	}
	defer remove()
	err = l.alternate(ctx, s, []harness.Way{
		{Name: fmt.Sprintf("failback, 1 group of %d disks", manyDisks), Run: func(ctx context.Context, round int) (report.Sample, error) {
			return l.manyDisks(ctx, dir, part, 1, uint64(round))
		}},
		{Name: fmt.Sprintf("failback, %d groups of 1 disk", manyDisks), Run: func(ctx context.Context, round int) (report.Sample, error) {
			return l.manyDisks(ctx, dir, part, manyDisks, uint64(round))
		}},
	}, nil)
	for _, program := range daemonNames {
		s.Check(report.Under("peak memory of "+program, float64(peakOf(s, program)), memoryTarget, func(n float64) string { return report.Size(int64(n)) }))
	}
	return err
}

var daemonNames = []string{"master-target", "process-server"}

// peakOf returns the most memory that a daemon had in any sample of a scenario.
func peakOf(s *report.Scenario, program string) (n int64) {
	for _, w := range s.Ways {
		n = max(n, w.Peak(program))
	}
	return n
}

// manyDisks makes disks from parts of the image, in a number of groups, and works with them. The sample's time is the baseline's, its memory the peak of all.
func (l *lab) manyDisks(ctx context.Context, dir string, part int64, groups int, seed uint64) (s report.Sample, err error) {
	image, err := l.image(ctx)
	if err != nil {
		return s, err
	}
	sources, err := parts(image, dir, manyDisks)
	if err != nil {
		return s, err
	}
	p, err := l.pair(ctx, pairOptions{processServer: []string{"--disks=0"}})
	if err != nil {
		return s, err
	}
	defer func() {
		err = errors.Join(err, p.close())
		l.Settle()
	}()
	plans := plansOf(sources, p.Targets, groups)
	if err := l.Ready(sources...); err != nil {
		return s, err
	}
	if s, err = p.sample(func() error { return p.reprotectAll(ctx, plans) }); err != nil {
		return s, err
	}
	for i := range manyCycles {
		for j, path := range sources {
			if err := scatterPart(path, l.Seed+seed<<16+uint64(i)<<8+uint64(j)); err != nil {
				return s, err
			}
		}
		if err := p.cutAll(ctx, plans); err != nil {
			return s, err
		}
	}
	for _, plan := range plans {
		for _, move := range [][]string{{"rewind", plan.Group, "1"}, {"advance", plan.Group}} {
			if err := p.Do(ctx, nil, move...); err != nil {
				return s, err
			}
		}
		for _, d := range plan.Machines[0].Disks {
			if err := workload.Compare(d.Source, flatOf(d.Target)); err != nil {
				return s, err
			}
		}
	}
	s.PeakRSS = map[string]int64{"master-target": p.MasterTarget.Usage().PeakRSS, "process-server": p.ProcessServer.Usage().PeakRSS}
	return s, nil
}

// parts cuts the image into n disks, the last one of what is left over.
func parts(image, dir string, n int) ([]string, error) {
	f, err := os.Open(image)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	part := info.Size() / int64(n) &^ (1<<20 - 1)
	var all []string
	for i := range int64(n) {
		path, length := filepath.Join(dir, fmt.Sprintf("source-%02d.raw", i)), part
		if i == int64(n)-1 {
			length = info.Size() - i*part
		}
		if err := workload.CopyPart(f, i*part, length, path); err != nil {
			return nil, err
		}
		all = append(all, path)
	}
	return all, nil
}

// scatterPart changes 1 % of a disk, or all that it holds where that is less.
func scatterPart(path string, seed uint64) error {
	data, err := workload.Data(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	pages := min(info.Size()/changedShare, workload.Bytes(data)/2) / replication.Page
	_, err = workload.Scatter(path, data, int(pages), seed)
	return err
}

// plansOf spreads disks over groups.
func plansOf(sources []string, targets string, groups int) []stand.Plan {
	plans := make([]stand.Plan, groups)
	for i := range plans {
		name := fmt.Sprintf("g%02d", i)
		plans[i] = stand.Plan{Group: name, Machines: []stand.Machine{{Name: "m"}}}
	}
	for i, source := range sources {
		m := &plans[i%groups].Machines[0]
		m.Disks = append(m.Disks, stand.Disk{ID: fmt.Sprintf("d%02d", i), Source: source, Target: filepath.Join(targets, fmt.Sprintf("d%02d.vmdk", i))})
	}
	return plans
}

// reprotectAll sends all plans and returns when each group's first point is listed.
func (p *pair) reprotectAll(ctx context.Context, plans []stand.Plan) error {
	for _, plan := range plans {
		path, err := p.WritePlan(plan)
		if err != nil {
			return err
		}
		if err := p.Do(ctx, nil, "reprotect", path); err != nil {
			return err
		}
	}
	for _, plan := range plans {
		if err := p.listed(ctx, plan.Group, 1); err != nil {
			return err
		}
	}
	return nil
}

// cutAll takes a point of all groups at once.
func (p *pair) cutAll(ctx context.Context, plans []stand.Plan) error {
	points := make([]replication.PointID, len(plans))
	for i, plan := range plans {
		point, err := p.Cut(ctx, plan.Group)
		if err != nil {
			return err
		}
		points[i] = point
	}
	for i, plan := range plans {
		if err := p.listed(ctx, plan.Group, points[i]); err != nil {
			return err
		}
	}
	return nil
}
