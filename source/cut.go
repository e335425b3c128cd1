package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"failback/replication"
)

// Cut makes one point over all disks, and says what can be told about the changes since base; 0 is no base: a compare. It is durable when Cut returns.
//
// Cutting a point again gives the same cut, by the same snapshot name, while all its views are still what they were; else the views are let go of
// and made again, under a new name. A cut that is not Stable is made again after each Open, and when a live file was written to. The changes command is asked here,
// once per cut and base. A point that Release has kept is listed, and never made again: what it would hold now is not what was shipped. A source or view that is missing or has another size than the disk is an error, and nothing is held of the cut then.
//
// Hooks are the commands of the machines that are to be kept still meanwhile (see the package's doc): the cut is application-consistent then, or says why it is not. A cut that is held stays what it was.
func (s *Images) Cut(ctx context.Context, point, base replication.PointID, hooks ...replication.Quiesce) (replication.Cut, error) {
	s.op.Lock()
	defer s.op.Unlock()
	if base >= point {
		return replication.Cut{}, fmt.Errorf("cut point %d from base %d of group %s: points rise from 1", point, base, s.group)
	}
	c, held, err := s.cut(ctx, point, hooks)
	if err != nil {
		return replication.Cut{}, fmt.Errorf("cut point %d of group %s: %w", point, s.group, err)
	}
	if c, err = s.track(ctx, c, base); err != nil {
		return replication.Cut{}, fmt.Errorf("changes of group %s from point %d to %d: %w", s.group, base, point, err)
	}
	told := c.told()
	told.Held = held
	return told, nil
}

// told is the cut as Cut tells it.
func (c *cut) told() replication.Cut {
	told := replication.Cut{Time: c.Time, Snapshot: c.Snapshot, Stable: c.stable(), Tracked: c.Tracking != nil && c.Tracking.Why == "",
		App: c.App, NotApp: c.NotApp, Skew: time.Duration(c.TookNs), Frozen: time.Duration(c.FrozenNs)}
	for _, d := range c.Disks {
		told.Sizes = append(told.Sizes, d.Size)
	}
	return told
}

// Held returns the cut of a point as it is held, without looking whether its views still are what they were, and without making it: false when it is not held.
func (s *Images) Held(point replication.PointID) (replication.Cut, bool) {
	c := s.cutOf(point)
	if c == nil || c.Making {
		return replication.Cut{}, false
	}
	return c.told(), true
}

// Untracked says why the cut of the point is not tracked; "" when it is, or when it is not held.
func (s *Images) Untracked(point replication.PointID) string {
	if c := s.cutOf(point); c != nil && c.Tracking != nil {
		return c.Tracking.Why
	}
	return ""
}

// cut returns the cut of the point as it is held, or makes it.
func (s *Images) cut(ctx context.Context, point replication.PointID, hooks []replication.Quiesce) (c *cut, held bool, err error) {
	if err := s.usable(); err != nil {
		return nil, false, err
	}
	if c := s.cutOf(point); c != nil {
		why, err := s.stale(c)
		if err != nil || why == "" {
			return c, true, err
		}
		if c.Listed {
			return nil, false, fmt.Errorf("it is listed, and cannot be made again: %s", why)
		}
		s.log.Info("point is cut again", "point", point, "why", why)
		if err := s.drop(c); err != nil {
			return nil, false, err
		}
	}
	if err := s.settle(ctx, point); err != nil {
		s.log.Warn("views are not let go of before the cut", "point", point, "err", err)
	}
	s.mu.Lock()
	many, left := len(s.state.Cuts), len(s.state.Pending)
	s.mu.Unlock()
	if many >= maxHeld || left >= maxPending {
		return nil, false, fmt.Errorf("%d points are held and %d views are not let go of, the most are %d and %d: see to the release commands", many, left, maxHeld, maxPending)
	}
	c, err = s.make(ctx, point, hooks)
	return c, false, err
}

// stale says why a cut cannot be used any more, "" if it can.
func (s *Images) stale(c *cut) (why string, err error) {
	if c.Making {
		return "it was cut off", nil
	}
	if len(c.Disks) != len(s.specs) {
		return fmt.Sprintf("it has %d disks, the group %d", len(c.Disks), len(s.specs)), nil
	}
	if !c.stable() && c.Process != s.process {
		return "it has live disks, and the process server was started anew", nil
	}
	for i := range c.Disks {
		d, sp := &c.Disks[i], s.specs[i]
		switch {
		case d.Disk.ID != sp.Disk.ID || d.Path != sp.Path:
			return fmt.Sprintf("disk %d is %s at %s now, was %s at %s", i, sp.Disk.ID, sp.Path, d.Disk.ID, d.Path), nil
		case d.Kind == KindNone && sp.Snapshot != "":
			return fmt.Sprintf("disk %s has a snapshot command now", d.Disk.ID), nil
		}
		v, err := openView("disk "+string(d.Disk.ID), d)
		if errors.Is(err, ErrGone) {
			return err.Error(), nil
		} else if err != nil {
			return "", err
		}
		v.Close()
		if d.Kind == KindNone && v.id != d.File {
			return fmt.Sprintf("live disk %s was written to since", d.Disk.ID), nil
		}
	}
	return "", nil
}

