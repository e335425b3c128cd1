package processserver

import (
	"math"
	"time"

	"failback/replication/block"
)

// estimate is what a ladder knows. It has no clock: windows and samples come from outside.
type estimate struct {
	samples float64      // weight of the samples so far, in bytes
	costs   [levels]cost // by samples
	bias    cost         // how many times that is seen
	stream  beside       // what LevelStream costs and gives, as seen, and
	best    beside       // LevelStreamBest
	deep    deep         // when the second is worth it
	streams float64      // as plant has it
	fixed   float64      // as plant has them
	wire    float64
	link    float64
	source  float64
	line    line
	others  others
	windows int     // taken
	left    float64 // payload of these
	grew    int     // windows in a row that the link did not bind in
	drops   int     // windows in a row that the link seems to have taken far less in, and
	dropped float64 // the most that it took in one of them
	near    bool    // both ends are in one room
	now     mix     // chosen last, and
	same    int     // for how many windows it has been of the same levels
	since   float64 // raw bytes that have passed in these
	tried   [alone]trial
	better  int // windows in a row in which another mix seemed better than a stream
	binds   string
}

// Samples older than so many bytes of them count little.
const sampleMemory = 32 << 16

// coresLeft is the share of the cores that a mix leaves, idleAbove the one of those that could be had above which it is not they that bind, and idleLeast what of all must be idle for that.
const (
	coresLeft = 0.06
	idleAbove = 0.15
	idleLeast = 0.03
)

// idleWaits is the share of the machine's cores that is idle where frames wait for the link and for nothing else.
const idleWaits = 0.1

// wireCost is what a payload byte is thought to cost, in CPU seconds, as long as windows do not tell: at this end, half a second a GiB. Where both ends, or a tunnel's, are on one machine it is a
// multiple of that.
const wireCost = 0.5 / (1 << 30)

// line fits what a window's raw byte cost, compression not counted, to the ratio at which it was sent: what is fixed, and what is paid for each byte sent. Older windows count less, and those in which little passed.
type line struct{ n, x, y, xx, xy float64 }

// Older windows count for so much less with each new one; and without a spread of ratios of about the root of lineTrust, the slope is the one that is thought.
const (
	lineMemory = 0.9
	lineTrust  = 0.002
)

func (l *line) add(x, y, weight float64) {
	*l = line{l.n*lineMemory + weight, l.x*lineMemory + weight*x, l.y*lineMemory + weight*y, l.xx*lineMemory + weight*x*x, l.xy*lineMemory + weight*x*y}
}

// fit returns both, none below 0.
func (l *line) fit(slope float64) (fixed, each float64) {
	x, y := l.x/l.n, l.y/l.n
	each = (l.xy/l.n - x*y + lineTrust*slope) / (l.xx/l.n - x*x + lineTrust)
	each = min(max(each, slope/2), 32*slope)
	if fixed = y - each*x; fixed < 0 {
		return 0, y / x
	}
	return fixed, each
}

// buffered is about what lanes, sockets and queues hold: before so much has left, it is not known that no link binds.
const buffered = 8 << 20

// linkDrops is how many windows in a row the link must seem to take far less for that to be believed.
const linkDrops = 3

// linkGrowth is by which share the link is thought to take more than it was seen to, after a window in which it did not bind; after linkGrowths of them in a row, by so many times that. The less
// is tried, the less is lost where it takes no more.
const (
	linkGrowth  = 0.05
	linkGrowths = 4
)

// sourceGrowth is by how much the source may be able to be read faster than it was.
const sourceGrowth = 1.15

// begins says whether too little has left for the link to show.
func (e *estimate) begins() bool { return e.left < buffered }

func newEstimate() estimate {
	return estimate{bias: cost{1, 1}, link: math.Inf(1), source: math.Inf(1)}
}

// beside is a level of streams beside LevelZstd2, on the same blocks: what it comes to depends on all that went before, and is seen only where it is used.
type beside struct {
	raw           float64 // weight of what was seen, in bytes
	alone, stream cost    // CPU seconds and payload bytes, smoothed
}

// What LevelStream is thought to cost and give as long as it was not seen: programs and text that become .4 alone become .3 in a stream, what does not compress stays what it is.
const (
	streamCPU   = 1.3
	streamPower = 1.3 // of the ratio
)

// The same of LevelStreamBest beside LevelStream: .295 becomes .275, at 17 MB/s and core for 100; but what has its caches to itself is told better from what waits most of the time, whose 100 are 50.
const (
	bestCPU   = 4
	bestPower = 1.05
)

