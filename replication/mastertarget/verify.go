package mastertarget

import (
	"context"
	"slices"
	"time"

	"failback/replication"
	"failback/replication/link"
)

// verifyRequest is an operator waiting for a verification.
type verifyRequest struct {
	ctx     context.Context
	point   replication.PointID
	news    chan []replication.Ledger // holds the newest that has not been told
	result  link.Verified
	outcome replication.Verify
	done    chan error // holds one
}

// Verify implements transport.Operations. It takes its turn between the group's cycles.
func (e *Engine) Verify(ctx context.Context, id replication.GroupID, point replication.PointID, progress func([]replication.Ledger)) (replication.PointID, replication.Verify, []replication.DiskID, error) {
	fail := func(err error) (replication.PointID, replication.Verify, []replication.DiskID, error) {
		return 0, replication.Verify{}, nil, err
	}
	g, err := e.group(id)
	if err != nil {
		return fail(err)
	}
	if err := g.waitReady(ctx); err != nil {
		return fail(err)
	}
	if err := g.disksTaken(); err != nil {
		return fail(err)
	}
	last, ok := g.journal.Last()
	if !ok {
		return fail(noPointYet(id))
	}
	if point == 0 {
		point = last.ID
	}
	if _, err := g.journal.Point(point); err != nil {
		return fail(noSuchPoint(id, point))
	}
	if err := g.waitConnected(ctx); err != nil {
		return fail(err)
	}
	if w := g.engine.worker(g.plan.ProcessServer); w != nil {
		if p := g.tooOld(w); p != nil {
			return fail(p)
		}
	}
	req := &verifyRequest{ctx: ctx, point: point, news: make(chan []replication.Ledger, 1), done: make(chan error, 1)}
	g.mu.Lock()
	g.requests.verify = append(g.requests.verify, req)
	g.mu.Unlock()
	g.wake()
	for told := true; told; {
		told = false
		select {
		case l := <-req.news:
			progress(l)
			told = true
		case err = <-req.done:
		case <-ctx.Done():
			if g.withdraw(req) {
				return fail(context.Cause(ctx))
			}
			err = <-req.done // being worked on: it ends with ctx
		case <-g.ctx.Done(): // the loop may have ended before it saw the request
			select {
			case err = <-req.done:
			default:
				err = errClosing
			}
		}
	}
	if err != nil {
		return fail(err)
	}
	var differing []replication.DiskID
	for _, n := range req.result.Disks {
		if disks := g.journal.Identity().Disks; int(n) < len(disks) {
			differing = append(differing, disks[n].ID)
		}
	}
	return point, req.outcome, differing, nil
}

// verified notes the outcome of a verification, before the next cycle begins: one that starts from a suspect point compares.
func (g *group) verified(req *verifyRequest) error {
	req.outcome = replication.Verify{Time: time.Now().UTC(), Equal: req.result.Differs == 0, Differs: req.result.Differs}
	if err := g.journal.MarkVerified(req.point, req.outcome); err != nil {
		return journalProblem(g.id, err)
	}
	if req.outcome.Equal {
		g.happened(replication.EventVerify, replication.Healthy, req.point, "point %d equals the source", req.point)
	} else {
		g.happened(replication.EventVerify, replication.Critical, req.point, "point %d differs from the source: %d bytes", req.point, req.outcome.Differs)
	}
	if req.outcome.Equal || !g.stable() { // an unstable source may simply have gone on
		return nil
	}
	if err := g.journal.MarkSuspect(req.point, "differs from the source's snapshot"); err != nil { // I14
		return journalProblem(g.id, err)
	}
	return nil
}

// tell takes the ledgers of a verification under way. It never waits for the operator, whose terminal may be held: behind it wait the reports of all groups.
func (r *verifyRequest) tell(l []replication.Ledger) {
	select {
	case <-r.news:
	default:
	}
	select {
	case r.news <- l:
	default:
	}
}

// withdraw takes back a request that is not being worked on yet.
func (g *group) withdraw(req *verifyRequest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.requests.verify)
	g.requests.verify = slices.DeleteFunc(g.requests.verify, func(r *verifyRequest) bool { return r == req })
	return len(g.requests.verify) < n
}

// verify works on the first request.
func (g *group) verify(w *worker) {
	g.mu.Lock()
	if len(g.requests.verify) == 0 { // withdrawn
		g.mu.Unlock()
		return
	}
	req := g.requests.verify[0]
	g.requests.verify = g.requests.verify[1:]
	g.mu.Unlock()
	ctx, cancel := g.orderContext(w)
	defer cancel()
	stop := context.AfterFunc(req.ctx, cancel)
	defer stop()
	g.become(g.settled(), nil, "a verification to end")
	g.gate.Lock()
	g.session++
	session := g.session
	g.active, g.reading, g.through, g.mending = true, req.point, nil, false
	g.gate.Unlock()
	began := time.Now()
	v, err := w.Verify(ctx, g.spec(session, g.journal.DisksAt(req.point)), req.point, req.tell)
	g.revoke()
	req.result = v
	if err == nil {
		g.verifyMeasured(time.Since(began))
		err = g.verified(req)
	}
	req.done <- err
}

// stable says whether all sources have snapshots.
func (g *group) stable() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !slices.Contains(g.views, "none")
}
