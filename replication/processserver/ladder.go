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

// ladder chooses how much work compression is worth. It knows what each level costs and gives from blocks of the very data that are compressed at all of them; what the
// rest of our work costs, from the process's CPU time; how many cores can be had, from how idle they are; what the link takes, from what leaves while frames wait for it. From these follows the mix of levels
// with the highest rate (plant.best). Every quarter of a second it looks again.
type ladder struct {
	pinned  bool
	workers int
	now     atomic.Pointer[mix]
	told    func(streams bool) // is told whether now has LevelStream

	mu      sync.Mutex
	total   totals
	est     estimate
	seen    window
	begin   time.Time // of the window
	cpu     cpuTimes
	own     time.Duration // CPU time of this process, at the window's begin
	started time.Time
	sampled time.Duration // CPU time spent on samples
	before  time.Duration // of these, before the window
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
	sampled      float64 // of these, spent on samples
	idle         float64 // share of the machine's cores, 0 to 1; below 0: not known
	cores        float64
}

// A decision is made after so many frames and so long a time; on slow links, after fewer.
const (
	ladderFrames = 4
	ladderEvery  = 250 * time.Millisecond
	ladderSlow   = time.Second
	ladderBegin  = 100 * time.Millisecond // while there is little to go by
)

// Samples take at most sampleShare of the workers' time, after the first few, and are of blocks of at least sampleLeast.
const (
	sampleShare = 0.02
	sampleFirst = 15 * time.Millisecond
	sampleLeast = 4 << 10
)

// firstLevel is that of all that does not go in streams, until something is known: on a fast link that costs a tenth of a second, a light one would fill the buffers before a slow link for long.
const firstLevel = block.LevelZstd2

// nextLevel is that of what follows, as long as no more is known than that the link takes all.
const nextLevel = block.LevelZstd1

// newLadder returns the ladder of a shipment with so many workers. Pin, if there is one, is the level of all. Streams says whether LevelStream may be chosen; whoever is to know whether it is, is told.
func newLadder(pin *block.Level, workers int, streams bool, told func(streams bool)) *ladder {
	now := time.Now()
	l := &ladder{workers: workers, told: told, begin: now, started: now, cpu: readCPU(), own: processCPU(), est: newEstimate()}
	if streams {
		l.est.streams = 1
	}
	first := only(l.est.first())
	if pin != nil {
		l.pinned, first = true, only(*pin)
	}
	l.choose(first)
	return l
}

func (l *ladder) choose(m mix) {
	l.now.Store(&m)
	l.told(m[block.LevelStream] > 0)
}

// left is a frame that has left.
type left struct {
	raw, payload int  // bytes of its data blocks
	full, empty  bool // it found the lanes' queue full, or empty

	worked, waited float64 // seconds in which its lane encoded and sent it; worked is 0 where it came encoded
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
	l.total.frames++
	l.total.payload += float64(f.payload)
	w.worked, w.waited = w.worked+f.worked, w.waited+f.waited
	l.total.worked, l.total.waited = l.total.worked+f.worked, l.total.waited+f.waited
	w.run++
	if !f.full {
		w.run = 0
	}
	if f.full {
		w.full++
		l.total.full++
	} else if f.empty {
		w.empty++
	}
	now := time.Now()
	passed := now.Sub(l.begin)
	every := ladderEvery
	if l.est.begins() {
		every = ladderBegin
	}
	if passed < every || w.frames < ladderFrames && passed < ladderSlow {
		return
	}
	cpu, own := readCPU(), processCPU()
	w.own, w.sampled = (own - l.own).Seconds(), (l.sampled - l.before).Seconds()
	w.seconds, w.idle, w.cores = passed.Seconds(), cpu.idleSince(l.cpu), float64(runtime.NumCPU())
	l.est.binds = w.binds()
	if next, ok := l.est.take(*w); ok && !l.pinned {
		l.choose(next)
	}
	l.seen, l.begin, l.cpu, l.own, l.before = window{}, now, cpu, own, l.sampled
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

// totals are what has passed since the beginning.
type totals struct {
	frames, full   int
	payload        float64
	worked, waited float64
}

func (t totals) less(o totals) totals {
	return totals{t.frames - o.frames, t.full - o.full, t.payload - o.payload, t.worked - o.worked, t.waited - o.waited}
}

// fills says whether frames waited for the link.
func (t totals) fills() bool {
	return 2*t.full > t.frames && t.frames > 0 && t.waited >= waitsFor*t.worked
}

func (l *ladder) totals() totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// waitsFor is how long lanes that encode wait for the link, as a share of the time in which they encode, where it is the link that binds: hardly at all where it is they.
const waitsFor = 0.15

// fills says whether frames wait for the link: most of them waited for lanes, or the last ones all did, and it is not the lanes that are slow.
func (w window) fills() bool {
	return (2*w.full > w.frames || w.run >= 3) && w.waited >= waitsFor*w.worked
}

// binds says, in one word, what a window's rate was bound by.
func (w window) binds() string {
	switch {
	case w.fills():
		return "link"
	case w.spare():
		return "source"
	}
	return "cores"
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

// due says whether a block of so many bytes should be compressed at all levels.
func (l *ladder) due(raw int) bool {
	if l.pinned || raw < sampleLeast {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	budget := sampleFirst + time.Duration(sampleShare*float64(min(l.workers, runtime.NumCPU()))*float64(time.Since(l.started)))
	return l.sampled < budget
}

// streamed notes what a sampled block came to in a stream.
func (l *ladder) streamed(raw int, stream, alone cost) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.est.streamed(raw, stream, alone)
}

// sample notes what a block came to at all levels but LevelStream, by CPU time.
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
	if now[block.LevelStream] == 0 && p.ladder.due(len(raw)) { // else lanes measure, beside what their streams make of it
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

// measure compresses a block at all levels but LevelStream, to see, and tells what it came to at LevelZstd2.
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
