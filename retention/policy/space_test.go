package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

const mib = 1 << 20

// space is a volume of 1000 MiB, of which a journal of one file takes so much.
func space(used int64, files ...File) Space {
	s := Space{Files: files, Limits: DefaultLimits(), Volume: Volume{Total: 1000 * mib, Limits: DefaultLimits(), Groups: 1}, Grid: Failback(), Points: kept(history(864), noon, Failback()), Yield: -1}
	s.Other = used * mib
	for _, f := range files {
		s.Other -= f.Bytes
	}
	s.Volume.Free, s.Volume.Journals = s.Volume.Total-used*mib, used*mib
	return s
}

// file has so many MiB of each sort.
func file(name string, live, dead, spare, cold int64) File {
	return File{Name: name, Bytes: (live + dead + spare) * mib, Dead: dead * mib, Spare: spare * mib, Cold: cold * mib}
}

func TestNext(t *testing.T) {
	one := func(change func(s *Space)) func(s *Space) { return change }
	first := kept(history(864), noon, Failback())[0].ID
	for name, c := range map[string]struct {
		used   int64
		files  []File
		change func(s *Space)
		was    Pressure
		want   Do
		why    string
	}{
		"Room":                {100, []File{file("a", 60, 30, 10, 0)}, nil, Pressure{}, Nothing, ""},
		"AllDead":             {100, []File{file("a", 60, 40, 0, 0), file("b", 0, 1, 0, 0)}, nil, Pressure{}, Rewrite, "removing b: no point needs any of its 1.0 MiB"},
		"HalfDead":            {100, []File{file("a", 50, 50, 0, 0)}, nil, Pressure{}, Rewrite, "rewriting a: 50 MiB of its 100 MiB are needed by no point"},
		"SparesStay":          {100, []File{file("a", 10, 40, 50, 0)}, nil, Pressure{}, Nothing, ""},
		"ColdSparesGo":        {100, []File{file("a", 10, 40, 50, 10)}, nil, Pressure{}, Evict, "dropping 10 MiB of spare copies in a: they are older than the oldest point"},
		"SparesGoAboveSoft":   {700, []File{file("a", 60, 10, 50, 0), file("b", 30, 10, 60, 0)}, nil, Pressure{}, Evict, "dropping 60 MiB of spare copies in b: journal at 100 % of its soft limit of 700 MiB"},
		"LiveSharesStay":      {800, []File{file("a", 60, 40, 0, 0)}, nil, Pressure{}, Nothing, ""},
		"SoftIsLeftLower":     {680, []File{file("b", 30, 10, 60, 0)}, nil, Pressure{Soft: true}, Evict, "dropping 60 MiB"},
		"SoftIsLeft":          {660, []File{file("b", 30, 10, 60, 0)}, nil, Pressure{Soft: true}, Nothing, ""},
		"SoftIsReachedHigher": {680, []File{file("b", 30, 10, 60, 0)}, nil, Pressure{}, Nothing, ""},
		"AboveHardAnEighth":   {900, []File{file("a", 87, 13, 0, 0), file("b", 89, 11, 0, 0)}, nil, Pressure{}, Rewrite, "rewriting a"},
		"NoRoomToRewrite":     {960, []File{file("a", 60, 40, 0, 0)}, nil, Pressure{Held: true}, Give, "dropping point"},
		"Thin":                {910, []File{file("a", 90, 10, 0, 0)}, nil, Pressure{}, Give, "early, thinning to one every 2 h: journal at 101 % of its hard limit of 900 MiB"},
		"HardIsLeftLower":     {860, nil, nil, Pressure{Hard: true}, Give, "thinning"},
		"HardIsLeft":          {850, nil, nil, Pressure{Hard: true}, Nothing, ""},
		"WhatTheGridDropsGoesFirst": {910, nil, one(func(s *Space) { s.Points = history(864) }), Pressure{}, Give,
			"dropping point 1 of 2026-03-06 12:05 early, which the grid does not keep"},
		"BeyondTheReachGoesNext": {910, nil, one(func(s *Space) {
			for i := range s.Points[:len(s.Points)/2] {
				s.Points[i].Time = s.Points[i].Time.Add(-100 * hour)
			}
		}), Pressure{}, Give, "the oldest, from before the last 24 h"},
		"ThinningThatGivesLittle": {910, nil, one(func(s *Space) {
			for i := range s.Points {
				s.Points[i].Frees = 1
			}
			s.Points[0].Frees = 100
		}), Pressure{}, Give, "the oldest: journal"},
		"NothingToGain": {910, nil, one(func(s *Space) { s.Yield = 0 }), Pressure{}, Hold, "dropping the other points would free nothing; make the volume larger; 55 MiB must become free"},
		"Pins": {910, nil, one(func(s *Space) {
			s.Points = s.Points[len(s.Points)-3:]
			s.Points[0].Pinned, s.Points[1].Pinned, s.Points[1].Until = true, true, noon.Add(2*hour)
		}), Pressure{}, Hold, "no more history can be given up: point 862 is pinned, point 863 is pinned until 2026-03-09 14:00, point 864 is the last point; the open cycle takes 910 MiB; unpin a point, or make the volume larger; 55 MiB must become free"},
		"TwoStay": {910, nil, one(func(s *Space) { s.Points = s.Points[len(s.Points)-2:] }), Pressure{}, Hold, "point 864 is the last point, the last 2 points stay"},
		"HeadAndMove": {910, nil, one(func(s *Space) {
			s.Points = s.Points[len(s.Points)-3:]
			s.Points[0].Use, s.Points[1].Use = Head, Move
		}), Pressure{}, Hold, "point 862 is the head, point 863 is an end of the move under way"},
		"FarAboveHard":       {950, nil, nil, Pressure{Hard: true}, Hold, "replication is held back: journal at 105 % of its hard limit of 900 MiB; dropping point"},
		"WorkGoesOnWhenHeld": {950, nil, nil, Pressure{Hard: true, Held: true}, Give, "dropping point"},
		"HeldWhileItGoesOn":  {910, nil, nil, Pressure{Hard: true, Held: true}, Give, "dropping point"},
		"HeldUntilBelow":     {870, nil, one(func(s *Space) { s.Yield = 0 }), Pressure{Hard: true, Held: true}, Nothing, "replication is held back: journal at 96 % of its hard limit of 900 MiB; "},
		"Release":            {850, nil, nil, Pressure{Hard: true, Held: true}, Release, "replication goes on: journal at 94 % of its hard limit of 900 MiB, 150 MiB free"},
		"Reserve": {100, nil, one(func(s *Space) { s.Volume.Free = 20 * mib; s.Volume.Limits = Limits{}; s.Yield = 0 }), Pressure{}, Hold,
			"20 MiB are free on the volume, of which 20 MiB are kept in reserve; the open cycle takes 100 MiB; dropping the other points would free nothing; 880 MiB on the volume are no journal's"},
		"ReserveIsLeftHigher": {100, nil, one(func(s *Space) { s.Volume.Free = 30 * mib; s.Volume.Limits = Limits{}; s.Yield = 0 }), Pressure{Held: true}, Nothing, "30 MiB are free on the volume"},
		"ReserveIsLeft":       {100, nil, one(func(s *Space) { s.Volume.Free = 31 * mib; s.Volume.Limits = Limits{}; s.Yield = 0 }), Pressure{Held: true}, Release, ""},
		"OthersGiveWay":       {200, nil, one(func(s *Space) { s.Volume.Free, s.Volume.Groups, s.Volume.Journals = 90*mib, 2, 910*mib }), Pressure{}, Nothing, ""},
		"TheLargestGivesWay":  {500, nil, one(func(s *Space) { s.Volume.Free, s.Volume.Groups, s.Volume.Journals = 90*mib, 2, 910*mib }), Pressure{}, Give, "volume at 101 % of its hard limit of 900 MiB"},
		"OthersDidNot":        {200, nil, one(func(s *Space) { s.Volume.Free, s.Volume.Groups, s.Volume.Journals = 54*mib, 2, 946*mib }), Pressure{Hard: true, Held: true}, Give, "volume at 105 % of its hard limit"},
		"NoLimits":            {960, nil, one(func(s *Space) { s.Limits, s.Volume.Limits = Limits{}, Limits{} }), Pressure{}, Nothing, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := space(c.used, c.files...)
			if c.change != nil {
				c.change(&s)
			}
			got, is := Next(s, noon, c.was)
			if got.Do != c.want || !strings.Contains(got.Why, c.why) || got.Do != Nothing && got.Why == "" {
				t.Errorf("got %+v, %+v\nwant %s %q", got, is, c.want, c.why)
			}
			if is.Held != (c.want == Hold || c.was.Held && c.want != Release) {
				t.Errorf("got %+v after %s", is, got.Do)
			}
			if strings.HasPrefix(name, "Thin") && name != "Thin" && got.Point != first {
				t.Errorf("got point %d want %d", got.Point, first)
			}
		})
	}
}

