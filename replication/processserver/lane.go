package processserver

import (
	"context"
	"fmt"
	"runtime"
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
	open   map[uint32]*openLane
	seen   map[uint32]pulse
	stuck  map[uint32]bool // lanes whose connection moves nothing: another takes their turn
	count  laneCount
	moved  chan struct{} // closed when the count has changed
	broken error         // why a lane broke that may hold what did not arrive; nil: none did
	lost   map[uint32]bool
}

func newLaneUse(most int) *laneUse {
	return &laneUse{count: newLaneCount(most), moved: make(chan struct{}), lost: map[uint32]bool{}, open: map[uint32]*openLane{}, stuck: map[uint32]bool{}}
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
	turn := int(no)
	for other := range u.stuck {
		if other < no {
			turn--
		}
	}
	return turn < u.count.now && !u.stuck[no], u.moved
}

// stream says whether what is sent goes in streams from now on.
func (u *laneUse) stream(on bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if was := u.count.now; on != u.count.streams {
		u.count.stream(on)
		if u.count.now != was {
			u.movedLocked()
		}
	}
}

func (u *laneUse) movedLocked() {
	close(u.moved)
	u.moved = make(chan struct{})
}

func (u *laneUse) look(w totals, limit int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.count.now
	if u.count.look(w, limit) != was {
		u.movedLocked()
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
	const stuckLooks = int(lanesEvery / stuckAfter)
	t := time.NewTicker(stuckAfter)
	defer t.Stop()
	before := s.passed.totals()
	s.used.look(totals{}, int64(s.limit()))
	for tick := 1; ; tick++ {
		select {
		case <-t.C:
		case <-ended:
			return
		case <-ctx.Done():
			return
		}
		s.used.feel()
		if tick%stuckLooks != 0 {
			continue
		}
		now := s.passed.totals()
		s.used.look(now.less(before), int64(s.limit()))
		before = now
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
		f, rested, err := s.next(ctx, no, ended)
		if rested && now != nil {
			now.felt = time.Time{}
		}
		if err != nil {
			return err
		}
		if f.Frame == nil {
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

// next returns the next frame for a lane, or none when there are no more. It says whether the lane was meanwhile one that takes none.
func (s *shipment) next(ctx context.Context, no uint32, ended <-chan struct{}) (f queued, rested bool, err error) {
	for {
		frames := s.frames
		takes, moved := s.used.of(no)
		if !takes {
			frames, rested = nil, true
		}
		select {
		case f := <-frames:
			return f, rested, nil
		case <-moved:
		case <-ended:
			if takes { // the last ones may still be there
				select {
				case f := <-frames:
					return f, rested, nil
				default:
				}
			}
			return queued{}, rested, nil
		case <-ctx.Done():
			return queued{}, rested, context.Cause(ctx)
		}
	}
}

// openLane is one attempt of a lane.
type openLane struct {
	link.Lane
	s     *shipment
	ctx   context.Context
	no    uint32
	paced bool // it asks the valve itself, for each byte on the wire
	share wireShare

	frames atomic.Uint64        // twice those sent; odd while one is
	held   atomic.Bool          // by the valve, now
	stream *block.StreamEncoder // nil: none yet, or there are enough
	pick   pick                 // compresses without one, and samples

	streamed int64 // raw bytes since it began at its level

	felt   time.Time   // when feel was asked last, and
	strain link.Strain // what the lane told then
}

func (s *shipment) openLane(ctx context.Context, no uint32) (*openLane, error) {
	l, err := s.engine.authority.Lane(ctx, replication.Lane{Session: s.fence.Session, Point: s.fence.Point, Lane: no, Attempt: attempts.Add(1)})
	if err != nil {
		return nil, fmt.Errorf("open lane %d: %w", no, err)
	}
	o := &openLane{Lane: l, s: s, ctx: ctx, no: no, pick: pick{ladder: s.level}, share: wireShare{disks: s.disks}}
	s.used.opens(o)
	if d, ok := l.(link.Distant); ok && s.limit() == 0 {
		s.level.reaches(d.Trip())
	}
	if p, ok := l.(link.Paced); ok {
		o.paced = true
		p.Pace(func(n int) int {
			o.held.Store(true)
			defer o.held.Store(false)
			return s.engine.valve.Allow(ctx, string(s.fence.Group), n)
		})
	}
	return o, nil
}

func (l *openLane) send(f queued) error {
	encoded := l.encode(f.Frame)
	begin := time.Now()
	l.frames.Add(1)
	defer l.frames.Add(1)
	if !l.paced {
		n := 0
		for i := range f.Blocks {
			n += len(f.Blocks[i].Payload)
		}
		for n > 0 {
			n -= l.s.engine.valve.Allow(l.ctx, string(l.s.fence.Group), n)
		}
	}
	gone := left{full: f.full, empty: f.empty}
	for i := range f.Blocks { // before Send, which takes the frame over
		b := &f.Blocks[i]
		if b.Kind == block.Data {
			gone.raw, gone.payload = gone.raw+b.Raw, gone.payload+len(b.Payload)
		}
		l.s.disks[b.Disk].ledger.sent(b)
		l.share.carry(b)
	}
	err := l.Send(f.Frame)
	l.divide()
	if err == nil {
		if encoded.took > 0 {
			gone.worked, gone.waited = encoded.took.Seconds(), time.Since(begin).Seconds()
			gone.streamed, gone.cpu = float64(encoded.streamed), encoded.cpu.Seconds()
		}
		l.feel(&gone)
		l.s.level.note(gone)
		l.s.passed.note(gone)
	}
	return err
}

// feel notes what the network did to the lane since it was asked last, where that is known.
func (l *openLane) feel(gone *left) {
	s, ok := l.Lane.(link.Strained)
	if !ok {
		return
	}
	all, ok := s.Strain()
	if !ok {
		return
	}
	now, was := time.Now(), l.strain
	if !l.felt.IsZero() && all.Held >= was.Held && all.Sent >= was.Sent { // else it is another connection
		gone.span, gone.held = now.Sub(l.felt).Seconds(), (all.Held - was.Held).Seconds()
		gone.acked = max(0, float64(all.Acked-was.Acked))
		gone.sent, gone.again = float64(all.Sent-was.Sent), float64(all.Again-was.Again)
	}
	l.felt, l.strain = now, all
}

// streamBuffer is how much a socket takes that is not on the wire yet where one lane has to do what several do else: others may have the cores for tens of milliseconds before it has the next.
const streamBuffer = 1 << 20

// encoded is what it took to encode a frame.
type encoded struct {
	took     time.Duration
	streamed int           // raw bytes that went into a stream, and
	cpu      time.Duration // the CPU time of that
}

// encode encodes what of a frame goes in a stream.
func (l *openLane) encode(f *block.Frame) encoded {
	if !f.Streams() {
		return encoded{}
	}
	level, streaming := l.s.level.streaming()
	if streaming && l.stream == nil {
		select {
		case l.s.engine.streams <- struct{}{}:
			l.stream = block.NewStreamEncoder()
			if b, ok := l.Lane.(link.Buffered); ok {
				b.Buffer(streamBuffer)
			}
		default:
		}
	}
	if !streaming || l.stream == nil { // what chose them has chosen anew, or there are enough of them
		begin := time.Now()
		f.Alone(&l.pick.enc, l.pick.alone)
		return encoded{took: l.spent(f, begin)}
	}
	l.deepen(level)
	var sampled *block.Block
	var alone cost
	for i := range f.Blocks {
		if b := &f.Blocks[i]; b.Codec == block.Stream && l.s.level.due(b.Raw) {
			sampled, alone = b, l.pick.measure(b.Payload)
			break
		}
	}
	runtime.LockOSThread() // whose CPU time is taken
	defer runtime.UnlockOSThread()
	begin, cpu := time.Now(), threadCPU()
	raw := f.Stream(l.stream)
	cpu = threadCPU() - cpu
	l.streamed += int64(raw)
	if sampled != nil && l.streamed > block.StreamWindow { // before, there is little to stand on
		l.s.level.streamed(l.stream.Level(), sampled.Raw, cost{cpu.Seconds() / float64(raw), float64(len(sampled.Payload)) / float64(sampled.Raw)}, alone)
	}
	return encoded{took: l.spent(f, begin), streamed: raw, cpu: cpu}
}

// deepen has the lane's stream encoded at a level; at block.LevelStream where enough have the tables of the other one.
func (l *openLane) deepen(level block.Level) {
	if level == l.stream.Level() {
		return
	}
	if level == block.LevelStreamBest {
		select {
		case l.s.engine.best <- struct{}{}:
		default:
			return
		}
	} else {
		<-l.s.engine.best
	}
	l.stream.SetLevel(level)
	l.streamed = 0
}

// spent notes that a frame was compressed since begin.
func (l *openLane) spent(f *block.Frame, begin time.Time) time.Duration {
	took := time.Since(begin)
	l.s.disks[f.Blocks[0].Disk].ledger.spent.compress.Add(int64(took))
	return took
}

// divide puts what the socket took into the disks' ledgers.
func (l *openLane) divide() {
	if m, ok := l.Lane.(link.Metered); ok {
		l.share.divide(m.Wire())
	}
}

// Close divides what went out last.
func (l *openLane) Close() {
	l.s.used.closes(l)
	l.Lane.Close()
	if l.stream != nil {
		if l.stream.Level() == block.LevelStreamBest {
			<-l.s.engine.best
		}
		l.stream = nil
		<-l.s.engine.streams
	}
	l.divide()
	l.share.end()
}
