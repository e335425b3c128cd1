package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/retention"
)

// grant begins a session: from now on, calls of an earlier one are refused, and none is under way.
func (g *group) grant(c replication.Cycle) (uint64, error) {
	g.gate.Lock()
	defer g.gate.Unlock()
	g.session++
	g.active = true
	g.reading = c.Base
	g.mending = c.Mode == replication.Compare && c.Base != 0
	g.through = nil
	if joining := g.joining(); c.Route == replication.Through || len(joining) > 0 {
		g.through = newThroughCycle(g.journal, g.targets, joining)
	}
	return g.session, nil
}

// revoke ends the session, with what it wrote and did not make durable yet made so. Its lanes end too: the connection of one may have stalled, and its end may
// not be known for long.
func (g *group) revoke() {
	g.gate.Lock()
	defer g.gate.Unlock()
	g.active, g.mending = false, false
	g.engine.told.forget(g.id)
	g.mu.Lock()
	lanes := g.lanes
	g.lanes, g.attempts = nil, laneAttempts{}
	g.mu.Unlock()
	for a := range lanes {
		a.end()
	}
	if g.through != nil {
		if err := g.through.sync(); err != nil {
			g.mend(err)
			g.log.Error("make what arrived durable", "err", err)
		}
		g.through = nil
	}
}

// enter returns the group of a call, with its gate held for reading; the caller leaves it by g.gate.RUnlock.
// A caller whose key is not bound to the name of the group's process server is none of it, whatever it knows.
func (e *Engine) enter(ctx context.Context, f link.Fence) (*group, error) {
	g, err := e.group(f.Group)
	if err != nil {
		return nil, err
	}
	if key := link.Caller(ctx); key != "" && e.keyOf(g.plan.ProcessServer) != key {
		return nil, &replication.Problem{Code: CodeNotYours, Message: fmt.Sprintf("group %s belongs to process server %s, and the key %s is not bound to that name", f.Group, g.plan.ProcessServer, key),
			Remedy: "see which process server does that; failback pki revoke takes its certificate away"}
	}
	if err := g.isReady(); err != nil {
		return nil, err
	}
	g.gate.RLock()
	if err := g.checkFence(f.Session); err != nil {
		g.gate.RUnlock()
		return nil, err
	}
	return g, nil
}

