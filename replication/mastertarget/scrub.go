package mastertarget

import (
	"context"
	"fmt"
	"time"

	"failback/replication"
	"failback/retention"
)

// scrub has the journal read in whole when it is due or asked for, until the group ends.
func (g *group) scrub() {
	for {
		due, req := g.nextScrub()
		switch {
		case req != nil:
			g.scrubPass(req)
			continue
		case !due.IsZero() && !time.Now().Before(due):
			g.scrubPass(nil)
			continue
		}
		wait := time.Hour
		if !due.IsZero() {
			wait = min(wait, time.Until(due))
		}
		select {
		case <-time.After(wait):
		case <-g.scrubWake:
		case <-g.ctx.Done():
			g.care.mu.Lock()
			if r := g.care.ask; r != nil {
				g.care.ask = nil
				r.ended <- errClosing
			}
			g.care.mu.Unlock()
			return
		}
	}
}

// nextScrub returns when the next pass is due, zero for never, or the request for one.
func (g *group) nextScrub() (due time.Time, req *scrubRequest) {
	g.care.mu.Lock()
	defer g.care.mu.Unlock()
	if r := g.care.ask; r != nil {
		return due, r
	}
	return g.scrubDueLocked(), nil
}

// scrubDueLocked returns when the next pass is due by itself; zero: never. A pass that was cut off goes on at once; the first one of a journal comes a period after it was made. care.mu is held.
func (g *group) scrubDueLocked() time.Time {
	every := g.engine.cfg.ScrubEvery
	if every <= 0 || g.engine.cfg.ScrubRate <= 0 {
		return time.Time{}
	}
	st := g.journal.ScrubState()
	from := st.Whole
	switch {
	case !st.Begun.IsZero():
		return g.care.notBefore
	case from.IsZero():
		from = g.journal.Identity().Created
	}
	if due := from.Add(every); due.After(g.care.notBefore) {
		return due
	}
	return g.care.notBefore
}

// scrubRetry is how long a pass that failed waits.
const scrubRetry = 10 * time.Minute

// scrubPass makes one pass, for a request or because it is time.
func (g *group) scrubPass(req *scrubRequest) {
	k := &g.care
	opt := retention.ScrubOptions{Resume: req == nil}
	rate := g.engine.cfg.ScrubRate
	if req != nil {
		rate = req.rate
		close(req.begun)
	}
	k.mu.Lock()
	k.status.Running, k.status.Done, k.status.Total, k.status.Found, k.rate = true, 0, 0, []string{}, rate
	k.mu.Unlock()
	opt.Progress = func(done, total int64) {
		k.mu.Lock()
		k.status.Done, k.status.Total = done, total
		k.mu.Unlock()
	}
	opt.Pace = g.scrubPace(req != nil)
	g.log.Info("scrub begun", "rate", rate)
	start := time.Now()
	found, err := g.journal.Scrub(g.ctx, opt)
	g.noteFindings(found)
	k.mu.Lock()
	k.status.Running = false
	for _, f := range found.Findings[:min(len(found.Findings), maxToldFind)] {
		k.status.Found = append(k.status.Found, fmt.Sprintf("%s at %d: %s", f.File, f.Off, f.What))
	}
	if err != nil {
		k.notBefore = time.Now().Add(scrubRetry)
	}
	k.mu.Unlock()
	if err == nil {
		g.log.Info("scrub ended", "files", found.Files, "bytes", found.Bytes, "quarantined", found.Quarantined, "rebuilt", len(found.Rebuilt), "seconds", time.Since(start).Seconds())
		g.notice("scrub", "")
		err = g.damageChanged()
	} else if g.ctx.Err() == nil {
		g.mend(err)
		g.log.Warn("scrub failed", "err", err)
		g.notice("scrub", "the journal can't be read in whole: "+err.Error())
	}
	g.rouse()
	k.mu.Lock()
	if k.ask == req && req != nil {
		k.ask = nil
	}
	k.mu.Unlock()
	if req != nil {
		req.ended <- err
	}
	g.engine.changed()
}

// scrubPace bounds the rate of a pass: below the one it was given while blocks arrive or the disks move.
func (g *group) scrubPace(asked bool) func(context.Context, int) error {
	var ahead time.Duration // of what was read so far
	last := time.Now()
	return func(ctx context.Context, n int) error {
		g.care.mu.Lock()
		rate := g.care.rate
		g.care.mu.Unlock()
		switch busy := g.busy(); {
		case busy && rate > 0:
			rate = max(rate/yieldShare, 1)
		case busy && asked:
			rate = askedYield
		}
		now := time.Now()
		ahead = max(ahead-now.Sub(last), -100*time.Millisecond)
		if last = now; rate > 0 {
			ahead += time.Duration(float64(n) / float64(rate) * float64(time.Second))
		}
		if ahead < 10*time.Millisecond {
			return nil
		}
		select {
		case <-time.After(ahead):
		case <-ctx.Done():
		}
		return nil
	}
}

// busy says whether blocks arrive or the disks move.
func (g *group) busy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.lanes) > 0 || g.move != nil
}

// scrubStatus tells how whole the journal is.
func (g *group) scrubStatus() *replication.ScrubStatus {
	g.care.mu.Lock()
	defer g.care.mu.Unlock()
	s := g.care.status
	s.Whole = g.journal.ScrubState().Whole
	if !s.Running {
		s.Next = g.scrubDueLocked()
	}
	s.Parts, s.Lost, s.Points = len(g.care.damage.Parts), g.care.damage.Bytes, pointsOf(g.care.damage)
	return &s
}

// Scrub implements transport.Operations.
func (e *Engine) Scrub(ctx context.Context, id replication.GroupID, rate int64, wait bool, progress func(replication.ScrubStatus)) (replication.ScrubStatus, error) {
	g, err := e.group(id)
	if err != nil {
		return replication.ScrubStatus{}, err
	}
	if err := g.waitReady(ctx); err != nil {
		return replication.ScrubStatus{}, err
	}
	g.care.mu.Lock()
	req := g.care.ask
	if req == nil {
		req = &scrubRequest{rate: rate, begun: make(chan struct{}), ended: make(chan error, 1)}
		g.care.ask = req
	}
	g.care.rate = rate // a pass under way takes it up: it comes to its end, and then one begins that reads what it had read before
	g.care.mu.Unlock()
	select {
	case g.scrubWake <- struct{}{}:
	default:
	}
	if !wait {
		return *g.scrubStatus(), nil
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-req.ended:
			req.ended <- err // others may wait for it too
			if err != nil {
				return *g.scrubStatus(), err
			}
			return g.settledDamage(ctx)
		case <-tick.C:
			progress(*g.scrubStatus())
		case <-ctx.Done():
			return replication.ScrubStatus{}, context.Cause(ctx)
		case <-g.ctx.Done():
			return replication.ScrubStatus{}, errClosing
		}
	}
}

// settlePatience is how long an operator's scrub waits for what it found to be mended.
const settlePatience = time.Minute

// settledDamage waits, with patience, until what the last point lacks is repaired, or is known not to be for now.
func (g *group) settledDamage(ctx context.Context) (replication.ScrubStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	_ = g.engine.wait(ctx, func() bool { // what is not mended by then, the status tells
		last, ok := g.journal.Last()
		return !ok || !g.repairDue(last.ID) || g.engine.worker(g.plan.ProcessServer) == nil
	})
	return *g.scrubStatus(), nil
}
