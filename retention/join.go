package retention

import (
	"errors"
	"fmt"
	"slices"

	"failback/replication"
)

// A disk may join a group that has points. A record makes it one of the group's disks, with the next number: numbers never change. It is unborn until a cycle that was begun later is listed: that cycle
// writes it through, whole, as the first baseline does with all disks, while the changes of the others are journaled; its point is the disk's birth. From then on it is a disk like any other.
//
// No file has an entry of it up to its birth. So it has one content up to there, which the disk holds: a move to an earlier point leaves it as it was at its birth, or takes it back to that, and what
// is saved of it has the version of the oldest listed point, as with any disk. That content belongs to no point before the birth, and no reader gets it there.

// ErrUnborn: the disk joined after the point; an Unborn is in the chain.
var ErrUnborn = errors.New("the disk joined later")

// Unborn says that a disk has nothing at a point. ErrUnborn is in its chain.
type Unborn struct {
	Disk  replication.DiskID
	Point replication.PointID
	Born  replication.PointID // its birth; NoPoint: no point has it yet
}

func (u *Unborn) Error() string {
	if u.Born == NoPoint {
		return fmt.Sprintf("disk %s has not joined a point yet: there is nothing of it at point %d", u.Disk, u.Point)
	}
	return fmt.Sprintf("disk %s joined at point %d: there is nothing of it at point %d", u.Disk, u.Born, u.Point)
}

// Unwrap returns ErrUnborn.
func (u *Unborn) Unwrap() error { return ErrUnborn }

// joinRecord makes disks part of the group.
type joinRecord struct {
	Disks    []replication.Disk `json:"disks"`              // numbered, as in files, on from those that were ever there
	Targets  []string           `json:"targets"`            // of these
	Settings *Settings          `json:"settings,omitempty"` // with them
}

// Join makes disks part of a group that has at least one point, durably, and in the same record notes what a master target has to know of the group from then on. The disks are numbered on from the group's. It opens
// the journal as OpenAs does, and closes it again: nobody has it open. A cycle that is open goes on without them; the next one that begins has them.
func Join(dir string, group replication.GroupID, owner string, disks []replication.Disk, s Settings) error {
	forgetCached(dir)
	return join(osVolume{}, dir, group, owner, defaultTuning, disks, &s)
}

func join(vol volume, dir string, group replication.GroupID, owner string, t tuning, disks []replication.Disk, s *Settings) error {
	j, err := openAs(vol, dir, group, owner, t)
	if err != nil {
		return err
	}
	err = j.commit(kindDisksJoined, func(st *state) (any, error) {
		if st.origin == 0 {
			return nil, fmt.Errorf("%w: disks join a group that has a point", ErrNotAtPoint)
		}
		r := joinRecord{Disks: disks, Settings: s}
		r.Disks = slices.Clone(disks)
		for i := range r.Disks {
			r.Disks[i].No += replication.DiskNo(len(st.left))
		}
		if n := st.present(); s != nil && len(s.Targets) == n+len(disks) {
			r.Targets = s.Targets[n:]
		}
		return r, nil
	})
	if err != nil {
		err = fmt.Errorf("join disks to group %s: %w", group, err)
	}
	return errors.Join(err, j.Close())
}

// join adds the disks of a record.
func (s *state) join(x joinRecord) error {
	if s.origin == 0 {
		return errors.New("disks joined before the first point")
	}
	if len(x.Disks) == 0 || len(x.Targets) != len(x.Disks) {
		return fmt.Errorf("%d disks joined, with %d targets", len(x.Disks), len(x.Targets))
	}
	id := s.id
	id.Disks, id.Targets = slices.Concat(id.Disks, x.Disks), slices.Concat(id.Targets, x.Targets)
	if err := checkIdentity(id); err != nil {
		return fmt.Errorf("disks joined: %w", err)
	}
	if n := s.present() + len(x.Disks); n > replication.MaxDisks {
		return fmt.Errorf("disks joined: %d disks, at most %d", n, replication.MaxDisks)
	}
	for i, d := range id.Disks {
		if s.departed(d.No) == nil && slices.ContainsFunc(id.Disks[:i], func(o replication.Disk) bool { return o.ID == d.ID && s.departed(o.No) == nil }) {
			return fmt.Errorf("disk %s joined, and is there", d.ID)
		}
	}
	births := append(slices.Clone(s.births), make([]replication.PointID, len(s.id.Disks)-len(s.births))...)
	s.births = append(births, slices.Repeat([]replication.PointID{NoPoint}, len(x.Disks))...)
	s.id = id
	if s.move != nil {
		s.move.Done = append(s.move.Done, make([]int64, len(x.Disks))...)
	}
	if x.Settings != nil {
		s.settings = x.Settings
	}
	return nil
}

// birthsOf returns the births of the group's disks, by number.
func (s *state) birthsOf() []replication.PointID {
	births := []replication.PointID{}
	for _, d := range s.slots() {
		births = append(births, s.born(d))
	}
	return births
}

// born returns the first point that has a disk: 0 for those that the group began with, NoPoint where there is none yet.
func (s *state) born(d replication.DiskNo) replication.PointID {
	if int64(d) >= int64(len(s.births)) {
		return 0
	}
	return s.births[d]
}

// joining says whether a disk, by its number in files, is written through by the open cycle, as one that joins with its point.
func (s *state) joining(d replication.DiskNo) bool {
	return s.cycle != nil && s.cycle.Route == replication.Journaled && s.born(d) == NoPoint && s.cycleHas(d)
}

// cycleHas says whether the open cycle has a disk: not one that joined after it was begun.
func (s *state) cycleHas(d replication.DiskNo) bool {
	return s.cycle != nil && int64(s.number(d)) < int64(len(s.cycle.Cut.Sizes))
}

// birth makes the disks of a point that is being listed born, that were not yet.
func (s *state) birth(x pointRecord) error {
	for _, d := range x.Disks {
		if s.born(d.Disk) != NoPoint {
			continue
		}
		if d.Bytes != s.id.size(d.Disk) && !leftOut(ruleBornWhole) {
			return fmt.Errorf("point %d has %d bytes of disk %d, which joins with %d", x.Point, d.Bytes, d.Disk, s.id.size(d.Disk))
		}
		s.births = slices.Clone(s.births)
		s.births[d.Disk] = x.Point
	}
	return nil
}

// unborn says that a disk has nothing at a point, if so.
func (s *state) unborn(d replication.DiskNo, p replication.PointID) error {
	if b := s.born(d); p < b && !leftOut(ruleBirth) {
		return &Unborn{s.id.Disks[d].ID, p, b}
	}
	return nil
}

// Births returns, by disk number, of those that have not left, the first point that has the disk: 0 for the disks that the group began with, NoPoint for one that has joined and that no point has yet.
func (j *Journal) Births() []replication.PointID {
	return j.now.Load().birthsOf()
}

// DisksAt returns how many of the group's disks a listed point has: those with the numbers below.
func (j *Journal) DisksAt(p replication.PointID) int {
	return j.now.Load().bornBy(p)
}

// bornBy counts the group's disks that were born with a point, or before.
func (s *state) bornBy(p replication.PointID) (n int) {
	for _, b := range s.birthsOf() { // they rise
		if b <= p {
			n++
		}
	}
	return n
}

// Joining says whether the open cycle writes a disk through, as one that joins with its point.
func (j *Journal) Joining(d replication.DiskNo) bool {
	st := j.now.Load()
	return st.joining(st.slot(d))
}

// Births returns what Journal.Births does.
func (i *Inspection) Births() []replication.PointID { return i.j.Births() }
