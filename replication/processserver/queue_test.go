package processserver

import (
	"context"
	"errors"
	"testing"
)

// given says which turns are given.
func given(turns []*turn) (all []int) {
	for i, t := range turns {
		select {
		case <-t.has:
			all = append(all, i)
		default:
		}
	}
	return all
}

func wantGiven(t *testing.T, what string, turns []*turn, want ...int) {
	t.Helper()
	got := given(turns)
	if len(got) != len(want) {
		t.Fatalf("%s: turns %v are given, want %v", what, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: turns %v are given, want %v", what, got, want)
		}
	}
}

func TestTurnsAreGivenInOrderOfAllGroups(t *testing.T) {
	q := &queue{most: 3}
	one, two := q.line(4), q.line(2)
	all := append(one, two...)
	wantGiven(t, "at first", all, 0, 1, 2)
	for i, want := range []int{0, 0, 0, 1, 2, 3} {
		if got := all[i].place(); got != want {
			t.Errorf("turn %d has place %d, want %d", i, got, want)
		}
	}
	all[1].leave()
	all[1].leave() // gives no second one
	wantGiven(t, "when one is done", all, 0, 1, 2, 3)
	all[4].leave() // gives up
	if got := all[5].place(); got != 1 {
		t.Errorf("behind one that gave up the place is %d, want 1", got)
	}
	all[0].leave()
	wantGiven(t, "when two are done", all, 0, 1, 2, 3, 5)
	ctx, cancel := context.WithCancel(t.Context())
	last := q.line(1)[0]
	cancel()
	if err := last.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait for a turn until the end: %v", err)
	}
	for _, x := range append(all, last) {
		x.leave()
	}
	if q.given != 0 || len(q.waiting) != 0 {
		t.Errorf("%d turns are given and %d wait when all have left", q.given, len(q.waiting))
	}
}

func TestWithoutLimitAllTurnsAreGiven(t *testing.T) {
	q := &queue{}
	wantGiven(t, "at once", q.line(5), 0, 1, 2, 3, 4)
	if err := (*turn)(nil).wait(t.Context()); err != nil {
		t.Error(err)
	}
}
