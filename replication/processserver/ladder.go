package processserver

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// ladder chooses how much work compression is worth, for all shipments of a process: they share the cores and the link. It knows what each level costs and gives from blocks of the very data that are compressed at all of them, corrected by what all came to; what the
// rest of our work costs, from the process's CPU time; how many cores can be had, from how idle they are; what the link takes, from what leaves while frames wait for it. From these follows the mix of levels
// with the highest rate (plant.best). Every quarter of a second it looks again.
type ladder struct {
	pinned bool
	now    atomic.Pointer[mix]

	mu      sync.Mutex
	users   map[*laneUse]bool // of the shipments under way, and whether their blocks may go in streams
	est     estimate
	seen    window
	begin   time.Time // of the window
	cpu     cpuTimes
	own     time.Duration // CPU time of this process, at the window's begin
	sampled time.Duration // CPU time spent on samples
	before  time.Duration // of these, before the window
	budget  time.Duration // what they may take in all
	windows int           // that have ended
}

// window is what was seen in a while.
type window struct {
	seconds      float64
	frames       int
	full, empty  int     // frames that found the lanes' queue full, or empty
	run          int     // of the last ones, found it full
	raw, payload float64 // bytes of these frames
	own          float64 // CPU seconds that this process had
	worked       float64 // seconds in which lanes encoded, and
	waited       float64 // sent what they encode; of all lanes
	streamed     float64 // raw bytes that went into streams, and
	encoding     float64 // the CPU seconds of that
	span, held   float64 // seconds of lanes of which it is known how long the network held them, and how long that was
	acked        float64 // bytes that the other end has got, as far as that is known
	sampled      float64 // of these, spent on samples
	idle         float64 // share of the machine's cores, 0 to 1; below 0: not known
	cores        float64
}

// A decision is made after so many frames and so long a time; on slow links, after fewer.
const (
	ladderFrames = 4
	ladderEvery  = 250 * time.Millisecond
	ladderSlow   = time.Second
	ladderBegin  = 50 * time.Millisecond // while there is little to go by: so many times
	ladderBegins = 8
)

// Samples take at most sampleShare of the cores' time while something is shipped, after the first few, and are of blocks of at least sampleLeast.
const (
	sampleShare = 0.01
	sampleFirst = 15 * time.Millisecond
	sampleLeast = 4 << 10
)

// firstLevel is that of all that does not go in streams, until something is known: on a fast link that costs a tenth of a second, a light one would fill the buffers before a slow link for long.
const firstLevel = block.LevelZstd2

// nextLevel is that of what follows, as long as no more is known than that the link takes all.
const nextLevel = block.LevelZstd1

// newLadder returns a ladder. Pin, if there is one, is the level of all.
func newLadder(pin *block.Level) *ladder {
	l := &ladder{pinned: pin != nil, users: map[*laneUse]bool{}, est: newEstimate(), budget: sampleFirst}
	first := only(firstLevel)
	if pin != nil {
		first = only(*pin)
	}
	l.now.Store(&first)
	return l
}

// join has the lanes of a shipment be told whether blocks go in streams, if its blocks may, until the returned function is called.
func (l *ladder) join(u *laneUse, streams bool) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.users) == 0 { // what passed before then, and how idle the machine was, tells nothing
		l.renew(time.Now())
	}
	l.users[u] = streams
	l.stream()
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.users, u)
		l.stream()
	}
}

// stream counts the shipments whose blocks may go in streams, and chooses as long as little is known.
func (l *ladder) stream() {
	n := 0
	for _, streams := range l.users {
		if streams {
			n++
		}
	}
	l.est.streams = float64(min(n, maxStreams))
	if now := *l.now.Load(); !l.pinned && (l.est.windows == 0 || n == 0 && now.streams() > 0) {
		l.est.now = only(l.est.first())
		l.choose(l.est.now)
		return
	}
	l.choose(*l.now.Load())
}

// nearTrip is the longest round trip between two machines of one room: what connects them is no slow link, or fills what buffers it has at once. (A proxy or tunnel of this machine looks so too: what it buffers goes
// uncompressed then.)
const nearTrip = 500 * time.Microsecond

// reaches notes how long the way to the master target and back takes; 0: not known.
func (l *ladder) reaches(trip time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if near := trip > 0 && trip <= nearTrip; near != l.est.near {
		l.est.near = near
		l.stream()
	}
}

// renew begins a window.
func (l *ladder) renew(now time.Time) {
	l.seen, l.begin, l.cpu, l.own, l.before = window{}, now, readCPU(), processCPU(), l.sampled
}

func (l *ladder) choose(m mix) {
	l.now.Store(&m)
	for u, streams := range l.users {
		if streams {
			u.stream(m.streams() > 0)
		}
	}
}

// left is a frame that has left.
type left struct {
	raw, payload int  // bytes of its data blocks
	full, empty  bool // it found the lanes' queue full, or empty

	worked, waited float64 // seconds in which its lane encoded and sent it; worked is 0 where it came encoded
	streamed, cpu  float64 // raw bytes of it that its lane put into a stream, and the CPU seconds of that
	span, held     float64 // seconds since its lane sent the one before, and how long the network held the lane meanwhile; both 0 where that is not known
	acked          float64 // bytes that the other end has got since
	sent, again    float64 // bytes that its connection has sent since, and those of them that it sent again; both 0 where that is not known
}

