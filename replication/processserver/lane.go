package processserver

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/replication/throttle"
)

// attempts numbers lane attempts of this process; the session makes them unique.
var attempts atomic.Uint64

// laneUse says which lanes take frames, and remembers those that broke.
type laneUse struct {
	mu     sync.Mutex
	count  laneCount
	moved  chan struct{} // closed when the count has changed
	broken error         // why a lane broke that may hold what did not arrive; nil: none did
	lost   map[uint32]bool
}

func newLaneUse(most int) *laneUse {
	return &laneUse{count: newLaneCount(most), moved: make(chan struct{}), lost: map[uint32]bool{}}
}

func (u *laneUse) active() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.count.now
}

// of says whether a lane takes frames, and what is closed when that may have changed.
func (u *laneUse) of(no uint32) (takes bool, moved <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return int(no) < u.count.now, u.moved
}

func (u *laneUse) look(sent float64, binds bool, limit int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.count.now
	if u.count.look(sent, binds, limit) != was {
		close(u.moved)
		u.moved = make(chan struct{})
	}
}

func (u *laneUse) breaks(no uint32, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.broken, u.lost[no] = err, true
}

// takeBroken returns why a lane broke since it was asked last.
func (u *laneUse) takeBroken() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	err := u.broken
	u.broken = nil
	return err
}

// isBroken says whether there is something that takeBroken would tell.
func (u *laneUse) isBroken() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.broken != nil
}

// wasLost says whether a lane's last attempt broke, and forgets it.
func (u *laneUse) wasLost(no uint32) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.lost[no]
	delete(u.lost, no)
	return was
}

// adapt looks at what leaves, and changes the number of lanes, until ended is closed.
func (s *shipment) adapt(ctx context.Context, ended <-chan struct{}) {
	t := time.NewTicker(lanesEvery)
	defer t.Stop()
	before := s.level.totals()
	s.used.look(0, false, int64(s.limit()))
	for {
		select {
		case <-t.C:
		case <-ended:
			return
		case <-ctx.Done():
			return
		}
		now := s.level.totals()
		w := now.less(before)
		before = now
		s.used.look(w.payload, 2*w.full > w.frames && w.frames > 0, int64(s.limit()))
	}
}

// limit returns what the group may send a second now; 0: no limit.
func (s *shipment) limit() throttle.Rate { return s.engine.valve.Limit(string(s.fence.Group)) }

// frameFor bounds how long a frame takes at a limit: what keeps a connection alive waits behind it.
const frameFor = 2 * time.Second

// frameMost is how much raw content goes into a frame now.
func (s *shipment) frameMost() int64 {
	if l := s.limit(); l > 0 {
		return max(block.MaxRaw, min(block.FrameRaw, int64(float64(l)*frameFor.Seconds())))
	}
	return block.FrameRaw
}

// laneTries is how often a lane is opened anew without a frame having gone before it is given up; with the last one of all, so is the order.
const laneTries = 3

// lane sends frames over one connection at a time until there are no more, and returns when they are durable. A connection that breaks is replaced: its attempt is
// named, and the master target takes nothing more of it when it knows of the next.
func (s *shipment) lane(ctx context.Context, no uint32, ended <-chan struct{}) error {
	var now *openLane
	defer func() {
		if now != nil {
			now.Close()
		}
	}()
	lost := func(err error) {
		s.engine.cfg.Log.Warn("lane broke: others carry on, and what it lost is sent again", "group", s.fence.Group, "point", s.fence.Point, "lane", no, "err", err)
		s.used.breaks(no, fmt.Errorf("lane %d: %w", no, err))
		if now != nil {
			now.Close()
			now = nil
		}
	}
	tries := 0
	if s.used.wasLost(no) { // so that the master target takes what arrived of the last attempt for all that will
		var err error
		if now, err = s.openLane(ctx, no); err != nil {
			return err
		}
	}
	for {
		f, err := s.next(ctx, no, ended)
		if err != nil {
			return err
		}
		if f == nil {
			break
		}
		if now == nil {
			if now, err = s.openLane(ctx, no); err != nil {
				f.Free()
				if !breakable(ctx, err) {
					return err
				}
				if tries++; tries == laneTries {
					return err
				}
				lost(err)
				continue
			}
		}
		if err := now.send(f); err != nil {
			if !breakable(ctx, err) {
				return fmt.Errorf("lane %d: %w", no, err)
			}
			lost(err)
			continue
		}
		tries = 0
	}
	if now == nil {
		return nil
	}
	byValue, err := now.Flush()
	if err != nil {
		if !breakable(ctx, err) {
			return fmt.Errorf("flush lane %d: %w", no, err)
		}
		lost(err)
	}
	s.byValue.Add(byValue)
	return nil
}

// breakable says whether an error is that of a connection that broke. What the master target refuses is another thing.
func breakable(ctx context.Context, err error) bool {
	return ctx.Err() == nil && replication.AsProblem(err).Code == link.CodeUnreachable
}

// next returns the next frame for a lane, or nil when there are no more.
func (s *shipment) next(ctx context.Context, no uint32, ended <-chan struct{}) (*block.Frame, error) {
	for {
		frames := s.frames
		takes, moved := s.used.of(no)
		if !takes {
			frames = nil
		}
		select {
		case f := <-frames:
			return f, nil
		case <-moved:
		case <-ended:
			if takes { // the last ones may still be there
				select {
				case f := <-frames:
					return f, nil
				default:
				}
			}
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// openLane is one attempt of a lane.
type openLane struct {
	link.Lane
	s     *shipment
	ctx   context.Context
	paced bool // it asks the valve itself, for each byte on the wire
	share wireShare
}

func (s *shipment) openLane(ctx context.Context, no uint32) (*openLane, error) {
	l, err := s.engine.authority.Lane(ctx, replication.Lane{Session: s.fence.Session, Point: s.fence.Point, Lane: no, Attempt: attempts.Add(1)})
	if err != nil {
		return nil, fmt.Errorf("open lane %d: %w", no, err)
	}
	o := &openLane{Lane: l, s: s, ctx: ctx, share: wireShare{disks: s.disks}}
	if p, ok := l.(link.Paced); ok {
		o.paced = true
		p.Pace(func(n int) int { return s.engine.valve.Allow(ctx, string(s.fence.Group), n) })
	}
	return o, nil
}

func (l *openLane) send(f *block.Frame) error {
	if !l.paced {
		n := 0
		for i := range f.Blocks {
			n += len(f.Blocks[i].Payload)
		}
		for n > 0 {
			n -= l.s.engine.valve.Allow(l.ctx, string(l.s.fence.Group), n)
		}
	}
	for i := range f.Blocks { // before Send, which takes the frame over
		b := &f.Blocks[i]
		l.s.disks[b.Disk].ledger.sent(b)
		l.share.carry(b)
	}
	err := l.Send(f)
	l.divide()
	return err
}

// divide puts what the socket took into the disks' ledgers.
func (l *openLane) divide() {
	if m, ok := l.Lane.(link.Metered); ok {
		l.share.divide(m.Wire())
	}
}

// Close divides what went out last.
func (l *openLane) Close() {
	l.Lane.Close()
	l.divide()
	l.share.end()
}
