package policy

import (
	"testing"
	"time"

	"failback/replication"
)

// steady makes points up to noon, one every five minutes for a span, each with so many stored bytes, thinned by the default grid.
func steady(span time.Duration, stored int64) []Point {
	line := history(int(span/(5*time.Minute)) + 1)
	for i := range line {
		line[i].Stored = stored
	}
	return kept(line, noon, Failback())
}

func TestForecast(t *testing.T) {
	const g = 1 << 30
	now := noon.Add(2 * time.Minute)
	for name, c := range map[string]struct {
		points      []Point
		used, limit int64
		want        string
	}{
		"NoPoint":  {nil, 0, 500 * g, "no points yet"},
		"OnePoint": {steady(0, g), g, 500 * g, "covers 2 min; runway unknown until there are two points"},
		// 12 GiB an hour: a day is 288 GiB if nothing is given back by thinning.
		"Fits":        {steady(hour, g), 12 * g, 500 * g, "covers 62 min; 288 GiB of 500 GiB at this churn"},
		"Fills":       {steady(hour, g), 12 * g, 132 * g, "covers 62 min; full at 22:02 at this churn"},
		"FillsLater":  {steady(hour, g/2), 12 * g, 132 * g, "covers 62 min; full at 2026-03-10 08:02 at this churn"},
		"NoLimit":     {steady(hour, g), 12 * g, 0, "covers 62 min"},
		"IsFull":      {steady(hour, g), 132 * g, 132 * g, "covers 62 min; full: 132 GiB are not enough at this churn"},
		"IdleButFull": {steady(hour, 0), 132 * g, 132 * g, "covers 62 min; full: 132 GiB are not enough at this churn"},
		"Idle":        {steady(hour, 0), 13 * g, 132 * g, "covers 62 min; 0 B of 132 GiB at this churn"},
		// Half of what was older than two hours was given back.
		"Thinned":      {steady(12*hour, g), (24 + 60) * g, 500 * g, "covers 12 h; 156 GiB of 500 GiB at this churn"},
		"ThinnedFills": {steady(12*hour, g), (24 + 60) * g, 120 * g, "covers 12 h; full at 18:02 at this churn"},
		"ADay":         {steady(48*hour, g), 24 * g, 500 * g, "covers 24 h; 24 GiB of 500 GiB at this churn"},
	} {
		if got := Forecast(c.points, Failback(), c.used, c.limit, now).String(); got != c.want {
			t.Errorf("%s: got %q want %q", name, got, c.want)
		}
	}
}

func TestForecastSeesWhatChurnIsNow(t *testing.T) {
	line := steady(24*hour, 1<<30)
	quiet := Forecast(line, Failback(), 1<<40, 1<<50, noon)
	for i := range line {
		if noon.Sub(line[i].Time) < hour {
			line[i].Stored *= 10
		}
	}
	busy := Forecast(line, Failback(), 1<<40, 1<<50, noon)
	if f := busy.Churn / quiet.Churn; f < 2.5 || f > 7 {
		t.Errorf("after an hour of tenfold churn it is taken to be %.1f times as much", f)
	}
	if want := float64(1<<30) / 300; quiet.Churn < 0.999*want || quiet.Churn > 1.001*want {
		t.Errorf("got %f want %f", quiet.Churn, want)
	}
}

func TestForecastAndStrangeTimes(t *testing.T) {
	at := func(times ...time.Duration) (line []Point) {
		for i, d := range times {
			line = append(line, Point{ID: replication.PointID(i + 1), Time: noon.Add(d), Stored: 1 << 30})
		}
		return line
	}
	for name, line := range map[string][]Point{"Same": at(0, 0, 0), "Backwards": at(0, -hour, -2*hour), "Future": at(hour, 2*hour, 3*hour), "Far": at(-1000000*hour, 0)} {
		r := Forecast(line, Failback(), 1<<30, 1<<40, noon)
		if r.String() == "" || r.Covers < 0 || !r.Full.IsZero() && r.Full.Before(noon) {
			t.Errorf("%s: got %+v", name, r)
		}
	}
}
