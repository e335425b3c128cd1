package processserver

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"failback/replication"
	"failback/replication/link"
)

// job is a piece of one disk for a worker.
type job struct {
	no      uint64 // they are given in this order
	disk    *diskShip
	region  replication.Extent   // one region, or a run of regions where all is known to be zero (hole and sideZero)
	side    *link.Side           // compare mode: the master target's side of it; nil: covered already, only the table wants it
	hole    bool                 // the source has a hole here: it reads as zeros without being read
	extents []replication.Extent // changes that the source knows: what to send, at most a frame's worth
	again   bool                 // extents were sent by reference, and are needed by value
	repeat  *run                 // what was found elsewhere, and has arrived there
}

// scan finds what may differ on one disk and makes jobs of it.
func (s *shipment) scan(ctx context.Context, d *diskShip) error {
	var err error
	switch {
	case d.compares:
		err = s.scanCompare(ctx, d)
	case d.known != nil:
		err = s.scanKnown(ctx, d)
	default:
		err = s.scanTable(ctx, d)
	}
	if err != nil {
		return fmt.Errorf("disk %s: %w", d.Disk.ID, err)
	}
	return nil
}

func (s *shipment) give(ctx context.Context, j job) error {
	j.no = s.given.Add(1)
	select {
	case s.jobs <- j:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// scanCompare asks for the master target's side of all regions that are not durable yet. Those that are durable are only hashed for the table,
// where their record did not survive.
func (s *shipment) scanCompare(ctx context.Context, d *diskShip) error {
	var open, covered []replication.Extent // runs of whole regions
	for off := int64(0); off < d.Disk.Size; off += replication.Region {
		r := replication.Extent{Off: off, End: min(off+replication.Region, d.Disk.Size)}
		to := &open
		if d.durable.Contains(r) {
			whole, err := s.shipped(d, off)
			if err != nil {
				return err
			}
			if whole {
				to = &covered
			}
		}
		if n := len(*to); n > 0 && (*to)[n-1].End == off {
			(*to)[n-1].End = r.End
		} else {
			*to = append(*to, r)
		}
	}
	if d.table != nil && s.stable {
		for _, run := range covered {
			if err := s.regions(ctx, d, run, nil); err != nil {
				return err
			}
		}
	}
	for _, run := range covered {
		d.ledger.look(&d.ledger.kept, run.Len())
		d.ledger.look(&d.ledger.done, run.Len())
	}
	if len(open) == 0 {
		return nil
	}
	c, err := s.engine.authority.Compare(ctx, s.fence, d.Disk.No, open)
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	defer c.Close()
	told, asked := int64(0), open
	for {
		begin := time.Now()
		side, err := c.Next()
		since(&d.ledger.spent.target, begin)
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("compare: %w", err)
		}
		side.End = min(side.End, d.Disk.Size)
		if side.Off < told || side.Empty() || side.Off%replication.Region != 0 {
			return fmt.Errorf("compare: the master target told %v after %d", side.Extent, told)
		}
		for len(asked) > 0 && asked[0].End <= told {
			asked = asked[1:]
		}
		if len(asked) > 0 && max(asked[0].Off, told) < side.Off {
			return fmt.Errorf("compare: the master target told nothing of %v", replication.Extent{Off: max(asked[0].Off, told), End: min(asked[0].End, side.Off)})
		}
		told = side.End
		for _, run := range asked { // it may tell more than was asked for
			if run.Off >= side.End {
				break
			}
			if err := s.regions(ctx, d, side.Extent.Intersect(run), &side); err != nil {
				return err
			}
		}
	}
	if last := open[len(open)-1]; told < last.End {
		return fmt.Errorf("compare: the master target stopped at %d of %d", told, last.End)
	}
	return nil
}

// shipped says whether what is durable of a region is what the table says, or will say. Of a view that may have changed since, only a record that was made
// when the region was shipped tells that.
func (s *shipment) shipped(d *diskShip, off int64) (bool, error) {
	if s.stable || d.table == nil {
		return true, nil
	}
	var pages [pagesPerRegion]replication.Hash
	_, ok, err := d.table.Get(off/replication.Region, pages[:0])
	if err != nil {
		return false, fmt.Errorf("read table: %w", err)
	}
	return ok, nil
}

// regions makes jobs of a run of whole regions: one a region, but one for all of a run where both sides are known to be zero.
func (s *shipment) regions(ctx context.Context, d *diskShip, run replication.Extent, side *link.Side) error {
	for off := run.Off; off < run.End; {
		data, end := off, d.data.End
		if off < d.data.Off || off >= end { // for each region, it would cost as much as to hash it, where files know their holes by their pages only (tmpfs)
			s.reading.Add(1)
			var err error
			data, end, err = d.view.NextData(off)
			if s.reading.Add(-1); err != nil {
				return sourceProblem("find data", err)
			}
			d.data = replication.Extent{Off: data, End: end}
		}
		data = min(data&^(replication.Region-1), run.End)
		if data > off && (side == nil || side.Zero) {
			if err := s.give(ctx, job{disk: d, region: replication.Extent{Off: off, End: data}, side: side, hole: true}); err != nil {
				return err
			}
			off = data
			continue
		}
		// Up to where the data ends, each region is a job of its own.
		stop := run.End
		if data > off {
			stop = data
		} else if e := (end + replication.Region - 1) &^ (replication.Region - 1); e < stop {
			stop = max(e, off+replication.Region)
		}
		for ; off < min(stop, run.End); off += replication.Region {
			r := replication.Extent{Off: off, End: min(off+replication.Region, run.End)}
			if err := s.give(ctx, job{disk: d, region: r, side: side, hole: data > off}); err != nil {
				return err
			}
		}
	}
	return nil
}

// scanKnown makes jobs of the changes that the source told, less what is durable.
func (s *shipment) scanKnown(ctx context.Context, d *diskShip) error {
	d.ledger.look(&d.ledger.done, d.durable.Bytes())
	d.ledger.look(&d.ledger.kept, d.durable.Bytes())
	return s.scanExtents(ctx, d, s.covered(d), false)
}

// scanExtents makes jobs of extents that rise, less what is durable.
func (s *shipment) scanExtents(ctx context.Context, d *diskShip, extents iter.Seq[replication.Extent], again bool) error {
	var batch []replication.Extent
	room := int64(jobBytes)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		j := job{disk: d, extents: batch, again: again}
		batch, room = nil, jobBytes
		return s.give(ctx, j)
	}
	var missing []replication.Extent
	for x := range extents {
		if err := x.Check(d.Disk.Size); err != nil {
			return fmt.Errorf("changes: %w", err)
		}
		missing = d.durable.Missing(missing[:0], x)
		for _, e := range missing {
			for !e.Empty() {
				part := replication.Extent{Off: e.Off, End: min(e.End, e.Off+room)}
				if again && !d.ledger.later.Load() {
					d.ledger.repeated.Add(-part.Len())
				}
				batch = append(batch, part)
				room -= part.Len()
				e.Off = part.End
				if room == 0 || len(batch) == jobExtents {
					if err := flush(); err != nil {
						return err
					}
				}
			}
		}
	}
	return flush()
}

// Bounds of a job of known changes.
const (
	jobBytes   = replication.Region
	jobExtents = 256
)

// scanTable makes a job of every region: what changed is found by hashing.
func (s *shipment) scanTable(ctx context.Context, d *diskShip) error {
	return s.regions(ctx, d, replication.Extent{End: d.Disk.Size}, nil)
}
