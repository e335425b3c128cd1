package throttle

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRates(t *testing.T) {
	for text, want := range map[string]Rate{
		"512Kbps": 64000, "512 kbps": 64000, "1,023 Mbps": 127875000, "1023Mbps": 127875000, "20Mbit/s": 2500000, "2.5MB/s": 2500000, "1MiB/s": 1 << 20,
		"524288": 65536, "none": 0, "10Gbps": 1250000000, "64000bps": 8000,
	} {
		got, err := ParseRate(text)
		if err != nil || got != want {
			t.Errorf("%q: got %d, %v want %d", text, got, err, want)
		}
		if again, err := ParseRate(got.String()); err != nil || again != got {
			t.Errorf("%q is written as %s and read as %d, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "fast", "-1Mbps", "1bps", "NaN", "1e99Mbps", "20 M", "1,5Mbps", "1,0235Mbps", ",5Mbps", "1,023,5Mbps"} {
		if r, err := ParseRate(text); err == nil {
			t.Errorf("%q: got %d", text, r)
		}
	}
}

func TestSchedule(t *testing.T) {
	const text = "20Mbps mon-fri 08:00-18:00; 5Mbps sat,sun 22:00-06:00; 200Mbps; in Europe/Berlin"
	s, err := Parse(text)
	if err != nil || s.String() != text {
		t.Fatalf("got %s, %v", s, err)
	}
	berlin, _ := time.LoadLocation("Europe/Berlin")
	for at, want := range map[string]string{
		"2026-03-02 08:00": "20Mbps", "2026-03-02 07:59": "200Mbps", "2026-03-02 17:59": "20Mbps", "2026-03-02 18:00": "200Mbps",
		"2026-02-28 23:00": "5Mbps", "2026-03-01 05:59": "5Mbps", "2026-03-02 05:59": "5Mbps", // of Sunday's night
		"2026-03-02 06:00": "200Mbps", "2026-02-28 05:00": "200Mbps", // of Friday's night
		"2026-03-29 03:30": "5Mbps", // the night in which the clocks are changed
		"2026-07-01 09:00": "20Mbps",
	} {
		when, err := time.ParseInLocation("2006-01-02 15:04", at, berlin)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.At(when.UTC()).String(); got != want {
			t.Errorf("%s: got %s want %s", at, got, want)
		}
	}
	monday := time.Date(2026, 3, 2, 7, 30, 20, 0, berlin)
	if got, want := s.Next(monday), time.Date(2026, 3, 2, 8, 0, 0, 0, berlin); !got.Equal(want) {
		t.Errorf("next: got %v want %v", got, want)
	}
	for _, text := range []string{"", "none", "1Mbps", "1Mbps mo,tu,we 9:00:00-18:00:00", "none sat; 1Gbps sun-tue", "1,023 Mbps mon", "2.5 MB/s mon"} {
		s, err := Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if again, err := Parse(s.String()); err != nil || again.String() != s.String() {
			t.Errorf("%q is written as %s, read again as %s, %v", text, s, again, err)
		}
	}
	if s, _ := Parse("1Mbps"); !s.Next(monday).IsZero() {
		t.Error("a limit for ever ends")
	}
	for _, text := range []string{"mon 1Mbps", "1Mbps 08:00", "1Mbps 8-18", "1Mbps 25:00-26:00", "1Mbps mon tue", "1Mbps; in Nowhere/Land", "in", "1Mbps 08:00-08:00", "1Mbps 24:00-08:00"} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%q: got %s", text, s)
		}
	}
}

