package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"failback/replication"
)

// Release lets go of every point but keep, newer ones too, and of views that an earlier Release could not. It is called when keep is listed, and not before (I6);
// calling it again does nothing. When it returns ErrNotReleased the points are no longer held, and what is in the error is tried again by the next
// Release.
func (s *Images) Release(ctx context.Context, keep replication.PointID) error {
	s.op.Lock()
	defer s.op.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	s.mu.Lock()
	drop := slices.DeleteFunc(slices.Clone(s.state.Cuts), func(c *cut) bool { return c.Point == keep })
	s.mu.Unlock()
	if c := s.cutOf(keep); c != nil && !c.Making && !c.Listed {
		listed := *c
		listed.Listed = true
		if err := s.replace(c, &listed); err != nil {
			return fmt.Errorf("release all but point %d of group %s: %w", keep, s.group, err)
		}
	}
	if err := s.drop(drop...); err != nil {
		return fmt.Errorf("release all but point %d of group %s: %w", keep, s.group, err)
	}
	if err := s.settle(ctx, 0); err != nil {
		return fmt.Errorf("release all but point %d of group %s: %w", keep, s.group, err)
	}
	return nil
}

// Disown lets go of the cut of a point that is not Stable, and that turned out to have changed after it was read: the next Cut makes it anew. A listed point stays.
func (s *Images) Disown(point replication.PointID) error {
	s.op.Lock()
	defer s.op.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	c := s.cutOf(point)
	if c == nil || c.Listed || c.stable() {
		return nil
	}
	if err := s.drop(c); err != nil {
		return fmt.Errorf("disown point %d of group %s: %w", point, s.group, err)
	}
	return nil
}

// Forget lets go of everything and removes the state. Nothing but Close can be done afterwards. With ErrNotReleased the state stays, for another Forget.
func (s *Images) Forget(ctx context.Context) error {
	if err := s.Release(ctx, 0); err != nil {
		return err
	}
	s.op.Lock()
	defer s.op.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	s.failed = fmt.Errorf("group %s is forgotten here: %w", s.group, os.ErrClosed)
	s.state = state{}
	if err := s.sweep(); err != nil {
		return fmt.Errorf("forget group %s: %w", s.group, err)
	}
	for _, name := range []string{stateName, viewsName, "lock"} {
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget group %s: %w", s.group, err)
		}
	}
	os.Remove(s.dir) // fails when others keep something there
	if err := syncDir(filepath.Dir(s.dir)); err != nil {
		return fmt.Errorf("forget group %s: %w", s.group, err)
	}
	return nil
}

// drop ends the holding of cuts, durably: their views are pending then, their tables and changes gone.
func (s *Images) drop(cuts ...*cut) error {
	if len(cuts) == 0 {
		return nil
	}
	err := s.update(func(st *state) {
		for _, c := range cuts {
			st.Pending = append(st.Pending, c.letGo()...)
		}
		st.Cuts = slices.DeleteFunc(st.Cuts, func(c *cut) bool { return slices.Contains(cuts, c) })
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range cuts {
		for _, d := range c.Disks {
			key := tableKey{c.Point, d.Disk.No}
			if t := s.tables[key]; t != nil {
				t.close()
				delete(s.tables, key)
			}
			for _, ext := range []string{"tab", "chg"} {
				if err := os.Remove(s.file(c.Point, d.Disk.No, ext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				s.step("file removed")
			}
		}
	}
	return nil
}

// settle lets go of pending views: of one point, or of all when point is 0. Clones are always all removed.
func (s *Images) settle(ctx context.Context, point replication.PointID) error {
	errs := []error{s.removeClones()}
	s.mu.Lock()
	all := slices.Clone(s.state.Pending)
	s.mu.Unlock()
	for _, p := range all {
		if p.Kind != KindCommand || point != 0 && p.Point != point {
			continue
		}
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("%w: %s: %w", ErrNotReleased, p.View, err))
			break
		}
		if line := s.releaseLine(p); line != "" {
			if err := s.release(ctx, p, line); err != nil {
				errs = append(errs, fmt.Errorf("%w: %s of disk %s at point %d: %w", ErrNotReleased, p.View, p.Disk.ID, p.Point, err))
				continue
			}
			s.step("view released")
		}
		if err := s.update(func(st *state) { st.Pending = without(st.Pending, func(q pending) bool { return q == p }) }); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	return errors.Join(errs...)
}

// releaseLine is the plan's release command for a view, or the one of the time of the cut when the plan has the disk no more.
func (s *Images) releaseLine(p pending) string {
	for _, sp := range s.specs {
		if sp.Disk.ID == p.Disk.ID && sp.Snapshot != "" {
			return sp.Release
		}
	}
	return p.Release
}

// removeClones removes the clones that are pending.
func (s *Images) removeClones() error {
	s.mu.Lock()
	all := s.state.Pending
	s.mu.Unlock()
	var errs []error
	gone := make(map[string]bool)
	for _, p := range all {
		if p.Kind != KindReflink {
			continue
		}
		if err := removeClone(p.View); err != nil {
			errs = append(errs, fmt.Errorf("%w: %w", ErrNotReleased, err))
			continue
		}
		gone[p.View] = true
		s.step("clone removed")
	}
	if len(gone) > 0 {
		err := s.update(func(st *state) { st.Pending = without(st.Pending, func(p pending) bool { return gone[p.View] }) })
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
