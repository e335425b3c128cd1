package main

import (
	"fmt"
	"regexp"
	"strconv"
)

var rateForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([kMGT]?)(i?)(B|bit)/s$`)

// parseRate reads bytes a second: 20MB/s, 1.5 GiB/s, 160Mbit/s.
func parseRate(s string) (float64, error) {
	m := rateForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is no rate: 20MB/s, 5MiB/s or 160Mbit/s, for example", s)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, fmt.Errorf("%q: %w", s, err)
	}
	step := 1000.0
	if m[3] == "i" {
		step = 1024
	}
	for range map[string]int{"": 0, "k": 1, "M": 2, "G": 3, "T": 4}[m[2]] {
		n *= step
	}
	if m[4] == "bit" {
		n /= 8
	}
	return n, nil
}