// turnOf waits until a call about a group is one of as many as may be under way. It is not looked at whose it is: it is entered then.
func (e *Engine) turnOf(ctx context.Context, f link.Fence, of func(*group) chan struct{}) (done func(), err error) {
	g, err := e.group(f.Group)
	if err != nil {
		return nil, err
	}
	turns := of(g)
	select {
	case turns <- struct{}{}:
		return func() { <-turns }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// checkFence refuses a call of another session than the active one (I7). The gate is held.
func (g *group) checkFence(s replication.Session) error {
	switch now := g.journal.Generation(); {
	case s.Generation != now:
		return &replication.Problem{Code: link.CodeStale, Message: fmt.Sprintf("group %s: generation %d is not the current %d", g.id, s.Generation, now),
			Remedy: "none needed: the process server is given a new session"}
	case !g.active || s.ID != g.session:
		return &replication.Problem{Code: link.CodeStale, Message: fmt.Sprintf("group %s: session %d has ended (the newest is %d)", g.id, s.ID, g.session),
			Remedy: "none needed: the process server is given a new session"}
	}
	return nil
}

// toldAtOnce is how many extents of coverage are told at a time.
const toldAtOnce = 4096

// coverageCalls bounds the calls of a group's that are told at a time: each has the sets of all disks. A process server makes one, and those of broken links end some seconds later.
const coverageCalls = 8

// Coverage implements link.Authority.
func (e *Engine) Coverage(ctx context.Context, f link.Fence, tell func(replication.DiskNo, []replication.Extent) error) error {
	done, err := e.turnOf(ctx, f, func(g *group) chan struct{} { return g.covering })
	if err != nil {
		return err
	}
	defer done()
	g, err := e.enter(ctx, f)
	if err != nil {
		return err
	}
	var sets []*replication.Pages
	for _, d := range g.journal.Identity().Disks {
		sets = append(sets, g.journal.Coverage(d.No))
	}
	g.gate.RUnlock() // the next session does not wait for how fast this one listens
	for d, set := range sets {
		sets[d] = nil
		err := eachPart(set, toldAtOnce, func(x []replication.Extent) error { return tell(replication.DiskNo(d), x) })
		if err != nil {
			return err
		}
	}
	return nil
}

// eachPart gives a set's extents, at most n at a time.
func eachPart(set *replication.Pages, n int, fn func([]replication.Extent) error) error {
	var part []replication.Extent
	for e := range set.All() {
		if part = append(part, e); len(part) == n {
			if err := fn(part); err != nil {
				return err
			}
			part = part[:0]
		}
	}
	if len(part) == 0 {
		return nil
	}
	return fn(part)
}

// Finish implements link.Authority.
func (e *Engine) Finish(ctx context.Context, f link.Fence, totals []replication.Total) (replication.PointID, error) {
	g, err := e.enter(ctx, f)
	if err != nil {
		return 0, err
	}
	defer g.gate.RUnlock()
	g.pace.watch.all()
	c := g.journal.OpenCycle()
	if c == nil || c.Point != f.Point {
		return 0, fmt.Errorf("group %s: finish of point %d, which is not open", g.id, f.Point)
	}
	if g.through != nil {
		if err := g.through.sync(); err != nil {
			g.mend(err)
			return 0, err
		}
	}
	p, err := g.journal.List(totals, c.Kind, nil)
	if errors.Is(err, retention.ErrIncomplete) {
		return 0, &replication.Problem{Code: link.CodeIncomplete, Message: fmt.Sprintf("group %s: point %d can't be listed", g.id, f.Point), Err: err,
			Remedy: "none needed: the cycle is made again by comparing"}
	}
	if err != nil {
		g.mend(err)
		return 0, journalProblem(g.id, err)
	}
	return p.ID, nil
}

// Lane implements link.Authority.
func (e *Engine) Lane(ctx context.Context, l replication.Lane) (link.Lane, error) {
	g, err := e.enter(ctx, link.Fence{Session: l.Session, Point: l.Point})
	if err != nil {
		return nil, err
	}
	defer g.gate.RUnlock()
	if r := g.repairing; r != nil {
		if err := g.admit(l, nil); err != nil {
			return nil, err
		}
		return &repairLane{group: g, lane: l, to: r, disks: g.journal.Identity().Disks, raw: make([]byte, block.MaxRaw)}, nil
	}
	c := g.journal.OpenCycle()
	if c == nil || c.Point != l.Point {
		return nil, fmt.Errorf("lane %v: its point is not open", l)
	}
	a := &arrival{group: g, lane: l, base: g.reading, compare: c.Mode == replication.Compare, disks: g.journal.Identity().Disks, raw: make([]byte, block.MaxRaw)}
	a.through = g.through
	a.taking.Lock() // a newer attempt waits until it is whole
	defer a.taking.Unlock()
	if err := g.admit(l, a); err != nil {
		return nil, err
	}
	if c.Route == replication.Journaled {
		if a.journal, err = g.journal.Lane(l); err != nil {
			g.leave(a)
			return nil, journalProblem(g.id, err)
		}
	}
	return a, nil
}

// maxLanes bounds a session's lanes. Each may hold what its connection's window does, one decoded block, and what a stream is decoded with (block.StreamWindow and a little): twice what a process server opens (processserver.MaxLanes), since those of broken
// connections end a little later.
const maxLanes = 64

// CodeLanes is the code of a session that opens too many lanes.
const CodeLanes = "too-many-lanes"

// Bounds of a session's lanes over its time. Where a link breaks so often that they are reached, the order fails, and the next one's session goes on.
const (
	maxLaneNo   = 1024    // numbers of lanes
	maxAttempts = 1 << 17 // attempts of all: each may leave a file
)

// laneAttempts are those of a session's lanes.
type laneAttempts struct {
	newest map[uint32]uint64 // by lane; 0 is none
	n      int
}

// admit lets an attempt of a lane in, once, and none that is older than one that was: connections come to life again. It ends earlier ones: theirs may be gone without a word. What arrived of these is kept; nothing more
// is taken. The gate is held. a is nil where lanes are not kept.
func (g *group) admit(l replication.Lane, a *arrival) error {
	g.mu.Lock()
	newest, seen := g.attempts.newest[l.Lane]
	open := len(g.lanes)
	switch {
	case seen && newest >= l.Attempt:
		g.mu.Unlock()
		return &replication.Problem{Code: link.CodeStale, Message: fmt.Sprintf("lane %v: attempt %d of it was there before", l, newest), Remedy: "none needed: the newer attempt goes on"}
	case open >= maxLanes:
		g.mu.Unlock()
		return &replication.Problem{Code: CodeLanes, Message: fmt.Sprintf("lane %v: %d lanes are open, at most %d", l, open, maxLanes), Remedy: "give the process server fewer by --lanes"}
	case l.Lane >= maxLaneNo || g.attempts.n >= maxAttempts:
		g.mu.Unlock()
		return &replication.Problem{Code: CodeLanes, Message: fmt.Sprintf("lane %v: numbers of lanes are below %d, and a session has %d attempts at most", l, maxLaneNo, maxAttempts), Remedy: "none needed: the next order begins a session"}
	}
	if g.attempts.newest == nil {
		g.attempts.newest = map[uint32]uint64{}
	}
	g.attempts.newest[l.Lane] = l.Attempt
	g.attempts.n++
	var earlier []*arrival
	for was := range g.lanes {
		if was.lane.Lane == l.Lane {
			earlier = append(earlier, was)
		}
	}
	if a != nil {
		if g.lanes == nil {
			g.lanes = map[*arrival]bool{}
		}
		g.lanes[a] = true
	}
	g.mu.Unlock()
	for _, a := range earlier {
		a.stale.Store(true)
		a.taking.Lock() // what is under way comes to its end
		a.end()
		a.taking.Unlock()
	}
	return nil
}

// arrival is one lane on its way to the disks or into the journal.
type arrival struct {
	group   *group
	lane    replication.Lane
	base    replication.PointID // where the content of repeats is looked for; 0: on the disks as they stand
	compare bool
	disks   []replication.Disk
	raw     []byte               // one decoded block
	stream  *block.StreamDecoder // nil: nothing has come in one

	through *throughCycle      // of the disks that it takes, and
	journal *retention.Arrival // of the others; nil: it takes all
	dirty   int64              // bytes appended to the journal since its last sync, what tells of them included
	ended   sync.Once
	stale   atomic.Bool // a newer attempt of the lane is there
	taking  sync.Mutex  // held while a frame is taken

	began   bool  // a frame has come
	byValue int64 // bytes of repeats that were not resolved
	warned  bool
	enc     block.Encoder
	encoded []byte // one encoded block
}

// syncEvery bounds how much of a lane would have to be sent again after a power failure: payload and extents, as ten million zeros are no payload.
const (
	syncEvery   = 64 << 20
	extentBytes = 16
)

// Send implements link.Lane: the frame is checked block by block (I9), and written or journalled.
func (a *arrival) Send(f *block.Frame) (err error) {
	defer f.Free()
	defer func() { a.group.mend(err) }()
	a.group.gate.RLock()
	defer a.group.gate.RUnlock()
	if err := a.group.checkFence(a.lane.Session); err != nil {
		return err
	}
	a.taking.Lock()
	defer a.taking.Unlock()
	if a.stale.Load() {
		return a.superseded()
	}
	if !a.began {
		a.began = true
		a.group.pace.watch.frame()
	}
	if n := f.Raw(); n > block.MaxFrameRaw {
		return fmt.Errorf("lane %v: a frame of %d raw bytes, at most %d", a.lane, n, block.MaxFrameRaw)
	}
	for i := range f.Blocks {
		if err := a.block(&f.Blocks[i]); err != nil {
			return err
		}
	}
	if a.journal != nil && a.dirty >= syncEvery {
		a.dirty = 0
		defer a.group.spent.since(stageJournal, allDisks, time.Now())
		return a.syncJournal()
	}
	return nil
}

func (a *arrival) block(b *block.Block) error {
	if int(b.Disk) >= len(a.disks) {
		return fmt.Errorf("lane %v: disk %d of %d", a.lane, b.Disk, len(a.disks))
	}
	if err := b.CheckOnLane(a.disks[b.Disk].Size); err != nil {
		return fmt.Errorf("lane %v: disk %s: %w", a.lane, a.disks[b.Disk].ID, err)
	}
	for _, x := range b.Extents {
		if x.Outward(a.disks[b.Disk].Size) != x {
			return fmt.Errorf("lane %v: disk %s: extent %v is not on pages of %d bytes (I13)", a.lane, a.disks[b.Disk].ID, x, replication.Page)
		}
	}
	through := a.through != nil && a.through.takes(b.Disk)
	if b.Kind == block.Equal && !a.compare && !through {
		return fmt.Errorf("lane %v: an equal block in a cycle that does not compare", a.lane)
	}
	if b.Codec == block.Stream && !through {
		return fmt.Errorf("lane %v: disk %s: part of a stream, where blocks are kept and have to decode alone", a.lane, a.disks[b.Disk].ID)
	}
	var raw []byte
	switch b.Kind {
	case block.Repeat:
		var ok bool
		var err error
		if b, raw, ok, err = a.resolve(b); err != nil || !ok {
			return err
		}
	case block.Data:
		var err error
		begin := time.Now()
		raw, err = a.decode(b)
		a.group.spent.since(stageDecode, b.Disk, begin)
		if err != nil {
			return fmt.Errorf("lane %v: disk %s: %w", a.lane, a.disks[b.Disk].ID, err)
		}
	}
	if through {
		defer a.group.spent.since(stageTarget, b.Disk, time.Now())
		return a.through.write(b, raw)
	}
	defer a.group.spent.since(stageJournal, b.Disk, time.Now())
	if err := a.journal.Append(b); err != nil {
		return journalProblem(a.group.id, err)
	}
	a.dirty += int64(len(b.Payload)) + int64(len(b.Extents))*extentBytes
	return nil
}

// decode returns the content of a data block, in the lane's memory or its payload.
func (a *arrival) decode(b *block.Block) ([]byte, error) {
	if b.Codec != block.Stream {
		return b.Decode(a.raw)
	}
	if a.stream == nil {
		a.stream = block.NewStreamDecoder()
	}
	return a.stream.Decode(b, a.raw)
}

func (a *arrival) superseded() error {
	return &replication.Problem{Code: link.CodeStale, Message: fmt.Sprintf("lane %v: there is a newer attempt", a.lane), Remedy: "none needed: that one goes on"}
}

func (a *arrival) syncJournal() error {
	if err := a.journal.Sync(); err != nil {
		return journalProblem(a.group.id, err)
	}
	return nil
}

// Flush implements link.Lane.
func (a *arrival) Flush() (byValue int64, err error) {
	defer func() { a.group.mend(err) }()
	a.group.gate.RLock()
	defer a.group.gate.RUnlock()
	if err := a.group.checkFence(a.lane.Session); err != nil {
		return 0, err
	}
	if a.stale.Load() { // what is not there, the newer attempt is not asked for
		return 0, a.superseded()
	}
	if a.through != nil {
		begin := time.Now()
		if err := a.through.sync(); err != nil {
			return a.byValue, err
		}
		a.group.spent.since(stageTarget, allDisks, begin)
	}
	if a.journal == nil {
		return a.byValue, nil
	}
	defer a.group.spent.since(stageJournal, allDisks, time.Now())
	a.ended.Do(func() { err = a.journal.Close() })
	if err != nil {
		return 0, journalProblem(a.group.id, err)
	}
	return a.byValue, nil
}

// Close implements link.Lane: what arrived is kept. The lane stays known until then: the next session, which asks at once what is durable, waits for it.
func (a *arrival) Close() {
	a.end()
	a.group.leave(a)
}

// leave forgets a lane that has ended.
func (g *group) leave(a *arrival) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.lanes, a)
}

// end closes the lane's part of the journal, with what arrived. A call that comes second waits for the first.
func (a *arrival) end() {
	if a.journal == nil {
		return
	}
	a.ended.Do(func() {
		if err := a.journal.Close(); err != nil {
			a.group.log.Error("keep what arrived", "lane", a.lane, "err", err)
		}
	})
}