// make makes the cut.
func (s *Images) make(ctx context.Context, point replication.PointID, hooks []replication.Quiesce) (*cut, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &cut{Point: point, Process: s.process, Making: true, Snapshot: fmt.Sprintf("%d-%s", point, randomName())}
	for _, sp := range s.specs {
		d, err := s.plan(c, sp)
		if err != nil {
			return nil, err
		}
		c.Disks = append(c.Disks, d)
	}
	if err := s.update(func(st *state) { st.Cuts = append(st.Cuts, c) }); err != nil {
		return nil, err
	}
	done, err := s.makeViews(ctx, c, hooks)
	if err != nil {
		if derr := s.replace(c, done); derr != nil {
			return nil, errors.Join(err, derr)
		}
		if derr := s.drop(done); derr != nil {
			return nil, errors.Join(err, derr)
		}
		if derr := s.settle(ctx, 0); derr != nil {
			s.log.Warn("views of a failed cut are not let go of", "point", point, "err", derr)
		}
		return nil, err
	}
	done.Making = false
	if err := s.replace(c, done); err != nil {
		return nil, err
	}
	for _, d := range done.Disks {
		s.setKind(d.Disk.No, d.Kind)
	}
	s.log.Info("point is cut", "point", point, "snapshot", done.Snapshot, "stable", done.stable(), "took", time.Duration(done.TookNs), "app", done.App, "frozen", time.Duration(done.FrozenNs))
	return done, nil
}

// replace puts a cut in the place of another, durably. Views that a snapshot command made again in their old place are no longer to be let go of.
func (s *Images) replace(old, c *cut) error {
	return s.update(func(st *state) {
		for i := range st.Cuts {
			if st.Cuts[i] == old {
				st.Cuts[i] = c
			}
		}
		st.Pending = without(st.Pending, func(p pending) bool {
			for _, d := range c.Disks {
				if d.View == p.View {
					return true
				}
			}
			return false
		})
	})
}

func without(p []pending, drop func(pending) bool) []pending {
	var left []pending
	for _, q := range p {
		if !drop(q) {
			left = append(left, q)
		}
	}
	return left
}

// plan looks at a source and says how its view is to be made.
func (s *Images) plan(c *cut, sp Spec) (diskView, error) {
	f, id, _, err := openDisk(sp.Path)
	if err != nil {
		return diskView{}, fmt.Errorf("disk %s: %w", sp.Disk.ID, err)
	}
	f.Close()
	if sp.Disk.Size != 0 && sp.Disk.Size != id.Size {
		return diskView{}, sizeProblem(sp.Disk, sp.Path, id.Size)
	}
	d := diskView{Disk: sp.Disk, Path: sp.Path, Source: id, Size: id.Size, Release: sp.Release}
	d.Disk.Size = id.Size
	switch {
	case sp.Snapshot != "":
		d.Kind = KindCommand
	case id.Device:
		d.Kind = KindNone
	default:
		d.Clones = s.clonePaths(sp.Path, c.Snapshot, sp.Disk.No)
	}
	return d, nil
}

func sizeProblem(disk replication.Disk, path string, size int64) error {
	err := error(nil)
	if size < disk.Size {
		err = ErrGone
	}
	return &replication.Problem{
		Code:    "source-size-changed",
		Message: fmt.Sprintf("disk %s: %s has %d bytes, the disk has %d", disk.ID, path, size, disk.Size),
		Remedy:  "bring the source back to its size; a disk that was resized has to be protected anew",
		Err:     err,
	}
}

