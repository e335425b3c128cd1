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
)

type config struct {
	size, seed uint64
	repeats    int
	quiet      time.Duration
	dir        string
	json       string
	profile    string
	binaries   string
	scenarios  []string
}

// What --quick stands for.
const (
	quickSize    = 512 << 20
	quickRepeats = 1
)

const usage = `usage: go run ./bench [flags] [scenario…]

Runs scenarios (all of them when none is named) and tells medians, spreads and ratios. The daemons run as processes and speak through mutual TLS on
loopback; each peer does the same job in the same run, in turn with ours, and its time ends when its copy is durable.

`

func main() {
	c, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, c, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string, out io.Writer) (config, error) {
	var c config
	var size string
	var quick bool
	f := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	f.SetOutput(out)
	f.SortFlags = false
	f.StringVar(&size, "size", "4GiB", "size of the disk that is copied")
	f.IntVar(&c.repeats, "repeats", 3, "runs of each way")
	f.Uint64Var(&c.seed, "seed", 1, "of the changes")
	f.DurationVar(&c.quiet, "quiet", 0, "before each run, wait up to this long until the machine has nothing else to do")
	f.StringVar(&c.dir, "dir", filepath.Join("/var/tmp", "failback-bench"), "work directory: which storage is measured; needs five times --size; images are kept there")
	f.StringVar(&c.json, "json", "", "write the report as JSON to this file, - for standard output instead of text")
	f.StringVar(&c.profile, "profile", "", "write CPU profiles of both daemons into this directory, from one more run that does not count")
	f.StringVar(&c.binaries, "binaries", "", "directory with master-target, process-server and failback, instead of building them")
	f.BoolVar(&quick, "quick", false, "small disks, one run of each way: shows that it works, and little else")
	f.Usage = func() {
		fmt.Fprint(out, usage)
		for _, s := range scenarios {
			fmt.Fprintf(out, "  %-9s %s\n", s.name, s.about)
		}
		fmt.Fprintf(out, "\nflags:\n%s", f.FlagUsages())
	}
	if err := f.Parse(args); err != nil {
		return c, err
	}
	var err error
	if c.size, err = parseSize(size); err != nil {
		return c, fmt.Errorf("--size: %w", err)
	}
	if quick && !f.Changed("size") {
		c.size = quickSize
	}
	if quick && !f.Changed("repeats") {
		c.repeats = quickRepeats
	}
	if c.repeats < 1 {
		return c, errors.New("--repeats must be at least 1")
	}
	c.scenarios = f.Args()
	for _, name := range c.scenarios {
		if !slices.ContainsFunc(scenarios, func(s scenario) bool { return s.name == name }) {
			return c, fmt.Errorf("there is no scenario %q: see go run ./bench -h", name)
		}
	}
	return c, nil
}

const minSize = 256 << 20

// parseSize reads a number of bytes, with M, MiB, G or GiB: powers of 1024.
func parseSize(s string) (uint64, error) {
	digits := strings.TrimRight(s, "iBMG")
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: 512MiB or 4GiB, for example", s)
	}
	switch strings.TrimSuffix(strings.TrimSuffix(s[len(digits):], "B"), "i") {
	case "M":
		n <<= 20
	case "G":
		n <<= 30
	default:
		return 0, fmt.Errorf("%q needs a unit: MiB or GiB", s)
	}
	if n < minSize {
		return 0, fmt.Errorf("%q is too little to measure with: at least %s", s, report.Size(minSize))
	}
	return n &^ (1<<20 - 1), nil
}

func run(ctx context.Context, c config, out, progress io.Writer) error {
	l, err := open(ctx, c, progress)
	if err != nil {
		return err
	}
	r := &report.Report{Started: time.Now(), Machine: report.MachineAt(l.dir), Programs: l.programs(), Params: l.params()}
	failed := false
	for _, s := range scenarios {
		if len(c.scenarios) > 0 && !slices.Contains(c.scenarios, s.name) {
			continue
		}
		done := &report.Scenario{Name: s.name}
		l.say("%s: %s", s.name, s.about)
		if err := s.run(l, ctx, done); err != nil {
			done.Failed = err.Error()
			failed = true
		}
		done.Finish()
		r.Scenarios = append(r.Scenarios, done)
		if ctx.Err() != nil {
			break
		}
	}
	if err := write(r, c.json, out); err != nil {
		return err
	}
	if failed {
		return errors.New("not all scenarios have a result: see the report")
	}
	return nil
}

// write writes the report as text to out, and as JSON where it is wanted.
func write(r *report.Report, path string, out io.Writer) error {
	if path != "-" {
		r.WriteText(out)
	}
	if path == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if path == "-" {
		_, err = out.Write(b)
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
