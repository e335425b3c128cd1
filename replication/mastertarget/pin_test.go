package mastertarget

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

// TestPins pins and unpins as an operator does: status and points tell, a restart changes nothing, and upkeep lets go of what has ended.
func TestPins(t *testing.T) {
	p := newPair(t, 5)
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	until := time.Now().Add(time.Hour).UTC()
	got, err := p.master.Pin(ctx, "g", replication.Pin{Point: 1, Until: until, Note: "before the upgrade"})
	if err != nil || !got.Pinned || !got.PinnedUntil.Equal(until) || got.PinNote != "before the upgrade" {
		t.Fatalf("pin: %+v, %v", got, err)
	}
	for _, bad := range []struct {
		pin  replication.Pin
		code string
	}{{replication.Pin{Point: 9}, "no-such-point"}, {replication.Pin{Point: 1, Until: time.Now().Add(-time.Second)}, "pin"}, {replication.Pin{Point: 1, Note: "a\nb"}, "pin"}} {
		_, err := p.master.Pin(ctx, "g", bad.pin)
		var problem *replication.Problem
		if !errors.As(err, &problem) || problem.Code != bad.code || problem.Remedy == "" {
			t.Errorf("%+v: got %v, want a problem of code %s", bad.pin, err, bad.code)
		}
	}
	p.close()
	p.open()
	p.listed(1)
	s, err := p.master.Status(ctx, "g")
	if err != nil || len(s.Groups[0].Pins) != 1 || s.Groups[0].Pins[0] != (replication.Pin{Point: 1, Until: until, Note: "before the upgrade"}) {
		t.Errorf("status after a restart: %+v, %v", s.Groups[0].Pins, err)
	}
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.journal.Pin(1, time.Now().Add(-time.Second), ""); err != nil { // as if its time had come
		t.Fatal(err)
	}
	if pins := g.status().Pins; len(pins) != 0 {
		t.Errorf("status shows a pin that has ended: %+v", pins)
	}
	settleUpkeep(t, g)
	if x, err := g.journal.Point(1); err != nil || x.Pinned {
		t.Errorf("upkeep did not let go: %+v, %v", x, err)
	}
	if _, err := p.master.Pin(ctx, "g", replication.Pin{Point: 1}); err != nil {
		t.Error(err)
	}
	if got, err = p.master.Unpin(ctx, "g", 1); err != nil || got.Pinned {
		t.Errorf("unpin: %+v, %v", got, err)
	}
	if _, err = p.master.Unpin(ctx, "g", 9); err == nil {
		t.Error("a point that is not there was unpinned")
	}
	p.close()
}

func TestUnpinRemedyNamesAFew(t *testing.T) {
	var pins []replication.Pin
	for id := range replication.PointID(5) {
		pins = append(pins, replication.Pin{Point: id + 1, Note: strings.Repeat("x", int(id))})
	}
	want := "unpin points: `failback unpin g 1`, `failback unpin g 2` (pinned: x), `failback unpin g 3` (pinned: xx), 2 more that `failback points g` lists"
	if got := unpinRemedy("g", pins); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
