package retention

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"failback/replication"
)

// Disk is what a journal needs of a target. It belongs to the caller, who has checked that it is the one agreed on (I8), and who writes to it only within a
// cycle that is written through.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	// Size returns the disk's size in bytes.
	Size() int64
	// Zero makes a range read as zeros.
	Zero(off, n int64) error
	// NextData returns the first range at or after off that may hold bytes other than zero; start == end == Size() when there is none.
	NextData(off int64) (start, end int64, err error)
	// Sync makes durable what was written.
	Sync() error
}

// MoveProgress tells how far a move is.
type MoveProgress struct {
	Phase string // save, write or sync
	Done  int64  // bytes of the disks
	Total int64  // of the phase
	Ahead int64  // bytes of the disks of later phases
}

// The phases of a move.
const (
	PhaseSave  = "save"
	PhaseWrite = "write"
	PhaseSync  = "sync"
)

// Move brings the disks to a listed point. A move that was interrupted is finished first, or taken back when it came from there.
//
// It makes sure that what it writes can be read, saves what only the disks hold of the bytes that change, records itself, writes each byte once, syncs and commits. Where the point needs what is damaged, it is refused
// (ErrCorrupt, with file, offset, disk and points); damage that comes up later has the disks taken back to where they stood, if that can be had. A context that ends before the record
// leaves everything as it was; later, the disks are left in an unfinished move, which a later call finishes or takes back. Files of which nothing can be read are buried first, and not while others are being rewritten (ErrInUse). progress may be nil; it is called from several goroutines, one at a time.
func (j *Journal) Move(ctx context.Context, disks []Disk, to replication.PointID, progress func(MoveProgress)) error {
	j.moving.Lock()
	defer j.moving.Unlock()
	if err := j.usable(); err != nil {
		return err
	}
	if err := j.now.Load().ours(); err != nil {
		return err
	}
	if c := j.now.Load(); !c.atPoint() {
		return ErrNotAtPoint
	} else if _, err := c.point(to); err != nil {
		return err
	}
	if err := j.checkDisks(disks); err != nil {
		return err
	}
	m := &mover{j: j, disks: j.now.Load().spread(disks), report: progress}
	if err := m.settle(ctx, to); err != nil {
		return err
	}
	from := j.now.Load().head
	if from == to {
		return nil
	}
	err := m.ready(ctx, to)
	if err != nil {
		return fmt.Errorf("move from point %d to %d: %w", from, to, err)
	}
	_, err = m.finishOrBack(ctx)
	return err
}

// errDamageChanged is that damage was found, or mended, between the look at what is to be saved and the record of the move.
var errDamageChanged = errors.New("what is damaged of the journal is not what it was when the move looked")

// readyTries bounds how often a move looks again (I12).
const readyTries = 8

// ready proves and saves what the move needs, and records it; again where damage was found meanwhile: what the journal seemed to hold, only the disks may hold now.
func (m *mover) ready(ctx context.Context, to replication.PointID) (err error) {
	for range readyTries {
		err = m.j.buryBefore(ctx, m.j.Head(), to)
		if err == nil {
			err = m.prove(ctx, to)
		}
		if err == nil {
			err = m.begin(ctx, to)
		}
		if !errors.Is(err, errDamageChanged) {
			return err
		}
	}
	return err
}

// finishOrBack finishes the recorded move; when it comes upon damage, the disks go back, if all of where they came from can be had.
func (m *mover) finishOrBack(ctx context.Context) (back bool, err error) {
	if err = m.finish(ctx); !errors.Is(err, ErrCorrupt) || m.j.usable() != nil {
		return false, err
	}
	u := m.j.now.Load().move
	if qerr := m.j.quarantineAt(ctx, err); qerr != nil {
		return false, errors.Join(err, qerr)
	}
	p := newProof(m.j)
	berr := m.proveEnd(ctx, p, u.From)
	if berr == nil {
		berr = m.turn(u)
	}
	if berr == nil {
		berr = m.finish(ctx)
	}
	if berr != nil {
		return false, errors.Join(err, fmt.Errorf("and to take the disks back to point %d: %w", u.From, berr))
	}
	return true, fmt.Errorf("%w; the disks were taken back to point %d", err, u.From)
}

// proveEnd makes sure that one end of the unfinished move can be had from the journal.
func (m *mover) proveEnd(ctx context.Context, p *proof, at replication.PointID) error {
	c := m.j.shelf.pin()
	defer m.j.shelf.unpin(c)
	for d := range m.disks {
		if err := p.differing(ctx, c, replication.DiskNo(d), c.move.From, c.move.To, at); err != nil {
			return err
		}
	}
	if err := m.j.quarantine(p.parts); err != nil {
		return err
	}
	return m.j.reachable(ctx, c.move.From, c.move.To, at)
}

// turn records that the unfinished move goes back.
func (m *mover) turn(u *Move) error {
	return m.j.commit(kindMoveTurned, func(*state) (any, error) { return turnRecord{From: u.To, To: u.From}, nil })
}

func (j *Journal) checkDisks(disks []Disk) error {
	st := j.now.Load()
	if len(disks) != st.present() {
		return fmt.Errorf("%w: %d of %d", ErrDisks, len(disks), st.present())
	}
	for d, x := range disks {
		if size := st.id.size(st.slot(replication.DiskNo(d))); x.Size() != size {
			return fmt.Errorf("%w: disk %d has %d bytes, the group says %d", ErrDisks, d, x.Size(), size)
		}
	}
	return nil
}

