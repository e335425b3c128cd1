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

// buryWhole buries the blind files by which nothing is lost. It returns how many bytes of the disks the packs tell of. While the disks move it does nothing (ErrInUse).
func (j *Journal) buryWhole(ctx context.Context) (n int64, err error) {
	if len(j.now.Load().blind) == 0 {
		return 0, nil
	}
	if !j.moving.TryLock() {
		return 0, fmt.Errorf("%w: the disks are moving", ErrInUse)
	}
	defer j.moving.Unlock()
	for _, b := range j.now.Load().blind {
		k, err := j.bury(ctx, b, false)
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
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

func (j *Journal) buryThese(ctx context.Context, which func(*sealed) bool, need ...replication.PointID) error {
	these := slices.DeleteFunc(slices.Clone(j.now.Load().blind), func(b *sealed) bool { return !which(b) })
	if len(these) == 0 {
		return nil
	}
	var doubt error
	for _, p := range need {
		if doubt = j.undoubted(ctx, p); doubt == nil {
			break
		}
	}
	if doubt != nil {
		return doubt
	}
	slices.SortStableFunc(these, func(a, b *sealed) int { return cmp.Compare(a.low(), b.low()) }) // what comes before a file is the better known
	for _, b := range these {
		if _, err := j.bury(ctx, b, true); err != nil {
			return err
		}
	}
	return nil
}

// undoubted returns the first thing that a point shows and a blind file may have had.
func (j *Journal) undoubted(ctx context.Context, p replication.PointID) (doubt error) {
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	for d := range c.id.Disks {
		err := c.eachDoubt(ctx, replication.DiskNo(d), p, func(sp span) {
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

// bury puts packs in the place of a blind file, one for each listed point that may be the oldest to show something that was in it; where something is lost by that, only if so asked. moving is held. While files are rewritten it does nothing (ErrInUse). It returns how many bytes of the
// disks the packs tell of.
func (j *Journal) bury(ctx context.Context, b *sealed, evenLost bool) (n int64, err error) {
	if !j.packing.TryLock() {
		return 0, fmt.Errorf("bury %s: %w: files are being rewritten", j.relative(b), ErrInUse)
	}
	defer j.packing.Unlock()
	c := j.shelf.pin()
	defer func() { j.shelf.unpin(c) }()
	if !c.atPoint() || !slices.Contains(c.blind, b) {
		return 0, nil
	}
	points := c.showing(b)
	if !evenLost {
		loses, err := c.loses(ctx, b, points)
		if err != nil || loses {
			return 0, err
		}
	}
	for i := 0; i < max(1, len(points)); i++ {
		var pack *sealed
		if i < len(points) {
			var k int64
			if pack, k, err = j.gravestone(ctx, c, b, points[i]); err != nil {
				return n, j.note(fmt.Errorf("bury %s: %w", c.relative(b), noSpace(err)))
			}
			n += k
		}
		if err := j.replaceBlind(c, b, pack, i >= len(points)-1); err != nil {
			return n, fmt.Errorf("bury %s: %w", c.relative(b), err)
		}
		j.shelf.unpin(c)
		c = j.shelf.pin()
	}
	return n, j.shelf.sweep()
}

// replaceBlind records a pack that tells of a blind file, nil: none, and, with the last one, that the file is gone.
func (j *Journal) replaceBlind(c *catalog, b, pack *sealed, last bool) error {
	r := replaceRecord{Gone: []string{}}
	var with []*sealed
	if last {
		r.Gone = append(r.Gone, c.relative(b))
	}
	if pack != nil {
		r.Files, with = append(r.Files, pack.record()), append(with, pack)
	}
	if len(r.Gone)+len(r.Files) == 0 {
		return nil
	}
	err := j.commit(kindFilesReplaced, func(st *state) (any, error) {
		if st.moves != c.moves || !st.sameDamage(c.state) {
			return nil, errDamageChanged
		}
		return r, nil
	}, with...)
	if err != nil && pack != nil && j.usable() == nil { // else the record may be there, and needs its pack
		j.files.forget(pack.name)
		err = errors.Join(err, removeIfThere(j.vol, pack.name))
	}
	return err
}

// gravestone makes the pack that says what a listed point shows that a blind file may have had; nil where that is nothing. n are bytes of the disks.
func (j *Journal) gravestone(ctx context.Context, c *catalog, b *sealed, p replication.PointID) (pack *sealed, n int64, err error) {
	last, _ := c.last()
	pack, err = j.packed(last.ID, func(w *writer) error {
		x := &packer{w: w, ctx: ctx}
		for d := range c.id.Disks {
			err := c.mayHaveHad(ctx, b, p, replication.DiskNo(d), func(sp span) error {
				n += sp.ext.Len()
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
	return pack, n, err
}

// loses says whether points lose something when a blind file is buried.
func (c *catalog) loses(ctx context.Context, b *sealed, points []replication.PointID) (some bool, err error) {
	for _, p := range points {
		for d := range c.id.Disks {
			err := c.mayHaveHad(ctx, b, p, replication.DiskNo(d), func(sp span) error {
				some = some || sp.kind == lost
				return nil
			})
			if err != nil || some {
				return some, err
			}
		}
	}
	return false, nil
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

// mayHaveHad calls fn with what a listed point shows of a disk that a blind file may have had: spans that rise, in the highest version that it may have had of them, and are gone, where the disks show them, or lost.
func (c *catalog) mayHaveHad(ctx context.Context, b *sealed, p replication.PointID, disk replication.DiskNo, fn func(span) error) error {
	if c.born(disk) == NoPoint {
		return nil // no file has anything of it
	}
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
			newest, may := b.hides(&sp, p)
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
				if err := fn(k); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
