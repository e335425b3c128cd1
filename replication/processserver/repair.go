package processserver

import (
	"context"
	"fmt"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// Repair implements link.Worker. It sends parts of a cut that the master target has lost again: from the very snapshot, which does not change while it is held, or not at all (I10).
func (e *Engine) Repair(ctx context.Context, s link.Spec, r link.Repair) error {
	g, err := e.open(s)
	if err != nil {
		return err
	}
	defer g.mu.Unlock()
	c, held := g.images.Held(r.Point)
	if !held || c.Snapshot != r.Snapshot || !c.Stable {
		why := "the source no longer has it"
		if held && c.Snapshot == r.Snapshot {
			why = "the source has no snapshot of it: the disk may have changed since"
		}
		return &replication.Problem{Code: link.CodeSnapshotGone, Message: fmt.Sprintf("group %s: parts of point %d can't be sent again: %s", s.Session.Group, r.Point, why),
			Remedy: "none needed: the next point is made by comparing, and is whole"}
	}
	ship := &shipment{engine: e, fence: link.Fence{Session: s.Session, Point: r.Point}, images: g.images, stable: true}
	defer ship.close()
	lane, err := e.authority.Lane(ctx, replication.Lane{Session: s.Session, Point: r.Point, Attempt: attempts.Add(1)})
	if err != nil {
		return fmt.Errorf("open a lane: %w", err)
	}
	defer lane.Close()
	w := &worker{shipment: ship}
	w.pack = packer{out: lane.Send, level: func([]byte) block.Level { return block.LevelLZ4 }}
	w.fresh()
	defer func() { w.region.Release() }()
	defer w.pack.drop()
	sent := int64(0)
	for _, d := range s.Disks {
		ds := &diskShip{Source: d}
		ship.disks = append(ship.disks, ds)
		if len(r.Extents[d.Disk.No]) == 0 {
			continue
		}
		if ds.view, err = g.images.View(r.Point, d.Disk.No); err != nil {
			return sourceProblem(fmt.Sprintf("open disk %s at point %d", d.Disk.ID, r.Point), err)
		}
		for _, x := range r.Extents[d.Disk.No] {
			if err := x.Check(d.Disk.Size); err != nil {
				return fmt.Errorf("repair disk %s: %w", d.Disk.ID, err)
			}
			for x = x.Outward(d.Disk.Size); !x.Empty(); {
				part := replication.Extent{Off: x.Off, End: min(x.End, x.Off+replication.Region)}
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err := w.sendKnown(job{disk: ds, extents: []replication.Extent{part}}); err != nil {
					return fmt.Errorf("disk %s at %d: %w", d.Disk.ID, part.Off, err)
				}
				x.Off, sent = part.End, sent+part.Len()
			}
		}
	}
	if err := w.pack.flush(); err != nil {
		return err
	}
	if _, err := lane.Flush(); err != nil { // nothing goes by reference: all that came is durable
		return fmt.Errorf("flush the lane: %w", err)
	}
	e.cfg.Log.Info("sent again", "group", s.Session.Group, "point", r.Point, "bytes", sent)
	return nil
}
