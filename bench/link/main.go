package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"failback/bench/report"
	"failback/bench/vpn"
)

type config struct {
	rates     []int // Mbit/s
	rtts      []time.Duration
	seconds   float64
	repeats   int
	cuts      int
	seed      uint64
	lanes     int
	psFlags   []string
	mtFlags   []string
	codecs    []string
	dir       string
	json      string
	binaries  string
	scenarios []string
}

type scenario struct {
	name, about string
	rates       []int
	rtts        []time.Duration
	run         func(l *lab, ctx context.Context, rate int, rtt time.Duration) (*cell, error)
}

const ms = time.Millisecond

var scenarios = []scenario{
	{"frames", "by the CPU alone: frames without compression, and the whole job, beside bare TLS on loopback", nil, nil, (*lab).frames},
	{"fill", "incompressible data into a new disk, beside one and four bare TCP connections", []int{100, 1000}, []time.Duration{1 * ms, 40 * ms, 120 * ms}, (*lab).fill},
	{"stall", "the same, with one connection of eight held for 2 s of every 10 s for ours only", []int{100}, []time.Duration{1 * ms, 40 * ms, 120 * ms}, (*lab).stall},
	{"compress", "an ext4 image of real files, by each codec and by what is chosen, beside zstd --adapt", []int{20, 100, 1000}, []time.Duration{10 * ms}, (*lab).compress},
	{"cycle", "bytes on the wire of a point with 1 % changed, beside zstd -1 of exactly those blocks", []int{1000}, []time.Duration{1 * ms}, (*lab).cycle},
	{"cuts", "all connections are forgotten again and again: bytes sent again for each time", []int{100}, []time.Duration{40 * ms}, (*lab).cut},
}

const usage = `usage: go run ./bench/link [flags] [scenario…]

Each scenario runs at some rates and round-trip times (its own, or those that the flags give), and tells rates as users have them: bytes of the disk a second.

`

func main() {
	if len(os.Args) > 1 && os.Args[1] == peerCommand {
		if err := peerMain(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "link: peer:", err)
			os.Exit(1)
		}
		return
	}
	c, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "link:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, c, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "link:", err)
		os.Exit(1)
	}
}

func parse(args []string, out io.Writer) (config, error) {
	var c config
	var rtts []string
	f := pflag.NewFlagSet("link", pflag.ContinueOnError)
	f.SetOutput(out)
	f.SortFlags = false
	f.IntSliceVar(&c.rates, "rates", nil, "Mbit/s of the link (default: the scenario's)")
	f.StringSliceVar(&rtts, "rtts", nil, "round-trip times, such as 1ms,40ms (default: the scenario's)")
	f.Float64Var(&c.seconds, "seconds", 5, "how much is copied: what the link carries in this time; compress takes three times that of the disk's bytes, stall four times")
	f.IntVar(&c.repeats, "repeats", 1, "runs of each way")
	f.IntVar(&c.cuts, "cuts", 10, "how often the link is cut, in cuts")
	f.Uint64Var(&c.seed, "seed", 1, "of content and cuts")
	f.IntVar(&c.lanes, "lanes", 0, "pin the process server's lanes (default: its own choice; eight with stall)")
	f.StringSliceVar(&c.psFlags, "ps-flag", nil, "one more flag of the process server, such as --ps-flag=--workers=4")
	f.StringSliceVar(&c.mtFlags, "mt-flag", nil, "one more flag of the master target")
	f.StringSliceVar(&c.codecs, "codecs", []string{"auto", "none", "lz4", "s2", "zstd", "zstd-better"}, "values of --compression in compress; the first is held against the others")
	f.StringVar(&c.dir, "dir", "/dev/shm/failback-link", "work directory: on a tmpfs, storage is left out")
	f.StringVar(&c.json, "json", "", "write the cells as JSON to this file")
	f.StringVar(&c.binaries, "binaries", "", "directory with master-target, process-server and failback, instead of building them")
	f.Usage = func() {
		fmt.Fprint(out, usage)
		for _, s := range scenarios {
			if s.rates == nil {
				fmt.Fprintf(out, "  %-9s %s\n", s.name, s.about)
				continue
			}
			fmt.Fprintf(out, "  %-9s %s (%v Mbit/s × %v)\n", s.name, s.about, s.rates, s.rtts)
		}
		fmt.Fprintf(out, "\nflags:\n%s", f.FlagUsages())
	}
	if err := f.Parse(args); err != nil {
		return c, err
	}
	for _, s := range rtts {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 || d > 10*time.Second {
			return c, fmt.Errorf("--rtts: %q is no time up to 10s", s)
		}
		c.rtts = append(c.rtts, d)
	}
	for _, r := range c.rates {
		if r < 1 || r > 10_000 {
			return c, fmt.Errorf("--rates: %d Mbit/s is not 1 to 10000", r)
		}
	}
	if c.seconds <= 0 || c.repeats < 1 || c.cuts < 1 || c.lanes < 0 || len(c.codecs) == 0 {
		return c, errors.New("--seconds, --repeats and --cuts must be more than nothing")
	}
	c.scenarios = f.Args()
	for _, name := range c.scenarios {
		if !slices.ContainsFunc(scenarios, func(s scenario) bool { return s.name == name }) {
			return c, fmt.Errorf("there is no scenario %q: see go run ./bench/link -h", name)
		}
	}
	return c, nil
}

