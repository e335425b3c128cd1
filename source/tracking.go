package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"failback/replication"
)

// maxAsked bounds how many changes commands run at once.
const maxAsked = 4

// track finds out whether the changes of all disks that base has are known or can be found, and records it.
func (s *Images) track(ctx context.Context, c *cut, base replication.PointID) (*cut, error) {
	why, err := s.untracked(ctx, c, base)
	if err != nil {
		return nil, err
	}
	t := &tracking{Base: base, Why: why}
	if c.Tracking != nil && *c.Tracking == *t {
		return c, nil
	}
	done := *c
	done.Tracking = t
	if err := s.replace(c, &done); err != nil {
		return nil, err
	}
	if why != "" && base != 0 {
		s.log.Warn("changes are not known, a compare follows", "point", c.Point, "base", base, "why", why)
	}
	return &done, nil
}

// untracked says why changes since base are not known, "" if they are. An error says that it could not be found out.
func (s *Images) untracked(ctx context.Context, c *cut, base replication.PointID) (string, error) {
	if base == 0 {
		return "there is no point to start from", nil
	}
	from := s.cutOf(base)
	if from == nil || from.Making {
		return fmt.Sprintf("point %d is not held", base), nil
	}
	whys, was := make([]string, len(c.Disks)), make([]int, len(c.Disks))
	var ask []int
	if !slices.ContainsFunc(c.Disks, func(d diskView) bool { return from.place(d.Disk.ID) >= 0 }) {
		return fmt.Sprintf("point %d has none of these disks", base), nil
	}
	for i := range c.Disks { // as the specs have them
		if was[i] = from.place(c.Disks[i].Disk.ID); was[i] < 0 { // it joined since, and nothing is to be known: it is compared
			continue
		}
		if whys[i] = s.lost(from, c, was[i], i); whys[i] == "" && s.specs[i].Changes != "" {
			ask = append(ask, i)
		}
	}
	if strings.Join(whys, "") == "" { // else the answers are not needed
		var wait sync.WaitGroup
		slots := make(chan struct{}, maxAsked)
		busy := make([]error, len(whys))
		for _, i := range ask {
			slots <- struct{}{}
			wait.Go(func() {
				defer func() { <-slots }()
				if err := s.askChanges(ctx, from, c, was[i], i, s.specs[i].Changes); errors.Is(err, errRuns) {
					busy[i] = err
				} else if err != nil {
					whys[i] = err.Error()
				}
			})
		}
		wait.Wait()
		if err := errors.Join(append(busy, ctx.Err())...); err != nil { // says nothing about the changes
			return "", err
		}
	}
	var told []string
	for i, why := range whys {
		if why != "" {
			told = append(told, fmt.Sprintf("disk %s: %s", c.Disks[i].Disk.ID, why))
		}
	}
	return strings.Join(told, "; "), nil
}

// lost says why a disk's changes between two cuts, in which it has these places, cannot be known, as far as that can be said without asking.
func (s *Images) lost(from, to *cut, was, is int) string {
	a, b := &from.Disks[was], &to.Disks[is]
	switch {
	case a.Path != b.Path:
		return fmt.Sprintf("its source was %s at point %d, is %s now", a.Path, from.Point, b.Path)
	case a.Size != b.Size:
		return fmt.Sprintf("it had %d bytes at point %d, has %d now", a.Size, from.Point, b.Size)
	}
	if s.specs[is].Changes != "" {
		if !a.Source.sameFile(b.Source) {
			return fmt.Sprintf("%s is another file than at point %d", b.Path, from.Point)
		}
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.openTableLocked(from, was)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("there is no table of point %d", from.Point)
	case err != nil:
		return fmt.Sprintf("the table of point %d: %v", from.Point, err)
	case !t.Sealed():
		return fmt.Sprintf("the table of point %d is not complete", from.Point)
	}
	return ""
}
