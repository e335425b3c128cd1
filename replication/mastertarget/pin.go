package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"failback/replication"
	"failback/retention"
)

// Pin implements transport.Operations.
func (e *Engine) Pin(ctx context.Context, id replication.GroupID, pin replication.Pin) (p replication.Point, err error) {
	g, err := e.group(id)
	if err != nil {
		return p, err
	}
	if err := g.waitReady(ctx); err != nil {
		return p, err
	}
	if err := replication.CheckNote(pin.Note); err != nil {
		return p, &replication.Problem{Code: "pin", Message: "the pin can't be noted", Err: err, Remedy: "write a shorter note, of one line"}
	}
	if now := time.Now(); !pin.Until.IsZero() && !pin.Until.After(now) {
		return p, &replication.Problem{Code: "pin", Message: fmt.Sprintf("a pin until %s ends before it begins: it is %s here", utc(pin.Until), utc(now)),
			Remedy: "give a later time; or compare the clock of this master target with yours"}
	}
	if err := g.journal.Pin(pin.Point, pin.Until, pin.Note); err != nil {
		return p, g.pinProblem(pin.Point, err)
	}
	g.log.Info("point pinned", "point", pin.Point, "until", pin.Until, "note", pin.Note)
	e.changed()
	return g.journal.Point(pin.Point)
}

// Unpin implements transport.Operations.
func (e *Engine) Unpin(ctx context.Context, id replication.GroupID, point replication.PointID) (p replication.Point, err error) {
	g, err := e.group(id)
	if err != nil {
		return p, err
	}
	if err := g.waitReady(ctx); err != nil {
		return p, err
	}
	if p, err = g.journal.Point(point); err != nil {
		return p, noSuchPoint(id, point)
	}
	if err := g.journal.Unpin(point); err != nil {
		return p, g.pinProblem(point, err)
	}
	if p.Pinned {
		g.log.Info("point unpinned", "point", point)
	}
	e.changed()
	p.Pinned, p.PinnedUntil, p.PinNote = false, time.Time{}, "" // policy may have dropped it already
	return p, nil
}

func (g *group) pinProblem(point replication.PointID, err error) error {
	if errors.Is(err, retention.ErrNoPoint) {
		return noSuchPoint(g.id, point)
	}
	return journalProblem(g.id, err)
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// pinsOf returns the pins of points, those that have ended left out.
func pinsOf(points []replication.Point, now time.Time) []replication.Pin {
	pins := []replication.Pin{}
	for i := range points {
		if p := &points[i]; p.HeldAt(now) {
			pins = append(pins, replication.Pin{Point: p.ID, Until: p.PinnedUntil, Note: p.PinNote})
		}
	}
	return pins
}

// unpinRemedy says how to let go of pins; "" where there are none.
func unpinRemedy(id replication.GroupID, pins []replication.Pin) string {
	const most = 3 // named; points tells the others
	if len(pins) == 0 {
		return ""
	}
	var say []string
	for _, p := range pins[:min(len(pins), most)] {
		text := fmt.Sprintf("`failback unpin %s %d`", id, p.Point)
		if p.Note != "" {
			text += fmt.Sprintf(" (pinned: %s)", p.Note)
		}
		say = append(say, text)
	}
	if n := len(pins) - most; n > 0 {
		say = append(say, fmt.Sprintf("%d more that `failback points %s` lists", n, id))
	}
	return "unpin points: " + strings.Join(say, ", ")
}
