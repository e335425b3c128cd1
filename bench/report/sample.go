package report

import (
	"math"
	"slices"
)

// Sample is one run of one way of doing a job.
type Sample struct {
	Seconds    float64            `json:"seconds"`                  // wall time until what was made is durable
	Rate       float64            `json:"rate,omitempty"`           // in the scenario's unit, where it has one
	CPU        float64            `json:"cpu_seconds"`              // of the processes that did it, on all cores; 0: not known
	MachineCPU float64            `json:"machine_cpu_seconds"`      // of the whole machine meanwhile: the kernel's own threads and strangers are in it
	Wire       int64              `json:"wire_bytes,omitempty"`     // both ways, TLS included; 0: not counted
	PeakRSS    map[string]int64   `json:"peak_rss_bytes,omitempty"` // of each program
	Figures    map[string]float64 `json:"figures,omitempty"`        // what else a scenario tells, by name with its unit
}

// Median returns the middle of all, or the mean of the two in the middle; 0 of none.
func Median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Spread is a median with the least and the greatest.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpreadOf returns the spread of all; zero of none.
func SpreadOf(all []float64) Spread {
	if len(all) == 0 {
		return Spread{}
	}
	return Spread{Median(all), slices.Min(all), slices.Max(all)}
}

// Ratios returns a[i]/b[i] of the runs that both have. Runs of one index were made one after the other, so that what else the machine did in that minute weighs
// on both.
func Ratios(a, b []float64) []float64 {
	var all []float64
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			all = append(all, a[i]/b[i])
		}
	}
	return all
}

// Quantile returns the value that so great a share of all does not exceed; 0 of none.
func Quantile(all []float64, share float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	return s[min(max(int(math.Ceil(share*float64(len(s))))-1, 0), len(s)-1)]
}