// streamThought is for how many bytes of what is seen that counts.
const streamThought = 4 * block.MaxRaw

// streamed takes what blocks came to in a stream at a level, and alone at LevelZstd2.
func (e *estimate) streamed(level block.Level, raw int, stream, alone cost) {
	s, n := &e.stream, float64(raw)
	thought := cost{streamCPU * alone.cpu, math.Pow(alone.ratio, streamPower)}
	if level == block.LevelStreamBest {
		s, thought = &e.best, cost{bestCPU * thought.cpu, math.Pow(thought.ratio, bestPower)}
	}
	if s.raw == 0 {
		*s = beside{streamThought, alone, thought}
	}
	s.raw = min(s.raw+n, sampleMemory)
	weight := n / s.raw
	move := func(to *cost, seen cost) {
		to.cpu += (seen.cpu - to.cpu) * weight
		to.ratio += (seen.ratio - to.ratio) * weight
	}
	move(&s.alone, alone)
	move(&s.stream, stream)
	e.think()
}

// think says what the levels of streams cost and give.
func (e *estimate) think() {
	c := e.costs[block.LevelZstd2]
	stream := e.stream.of(c, cost{streamCPU * c.cpu, math.Pow(c.ratio, streamPower)})
	e.costs[block.LevelStream] = stream
	e.costs[block.LevelStreamBest] = e.best.of(c, cost{bestCPU * stream.cpu, math.Pow(stream.ratio, bestPower)})
}

// of returns what the level comes to where LevelZstd2 comes to alone; thought, as long as it was not seen.
func (b beside) of(alone, thought cost) cost {
	if b.raw == 0 || b.alone.cpu <= 0 || b.alone.ratio <= 0 {
		return thought
	}
	return cost{alone.cpu * b.stream.cpu / b.alone.cpu, alone.ratio * b.stream.ratio / b.alone.ratio}
}

// first is the level of all as long as little is known.
func (e *estimate) first() block.Level {
	if e.near {
		return block.Raw
	}
	if e.streams > 0 && (e.samples == 0 || e.costs[block.LevelStream].ratio < streamWorth*e.costs[firstLevel].ratio) {
		return block.LevelStream
	}
	return firstLevel
}

// A stream begins unless another mix is streamLeave times as fast, and goes on unless that is so in streamLeaves windows in a row, or one is streamFlee times as fast: what is sent otherwise, over more lanes, lies before a slow link for
// long if that was an error, and a window in which buffers fill looks like a fast link.
const (
	streamLeave  = 1.15
	streamLeaves = 3
	streamFlee   = 2
)

// stays says whether a stream is as good as another mix that seems so many times as fast. sure: the link takes all that the stream gives, and no buffers do.
func (e *estimate) stays(times float64, sure bool) bool {
	if times < streamLeave {
		e.better = 0
		return true
	}
	if e.now.streams() == 0 {
		return false
	}
	e.better++
	return !sure && times < streamFlee && e.better < streamLeaves
}

// streamWindows is for how many windows all goes in a stream before it is thought that the link takes more than one lane makes.
const streamWindows = 3

// begin is the level of all as long as too little has left.
func (e *estimate) begin() block.Level {
	first, patience := e.first(), 1
	if first == block.LevelStream {
		patience = streamWindows
	}
	switch {
	case e.windows <= patience || !math.IsInf(e.link, 1):
		return first
	case e.windows == patience+1 && e.streams > 0: // with care: if the link binds after all, that shows
		return firstLevel
	}
	return nextLevel // nothing waits: it is we who are slow
}

// streamWorth is what a stream must make of what blocks alone come to for all to be sent over one lane.
const streamWorth = 0.95

// sample takes what a block came to at all levels but those of streams.
func (e *estimate) sample(raw int, took [levels]time.Duration, payload [levels]int) {
	n := float64(raw)
	e.samples += n
	weight := n / min(e.samples, sampleMemory)
	defer e.think()
	for i := range alone {
		c := &e.costs[i]
		c.cpu += (took[i].Seconds()/n - c.cpu) * weight
		c.ratio += (float64(payload[i])/n - c.ratio) * weight
	}
}

