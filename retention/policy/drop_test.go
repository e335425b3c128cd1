package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"failback/replication"
)

var noon = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

// history makes points every five minutes, each twelfth application-consistent, up to noon.
func history(n int) []Point {
	var line []Point
	for i := range n {
		p := Point{ID: replication.PointID(i + 1), Time: noon.Add(time.Duration(i+1-n) * 5 * time.Minute), Kind: replication.Crash, Frees: -1}
		if p.Time.Minute() == 0 {
			p.Kind = replication.App
		}
		line = append(line, p)
	}
	return line
}

func kept(points []Point, now time.Time, g Grid) []Point {
	gone := Drop(points, now, g)
	return slices.DeleteFunc(slices.Clone(points), func(p Point) bool { return slices.Contains(gone, p.ID) })
}

func ids(points []Point) []replication.PointID {
	var all []replication.PointID
	for _, p := range points {
		all = append(all, p.ID)
	}
	return all
}

func TestDropKeepsTheDefaultGrid(t *testing.T) {
	for _, end := range []time.Duration{0, 5 * time.Minute, 55 * time.Minute} {
		line := history(3 * 288)
		for i := range line {
			line[i].Time = line[i].Time.Add(end)
			line[i].Kind = replication.Crash
			if line[i].Time.Minute() == 0 {
				line[i].Kind = replication.App
			}
		}
		newest := line[len(line)-1].Time
		var fine, crash, app int
		left := kept(line, newest, Failback())
		for _, p := range left {
			switch age := newest.Sub(p.Time); {
			case age <= 2*hour:
				fine++
			case age > 3*hour && p.Kind == replication.App:
				app++
			case age > 3*hour:
				crash++
			}
		}
		if fine != 25 || crash < 21 || crash > 22 || app < 21 || app > 22 || len(left) > 25+12+44 {
			t.Errorf("%s: %d of the last two hours, beyond the third %d crash- and %d application-consistent ones, %d in all", end, fine, crash, app, len(left))
		}
		if reach := newest.Sub(left[0].Time); reach < 24*hour || reach > 25*hour {
			t.Errorf("%s: it reaches %s back", end, reach)
		}
	}
}

func TestDropPrefers(t *testing.T) {
	verified, passed := Point{Verified: true}, Point{Drill: replication.DrillPassed}
	failed, suspect := Point{Drill: replication.DrillFailed, Verified: true}, Point{Suspect: true, Verified: true}
	damaged := Point{Damaged: true, Drill: replication.DrillPassed}
	for name, c := range map[string]struct {
		slot []Point
		want int
	}{
		"TheEarliest":        {[]Point{{}, {}, {}}, 0},
		"Verified":           {[]Point{{}, verified, verified}, 1},
		"Drilled":            {[]Point{verified, {}, passed}, 2},
		"NotTheFailed":       {[]Point{failed, {}, failed}, 1},
		"FailedOverSuspect":  {[]Point{suspect, failed}, 1},
		"Sound":              {[]Point{suspect, {}, suspect}, 1},
		"SuspectOverDamaged": {[]Point{damaged, suspect}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			line := history(600)
			old := 600 - 1 - 12*10 // at 02:00, followed by 02:05…
			for i, p := range c.slot {
				at := &line[old+1+i]
				at.Verified, at.Drill, at.Suspect, at.Damaged = p.Verified, p.Drill, p.Suspect, p.Damaged
			}
			for i := old + 1 + len(c.slot); i < old+12; i++ {
				line[i].Damaged = true
			}
			got := slices.DeleteFunc(kept(line, noon, Failback()), func(p Point) bool {
				return p.ID <= line[old].ID || p.ID > line[old+11].ID || p.Kind != replication.Crash
			})
			if len(got) != 1 || got[0].ID != line[old+1+c.want].ID {
				t.Errorf("got %v want %d", ids(got), line[old+1+c.want].ID)
			}
		})
	}
}

func TestDropSpares(t *testing.T) {
	line := history(864)
	line[10].Pinned = true
	line[11].Pinned, line[11].Until = true, noon.Add(time.Minute)
	line[12].Pinned, line[12].Until = true, noon
	line[13].Use, line[14].Use, line[15].Use, line[16].Use = Head, Move, Drill, Reader
	for i := 20; i < len(line); i++ {
		line[i].Suspect = true
	}
	left := kept(line, noon, Failback())
	want := []replication.PointID{11, 12, 14, 15, 16, 17, 20, 864} // 20: the newest sound one
	for _, id := range want {
		if !slices.ContainsFunc(left, func(p Point) bool { return p.ID == id }) {
			t.Errorf("%d was dropped", id)
		}
	}
	if slices.ContainsFunc(left, func(p Point) bool { return p.ID == 13 }) {
		t.Error("13 is kept, though its pin has ended")
	}
	if got := Drop(line[:1], noon.Add(1000*hour), Failback()); len(got) != 0 {
		t.Errorf("the last point was dropped")
	}
}

