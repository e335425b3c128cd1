package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/link"
	"failback/retention"
	"failback/retention/volume"
)

// standby is what can be had of a group that can't be opened, as something can't be written: a datastore or the retention volume is full, or read-only. Its journal is looked at, and its disks are read, so that every point
// can be listed, drilled and exported; nothing is written. Until it ends, nobody can open the journal.
type standby struct {
	journal *retention.Inspection
	disks   []blockio.Reader // by disk number
}

// toldByJournal is what a journal tells, whether it is open or looked at.
type toldByJournal interface {
	Points() []replication.Point
	Head() replication.PointID
	Identity() retention.Identity
	Births() []replication.PointID
	Departed() []retention.Departed
	AllDisks() []replication.Disk
	Slot(replication.DiskNo) replication.DiskNo
	SizeAt(replication.DiskNo, replication.PointID) int64
}

// cantWrite says whether an error is of a kind that keeps from writing, not from reading.
func cantWrite(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, retention.ErrNoSpace} {
		if errors.Is(err, e) {
			return true
		}
	}
	var p *replication.Problem
	return errors.As(err, &p) && p.Code == volume.CodeReadOnly
}

// standBy has a group that can't be opened shown, if all that keeps it is that something can't be written.
func (g *group) standBy(cause error) {
	var s *standby
	err := cause
	if cantWrite(cause) {
		s, err = g.lookOn()
	}
	g.lent.mu.Lock()
	g.lent.standby, g.lent.told = s, nil
	if s != nil {
		g.lent.told = s.tells()
	}
	g.lent.mu.Unlock()
	if s == nil {
		if err != cause {
			g.log.Warn("its points can't be shown either", "err", err)
		}
		g.notice("standby", "")
		return
	}
	g.notice("standby", "nothing can be written, but all points can be read: points, drill, export, and failback journal extract work; the rest goes on by itself when it can")
}

// lookOn opens journal and disks for reading.
func (g *group) lookOn() (_ *standby, err error) {
	i, err := retention.InspectAtRest(g.engine.journalDir(g.id))
	if err != nil {
		return nil, err
	}
	s := &standby{journal: i}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	switch o, known, _ := i.Owner(); {
	case known && o.ID != g.engine.self.ID:
		return nil, fmt.Errorf("%w: %s has it", retention.ErrOwned, o)
	case !i.Whole():
		return nil, fmt.Errorf("%w: its log can't be read up to its end", retention.ErrCorrupt)
	case mayBeWritten(i.Cutover()): // what the disks hold is the machine's
		return nil, retention.ErrCommitted
	case len(i.Points()) == 0:
		return nil, errors.New("no point is listed yet")
	}
	for _, d := range g.plan.Disks() {
		r, err := readDisk(g.ctx, i, d.No, d.Target)
		if err != nil {
			return nil, fmt.Errorf("disk %s: %w", d.Name, err)
		}
		s.disks = append(s.disks, r)
	}
	if d, err := i.Damage(g.ctx); err == nil {
		g.care.mu.Lock()
		g.care.damage = d
		g.care.mu.Unlock()
	}
	return s, nil
}

