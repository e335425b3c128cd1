package processserver

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"failback/replication"
	"failback/replication/link"
	"failback/source"
)

// Verify implements link.Worker. It reads the source's snapshot again: the tables, which say what was read when the point was made, are not believed.
func (e *Engine) Verify(ctx context.Context, s link.Spec, point replication.PointID, progress func([]replication.Ledger)) (link.Verified, error) {
	g, err := e.open(s)
	if err != nil {
		return link.Verified{}, err
	}
	defer g.mu.Unlock()
	v := &verification{shipment: shipment{engine: e, fence: link.Fence{Session: s.Session, Point: point}, images: g.images}}
	defer v.close()
	for _, d := range s.Disks {
		ds := &diskShip{Source: d}
		ds.ledger.no = d.Disk.No
		ds.ledger.total.Store(d.Disk.Size)
		if ds.view, err = g.images.View(point, d.Disk.No); err != nil {
			return link.Verified{}, &replication.Problem{
				Code: "snapshot-gone", Message: fmt.Sprintf("disk %s: the source no longer has point %d", d.Disk.ID, point), Err: err,
				Remedy: "the source keeps the last listed point only: verify that one",
			}
		}
		v.disks = append(v.disks, ds)
	}
	stop := v.report(func() { progress(v.ledgers()) })
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(DefaultDisks)
	for _, d := range v.disks {
		group.Go(func() error {
			if err := v.disk(ctx, d); err != nil {
				return fmt.Errorf("verify disk %s: %w", d.Disk.ID, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return link.Verified{}, err
	}
	return v.result, nil
}

type verification struct {
	shipment
	mu     sync.Mutex
	result link.Verified
}

// disk compares one disk, regions in parallel.
func (v *verification) disk(ctx context.Context, d *diskShip) error {
	c, err := v.engine.authority.Compare(ctx, v.fence, d.Disk.No, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(v.engine.cfg.Workers)
	var differs atomic.Int64
	told := int64(0)
	for {
		side, err := c.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			group.Wait()
			return err
		}
		side.End = min(side.End, d.Disk.Size)
		if side.Off != told || side.Empty() {
			group.Wait()
			return fmt.Errorf("the master target told %v after %d", side.Extent, told)
		}
		told = side.End
		group.Go(func() error {
			n, err := v.side(ctx, d, side)
			differs.Add(n)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if told != d.Disk.Size {
		return fmt.Errorf("the master target stopped at %d of %d", told, d.Disk.Size)
	}
	if n := differs.Load(); n > 0 {
		v.mu.Lock()
		v.result.Differs += n
		v.result.Disks = append(v.result.Disks, d.Disk.No)
		v.mu.Unlock()
	}
	return nil
}

var regionBuffers = sync.Pool{New: func() any { b := make([]byte, replication.Region); return &b }}

// side compares one region, or a run that the master target says is zero, and returns how many bytes differ.
func (v *verification) side(ctx context.Context, d *diskShip, side link.Side) (differs int64, err error) {
	p := regionBuffers.Get().(*[]byte)
	defer regionBuffers.Put(p)
	for off := side.Off; off < side.End; {
		if side.Zero { // step over holes
			data, _, err := d.view.NextData(off)
			if err != nil {
				return 0, sourceProblem("find data", err)
			}
			if skip := min(data&^(replication.Page-1), side.End); skip > off {
				d.ledger.look(&d.ledger.zero, skip-off)
				d.ledger.look(&d.ledger.done, skip-off)
				off = skip
				continue
			}
		}
		e := replication.Extent{Off: off, End: min(off+replication.Region, side.End)}
		b := (*p)[:e.Len()]
		if n, err := d.view.ReadAt(b, off); n < len(b) {
			if err == nil || err == io.EOF {
				err = source.ErrGone
			}
			return 0, sourceProblem("read source "+d.Path, err)
		}
		d.ledger.read.Add(e.Len())
		pages := replication.HashPages(nil, b)
		theirs := zeroPages[:len(pages)]
		if !side.Zero {
			if replication.HashRegion(pages) == side.Hash {
				theirs = pages
			} else if theirs, err = v.engine.authority.Pages(ctx, v.fence, d.Disk.No, off); err != nil {
				return 0, err
			}
		}
		n := int64(0)
		for _, x := range differing(e, pages, theirs) {
			n += x.Len()
		}
		differs += n
		d.ledger.look(&d.ledger.equal, e.Len()-n)
		d.ledger.look(&d.ledger.done, e.Len())
		off = e.End
	}
	return differs, nil
}
