package mastertarget

import (
	"testing"

	"failback/replication"
)

// TestToldPagesAreThoseOfTheNewestComparison says who gets what a comparison kept: its own session, once, and nobody after another has begun or the session has ended.
func TestToldPagesAreThoseOfTheNewestComparison(t *testing.T) {
	var told toldPages
	d, other := comparedDisk{"g", 0}, comparedDisk{"g", 1}
	s, next := replication.Session{Group: "g", Generation: 1, ID: 1}, replication.Session{Group: "g", Generation: 1, ID: 2}
	pages := func(b byte) []replication.Hash { return []replication.Hash{{b}} }
	want := func(what string, d comparedDisk, s replication.Session, off int64, want byte) {
		t.Helper()
		got := told.take(d, s, off)
		if want == 0 && got != nil || want != 0 && (len(got) != 1 || got[0][0] != want) {
			t.Errorf("%s: got %v, want %d", what, got, want)
		}
	}
	want("before any", d, s, 0, 0)
	keep, beside := told.begin(d, s), told.begin(other, s)
	keep(0, pages(1))
	beside(0, pages(2))
	keep(replication.Region, pages(3))
	want("another session", d, next, 0, 0)
	want("its own", d, s, 0, 1)
	want("a second time", d, s, 0, 0)
	want("another disk", other, s, 0, 2)

	again := told.begin(d, s)
	want("after another began", d, s, replication.Region, 0)
	keep(0, pages(4)) // one that was under way
	want("of the one before", d, s, 0, 0)
	again(0, pages(5))
	told.forget("g")
	want("after the session", d, s, 0, 0)
	again(0, pages(6))
	want("late", d, s, 0, 0)

	keep = told.begin(d, s)
	for i := range int64(toldMost + 2) {
		keep(i*replication.Region, pages(7))
	}
	want("the oldest, where there are too many", d, s, replication.Region, 0)
	want("the oldest that is kept", d, s, 2*replication.Region, 7)
	if len(told.pages) > toldMost || len(told.order) > toldMost {
		t.Errorf("%d regions are kept", len(told.order))
	}
	told.forget("g")
	if len(told.pages)+len(told.order)+len(told.newest) > 0 {
		t.Error("something is left")
	}
}