// TestNextIsWhenItChanges follows schedules minute by minute through the nights in which clocks are changed, by an hour and by half of one, and at midnight.
func TestNextIsWhenItChanges(t *testing.T) {
	for text, nights := range map[string][2]string{
		"20Mbps sun 02:30-03:30; 5Mbps sat 22:00-02:30; in Europe/Berlin":    {"2026-03-28", "2026-10-24"},
		"20Mbps sat,sun 23:30-01:30; 5Mbps 01:15-01:45; in America/New_York": {"2026-03-07", "2026-10-31"},
		"1Mbps 01:45-02:15; 2Mbps mon-fri; in Australia/Lord_Howe":           {"2026-04-04", "2026-10-03"},
		"1Mbps 23:00-00:30; 2Mbps sun; in Asia/Beirut":                       {"2026-03-28", "2026-10-24"},
	} {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, night := range nights {
			at, err := time.Parse(time.DateOnly, night)
			if err != nil {
				t.Fatal(err)
			}
			rate, next, changes := s.At(at), s.Next(at), 0
			for end := at.Add(72 * time.Hour); at.Before(end); at = at.Add(time.Minute) {
				if now := s.At(at); now != rate {
					if rate, changes = now, changes+1; !next.Equal(at) {
						t.Errorf("%s: changes at %v, and Next said %v", text, at, next)
					}
				}
				if !at.Before(next) {
					next = s.Next(at)
				}
			}
			if changes < 3 {
				t.Errorf("%s from %s on: changes %d times", text, night, changes)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("20Mbps mon-fri 08:00-18:00; 200Mbps; in Europe/Berlin")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q: %s, then %s, %v", text, s, again, err)
		}
		now := time.Date(2026, 3, 2, 7, 30, 0, 0, time.UTC)
		if s.At(now) != again.At(now) {
			t.Fatalf("%q means another thing when it is read again", text)
		}
	})
}

func TestDivide(t *testing.T) {
	for name, c := range map[string]struct {
		rate float64
		all  []Demand
		want []float64
	}{
		"ByWeight":                  {100, []Demand{{1, 0, -1}, {3, 0, -1}}, []float64{25, 75}},
		"UnusedIsTheOthers":         {100, []Demand{{1, 0, -1}, {3, 0, 10}, {1, 0, -1}}, []float64{45, 10, 45}},
		"NobodyWantsAll":            {100, []Demand{{1, 0, 10}, {3, 0, 20}}, []float64{10, 20}},
		"InSteps":                   {100, []Demand{{1, 0, 40}, {1, 0, 30}, {1, 0, -1}, {1, 0, 1}}, []float64{34.5, 30, 34.5, 1}},
		"None":                      {100, nil, []float64{}},
		"NothingToDivide":           {0, []Demand{{1, 0, -1}, {1, 5, 3}}, []float64{0, 0}},
		"NobodyHasLessThanHisLeast": {100, []Demand{{1, 10, -1}, {100, 10, -1}, {50, 10, -1}}, []float64{10, 60, 30}},
		"LeastThatIsNotWanted":      {100, []Demand{{1, 10, 2}, {99, 10, -1}}, []float64{2, 98}},
		"LeastAndWantTogether":      {100, []Demand{{1, 20, -1}, {10, 0, 30}, {1, 0, -1}}, []float64{35, 30, 35}},
		"LeastFromWhatIsNotWanted":  {100, []Demand{{1, 20, -1}, {4, 0, 85}, {1, 0, -1}}, []float64{20, 64, 16}},
		"LeastIsMoreThanThereIs":    {100, []Demand{{1, 80, -1}, {100, 80, -1}, {1, 40, -1}}, []float64{40, 40, 20}},
	} {
		got := Divide(c.rate, c.all)
		for i := range c.want {
			if math.Abs(got[i]-c.want[i]) > 1e-9 {
				t.Errorf("%s: got %v want %v", name, got, c.want)
				break
			}
		}
	}
}

// sender asks for as much as it gets, and notes when.
type sender struct {
	mu   sync.Mutex
	at   []time.Duration
	sent []int
}

func (s *sender) run(ctx context.Context, v *Valve, group string, lanes int, begin time.Time) {
	for range lanes {
		go func() {
			for ctx.Err() == nil {
				n := v.Allow(ctx, group, 256<<10)
				if ctx.Err() != nil {
					return
				}
				s.mu.Lock()
				s.at, s.sent = append(s.at, time.Since(begin)), append(s.sent, n)
				s.mu.Unlock()
				if v.Limit(group) == 0 {
					time.Sleep(time.Millisecond) // even a link without limit takes time
				}
			}
		}()
	}
}

// between returns what went in a while.
func (s *sender) between(from, to time.Duration) (n float64) {
	for i, at := range s.at {
		if at >= from && at < to {
			n += float64(s.sent[i])
		}
	}
	return n
}

