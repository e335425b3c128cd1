package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"failback/bench/harness"
	"failback/bench/report"
	"failback/replication"
)

// Of scenario churn.
const (
	onStorage = "both daemons"
	inMemory  = "master target on tmpfs"

	sustainedAim = 231 // MB/s: ten times the 2 TB a day that the old product takes
	windowShare  = 8   // of the disk changes in each cycle: one part of so many
	windows      = 8
	quickWindows = 3
	busyShare    = 0.9 // of all cores, from which they are what binds
	touchedSizes = 3   // of the disk: about what page caches, or the files in memory, grow by
)

// sustained finds the rate of changes that the daemons carry. The disk is always one cycle ahead: as soon as a point is cut, so much is written that the next one has the same amount of changes.
func (l *lab) sustained(ctx context.Context, s *report.Scenario) error {
	window, n := l.Size/windowShare, windows
	if l.Quick {
		n = quickWindows
	}
	s.Bytes = window * int64(n)
	s.About = fmt.Sprintf("a disk of %s, full of what does not compress, written to as quickly as points of it are listed (%s): %d cycles of %s of changes, told by a command, until the last point is listed and the disks stand at it",
		report.Size(l.Size), l.pattern, n, report.Size(window))
	if err := l.changeStages(ctx, s, l.pattern, window, []string{onStorage, inMemory}, []string{onStorage}); err != nil {
		return err
	}
	for i := range s.Stages { // measured with one cycle's
		st := &s.Stages[i]
		st.Bytes, st.Seconds, st.CPU = st.Bytes*int64(n), st.Seconds*float64(n), st.CPU*float64(n)
	}
	run := func(memory bool) func(context.Context, int) (report.Sample, error) {
		return func(ctx context.Context, _ int) (one report.Sample, err error) {
			var o pairOptions
			if memory {
				dir, err := os.MkdirTemp(memoryDir, "failback-bench-")
				if err != nil {
					return one, err
				}
				defer os.RemoveAll(dir)
				o.retention, o.targets = filepath.Join(dir, "retention"), filepath.Join(dir, "targets")
			}
			c, err := l.protectChurned(ctx, l.pattern, o)
			if err != nil {
				return one, err
			}
			defer func() { err = errors.Join(err, c.close()) }()
			if err := errors.Join(c.machine.fill(window), l.Ready(), touchMemory(touchedSizes*l.Size)); err != nil {
				return one, err
			}
			own := ownCPU()
			var cycles []float64
			var last float64
			if one, err = c.sample(func() (err error) {
				cycles, last, err = c.ahead(ctx, window, n)
				return err
			}); err != nil {
				return one, err
			}
			one.Figures = map[string]float64{
				"MB/s": float64(s.Bytes) / one.Seconds / mega, "writer's cpu s": ownCPU() - own,
				"cores busy": one.MachineCPU / one.Seconds, "views s": c.machine.paused.Seconds(),
				"cycle p50 s": report.Quantile(cycles, 0.5), "last move s": last,
			}
			return one, c.machine.judge(ctx, flatOf(c.target), c.machine.cut)
		}
	}
	lacks := ""
	var st unix.Statfs_t
	if unix.Statfs(memoryDir, &st) != nil || int64(st.Bavail)*st.Bsize < 8*l.Size {
		lacks = fmt.Sprintf("%s has no room for eight times --size", memoryDir)
	}
	if err := l.alternate(ctx, s, []harness.Way{{Name: onStorage, Run: run(false)}, {Name: inMemory, Lacks: lacks, Run: run(true)}}, nil); err != nil {
		return err
	}
	for _, w := range s.Ways {
		if len(w.Samples) == 0 {
			continue
		}
		binds := "the cores bind"
		if busy := w.Fig("cores busy") / float64(runtime.NumCPU()); busy < busyShare {
			binds = fmt.Sprintf("the cores are busy for %.2f of the time: storage, or waiting for it, binds", busy)
		}
		s.Note("%s: %.0f MB/s, %.1f TB a day; %s", w.Name, w.Fig("MB/s"), w.Fig("MB/s")*86400/mega, binds)
	}
	s.Check(report.AtLeast("MB/s of changes that both daemons carry", s.Ways[0].Fig("MB/s"), sustainedAim))
	s.Note("the writer of the disk, its views and the daemons share the cores; the disk and its views lie in memory where there is room, and before each run as much memory is used and given back as it takes. In the end the disks were held against the source, sector by sector")
	return nil
}

// ahead takes points of a disk that always has the next one's changes ready by the time that one is listed, and returns when the disks stand at the last: how long each took, and the last move, in seconds.
func (c *churnedPair) ahead(ctx context.Context, window int64, n int) (cycles []float64, last float64, err error) {
	var point replication.PointID
	for i := range n {
		begin := time.Now()
		if point, err = c.Cut(ctx, churnedGroup); err != nil {
			return nil, 0, err
		}
		if err := c.machine.awaitCut(ctx, uint64(point)); err != nil {
			return nil, 0, err
		}
		var next errgroup.Group
		if i < n-1 {
			next.Go(func() error { return c.machine.fill(window) })
		}
		if err := errors.Join(c.listed(ctx, churnedGroup, point), next.Wait()); err != nil {
			return nil, 0, err
		}
		c.machine.forget(uint64(point))
		cycles = append(cycles, time.Since(begin).Seconds())
	}
	begin := time.Now()
	if err := c.Do(ctx, nil, "advance", churnedGroup); err != nil {
		return nil, 0, err
	}
	err = c.WaitHead(ctx, churnedGroup, point, patience)
	return cycles, time.Since(begin).Seconds(), err
}

// touchMemory has the machine use so much of its free memory, half of it at most, and give it back. Memory that a virtual machine has not used lately its host has to find first, page by page, which can take ten times as
// long as to fill it; the page cache of a journal that grows is such memory, and it is not the daemons that are measured then.
func touchMemory(bytes int64) error {
	var now unix.Sysinfo_t
	if err := unix.Sysinfo(&now); err != nil {
		return fmt.Errorf("how much memory is free: %w", err)
	}
	bytes = min(bytes, int64(now.Freeram)*int64(now.Unit)/2)
	b, err := unix.Mmap(-1, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("use %s of memory: %w", report.Size(bytes), err)
	}
	return unix.Munmap(b)
}

// awaitCut returns when there is a view for a point.
func (c *churned) awaitCut(ctx context.Context, point uint64) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		c.mu.Lock()
		made := c.changed[point] != nil
		c.mu.Unlock()
		if made {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the view of point %d: %w", point, context.Cause(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
}
