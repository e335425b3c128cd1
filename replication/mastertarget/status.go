package mastertarget

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"failback/replication"
	"failback/retention"
)

// Status implements transport.Operations. It takes little more than askPatience, whatever hangs.
func (e *Engine) Status(_ context.Context, id replication.GroupID) (replication.Status, error) {
	var s replication.Status
	e.mu.Lock()
	groups := maps.Clone(e.groups)
	e.mu.Unlock()
	if id != "" {
		g, err := e.group(id)
		if err != nil {
			return s, err
		}
		groups = map[replication.GroupID]*group{id: g}
	}
	s.Groups = askAll(groups, (*group).told)
	e.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(e.workers)) {
		w := e.workers[name]
		skew, told := w.skew()
		s.Workers = append(s.Workers, replication.WorkerStatus{Name: name, Connected: w.connected(), Version: w.Version, Since: w.since, ClockSkew: skew, NoClock: !told, Figures: w.figures()})
	}
	e.mu.Unlock()
	e.judged(&s)
	return s, nil
}

func (g *group) status() replication.GroupStatus {
	drills := g.engine.drillsOf(g.id)
	g.mu.Lock()
	s := replication.GroupStatus{
		Group: g.id, State: g.state, Since: g.since, WaitsFor: g.waits, Problem: g.problem, Held: g.record.Held,
		ProcessServer: g.plan.ProcessServer, Move: g.move, Notices: []string{}, Space: g.space, Drills: drills, Pins: []replication.Pin{},
		Link: g.link,
	}
	for _, about := range slices.Sorted(maps.Keys(g.notices)) {
		s.Notices = append(s.Notices, g.notices[about])
	}
	for _, d := range g.plan.Disks() {
		one := replication.DiskStatus{Disk: d.Name, State: "waiting", Source: d.Source, Target: d.Target, View: g.views[d.No]}
		if int(d.No) < len(g.ledgers) {
			one.Ledger = g.ledgers[d.No]
		}
		if int(d.No) < len(g.queue) {
			one.Queue = g.queue[d.No]
		}
		one.Rate = g.rates[d.No].value
		s.Disks = append(s.Disks, one)
	}
	g.mu.Unlock()
	if s.Cutover = g.cutoverStatus(); s.Cutover != nil && s.Cutover.Doing != "" && s.Problem == nil {
		s.WaitsFor = s.Cutover.Doing
	}
	if g.isAway() {
		g.awayStatus(&s)
		return s
	}
	if g.isReady() != nil {
		g.standbyStatus(&s)
		return s
	}
	open := g.journal.OpenCycle()
	if open != nil {
		s.Open, s.Mode = open.Point, open.Mode
	}
	g.mu.Lock()
	s.Behind, s.CatchUp = g.lag.points, g.lag.takes
	g.mu.Unlock()
	if m := g.journal.Unfinished(); m != nil && s.Move == nil { // it was interrupted, and has not been taken up yet: the disks are between the two
		s.Move = &replication.MoveStatus{From: m.From, To: m.To, Phase: "waiting"}
	}
	s.Scrub = g.scrubStatus()
	s.Resync = g.resyncStatus()
	s.Head, s.Generation = g.journal.Head(), g.journal.Generation()
	points := g.journal.Points()
	s.Pins = pinsOf(points, time.Now())
	for _, p := range slices.Backward(points) {
		if p.Kind == replication.App {
			s.LastApp, s.LastAppTime = p.ID, p.Time
			break
		}
	}
	if p, ok := lastAttempted(points); ok && p.NotApp != "" && g.appInterval() > 0 {
		s.Notices = append(s.Notices, fmt.Sprintf("point %d was to be application-consistent, and is crash-consistent: %s", p.ID, p.NotApp))
	}
	if bytes, saving := g.journal.OriginalStored(); saving {
		s.Original = &replication.OriginalStatus{Saving: true, Stored: bytes}
	} else if p, err := g.journal.Point(replication.OriginalPoint); err == nil {
		s.Original = &replication.OriginalStatus{Stored: p.Stored}
	}
	if last, ok := g.journal.Last(); ok {
		s.Last, s.LastTime, s.LagSeconds = last.ID, last.Time, time.Since(last.Time).Seconds()
		if open == nil {
			s.NextCut = last.Time.Add(time.Duration(g.plan.Policy.CrashInterval))
			if s.Resync != nil && s.Resync.Opens.After(s.NextCut) {
				s.NextCut = s.Resync.Opens
			}
		}
	}
	births := g.journal.Births()
	s.Departed = departedOf(g.journal)
	queued, going := false, false
	working := g.engine.worker(g.plan.ProcessServer) != nil && s.Problem == nil
	for i, d := range g.journal.Identity().Disks {
		one := &s.Disks[i]
		one.Size, one.Format = d.Size, string(g.targets[i].Description().Format)
		if b := births[i]; b == retention.NoPoint {
			one.Unborn = true
		} else {
			one.Joined = b
		}
		switch {
		case one.Unborn && !g.journal.Joining(d.No):
			one.State = "joins with the next point"
		case open != nil:
			one.Durable = g.journal.Durable(d.No)
			switch {
			case !working:
				one.Queue = 0
			case one.Queue > 0:
				one.State, one.Rate = "queued", 0
			case one.Ledger.Total > 0 && one.Ledger.Done >= one.Ledger.Total:
				one.State = replication.DiskComplete
			case open.Mode == replication.Compare || one.Unborn:
				one.State = "comparing"
			default:
				one.State = "shipping"
			}
			queued = queued || one.Queue > 0
			going = going || one.State == "comparing" || one.State == "shipping"
		case s.Last != 0:
			one.State, one.Rate = "protected", 0
		}
	}
	if queued && !going && s.WaitsFor == "" {
		s.WaitsFor = fmt.Sprintf("its turn: process server %s copies other disks first", g.plan.ProcessServer)
	}
	g.explain(&s, open)
	return s
}