// TestValveIsSmooth looks at every tenth of a second, at the rates of the product that is replaced and others.
func TestValveIsSmooth(t *testing.T) {
	for _, text := range []string{"512Kbps", "20Mbps", "1,023Mbps"} {
		for _, lanes := range []int{1, 8} {
			synctest.Test(t, func(t *testing.T) {
				rate, _ := ParseRate(text)
				v := NewValve()
				v.Set(Limits{Rate: rate, Groups: map[string]Share{"g": {Weight: 1}}})
				ctx, cancel := context.WithCancel(t.Context())
				begin, s := time.Now(), &sender{}
				s.run(ctx, v, "g", lanes, begin)
				time.Sleep(5 * time.Second)
				cancel()
				synctest.Wait()
				for at := time.Second; at < 5*time.Second; at += 100 * time.Millisecond {
					if got, want := s.between(at, at+100*time.Millisecond), float64(rate)/10; got > 1.35*want || got < .65*want {
						t.Errorf("%s, %d lanes: %.0f bytes in the tenth at %s, want about %.0f", text, lanes, got, at, want)
					}
				}
				if got, want := s.between(time.Second, 5*time.Second), 4*float64(rate); math.Abs(got/want-1) > .01 {
					t.Errorf("%s, %d lanes: %.0f bytes in four seconds, want %.0f", text, lanes, got, want)
				}
			})
		}
	}
}

func TestValveDividesByWeightAndWastesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 1 << 20
		v := NewValve()
		set := func(pass bool) {
			v.Set(Limits{Rate: rate, Groups: map[string]Share{"low": {Weight: 1}, "high": {Weight: 3}, "final": {Weight: 1, Pass: pass}}})
		}
		set(true)
		begin := time.Now()
		low, high, final := &sender{}, &sender{}, &sender{}
		ctx, cancel := context.WithCancel(t.Context())
		low.run(ctx, v, "low", 3, begin)
		time.Sleep(2 * time.Second)
		short, stop := context.WithCancel(ctx)
		high.run(short, v, "high", 1, begin)
		time.Sleep(4 * time.Second)
		final.run(short, v, "final", 1, begin)
		time.Sleep(2 * time.Second)
		stop()
		time.Sleep(2 * time.Second)
		cancel()
		synctest.Wait()
		about := func(what string, got, want float64) {
			if math.Abs(got/want-1) > .06 {
				t.Errorf("%s: %.0f bytes a second, want %.0f", what, got, want)
			}
		}
		about("alone", low.between(time.Second, 2*time.Second), rate)
		about("low beside high", low.between(3*time.Second, 6*time.Second)/3, rate/4)
		about("high beside low", high.between(3*time.Second, 6*time.Second)/3, rate*3/4)
		about("low beside one that is let through", low.between(6500*time.Millisecond, 8*time.Second)/1.5, rate/4)
		if got := final.between(6*time.Second, 8*time.Second); got < 100*rate {
			t.Errorf("one that is let through sent %.0f bytes in two seconds", got)
		}
		about("alone again", low.between(9*time.Second, 10*time.Second), rate)
	})
}

func TestValveChangesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := NewValve()
		v.Set(Limits{Rate: MinRate})
		begin, s := time.Now(), &sender{}
		ctx, cancel := context.WithCancel(t.Context())
		s.run(ctx, v, "g", 2, begin)
		time.Sleep(2 * time.Second)
		v.Set(Limits{Rate: 1 << 20})
		time.Sleep(2 * time.Second)
		v.Set(Limits{})
		time.Sleep(time.Second)
		v.Set(Limits{Rate: MinRate})
		time.Sleep(2 * time.Second)
		cancel()
		synctest.Wait()
		if got := s.between(2100*time.Millisecond, 4*time.Second) / 1.9; math.Abs(got/(1<<20)-1) > .05 {
			t.Errorf("a higher limit: %.0f bytes a second", got)
		}
		if got := s.between(4100*time.Millisecond, 5*time.Second); got < 100<<20 {
			t.Errorf("no limit: %.0f bytes", got)
		}
		if got := s.between(5100*time.Millisecond, 7*time.Second) / 1.9; math.Abs(got/float64(MinRate)-1) > .15 {
			t.Errorf("a lower limit: %.0f bytes a second", got)
		}
	})
}