func TestNextCoarsensFromTheOldEnd(t *testing.T) {
	s := space(910)
	var given []Point
	for {
		a, is := Next(s, noon, Pressure{Hard: true})
		if a.Do != Give {
			if !is.Held || a.Do != Hold {
				t.Fatalf("got %+v", a)
			}
			break
		}
		i := slices.IndexFunc(s.Points, func(p Point) bool { return p.ID == a.Point })
		given = append(given, s.Points[i])
		s.Points = slices.Delete(slices.Clone(s.Points), i, i+1)
	}
	if len(s.Points) != MinPoints || s.Points[1].ID != 864 {
		t.Fatalf("left %v", ids(s.Points))
	}
	old := func(p Point) bool { return noon.Sub(p.Time) > 2*hour+30*time.Minute }
	n := slices.IndexFunc(given, func(p Point) bool { return !old(p) })
	if n < 36 || slices.ContainsFunc(given[:n], func(p Point) bool { return p.ID == s.Points[0].ID }) {
		t.Errorf("%d old points were given up before the first new one", n)
	}
	for i, p := range given { // the reach goes last
		if reach := noon.Sub(p.Time); i < 40 && reach >= 24*hour {
			t.Errorf("%d points were given up, then the oldest of its kind", i)
		}
	}
}

