package mastertarget

import (
	"maps"
	"slices"
	"sync"
	"time"

	"failback/replication"
	"failback/replication/health"
	"failback/replication/link"
)

// observing is what the master target knows of how well things are. Package health judges.
type observing struct {
	begun time.Time

	mu     sync.Mutex
	watch  *health.Watch
	alerts []replication.Alert                        // that stand, the worst first
	cycles map[replication.GroupID][]health.Cycle     // that came to their end, the last ones
	ships  map[replication.GroupID]map[string]float64 // of the cycle under way: seconds by what bound it
}

// lookEvery is how often facts are looked at.
const lookEvery = 5 * time.Second

// observe looks at the facts until the engine closes.
func (e *Engine) observe() {
	every := lookEvery
	if e.cfg.look > 0 {
		every = e.cfg.look
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		e.look(time.Now())
		select {
		case <-t.C:
		case <-e.ctx.Done():
			return
		}
	}
}

// look judges how things are now, and tells what changed.
func (e *Engine) look(now time.Time) {
	facts := e.facts(now)
	o := &e.observing
	o.mu.Lock()
	changes := o.watch.Step(facts)
	o.alerts = o.watch.Alerts()
	stand := o.alerts
	o.mu.Unlock()
	if len(changes) == 0 {
		return
	}
	var events []replication.Event
	for _, c := range changes {
		event := replication.Event{Time: now, Kind: replication.EventAlert, Group: c.Group, Subject: c.Subject, Level: c.Level, Code: c.Code, Rule: c.Rule, Message: c.Message, Remedy: c.Remedy}
		if c.Level == replication.Healthy {
			event.Message, event.Remedy = "over: "+c.Message, ""
			e.cfg.Log.Info("alert cleared", "rule", c.Rule, "group", c.Group, "subject", c.Subject)
		} else {
			e.cfg.Log.Warn("alert", "rule", c.Rule, "level", c.Level, "group", c.Group, "subject", c.Subject, "err", c.Message)
		}
		events = append(events, event)
	}
	e.events.SetAlerts(stand, events...)
	e.changed()
}

// Alerts returns those that stand, the worst first.
func (e *Engine) Alerts() []replication.Alert {
	e.observing.mu.Lock()
	defer e.observing.mu.Unlock()
	return e.observing.alerts
}

// facts gathers what is known.
func (e *Engine) facts(now time.Time) health.Facts {
	f := health.Facts{Now: now}
	e.mu.Lock()
	groups := maps.Clone(e.groups)
	servers := map[string]*health.Server{}
	for name, w := range e.workers {
		skew, _ := w.skew()
		servers[name] = &health.Server{Name: name, Connected: w.connected(), Since: w.since, Skew: skew, Figures: w.figures()}
	}
	e.mu.Unlock()
	e.observing.forget(groups)
	f.Groups = askAll(groups, func(g *group) health.Group { return g.toldFacts(now) })
	for _, one := range f.Groups {
		s := servers[one.Server]
		if s == nil {
			s = &health.Server{Name: one.Server, Since: e.observing.begun}
			servers[one.Server] = s
		}
		s.Needed = s.Needed || one.State != replication.StateCommitted
	}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		f.Servers = append(f.Servers, *servers[name])
	}
	return f
}

// forget lets go of what is kept of groups that are no more.
func (o *observing) forget(groups map[replication.GroupID]*group) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.cycles, func(id replication.GroupID, _ []health.Cycle) bool { return groups[id] == nil })
	maps.DeleteFunc(o.ships, func(id replication.GroupID, _ map[string]float64) bool { return groups[id] == nil })
}

// figures returns what a process server told of itself; nil: nothing.
func (w *worker) figures() *replication.Figures {
	m, ok := w.Worker.(link.Measured)
	if !ok || !w.connected() {
		return nil
	}
	n := m.Figures()
	if n.Time.IsZero() {
		return nil
	}
	return &n
}

// skew is how far its clock is off ours: by the last figures it told, else as it was when it connected; not told: 0.
func (w *worker) skew() (skew time.Duration, told bool) {
	if n := w.figures(); n != nil && !n.Clock.IsZero() {
		return n.Clock.Sub(n.Time), true
	}
	return w.Skew, !w.NoClock
}

