package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"failback/bench/harness"
	"failback/bench/report"
	"failback/bench/stand"
	"failback/replication"
)

// cutover fails back a disk that is being written to, and tells what that takes: from the command until the disks are final and closed.
func (l *lab) cutover(ctx context.Context, s *report.Scenario) error {
	ago := l.duration / 4
	s.About = fmt.Sprintf("failback commit of a disk of %s that is written to at %g MB/s (%s) until the stop-command is run: from the command until the disks are final and closed", report.Size(l.Size), l.churn, l.pattern)
	c, err := l.protectChurned(ctx, l.pattern, pairOptions{counted: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	run := func(before time.Duration, flags ...string) func(context.Context, int) (report.Sample, error) {
		return func(ctx context.Context, _ int) (report.Sample, error) { return l.commit(ctx, c, before, flags) }
	}
	later := fmt.Sprintf("the last point %s ago", ago)
	s.Bytes = int64(l.churn * mega * ago.Seconds())
	if err := l.changeStages(ctx, s, l.pattern, s.Bytes, []string{later}, []string{later}); err != nil {
		return err
	}
	s.Bytes = 0 // each way has its own
	err = l.alternate(ctx, s, []harness.Way{
		{Name: "points back to back", Run: run(0)},
		{Name: "points back to back, --verify", Run: run(0, "--verify")},
		{Name: later, Run: run(ago)},
	}, nil)
	if err != nil {
		return err
	}
	s.Note("down s is from the end of the writing, which the stop-command asks for, and nothing else: a real machine's shutdown comes on top. The forecast is what failback commit --forecast said just before. The disks were held against the source afterwards, sector by sector; each commit is taken back by undo")
	s.Note("the stages are those of what changes in %s; each command, step and question takes some 20 ms", ago)
	return nil
}

// commit writes to the disk, takes some points, waits, and commits; then it takes that back.
func (l *lab) commit(ctx context.Context, c *churnedPair, before time.Duration, flags []string) (one report.Sample, err error) {
	c.machine.resume()
	var g errgroup.Group
	writing, stop := context.WithCancel(ctx)
	defer stop()
	g.Go(func() error { return c.machine.churn(writing, l.churn*mega) })
	defer func() { stop(); err = errors.Join(err, g.Wait()) }()
	if err := l.Ready(); err != nil {
		return one, err
	}
	for range 3 {
		if _, err := c.turn(ctx); err != nil {
			return one, err
		}
	}
	select {
	case <-time.After(before):
	case <-ctx.Done():
		return one, ctx.Err()
	}
	command := append([]string{"commit", churnedGroup, "--stop-command", c.machine.command("stop")}, flags...)
	var forecast struct {
		Down time.Duration `json:"down_nanos"`
	}
	figures := map[string]float64{}
	if c.Do(ctx, &forecast, append(command, "--forecast")...) == nil { // daemons of an earlier revision tell none
		figures["down, forecast s"] = forecast.Down.Seconds()
	}
	if one, err = c.sample(func() error { return c.Do(ctx, nil, command...) }); err != nil {
		return one, err
	}
	ended := time.Now()
	one.Figures = figures
	one.Figures["down s"] = ended.Sub(c.machine.stoppedAt()).Seconds()
	points, err := c.Points(ctx, churnedGroup)
	if err != nil {
		return one, err
	}
	last := stand.Point{}
	for _, p := range points.Points {
		if p.Point > last.Point {
			last = p
		}
	}
	one.Figures["MiB in the last point"] = float64(last.Bytes) / (1 << 20)
	if err := c.machine.judge(ctx, flatOf(c.target), c.machine.disk.Cut()); err != nil {
		return one, err
	}
	if err := c.Do(ctx, nil, "undo", churnedGroup); err != nil {
		return one, err
	}
	_, err = c.Wait(ctx, churnedGroup, "the group is protected again", func(g replication.GroupStatus) bool { return g.State == replication.StateProtected })
	return one, err
}