func TestDropDoesNotExpireWithoutNewPoints(t *testing.T) {
	line := kept(history(864), noon, Failback())
	if got := Drop(line, noon.Add(1000*hour), Failback()); len(got) != 0 {
		t.Errorf("as time went by without points, %v were dropped", got)
	}
	// After an outage of three days, each new hour takes the place of an old one.
	before := len(line)
	id := line[len(line)-1].ID
	for i := range 3 * 12 {
		id++
		line = append(line, Point{ID: id, Time: noon.Add(72*hour + time.Duration(i)*5*time.Minute), Kind: replication.Crash})
		if got := Drop(line, line[len(line)-1].Time, Failback()); len(got) > 13 {
			t.Errorf("new point %d made %d points go: %v", i, len(got), got)
		}
		line = kept(line, line[len(line)-1].Time, Failback())
		if len(line) < before-13 { // a full slot is thinned when a new one begins
			t.Fatalf("new point %d: %d points are left of %d", i, len(line), before)
		}
	}
}

func TestDropAndAClockThatJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"Forwards": 365 * 24 * hour, "Backwards": -365 * 24 * hour, "AnHourBack": -hour, "TheSame": -5 * time.Minute, "SecondsBack": -7 * time.Second} {
		for _, times := range []int{1, 2, 300} { // points made by the wrong clock
			t.Run(fmt.Sprint(name, times), func(t *testing.T) {
				line := kept(history(864), noon, Failback())
				id, now := line[len(line)-1].ID, noon
				for i := range 400 {
					id++
					now = now.Add(5 * time.Minute)
					p := Point{ID: id, Time: now, Kind: replication.Crash}
					if now.Minute() == 0 {
						p.Kind = replication.App
					}
					if i < times {
						p.Time = p.Time.Add(jump)
					}
					line = append(line, p)
					gone := Drop(line, now, Failback())
					if len(gone) > 26 { // an hour's points that are thinned, and an hour that expires
						t.Fatalf("point %d made %d others go at once: %v", i, len(gone), gone)
					}
					line = kept(line, now, Failback())
					if len(line) < 56 {
						t.Fatalf("point %d: %d are left", i, len(line))
					}
				}
			})
		}
	}
}

// grids for random tests.
var grids = []string{"24h", "0d", "3d", "10d", "all for 1h, every 15m for 2h, every 1h for 5h, every 6h for 12h", "every 10m for 1h, every 20m for 2h", "all for 30m"}

// random makes a history with outages, bursts and forward jumps of the clock, and points of all qualities.
func random(r *rand.Rand, n int, backwards bool) []Point {
	var line []Point
	at := noon
	for i := range n {
		gap := time.Duration(r.IntN(600)) * time.Second
		switch r.IntN(60) {
		case 0:
			gap = time.Duration(r.IntN(100)) * hour
		case 1:
			gap = 0
		case 2:
			if backwards {
				gap = -time.Duration(r.IntN(48*3600)) * time.Second
			}
		}
		at = at.Add(gap)
		p := Point{ID: replication.PointID(i + 1), Time: at, Kind: replication.Crash, Verified: r.IntN(10) == 0, Suspect: r.IntN(15) == 0, Damaged: r.IntN(30) == 0, Frees: r.Int64N(1000) - 1}
		p.Kind = []replication.Kind{replication.Crash, replication.Crash, replication.Crash, replication.App, replication.Final}[r.IntN(5)]
		p.Drill = []replication.DrillOutcome{"", "", "", replication.DrillPassed, replication.DrillFailed}[r.IntN(5)]
		switch p.Pinned = r.IntN(40) == 0; r.IntN(60) {
		case 0:
			p.Use = Reader
		case 1:
			p.Use = Head
		}
		line = append(line, p)
	}
	return line
}

