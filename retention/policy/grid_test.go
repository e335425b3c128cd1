package policy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGridsOfTheProductThisOneReplaces(t *testing.T) {
	for text, want := range map[string]Grid{
		"failback": {{2 * hour, 0}, {22 * hour, hour}},
		"24h":      {{2 * hour, 0}, {22 * hour, hour}},
		"1d":       {{2 * hour, 0}, {22 * hour, hour}},
		"0d":       {{2 * hour, 0}},
		"2h":       {{2 * hour, 0}},
		"30m":      {{30 * time.Minute, 0}},
		"3h30m":    {{2 * hour, 0}, {2 * hour, hour}},
		"2d":       {{2 * hour, 0}, {46 * hour, 2 * hour}},
		"7d":       {{2 * hour, 0}, {166 * hour, 2 * hour}},
		"8d":       {{2 * hour, 0}, {166 * hour, 2 * hour}, {24 * hour, 4 * hour}},
		"15d":      {{2 * hour, 0}, {166 * hour, 2 * hour}, {192 * hour, 4 * hour}},
	} {
		got, err := Parse(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v want %v", text, got, err, want)
		}
		if err := got.Validate(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if got, want := Failback().String(), "24h"; got != want {
		t.Errorf("got %q want %q", got, want)
	}
}

func TestGridReadsWhatItPrints(t *testing.T) {
	for text, want := range map[string]string{
		"all for 2h, every 1h for 22h":                   "24h",
		" all for 4h,then every 30m for 20h ":            "all for 4h, every 30m for 20h",
		"every 15m for 1d, every 1h for 6d":              "every 15m for 24h, every 1h for 144h",
		"all for 1h":                                     "1h",
		"all for 1d, every 1d for 30d, every 7d for 28d": "all for 24h, every 24h for 720h, every 168h for 672h",
	} {
		g, err := Parse(text)
		if err != nil || g.String() != want {
			t.Errorf("%q: got %q, %v want %q", text, g, err, want)
			continue
		}
		for _, s := range []string{g.String(), g.Steps()} {
			if again, err := Parse(s); err != nil || !slices.Equal(again, g) {
				t.Errorf("%q is read as %v, %v want %v", s, again, err, g)
			}
		}
	}
	for reach := time.Duration(0); reach < 20*day; reach += 7 * time.Minute {
		g := Reaching(reach)
		if again, err := Parse(g.String()); err != nil || !slices.Equal(again, g) || g.Validate() != nil || reach > 0 && g.Reach() < reach {
			t.Fatalf("%s: %v is read as %v, %v (%v)", reach, g.Steps(), again, err, g.Validate())
		}
	}
}

func TestGridRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "is not a duration",
		"gold":                                   "write failback, how far back",
		"24":                                     `"24" has no unit`,
		"60000d":                                 "farther back than",
		"every 1h":                               "is not a duration",
		"some for 2h":                            `"some for 2h" is not a step`,
		"all for 2h every 1h for 22h":            "is not a step",
		"all for 2h, ":                           `"" is not a step`,
		"all for two":                            `for: "two" is not a duration`,
		"every often for 2h":                     "or write all",
		"every 1h for 5h, all for 2h":            "step 2 keeps all points",
		"all for 2h, all for 2h":                 "step 2 keeps all points",
		"every 2h for 4h, every 1h for 1h":       "step 2 keeps one point every 1h after one every 2h: from step to step it becomes a multiple, such as 4h",
		"every 1h for 4h, every 90m for 9h":      "becomes a multiple, such as 2h",
		"every 1h for 4h, every 1h for 9h":       "becomes a multiple",
		"every 1h for 30m":                       "only 30m long",
		"all for 1500ms":                         "whole seconds",
		"all for 0s":                             "whole seconds",
		"every 1h for 3000d, every 2h for 3000d": "step 2: the grid reaches farther back",
		strings.Repeat("all for 1h, ", 9):        "is not a step",
		strings.Repeat("all for 1h, ", 8) + "all for 1h": "1 to 8 steps, not 9",
	} {
		if g, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v want %q", text, g, err, want)
		}
	}
	if err := (Grid{}).Validate(); err == nil {
		t.Error("a grid without steps is valid")
	}
	if err := (Grid{{hour, -hour}}).Validate(); err == nil {
		t.Error("a grid with a negative interval is valid")
	}
}

func TestStretchedGridHasAPointInEachSlot(t *testing.T) {
	for _, c := range []struct {
		grid     string
		interval time.Duration
		want     string
	}{
		{"24h", 5 * time.Minute, "24h"},
		{"24h", hour, "24h"},
		{"24h", 90 * time.Minute, "all for 2h, every 2h for 22h"},
		{"24h", 24 * hour, "all for 2h, every 24h for 24h"},
		{"15d", 3 * hour, "all for 2h, every 4h for 358h"},
		{"every 15m for 6h, every 1h for 18h", 20 * time.Minute, "every 30m for 6h, every 1h for 18h"},
		{"every 15m for 6h, every 1h for 18h", 40 * time.Minute, "every 45m for 6h, every 1h30m for 18h"},
		{"all for 2h", 3 * hour, "2h"},
	} {
		g, err := Parse(c.grid)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Stretch(c.interval); got.String() != c.want || got.Validate() != nil {
			t.Errorf("%s at %s: got %s (%v) want %s", c.grid, c.interval, got, got.Validate(), c.want)
		}
	}
}
