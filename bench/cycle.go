package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"failback/bench/peer"
	"failback/bench/report"
	"failback/bench/workload"
	"failback/replication"
)

// changedShare is the part of the disk that changes between two points: 1/100.
const changedShare = 100

// Groups of the scenario, and where a sample was taken.
const (
	hashed = "hashed" // changes are found by hashing the whole disk
	told   = "told"   // a command tells the changes
)

// cycle takes points of a disk of which 1 % changed, in scattered pages.
func (l *lab) cycle(ctx context.Context, s *report.Scenario) (err error) {
	image, data, err := l.dataOf(ctx)
	if err != nil {
		return err
	}
	dir, remove, err := l.scratch("cycle")
	if err != nil {
		return err
	}
	defer remove()
	pages := int(l.size / replication.Page / changedShare)
	s.Bytes = int64(pages) * replication.Page
	s.About = fmt.Sprintf("%d pages (%s) changed of an ext4 image of %s with %s of data, until the point is listed",
		pages, report.Size(s.Bytes), report.Size(int64(l.size)), report.Size(workload.Bytes(data)))

	c := &cycles{lab: l, source: filepath.Join(dir, "source.raw"), ranges: filepath.Join(dir, "ranges"), copy: filepath.Join(dir, "rsync.raw"), dir: dir}
	for _, path := range []string{c.source, c.copy} {
		if err := workload.Copy(image, path); err != nil {
			return err
		}
	}
	if c.pair, err = l.pair(ctx, true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.pair.close()) }()
	for group, changes := range map[string]string{hashed: "", told: "cat " + c.ranges} {
		if err := c.pair.reprotect(ctx, onePlan(group, c.source, c.target(group), changes)); err != nil {
			return err
		}
	}
	err = l.alternate(ctx, s, []way{
		{name: "failback, found by hashing", run: c.take(hashed)},
		{name: "failback, told by a command", run: c.take(told)},
		{name: "rsync --inplace --no-whole-file", needs: []peer.Program{peer.Rsync}, run: c.rsync},
	}, func(round int) error {
		changed, err := workload.Scatter(c.source, data, pages, l.seed+uint64(round))
		if err != nil {
			return err
		}
		return workload.WriteRanges(c.ranges, changed)
	})
	for i, group := range []string{hashed, told} {
		applied := report.Median(c.applied[group])
		s.Notes = append(s.Notes, fmt.Sprintf("%s: the disks stood at the point %.2f s after it was listed", s.Ways[i].Name, applied))
	}
	s.Notes = append(s.Notes, "rsync works between two local processes, without TLS, and keeps no earlier point; its time ends with an fdatasync of its copy",
		"every changed page is half random bytes, half what another page holds", "our runs go through the counting relay")
	if err != nil || l.profile == "" {
		return err
	}
	return c.profile(ctx, s, data, pages)
}

// cycles is one disk, protected by two groups.
type cycles struct {
	*lab
	pair                      *pair
	dir, source, ranges, copy string
	applied                   map[string][]float64
}

func (c *cycles) target(group string) string { return filepath.Join(c.dir, group+".vmdk") }

// take returns what takes a point of a group, compares its disk with the source, and tells how long it took.
func (c *cycles) take(group string) func(context.Context, int) (report.Sample, error) {
	return func(ctx context.Context, _ int) (s report.Sample, err error) {
		if err := c.ready(c.source); err != nil {
			return s, err
		}
		var point replication.PointID
		if s, err = c.pair.sample(func() (err error) { point, err = c.pair.cut(ctx, group); return err }); err != nil {
			return s, err
		}
		begin := time.Now()
		if err := c.pair.WaitHead(ctx, group, point, patience); err != nil {
			return s, err
		}
		if c.applied == nil {
			c.applied = make(map[string][]float64)
		}
		c.applied[group] = append(c.applied[group], time.Since(begin).Seconds())
		return s, workload.Compare(c.source, flatOf(c.target(group)))
	}
}

func (c *cycles) rsync(ctx context.Context, _ int) (report.Sample, error) {
	if err := c.ready(c.source, c.copy); err != nil {
		return report.Sample{}, err
	}
	s, err := measure(func() (report.Sample, error) { return peer.RsyncInPlace(ctx, c.source, c.copy) })
	if err != nil {
		return s, err
	}
	return s, workload.Compare(c.source, c.copy)
}

// profile takes one more point of each group.
func (c *cycles) profile(ctx context.Context, s *report.Scenario, data []replication.Extent, pages int) error {
	changed, err := workload.Scatter(c.source, data, pages, c.seed+uint64(c.repeats))
	if err != nil {
		return err
	}
	if err := workload.WriteRanges(c.ranges, changed); err != nil {
		return err
	}
	for i, group := range []string{hashed, told} {
		s.Finish()
		err := c.profileDuring(ctx, s.Name+"-"+group, c.pair, s.Ways[i].Seconds.Median, func() error {
			_, err := c.pair.cut(ctx, group)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
