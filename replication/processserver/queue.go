package processserver

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"failback/replication"
	"failback/replication/link"
)

// queue gives disks that are copied or compared whole their turns, of all groups together: each reads a whole source, and more of them at a time make each one later. Who came first goes first. Cycles of changes
// are none of it, nor are disks that join with one: the others' points would wait for them. It is in memory only: after a restart all line up again, and what was durable is not sent again.
type queue struct {
	most int // turns at a time; 0: as many as are asked for

	mu      sync.Mutex
	given   int
	waiting []*turn
	kept    map[replication.GroupID]*kept
}

// turnKept is for how long the turns and places of an order that a connection took with it are kept for the next order.
const turnKept = 2 * time.Minute

// kept is what an order had in the queue, until the next one of its group comes.
type kept struct {
	snapshot string  // of the cut that it shipped
	turns    []*turn // by disk number; nil: none
	expires  *time.Timer
}

// turnStuck is for how long nothing of a disk may come, with a read under way that does not return, until the next has its turn.
const turnStuck = 5 * time.Minute

// turn is one disk's place in the queue. Whoever has it, or waits for it, leaves it in the end.
type turn struct {
	queue *queue
	has   chan struct{} // closed when it is given
	left  bool
}

// line puts n turns into the queue, one behind the other.
func (q *queue) line(n int) []*turn {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]*turn, n)
	for i := range all {
		all[i] = &turn{queue: q, has: make(chan struct{})}
	}
	q.waiting = append(q.waiting, all...)
	q.giveLocked()
	return all
}

// giveLocked gives all turns that are free. q.mu is held.
func (q *queue) giveLocked() {
	for len(q.waiting) > 0 && (q.most == 0 || q.given < q.most) {
		close(q.waiting[0].has)
		q.waiting = q.waiting[1:]
		q.given++
	}
}

// wait returns when the turn is given. A turn of nil is there at once.
func (t *turn) wait(ctx context.Context) error {
	if t == nil {
		return nil
	}
	select {
	case <-t.has:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave gives the turn back, or the place in the queue up, and says whether it did: a second call does nothing.
func (t *turn) leave() bool {
	if t == nil {
		return false
	}
	q := t.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.left {
		return false
	}
	t.left = true
	if i := slices.Index(q.waiting, t); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		return true
	}
	q.given--
	q.giveLocked()
	return true
}

func leaveAll(turns []*turn) {
	for _, t := range turns {
		t.leave()
	}
}

// place returns how many turns are given before this one, itself counted; 0: it does not wait.
func (t *turn) place() int {
	if t == nil {
		return 0
	}
	t.queue.mu.Lock()
	defer t.queue.mu.Unlock()
	return slices.Index(t.queue.waiting, t) + 1
}

// keep keeps a group's turns and places, by disk number, for turnKept.
func (q *queue) keep(group replication.GroupID, snapshot string, turns []*turn) {
	k := &kept{snapshot: snapshot, turns: turns}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.kept == nil {
		q.kept = map[replication.GroupID]*kept{}
	}
	q.kept[group] = k
	k.expires = time.AfterFunc(turnKept, func() {
		q.mu.Lock()
		late := q.kept[group] == k
		if late {
			delete(q.kept, group)
		}
		q.mu.Unlock()
		if late {
			leaveAll(turns)
		}
	})
}

// back returns the turns that are kept of a group, and keeps them no longer; of another cut than the given one, they are left.
func (q *queue) back(group replication.GroupID, snapshot string) []*turn {
	q.mu.Lock()
	k := q.kept[group]
	delete(q.kept, group)
	q.mu.Unlock()
	if k == nil {
		return nil
	}
	k.expires.Stop()
	if k.snapshot != snapshot {
		leaveAll(k.turns)
		return nil
	}
	return k.turns
}

// lineUp puts all disks of a comparison into the queue, but for those that are durable already, and those whose turn or place was kept: one that has had its turn sends what was lost without another. Those
// that go ahead of everything need no turn.
func (s *shipment) lineUp() {
	had := s.engine.queue.back(s.fence.Group, s.order.Snapshot)
	if s.order.Ahead || s.order.Mode != replication.Compare {
		leaveAll(had)
		return
	}
	var line []*diskShip
	for i, d := range s.disks {
		if i < len(had) && had[i] != nil {
			d.turn.Store(had[i])
			s.line = append(s.line, had[i])
		} else if !s.stable || d.durable.Bytes() < d.Disk.Size {
			line = append(line, d)
		}
	}
	if s.order.LargestFirst {
		slices.SortStableFunc(line, func(a, b *diskShip) int { return -cmp.Compare(a.Disk.Size, b.Disk.Size) })
	}
	for i, t := range s.engine.queue.line(len(line)) {
		line[i].turn.Store(t)
		s.line = append(s.line, t)
	}
}

// end gives all turns back. Where the order came to nothing with its connection, they are kept for the one that is given anew; not where the source is read anew with it.
func (s *shipment) end(ctx context.Context, err error) {
	turns := make([]*turn, len(s.disks))
	for i, d := range s.disks {
		turns[i] = d.turn.Load()
	}
	if s.stable && len(s.line) > 0 && err != nil && (ctx.Err() != nil || replication.AsProblem(err).Code == link.CodeUnreachable) {
		s.engine.queue.keep(s.fence.Group, s.order.Snapshot, turns)
		return
	}
	leaveAll(turns)
}

// await waits until there is something to do, and tells progress meanwhile: a shipment of which nothing goes on takes no workers and no lanes.
func (s *shipment) await(ctx context.Context, progress func(replication.Progress)) error {
	if len(s.line) == 0 {
		return nil
	}
	first := slices.MinFunc(s.line, func(a, b *turn) int { return cmp.Compare(a.place(), b.place()) })
	if first.place() == 0 {
		return nil
	}
	defer s.report(func() { progress(replication.Progress{Disks: s.ledgers(), Queue: s.places()}) })()
	return first.wait(ctx)
}

// watch gives the turns away of disks of which nothing has come for turnStuck while a read was under way: a dead source may hold it for ever, and with it the workers that the other disks need. They go on
// without a turn when it returns. What waits for the link, or for the window of a throttle, is not stuck. One goroutine at a time.
func (s *shipment) watch(now time.Time) {
	for _, d := range s.disks {
		t := d.turn.Load()
		came := d.ledger.read.Load() + d.ledger.done.Load()
		if came != d.came || d.since.IsZero() || s.reading.Load() == 0 || t.place() > 0 {
			d.came, d.since = came, now
			continue
		}
		if now.Sub(d.since) >= turnStuck && t.leave() {
			s.engine.cfg.Log.Warn("the next disk has the turn of one that is stuck", "group", s.fence.Group, "point", s.fence.Point, "disk", d.Disk.ID, "source", d.Path, "for", now.Sub(d.since))
		}
	}
}

// places tells by disk number where the disks are in the queue.
func (s *shipment) places() []int {
	all := make([]int, len(s.disks))
	for i, d := range s.disks {
		all[i] = d.turn.Load().place()
	}
	return all
}