// journal simulates a group: cycles come, and what Next asks for is done.
type journal struct {
	Space
	r   *rand.Rand
	was Pressure
	now time.Time
	id  replication.PointID
}

func (j *journal) arrive(t *testing.T) {
	n := j.r.Int64N(20) + 1
	j.id++
	j.now = j.now.Add(5 * time.Minute)
	if j.Volume.Free < n*mib {
		t.Fatalf("a cycle of %d MiB does not fit into %d", n, j.Volume.Free)
	}
	if len(j.Files) > 0 { // what came before is spare, here and there
		f := &j.Files[j.r.IntN(len(j.Files))]
		m := min(j.r.Int64N(mib), f.live())
		f.Spare += m
		f.Cold += min(m, j.r.Int64N(mib)/8)
	}
	j.Files = append(j.Files, File{Name: fmt.Sprint(j.id), Bytes: n * mib, Spare: j.r.Int64N(n * mib / 4)})
	j.Volume.Free -= n * mib
	for i := range j.Points {
		if j.Points[i].Use = ""; j.r.IntN(200) == 0 {
			j.Points[i].Pinned = !j.Points[i].Pinned
		}
		if j.r.IntN(50) == 0 {
			j.Points[i].Use = []Use{Move, Drill, Reader}[j.r.IntN(3)]
		}
	}
	j.Points = append(j.Points, Point{ID: j.id, Time: j.now, Kind: replication.Crash, Use: Head, Stored: n * mib, Frees: -1})
	j.drop(Drop(j.Points, j.now, j.Grid)...)
}

// drop makes bytes dead, here and there.
func (j *journal) drop(ids ...replication.PointID) {
	for _, id := range ids {
		j.Points = slices.DeleteFunc(slices.Clone(j.Points), func(p Point) bool { return p.ID == id })
		for range 2 {
			if len(j.Files) > 0 {
				f := &j.Files[j.r.IntN(len(j.Files))]
				f.Dead += j.r.Int64N(min(f.live(), 4*mib) + 1)
			}
		}
	}
}

