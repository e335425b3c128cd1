package retention

import (
	"errors"
	"slices"
	"testing"
	"time"

	"failback/replication"
)

// TestPinsStay pins points, and finds the pins after a restart, in a log that was shortened too; one that has ended is let go of, unless it was renewed.
func TestPinsStay(t *testing.T) {
	w := goldenWorld(t)
	now := time.Unix(1800000000, 0).UTC()
	points := w.j.Points()
	first, second, last := points[0].ID, points[1].ID, points[len(points)-1].ID
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.j.Pin(first, time.Time{}, "before the upgrade"))
	must(w.j.Pin(second, now.Add(time.Hour), ""))
	must(w.j.Pin(last, now.Add(-time.Hour), "")) // ended
	must(w.j.Pin(last, now.Add(2*time.Hour), "renewed"))
	again := func() {
		t.Helper()
		must(w.j.Close())
		j, err := open(w.m.volume(), worldDir, "web", w.t)
		must(err)
		w.j = j
	}
	see := func(where string, want map[replication.PointID]string) {
		t.Helper()
		for _, p := range w.j.Points() {
			got := ""
			if p.Pinned {
				got = p.PinNote + " " + p.PinnedUntil.Format(time.TimeOnly)
			}
			if got != want[p.ID] {
				t.Errorf("%s: pin of point %d: got %q want %q", where, p.ID, got, want[p.ID])
			}
		}
	}
	all := map[replication.PointID]string{first: "before the upgrade 00:00:00", second: " " + now.Add(time.Hour).Format(time.TimeOnly), last: "renewed " + now.Add(2*time.Hour).Format(time.TimeOnly)}
	see("at once", all)
	again()
	see("after a restart", all)
	w.j.t.logBytes = 1
	must(w.j.Shorten())
	again()
	see("from a shortened log", all)
	for _, id := range []replication.PointID{first, second} {
		if err := w.j.DropPoints([]replication.PointID{id}, "test"); !errors.Is(err, ErrInUse) {
			t.Errorf("drop of pinned point %d: got %v want %v", id, err, ErrInUse)
		}
	}
	if ended, err := w.j.LetGo(now); err != nil || len(ended) > 0 {
		t.Errorf("let go of %v, %v before their time", ended, err)
	}
	ended, err := w.j.LetGo(now.Add(time.Hour))
	if err != nil || !slices.Equal(ended, []replication.PointID{second}) {
		t.Errorf("let go of %v, %v, want %d", ended, err, second)
	}
	delete(all, second)
	again()
	see("let go", all)
	must(w.j.Unpin(first))
	delete(all, first)
	again()
	see("unpinned", all)
	if err := w.j.Pin(99, time.Time{}, ""); !errors.Is(err, ErrNoPoint) {
		t.Errorf("pin of a point that is not there: got %v", err)
	}
	if err := w.j.Pin(first, time.Time{}, "two\nlines"); err == nil {
		t.Error("a note of two lines was taken")
	}
	must(w.j.Close())
}
