package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"failback/bench/harness"
	"failback/bench/report"
	"failback/bench/vpn"
)

// config is what this suite's flags say.
type config struct {
	rates   []int // Mbit/s
	rtts    []time.Duration
	seconds float64
	cuts    int
	lanes   int
	psFlags []string
	mtFlags []string
	codecs  []string
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

// Suite returns the scenarios over a link with a rate, a delay and bad days.
func Suite() harness.Suite {
	var c config
	s := harness.Suite{
		Name: "link", About: "over links with a rate and a delay, beside bare TCP and zstd --adapt; as root; each at its own rates and round-trip times, or those that the flags give",
		Dir: "/dev/shm/failback-link", Repeats: 1, Flags: c.flags, Check: c.check,
		Needs: func() error {
			if err := vpn.Usable(); err != nil {
				return fmt.Errorf("no link can be made here: %w", err)
			}
			return nil
		},
	}
	for _, one := range scenarios {
		about := one.about
		if one.rates != nil {
			about += fmt.Sprintf(" (%v Mbit/s × %v)", one.rates, one.rtts)
		}
		s.Scenarios = append(s.Scenarios, harness.Scenario{Name: one.name, About: about, Run: func(ctx context.Context, h *harness.Lab, tell func(*report.Scenario)) error {
			l := &lab{Lab: h, config: c}
			defer os.RemoveAll(filepath.Join(l.Dir, "run"))
			return l.cells(ctx, one, tell)
		}})
	}
	return s
}

func (c *config) flags(f *pflag.FlagSet) {
	f.IntSliceVar(&c.rates, "rates", nil, "link: Mbit/s (default: the scenario's)")
	f.DurationSliceVar(&c.rtts, "rtts", nil, "link: round-trip times, such as 1ms,40ms (default: the scenario's)")
	f.Float64Var(&c.seconds, "seconds", 5, "link: how much is copied: what the link carries in this time; compress takes three times that of the disk's bytes, stall four times")
	f.IntVar(&c.cuts, "cuts", 10, "link: how often the link is cut, in cuts")
	f.IntVar(&c.lanes, "lanes", 0, "link: pin the process server's lanes; 0: its own choice, eight with stall")
	f.StringSliceVar(&c.psFlags, "ps-flag", nil, "link: one more flag of the process server, such as --ps-flag=--workers=4")
	f.StringSliceVar(&c.mtFlags, "mt-flag", nil, "link: one more flag of the master target")
	f.StringSliceVar(&c.codecs, "codecs", []string{"auto", "none", "lz4", "s2", "zstd", "zstd-better", "zstd-stream", "zstd-stream-best"}, "link: values of --compression in compress; the first is held against the others")
}

func (c *config) check() error {
	for _, d := range c.rtts {
		if d < 0 || d > 10*time.Second {
			return fmt.Errorf("--rtts: %v is not a time up to 10s", d)
		}
	}
	for _, r := range c.rates {
		if r < 1 || r > 10_000 {
			return fmt.Errorf("--rates: %d Mbit/s is not 1 to 10000", r)
		}
	}
	if c.seconds <= 0 || c.cuts < 1 || c.lanes < 0 || len(c.codecs) == 0 {
		return errors.New("--seconds and --cuts must be more than nothing, and --codecs name one")
	}
	return nil
}

// cells runs a scenario at all its rates and round-trip times.
func (l *lab) cells(ctx context.Context, s scenario, tell func(*report.Scenario)) error {
	rates, rtts := s.rates, s.rtts
	if len(l.rates) > 0 {
		rates = l.rates
	}
	if len(l.rtts) > 0 {
		rtts = l.rtts
	}
	if l.Quick && s.rates != nil {
		rates, rtts, l.seconds = rates[:1], rtts[:1], min(l.seconds, 2)
	}
	if s.rates == nil { // no link
		rates, rtts = []int{0}, []time.Duration{0}
	}
	for _, rate := range rates {
		for _, rtt := range rtts {
			done, err := s.run(l, ctx, rate, rtt)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				l.Say("FAILED: %v", err)
				done = &cell{failed: err.Error()}
			}
			done.mbit, done.rtt = rate, rtt
			tell(done.report())
		}
	}
	return nil
}

// cell is a scenario at one rate and one round-trip time.
type cell struct {
	mbit   int // 0: no link
	rtt    time.Duration
	failed string
	Bytes  int64 // of the disk, that rates are of
	Ways   []*way
	Checks []report.Check
	Notes  []string
}

// way is one way of doing the job, with all its runs.
type way struct {
	Name string
	Runs []sample
}

// sample is one run.
type sample struct {
	Seconds float64 // until what was copied is durable
	Middle  float64 // bytes of the disk a second in the middle of the job: its setup, its ramp and its end left out
	Wire    int64   // of TCP payload both ways, TLS included; what TCP sent again is not
	Again   int64   // that TCP sent again
	CPU     float64 // of both ends' processes; 0: not known
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

// report returns the cell as all scenarios are told.
func (c *cell) report() *report.Scenario {
	s := &report.Scenario{Bytes: c.Bytes, Checks: c.Checks, Notes: c.Notes, Failed: c.failed}
	where := "on loopback"
	if c.mbit > 0 {
		s.Name = fmt.Sprintf("%d Mbit/s, %v", c.mbit, c.rtt)
		where = fmt.Sprintf("at %d Mbit/s, with a round-trip time of %v", c.mbit, c.rtt)
	}
	s.About = fmt.Sprintf("%s of data %s", report.Size(c.Bytes), where)
	const mbit = 8 / 1e6
	for _, w := range c.Ways {
		told := &report.Way{Name: w.Name, Peer: !strings.HasPrefix(w.Name, "failback") && !strings.HasPrefix(w.Name, "frames")}
		for _, one := range w.Runs {
			figures := map[string]float64{"Mbit/s": float64(c.Bytes) / one.Seconds * mbit, "Mbit/s in the middle": one.Middle * mbit, "TCP again MiB": float64(one.Again) / (1 << 20)}
			told.Samples = append(told.Samples, report.Sample{Seconds: one.Seconds, CPU: one.CPU, Wire: one.Wire, Figures: figures})
		}
		s.Ways = append(s.Ways, told)
	}
	return s
}
