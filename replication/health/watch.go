package health

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"failback/replication"
)

// Watch is what is remembered between two looks at the facts. The zero Watch has seen nothing.
type Watch struct {
	Thresholds Thresholds

	conditions map[name]*condition
	paces      map[diskName]*memory
}

// Change is an alert that was raised, became better or worse, or was cleared: then its level is healthy.
type Change struct {
	replication.Alert
	Was replication.Level
}

type name struct{ rule, group, subject string }

// condition is one rule's view of one subject. A trigger switches on when the reading passes a level's threshold, and off when it falls below the easier one.
type condition struct {
	alert replication.Alert // as told; Level healthy: it is not
	on    [3]bool           // by the level's rank
	since [3]time.Time      // switched then
	seen  time.Time         // read last
}

// New returns a watch that goes on with alerts that were raised before: they stay until they are seen to be over.
func New(t Thresholds, raised []replication.Alert) *Watch {
	w := &Watch{Thresholds: t}
	for _, a := range raised {
		c := w.of(name{a.Rule, string(a.Group), a.Subject})
		c.alert = a
		for rank := 1; rank <= a.Level.Rank(); rank++ {
			c.on[rank], c.since[rank] = true, a.Raised
		}
	}
	return w
}

func (w *Watch) of(n name) *condition {
	if w.conditions == nil {
		w.conditions = map[name]*condition{}
	}
	c := w.conditions[n]
	if c == nil {
		c = &condition{alert: replication.Alert{Level: replication.Healthy}}
		w.conditions[n] = c
	}
	return c
}

// unread is how long a subject may go unread and count as it was: a process server that comes again within it has not been away.
const unread = 10 * time.Minute

// Step looks at the facts, and returns what changed by them, in a fixed order. Facts must not go back in time.
func (w *Watch) Step(f Facts) (changes []Change) {
	w.remember(f)
	for _, r := range w.Thresholds.readings(f, w.pace) {
		n := name{r.rule, string(r.group), r.subject}
		if r.unknown {
			if c := w.conditions[n]; c != nil && c.alert.Level != replication.Healthy {
				c.seen = f.Now
			}
			continue
		}
		c := w.of(n)
		if c.seen.IsZero() && c.alert.Level != replication.Healthy { // from an earlier run
			c.seen = f.Now
		}
		c.read(r, f.Now)
		if was := c.alert.Level; c.tell(r, f.Now) {
			changes = append(changes, Change{c.alert, was})
		}
	}
	for n, c := range w.conditions {
		if c.seen.IsZero() || c.alert.Level != replication.Healthy && closed(f, n) {
			c.seen = f.Now
		}
		if f.Now.Sub(c.seen) <= unread && (c.seen.Equal(f.Now) || !gone(f, n)) {
			continue
		}
		if was := c.alert.Level; was != replication.Healthy {
			c.alert.Level = replication.Healthy
			changes = append(changes, Change{c.alert, was})
		}
		delete(w.conditions, n)
	}
	slices.SortFunc(changes, func(a, b Change) int { return compare(a.Alert, b.Alert) })
	return changes
}

// gone says whether the group or process server that a condition is about is no more.
func gone(f Facts, n name) bool {
	if n.group != "" {
		return !slices.ContainsFunc(f.Groups, func(g Group) bool { return string(g.Name) == n.group })
	}
	return !slices.ContainsFunc(f.Servers, func(s Server) bool { return s.Name == n.subject })
}

// closed says whether a condition is about a group that tells nothing now: what was told of it stays until it is seen to be over.
func closed(f Facts, n name) bool {
	return n.group != "" && slices.ContainsFunc(f.Groups, func(g Group) bool { return string(g.Name) == n.group && g.Closed })
}

func compare(a, b replication.Alert) int {
	return cmp.Or(-cmp.Compare(a.Level.Rank(), b.Level.Rank()), strings.Compare(string(a.Group), string(b.Group)), strings.Compare(a.Subject, b.Subject), strings.Compare(a.Rule, b.Rule))
}

// read moves the triggers.
func (c *condition) read(r reading, now time.Time) {
	again := c.seen.IsZero() || now.Sub(c.seen) > unread
	c.seen = now
	for rank := 1; rank <= 2; rank++ {
		on := c.on[rank] && r.stays.Rank() >= rank || r.passes.Rank() >= rank
		if on != c.on[rank] || again && c.alert.Level == replication.Healthy {
			c.on[rank], c.since[rank] = on, now
		}
	}
}

// tell brings the alert to what the triggers say, and says whether its level changed. While that stays, so does what it says first, but for the numbers.
func (c *condition) tell(r reading, now time.Time) bool {
	was, is := c.alert.Level.Rank(), 0
	for rank := 1; rank <= 2; rank++ {
		for_ := now.Sub(c.since[rank])
		if c.on[rank] && (for_ >= r.held[rank] || was >= rank) || !c.on[rank] && was >= rank && for_ < r.clear {
			is = rank
		}
	}
	level := []replication.Level{replication.Healthy, replication.Warned, replication.Critical}[is]
	if is > 0 && (is != was || r.passes.Rank() >= is) { // cleared, it keeps saying what it was
		raised := c.alert.Raised
		if is != was {
			raised = now
		}
		c.alert = replication.Alert{Rule: r.rule, Code: r.code, Group: r.group, Subject: r.subject, Raised: raised, Message: r.message, Remedy: r.remedy}
	}
	c.alert.Level = level
	return is != was
}

// Alerts returns what is raised, the worst first.
func (w *Watch) Alerts() (all []replication.Alert) {
	for _, c := range w.conditions {
		if c.alert.Level != replication.Healthy {
			all = append(all, c.alert)
		}
	}
	slices.SortFunc(all, compare)
	return all
}

// Of returns those of the alerts that bear upon a group: its own, and its process server's. The worst of them is its health.
func Of(alerts []replication.Alert, group replication.GroupID, server string) (own []replication.Alert, worst replication.Level) {
	worst = replication.Healthy
	for _, a := range alerts {
		if a.Group == group || a.Group == "" && a.Subject == server {
			own, worst = append(own, a), worst.Worse(a.Level)
		}
	}
	return own, worst
}