// mover is one call of Move.
type mover struct {
	j     *Journal
	disks []Disk // as files number them; nil: it has left

	mu     sync.Mutex
	report func(MoveProgress)
	phase  string
	total  int64
	ahead  int64
	done   atomic.Int64
}

func (m *mover) start(phase string, total, ahead int64) {
	m.phase, m.total, m.ahead = phase, total, ahead
	m.done.Store(0)
	m.advance(0)
}

func (m *mover) advance(n int64) {
	done := m.done.Add(n)
	if m.report == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report(MoveProgress{m.phase, done, m.total, m.ahead})
}

// syncing tells that all was written, once it was.
func (m *mover) syncing() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if done := m.done.Load(); m.report != nil && done == m.total {
		m.report(MoveProgress{PhaseSync, done, m.total, 0})
	}
}

// settle finishes an unfinished move: to where it goes, or, when to is where it came from, back.
func (m *mover) settle(ctx context.Context, to replication.PointID) error {
	u := m.j.now.Load().move
	if u == nil {
		return nil
	}
	if err := m.j.buryWithin(ctx, u); err != nil {
		return fmt.Errorf("unfinished move from point %d to %d: %w", u.From, u.To, err)
	}
	if u.From == to {
		if err := m.turn(u); err != nil {
			return err
		}
	}
	back, err := m.finishOrBack(ctx)
	if back && to != m.j.now.Load().head && to != u.To { // as good a place to go on from as the other
		return nil
	}
	return err
}

// begin saves what only the disks hold and records the move: from here on it is unfinished until it is committed.
func (m *mover) begin(ctx context.Context, to replication.PointID) error {
	c := m.j.shelf.pin()
	defer m.j.shelf.unpin(c)
	if slices.ContainsFunc(c.blind, func(b *sealed) bool { return b.low() <= max(c.head, to) }) { // found since they were buried
		return errDamageChanged
	}
	e, err := c.reckonMove(ctx, c.head, to)
	if err != nil {
		return err
	}
	r := moveRecord{From: c.head, To: to}
	var with []*sealed
	if e.Save > 0 && !leftOut(ruleSave) {
		s, err := m.save(ctx, c, to, e)
		if err != nil {
			return m.j.note(err)
		}
		f := s.record()
		r.Save, with = &f, append(with, s)
	}
	if err = ctx.Err(); err == nil {
		err = m.j.commit(kindMoveStarted, func(st *state) (any, error) {
			if !st.sameDamage(c.state) && !leftOut(ruleSaveKnowsDamage) {
				return nil, errDamageChanged
			}
			_, err := st.point(to) // it may have been dropped meanwhile
			return r, err
		}, with...)
	}
	if err != nil && m.j.usable() == nil { // else the record may be there, and needs its save
		for _, s := range with {
			m.j.files.forget(s.name)
			err = errors.Join(err, removeIfThere(m.j.vol, s.name))
		}
	}
	return err
}

func (s *state) blindFiles() (names []string) {
	for _, f := range s.files {
		if f.blind != "" {
			names = append(names, f.path())
		}
	}
	return names
}

// sameDamage says whether nothing more, and nothing less, is known to be damaged.
func (s *state) sameDamage(o *state) bool {
	return slices.EqualFunc(s.damage, o.damage, func(a, b Part) bool { return a.File == b.File && a.Off == b.Off && a.Len == b.Len }) &&
		slices.Equal(s.blindFiles(), o.blindFiles())
}

// finish writes the recorded move's content to the disks, syncs them and commits.
func (m *mover) finish(ctx context.Context) error {
	c := m.j.shelf.pin()
	defer m.j.shelf.unpin(c)
	u := c.move
	var total int64
	for d := range m.disks {
		err := c.differing(replication.DiskNo(d), u.From, u.To, max(u.From, u.To), u.Done[d], func(sp span) error {
			total += sp.ext.Len()
			return nil
		})
		if err != nil {
			return fmt.Errorf("move from point %d to %d: %w", u.From, u.To, err)
		}
	}
	m.start(PhaseWrite, total, 0)
	blocks, loaders := newContents(&m.j.id, m.j.t.moveBlocks), newLoaders(&m.j.id)
	err := m.eachDisk(ctx, func(ctx context.Context, d replication.DiskNo) error {
		w := &diskWriter{m: m, to: m.disks[d], no: d, blocks: blocks, loaders: loaders, recorded: u.Done[d]}
		defer w.wait()
		return w.run(ctx, c, u)
	})
	if err == nil {
		err = m.j.commit(kindMoveCommitted, func(*state) (any, error) { return commitRecord{u.To}, nil })
	}
	if err != nil {
		return fmt.Errorf("move from point %d to %d: %w", u.From, u.To, err)
	}
	return nil
}

// eachDisk calls fn for every disk of the group, some at a time. The first error ends the context of the others.
func (m *mover) eachDisk(ctx context.Context, fn func(context.Context, replication.DiskNo) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(m.disks))
	if m.j.t.disksAtOnce == 1 {
		for d := range m.disks {
			if m.disks[d] == nil {
				continue
			}
			if err := fn(ctx, replication.DiskNo(d)); err != nil {
				return err
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, m.j.t.disksAtOnce)
	for d := range m.disks {
		if m.disks[d] == nil {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if errs[d] = fn(ctx, replication.DiskNo(d)); errs[d] != nil {
				cancel(errs[d])
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
