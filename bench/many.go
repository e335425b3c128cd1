package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"failback/bench/harness"
	"failback/bench/report"
	"failback/bench/workload"
	"failback/replication"
)

// Of scenario many.
const (
	manyShare  = 0.9 // of one disk's rate
	manyMemory = 384 << 20
)

// manyCounts returns how many disks the image is cut into. The last is as many as a master target may have, its machine's own counted.
func manyCounts() []int {
	own, _ := filepath.Glob("/sys/block/*/device")
	return []int{1, 4, 16, replication.MaxDisks - len(own)}
}

// many copies one image as one disk, and cut into more and more of them, all at once.
func (l *lab) many(ctx context.Context, s *report.Scenario) error {
	image, data, err := l.dataOf(ctx)
	if err != nil {
		return err
	}
	dir, remove, err := l.Scratch("many")
	if err != nil {
		return err
	}
	defer remove()
	s.Bytes = workload.Bytes(data)
	s.About = fmt.Sprintf("an ext4 image of %s with %s of data into new flat VMDKs, as one disk and cut into more, in one group and all at a time (process-server --disks 0)", report.Size(l.Size), report.Size(s.Bytes))
	var by []string
	var ways []harness.Way
	for _, n := range manyCounts() {
		name := fmt.Sprintf("%d disks", n)
		if n == 1 {
			name = "1 disk"
		}
		by = append(by, name)
		ways = append(ways, harness.Way{Name: name, Run: func(ctx context.Context, _ int) (report.Sample, error) { return l.manyAtOnce(ctx, image, dir, n) }})
	}
	if err := l.copyStages(ctx, s, by, dir, image, data); err != nil {
		return err
	}
	if err := l.alternate(ctx, s, ways, nil); err != nil {
		return err
	}
	s.Finish()
	most := s.Ways[len(s.Ways)-1]
	if len(most.Samples) == 0 {
		return nil
	}
	s.Check(report.AtLeast("the rate of "+most.Name+" together, to that of one", 1/most.Ratio.Median, manyShare))
	for _, program := range daemonNames {
		s.Check(report.Under("peak memory of "+program+" with "+most.Name, float64(most.Peak(program)), manyMemory, func(n float64) string { return report.Size(int64(n)) }))
	}
	s.Note("every copy was compared with its source afterwards, byte by byte")
	return nil
}

// manyAtOnce copies the image as so many disks.
func (l *lab) manyAtOnce(ctx context.Context, image, dir string, n int) (s report.Sample, err error) {
	sources := []string{image}
	if n > 1 {
		if sources, err = parts(image, dir, n); err != nil {
			return s, err
		}
	}
	p, err := l.pair(ctx, pairOptions{processServer: []string{"--disks=0"}})
	if err != nil {
		return s, err
	}
	defer func() {
		err = errors.Join(err, p.close())
		l.Settle()
	}()
	plans := plansOf(sources, p.Targets, 1)
	if err := l.Ready(sources...); err != nil {
		return s, err
	}
	if s, err = p.sample(func() error { return p.reprotectAll(ctx, plans) }); err != nil {
		return s, err
	}
	for i, source := range sources {
		if err := workload.Compare(source, flatOf(filepath.Join(p.Targets, fmt.Sprintf("d%02d.vmdk", i)))); err != nil {
			return s, err
		}
	}
	return s, nil
}
