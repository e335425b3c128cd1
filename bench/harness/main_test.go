package harness

import (
	"context"
	"io"
	"slices"
	"testing"

	"failback/bench/report"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		given string
		want  int64 // 0: refused
	}{
		{"512M", 512 << 20}, {"512MiB", 512 << 20}, {"4G", 4 << 30}, {"4GB", 4 << 30}, {"4GiB", 4 << 30},
		{"4", 0}, {"", 0}, {"GiB", 0}, {"-4GiB", 0}, {"4TiB", 0}, {"1MiB", 0}, {"99999999999GiB", 0}, {"2000000000GiB", 0},
	} {
		got, err := ParseSize(c.given)
		if got != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("%q: got %d, %v, want %d", c.given, got, err, c.want)
		}
	}
}

func suites() []Suite {
	names := func(all ...string) (s []Scenario) {
		for _, n := range all {
			s = append(s, Scenario{Name: n})
		}
		return s
	}
	return []Suite{{Scenarios: names("fullcopy", "cycle")}, {Name: "link", Scenarios: names("fill", "cycle")}}
}

func TestParseQuickYieldsToWhatIsSaid(t *testing.T) {
	c, _, _, err := parse([]string{"--quick", "--repeats", "5", "cycle"}, io.Discard, suites())
	if err != nil || c.Size != quickSize || c.Repeats != 5 {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestParseRefusesWhatThereIsNot(t *testing.T) {
	for _, args := range [][]string{{"nothing"}, {"link/nothing"}, {"fill"}, {"--repeats=0"}, {"--size=3"}, {""}} {
		if _, _, _, err := parse(args, io.Discard, suites()); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

func TestChooseByNames(t *testing.T) {
	for _, c := range []struct{ names, want []string }{
		{nil, []string{"fullcopy", "cycle"}},
		{[]string{"cycle"}, []string{"cycle"}},
		{[]string{"link"}, []string{"link/fill", "link/cycle"}},
		{[]string{"link/cycle", "cycle"}, []string{"cycle", "link/cycle"}},
		{[]string{"all"}, []string{"fullcopy", "cycle", "link/fill", "link/cycle"}},
	} {
		all, err := choose(suites(), c.names)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range all {
			for _, one := range s.scenarios {
				got = append(got, s.Path(one.Name))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.names, got, c.want)
		}
	}
}

// TestAlternateBeginsEachRoundWithAnother: and what fails or is missing is told, not run again, and does not keep the others from running.
func TestAlternateBeginsEachRoundWithAnother(t *testing.T) {
	l := &Lab{Config: Config{Repeats: 3}, out: io.Discard}
	var order string
	way := func(name string, err error) Way {
		return Way{Name: name, Run: func(context.Context, int) (report.Sample, error) {
			order += name
			return report.Sample{Seconds: 1}, err
		}}
	}
	lacking := way("m", nil)
	lacking.Lacks = "root"
	var s report.Scenario
	if err := l.Alternate(t.Context(), &s, []Way{way("a", nil), way("b", io.EOF), lacking}, nil); err != nil {
		t.Fatal(err)
	}
	if order != "abaa" {
		t.Errorf("ran %q", order)
	}
	if s.Ways[1].Failed == "" || s.Ways[2].Missing != "root" || len(s.Ways[0].Samples) != 3 {
		t.Errorf("told %+v %+v %+v", s.Ways[0], s.Ways[1], s.Ways[2])
	}
}

func TestAlternateLeavesPeersOut(t *testing.T) {
	l := &Lab{Config: Config{Repeats: 1, Ours: true}, out: io.Discard}
	run := func(context.Context, int) (report.Sample, error) { return report.Sample{}, nil }
	var s report.Scenario
	if err := l.Alternate(t.Context(), &s, []Way{{Name: "ours", Run: run}, {Name: "it", Peer: true, Run: run}}, nil); err != nil || len(s.Ways) != 1 {
		t.Errorf("got %v, %d ways", err, len(s.Ways))
	}
}
