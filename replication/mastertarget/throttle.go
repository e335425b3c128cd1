package mastertarget

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"failback/replication"
	"failback/replication/link"
	"failback/replication/plan"
	"failback/replication/throttle"
)

// CodeThrottle is the code of a limit that can't be set.
const CodeThrottle = "throttle"

// schedule reads the schedule of limits.
func (c *catalogue) schedule() (s throttle.Schedule, err error) {
	err = c.db.View(func(tx *bbolt.Tx) error {
		s, err = throttle.Parse(string(tx.Bucket(bucketMeta).Get(keyThrottle)))
		return err
	})
	if err != nil {
		return s, fmt.Errorf("throttle in the catalogue: %w", err)
	}
	return s, nil
}

func (c *catalogue) setSchedule(s throttle.Schedule) error {
	if err := c.update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyThrottle, []byte(s.String())) }); err != nil {
		return fmt.Errorf("write the throttle into the catalogue: %w", err)
	}
	return nil
}

// samePlan says whether two plans ask for the same, but for what may change at any time.
func samePlan(a, b *plan.Plan) bool {
	x, y := *a, *b
	x.Priority, y.Priority = 0, 0
	return bytes.Equal(x.Canonical(), y.Canonical())
}

// sharingLocked is a group's part in limits. g.mu is held.
func (g *group) sharingLocked(now time.Time) throttle.Share {
	return throttle.Share{Weight: cmp.Or(g.record.Priority, g.plan.Priority, replication.DefaultPriority), Pass: g.final || now.Before(g.record.Pass)}
}

// changeRecord changes the group's record, durably, and with it what else changes in the catalogue.
func (g *group) changeRecord(edit func(*groupRecord), also ...change) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() != nil { // unprotected meanwhile: its record must not come back
		return errClosing
	}
	r := g.record
	edit(&r)
	if err := g.engine.cat.change(append([]change{{bucketGroups, g.id, r}}, also...)...); err != nil {
		return err
	}
	g.record = r
	return nil
}

// prioritise takes the priority of a plan that is given again. It takes the place of one that was set by command.
func (g *group) prioritise(p *plan.Plan) error {
	g.mu.Lock()
	was := g.plan.Priority
	g.mu.Unlock()
	if was == p.Priority {
		return nil
	}
	err := g.changeRecord(func(r *groupRecord) {
		r.Plan, r.Priority = p.Canonical(), cmp.Or(p.Priority, replication.DefaultPriority)
	})
	g.engine.changed()
	return err
}

// handOutEvery is how often limits are looked at: the calendar, and who uses how much of what.
const handOutEvery = time.Second

// handOut hands the limits out to process servers, when they change and when one comes, until the engine closes.
func (e *Engine) handOut() {
	t := time.NewTicker(handOutEvery)
	defer t.Stop()
	told := map[*worker]throttle.Limits{}
	for {
		e.mu.Lock()
		news := e.news
		e.mu.Unlock()
		now := e.limits(time.Now())
		for w, l := range now {
			if reflect.DeepEqual(told[w], l) {
				continue
			}
			if to, ok := w.Worker.(link.Limited); ok {
				to.Limit(l)
			}
		}
		told = now
		select {
		case <-news:
		case <-t.C:
		case <-e.ctx.Done():
			return
		}
	}
}

// limits divides what the calendar allows between the process servers that are connected. Where one alone sends, it has all.
func (e *Engine) limits(now time.Time) map[*worker]throttle.Limits {
	e.mu.Lock()
	rate := e.schedule.At(now)
	groups := maps.Clone(e.groups)
	var workers []*worker
	for _, name := range slices.Sorted(maps.Keys(e.workers)) {
		if w := e.workers[name]; w.connected() {
			workers = append(workers, w)
		}
	}
	e.mu.Unlock()
	out := map[*worker]throttle.Limits{}
	sends := make([]sending, len(workers))
	for i, w := range workers {
		l := throttle.Limits{Rate: rate, Groups: map[string]throttle.Share{}}
		for _, g := range groups {
			if g.plan.ProcessServer != w.Name {
				continue
			}
			g.mu.Lock()
			share := g.sharingLocked(now)
			if g.link != nil && !share.Pass {
				sends[i].groups++
				sends[i].weight += share.Weight
			}
			g.mu.Unlock()
			l.Groups[string(g.id)] = share
		}
		out[w] = l
	}
	if rate == 0 || len(workers) < 2 {
		return out
	}
	for i, part := range partsOf(rate, sends) {
		l := out[workers[i]]
		l.Rate = part
		out[workers[i]] = l
	}
	return out
}