func run(ctx context.Context, c config, out, progress io.Writer) error {
	if err := vpn.Usable(); err != nil {
		return fmt.Errorf("no link can be made here: %w", err)
	}
	l, err := open(c, progress)
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(l.dir, "run"))
	m := report.MachineAt(l.dir)
	fmt.Fprintf(out, "%s · %d cores · %s · %s on %s · load %s\n", m.CPU, m.Cores, m.Kernel, m.FileSystem, m.Device, m.Load)
	var cells []*cell
	failed := false
	for _, s := range scenarios {
		if len(c.scenarios) > 0 && !slices.Contains(c.scenarios, s.name) {
			continue
		}
		rates, rtts := s.rates, s.rtts
		if len(c.rates) > 0 {
			rates = c.rates
		}
		if len(c.rtts) > 0 {
			rtts = c.rtts
		}
		if s.rates == nil { // no link
			rates, rtts = []int{0}, []time.Duration{0}
		}
		for _, rate := range rates {
			for _, rtt := range rtts {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				done, err := s.run(l, ctx, rate, rtt)
				if err != nil {
					failed = true
					fmt.Fprintf(out, "\n%s at %d Mbit/s, %v: FAILED: %v\n", s.name, rate, rtt, err)
					continue
				}
				done.Scenario, done.Mbit, done.RTT = s.name, rate, rtt.String()
				done.write(out)
				cells = append(cells, done)
			}
		}
	}
	if c.json != "" {
		b, err := json.MarshalIndent(cells, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.json, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if failed {
		return errors.New("not all cells have a result")
	}
	return nil
}

// cell is a scenario at one rate and one round-trip time.
type cell struct {
	Scenario string         `json:"scenario"`
	Mbit     int            `json:"mbit_a_second"` // 0: no link
	RTT      string         `json:"rtt"`
	Bytes    int64          `json:"bytes"` // of the disk, that rates are of
	Ways     []*way         `json:"ways"`
	Checks   []report.Check `json:"checks"`
	Notes    []string       `json:"notes,omitempty"`
}

// way is one way of doing the job, with all its runs.
type way struct {
	Name string   `json:"name"`
	Runs []sample `json:"runs"`
}

// sample is one run.
type sample struct {
	Seconds float64 `json:"seconds"`     // until what was copied is durable
	Middle  float64 `json:"middle_rate"` // bytes of the disk a second in the middle of the job: its setup, its ramp and its end left out
	Wire    int64   `json:"wire_bytes"`  // of TCP payload both ways, TLS included; what TCP sent again is not
	Again   int64   `json:"again_bytes"` // that TCP sent again
	CPU     float64 `json:"cpu_seconds"` // of both ends' processes; 0: not known
}

func (w *way) median(of func(sample) float64) float64 {
	all := make([]float64, len(w.Runs))
	for i, s := range w.Runs {
		all[i] = of(s)
	}
	return report.Median(all)
}

func (w *way) seconds() float64 { return w.median(func(s sample) float64 { return s.Seconds }) }
func (w *way) middle() float64  { return w.median(func(s sample) float64 { return s.Middle }) }

func (c *cell) way(name string) *way {
	for _, w := range c.Ways {
		if w.Name == name {
			return w
		}
	}
	return nil
}

// check adds a figure that has an aim.
func (c *cell) check(name string, value, aim float64, atLeast bool) {
	said, met := "at most ", value <= aim
	if atLeast {
		said, met = "at least ", value >= aim
	}
	c.Checks = append(c.Checks, report.Check{Name: name, Value: value, Text: fmt.Sprintf("%.3f", value), Aim: said + strconv.FormatFloat(aim, 'f', -1, 64), Met: met})
}

func (c *cell) write(out io.Writer) {
	where := fmt.Sprintf("at %d Mbit/s, RTT %s", c.Mbit, c.RTT)
	if c.Mbit == 0 {
		where = "on loopback"
	}
	fmt.Fprintf(out, "\n%s %s: %s of data\n", c.Scenario, where, report.Size(c.Bytes))
	rows := [][]string{{"way", "runs", "wall s", "Mbit/s", "in the middle", "wire", "TCP again", "cpu s"}}
	for _, w := range c.Ways {
		mbit := func(f float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", f*8/1e6), ".0") }
		rows = append(rows, []string{
			w.Name, fmt.Sprint(len(w.Runs)), fmt.Sprintf("%.2f", w.seconds()), mbit(float64(c.Bytes) / w.seconds()), mbit(w.middle()),
			report.Size(int64(w.median(func(s sample) float64 { return float64(s.Wire) }))),
			report.Size(int64(w.median(func(s sample) float64 { return float64(s.Again) }))),
			fmt.Sprintf("%.2f", w.median(func(s sample) float64 { return s.CPU })),
		})
	}
	fmt.Fprint(out, report.Table(rows, "  "))
	for _, k := range c.Checks {
		met := "met"
		if !k.Met {
			met = "NOT MET"
		}
		fmt.Fprintf(out, "  %s: %s (aim: %s): %s\n", k.Name, k.Text, k.Aim, met)
	}
	for _, n := range c.Notes {
		fmt.Fprintf(out, "  note: %s\n", n)
	}
}
