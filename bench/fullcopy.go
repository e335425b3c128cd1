package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"failback/bench/peer"
	"failback/bench/report"
	"failback/bench/workload"
)

// fullCopy copies a disk into a new target.
func (l *lab) fullCopy(ctx context.Context, s *report.Scenario) error {
	image, data, err := l.dataOf(ctx)
	if err != nil {
		return err
	}
	dir, remove, err := l.scratch("fullcopy")
	if err != nil {
		return err
	}
	defer remove()
	s.Bytes = workload.Bytes(data)
	s.About = fmt.Sprintf("an ext4 image of %s with %s of data, over mutual TLS on loopback, into a new flat VMDK (nbdcopy: a new raw file), until durable",
		report.Size(int64(l.size)), report.Size(s.Bytes))
	if s.Stages, err = l.stages(ctx, dir, image, data); err != nil {
		return fmt.Errorf("stages: %w", err)
	}

	c := copies{lab: l, image: image, dir: dir}
	counted, err := c.ours(ctx, true, nil)
	if err != nil {
		return err
	}
	s.Notes = append(s.Notes, fmt.Sprintf("on the wire, in a run through a counting relay that does not count otherwise: %s", report.Size(counted.Wire)))

	err = l.alternate(ctx, s, []way{
		{name: "failback", run: func(ctx context.Context, _ int) (report.Sample, error) { return c.ours(ctx, false, nil) }},
		{name: "nbdcopy, nbdkit", needs: []peer.Program{peer.NBDCopy, peer.NBDKit}, run: c.peer(peer.CopyByNBDCopy)},
		{name: "qemu-img convert, nbdkit", needs: []peer.Program{peer.QEMUImg, peer.NBDKit}, run: c.peer(peer.CopyByQEMUImg)},
	}, nil)
	if err != nil {
		return err
	}
	s.Finish()
	s.Checks = append(s.Checks, ratioCheck(s, "nbdcopy, nbdkit", 2)...)
	s.Checks = append(s.Checks, ratioCheck(s, "qemu-img convert, nbdkit", 1)...)
	least, binds := report.Bound(s.Stages, runtime.NumCPU())
	s.Notes = append(s.Notes,
		fmt.Sprintf("by the stages, all but compression, the job takes at least %.2f s, bound by: %s; ours goes at %.2f of that rate", least, binds, least/s.Ways[0].Seconds.Median),
		fmt.Sprintf("an fdatasync of our target after its point was listed took at most %.3f s: what was told to be durable is", c.late.Seconds()),
		"every copy was compared with the source afterwards, byte by byte",
		"nbdcopy and qemu-img check no content, keep no points and cannot resume; failback does",
	)
	if l.profile != "" {
		_, err = c.ours(ctx, false, func(p *pair, work func() error) error {
			return l.profileDuring(ctx, s.Name, p, s.Ways[0].Seconds.Median, work)
		})
	}
	return err
}

// ratioCheck holds our time against a peer's.
func ratioCheck(s *report.Scenario, name string, atMost float64) []report.Check {
	w := s.Way(name)
	if w == nil || len(w.Samples) == 0 {
		return nil
	}
	return []report.Check{{
		Name: "our time to that of " + name, Value: w.Ratio.Median, Text: fmt.Sprintf("%.2f", w.Ratio.Median),
		Aim: fmt.Sprintf("at most %g", atMost), Met: w.Ratio.Median <= atMost,
	}}
}

// copies makes copies of one image.
type copies struct {
	*lab
	image, dir string
	late       time.Duration // the longest time that our target could still be synced for
}

// ours makes a copy by both daemons. around, if not nil, is given the work to do.
func (c *copies) ours(ctx context.Context, counted bool, around func(p *pair, work func() error) error) (s report.Sample, err error) {
	target := filepath.Join(c.dir, "ours.vmdk")
	defer c.clear()
	p, err := c.pair(ctx, counted)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := c.ready(c.image); err != nil {
		return s, err
	}
	work := func() error { return p.reprotect(ctx, onePlan("copy", c.image, target, "")) }
	if around != nil {
		return s, around(p, work)
	}
	if s, err = p.sample(work); err != nil {
		return s, err
	}
	begin := time.Now()
	if err := workload.Sync(flatOf(target)); err != nil {
		return s, err
	}
	c.late = max(c.late, time.Since(begin))
	return s, workload.Compare(c.image, flatOf(target))
}

// peer makes a copy by a peer.
func (c *copies) peer(run func(ctx context.Context, certs, source, target string) (peer.Copied, error)) func(context.Context, int) (report.Sample, error) {
	return func(ctx context.Context, _ int) (report.Sample, error) {
		defer c.clear()
		if err := c.ready(c.image); err != nil {
			return report.Sample{}, err
		}
		var flat string
		s, err := measure(func() (report.Sample, error) {
			made, err := run(ctx, c.certs, c.image, filepath.Join(c.dir, "peer.vmdk"))
			flat = made.Flat
			return made.Sample, err
		})
		if err != nil {
			return s, err
		}
		return s, workload.Compare(c.image, flat)
	}
}

// clear removes all copies.
func (c *copies) clear() {
	made, _ := filepath.Glob(filepath.Join(c.dir, "*.vmdk"))
	for _, path := range made {
		os.Remove(path)
	}
	c.settle()
}