// sending is what a process server sends: shipments of so many groups, and their weights together.
type sending struct{ groups, weight int }

// restShare is the part of a limit that process servers have that send nothing: one in so many.
const restShare = 50

// partsOf divides a limit between process servers by what they send. Each has the least that its groups have; one at rest has enough to begin with, until it is seen to send.
func partsOf(rate throttle.Rate, sends []sending) []throttle.Rate {
	groups := 0
	for _, s := range sends {
		groups += max(s.groups, 1)
	}
	var demand []throttle.Demand
	for _, s := range sends {
		d := throttle.Demand{Weight: s.weight, Least: throttle.Least(rate, groups) * float64(max(s.groups, 1)), Want: -1}
		if s.groups == 0 {
			d.Want = float64(rate) / restShare
		}
		demand = append(demand, d)
	}
	var parts []throttle.Rate
	for _, part := range throttle.Divide(float64(rate), demand) {
		parts = append(parts, max(throttle.Rate(part), 1))
	}
	return parts
}

// Throttle implements transport.Operations.
func (e *Engine) Throttle(_ context.Context, c replication.ThrottleChange) (replication.ThrottleStatus, error) {
	if c.Schedule != nil {
		s, err := throttle.Parse(*c.Schedule)
		if err == nil && len(s.Rules) == 0 && !strings.Contains(strings.ToLower(*c.Schedule), "none") {
			err = errors.New("the schedule has no rule: none is no limit") // as a script with an empty variable has it
		}
		if err != nil {
			return replication.ThrottleStatus{}, &replication.Problem{Code: CodeThrottle, Message: err.Error(), Remedy: "write such as: 20Mbps mon-fri 08:00-18:00; 200Mbps; in Europe/Berlin"}
		}
		if err := e.cat.setSchedule(s); err != nil {
			return replication.ThrottleStatus{}, err
		}
		e.mu.Lock()
		e.schedule = s
		e.mu.Unlock()
		e.cfg.Log.Info("throttle", "schedule", s)
	}
	if c.Priority != 0 || c.Let {
		if err := e.throttleGroup(c); err != nil {
			return replication.ThrottleStatus{}, err
		}
	}
	e.changed()
	return e.throttled(time.Now()), nil
}

func (e *Engine) throttleGroup(c replication.ThrottleChange) error {
	g, err := e.group(c.Group)
	if err != nil {
		return err
	}
	if c.Priority < 0 || c.Priority > replication.MaxPriority || c.Pass < 0 {
		return &replication.Problem{Code: CodeThrottle, Message: fmt.Sprintf("priority %d is not one", c.Priority), Remedy: fmt.Sprintf("give a number from 1 to %d; %d is the default", replication.MaxPriority, replication.DefaultPriority)}
	}
	err = g.changeRecord(func(r *groupRecord) {
		if c.Priority != 0 {
			r.Priority = c.Priority
		}
		if c.Let {
			r.Pass = time.Time{}
			if c.Pass > 0 {
				r.Pass = time.Now().Add(c.Pass).UTC()
			}
		}
	})
	if err != nil {
		return err
	}
	g.log.Info("throttle of a group", "priority", c.Priority, "pass", c.Pass)
	return nil
}

// throttled tells how the limits stand.
func (e *Engine) throttled(now time.Time) replication.ThrottleStatus {
	e.mu.Lock()
	schedule, groups := e.schedule, maps.Clone(e.groups)
	e.mu.Unlock()
	s := replication.ThrottleStatus{Schedule: schedule.String(), Limit: int64(schedule.At(now)), Next: schedule.Next(now).UTC(), Groups: []replication.GroupThrottle{}}
	if s.Next.Year() <= 1 {
		s.Next = time.Time{}
	}
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		g := groups[id]
		g.mu.Lock()
		share := g.sharingLocked(now)
		one := replication.GroupThrottle{Group: id, Priority: share.Weight}
		if share.Pass && !g.final {
			one.PassUntil = g.record.Pass
		}
		if g.link != nil {
			one.Limit, one.Use = g.link.Limit, g.link.Rate
		}
		g.mu.Unlock()
		s.Use += one.Use
		s.Groups = append(s.Groups, one)
	}
	return s
}
