package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"failback/bench/report"
	"failback/bench/stand"
	"failback/bench/workload"
	"failback/replication"
)

// churnedPair is both daemons and a disk that is written to, which they protect.
type churnedPair struct {
	*pair
	machine *churned
	inside  string // directory of the disk
	target  string
}

const churnedGroup = "churned"

// protectChurned makes a disk that is written to, and its first point. Nothing is written yet.
func (l *lab) protectChurned(ctx context.Context, pattern string, o pairOptions) (c *churnedPair, err error) {
	c = &churnedPair{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.inside, err = l.churnedDir(l.Size); err != nil {
		return nil, err
	}
	if c.machine, err = l.newChurned(c.inside, pattern, l.Size); err != nil {
		c.machine = nil
		return nil, err
	}
	if c.pair, err = l.pair(ctx, o); err != nil {
		return nil, err
	}
	c.target = filepath.Join(c.Targets, "disk.vmdk")
	m := c.machine
	return c, c.reprotect(ctx, stand.Plan{
		Group: churnedGroup,
		Policy: fmt.Sprintf("{crash_interval: 24h, app_interval: 24h, retention: 48h, rpo_alert: 48h, head_lag: 30s}\nretention: {soft: %dMiB, hard: %dMiB, reserve: 16MiB}",
			journalSoft*l.Size>>20, journalHard*l.Size>>20),
		Machines: []stand.Machine{{Name: churnedGroup, Disks: []stand.Disk{{
			ID: "disk", Source: m.disk.Path, Target: c.target,
			Snapshot: m.command("snapshot $1"), Release: "true", Changes: m.command("changes $1 $2"),
		}}}},
	})
}

// What the journal of a churned disk may take, in sizes of the disk, so that it is thinned while it grows.
const journalSoft, journalHard = 1, 2

func (c *churnedPair) close() (err error) {
	if c.pair != nil {
		err = c.pair.close()
	}
	if c.machine != nil {
		err = errors.Join(err, c.machine.close())
	}
	return errors.Join(err, os.RemoveAll(c.inside))
}

// turn takes a point, and returns when it is listed.
func (c *churnedPair) turn(ctx context.Context) (replication.PointID, error) {
	point, err := c.cut(ctx, churnedGroup)
	if err == nil {
		c.machine.forget(uint64(point))
	}
	return point, err
}

// follow waits until the disks stand at a point, and holds them against what the source was when it was cut last.
func (c *churnedPair) follow(ctx context.Context, point replication.PointID, want workload.Cut) error {
	if err := c.Do(ctx, nil, "advance", churnedGroup); err != nil {
		return err
	}
	if err := c.WaitHead(ctx, churnedGroup, point, patience); err != nil {
		return err
	}
	return c.machine.judge(ctx, flatOf(c.target), want)
}

// changeStages measures the parts of shipping and applying so many bytes of changes of a pattern; the storage is the work directory's.
func (l *lab) changeStages(ctx context.Context, s *report.Scenario, pattern string, bytes int64, by, stored []string) error {
	if !l.Bounds {
		return nil
	}
	dir, remove, err := l.Scratch("stages")
	if err != nil {
		return err
	}
	defer remove()
	w, err := workload.NewWrites(pattern, l.Size, l.Seed)
	if err != nil {
		return err
	}
	pages := workload.NewPages(l.Size)
	for n := int64(0); n < bytes; {
		x, _ := w.Next()
		n += pages.Add(x)
	}
	changed, path := pages.Extents(), filepath.Join(dir, "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(writeTo(f, []replication.Extent{{End: l.Size}}), f.Close(), l.Ready(path)); err != nil {
		return err
	}
	x := extents{path, changed}
	return l.stages(ctx, s, reading(by, x), checksumming(by, x), l.encrypting(by, bytes), appending(stored, filepath.Join(dir, "journal"), bytes),
		writing(stored, "save what is written over, and fdatasync", filepath.Join(dir, "save"), bytes, []replication.Extent{{End: bytes}}), overwriting(stored, "write the target where it changed, and fdatasync", path, changed))
}

// timed samples something until it is stopped.
func timed(every time.Duration, look func()) (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				look()
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-done }
}
