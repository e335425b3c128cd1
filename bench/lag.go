package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"failback/bench/harness"
	"failback/bench/report"
	"failback/replication"
)

const (
	lagAim   = 15 // seconds
	lagEvery = 50 * time.Millisecond
	mega     = 1e6
)

// lag keeps a disk protected that is written to at a steady rate, cycle after cycle, and tells how old the last point is all the time.
func (l *lab) lag(ctx context.Context, s *report.Scenario) error {
	s.Bytes = int64(l.churn * mega * l.duration.Seconds())
	s.About = fmt.Sprintf("a disk of %s, full of what does not compress, written to at %g MB/s (%s) for %s, its changes told by a command, one cycle after the other: how old the last listed point is", report.Size(l.Size), l.churn, l.pattern, l.duration)
	lags, cycles := &report.Line{Name: "lag"}, []float64{}
	h := *l.Lab // one run: it has hundreds of cycles
	h.Repeats = 1
	once := *l
	once.Lab, l = &h, &once
	err := l.alternate(ctx, s, []harness.Way{{Name: ourName, Run: func(ctx context.Context, _ int) (one report.Sample, err error) {
		c, err := l.protectChurned(ctx, l.pattern, pairOptions{counted: true})
		if err != nil {
			return one, err
		}
		defer func() { err = errors.Join(err, c.close()) }()
		if err := l.Ready(); err != nil {
			return one, err
		}
		lags.Points, cycles = nil, nil
		var last replication.PointID
		one, err = c.sample(func() (err error) {
			last, cycles, err = l.underChurn(ctx, c, lags)
			return err
		})
		if err != nil {
			return one, err
		}
		seconds := lags.Values()
		one.Figures = map[string]float64{
			"lag p50 s": report.Quantile(seconds, 0.5), "lag p99 s": report.Quantile(seconds, 0.99), "lag max s": report.Quantile(seconds, 1),
			"cycle p50 s": report.Quantile(cycles, 0.5), "points": float64(len(cycles)), "MB/s": float64(c.machine.written) / one.Seconds / mega,
			"longest view s": c.machine.longest.Seconds(),
		}
		return one, c.follow(ctx, last, c.machine.cut)
	}}}, nil)
	if err != nil {
		return err
	}
	w := s.Ways[0]
	s.Check(report.Under("p99 of the lag, in seconds", w.Fig("lag p99 s"), lagAim, func(v float64) string { return fmt.Sprintf("%.2f", v) }))
	s.Check(report.AtLeast("what was written, of the rate that was wanted", w.Fig("MB/s")/l.churn, 0.95))
	s.Plots = []report.Plot{{Title: "how old the last point is", X: "s since the beginning", Y: "s", Lines: []report.Line{lags.Thinned(400)}}}
	s.Note("the lag is looked at every %s: the time since the last listed point was cut; the harness asks for a point as soon as the one before is listed", lagEvery)
	s.Note("the source and its views lie in memory where there is room; nothing is written while a view is brought up to the disk. Both take part of the same cores")
	s.Note("the journal may take %d to %d sizes of the disk, and is thinned. In the end the disks were held against what the source was at the last point that was cut while it was written to, sector by sector", journalSoft, journalHard)
	return nil
}

// underChurn writes to the disk for a while and takes point after point. It returns the last one, and how long each took.
func (l *lab) underChurn(ctx context.Context, c *churnedPair, lags *report.Line) (last replication.PointID, cycles []float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	writing, stop := context.WithCancel(ctx)
	defer stop()
	begin := time.Now()
	if last, err = c.turn(ctx); err != nil { // a point of now: what came before is not counted
		return 0, nil, err
	}
	g.Go(func() error { return c.machine.churn(writing, l.churn*mega) })
	ended := timed(lagEvery, func() {
		if now, err := c.Status(ctx, churnedGroup); err == nil {
			lags.Points = append(lags.Points, [2]float64{time.Since(begin).Seconds(), time.Since(now.LastTime).Seconds()})
		}
	})
	for err == nil && time.Since(begin) < l.duration {
		at := time.Now()
		last, err = c.turn(ctx)
		cycles = append(cycles, time.Since(at).Seconds())
	}
	ended()
	stop()
	return last, cycles, errors.Join(err, g.Wait())
}