// take takes a window, and says what mix is best, once it can tell.
func (e *estimate) take(w window) (mix, bool) {
	if e.samples == 0 || w.raw == 0 || w.seconds <= 0 {
		return mix{}, false
	}
	e.other(w)
	e.windows++
	e.left += w.payload
	e.since += w.raw
	full, empty := w.fills(), 2*w.empty > w.frames
	sent := w.payload / w.seconds
	switch {
	case full && math.IsInf(e.link, 1) && e.windows == 1: // what fills buffers says nothing
	case full: // whatever it is that takes no more: the link, the other end, or what comes between
		e.takes(sent, w.idle >= idleWaits)
		e.grew = 0
	case !math.IsInf(e.link, 1): // it took this much at least
		e.grew = min(e.grew+1, linkGrowths)
		e.drops, e.dropped = 0, 0
		if w.idles() {
			e.link = max(e.link, w.carries())
		} else if w.keepsUp() { // it may take far more
			e.link = 2 * max(e.link, sent)
		} else {
			e.link = max(e.link, sent) * (1 + linkGrowth*float64(e.grew))
		}
		if e.link > 16*sent {
			e.link = math.Inf(1)
		}
	}
	e.source = math.Inf(1)
	if empty && w.spare() { // nothing of ours binds: the source can't be read faster
		e.source = sourceGrowth * w.raw / w.seconds
	}
	e.correct(w)
	costs := e.seen()
	cores := min(w.ours()+e.others.forUs()*sent, w.cores) * (1 - coresLeft)
	p := plant{costs: costs, streams: e.streams, cores: cores, fixed: e.fixed, wire: e.wire + e.others.forUs(), link: e.link, source: e.source}
	if e.begins() && !e.near && !w.keepsUp() && !(w.idles() && w.carries() >= w.raw/w.seconds) { // else all could go as it is
		return e.choose(e.deepen(w, p, only(e.begin()))), true
	}
	e.left = max(e.left, buffered)
	next := p.best()
	if stream := only(block.LevelStream); e.streams > 0 && costs[block.LevelStream].ratio < streamWorth*next.of(costs).ratio && e.stays(p.rate(next)/p.rate(stream), w.keepsUp()) {
		next = stream
	}
	e.judge(w)
	if w.idles() && (w.binds() == bindsCores || e.now.streams() > 0 && !empty) { // a stream's one core is as good as all
		next = e.try(w, next)
	}
	return e.choose(e.deepen(w, p, next)), true
}

// What is seen may be mostBias times less, or more, than samples tell, for that to be believed. How much they compress differs from block to block, and what was seen of that is forgotten by biasFades a window; that samples cost more than
// what is done all the time stays so.
const (
	mostBias  = 8
	biasFades = 0.05
)

// correct takes what a window tells of samples. They are of few blocks, which may be of another kind than those that came since, and what takes them does so seldom: neither its tables nor its code are in the cores' caches, and twice to
// four times the CPU time was seen.
func (e *estimate) correct(w window) {
	move := func(to *float64, times, by float64) { *to += (min(max(times, 1./mostBias), mostBias) - *to) * by }
	told := e.now.of(e.costs)
	if !e.shows(w) || e.now == only(block.Raw) || told.cpu <= 0 || told.ratio <= 0 {
		move(&e.bias.ratio, 1, biasFades)
		return
	}
	by := .5
	if e.bias == (cost{1, 1}) { // this is all there is to go by
		by = 1
	}
	move(&e.bias.ratio, w.payload/w.raw/told.ratio, by)
	if e.now.streams() == 1 && w.streamed > 0 {
		move(&e.bias.cpu, w.encoding/w.streamed/told.cpu, by)
	}
}

// seen returns what levels cost and give, as far as what is seen of one tells it of all. What does not compress stays what it is.
func (e *estimate) seen() [levels]cost {
	c := e.costs
	for l := range c {
		c[l].cpu *= e.bias.cpu
		if block.Level(l) != block.Raw {
			c[l].ratio = min(1, c[l].ratio*e.bias.ratio)
		}
	}
	return c
}

// choose has a mix from now on.
func (e *estimate) choose(m mix) mix {
	if e.same++; m.uses() != e.now.uses() {
		e.same, e.since = 0, 0
	}
	e.now = m
	return m
}

// trial is what a level alone was seen to have where the cores bound, and when.
type trial struct {
	rate   float64 // raw bytes a second
	window int     // as windows counts; 0: never
}

// tryFor is for how many windows a level is tried before it is judged, and tryAfter how many raw bytes must have passed before the last of them: at first, queues hold what was encoded before. tryAgain is after how many
// windows it is tried again.
const (
	tryFor    = 2
	tryAfter  = 2 * framesAhead * block.FrameRaw
	tryAgain  = 128
	sendShare = 0.6
)

// shows says whether a window tells of what was chosen last: its shares move a little all the time, its levels don't.
func (e *estimate) shows(w window) bool { return e.same+1 >= tryFor && e.since-w.raw >= tryAfter }

