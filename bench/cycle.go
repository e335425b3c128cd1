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

// changedShare is the part of a disk that changes between two points, where nothing else is said: 1/100.
const changedShare = 100

// The parts of the disk that change between two points of scenario cycle: one page of so many.
var changedShares = []int64{1000, 100, 10}

// Groups of the scenario, and the ways that take points of them.
const (
	hashed = "hashed" // changes are found by hashing the whole disk
	told   = "told"   // a command tells the changes

	byHashing = "failback, found by hashing"
	byCommand = "failback, told by a command"
	byQEMU    = "QEMU incremental backup, NBD over TLS"
	byRsync   = "rsync --inplace --no-whole-file over TLS"
)

// cycle takes points of a disk of which some pages changed, for each share.
func (l *lab) cycle(ctx context.Context, tell func(*report.Scenario)) error {
	image, data, err := l.dataOf(ctx)
	if err != nil {
		return err
	}
	dir, remove, err := l.Scratch("cycle")
	if err != nil {
		return err
	}
	defer remove()
	c := &cycles{lab: l, data: data, source: filepath.Join(dir, "source.raw"), ranges: filepath.Join(dir, "ranges"), dir: dir,
		copy: filepath.Join(dir, "rsync.raw"), backup: filepath.Join(dir, "backup.raw"), backed: filepath.Join(dir, "backed.raw")}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.begin(ctx, image); err != nil {
		return err
	}
	for i, oneOf := range changedShares {
		s := &report.Scenario{Name: fmt.Sprintf("%g %%", 100/float64(oneOf))}
		if err := c.share(ctx, s, oneOf, uint64(i)); err != nil {
			s.Failed = err.Error()
		}
		tell(s)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// cycles is one disk, protected by two groups, and its copies by peers.
type cycles struct {
	*lab
	pair                      *pair
	data                      []replication.Extent
	dir, source, ranges, copy string
	backup, backed            string       // QEMU's copy, and the disk that it has
	qemu                      *peer.Backup // nil: it is missing
	applied                   map[string][]float64
}

// begin makes the copies and both groups' first points.
func (c *cycles) begin(ctx context.Context, image string) (err error) {
	all := []string{c.source}
	if !c.Ours {
		all = append(all, c.copy, c.backup, c.backed)
	}
	for _, path := range all {
		if err := workload.Copy(image, path); err != nil {
			return err
		}
	}
	if !c.Ours && peer.Missing(peer.QEMUDaemon) == "" {
		sockets, err := os.MkdirTemp("", "failback-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(sockets) // they are dialled by then
		if c.qemu, err = peer.NewBackup(ctx, sockets, c.Certs, c.backed, c.backup); err != nil {
			return err
		}
	}
	if c.pair, err = c.lab.pair(ctx, pairOptions{counted: true}); err != nil {
		return err
	}
	for group, changes := range map[string]string{hashed: "", told: "cat " + c.ranges} {
		if err := c.pair.reprotect(ctx, onePlan(group, c.source, c.target(group), changes)); err != nil {
			return err
		}
	}
	return nil
}

func (c *cycles) close() (err error) {
	if c.qemu != nil {
		err = c.qemu.Close()
	}
	if c.pair != nil {
		err = errors.Join(err, c.pair.close())
	}
	return err
}

// change changes so many pages of the source, and the same ones of the disk that QEMU has.
func (c *cycles) change(pages int, seed uint64) ([]replication.Extent, error) {
	changed, err := workload.Scatter(c.source, c.data, pages, seed)
	if err == nil {
		err = workload.WriteRanges(c.ranges, changed)
	}
	if err == nil && c.qemu != nil {
		err = c.qemu.Write(c.source, changed)
	}
	return changed, err
}

// share takes points of which one page of so many of the disk changed.
func (c *cycles) share(ctx context.Context, s *report.Scenario, oneOf int64, seed uint64) error {
	pages := min(int(c.Size/replication.Page/oneOf), int(workload.Bytes(c.data)/replication.Page))
	s.Bytes = int64(pages) * replication.Page
	s.About = fmt.Sprintf("%d scattered pages of 4 KiB (%s) changed of an ext4 image of %s with %s of data, until the point is listed",
		pages, report.Size(s.Bytes), report.Size(c.Size), report.Size(workload.Bytes(c.data)))
	seed = c.Seed + seed<<16
	changed, err := c.change(pages, seed)
	if err != nil {
		return err
	}
	if err := c.bounds(ctx, s, changed); err != nil {
		return err
	}
	c.applied = make(map[string][]float64)
	err = c.alternate(ctx, s, []harness.Way{
		{Name: byCommand, Run: c.take(told)},
		{Name: byHashing, Run: c.take(hashed)},
		{Name: byQEMU, Peer: true, Needs: []peer.Program{peer.QEMUDaemon}, Run: func(ctx context.Context, _ int) (report.Sample, error) {
			return c.byPeer(c.backed, c.backup, func() (report.Sample, error) { return c.qemu.Run(ctx) })
		}},
		{Name: byRsync, Peer: true, Needs: []peer.Program{peer.Rsync, peer.Socat}, Run: func(ctx context.Context, _ int) (report.Sample, error) {
			return c.byPeer(c.source, c.copy, func() (report.Sample, error) { return peer.RsyncInPlace(ctx, c.Certs, c.source, c.copy) })
		}},
	}, func(round int) error {
		if round == 0 { // what the stages were measured with is the first round's
			return nil
		}
		_, err := c.change(pages, seed+uint64(round))
		return err
	})
	if err != nil {
		return err
	}
	if oneOf == changedShare {
		s.CheckRatio(byQEMU, 3)
	}
	if w, r := s.Way(byHashing), s.Way(byRsync); r != nil && len(r.Samples) > 0 && len(w.Samples) > 0 {
		s.Check(report.AtLeast("speed of finding by hashing to that of rsync", report.Median(report.Ratios(secondsOf(r), secondsOf(w))), 1.5))
	}
	for group, way := range map[string]string{hashed: byHashing, told: byCommand} {
		s.Note("%s: the disks stood at the point %.2f s after it was listed", way, report.Median(c.applied[group]))
	}
	s.Note("every changed page is half random bytes, half what another page holds; our runs go through the counting relay")
	s.Note("QEMU copies in units of its bitmap's and its job's granularity, 64 KiB by default; neither it nor rsync keeps an earlier point")
	return nil
}

func secondsOf(w *report.Way) (all []float64) {
	for _, s := range w.Samples {
		all = append(all, s.Seconds)
	}
	return all
}

// bounds measures the parts of both kinds of cycle.
func (c *cycles) bounds(ctx context.Context, s *report.Scenario, changed []replication.Extent) error {
	if err := c.Ready(c.source); err != nil {
		return err
	}
	disk, pages := extents{c.source, c.data}, extents{c.source, changed}
	whole := []string{byHashing}
	both := []string{byCommand, byHashing}
	read, hash := reading(whole, disk), hashing(whole, disk)
	read.name, hash.name = "read all data, from the page cache", "hash all pages, sha256"
	some := reading([]string{byCommand}, pages)
	some.name = "read what changed, from the page cache"
	return c.stages(ctx, s, read, hash, some, checksumming(both, pages), c.encrypting(both, s.Bytes), appending(both, filepath.Join(c.dir, "stage"), s.Bytes))
}

func (c *cycles) target(group string) string { return filepath.Join(c.dir, group+".vmdk") }

// take returns what takes a point of a group, compares its disk with the source, and tells how long it took.
func (c *cycles) take(group string) func(context.Context, int) (report.Sample, error) {
	return func(ctx context.Context, _ int) (s report.Sample, err error) {
		if err := c.Ready(c.source); err != nil {
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
		c.applied[group] = append(c.applied[group], time.Since(begin).Seconds())
		return s, workload.Compare(c.source, flatOf(c.target(group)))
	}
}

// byPeer has a peer bring its copy up to its source.
func (c *cycles) byPeer(source, copy string, run func() (report.Sample, error)) (s report.Sample, err error) {
	if err := c.Ready(source, copy); err != nil {
		return s, err
	}
	if s, err = harness.Measure(run); err != nil {
		return s, err
	}
	return s, workload.Compare(c.source, copy)
}
