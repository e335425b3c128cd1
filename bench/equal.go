package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"failback/bench/peer"
	"failback/bench/report"
	"failback/bench/workload"
)

// equal makes a baseline of a disk whose target holds the same bytes already.
func (l *lab) equal(ctx context.Context, s *report.Scenario) error {
	image, data, err := l.dataOf(ctx)
	if err != nil {
		return err
	}
	dir, remove, err := l.scratch("equal")
	if err != nil {
		return err
	}
	defer remove()
	target := filepath.Join(dir, "equal.vmdk")
	s.Bytes = 2 * workload.Bytes(data)
	s.About = fmt.Sprintf("an ext4 image of %s and a flat VMDK of the same content: %s of data in both", report.Size(int64(l.size)), report.Size(s.Bytes))
	if _, err := l.baseline(ctx, image, target, false); err != nil {
		return fmt.Errorf("make the target: %w", err)
	}
	both := []string{image, flatOf(target)}
	if err := workload.Compare(both[0], both[1]); err != nil {
		return err
	}
	warmed := func(run func(context.Context, ...string) (report.Sample, error)) func(context.Context, int) (report.Sample, error) {
		return func(ctx context.Context, _ int) (report.Sample, error) {
			if err := l.ready(both...); err != nil {
				return report.Sample{}, err
			}
			return measure(func() (report.Sample, error) { return run(ctx, both...) })
		}
	}
	err = l.alternate(ctx, s, []way{
		{name: "failback", run: func(ctx context.Context, _ int) (report.Sample, error) {
			return l.baseline(ctx, image, target, true, both...)
		}},
		{name: "cat, one after the other", needs: []peer.Program{peer.Cat}, run: warmed(peer.CatInTurn)},
		{name: "cat, both at once", needs: []peer.Program{peer.Cat}, run: warmed(peer.CatAtOnce)},
		{name: "pages hashed by the harness, all cores", run: warmed(hashAll)},
		{name: "sha256sum, both at once", needs: []peer.Program{peer.SHA256Sum}, run: warmed(peer.SHA256AtOnce)},
	}, nil)
	if err != nil {
		return err
	}
	wire := s.Ways[0].Median(func(s report.Sample) float64 { return float64(s.Wire) })
	share := wire / float64(l.size)
	s.Checks = append(s.Checks, report.Check{
		Name:  "bytes on the wire, both ways, TLS and control traffic included, as a share of the disk",
		Value: share, Text: fmt.Sprintf("%.4f %% (%s)", share*100, report.Size(int64(wire))), Aim: "under 0.1 %", Met: share < 0.001,
	})
	s.Notes = append(s.Notes,
		"cat and sha256sum read holes as zeros, all of both files; failback asks the file system where data is",
		"our runs go through the counting relay: the bytes are few")
	return workload.Compare(both[0], both[1])
}

// hashAll reads files' data and hashes it by pages as our daemons do, with a worker on each core: what a comparison by hashes cannot do without.
func hashAll(ctx context.Context, files ...string) (report.Sample, error) {
	wall, cpu, err := clocked(func() error {
		for _, path := range files {
			data, err := workload.Data(path)
			if err != nil {
				return err
			}
			if err := eachPiece(ctx, path, data, hashing); err != nil {
				return err
			}
		}
		return nil
	})
	return report.Sample{Seconds: wall, CPU: cpu}, err
}

// baseline protects one disk with new daemons, and tells what it took until the first point was listed. The files are read before.
func (l *lab) baseline(ctx context.Context, source, target string, counted bool, warm ...string) (s report.Sample, err error) {
	p, err := l.pair(ctx, counted)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := l.ready(warm...); err != nil {
		return s, err
	}
	return p.sample(func() error { return p.reprotect(ctx, onePlan("equal", source, target, "")) })
}
