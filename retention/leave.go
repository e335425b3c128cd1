package retention

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"failback/replication"
)

// A disk may leave a group that has points. A record says so, while no cycle is open, no move is unfinished, and the disks' last session ended well. The target stays as it is, at the point that the disks show then, for ever: moves leave it
// alone, cycles don't have it, and nobody here writes to it any more. Points up to the last one before have the disk still; later ones don't.
//
// What the journal has of it stays as long as one of these points is listed, spares too: the target is free to be used, so that what it holds may go at any time. As long as nobody has written to it, what the journal does not have is there,
// and points that have the disk can be read; who opens it for that makes sure that it is as it was left.
//
// In files a disk keeps its number for ever. To the outside the group's disks are numbered from 0 on, those that have left behind them, in the order in which they left.

// ErrLeft: the disk left the group before the point; a Left is in the chain.
var ErrLeft = errors.New("the disk left earlier")

// Left says that a point does not have a disk any more. ErrLeft is in its chain.
type Left struct {
	Disk  replication.DiskID
	Point replication.PointID
	Last  replication.PointID // points up to this one have it
}

func (l *Left) Error() string {
	return fmt.Sprintf("disk %s left the group after point %d: there is nothing of it at point %d", l.Disk, l.Last, l.Point)
}

// Unwrap returns ErrLeft.
func (l *Left) Unwrap() error { return ErrLeft }

// maxNumbers bounds the disks that a group ever had, those that left included (I12).
const maxNumbers = 4 * replication.MaxDisks

// leaveRecord has disks leave the group.
type leaveRecord struct {
	Disks    []replication.DiskNo `json:"disks"` // as files have them
	Time     time.Time            `json:"time"`
	Settings *Settings            `json:"settings"` // of the group without them
}

// departure is what stays known of a disk that left.
type departure struct {
	Disk        replication.DiskNo  `json:"disk"` // as files have it
	Last        replication.PointID `json:"last"` // points up to this one have it, from its birth on
	Head        replication.PointID `json:"head"` // what its target shows
	Time        time.Time           `json:"time"`
	Target      string              `json:"target"`
	ContentIDs  []uint32            `json:"content_ids,omitempty"` // that the target may carry; empty: not known
	Fingerprint string              `json:"fingerprint,omitempty"` // of the target; empty: it has none
}

// Departed is a disk that has left its group. Disk.No is by what it is asked for: it changes when others join or leave.
type Departed struct {
	Disk        replication.Disk
	Born        replication.PointID // the first point that has it; 0: it was there from the begin, NoPoint: none ever had it
	Last        replication.PointID // points up to this one have it
	Head        replication.PointID // what its target shows, as long as nobody writes to it
	Left        time.Time
	Target      string
	ContentIDs  []uint32 // one of which the target carries; empty: none
	Fingerprint string   // what the target looked like; empty: it can't be told
}

// At says whether a point has the disk.
func (d *Departed) At(p replication.PointID) bool { return d.Born <= p && p <= d.Last }

// Leave has disks leave a group, durably, and in the same record notes what a master target has to know of the group from then on. It opens the journal as OpenAs does, and closes it again: nobody has it open, at least one disk that stays is one that some point has, and the last session ended
// well (RecordFingerprints). A cycle that is open is dropped.
func Leave(dir string, group replication.GroupID, owner string, disks []replication.DiskNo, s Settings) error {
	forgetCached(dir)
	return leave(osVolume{}, dir, group, owner, defaultTuning, disks, s, time.Now().UTC())
}

func leave(vol volume, dir string, group replication.GroupID, owner string, t tuning, disks []replication.DiskNo, s Settings, now time.Time) error {
	j, err := openAs(vol, dir, group, owner, t)
	if err != nil {
		return err
	}
	r := leaveRecord{Time: now, Settings: &s}
	for _, d := range disks {
		r.Disks = append(r.Disks, j.now.Load().slot(d))
	}
	if err = j.now.Load().mayLeave(r); err == nil && j.OpenCycle() != nil {
		err = j.Drop("a disk leaves")
	}
	if err == nil {
		err = j.commit(kindDisksLeft, func(st *state) (any, error) { return r, st.clone().leave(r) })
	}
	if err != nil {
		err = fmt.Errorf("disks leave group %s: %w", group, err)
	}
	return errors.Join(err, j.Close())
}

