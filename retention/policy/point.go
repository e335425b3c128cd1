package policy

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"failback/replication"
)

// Point is what policy has to know of a listed point.
type Point struct {
	ID     replication.PointID
	Time   time.Time // by the source's clock, which may jump
	Kind   replication.Kind
	Stored int64 // bytes that its segment took on the retention volume when it came
	Frees  int64 // bytes that no other point needs: dropping it alone makes them dead; negative: not known

	Pinned   bool
	Until    time.Time // when the pin ends by itself; zero: it does not
	Use      Use       // who needs it now
	Verified bool      // compared with the source, and equal
	Drill    replication.DrillOutcome
	Suspect  bool // I14
	Damaged  bool // some of its bytes are lost
}

// Use says who needs a point now; empty: nobody.
type Use string

// The uses of a point.
const (
	Head   Use = "the head"
	Move   Use = "an end of the move under way"
	Drill  Use = "used by a drill"
	Reader Use = "being read"
	Commit Use = "of the commit under way"
)

func (p *Point) pinned(now time.Time) bool {
	return p.Pinned && (p.Until.IsZero() || now.Before(p.Until))
}

func (p *Point) sound() bool { return !p.Suspect && !p.Damaged }

// rank orders the points of a slot: the highest is kept.
func (p *Point) rank() int {
	switch {
	case p.Damaged:
		return 0
	case p.Suspect:
		return 1
	case p.Drill == replication.DrillFailed:
		return 2
	case p.Drill == replication.DrillPassed:
		return 5
	case p.Verified:
		return 4
	}
	return 3
}

// byNumber returns the points in the order in which they were made, which is not always that of their times.
func byNumber(points []Point) []Point {
	line := slices.Clone(points)
	slices.SortFunc(line, func(a, b Point) int { return cmp.Compare(a.ID, b.ID) })
	return line
}

// protection says of each point of a line why it is never dropped; points that may be dropped are not in it.
func protection(line []Point, now time.Time) map[replication.PointID]string {
	why := make(map[replication.PointID]string)
	sound := false
	for i, p := range slices.Backward(line) {
		newest := p.sound() && !sound
		sound = sound || newest
		switch {
		case p.pinned(now) && p.Until.IsZero():
			why[p.ID] = "pinned"
		case p.pinned(now):
			why[p.ID] = fmt.Sprintf("pinned until %s", p.Until.In(now.Location()).Format("2006-01-02 15:04"))
		case p.Use != "":
			why[p.ID] = string(p.Use)
		case i == len(line)-1:
			why[p.ID] = "the last point"
		case newest:
			why[p.ID] = "the newest sound point"
		}
	}
	return why
}
