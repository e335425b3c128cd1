package mastertarget

import (
	"context"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/health"
	"failback/replication/plan"
)

// TestGroupThatHangsHoldsUpNoOther asks two groups, of which one does not answer for a while: it is held by a lock, as by who waits for dead storage.
func TestGroupThatHangsHoldsUpNoOther(t *testing.T) {
	e := &Engine{cfg: Config{Retention: "/mnt/retention", patience: time.Second}, groups: map[replication.GroupID]*group{}}
	for _, id := range []replication.GroupID{"hangs", "other"} {
		e.groups[id] = &group{id: id, engine: e, plan: &plan.Plan{Group: id, ProcessServer: "ps"}, state: replication.StateProtected, pace: &pace{}}
	}
	e.observing.cycles = map[replication.GroupID][]health.Cycle{"gone": {{}}}
	e.observing.ships = map[replication.GroupID]map[string]float64{"gone": nil}
	status := func() (hangs, other replication.GroupStatus) {
		t.Helper()
		s, err := e.Status(context.Background(), "")
		if err != nil || len(s.Groups) != 2 || s.Groups[0].Group != "hangs" || s.Groups[1].Group != "other" {
			t.Fatalf("got %+v, %v", s.Groups, err)
		}
		return s.Groups[0], s.Groups[1]
	}
	g := e.groups["hangs"]
	g.mu.Lock()
	first, other := status()
	if p := first.Problem; first.SilentSince.IsZero() || first.State != replication.StateChecking || p == nil || p.Code != health.Silent || !strings.Contains(p.Message, "/mnt/retention/hangs") {
		t.Errorf("who never answered: got %+v", first)
	}
	if !other.SilentSince.IsZero() || other.State != replication.StateProtected {
		t.Errorf("who answers: got %+v", other)
	}
	for i := range 3 {
		if now, _ := status(); !now.SilentSince.Equal(first.SilentSince) {
			t.Errorf("silent since %s, and then since %s", first.SilentSince, now.SilentSince)
		}
		all := e.facts(first.SilentSince.Add(time.Duration(i) * time.Minute)).Groups
		if len(all) != 2 || !all[0].Closed || all[0].Silent < time.Duration(i)*time.Minute || all[0].Silent == 0 || all[0].Server != "ps" || all[1].State != replication.StateProtected || all[1].Silent != 0 {
			t.Errorf("minute %d: got %+v", i, all)
		}
	}
	if len(e.observing.cycles)+len(e.observing.ships) != 0 {
		t.Errorf("kept of groups that are gone: %v %v", e.observing.cycles, e.observing.ships)
	}
	g.mu.Unlock()
	now, _ := status()
	for end := time.Now().Add(time.Minute); !now.SilentSince.IsZero(); now, _ = status() {
		if time.Sleep(time.Millisecond); time.Now().After(end) {
			t.Fatalf("it answers again, and is told to be silent: %+v", now)
		}
	}
	if now.State != replication.StateProtected || now.Problem != nil {
		t.Errorf("it answers again: got %+v", now)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now, _ := status(); now.SilentSince.IsZero() || now.State != replication.StateProtected || now.Problem == nil {
		t.Errorf("it hangs again, and what it told before is kept: got %+v", now)
	}
}