// mayLeave says why disks can't leave, but for a cycle that is open.
func (s *state) mayLeave(x leaveRecord) error {
	next := s.clone()
	next.cycle = nil
	return next.leave(x)
}

// leave has the disks of a record leave.
func (s *state) leave(x leaveRecord) error {
	last, ok := s.last()
	switch {
	case !ok || s.origin == 0:
		return fmt.Errorf("%w: disks leave a group that has a point", ErrNotAtPoint)
	case s.move != nil:
		return fmt.Errorf("%w: the disks stand between points %d and %d", ErrInUse, s.move.From, s.move.To)
	case s.cutover != nil:
		return fmt.Errorf("%w: a cutover is %s", ErrInUse, s.cutover.Step)
	case s.cycle != nil:
		return fmt.Errorf("the cycle of point %d is open", s.cycle.Point)
	case len(s.fingerprints) != s.present():
		return fmt.Errorf("%w: the last session with the disks did not end well", ErrInUse)
	case len(x.Disks) == 0 || len(x.Disks) >= s.present():
		return fmt.Errorf("%d of %d disks leave", len(x.Disks), s.present())
	case x.Settings == nil || len(x.Settings.Targets) != s.present()-len(x.Disks):
		return errors.New("disks leave without what is to be known of the group then")
	}
	var gone []departure
	var numbers []replication.DiskNo
	for _, d := range x.Disks {
		n := s.number(d)
		if s.id.size(d) < 0 || s.departed(d) != nil || slices.Contains(numbers, n) {
			return fmt.Errorf("disk %d left, which is not there, or twice", d)
		}
		numbers = append(numbers, n)
		g := departure{Disk: d, Last: last.ID, Head: s.head, Time: x.Time, Target: s.id.Targets[d], Fingerprint: s.fingerprints[n]}
		if s.settings != nil && len(s.settings.Targets) == s.present() {
			g.Target = s.settings.Targets[n]
		}
		for _, ids := range s.contentIDs {
			if int(n) < len(ids) && ids[n] != 0 && !slices.Contains(g.ContentIDs, ids[n]) {
				g.ContentIDs = append(g.ContentIDs, ids[n])
			}
		}
		gone = append(gone, g)
	}
	s.fingerprints = without(s.fingerprints, numbers)
	s.contentIDs = slices.Clone(s.contentIDs)
	for i, ids := range s.contentIDs {
		s.contentIDs[i] = without(ids, numbers)
	}
	s.left = append(slices.Clip(s.left), gone...)
	s.settings = x.Settings
	return nil
}

// without returns a copy without what stands at the numbers.
func without[T any](all []T, numbers []replication.DiskNo) []T {
	out := []T{}
	for i, x := range all {
		if !slices.Contains(numbers, replication.DiskNo(i)) {
			out = append(out, x)
		}
	}
	return out
}

// departed returns what is known of a disk that left; nil: it has not.
func (s *state) departed(d replication.DiskNo) *departure {
	i := slices.IndexFunc(s.left, func(l departure) bool { return l.Disk == d })
	if i < 0 {
		return nil
	}
	return &s.left[i]
}

// present counts the disks of the group.
func (s *state) present() int { return len(s.id.Disks) - len(s.left) }

// slot returns the number in files of the disk that the outside knows by a number; that number where there is no such disk.
func (s *state) slot(number replication.DiskNo) replication.DiskNo {
	if len(s.left) == 0 || int64(number) >= int64(len(s.id.Disks)) {
		return number
	}
	n := int(number)
	if n >= s.present() {
		return s.left[n-s.present()].Disk
	}
	for d := range s.id.Disks {
		if s.departed(replication.DiskNo(d)) != nil {
			continue
		}
		if n == 0 {
			return replication.DiskNo(d)
		}
		n--
	}
	return number
}

