package retention

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"failback/replication"
)

// A blind file is buried when a pack takes its place that says, of all that the file may have had, what the disks hold, and that the rest is lost. Nothing is read or written of the disks.
//
// What may have been in the file stands at each point as a reader sees it. Burying is for good: a file that comes back is not believed any more. Hence a file is buried when nothing is lost by it, or before a move.

// buryWhole buries the blind files by which nothing is lost. It returns how many bytes of the disks the packs tell of. While the disks move, or files are being rewritten, it does nothing (ErrInUse).
func (j *Journal) buryWhole(ctx context.Context) (n int64, err error) {
	if len(j.now.Load().blind) == 0 {
		return 0, nil
	}
	if !j.moving.TryLock() {
		return 0, fmt.Errorf("%w: the disks are moving", ErrInUse)
	}
	defer j.moving.Unlock()
	for range readyTries {
		var again bool
		for _, b := range j.now.Load().blind {
			k, err := j.bury(ctx, j.relative(b), func(c *catalog, b *sealed) (bool, error) { return c.losesNothing(ctx, b) })
			if again = errors.Is(err, errDamageChanged); again {
				break
			}
			if n += k; err != nil {
				return n, err
			}
		}
		if !again {
			return n, nil
		}
	}
	return n, fmt.Errorf("%w: %w", ErrInUse, errDamageChanged)
}

// buryBefore buries, before the disks move between two points, the blind files with versions up to either, when the one that they move to is whole nevertheless. Then it is known of each byte which version the disks show: without that,
// it would be saved as another. moving is held.
func (j *Journal) buryBefore(ctx context.Context, from, to replication.PointID) error {
	return j.buryThese(ctx, func(b *sealed) bool { return b.low() <= max(from, to) }, to)
}

// buryWithin buries the blind files with versions between the ends of an unfinished move, when one of the ends is whole nevertheless. moving is held.
func (j *Journal) buryWithin(ctx context.Context, u *Move) error {
	return j.buryThese(ctx, func(b *sealed) bool { return b.low() <= max(u.From, u.To) && b.high() > min(u.From, u.To) }, u.From, u.To)
}

