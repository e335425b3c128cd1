package retention

import (
	"context"
	"path/filepath"

	"failback/replication"
)

// MoveEstimate is what a move would take, reckoned from the indexes alone: in bytes of the disks, before compression, whatever little it took to receive them (a discard is a few bytes in the
// journal, and what it discards has to be saved whole).
type MoveEstimate struct {
	From  replication.PointID // where the disks stand, or will when the unfinished move is done
	Write int64               // what is left of an unfinished move included
	Save  int64               // of Write: only the disks hold it
	// Spares says, by file as Use names it, how many of the bytes that are written over it has as well: once dropped, they would have to be saved.
	Spares map[string]int64
}

// EstimateMove reckons a move from where the disks are to a listed point. A move that is not finished is taken to be finished first, or taken back when it came from there.
// What files had of which nothing can be read is not in it.
func (j *Journal) EstimateMove(ctx context.Context, to replication.PointID) (MoveEstimate, error) {
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	known := c.sighted()
	from, rest, err := known.reckonFrom(ctx, to)
	if err != nil {
		return MoveEstimate{}, err
	}
	e, err := known.reckonMove(ctx, from, to)
	if err != nil {
		return MoveEstimate{}, err
	}
	e.Write += rest
	return e, nil
}

// EstimateWrite is the Write of EstimateMove, and of it what is on each disk; but for what is left of an unfinished move, which is in the sum alone. It reads only the indexes of the files between the two points.
func (j *Journal) EstimateWrite(ctx context.Context, to replication.PointID) (write int64, disks []int64, err error) {
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	known := c.sighted()
	from, write, err := known.reckonFrom(ctx, to)
	if err != nil {
		return 0, nil, err
	}
	disks = make([]int64, c.present())
	for d, slot := range c.slots() {
		if disks[d], err = known.differsOn(ctx, slot, from, to, 0); err != nil {
			return 0, nil, err
		}
		write += disks[d]
	}
	return write, disks, nil
}

// BoundMove is no less than the Write of EstimateMove, and reads nothing.
func (j *Journal) BoundMove(to replication.PointID) (n int64) {
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	ends := []replication.PointID{c.head, to}
	if c.move != nil {
		ends = append(ends, c.move.From, c.move.To)
	}
	lo, hi := ends[0], ends[0]
	for _, p := range ends {
		lo, hi = min(lo, p), max(hi, p)
	}
	for _, s := range c.within(lo+1, hi) {
		if s.bad != nil { // anything
			for _, d := range c.id.Disks {
				n += d.Size
			}
		}
		n += s.foot.bytes
	}
	if c.move != nil { // parts may be written twice
		n *= 2
	}
	return n
}

// reckonFrom returns where a move to a point starts, and what is to be written before.
func (c *catalog) reckonFrom(ctx context.Context, to replication.PointID) (from replication.PointID, rest int64, err error) {
	if _, err := c.point(to); err != nil {
		return 0, 0, err
	}
	if !c.atPoint() {
		return 0, 0, ErrNotAtPoint
	}
	if c.move == nil {
		return c.head, 0, nil
	}
	if to == c.move.From { // it is turned, and begins at zero
		rest, err = c.differs(ctx, c.move.From, c.move.To, nil)
		return to, rest, err
	}
	rest, err = c.differs(ctx, c.move.From, c.move.To, c.move.Done)
	return c.move.To, rest, err
}

// differs adds up the bytes whose versions at two points differ, of each disk from an offset on; nil: from the begin.
func (c *catalog) differs(ctx context.Context, from, to replication.PointID, start []int64) (n int64, err error) {
	if from == to {
		return 0, nil
	}
	for d := range c.id.Disks {
		at := int64(0)
		if start != nil {
			at = start[d]
		}
		on, err := c.differsOn(ctx, replication.DiskNo(d), from, to, at)
		if err != nil {
			return 0, err
		}
		n += on
	}
	return n, nil
}

// differsOn is differs of one disk.
func (c *catalog) differsOn(ctx context.Context, disk replication.DiskNo, from, to replication.PointID, at int64) (n int64, err error) {
	if from == to {
		return 0, nil
	}
	err = c.differing(disk, from, to, max(from, to), at, func(sp span) error {
		n += sp.ext.Len()
		return ctx.Err()
	})
	return n, err
}

// reckonMove reckons a move between two points.
func (c *catalog) reckonMove(ctx context.Context, from, to replication.PointID) (MoveEstimate, error) {
	e := MoveEstimate{From: from, Spares: map[string]int64{}}
	if from == to {
		return e, nil
	}
	spares := map[*sealed]int64{}
	for d := range c.id.Disks {
		err := c.differing(replication.DiskNo(d), from, to, from, 0, func(sp span) error {
			e.Write += sp.ext.Len()
			if !sp.journaled() {
				e.Save += sp.ext.Len()
			} else {
				spares[sp.in] += sp.ext.Len()
			}
			return ctx.Err()
		})
		if err != nil {
			return e, err
		}
	}
	for s, n := range spares {
		e.Spares[filepath.Join(fileDirs[s.hdr.kind], filepath.Base(s.name))] = n
	}
	return e, nil
}