// judge takes a window in which a level alone was used.
func (e *estimate) judge(w window) {
	now, alone := e.now.level()
	if binds := w.binds(); !alone || binds == bindsSource || binds == bindsCores && !e.shows(w) {
		return
	}
	t, rate := &e.tried[now], w.raw/w.seconds
	if t.window == 0 || e.windows-t.window > 1 {
		t.rate = rate
	}
	t.rate, t.window = t.rate+(rate-t.rate)/2, e.windows
}

// try says which level alone is the fastest where the cores bind and the link does not, by trying: what each byte costs the other end, or a tunnel, on the same cores, is not known as well as that. Next is what is
// done where the link would bind.
func (e *estimate) try(w window, next mix) mix {
	if _, alone := e.now.level(); alone && !e.shows(w) && w.binds() == bindsCores {
		return e.now
	}
	best, rate, link, costs := trial{}, w.raw/w.seconds, min(e.link, w.carries()), e.seen()
	for l := block.Raw; l < block.LevelZstd2; l++ {
		t, c := e.tried[l], costs[l]
		if link < max(rate, best.rate)*c.ratio {
			continue
		}
		if t.window == 0 || e.windows-t.window >= tryAgain {
			if e.mayPay(l, w.cores/rate) {
				return only(l)
			}
			continue
		}
		if t.rate > best.rate {
			best, next = t, only(l)
		}
	}
	return next
}

// takes notes what left while frames waited. That it was far less is believed when it was so again and again, or when there was nothing else to wait for: this machine's cores, or the other end's, stop
// for a moment more often than links change.
func (e *estimate) takes(sent float64, sure bool) {
	if sure && sent < e.link {
		e.link, e.drops, e.dropped = sent, 0, 0
		return
	}
	if sent >= .8*e.link || math.IsInf(e.link, 1) {
		e.drops, e.dropped = 0, 0
		if math.IsInf(e.link, 1) || sent > 1.25*e.link {
			e.link = sent
		}
		e.link += (sent - e.link) / 2
		return
	}
	e.drops, e.dropped = e.drops+1, max(e.dropped, sent)
	if e.drops == linkDrops {
		e.link, e.drops, e.dropped = e.dropped, 0, 0
	}
}

// other finds what everything but compression costs, ours and what others do for us.
func (e *estimate) other(w window) {
	if e.now == (mix{}) {
		e.now = only(e.first())
	}
	compression := e.now.of(e.seen()).cpu // by the mix that was
	e.line.add(w.payload/w.raw, max((w.own-w.sampled)/w.raw-compression, 0), w.raw)
	e.fixed, e.wire = e.line.fit(wireCost)
	if w.idle >= 0 {
		e.others.add(w)
	}
}

// ours returns how many cores can be had: those that nobody else uses, and half of all where others use more, as those have to share.
func (w window) ours() float64 {
	if w.idle < 0 {
		return w.cores / 2
	}
	return max(w.idle*w.cores+w.own/w.seconds, w.cores/2)
}

// carries is about what the network would carry, in bytes a second, if it never had to wait; more, where what is under way is so for long.
func (w window) carries() float64 {
	if w.held <= 0 {
		return math.Inf(1)
	}
	return w.payload / w.seconds * w.span / w.held
}

// mayPay says whether a level could be faster than what is done now, where a raw byte takes so many CPU seconds in all: what compresses more spares at most sendShare of that for each byte that is not sent. A level that
// another surpasses in both is none.
func (e *estimate) mayPay(l block.Level, all float64) bool {
	costs := e.seen()
	c, now := costs[l], e.now.of(costs)
	if c.cpu > now.cpu && c.cpu-now.cpu > (now.ratio-c.ratio)*sendShare*all {
		return false
	}
	for other := block.LevelLZ4; other < block.LevelZstd2; other++ {
		if o := costs[other]; other != l && o.cpu <= c.cpu && o.ratio <= 1.05*c.ratio {
			return false
		}
	}
	return true
}

// idles says whether it is known that the network often has nothing of ours to carry.
func (w window) idles() bool { return w.span > 0 && w.held < holdsFor*w.span }

// keepsUp says whether the other end got what lanes encoded as it was encoded, and lanes had it encoded all the time: buffers took nothing of it.
func (w window) keepsUp() bool {
	return w.waited < .05*w.worked && w.acked >= .8*w.payload
}

// spare says whether we use less than we could: cores must be idle. Where others use all that we do not, it can't be told what more we would get.
func (w window) spare() bool {
	if w.idle >= 0 && w.idle < idleLeast {
		return false
	}
	return w.own/w.seconds < (1-idleAbove)*w.ours()
}
