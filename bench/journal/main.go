package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
)

// lab is one run of the program.
type lab struct {
	context.Context
	dir     string
	repeats int
	quick   bool
	noise   []byte // what does not compress
	results []result
}

// result is a row of the report.
type result struct {
	Name    string  `json:"name"`
	Ours    float64 `json:"ours"` // units a second
	Peer    float64 `json:"peer"`
	Unit    string  `json:"unit"`
	Ratio   float64 `json:"ratio"` // ours to the peer's, median of the pairs
	Lowest  float64 `json:"lowest"`
	Highest float64 `json:"highest"`
	Note    string  `json:"note,omitempty"`
}

func main() {
	l := &lab{}
	flag.BoolVar(&l.quick, "quick", false, "little data, one pair: shows that it works, and little else")
	flag.StringVar(&l.dir, "dir", filepath.Join("/var/tmp", "failback-bench-journal"), "work directory: which storage is measured; it takes up to 11 GiB")
	flag.IntVar(&l.repeats, "repeats", 3, "pairs of each kind")
	jsonFile := flag.String("json", "", "write the results to this file too")
	profile := flag.String("profile", "", "write a CPU profile of the whole run to this file")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: journal [flags] [arrival|advance|rewind|proof|read …]\n\nMeasures the journal beside dd, fio and the disk itself; all scenarios when none is named. See doc.go for what each does.")
		flag.PrintDefaults()
	}
	flag.Parse()
	if l.quick {
		l.repeats = 1
	}
	var stop func()
	l.Context, stop = signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := l.run(flag.Args(), *jsonFile, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "journal:", err)
		os.Exit(1)
	}
}

func (l *lab) run(wanted []string, jsonFile, profile string) error {
	scenarios := []struct {
		name string
		run  func() error
	}{{"arrival", l.arrival}, {"advance", l.advance}, {"rewind", l.rewind}, {"proof", l.proof}, {"read", l.read}}
	for _, w := range wanted {
		if !slices.ContainsFunc(scenarios, func(s struct {
			name string
			run  func() error
		}) bool {
			return s.name == w
		}) {
			return fmt.Errorf("no scenario %q: there are arrival, advance, rewind, proof and read", w)
		}
	}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return err
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	l.noise = make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{1}).Read(l.noise)
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("journal and disks in %s, %d pairs of each kind; load at the start %s", l.dir, l.repeats, load)
	fmt.Printf("%-62s %10s %10s         %s\n", "", "ours", "peer", "ratio (lowest, highest)")
	for _, s := range scenarios {
		if len(wanted) > 0 && !slices.Contains(wanted, s.name) {
			continue
		}
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if jsonFile == "" {
		return nil
	}
	b, err := json.MarshalIndent(l.results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(jsonFile, append(b, '\n'), 0o666)
}

// pairs runs ours and the peer's in turn, each first every other time, and prints the medians. They return units a second; note, which may be nil, what else there is to say.
func (l *lab) pairs(name, unit string, scale float64, ours, peer func() (float64, error), note func() string) error {
	var a, b, ratios []float64
	for i := range l.repeats {
		rates := make([]float64, 2)
		for k := range 2 {
			which := (i + k) % 2
			if err := l.Err(); err != nil {
				return err
			}
			rate, err := []func() (float64, error){ours, peer}[which]()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			rates[which] = rate / scale
		}
		a, b, ratios = append(a, rates[0]), append(b, rates[1]), append(ratios, rates[0]/rates[1])
	}
	slices.Sort(ratios)
	r := result{Name: name, Ours: median(a), Peer: median(b), Unit: unit, Ratio: median(ratios), Lowest: ratios[0], Highest: ratios[len(ratios)-1]}
	fmt.Printf("%-62s %10.1f %10.1f %-7s %.2f (%.2f, %.2f)\n", name, r.Ours, r.Peer, unit, r.Ratio, r.Lowest, r.Highest)
	if note != nil {
		r.Note = note()
		fmt.Printf("    %s\n", r.Note)
	}
	l.results = append(l.results, r)
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[n/2] + v[(n-1)/2]) / 2
}