// number returns the number by which the outside knows a disk of the files.
func (s *state) number(slot replication.DiskNo) replication.DiskNo {
	if i := slices.IndexFunc(s.left, func(l departure) bool { return l.Disk == slot }); i >= 0 {
		return replication.DiskNo(s.present() + i)
	}
	n := slot
	for _, l := range s.left {
		if l.Disk < slot {
			n--
		}
	}
	return n
}

// slots returns the disks of the group as files have them, rising.
func (s *state) slots() (all []replication.DiskNo) {
	for d := range s.id.Disks {
		if s.departed(replication.DiskNo(d)) == nil {
			all = append(all, replication.DiskNo(d))
		}
	}
	return all
}

// spread returns disks, given by number, by their numbers in files: nil in the place of those that left.
func (s *state) spread(disks []Disk) []Disk {
	out := make([]Disk, len(s.id.Disks))
	for n, d := range s.slots() {
		out[d] = disks[n]
	}
	return out
}

// absent says that a point does not have a disk, if so.
func (s *state) absent(d replication.DiskNo, p replication.PointID) error {
	if err := s.unborn(d, p); err != nil {
		return err
	}
	if l := s.departed(d); l != nil && p > l.Last {
		return &Left{s.id.Disks[d].ID, p, l.Last}
	}
	return nil
}

// stands returns the point that a disk shows, and whether it may be moving.
func (s *state) stands(d replication.DiskNo) (head replication.PointID, moving bool) {
	if l := s.departed(d); l != nil {
		return l.Head, false
	}
	return s.head, s.move != nil
}

// checkLeft refuses departures that make no sense, in a checkpoint.
func (s *state) checkLeft() error {
	for i, l := range s.left {
		if s.id.size(l.Disk) < 0 || slices.ContainsFunc(s.left[:i], func(o departure) bool { return o.Disk == l.Disk }) {
			return fmt.Errorf("checkpoint has disk %d leave, which is not there, or twice", l.Disk)
		}
	}
	if s.present() == 0 {
		return errors.New("checkpoint has all disks leave")
	}
	return nil
}

// Departed returns the disks that have left, in that order, numbered on from the group's.
func (j *Journal) Departed() (all []Departed) {
	st := j.now.Load()
	for i, l := range st.left {
		d := st.id.Disks[l.Disk]
		d.No = replication.DiskNo(st.present() + i)
		all = append(all, Departed{Disk: d, Born: st.born(l.Disk), Last: l.Last, Head: l.Head, Left: l.Time, Target: l.Target, ContentIDs: slices.Clone(l.ContentIDs), Fingerprint: l.Fingerprint})
	}
	return all
}

// Slot returns the number in files, which never changes, of the disk that has a number now; Number the other way round.
func (j *Journal) Slot(number replication.DiskNo) replication.DiskNo {
	return j.now.Load().slot(number)
}

// Number returns the number that a disk has now, which has one in files.
func (j *Journal) Number(slot replication.DiskNo) replication.DiskNo {
	return j.now.Load().number(slot)
}

// AllDisks returns the group's disks and, behind them, those that left: as they are numbered.
func (j *Journal) AllDisks() []replication.Disk {
	all := j.Identity().Disks
	for _, d := range j.Departed() {
		all = append(all, d.Disk)
	}
	return all
}

// Departed returns what Journal.Departed does.
func (i *Inspection) Departed() []Departed { return i.j.Departed() }

// AllDisks returns what Journal.AllDisks does.
func (i *Inspection) AllDisks() []replication.Disk { return i.j.AllDisks() }

// Slot returns what Journal.Slot does.
func (i *Inspection) Slot(number replication.DiskNo) replication.DiskNo { return i.j.Slot(number) }

// Number returns what Journal.Number does.
func (i *Inspection) Number(slot replication.DiskNo) replication.DiskNo { return i.j.Number(slot) }
