package main

import "testing"

func TestRatesAreRead(t *testing.T) {
	for s, want := range map[string]float64{"20MB/s": 20e6, "1.5 GiB/s": 1.5 * (1 << 30), "160Mbit/s": 20e6, "512kbit/s": 64e3, "7B/s": 7, "0B/s": 0} {
		if got, err := parseRate(s); err != nil || got != want {
			t.Errorf("%q: got %g, %v want %g", s, got, err, want)
		}
	}
	for _, s := range []string{"", "20", "20MB", "MB/s", "-1MB/s", "1e9B/s", "20Mb/s", "20 XB/s", "NaNB/s"} {
		if got, err := parseRate(s); err == nil {
			t.Errorf("%q was read as %g", s, got)
		}
	}
}
