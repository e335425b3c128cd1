package mastertarget

import (
	"context"
	"errors"
	"sync"

	"failback/replication"
	"failback/replication/link"
)

// shown is a disk at a point that somebody looks at for long: it outlives the group's handles. When the group is opened anew, so is its content, which is the same (I3).
type shown struct {
	engine *Engine
	ctx    context.Context // ends when nobody looks any more
	group  replication.GroupID
	point  replication.PointID
	disk   replication.DiskNo // as the journal's files number it: that stays, whatever disks join or leave
	size   int64

	mu      sync.RWMutex // held for reading while the content is in use
	from    *group       // that content belongs to
	content link.Content // nil: not open
}

// lent are the disks that a group has to take back before it closes its journal.
type lent struct {
	mu     sync.Mutex
	all    map[*shown]bool
	closed bool

	standby *standby      // while the group is not open: what lends instead; nil: nothing does
	told    *standbyFacts // of the standby, also in the moment in which it is tried to open the group; nil: there is none
}

// errBeingTried is for who asks while it is being tried to open the group: in a moment it is open, or looked at again.
var errBeingTried = errors.New("the group is being opened")

// lend opens a disk at a point for s, unless the group is closing.
func (g *group) lend(s *shown) (link.Content, error) {
	g.lent.mu.Lock()
	defer g.lent.mu.Unlock()
	if g.lent.closed {
		return nil, errClosing
	}
	var c link.Content
	err := g.isReady()
	switch b := g.lent.standby; {
	case err == nil:
		c, err = g.showsDisk(s.point, g.journal.Number(s.disk))
	case b != nil:
		c, err = b.reader(g.engine, g.id, s.point, b.journal.Number(s.disk))
	case g.lent.told != nil:
		err = errBeingTried
	}
	if err != nil {
		return nil, err
	}
	if g.lent.all == nil {
		g.lent.all = map[*shown]bool{}
	}
	g.lent.all[s] = true
	return c, nil
}

// takeBack closes what was lent, when nobody reads it just now, and lends nothing any more.
func (g *group) takeBack() {
	g.lent.mu.Lock()
	all := g.lent.all
	g.lent.all, g.lent.closed = nil, true
	g.lent.mu.Unlock()
	for s := range all {
		s.drop(g)
	}
}

// drop closes the content if it belongs to g.
func (s *shown) drop(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.content != nil && s.from == g {
		s.content.Close()
		s.content = nil
	}
}

// with calls do with the content, which stays open meanwhile: a group that closes waits for it.
func (s *shown) with(do func(link.Content) error) error {
	for {
		s.mu.RLock()
		if s.content != nil {
			defer s.mu.RUnlock()
			return do(s.content)
		}
		s.mu.RUnlock()
		if err := s.open(); err != nil {
			return err
		}
	}
}

// open opens the content. It waits, with patience, for a group that is being opened anew, even if that fails at first.
func (s *shown) open() error {
	ctx, cancel := context.WithTimeout(s.ctx, connectPatience)
	defer cancel()
	for {
		g, err := s.engine.group(s.group)
		if err != nil {
			return err
		}
		if s.engine.wait(ctx, func() bool { return g.isReady() == nil || g.isShown() || g.isAway() || g.ctx.Err() != nil }) != nil {
			if err := g.isReady(); err != nil {
				return err
			}
			return errClosing
		}
		s.mu.Lock()
		if s.content == nil {
			if s.content, err = g.lend(s); err != nil {
				s.content = nil
			}
			s.from = g
		}
		s.mu.Unlock()
		if errors.Is(err, errBeingTried) {
			continue
		}
		if !errors.Is(err, errClosing) {
			return err
		}
		// It ends, and another one takes its place.
		if err := s.engine.wait(ctx, func() bool { now, err := s.engine.group(s.group); return err != nil || now != g }); err != nil {
			return err
		}
	}
}

// close ends it for good.
func (s *shown) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.content == nil {
		return
	}
	s.content.Close()
	s.content = nil
	s.from.lent.mu.Lock()
	delete(s.from.lent.all, s)
	s.from.lent.mu.Unlock()
}

// Size returns the disk's size in bytes.
func (s *shown) Size() int64 { return s.size }

// ReadAt reads as io.ReaderAt says.
func (s *shown) ReadAt(b []byte, off int64) (n int, err error) {
	err = s.with(func(c link.Content) error { n, err = c.ReadAt(b, off); return err })
	return n, err
}

// NextData returns the first range at or after off that may hold bytes other than zero.
func (s *shown) NextData(off int64) (start, end int64, err error) {
	err = s.with(func(c link.Content) error { start, end, err = c.NextData(off); return err })
	return start, end, err
}