func TestDropNowAndThenIsDropAtTheEnd(t *testing.T) {
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 1))
		g, _ := Parse(grids[r.IntN(len(grids))])
		all := random(r, 50+r.IntN(700), false)
		var line []Point
		for i, p := range all {
			line = append(line, p)
			if r.IntN(5) == 0 || i == len(all)-1 {
				line = kept(line, p.Time, g)
			}
		}
		if want := kept(all, noon, g); !slices.Equal(ids(line), ids(want)) {
			t.Fatalf("seed %d, %s: now and then leaves\n%v\nat the end\n%v", seed, g, ids(line), ids(want))
		}
	}
}

func TestDropIsDoneWhenItIsDone(t *testing.T) {
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 2))
		g, _ := Parse(grids[r.IntN(len(grids))])
		line := random(r, 1+r.IntN(500), true)
		gone := Drop(line, noon, g)
		safe := protection(line, noon)
		for _, id := range gone {
			p := line[id-1]
			if p.Pinned || p.Use != "" || int(id) == len(line) || safe[id] != "" {
				t.Fatalf("seed %d: %+v was dropped, %s", seed, p, safe[id])
			}
		}
		if !slices.IsSorted(gone) || len(slices.Compact(slices.Clone(gone))) != len(gone) {
			t.Fatalf("seed %d: got %v", seed, gone)
		}
		left := kept(line, noon, g)
		if again := Drop(left, noon, g); len(again) != 0 {
			t.Fatalf("seed %d: a second time drops %v", seed, again)
		}
		if len(line) > 1 && slices.ContainsFunc(line, func(p Point) bool { return p.sound() }) && !slices.ContainsFunc(left, func(p Point) bool { return p.sound() }) {
			t.Fatalf("seed %d: no sound point is left", seed)
		}
		// Protecting more never makes others go.
		x := r.IntN(len(line))
		more := slices.Clone(line)
		more[x].Pinned = true
		for _, id := range Drop(more, noon, g) {
			if !slices.Contains(gone, id) {
				t.Fatalf("seed %d: with %d pinned, %d goes", seed, x+1, id)
			}
		}
		// The order in which they are told does not matter.
		shuffled := slices.Clone(line)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got := Drop(shuffled, noon, g); !slices.Equal(got, gone) {
			t.Fatalf("seed %d: in another order: got %v want %v", seed, got, gone)
		}
	}
}

func TestDropCountIsBounded(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 3))
		g, _ := Parse(grids[r.IntN(len(grids))])
		line := random(r, 2000, false)
		n := 0
		for i := range line {
			line[i].Pinned, line[i].Use, line[i].Suspect = false, "", false
		}
		for i := range line { // 5 minutes apart, but for outages
			if i > 0 && line[i].Time.Sub(line[i-1].Time) < hour {
				line[i].Time = line[i-1].Time.Add(5 * time.Minute)
			} else if i > 0 {
				line[i].Time = line[i-1].Time.Add(line[i].Time.Sub(line[i-1].Time).Truncate(hour))
			}
		}
		for _, p := range kept(line, noon, g) {
			if p.Kind == replication.Crash {
				n++
			}
		}
		if most := g.Count(5*time.Minute) + int64(len(g)*12); int64(n) > most {
			t.Errorf("seed %d, %s: %d crash-consistent points, at most %d", seed, g, n, most)
		}
	}
}

func TestDropKeepsWhatItKeptInASlot(t *testing.T) {
	type key struct {
		size   time.Duration
		number int64
		kind   replication.Kind
	}
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 4))
		g, _ := Parse(grids[r.IntN(len(grids))])
		best := make(map[key]replication.PointID)
		var line []Point
		for _, p := range random(r, 500, false) {
			p.Pinned, p.Use = false, ""
			line = kept(append(line, p), p.Time, g)
			safe := protection(line, p.Time)
			for _, s := range g.slots(line) {
				if s.step == len(g) || g[s.step].Every == 0 || s.hi == len(line) {
					continue
				}
				for _, p := range line[s.lo:s.hi] {
					if safe[p.ID] != "" {
						continue
					}
					k := key{g.size(s.step), number(p.Time, g.size(s.step)), p.Kind}
					if first, ok := best[k]; ok && first != p.ID {
						t.Fatalf("seed %d, %s: a slot of %s kept %d, and later %d", seed, g, k.size, first, p.ID)
					}
					best[k] = p.ID
				}
			}
		}
	}
}

func TestSlotsBefore1970AreAsLongAsOthers(t *testing.T) {
	for s, want := range map[int64]int64{-3601: -2, -3600: -1, -1: -1, 0: 0, 3599: 0, 3600: 1} {
		if got := number(time.Unix(s, 0), hour); got != want {
			t.Errorf("%d: got %d want %d", s, got, want)
		}
	}
}