func TestNextOverALongTime(t *testing.T) {
	var gave, held, evicted, rewrote, freed int64
	for seed := range uint64(20) {
		j := &journal{r: rand.New(rand.NewPCG(seed, 5)), now: noon}
		j.Space = space(0)
		j.Points, j.Other = nil, 0
		for range 300 {
			if !j.was.Held {
				j.arrive(t)
			} else if j.r.IntN(10) == 0 {
				for i := range j.Points {
					j.Points[i].Pinned = false
				}
			}
			for range j.r.IntN(4) + 1 { // so much is done between two cycles
				a, is := Next(j.Space, j.now, j.was)
				used := j.used()
				i := slices.IndexFunc(j.Files, func(f File) bool { return f.Name == a.File })
				switch a.Do {
				case Rewrite:
					f := &j.Files[i]
					if f.Dead == 0 || f.Dead*tightDead < f.Bytes || !is.Hard && f.Dead*halfDead < f.Bytes {
						t.Fatalf("seed %d: %+v of %+v", seed, a, f)
					}
					rewrote, freed = rewrote+f.Bytes-f.Dead, freed+f.Dead
					j.Volume.Free += f.Dead
					if f.Bytes, f.Dead = f.Bytes-f.Dead, 0; f.Bytes == 0 {
						j.Files = slices.Delete(j.Files, i, i+1)
					}
				case Evict:
					evicted++
					f := &j.Files[i]
					n := f.Cold
					if !a.Cold {
						n = f.Spare
						if used < 66*10*mib {
							t.Fatalf("seed %d: %+v at %d MiB", seed, a, used/mib)
						}
					}
					f.Dead, f.Spare, f.Cold = f.Dead+n, f.Spare-n, 0
				case Give:
					gave++
					i := slices.IndexFunc(j.Points, func(p Point) bool { return p.ID == a.Point })
					if p := j.Points[i]; used < 85*10*mib || p.Pinned || p.Use != "" || i == len(j.Points)-1 || len(j.Points) <= MinPoints {
						t.Fatalf("seed %d: %+v of %d points at %d MiB: %+v", seed, a, len(j.Points), used/mib, p)
					}
					j.drop(a.Point)
				case Hold:
					held++
				}
				if again, _ := Next(j.Space, j.now, is); (a.Do == Hold || a.Do == Release) && (again.Do == Hold || again.Do == Release) {
					t.Fatalf("seed %d: %+v, and at once %+v", seed, a, again)
				}
				j.was = is
			}
		}
		for n := 0; ; n++ { // without cycles, it comes to rest
			a, is := Next(j.Space, j.now, j.was)
			if j.was = is; a.Do == Nothing {
				break
			}
			switch i := slices.IndexFunc(j.Files, func(f File) bool { return f.Name == a.File }); a.Do {
			case Rewrite:
				f := &j.Files[i]
				j.Volume.Free += f.Dead
				f.Bytes, f.Dead = f.Bytes-f.Dead, 0
				if f.Bytes == 0 {
					j.Files = slices.Delete(j.Files, i, i+1)
				}
			case Evict:
				f := &j.Files[i]
				f.Dead += f.Spare
				f.Spare, f.Cold = 0, 0
			case Give:
				j.drop(a.Point)
			}
			if n > 5000 {
				t.Fatalf("seed %d: does not come to rest: %+v", seed, a)
			}
		}
	}
	if gave == 0 || held == 0 || evicted == 0 || rewrote == 0 {
		t.Errorf("gave %d points, held %d times, evicted %d times, rewrote %d bytes: the test does not try all", gave, held, evicted, rewrote)
	}
	t.Logf("gave %d points, held %d times, evicted %d times, rewrote %.2f bytes per byte given back", gave, held, evicted, float64(rewrote)/float64(freed))
}

func TestLimit(t *testing.T) {
	for text, want := range map[string]string{"70%": "70%", "70 %": "70%", "12.5%": "12.5%", "500GiB": "500GiB", "1024 MiB": "1GiB", "0.5TiB": "512GiB", "1B": "1B", "100%": "100%"} {
		l, err := ParseLimit(text)
		if err != nil || l.String() != want {
			t.Errorf("%q: got %s, %v want %s", text, l, err, want)
		}
		if again, err := ParseLimit(l.String()); err != nil || again != l {
			t.Errorf("%s is read as %v, %v", l, again, err)
		}
	}
	for text, want := range map[string]string{"": "not an amount", "70": "has no unit", "0%": "more than 0%", "101%": "at most 100%", "-1%": "more than 0%", "x%": "more than 0%", "5GB": "such as 500GiB", "-5GiB": "not an amount",
		"0GiB": "not an amount", "NaNGiB": "not an amount", "1e3GiB": "not an amount", "99999999999TiB": "not an amount", "GiB": "not an amount"} {
		if l, err := ParseLimit(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v want %q", text, l, err, want)
		}
	}
	if got := Percent(70).Of(1000); got != 700 {
		t.Errorf("got %d want 700", got)
	}
	if got := Bytes(70).Of(1000); got != 70 {
		t.Errorf("got %d want 70", got)
	}
}

func TestLimitsValidate(t *testing.T) {
	for name, c := range map[string]struct {
		l        Limits
		capacity int64
		want     string // empty: valid
	}{
		"Default":        {DefaultLimits(), 0, ""},
		"DefaultKnown":   {DefaultLimits(), 1 << 40, ""},
		"SoftIsHard":     {Limits{Bytes(5), Bytes(5), Limit{}}, 0, "soft limit 5B is not below the hard limit 5B"},
		"MixedUnknown":   {Limits{Bytes(800), Percent(50), Limit{}}, 0, ""},
		"MixedKnown":     {Limits{Bytes(800), Percent(50), Limit{}}, 1000, "soft limit 800B is not below the hard limit 50%"},
		"TooMuch":        {Limits{Percent(50), Bytes(1001), Limit{}}, 1000, "more than the volume has: 1000 B"},
		"Together":       {Limits{Percent(50), Percent(95), Percent(6)}, 0, "together more than the volume"},
		"TogetherKnown":  {Limits{Percent(50), Percent(95), Bytes(60)}, 1000, "together more than the volume"},
		"TogetherEnough": {Limits{Percent(50), Percent(95), Bytes(50)}, 1000, ""},
		"None":           {Limits{}, 0, "more than nothing"},
	} {
		err := c.l.Validate(c.capacity)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v want %q", name, err, c.want)
		}
	}
}
