package retention

import (
	"testing"
	"time"

	"failback/replication"
)

// TestPointsKeepTheirConsistency: what kind a point is, why it is not another, and its skew are there after a restart, and in a log that was shortened.
func TestPointsKeepTheirConsistency(t *testing.T) {
	w := goldenWorld(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if w.j.OpenCycle() != nil {
		must(w.j.Drop("test"))
	}
	list := func(k replication.Kind, cut replication.Cut) replication.PointID {
		t.Helper()
		last, _ := w.j.Last()
		cut.Time, cut.Stable, cut.Tracked, cut.Sizes = last.Time.Add(time.Minute), true, true, w.sizes
		must(w.j.Begin(replication.Cycle{Point: w.j.NextPoint(), Base: last.ID, BaseChain: last.Chain, Mode: replication.Changes, Route: replication.Journaled, Kind: k, Cut: cut}))
		p, err := w.j.List(nil, k, nil)
		must(err)
		return p.ID
	}
	app := list(replication.App, replication.Cut{App: true, Skew: 3 * time.Millisecond})
	crash := list(replication.Crash, replication.Cut{NotApp: "machine db: no", Skew: time.Second})
	see := func(where string) {
		t.Helper()
		for _, p := range w.j.Points() {
			want := replication.Point{Kind: p.Kind} // of those that an earlier release wrote
			switch p.ID {
			case app:
				want = replication.Point{Kind: replication.App, Skew: 3 * time.Millisecond}
			case crash:
				want = replication.Point{Kind: replication.Crash, Skew: time.Second, NotApp: "machine db: no"}
			}
			if p.Kind != want.Kind || p.Skew != want.Skew || p.NotApp != want.NotApp {
				t.Errorf("%s: point %d is %s, %q, within %s", where, p.ID, p.Kind, p.NotApp, p.Skew)
			}
		}
	}
	again := func() {
		t.Helper()
		must(w.j.Close())
		j, err := open(w.m.volume(), worldDir, "web", w.t)
		must(err)
		w.j = j
	}
	see("at once")
	again()
	see("after a restart")
	w.j.t.logBytes = 1
	must(w.j.Shorten())
	again()
	see("from a shortened log")
}