// makeViews makes all views, together, while the machines that have hooks are kept still, and returns the cut with them. With an error the cut has the views that were made.
func (s *Images) makeViews(ctx context.Context, c *cut, hooks []replication.Quiesce) (*cut, error) {
	done := *c
	done.Disks = append([]diskView(nil), c.Disks...)
	clones := make([]*clone, len(done.Disks))
	for i := range done.Disks {
		d := &done.Disks[i]
		if d.Kind != "" {
			continue
		}
		cl, why, err := prepareClone(d.Path, d.Clones)
		if err != nil {
			closeAll(clones)
			return &done, fmt.Errorf("disk %s: %w", d.Disk.ID, err)
		}
		if cl == nil {
			d.Kind, d.Clones = KindNone, nil
			s.log.Debug("no reflink", "point", c.Point, "disk", d.Disk.ID, "err", why)
			continue
		}
		d.Kind = KindReflink
		clones[i] = cl
		s.step("clone prepared")
	}

	still := s.freeze(ctx, &done, hooks)
	start := time.Now()
	done.Time = start.Round(0).UTC()
	errs := make([]error, len(done.Disks))
	took := make([]time.Duration, len(done.Disks))
	var wait, shots sync.WaitGroup
	shots.Add(len(done.Disks))
	for i := range done.Disks {
		wait.Go(func() { // to its end even when another fails: a snapshot command that is cut off leaves what nobody knows of
			d := &done.Disks[i]
			shot := sync.OnceFunc(func() { took[i] = time.Since(start); shots.Done() })
			defer shot()
			if err := s.makeView(ctx, &done, d, clones[i], shot); err != nil {
				errs[i] = fmt.Errorf("disk %s: %w", d.Disk.ID, err)
			}
			s.step("view made")
		})
	}
	shots.Wait()
	still.end(&done) // before the views are synced
	wait.Wait()
	for _, t := range took {
		done.TookNs = max(done.TookNs, int64(t))
	}
	if err := errors.Join(errs...); err != nil {
		return &done, err
	}
	return &done, s.distinct(&done)
}

func closeAll(clones []*clone) {
	for _, c := range clones {
		if c != nil {
			c.close()
		}
	}
}

// makeView makes one disk's view; shot is called when its instant is over.
func (s *Images) makeView(ctx context.Context, c *cut, d *diskView, cl *clone, shot func()) (err error) {
	switch d.Kind {
	case KindReflink:
		err := cl.shoot()
		shot()
		if err != nil {
			cl.close()
			return err
		}
		d.File, err = cl.finish()
		if err != nil {
			return err
		}
		d.View = cl.path
		return s.sized(d)
	case KindCommand:
		view, err := s.snapshot(ctx, c.Point, d, s.specs[d.Disk.No].Snapshot)
		shot()
		if err != nil {
			return err
		}
		if err := s.mayUse(view, c.Point, d); err != nil {
			return err
		}
		d.View = view
		if d.File, err = syncView(view); err != nil {
			return err
		}
		return s.sized(d)
	default:
		shot()
		d.View, d.File = d.Path, d.Source
		return nil
	}
}

// sized checks that a view has the disk's size.
func (s *Images) sized(d *diskView) error {
	if d.File.Size != d.Size {
		return fmt.Errorf("the view %s has %d bytes, the source %s has %d", d.View, d.File.Size, d.Path, d.Size)
	}
	return nil
}

// mayUse refuses a view that is the source, or another point's: letting go of one would take the other along.
func (s *Images) mayUse(view string, point replication.PointID, d *diskView) error {
	fi, err := os.Stat(view)
	if err != nil {
		return fmt.Errorf("the view that the snapshot command printed: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sp := range s.specs {
		if src, err := os.Stat(sp.Path); err == nil && os.SameFile(fi, src) {
			return fmt.Errorf("the snapshot command printed %s, which is the source %s itself", view, sp.Path)
		}
	}
	for _, c := range s.state.Cuts {
		for _, o := range c.Disks {
			if c.Point != point && o.View == view {
				return fmt.Errorf("the snapshot command printed %s, which is the view of disk %s at point %d: each point needs one of its own", view, o.Disk.ID, c.Point)
			}
		}
	}
	return nil
}

// distinct refuses a cut with one view for two disks.
func (s *Images) distinct(c *cut) error {
	seen := make(map[string]replication.DiskID)
	for i := range c.Disks {
		d := &c.Disks[i]
		if other, twice := seen[d.View]; twice {
			return fmt.Errorf("the snapshot commands of disks %s and %s printed the same view %s", other, d.Disk.ID, d.View)
		}
		seen[d.View] = d.Disk.ID
	}
	return nil
}

// syncView makes the operator's view durable, as far as it is ours to do, and identifies it.
func syncView(path string) (identity, error) {
	f, id, _, err := openDisk(path)
	if err != nil {
		return id, err
	}
	defer f.Close()
	if id.Device {
		return id, nil
	}
	if err := f.Sync(); err != nil && !cannot(err) && !isReadOnly(err) {
		return id, fmt.Errorf("sync view: %w", err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil && !cannot(err) && !isReadOnly(err) && !errors.Is(err, fs.ErrPermission) {
		return id, fmt.Errorf("sync view: %w", err)
	}
	return identify(f) // writing back may have touched the times
}
