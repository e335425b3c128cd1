package policy

import (
	"reflect"
	"testing"

	"failback/replication"
)

func TestMoveSpace(t *testing.T) {
	const g = 1 << 30
	points := func(change func(p []Point)) []Point {
		line := history(8)
		for i := range line {
			line[i].Frees = 10 * g
		}
		line[2].Use, line[7].Use = Move, Move
		line[3].Frees = 0
		if change != nil {
			change(line)
		}
		return line
	}
	for name, c := range map[string]struct {
		raw, free int64
		r         Reclaimable
		want      Verdict
	}{
		"Nothing": {0, 0, Reclaimable{}, Verdict{Fits: true, Why: "the move saves nothing"}},
		"Fits":    {32 * g, 34 * g, Reclaimable{}, Verdict{Fits: true, Need: 34 * g, Why: "the move saves at most 33 GiB; 34 GiB are free"}},
		"Compact": {32 * g, 30 * g, Reclaimable{Dead: 4 * g, Spare: g}, Verdict{Fits: true, Need: 34 * g, Compact: true,
			Why: "the move saves up to 33 GiB and 1.0 GiB stay in reserve, but 30 GiB are free: it fits after rewriting files"}},
		"Spares": {32 * g, 30 * g, Reclaimable{Spare: 4 * g, Points: points(nil)}, Verdict{Fits: true, Need: 34 * g, Spares: true,
			Why: "the move saves up to 33 GiB and 1.0 GiB stay in reserve, but 30 GiB are free: it fits after dropping spare copies"}},
		"Points": {64 * g, 32 * g, Reclaimable{Dead: g, Spare: 4 * g, Points: points(nil)}, Verdict{Fits: true, Need: 67 * g, Compact: true, Spares: true, Points: []replication.PointID{1, 2, 5},
			Why: "the move saves up to 66 GiB and 1.0 GiB stay in reserve, but 32 GiB are free: it fits after rewriting files, dropping spare copies, dropping points 1, 2, 5"}},
		"NoRoom": {64 * g, 0, Reclaimable{Points: points(nil)}, Verdict{Need: 67 * g, Points: []replication.PointID{1, 2, 5, 6, 7}, Lacks: 17 * g,
			Why: "the move saves up to 66 GiB and 1.0 GiB stay in reserve, but 0 B are free: 17 GiB are lacking even after dropping points 1, 2, 5, 6, 7; make the volume larger"}},
		"Pinned": {32 * g, 0, Reclaimable{Points: points(func(p []Point) { p[0].Pinned, p[1].Pinned = true, true })}, Verdict{Need: 34 * g, Points: []replication.PointID{5, 6, 7}, Lacks: 4 * g,
			Forbids: []replication.PointID{1, 2},
			Why:     "the move saves up to 33 GiB and 1.0 GiB stay in reserve, but 0 B are free: 4.0 GiB are lacking even after dropping points 5, 6, 7; pinned points 1, 2 would give 20 GiB: unpin, or make the volume larger"}},
		"PinnedAndTooLittle": {96 * g, 0, Reclaimable{Points: points(func(p []Point) { p[0].Pinned = true })}, Verdict{Need: 100 * g, Points: []replication.PointID{2, 5, 6, 7}, Lacks: 60 * g,
			Forbids: []replication.PointID{1},
			Why:     "the move saves up to 99 GiB and 1.0 GiB stay in reserve, but 0 B are free: 60 GiB are lacking even after dropping points 2, 5, 6, 7; make the volume larger: even pinned point 1 would give only 10 GiB"}},
		"Limit": {32 * g, 34 * g, Reclaimable{Bound: "the journal's hard limit of 90 GiB"}, Verdict{Fits: true, Need: 34 * g, Why: "the move saves at most 33 GiB; 34 GiB are left below the journal's hard limit of 90 GiB"}},
		"BeyondTheLimit": {32 * g, -g, Reclaimable{Bound: "its hard limit", Dead: 40 * g}, Verdict{Fits: true, Need: 34 * g, Compact: true,
			Why: "the move saves up to 33 GiB and 1.0 GiB stay in reserve, but the journal takes 1.0 GiB more than its hard limit: it fits after rewriting files"}},
		"Drilled": {32 * g, 0, Reclaimable{Points: points(func(p []Point) { p[0].Use, p[1].Use, p[4].Use, p[4].Pinned = Drill, Reader, Drill, true })}, Verdict{Need: 34 * g, Points: []replication.PointID{6, 7}, Lacks: 14 * g,
			Forbids: []replication.PointID{5}, InUse: []replication.PointID{1, 2},
			Why: "the move saves up to 33 GiB and 1.0 GiB stay in reserve, but 0 B are free: 14 GiB are lacking even after dropping points 6, 7; make the volume larger: even pinned point 5 would give only 10 GiB" +
				"; points 1, 2, used by drills or readers, would give 20 GiB when these end"}},
		"Two": {32 * g, 0, Reclaimable{Points: points(nil)[6:]}, Verdict{Need: 34 * g, Lacks: 34 * g,
			Why: "the move saves up to 33 GiB and 1.0 GiB stay in reserve, but 0 B are free: 34 GiB are lacking; make the volume larger"}},
	} {
		if got := MoveSpace(c.raw, c.free, g, c.r, noon); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, c.want)
		}
	}
}