// buryThese buries files, those with the lowest versions first, as what comes before a file is the better known, when one of the points in need is whole nevertheless.
func (j *Journal) buryThese(ctx context.Context, which func(*sealed) bool, need ...replication.PointID) error {
	these := slices.DeleteFunc(slices.Clone(j.now.Load().blind), func(b *sealed) bool { return !which(b) })
	slices.SortStableFunc(these, func(a, b *sealed) int { return cmp.Compare(a.low(), b.low()) })
	for _, b := range these {
		_, err := j.bury(ctx, j.relative(b), func(c *catalog, _ *sealed) (bool, error) {
			var doubt error
			for _, p := range need {
				if doubt = c.undoubted(ctx, p); doubt == nil {
					return true, nil
				}
			}
			return false, doubt
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// undoubted returns the first thing that a move to a point needs and a blind file may have had.
func (c *catalog) undoubted(ctx context.Context, p replication.PointID) (doubt error) {
	for d := range c.id.Disks {
		if c.departed(replication.DiskNo(d)) != nil {
			continue
		}
		err := c.eachDoubtMoved(ctx, replication.DiskNo(d), p, func(sp span) {
			if doubt == nil {
				doubt = fmt.Errorf("point %d: %w", p, sp.lostError())
			}
		})
		if err != nil || doubt != nil {
			return cmp.Or(err, doubt)
		}
	}
	return nil
}

// bury puts packs in the place of a blind file, one for each listed point that may be the oldest to show something that was in it; when may says so, of the journal as it stands. moving is held. It returns how many bytes of the disks
// the packs tell of. A file that can be read again is believed. While files are rewritten it does nothing (ErrInUse); where the journal changes under its hands, neither (errDamageChanged).
func (j *Journal) bury(ctx context.Context, name string, may func(*catalog, *sealed) (bool, error)) (n int64, err error) {
	if !j.packing.TryLock() {
		return 0, fmt.Errorf("bury %s: %w: files are being rewritten", name, ErrInUse)
	}
	defer j.packing.Unlock()
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	i := slices.IndexFunc(c.files, func(s *sealed) bool { return s.bad != nil && c.relative(s) == name })
	if i < 0 || !c.atPoint() {
		return 0, nil
	}
	b := c.files[i]
	if well, err := j.sees(c.state.files[i], b); err != nil || well {
		return 0, err
	}
	if ok, err := may(c, b); err != nil || !ok {
		return 0, err
	}
	var with []*sealed
	r := replaceRecord{Gone: []string{name}}
	for _, p := range c.showing(b) {
		stone := func() (*sealed, int64, error) { return j.gravestone(ctx, c, b, p, len(with)+1) }
		pack, k, err := stone()
		if errors.Is(noSpace(err), ErrNoSpace) && j.usable() == nil && j.giveUp() {
			pack, k, err = stone()
		}
		if err != nil {
			return 0, errors.Join(j.note(fmt.Errorf("bury %s: %w", name, noSpace(err))), j.discard(with))
		}
		if n += k; pack != nil {
			r.Files, with = append(r.Files, pack.record()), append(with, pack)
		}
	}
	err = j.commit(kindFilesReplaced, func(st *state) (any, error) {
		for _, p := range c.points { // what is said of each rests on those before
			if _, err := st.point(p.ID); err != nil {
				return nil, errDamageChanged
			}
		}
		if st.moves != c.moves || !st.sameDamage(c.state) {
			return nil, errDamageChanged
		}
		return r, nil
	}, with...)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("bury %s: %w", name, err), j.discard(with))
	}
	return n, errors.Join(j.shelf.sweep(), j.setAside())
}

// discard removes packs that no record names. Once the journal is not usable it may name them.
func (j *Journal) discard(packs []*sealed) (err error) {
	if j.usable() != nil {
		return nil
	}
	for _, s := range packs {
		j.files.forget(s.name)
		err = errors.Join(err, removeIfThere(j.vol, s.name))
	}
	return err
}

// sees looks whether a blind file can be read again, and then lets everybody see it.
func (j *Journal) sees(f namedFile, b *sealed) (bool, error) {
	j.files.forget(b.name)
	s, err := j.openNamed(f)
	if err == nil {
		err = s.verifyIndex(&j.id)
	}
	if errors.Is(err, ErrCorrupt) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.rank, s.life = b.rank, b.life
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bad != nil {
		return false, j.bad
	}
	j.sealed[s.name] = s
	j.publish(j.now.Load().state)
	return true, nil
}

// gravestone makes the n-th pack from now on, which says what a listed point shows that a blind file may have had; nil where that is nothing. told are bytes of the disks.
func (j *Journal) gravestone(ctx context.Context, c *catalog, b *sealed, p replication.PointID, n int) (pack *sealed, told int64, err error) {
	last, _ := c.last()
	pack, err = j.packed(last.ID, n, func(w *writer) error {
		told = 0
		x := &packer{w: w, ctx: ctx}
		for d := range c.id.Disks {
			if l := c.departed(replication.DiskNo(d)); l != nil && p > l.Last {
				continue
			}
			err := c.mayHaveHad(ctx, b, p, replication.DiskNo(d), func(sp span, _ bool) error {
				told += sp.ext.Len()
				return x.put(sp)
			})
			if err != nil {
				return err
			}
			if err := x.flush(); err != nil {
				return err
			}
		}
		return nil
	})
	return pack, told, err
}

// losesNothing says whether no point loses anything when a blind file is buried.
func (c *catalog) losesNothing(ctx context.Context, b *sealed) (bool, error) {
	some := false
	for _, p := range c.showing(b) {
		for d := range c.id.Disks {
			if l := c.departed(replication.DiskNo(d)); l != nil && p > l.Last {
				continue
			}
			err := c.mayHaveHad(ctx, b, p, replication.DiskNo(d), func(_ span, shown bool) error {
				some = some || !shown
				return nil
			})
			if err != nil || some {
				return false, err
			}
		}
	}
	return true, nil
}

// showing returns the listed points, rising, each of which may be the oldest to show something that was in a file.
func (c *catalog) showing(b *sealed) (ids []replication.PointID) {
	for _, p := range c.points {
		if p.ID < b.low() {
			continue
		}
		if ids = append(ids, p.ID); p.ID >= b.high() {
			break
		}
	}
	return ids
}

// mayHaveHad calls fn with what a listed point shows of a disk that a blind file may have had: spans that rise, in the highest version that it may have had of them, and are gone, where the disks show them, or lost. Where an earlier
// attempt at the cycle has something else, gone would stand below it: that is told as lost, and shown says that the disks show it nevertheless.
func (c *catalog) mayHaveHad(ctx context.Context, b *sealed, p replication.PointID, disk replication.DiskNo, fn func(sp span, shown bool) error) error {
	v, err := newView(c, disk, p)
	if err != nil {
		return err
	}
	v.asFound = true
	var found, known []span
	for e, size := (replication.Extent{}), c.id.size(disk); e.Off < size; e.Off = e.End {
		if e.End = min(e.Off+holesPart, size); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if found, err = v.pieces(found[:0], e); err != nil {
			return err
		}
		for _, sp := range found {
			newest, may := c.hides(b, &sp, p)
			if !may {
				continue
			}
			if known, err = c.known(known[:0], sp, p, b, newest); err != nil {
				return err
			}
			for _, k := range known {
				if k.in != b {
					continue
				}
				shown := k.kind == gone
				if sp.in != nil && sp.hasContent() && sp.version == newest {
					k.kind = lost
				}
				if err := fn(k, shown); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