// readDisk opens the disk that a journal belongs to (I8): under its lock, or, where its datastore takes none, as it lies.
func readDisk(ctx context.Context, i *retention.Inspection, no replication.DiskNo, path string) (blockio.Reader, error) {
	if int(no) >= len(i.Identity().Disks) {
		return nil, errors.New("the journal does not know it")
	}
	want, ours, was := sizedAs(i.SizeBefore(no), i.Identity().Disks[no], path), i.ContentIDs()[no], ""
	if prints := i.Fingerprints(); int(no) < len(prints) {
		was = prints[no]
	}
	t, err := openTarget(path, want, ours)
	if err == nil {
		if err := sameFingerprint(ctx, was, t); err != nil {
			return nil, errors.Join(err, t.Close())
		}
		return t, nil
	}
	if !cantWrite(err) {
		return nil, err
	}
	r, rerr := blockio.OpenReader(path)
	if rerr != nil {
		return nil, errors.Join(err, rerr)
	}
	if id := r.Description().ContentID; r.Size() != want.Size || id != 0 && len(ours) > 0 && !slices.Contains(ours, id) {
		return nil, errors.Join(err, fmt.Errorf("%s has %d bytes and content id %08x: it is not the disk that the journal belongs to", path, r.Size(), id), r.Close())
	}
	if f, ok := r.(fingerprinted); ok {
		if err := sameFingerprint(ctx, was, f); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

func (s *standby) close() {
	for _, d := range s.disks {
		_ = d.Close() // nothing was written
	}
	_ = s.journal.Close()
}

// reader opens a disk at a point.
func (s *standby) reader(e *Engine, id replication.GroupID, p replication.PointID, disk replication.DiskNo) (link.Content, error) {
	if int(disk) >= len(s.disks) {
		return e.departed(context.Background(), id, s.journal, p, disk)
	}
	r, err := s.journal.Reader(p, disk, s.disks[disk])
	if errors.Is(err, retention.ErrNoPoint) {
		return nil, noSuchPoint(id, p)
	}
	if err != nil {
		return nil, journalProblem(id, err)
	}
	return r, nil
}

// endStandby ends it, when nobody reads just now; who had something open has it again with the next standby, or with the group. for good: there is no next.
func (g *group) endStandby(forGood bool) {
	g.lent.mu.Lock()
	s, all := g.lent.standby, g.lent.all
	g.lent.standby, g.lent.all = nil, nil
	if forGood {
		g.lent.closed = true
	}
	g.lent.mu.Unlock()
	for x := range all {
		x.drop(g)
	}
	if s != nil {
		s.close()
	}
}

// view calls do with what the group's journal tells, be it open or looked at.
func (g *group) view(ctx context.Context, do func(toldByJournal) error) error {
	err := g.waitReady(ctx)
	if err == nil || g.isAway() {
		return do(g.journal)
	}
	wait, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	for {
		g.lent.mu.Lock()
		s, stands := g.lent.standby, g.lent.told != nil
		if s != nil {
			defer g.lent.mu.Unlock()
			return do(s.journal)
		}
		g.lent.mu.Unlock()
		if !stands { // else it is being tried just now whether the group can be opened
			return err
		}
		if g.engine.wait(wait, func() bool { return g.isReady() == nil || g.isShown() || !g.stands() }) != nil {
			return err
		}
		if g.isReady() == nil {
			return do(g.journal)
		}
	}
}

func (g *group) stands() bool {
	g.lent.mu.Lock()
	defer g.lent.mu.Unlock()
	return g.lent.told != nil
}

// isShown says whether the points of a group that is not open can be read.
func (g *group) isShown() bool {
	g.lent.mu.Lock()
	defer g.lent.mu.Unlock()
	return g.lent.standby != nil
}

// standbyFacts is what status tells of a group that is not open: as its journal was when it was looked at last, also while it is being tried whether it can be opened.
type standbyFacts struct {
	points     []replication.Point
	head       replication.PointID
	generation replication.Generation
	move       *retention.Move
	births     []replication.PointID
	departed   []replication.DepartedDisk
	sizes      []int64
	formats    []string
}

func (s *standby) tells() *standbyFacts {
	i := s.journal
	f := &standbyFacts{points: i.Points(), head: i.Head(), generation: i.Generation(), move: i.Unfinished(), births: i.Births(), departed: departedOf(i)}
	for no, d := range i.Identity().Disks {
		f.sizes = append(f.sizes, d.Size)
		if no < len(s.disks) {
			f.formats = append(f.formats, string(s.disks[no].Description().Format))
		}
	}
	return f
}

// standbyStatus adds to the status of a group that is not open what is known of it.
func (g *group) standbyStatus(s *replication.GroupStatus) {
	g.lent.mu.Lock()
	f := g.lent.told
	g.lent.mu.Unlock()
	if f == nil {
		return
	}
	s.Head, s.Generation, s.Departed = f.head, f.generation, f.departed
	s.Pins = pinsOf(f.points, time.Now())
	if m := f.move; m != nil {
		s.Move = &replication.MoveStatus{From: m.From, To: m.To, Phase: "waiting"}
	}
	if n := len(f.points); n > 0 {
		s.Last, s.LastTime, s.LagSeconds = f.points[n-1].ID, f.points[n-1].Time, time.Since(f.points[n-1].Time).Seconds()
	}
	for no := range min(len(f.formats), len(s.Disks)) {
		s.Disks[no].Size, s.Disks[no].Format = f.sizes[no], f.formats[no]
		if f.births[no] == retention.NoPoint {
			s.Disks[no].Unborn = true
		} else {
			s.Disks[no].Joined = f.births[no]
		}
	}
}

// lasting is a disk at a point that outlives the group's handles, for who has asked for it.
type lasting struct{ *shown }

// Close ends it.
func (l lasting) Close() error {
	l.close()
	return nil
}

// exported opens a disk, as the journal's files number it, at a point of a group that can't be opened.
func (g *group) exported(ctx context.Context, p replication.PointID, no replication.DiskNo, size int64) (link.Content, error) {
	s := &shown{engine: g.engine, ctx: ctx, group: g.id, point: p, disk: no, size: size}
	if err := s.open(); err != nil {
		return nil, err
	}
	return lasting{s}, nil
}

// readOnly says whether a retention volume can't be written as it is: what is on it can be read.
func readOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
