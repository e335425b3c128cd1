package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"failback/bench/harness"
	"failback/bench/peer"
	"failback/bench/report"
	"failback/bench/workload"
	"failback/replication"
)

// Ways of fullcopy that aims name.
const (
	ourName  = "failback"
	nbdcopy  = "nbdcopy, nbdkit"
	qemuImg  = "qemu-img convert, nbdkit"
	rsyncTLS = "rsync over TLS"
)

// fullCopy copies a disk into a new target.
func (l *lab) fullCopy(ctx context.Context, s *report.Scenario) error {
	image, err := l.content(ctx)
	if err != nil {
		return err
	}
	data, err := workload.Data(image)
	if err != nil {
		return err
	}
	dir, remove, err := l.Scratch("fullcopy")
	if err != nil {
		return err
	}
	defer remove()
	s.Bytes = workload.Bytes(data)
	s.About = fmt.Sprintf("a disk of %s with %s of data (%s), over mutual TLS on loopback, into a new flat VMDK (nbdcopy, rsync and zstd: a new raw file), until durable",
		report.Size(l.Size), report.Size(s.Bytes), workload.About[l.workload])
	if err := l.copyStages(ctx, s, []string{ourName}, dir, image, data); err != nil {
		return err
	}

	c := copies{lab: l, image: image, dir: dir}
	counted, err := c.ours(ctx, true)
	if err != nil {
		return err
	}
	s.Note("warm-up, and on the wire, in one more run of ours through a counting relay that does not count otherwise: %s", report.Size(counted.Wire))

	err = l.alternate(ctx, s, []harness.Way{
		{Name: ourName, Run: func(ctx context.Context, _ int) (report.Sample, error) { return c.ours(ctx, false) }},
		{Name: nbdcopy, Peer: true, Needs: []peer.Program{peer.NBDCopy, peer.NBDKit}, Run: c.peer(peer.CopyByNBDCopy)},
		{Name: qemuImg, Peer: true, Needs: []peer.Program{peer.QEMUImg, peer.NBDKit}, Run: c.peer(peer.CopyByQEMUImg)},
		{Name: rsyncTLS, Peer: true, Needs: []peer.Program{peer.Rsync, peer.Socat}, Run: c.peer(peer.RsyncNew)},
		{Name: "zstd -1 -T0 over TLS", Peer: true, Needs: []peer.Program{peer.Zstd, peer.Socat}, Run: c.peer(peer.ZstdNew)},
	}, nil)
	if err != nil {
		return err
	}
	s.CheckRatio(nbdcopy, 1)
	s.CheckRatio(qemuImg, 1)
	s.CheckRatio(rsyncTLS, 1)
	s.CheckShare(ourName, 0.7)
	s.Note("an fdatasync of our target after its point was listed took at most %.3f s: what was told to be durable is", c.late.Seconds())
	s.Note("every copy was compared with the source afterwards, byte by byte")
	s.Note("the peers check no content end to end, keep no points and cannot resume; failback does. zstd sends one stream, with zeros for holes")
	return nil
}

// copyStages measures the parts of a copy of a file's data into a new one.
func (l *lab) copyStages(ctx context.Context, s *report.Scenario, by []string, dir, image string, data []replication.Extent) error {
	if err := l.Ready(image); err != nil {
		return err
	}
	if !l.Bounds {
		return nil
	}
	full, err := workload.NonZero(image, data) // nobody has to send or write zeros
	if err != nil {
		return err
	}
	all := []extents{{image, data}}
	some := extents{image, full}
	parts := []part{reading(by, all...), hashing(by, all...)}
	if len(full) > 0 {
		parts = append(parts, checksumming(by, some), compressing(some), l.encrypting(by, workload.Bytes(full)),
			writing(by, "write the target and fdatasync", filepath.Join(dir, "stage.raw"), l.Size, full))
	}
	return l.stages(ctx, s, parts...)
}

// copies makes copies of one image.
type copies struct {
	*lab
	image, dir string
	late       time.Duration // the longest time that our target could still be synced for
}

// ours makes a copy by both daemons.
func (c *copies) ours(ctx context.Context, counted bool) (s report.Sample, err error) {
	target := filepath.Join(c.dir, "ours.vmdk")
	defer c.clear()
	p, err := c.pair(ctx, pairOptions{counted: counted})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := c.Ready(c.image); err != nil {
		return s, err
	}
	if s, err = p.sample(func() error { return p.reprotect(ctx, onePlan("copy", c.image, target, "")) }); err != nil {
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
		if err := c.Ready(c.image); err != nil {
			return report.Sample{}, err
		}
		var flat string
		s, err := harness.Measure(func() (report.Sample, error) {
			made, err := run(ctx, c.Certs, c.image, filepath.Join(c.dir, "peer.vmdk"))
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
	c.Settle()
}
