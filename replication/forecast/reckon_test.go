package forecast

import (
	"testing"
	"time"

	"failback/replication"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// steady is a habit of ten cycles: 1 MB/s change, 5 MB/s are sent, 2 s pass whatever is sent.
func steady() []Cycle {
	var c []Cycle
	for range 10 {
		c = append(c, Cycle{Span: 100 * time.Second, Changed: 100e6, Read: 100e6, Cutting: time.Second, Starting: 500 * time.Millisecond, Sending: 20 * time.Second, Ending: 500 * time.Millisecond})
	}
	return c
}

func downOf(f replication.Forecast, what string) (p replication.ForecastPart) {
	for _, p := range f.Parts {
		if p.What == what {
			return p
		}
	}
	return p
}

func TestReckon(t *testing.T) {
	base := Facts{Now: noon, Cycles: steady(), Next: 11, Cut: noon.Add(-100 * time.Second), MoveRate: 50e6, Moved: true, Close: time.Second}
	near := func(name string, got, want time.Duration) {
		t.Helper()
		if (got - want).Abs() > 50*time.Millisecond {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	f := Reckon(base) // without a stop-command all that changed since the last point is sent while the machine is down: 100 MB
	near("without a stop-command", f.Down, 22*time.Second+2*time.Second+time.Second)
	if f.Point != 11 || f.Ahead != 0 || f.Bytes != 100e6 {
		t.Errorf("without a stop-command: %+v", f)
	}

	// With one: 22 s for the 100 MB, and 2 s in which the disks take them; 6.8 s and 0.48 s for the 24 MB of meanwhile; 3.46 s and 0.15 s for the 7.28 MB of then. What changed since that began is left.
	stop := base
	stop.Stop = true
	f = Reckon(stop)
	if f.Point != 14 {
		t.Errorf("three points ahead, and the last: %d", f.Point)
	}
	near("the last point", downOf(f, "point 14, the last").Takes, 2*time.Second+3600*time.Millisecond/5)
	near("down", f.Down, downOf(f, "point 14, the last").Takes+time.Duration(float64(f.Bytes)/50e6*1e9)+time.Second)

	open := stop
	open.Open = noon.Add(-5 * time.Second) // it carries 95 MB, and takes 21 s
	f = Reckon(open)
	near("the cycle under way", downOf(f, "the cycle that is under way").Takes, 16*time.Second)
	if f.Point < 14 {
		t.Errorf("with a cycle under way: point %d", f.Point)
	}

	held := stop
	held.Held, held.Behind = true, 500e6
	if f := Reckon(held); downOf(f, "bring the disks to it").Bytes < 600e6 {
		t.Errorf("held disks: %+v", f)
	}

	// What is found by reading takes the same whatever it is.
	scan := base
	for i := range scan.Cycles {
		scan.Cycles[i].Read = 10e9
	}
	scan.Cut = noon.Add(-time.Second)
	f = Reckon(scan)
	near("by reading all", downOf(f, "point 11, the last").Takes, 22*time.Second)
	if len(f.Doubts) != 1 {
		t.Errorf("doubts: %q", f.Doubts)
	}

	chosen := Facts{Now: noon, Chosen: 7, Cut: noon.Add(-time.Hour), Behind: 100e6, MoveRate: 50e6, Verify: true, Size: 64 << 30, Close: time.Second}
	f = Reckon(chosen)
	near("a chosen point", f.Down, 2*time.Second+1024*time.Second+time.Second)
	if f.Point != 7 || !f.Cut.Equal(chosen.Cut) || f.Bytes != 0 {
		t.Errorf("a chosen point: %+v", f)
	}
}

func TestAnother(t *testing.T) {
	for _, c := range []struct {
		made         int
		before, last time.Duration
		want         bool
	}{
		{0, 0, 0, true},
		{1, 0, 3 * time.Second, false}, // there is nothing left to gain
		{1, 0, time.Minute, true},
		{2, time.Minute, 50 * time.Second, false}, // it does not get quicker
		{2, time.Minute, 10 * time.Second, true},
		{3, time.Minute, 10 * time.Second, false},
	} {
		if got := HabitOf(steady()).Another(c.made, c.before, c.last); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	scan := steady()
	scan[0].Read = 10e9
	if HabitOf(scan).Another(0, 0, 0) {
		t.Error("a point is made ahead of one that takes as long whatever was made before")
	}
	if !HabitOf(nil).Another(0, 0, 0) {
		t.Error("no point is made ahead where nothing is known")
	}
}
