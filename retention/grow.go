package retention

import (
	"errors"
	"fmt"
	"slices"

	"failback/replication"
)

// A disk may grow, once its group has a point, and while no cycle is open: a record says so, before the disk itself is any larger. Whoever opens the journal finds by that which size the disk is to have, and makes it so large where a
// power failure came between; until then it has the earlier size. What it has grown by is no different from what no file has an entry of: the disk holds it, at whatever point, until the next cycle, which compares, writes there.
//
// Points up to the last one before have the disk with its earlier size, and show so much of it (SizeAt). A move to one of them leaves the disk as large as it is, with what lay there when it grew behind its end: zeros, in a file.

// growth is that a disk grew.
type growth struct {
	Disk replication.DiskNo  `json:"disk"`
	Was  int64               `json:"was"`  // bytes
	Last replication.PointID `json:"last"` // points up to this one have it with so many
}

type growRecord struct {
	Disk replication.DiskNo `json:"disk"`
	Size int64              `json:"size"`
}

// Grow says that a disk has size bytes from the next point on, durably. It opens the journal as OpenAs does, and closes it again: nobody has it open. A cycle that is open is dropped. Who opens the journal then sees to it that the disk is as large.
func Grow(dir string, group replication.GroupID, owner string, disk replication.DiskNo, size int64) error {
	forgetCached(dir)
	return grow(osVolume{}, dir, group, owner, defaultTuning, disk, size)
}

func grow(vol volume, dir string, group replication.GroupID, owner string, t tuning, disk replication.DiskNo, size int64) error {
	j, err := openAs(vol, dir, group, owner, t)
	if err != nil {
		return err
	}
	if j.OpenCycle() != nil {
		err = j.Drop("a disk grows")
	}
	if err == nil {
		err = j.commit(kindDiskGrown, func(st *state) (any, error) {
			r := growRecord{st.slot(disk), size}
			return r, st.clone().grow(r)
		})
	}
	if err != nil {
		err = fmt.Errorf("disk %d of group %s grows to %d bytes: %w", disk, group, size, err)
	}
	return errors.Join(err, j.Close())
}

// MayGrow says why a disk can't grow to so many bytes; nil: it can.
func (j *Journal) MayGrow(disk replication.DiskNo, size int64) error {
	next := j.now.Load().clone()
	next.cycle = nil
	return next.grow(growRecord{next.slot(disk), size})
}

// grow makes a disk larger.
func (s *state) grow(x growRecord) error {
	was := s.id.size(x.Disk)
	last, ok := s.last()
	switch {
	case was < 0 || s.departed(x.Disk) != nil:
		return fmt.Errorf("there is no disk %d", x.Disk)
	case x.Size <= was || x.Size > replication.MaxDiskSize:
		return fmt.Errorf("it has %d bytes, and is to have %d", was, x.Size)
	case !ok:
		return fmt.Errorf("%w: disks grow in a group that has a point", ErrNotAtPoint)
	case s.cycle != nil:
		return fmt.Errorf("the cycle of point %d is open", s.cycle.Point)
	case was%replication.Page != 0: // extents end at the disk's end, and would end within a page now (I13)
		return fmt.Errorf("its %d bytes are not whole pages of %d", was, replication.Page)
	}
	s.id.Disks = slices.Clone(s.id.Disks)
	s.id.Disks[x.Disk].Size = x.Size
	s.grown = append(slices.Clip(s.grown), growth{x.Disk, was, last.ID})
	return nil
}

// sizeAt returns the bytes that a disk has at a point.
func (s *state) sizeAt(d replication.DiskNo, p replication.PointID) int64 {
	for _, g := range s.grown { // the earliest that is later than the point
		if g.Disk == d && p <= g.Last {
			return g.Was
		}
	}
	return s.id.size(d)
}

// SizeAt returns how many bytes a disk has at a point: fewer than now, where it has grown since. -1: there is no such disk.
func (j *Journal) SizeAt(d replication.DiskNo, p replication.PointID) int64 {
	st := j.now.Load()
	return st.sizeAt(st.slot(d), p)
}

// SizeAt returns what Journal.SizeAt does.
func (i *Inspection) SizeAt(d replication.DiskNo, p replication.PointID) int64 {
	return i.j.SizeAt(d, p)
}

// SizeBefore returns what Journal.SizeBefore does.
func (i *Inspection) SizeBefore(d replication.DiskNo) int64 { return i.j.SizeBefore(d) }

// SizeBefore returns how many bytes a disk had before it grew last: so many it still has where a power failure came between the record and the disk. 0: it has not grown.
func (j *Journal) SizeBefore(d replication.DiskNo) int64 {
	st := j.now.Load()
	return st.sizeBefore(st.slot(d))
}

func (s *state) sizeBefore(d replication.DiskNo) int64 {
	for _, g := range slices.Backward(s.grown) {
		if g.Disk == d {
			return g.Was
		}
	}
	return 0
}
