package main

import (
	"io"
	"testing"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		given string
		want  uint64 // 0: refused
	}{
		{"512M", 512 << 20}, {"512MiB", 512 << 20}, {"4G", 4 << 30}, {"4GB", 4 << 30}, {"4GiB", 4 << 30},
		{"4", 0}, {"", 0}, {"GiB", 0}, {"-4GiB", 0}, {"4TiB", 0}, {"1MiB", 0}, {"99999999999GiB", 0},
	} {
		got, err := parseSize(c.given)
		if got != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("%q: got %d, %v, want %d", c.given, got, err, c.want)
		}
	}
}

func TestParseQuickYieldsToWhatIsSaid(t *testing.T) {
	c, err := parse([]string{"--quick", "--repeats", "5", "equal"}, io.Discard)
	if err != nil || c.size != quickSize || c.repeats != 5 {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestParseRefusesUnknownScenario(t *testing.T) {
	if _, err := parse([]string{"nothing"}, io.Discard); err == nil {
		t.Error("no error")
	}
}