// note takes note of a frame.
func (l *ladder) note(f left) {
	if f.raw == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.seen
	w.frames++
	w.raw += float64(f.raw)
	w.payload += float64(f.payload)
	w.worked, w.waited = w.worked+f.worked, w.waited+f.waited
	w.streamed, w.encoding = w.streamed+f.streamed, w.encoding+f.cpu
	w.span, w.held = w.span+f.span, w.held+f.held
	w.acked += f.acked
	w.run++
	if !f.full {
		w.run = 0
	}
	if f.full {
		w.full++
	} else if f.empty {
		w.empty++
	}
	now := time.Now()
	passed := now.Sub(l.begin)
	every := ladderEvery
	if l.windows < ladderBegins {
		every = ladderBegin
	}
	if passed < every || w.frames < ladderFrames && passed < ladderSlow {
		return
	}
	w.own, w.sampled = (processCPU() - l.own).Seconds(), (l.sampled - l.before).Seconds()
	w.seconds, w.idle, w.cores = passed.Seconds(), readCPU().idleSince(l.cpu), float64(runtime.NumCPU())
	l.budget += time.Duration(sampleShare * w.cores * float64(passed))
	l.est.binds = w.binds()
	if next, ok := l.est.take(*w); ok && !l.pinned {
		l.choose(next)
	}
	l.renew(now)
	l.windows++
}

// status tells what is chosen and why.
func (l *ladder) status() (s replication.LinkStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !math.IsInf(l.est.link, 1) {
		s.Takes = l.est.link
	}
	s.Binds = l.est.binds
	for level, share := range l.now.Load() {
		if share > 0 {
			s.Mix = append(s.Mix, replication.LevelShare{Level: block.Level(level).String(), Share: share})
		}
	}
	return s
}

// waitsFor is how long lanes that encode wait for the link, as a share of the time in which they encode, where it is the link that binds: hardly at all where it is they.
const waitsFor = 0.15

// holdsFor is for how much of the time the network holds lanes where it is the link that binds.
const holdsFor = 0.8

// fills says whether frames wait for the link: most of them waited for lanes, or the last ones all did, and it is not the lanes that are slow; nor, as far as can be told, the other end on this very machine, which then has no cores to spare.
func (w window) fills() bool {
	return (2*w.full > w.frames || w.run >= 3) && w.waited >= waitsFor*w.worked && (!w.idles() || w.idle >= idleWaits)
}

// What a window's rate was bound by, in one word.
const (
	bindsLink   = "link"
	bindsSource = "source"
	bindsCores  = "cores"
)

func (w window) binds() string {
	switch {
	case w.fills():
		return bindsLink
	case w.spare():
		return bindsSource
	}
	return bindsCores
}

// linkBinds says whether work that spares the link is worth the cores' time, as far as is known. A pinned level is taken for the operator's word on it.
func (l *ladder) linkBinds() bool {
	if l.pinned {
		return l.now.Load()[block.Raw] == 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return !math.IsInf(l.est.link, 1)
}

// streaming says whether blocks that may go in streams do, and at which level.
func (l *ladder) streaming() (block.Level, bool) {
	now := l.now.Load()
	if now[block.LevelStreamBest] > 0 {
		return block.LevelStreamBest, true
	}
	return block.LevelStream, now[block.LevelStream] > 0
}

// due says whether a block of so many bytes should be compressed at all levels.
func (l *ladder) due(raw int) bool {
	if l.pinned || raw < sampleLeast {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sampled < l.budget
}

// streamed notes what a sampled block came to in a stream at a level.
func (l *ladder) streamed(level block.Level, raw int, stream, alone cost) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.est.streamed(level, raw, stream, alone)
}

// sample notes what a block came to at all levels but those of streams, by CPU time.
func (l *ladder) sample(raw int, took [levels]time.Duration, payload [levels]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range took {
		l.sampled += took[i]
	}
	l.est.sample(raw, took, payload)
}

// pick is one worker's way to take levels from the mix: each in its share. Not safe for concurrent use.
type pick struct {
	ladder *ladder
	due    mix // what each level is owed
	enc    block.Encoder
	buf    []byte
}

// level returns the level for a block.
func (p *pick) level(raw []byte) block.Level {
	now := p.ladder.now.Load()
	if now.streams() == 0 && p.ladder.due(len(raw)) { // else lanes measure, beside what their streams make of it
		p.measure(raw)
	}
	best := -1
	for i, share := range now {
		if share == 0 { // not in the mix, or no more
			p.due[i] = 0
			continue
		}
		if p.due[i] += share; best < 0 || p.due[i] > p.due[best] {
			best = i
		}
	}
	p.due[best]--
	return block.Level(best)
}

// alone returns the level for a block that is not part of a stream.
func (p *pick) alone(raw []byte) block.Level {
	if level := p.level(raw); !level.Streams() {
		return level
	}
	return block.LevelZstd2
}

// measure compresses a block at all levels but those of streams, to see, and tells what it came to at LevelZstd2.
func (p *pick) measure(raw []byte) cost {
	var took [levels]time.Duration
	var payload [levels]int
	runtime.LockOSThread() // whose CPU time is taken
	defer runtime.UnlockOSThread()
	for i := range alone {
		begin := threadCPU()
		p.buf, _ = p.enc.Encode(p.buf[:0], raw, block.Level(i))
		took[i], payload[i] = threadCPU()-begin, len(p.buf)
	}
	took[block.Raw] = 0 // is not copied when it is sent
	p.ladder.sample(len(raw), took, payload)
	n := float64(len(raw))
	return cost{took[block.LevelZstd2].Seconds() / n, float64(payload[block.LevelZstd2]) / n}
}
