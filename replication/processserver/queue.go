package processserver

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"failback/replication"
)

// queue gives disks that are copied or compared whole their turns, of all groups together: each reads a whole source, and more of them at a time make each one later. Who came first goes first. Cycles of changes
// are none of it. It is in memory only: after a restart all line up again, and what was durable is not sent again.
type queue struct {
	most int // turns at a time; 0: as many as are asked for

	mu      sync.Mutex
	given   int
	waiting []*turn
}

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

// leave gives the turn back, or the place in the queue up. A second call does nothing.
func (t *turn) leave() {
	if t == nil {
		return
	}
	q := t.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.left {
		return
	}
	t.left = true
	if i := slices.Index(q.waiting, t); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		return
	}
	q.given--
	q.giveLocked()
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

// lineUp puts the disks that are compared into the queue, but for those that are durable already. Those that go ahead of everything need no turn.
func (s *shipment) lineUp() {
	if s.order.Ahead {
		return
	}
	var line []*diskShip
	for _, d := range s.disks {
		if d.compares && !(s.stable && d.durable.Bytes() == d.Disk.Size) {
			line = append(line, d)
		}
	}
	if s.order.LargestFirst {
		slices.SortStableFunc(line, func(a, b *diskShip) int { return -cmp.Compare(a.Disk.Size, b.Disk.Size) })
	}
	s.line = s.engine.queue.line(len(line))
	for i, d := range line {
		d.turn.Store(s.line[i])
	}
}

// leave gives all turns back.
func (s *shipment) leave() {
	for _, d := range s.disks {
		d.turn.Load().leave()
	}
}

// await waits until there is something to do, and tells progress meanwhile: a shipment of which nothing goes on takes no workers and no lanes.
func (s *shipment) await(ctx context.Context, progress func(replication.Progress)) error {
	if s.order.Mode != replication.Compare || len(s.line) == 0 || s.line[0].place() == 0 {
		return nil
	}
	defer s.report(func() { progress(replication.Progress{Disks: s.ledgers(), Queue: s.places()}) })()
	return s.line[0].wait(ctx)
}

// places tells by disk number where the disks are in the queue.
func (s *shipment) places() []int {
	all := make([]int, len(s.disks))
	for i, d := range s.disks {
		all[i] = d.turn.Load().place()
	}
	return all
}
