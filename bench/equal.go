package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"failback/bench/harness"
	"failback/bench/peer"
	"failback/bench/report"
	"failback/bench/workload"
	"failback/replication"
)

// Aims of comparing, from the speed of reading and hashing both sides and as a share of the disk.
const (
	compareAim   = 0.8
	equalWireAim = 0.0005
)

// equal makes a baseline of a disk whose target holds the same bytes already.
func (l *lab) equal(ctx context.Context, s *report.Scenario) error { return l.compared(ctx, s, 0) }

// different makes a baseline of a disk of which 1 % differs from its target.
func (l *lab) different(ctx context.Context, s *report.Scenario) error {
	return l.compared(ctx, s, changedShare)
}

// compared makes a baseline of a disk and a target that differ in one page of so many, scattered; 0: in none.
func (l *lab) compared(ctx context.Context, s *report.Scenario, oneOf int64) error {
	image, data, err := l.dataOf(ctx)
	if err != nil {
		return err
	}
	dir, remove, err := l.Scratch("compare")
	if err != nil {
		return err
	}
	defer remove()
	target := filepath.Join(dir, "ours.vmdk")
	s.Bytes = 2 * workload.Bytes(data)
	pages := 0
	if oneOf > 0 {
		pages = int(l.Size / replication.Page / oneOf)
	}
	s.About = fmt.Sprintf("an ext4 image of %s and a flat VMDK (the peers: a raw file) of its content, of which %d pages (%s) differ: %s of data in both",
		report.Size(l.Size), pages, report.Size(int64(pages)*replication.Page), report.Size(s.Bytes))
	if _, err := l.baseline(ctx, image, target, false); err != nil {
		return fmt.Errorf("make the target: %w", err)
	}
	its := filepath.Join(dir, "peer.raw")
	if err := errors.Join(workload.Compare(image, flatOf(target)), workload.Copy(image, its)); err != nil {
		return err
	}
	both := []string{image, flatOf(target)}
	// ready has the source in the page cache, and of the target nothing: the master target has the kernel forget what it knows of one that it opens, as that may be of a write that has failed.
	ready := func(target string) error { return errors.Join(l.Ready(image), workload.Forget(target)) }
	if err := ready(both[1]); err != nil {
		return err
	}
	by, changed := []string{ourName}, []replication.Extent(nil)
	x := []extents{{image, data}, {both[1], data}}
	parts := []part{reading(by, x[0]), readingStored(by, x[1]), hashing(by, x...)}
	if pages > 0 {
		if changed, err = workload.Scatter(its, data, pages, l.Seed); err != nil {
			return err
		}
		parts = append(parts, l.encrypting(by, workload.Bytes(changed)), overwriting(by, "write what differs and fdatasync", its, changed))
	}
	if err := l.stages(ctx, s, parts...); err != nil {
		return err
	}

	// differ makes a copy differ from the image where it does in every round, whoever brings it back.
	differ := func(round int, path string) error {
		if pages == 0 {
			return nil
		}
		_, err := workload.Scatter(path, data, pages, l.Seed+uint64(round)+1)
		return err
	}
	reads := func(run func(context.Context, ...string) (report.Sample, error)) func(context.Context, int) (report.Sample, error) {
		return func(ctx context.Context, _ int) (report.Sample, error) {
			if err := ready(both[1]); err != nil {
				return report.Sample{}, err
			}
			return harness.Measure(func() (report.Sample, error) { return run(ctx, both...) })
		}
	}
	if err := workload.CopyOver(image, its, changed); err != nil {
		return err
	}
	err = l.alternate(ctx, s, []harness.Way{
		{Name: ourName, Run: func(ctx context.Context, round int) (one report.Sample, err error) {
			if err := differ(round, both[1]); err != nil {
				return one, err
			}
			if one, err = l.baseline(ctx, image, target, true); err != nil {
				return one, err
			}
			return one, workload.Compare(both[0], both[1])
		}},
		{Name: "rsync --inplace --no-whole-file over TLS", Peer: true, Needs: []peer.Program{peer.Rsync, peer.Socat}, Run: func(ctx context.Context, round int) (one report.Sample, err error) {
			if err := errors.Join(differ(round, its), ready(its)); err != nil {
				return one, err
			}
			if one, err = harness.Measure(func() (report.Sample, error) { return peer.RsyncInPlace(ctx, l.Certs, image, its) }); err != nil {
				return one, err
			}
			return one, workload.Compare(image, its)
		}},
		{Name: "sha256sum of both, at once", Peer: true, Needs: []peer.Program{peer.SHA256Sum}, Run: reads(peer.SHA256AtOnce)},
		{Name: "cat of both, at once", Peer: true, Needs: []peer.Program{peer.Cat}, Run: reads(peer.CatAtOnce)},
	}, nil)
	if err != nil {
		return err
	}
	s.CheckShare(ourName, compareAim)
	wire := s.Ways[0].Median(func(s report.Sample) float64 { return float64(s.Wire) })
	if pages == 0 {
		s.Check(report.Under("bytes on the wire, both ways, TLS and control traffic included, as a share of the disk", wire/float64(l.Size), equalWireAim,
			func(share float64) string { return fmt.Sprintf("%.4f %%", share*100) }))
	} else {
		s.CheckRatio("rsync --inplace --no-whole-file over TLS", 1)
		s.Note("on the wire: %.2f bytes for each that differs", wire/float64(workload.Bytes(changed)))
	}
	s.Note("cat and sha256sum read holes as zeros, all of both files, and copy nothing; failback asks the file system where data is")
	s.Note("the source was in the page cache, the target was not: the master target has the kernel forget what it knows of one that it opens")
	s.Note("our runs go through the counting relay: the bytes are few")
	return nil
}

// baseline protects one disk with new daemons, and tells what it took until the first point was listed. The source is read before.
func (l *lab) baseline(ctx context.Context, source, target string, counted bool) (s report.Sample, err error) {
	p, err := l.pair(ctx, pairOptions{counted: counted})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := l.Ready(source); err != nil {
		return s, err
	}
	return p.sample(func() error { return p.reprotect(ctx, onePlan("compare", source, target, "")) })
}
