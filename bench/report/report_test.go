package report

import (
	"slices"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		name string
		of   []float64
		want float64
	}{
		{"none", nil, 0},
		{"one", []float64{3}, 3},
		{"odd, out of order", []float64{9, 1, 5}, 5},
		{"even", []float64{4, 1, 2, 100}, 3},
	} {
		given := slices.Clone(c.of)
		if got := Median(c.of); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		if !slices.Equal(c.of, given) {
			t.Errorf("%s: the samples were put in order: pairs would be lost", c.name)
		}
	}
}

func TestRatiosArePairs(t *testing.T) {
	got := Ratios([]float64{2, 10, 7}, []float64{1, 20, 0, 5})
	if want := []float64{2, 0.5}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFinishMedianOfPairsIsNotRatioOfMedians(t *testing.T) {
	s := Scenario{Ways: []*Way{
		{Name: "ours", Samples: []Sample{{Seconds: 1}, {Seconds: 2}, {Seconds: 30}}},
		{Name: "it", Samples: []Sample{{Seconds: 1}, {Seconds: 1}, {Seconds: 10}}},
	}}
	s.Finish()
	if got, want := s.Ways[1].Ratio, (Spread{2, 1, 3}); got != want {
		t.Errorf("ratio: got %v, want %v", got, want)
	}
	if got, want := s.Ways[0].Seconds, (Spread{2, 1, 30}); got != want {
		t.Errorf("seconds: got %v, want %v", got, want)
	}
	if s.Ways[0].Ratio != (Spread{}) {
		t.Error("ours has a ratio to itself")
	}
}

func TestBound(t *testing.T) {
	write := Stage{Name: "write", Seconds: 4, CPU: 1, Needed: true}
	hash := Stage{Name: "hash", Seconds: 1, CPU: 2, Needed: true}
	for _, c := range []struct {
		name  string
		all   []Stage
		cores int
		want  float64
		binds string
	}{
		{"the slowest", []Stage{hash, write}, 2, 4, "write"},
		{"what is not needed does not bind", []Stage{hash, write, {Name: "compress", Seconds: 9, CPU: 18}}, 2, 4, "write"},
		{"the sum of what the cores do", []Stage{hash, write, {Name: "more", Seconds: 3, CPU: 6, Needed: true}}, 2, 4.5, "the cores"},
	} {
		if got, binds := Bound(c.all, c.cores); got != c.want || binds != c.binds {
			t.Errorf("%s: got %v by %s, want %v by %s", c.name, got, binds, c.want, c.binds)
		}
	}
}

func TestTable(t *testing.T) {
	got := Table([][]string{{"way", "s"}, {"ours – x", "12.5"}, {"y"}}, " ")
	want := " way          s\n ours – x  12.5\n y\n"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestWriteTextShowsWhatIsMissingAndFailed(t *testing.T) {
	s := Scenario{Name: "copy", About: "a copy", Ways: []*Way{
		{Name: "ours", Samples: []Sample{{Seconds: 2, PeakRSS: map[string]int64{"b": 2 << 20, "a": 1 << 20}}}},
		{Name: "gone", Missing: "apt-get install gone"},
		{Name: "broken", Failed: "its copy differs at 4096"},
	}, Checks: []Check{{Name: "share", Text: "0.2 %", Aim: "under 0.1 %"}}}
	s.Finish()
	var b strings.Builder
	s.WriteText(&b)
	for _, want := range []string{"MISSING: apt-get install gone", "FAILED: its copy differs at 4096", "a 1.0 MiB, b 2.0 MiB", "0.2 % (aim: under 0.1 %): NOT MET"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}

func TestMountOfRoot(t *testing.T) {
	if fs, device := mountOf("/"); fs == "" || device == "" {
		t.Errorf("got %q on %q", fs, device)
	}
}
