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
	}, Stages: []Stage{{Name: "write", Seconds: 1, NeededBy: []string{"ours"}}}}
	s.Finish()
	if got, want := s.Ways[1].Ratio, (Spread{0.5, 1. / 3, 1}); got != want {
		t.Errorf("ratio: got %v, want %v", got, want)
	}
	if got, want := s.Ways[0].Seconds, (Spread{2, 1, 30}); got != want {
		t.Errorf("seconds: got %v, want %v", got, want)
	}
	if s.Ways[0].Ratio != (Spread{}) {
		t.Error("ours has a ratio to itself")
	}
	if got, want := s.Ways[0].Share, (Spread{0.5, 1. / 30, 1}); got != want {
		t.Errorf("share of the bound: got %v, want %v", got, want)
	}
}

func TestBound(t *testing.T) {
	by := []string{"ours"}
	write := Stage{Name: "write", Seconds: 4, CPU: 1, NeededBy: by}
	hash := Stage{Name: "hash", Seconds: 1, CPU: 2, NeededBy: by}
	for _, c := range []struct {
		name  string
		all   []Stage
		cores int
		want  float64
		binds string
	}{
		{"the slowest", []Stage{hash, write}, 2, 4, "write"},
		{"what is not needed does not bind", []Stage{hash, write, {Name: "compress", Seconds: 9, CPU: 18}}, 2, 4, "write"},
		{"the sum of what the cores do", []Stage{hash, write, {Name: "more", Seconds: 3, CPU: 6, NeededBy: by}}, 2, 4.5, "the cores"},
	} {
		if got := BoundOf(c.all, "ours", c.cores); *got != (Bound{c.want, c.binds}) {
			t.Errorf("%s: got %v, want %v by %s", c.name, *got, c.want, c.binds)
		}
	}
	if got := BoundOf([]Stage{write}, "another", 2); got != nil {
		t.Errorf("a way that needs no stage is bound by %v", *got)
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

func TestRatesAreComparedWhereThereIsAUnit(t *testing.T) {
	s := Scenario{Unit: "MB/s", Ways: []*Way{{Name: "ours", Samples: []Sample{{Rate: 30}}}, {Name: "it", Samples: []Sample{{Rate: 20, Seconds: 1}}}}}
	s.Finish()
	if got := s.Ways[1].Ratio.Median; got != 1.5 {
		t.Errorf("got %v, want 1.5", got)
	}
}

// TestEveryFormShowsWhatFailed: text, page, Markdown and JSON are of one report.
func TestEveryFormShowsWhatFailed(t *testing.T) {
	r := Report{Machine: Machine{CPU: "a <cpu>"}, Programs: []Program{{Name: "gone", Package: "gone-pkg"}}, Scenarios: []*Scenario{
		{Name: "copy", Failed: "it broke", Ways: []*Way{{Name: "ours | one", Samples: []Sample{{Seconds: 2}, {Seconds: 3}}}},
			Plots: []Plot{{Title: "lag", Lines: []Line{{Points: [][2]float64{{0, 1}, {10, 2}}}}}}}}}
	r.Scenarios[0].Finish()
	for name, write := range map[string]func(*strings.Builder) error{
		"text":     func(b *strings.Builder) error { r.WriteText(b); return nil },
		"html":     func(b *strings.Builder) error { return r.WriteHTML(b) },
		"markdown": func(b *strings.Builder) error { return r.WriteMarkdown(b) },
	} {
		var b strings.Builder
		if err := write(&b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, want := range []string{"it broke", "apt-get install gone-pkg", "2.50"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s has no %q:\n%s", name, want, b.String())
			}
		}
		if name == "html" && strings.Contains(b.String(), "<cpu>") {
			t.Error("html: what programs say is not escaped")
		}
	}
}

func TestBenchLineIsOfGosFormat(t *testing.T) {
	s := Scenario{Name: "cycle 0.1 %"}
	got := s.benchLine(&Way{Name: "failback, told by a command"}, Sample{Seconds: 0.5, CPU: 2, Figures: map[string]float64{"lag p99 s": 3}})
	if want := "BenchmarkCycle_0.1_%/failback__told_by_a_command 1 5e+08 ns/op 2 cpu-s/op 3 lag_p99_s"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTicksAreRoundAndFew(t *testing.T) {
	for _, most := range []float64{0.03, 1, 1.9, 4.2, 9.9, 37, 600} {
		all := ticks(most)
		if len(all) < 3 || len(all) > 12 || all[0] != 0 || all[len(all)-1] > most {
			t.Errorf("up to %v: %v", most, all)
		}
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, c := range []struct {
		all         []float64
		share, want float64
	}{{nil, 0.5, 0}, {hundred, 0.99, 99}, {hundred, 1, 100}, {hundred, 0, 1}, {[]float64{3}, 0.99, 3}} {
		if got := Quantile(c.all, c.share); got != c.want {
			t.Errorf("%v of %d: got %v, want %v", c.share, len(c.all), got, c.want)
		}
	}
}

func TestThinnedKeepsPeaks(t *testing.T) {
	l := Line{Points: [][2]float64{{0, 1}, {1, 9}, {2, 2}, {3, 3}, {4, 8}}}
	if got, want := l.Thinned(3).Points, [][2]float64{{1, 9}, {3, 3}, {4, 8}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := l.Thinned(5).Points; len(got) != 5 {
		t.Errorf("got %v", got)
	}
}

func TestMountOfRoot(t *testing.T) {
	if fs, device := mountOf("/"); fs == "" || device == "" {
		t.Errorf("got %q on %q", fs, device)
	}
}
