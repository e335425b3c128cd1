package mastertarget

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"failback/replication"
	"failback/replication/health"
)

// A read or write of a group's journal, or of one of its targets, may hang for as long as its storage is dead, with locks held. So a group is asked how it is by a goroutine that may never come back, and others are told meanwhile that it does
// not answer.

// silence is for how long a group has not told how it is. A group that is opened anew has another one.
type silence struct {
	mu    sync.Mutex
	since time.Time // when it was asked what it has not answered yet; zero: it answers

	status *replication.GroupStatus // as told last; nil: never
	facts  health.Group             // likewise
}

// askPatience is how long groups are waited for.
const askPatience = 5 * time.Second

// ask returns what do returns, unless that takes longer than askPatience: then, in since, when the group was asked what it does not answer. Until it has, nobody else asks.
func ask[T any](g *group, do func(*group) T) (answer T, since time.Time) {
	q := &g.silence
	q.mu.Lock()
	since = q.since
	q.mu.Unlock()
	if !since.IsZero() {
		return answer, since
	}
	began, over := time.Now(), false // over is guarded by q.mu
	answers := make(chan T, 1)
	go func() {
		answer := do(g)
		q.mu.Lock()
		if over = true; q.since.Equal(began) {
			q.since = time.Time{}
		}
		q.mu.Unlock()
		answers <- answer
	}()
	patience := askPatience
	if p := g.engine.cfg.patience; p > 0 {
		patience = p
	}
	patient := time.NewTimer(patience)
	defer patient.Stop()
	select {
	case answer = <-answers:
		return answer, time.Time{}
	case <-patient.C:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if over {
		return <-answers, time.Time{}
	}
	if q.since.IsZero() {
		q.since = began
	}
	return answer, q.since
}

// askAll asks groups, all at once, and tells their answers in the order of their names.
func askAll[T any](groups map[replication.GroupID]*group, do func(*group) T) (all []T) {
	names := slices.Sorted(maps.Keys(groups))
	all = make([]T, len(names))
	var wg sync.WaitGroup
	for i, id := range names {
		wg.Go(func() { all[i] = do(groups[id]) })
	}
	wg.Wait()
	return all
}

// told is the group's status; of one that does not answer, as it was told last, and since when it does not.
func (g *group) told() replication.GroupStatus {
	now, since := ask(g, (*group).status)
	q := &g.silence
	q.mu.Lock()
	defer q.mu.Unlock()
	if since.IsZero() {
		q.status = &now
		return now
	}
	if q.status == nil { // it has never told
		q.status = &replication.GroupStatus{Group: g.id, State: replication.StateChecking, ProcessServer: g.plan.ProcessServer, Disks: []replication.DiskStatus{}, Notices: []string{}, Drills: []replication.DrillStatus{}, Pins: []replication.Pin{}}
	}
	s := *q.status
	s.SilentSince, s.NextCut = since, time.Time{}
	if s.Last != 0 {
		s.LagSeconds = time.Since(s.LastTime).Seconds()
	}
	s.Problem = &replication.Problem{Code: health.Silent, Message: fmt.Sprintf("group %s does not tell how it is since %s: a read or write of its journal in %s, or of one of its targets, hangs; what else is told of it is from before", g.id, since.UTC().Format(time.DateTime+" UTC"), g.engine.journalDir(g.id)),
		Remedy: health.SilentRemedy}
	return s
}

// toldFacts are the group's facts; of one that does not answer, as they were told last, closed, and for how long it has been silent.
func (g *group) toldFacts(now time.Time) health.Group {
	f, since := ask(g, func(g *group) health.Group { return g.facts(now) })
	q := &g.silence
	q.mu.Lock()
	defer q.mu.Unlock()
	if since.IsZero() {
		q.facts = f
		return f
	}
	if q.facts.Name == "" { // it has never told
		q.facts = health.Group{Name: g.id, State: replication.StateChecking}
	}
	f = q.facts
	f.Server, f.Where = g.plan.ProcessServer, g.engine.journalDir(g.id)
	f.Closed, f.Silent, f.Problem, f.SpaceKnown, f.DamageKnown = true, max(now.Sub(since), time.Millisecond), nil, false, false
	return f
}
