package mastertarget

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"failback/replication"
)

// This file finds what the work under way is bound by, from what was measured over the last seconds: how long the process server's workers read, hashed, compressed and waited for lanes, which it tells with its ledgers;
// how long the lanes here were busy with decoding, the journal and the disks; and what the link took.

// The stages of the work. Where one is the bottleneck, the others wait for it.
const (
	stageSource     = "source read"
	stageHash       = "hash"
	stageCompress   = "compress"
	stageLink       = "link"
	stageThrottle   = "throttle"
	stageTargetRead = "target read" // hashes of the target's side, that a compare waits for
	stageDecode     = "decode"
	stageTarget     = "target write"
	stageJournal    = "journal"
)

// allDisks stands for what is done for all disks that have anything to do.
const allDisks = replication.DiskNo(replication.MaxDisks)

// spending adds up what a group's lanes spend their time on, in nanoseconds, by disk.
type spending [replication.MaxDisks + 1]struct{ decode, target, journal atomic.Int64 }

// since adds the time that has passed.
func (b *spending) since(stage string, disk replication.DiskNo, begin time.Time) {
	c := &b[min(disk, allDisks)]
	took := int64(time.Since(begin))
	switch stage {
	case stageDecode:
		c.decode.Add(took)
	case stageTarget:
		c.target.Add(took)
	case stageJournal:
		c.journal.Add(took)
	}
}

// work is what was spent on something, in seconds of everybody who worked on it.
type work struct {
	read, hash, compress, send, target float64 // at the process server; target: waiting for hashes
	decode, write, journal             float64 // here
}

func (w work) less(o work) work {
	return work{w.read - o.read, w.hash - o.hash, w.compress - o.compress, w.send - o.send, w.target - o.target, w.decode - o.decode, w.write - o.write, w.journal - o.journal}
}

func (w work) and(o work) work {
	return work{w.read + o.read, w.hash + o.hash, w.compress + o.compress, w.send + o.send, w.target + o.target, w.decode + o.decode, w.write + o.write, w.journal + o.journal}
}

// span is what had been spent at a time.
type span struct {
	at    time.Time
	disks []work
	all   work // that is of no disk
}

// Stretches that are judged are of spanLeast to twice that.
const spanLeast = 5 * time.Second

// ships begins to measure a shipment.
func (g *group) ships(point replication.PointID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shipping, g.ledgers, g.spans = point, nil, nil
	g.spannedLocked(time.Now())
}

// spentLocked is what has been spent so far. g.mu is held.
func (g *group) spentLocked(now time.Time) span {
	here := func(d replication.DiskNo) work {
		b := &g.spent[d]
		return work{decode: time.Duration(b.decode.Load()).Seconds(), write: time.Duration(b.target.Load()).Seconds(), journal: time.Duration(b.journal.Load()).Seconds()}
	}
	s := span{at: now, all: here(allDisks)}
	for i := range g.rates {
		w := here(replication.DiskNo(i))
		if i < len(g.ledgers) {
			t := g.ledgers[i].Spent
			w = w.and(work{read: t.Read.Seconds(), hash: t.Hash.Seconds(), compress: t.Compress.Seconds(), send: t.Send.Seconds(), target: t.Target.Seconds()})
		}
		s.disks = append(s.disks, w)
	}
	return s
}

// spannedLocked takes note of what was spent, and of what binds, when progress has come. g.mu is held.
func (g *group) spannedLocked(now time.Time) {
	if n := len(g.spans); n > 0 && g.link != nil {
		last := now.Sub(g.spans[n-1].at).Seconds()
		if f, ok := g.measuredLocked(); ok && n > 1 {
			by, _, _ := f.judge(f.whole())
			g.engine.observing.bound(g.id, by, last)
		}
	}
	g.spans = append(g.spans, g.spentLocked(now))
	for len(g.spans) > 2 && now.Sub(g.spans[1].at) >= spanLeast {
		g.spans = g.spans[1:]
	}
}

// measured is what was measured over a stretch.
type measured struct {
	seconds float64
	disks   []work
	rest    work // here, of no disk
	lanes   int
	rate    float64 // bytes a second on the wire
	limit   float64 // that may be; 0: no limit
	takes   float64 // payload bytes a second that the link was seen to take; 0: it does not bind
	binds   string  // as the process server judges: link, limit, source or cores
}

// measuredLocked returns what was measured over the last seconds; false: nothing is being shipped, or nothing is known yet. g.mu is held.
func (g *group) measuredLocked() (measured, bool) {
	if g.link == nil || len(g.spans) < 2 {
		return measured{}, false
	}
	a, b := g.spans[0], g.spans[len(g.spans)-1]
	m := measured{seconds: b.at.Sub(a.at).Seconds(), rest: b.all.less(a.all), lanes: g.link.Lanes, rate: g.link.Rate, limit: float64(g.link.Limit), takes: g.link.Takes, binds: g.link.Binds}
	for i := range b.disks {
		m.disks = append(m.disks, b.disks[i].less(a.disks[i]))
	}
	return m, m.seconds > 0
}

// whole is the work on all disks.
func (m measured) whole() work {
	w := m.rest
	for _, d := range m.disks {
		w = w.and(d)
	}
	return w
}

// Shares above which something binds.
const (
	shareSend  = 0.4 // of the workers' time, spent waiting for lanes
	shareLanes = 0.5 // of the lanes' time, busy here
	shareAsked = 0.5 // of the time, waiting for the target's hashes
	shareLimit = 0.8 // of the limit, used
)

