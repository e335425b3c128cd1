package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// WriteBench writes every sample as a line of Go's benchmark format, which benchstat reads: https://go.dev/design/14313-benchmark-format.
func (r *Report) WriteBench(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "goos: linux\ncpu: %s\n", r.Machine.CPU); err != nil {
		return err
	}
	for _, s := range r.Scenarios {
		for _, way := range s.Ways {
			for _, one := range way.Samples {
				if _, err := fmt.Fprintln(w, s.benchLine(way, one)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s *Scenario) benchLine(way *Way, one Sample) string {
	name := word(s.Name)
	line := "Benchmark" + strings.ToUpper(name[:1]) + name[1:] + "/" + word(way.Name) + " 1"
	add := func(v float64, unit string) {
		if v != 0 {
			line += fmt.Sprintf(" %g %s", v, unit)
		}
	}
	if s.Unit != "" {
		add(one.Rate, word(s.Unit))
	}
	add(one.Seconds*1e9, "ns/op") // which benchstat knows, and scales
	add(one.CPU, "cpu-s/op")
	add(float64(one.Wire), "wire-B/op")
	for _, name := range slices.Sorted(maps.Keys(one.Figures)) {
		add(one.Figures[name], word(name))
	}
	for _, program := range slices.Sorted(maps.Keys(one.PeakRSS)) {
		add(float64(one.PeakRSS[program]), program+"-peak-B")
	}
	return line
}

// word makes one word of a name.
func word(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("/.%-×", c):
			return c
		case c == ' ' || c == ',':
			return '_'
		}
		return -1
	}, name)
}