func (g *group) facts(now time.Time) health.Group {
	s := g.status()
	g.late(s, now)
	policy := g.plan.Policy
	applied, _ := g.pace.moves.known()
	f := health.Group{
		Name: g.id, Server: s.ProcessServer, State: s.State, Problem: s.Problem, WaitsFor: s.WaitsFor, Interval: time.Duration(policy.CrashInterval), RPOAlert: time.Duration(policy.RPOAlert),
		Last: s.Last, LastTime: s.LastTime, HeadLag: time.Duration(policy.HeadLag), Applied: applied,
	}
	if !s.Held {
		f.Behind, f.CatchUp = s.Behind, s.CatchUp
	}
	f.Closed = g.isReady() != nil && !g.isAway()
	g.care.mu.Lock()
	f.DamageKnown, f.Parts, f.Lost = g.care.known, len(g.care.damage.Parts), g.care.damage.Bytes
	g.care.mu.Unlock()
	f.Limited = s.Link != nil && s.Link.Binds == "limit"
	if f.AppInterval = g.appInterval(); f.AppInterval > 0 && g.isReady() == nil {
		f.LastApp = s.LastAppTime
		p, _ := lastAttempted(g.journal.Points())
		f.NotApp = g.discreet(p.NotApp)
	}
	if s.Open != 0 && g.isReady() == nil {
		if c := g.journal.OpenCycle(); c != nil {
			f.Cut, f.Changes = c.Cut.Time, c.Mode == replication.Changes
		}
	}
	g.mu.Lock()
	f.HeldBack, f.SpaceKnown = g.full != "", g.fullKnown || g.isAway()
	if f.Problem == nil {
		f.Problem = g.standing
	}
	g.mu.Unlock()
	if p := f.Problem; p != nil {
		f.Problem = &replication.Problem{Code: p.Code, Message: g.discreet(p.Error()), Remedy: g.discreet(p.Remedy)}
	}
	f.WaitsFor = g.discreet(f.WaitsFor)
	for _, d := range s.Disks {
		f.Disks = append(f.Disks, health.Disk{Name: d.Disk, Total: d.Ledger.Total, Done: d.Ledger.Done, Queued: d.Queue > 0, Sent: d.Ledger.Read + d.Ledger.Raw + d.Durable, Wire: max(d.Ledger.Wire, d.Ledger.Payload)})
	}
	o := &g.engine.observing
	o.mu.Lock()
	f.Cycles = slices.Clone(o.cycles[g.id])
	o.mu.Unlock()
	var gap time.Duration
	var changed int64
	for _, c := range f.Cycles {
		gap, changed = gap+c.Gap, changed+c.Bytes
	}
	if gap > 0 {
		f.Changed = float64(changed) / gap.Seconds()
	}
	return f
}

// bound notes what the shipment under way was bound by for a while.
func (o *observing) bound(id replication.GroupID, by string, seconds float64) {
	if by == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ships[id] == nil {
		o.ships[id] = map[string]float64{}
	}
	o.ships[id][by] += seconds
}

// cycled notes a cycle of changes that has come to its end; of another one, nothing is learnt of the churn.
func (g *group) cycled(c replication.Cycle, p replication.Point, took time.Duration) {
	o := &g.engine.observing
	g.mu.Lock()
	wire := int64(0)
	for _, l := range g.ledgers {
		wire += l.Wire
	}
	g.mu.Unlock()
	base, err := g.journal.Point(c.Base)
	o.mu.Lock()
	defer o.mu.Unlock()
	by, most := "", 0.0
	for stage, seconds := range o.ships[g.id] {
		if seconds > most || seconds == most && stage < by {
			by, most = stage, seconds
		}
	}
	delete(o.ships, g.id)
	if c.Mode != replication.Changes || c.Base == 0 || err != nil {
		return
	}
	all := append(o.cycles[g.id], health.Cycle{Gap: p.Time.Sub(base.Time), Took: took, Wire: wire, Bytes: p.Bytes, Bound: by})
	o.cycles[g.id] = all[max(0, len(all)-health.KeptCycles):]
}

// judged puts the alerts into a status.
func (e *Engine) judged(s *replication.Status) {
	alerts := e.Alerts()
	for i := range s.Groups {
		g := &s.Groups[i]
		g.Alerts, g.Health = health.Of(alerts, g.Group, g.ProcessServer)
	}
	for i := range s.Workers {
		w := &s.Workers[i]
		w.Alerts, w.Health = health.Of(alerts, "", w.Name)
	}
}

// Throttled tells how the limits of the link stand.
func (e *Engine) Throttled() replication.ThrottleStatus { return e.throttled(time.Now()) }