// judge says what some work is bound by, why, and how long each stage was busy. The work is that of a disk, or of all; lanes and the link are everybody's.
func (m measured) judge(w work) (bottleneck, because string, stages []replication.StageShare) {
	workers := w.read + w.hash + w.compress + w.send
	lanes := m.seconds * float64(max(m.lanes, 1))
	here := m.whole()
	busyHere := (here.decode + here.write + here.journal) / lanes
	share := func(stage string, v float64) replication.StageShare {
		return replication.StageShare{Stage: stage, Share: min(max(v, 0), 1)}
	}
	out := stageLink // what is waited for behind the lanes
	switch {
	case busyHere >= shareLanes:
		out = most(stageDecode, here.decode, stageTarget, here.write, stageJournal, here.journal)
	case m.limit > 0 && m.rate >= shareLimit*m.limit:
		out = stageThrottle
	}
	if workers == 0 && w.target == 0 { // nothing was told of it: a process server of an earlier release, or a disk that nothing is done for
		by := map[string]string{"link": out, "limit": stageThrottle, "source": stageSource, "cores": stageCompress}[m.binds]
		if by == "" || w != (work{}) || here == w {
			return by, "as the process server judges", nil
		}
		return "", "", nil
	}
	if workers > 0 {
		stages = append(stages, share(stageSource, w.read/workers), share(stageHash, w.hash/workers), share(stageCompress, w.compress/workers), share(out, w.send/workers))
	}
	stages = append(stages, share(stageTargetRead, w.target/m.seconds))
	for _, s := range []replication.StageShare{share(stageDecode, w.decode/lanes), share(stageTarget, w.write/lanes), share(stageJournal, w.journal/lanes)} {
		if s.Stage != out && s.Share > 0 {
			stages = append(stages, s)
		}
	}
	slices.SortStableFunc(stages, func(a, b replication.StageShare) int { return -cmp.Compare(a.Share, b.Share) })
	percent := func(v float64) string { return fmt.Sprintf("%.0f %%", 100*min(max(v, 0), 1)) }
	inner := most(stageSource, w.read, stageHash, w.hash, stageCompress, w.compress)
	switch {
	case workers > 0 && w.send/workers >= shareSend:
		why := map[string]string{
			stageLink:     "it carries " + perSecond(m.rate),
			stageThrottle: fmt.Sprintf("it allows %s, of which %s are used", perSecond(m.limit), perSecond(m.rate)),
		}[out]
		if why == "" {
			why = fmt.Sprintf("the lanes here are busy for %s of their time", percent(busyHere))
		}
		return out, fmt.Sprintf("workers wait for lanes for %s of their time; %s", percent(w.send/workers), why), stages
	case w.target/m.seconds >= shareAsked && w.target > w.read+w.hash+w.compress:
		return stageTargetRead, fmt.Sprintf("for %s of the time the hashes of the target's side are waited for", percent(w.target/m.seconds)), stages
	case workers > 0:
		doing := map[string]string{stageSource: "wait for the source", stageHash: "hash", stageCompress: "compress"}[inner]
		return inner, fmt.Sprintf("workers %s for %s of their time, and wait for lanes for %s", doing, percent(max(w.read, w.hash, w.compress)/workers), percent(w.send/workers)), stages
	}
	return "", "", stages
}

// most returns the stage that took the most of three.
func most(a string, took float64, b string, tookB float64, c string, tookC float64) string {
	if tookB > took {
		a, took = b, tookB
	}
	if tookC > took {
		a = c
	}
	return a
}

func perSecond(v float64) string { return fmt.Sprintf("%.3g MB/s", v/1e6) }

// inJournal is how much of a disk's open cycle the journal keeps. What a compare found equal counts as durable, and is nowhere but on the disk.
func inJournal(d *replication.DiskStatus, mode replication.Mode, told bool) int64 {
	if mode == replication.Compare && told {
		return max(d.Durable-d.Ledger.Equal, 0)
	}
	return d.Durable
}

// explain puts into a status what binds the work under way, and what of each disk is where.
func (g *group) explain(s *replication.GroupStatus, open *replication.Cycle) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, ok := g.measuredLocked()
	ok = ok && open != nil && g.shipping == open.Point
	if ok {
		s.Bottleneck, s.Because, _ = m.judge(m.whole())
	}
	for i := range s.Disks {
		d := &s.Disks[i]
		d.Stages = []replication.StageShare{}
		if i < len(g.lag.disks) && s.Behind > 0 {
			d.Backlog.MasterTarget = g.lag.disks[i]
		}
		if open == nil {
			continue
		}
		if open.Route == replication.Journaled && !d.Unborn {
			d.Backlog.MasterTarget += inJournal(d, open.Mode, g.shipping == open.Point)
		}
		if g.shipping != open.Point || i >= len(g.ledgers) {
			continue
		}
		d.Backlog.Source = max(d.Ledger.Total-d.Ledger.Done, 0)
		read := d.Ledger.Done
		if open.Mode == replication.Changes && !d.Unborn { // what is as it was is no part of the cycle
			read -= d.Ledger.Equal
		}
		d.Backlog.ProcessServer = max(read-d.Durable, 0)
		if ok && d.Queue == 0 && d.Ledger.Done < d.Ledger.Total {
			var stages []replication.StageShare
			d.Bottleneck, d.Because, stages = m.judge(m.disks[i])
			d.Stages = append(d.Stages, stages...)
		}
	}
}
