package mastertarget

import (
	"context"
	"fmt"
	"slices"
	"time"

	"failback/replication"
)

// This file tells what happened: as events, which are kept (package events). They are told beside the log, and never instead of it.

// happened tells an event of the group.
func (g *group) happened(kind replication.EventKind, level replication.Level, point replication.PointID, format string, args ...any) {
	g.engine.events.Append(replication.Event{Kind: kind, Group: g.id, Level: level, Point: point, Message: g.discreet(fmt.Sprintf(format, args...))})
}

// happened tells an event of no group that is there, or of one by name.
func (e *Engine) happened(kind replication.EventKind, level replication.Level, group replication.GroupID, subject, format string, args ...any) {
	e.events.Append(replication.Event{Kind: kind, Group: group, Subject: subject, Level: level, Message: fmt.Sprintf(format, args...)})
}

// stuck notes the problem that keeps the group from going on; nil: a step has succeeded. What is shown meanwhile comes and goes with each try. One that has the code of the one before is the same.
func (g *group) stuck(p *replication.Problem) {
	g.mu.Lock()
	was := g.standing
	if p != nil && was != nil && p.Code == was.Code {
		g.standing = p
		g.mu.Unlock()
		return
	}
	g.standing = p
	level := replication.Warned
	if g.state == replication.StateError {
		level = replication.Critical
	}
	g.mu.Unlock()
	switch {
	case p != nil:
		g.engine.events.Append(replication.Event{Kind: replication.EventProblem, Group: g.id, Level: level, Code: p.Code, Message: g.discreet(p.Error()), Remedy: g.discreet(p.Remedy)})
	case was != nil:
		g.engine.events.Append(replication.Event{Kind: replication.EventProblem, Group: g.id, Code: was.Code, Message: "it goes on; over: " + g.discreet(was.Error())})
	}
}

// pointListed tells of a point, and of those that were due before it and were not made.
func (g *group) pointListed(p replication.Point) {
	points := g.journal.Points()
	points = slices.DeleteFunc(points, func(q replication.Point) bool { return q.ID >= p.ID || q.ID == replication.OriginalPoint })
	var before time.Time
	if n := len(points); n > 0 {
		before = points[n-1].Time
	}
	what := ""
	if p.Kind == replication.App {
		what = ", application-consistent"
	}
	g.happened(replication.EventPoint, replication.Healthy, p.ID, "point %d of %s is listed%s: %d bytes changed", p.ID, p.Time.UTC().Format(time.DateTime+" UTC"), what, p.Bytes)
	if p.NotApp != "" {
		g.happened(replication.EventPoint, replication.Warned, p.ID, "point %d is crash-consistent, and was to be application-consistent: %s", p.ID, p.NotApp)
	}
	g.mu.Lock()
	why := g.lateWhy
	g.lateWhy = ""
	g.mu.Unlock()
	interval := time.Duration(g.plan.Policy.CrashInterval)
	if before.IsZero() || interval <= 0 {
		return
	}
	if n := int(p.Time.Sub(before)/interval) - 1; n > 0 {
		if why != "" {
			why = ": " + why
		}
		g.happened(replication.EventMissed, replication.Warned, p.ID, "%d scheduled points between %s and %s were not made%s", n, before.UTC().Format(time.DateTime), p.Time.UTC().Format(time.DateTime+" UTC"), why)
	}
	if before = lastApp(points); !p.Attempted() || before.IsZero() {
		return
	}
	if n := missedApp(p.Time.Sub(before), g.appInterval(), interval); n > 0 {
		g.happened(replication.EventMissed, replication.Warned, p.ID, "%d scheduled application-consistent points between %s and %s were not made%s", n, before.UTC().Format(time.DateTime), p.Time.UTC().Format(time.DateTime+" UTC"), why)
	}
}

// missedApp returns how many application-consistent points were due in the time between two: each with the scheduled point that is the nearest.
func missedApp(between, app, interval time.Duration) int {
	if app <= 0 {
		return 0
	}
	return max(0, int((between+interval/2)/app)-1)
}

// late notes why a point that is due is not being made.
func (g *group) late(s replication.GroupStatus, now time.Time) {
	if s.Last == 0 || now.Sub(s.LastTime) <= time.Duration(g.plan.Policy.CrashInterval)+lateAfter {
		return
	}
	why := ""
	switch {
	case s.Problem != nil:
		why = s.Problem.Message
	case s.WaitsFor != "":
		why = "the group waited for " + s.WaitsFor
	case s.Open != 0:
		why = fmt.Sprintf("the cycle of point %d took long", s.Open)
		if lacks := s.Lacks(); lacks != "" {
			why += ", and lacked " + lacks
		}
	default:
		return
	}
	why = g.discreet(why)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lateWhy = why
}

// lateAfter is how long after it is due a point counts as late.
const lateAfter = 10 * time.Second

// Events implements transport.Operations.
func (e *Engine) Events(ctx context.Context, r replication.EventsRequest, tell func(replication.Event) error) error {
	return e.events.Read(ctx, r, tell)
}

// EventsLost returns how many events could not be written.
func (e *Engine) EventsLost() int64 { return e.events.Lost() }

// notBefore says when a commit goes on, in words.
func notBefore(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return "; it waits until " + t.UTC().Format(time.DateTime+" UTC")
}
