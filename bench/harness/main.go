package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"failback/bench/report"
)

// Config is what the flags that all suites share say.
type Config struct {
	Size     int64 // bytes of a disk
	Seed     uint64
	Repeats  int           // runs of each way; 0: the suite's own
	Quiet    time.Duration // that a run waits at most for the machine to have nothing else to do
	Dir      string        // work directory; "": the suite's own
	Profile  string        // directory for profiles; "": none are taken
	Programs string        // directory with the built programs; "": they are built
	Quick    bool
	Ours     bool // peers are left out
	Bounds   bool // stages are measured
	JSON     string
	HTML     string
	Markdown string
	Bench    string
}

// The size of a disk, by default and with --quick. The least is what a run of a few seconds needs.
const (
	usualSize = 1 << 30
	quickSize = 256 << 20
	minSize   = 256 << 20
)

const usage = `usage: go run ./bench [flags] [scenario…]

Runs scenarios and tells medians, spreads, ratios and shares of what the machine can do. The daemons run as processes and speak through mutual TLS on loopback; each peer does the same
job in the same run, in turn with ours, and its time ends when its copy is durable. Those of the first block are run when none is named; a suite's name runs all of it, "all" everything.

`

// Main runs what the command line names, and returns the exit code.
func Main(args []string, suites ...Suite) int {
	c, flags, chosen, err := parse(args, os.Stderr, suites)
	if errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c, flags, chosen, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

func parse(args []string, out io.Writer, suites []Suite) (c Config, f *pflag.FlagSet, all []chosen, err error) {
	size := report.Size(usualSize)
	f = pflag.NewFlagSet("bench", pflag.ContinueOnError)
	f.SetOutput(out)
	f.SortFlags = false
	f.StringVar(&size, "size", "1GiB", "size of the disk that is copied")
	f.IntVar(&c.Repeats, "repeats", 0, "runs of each way (default 3; suites have their own)")
	f.Uint64Var(&c.Seed, "seed", 1, "of the changes")
	f.BoolVar(&c.Quick, "quick", false, "small disks, one run of each way: shows that it works, and little else")
	f.StringVar(&c.Dir, "dir", "", "work directory: which storage is measured; needs six times --size; images are kept there (default: "+UsualDir+"; suites have their own)")
	f.DurationVar(&c.Quiet, "quiet", 0, "before each run, wait up to this long until the machine has nothing else to do")
	f.BoolVar(&c.Ours, "ours", false, "leave the peers out")
	f.BoolVar(&c.Bounds, "bounds", true, "measure the stages of each job too")
	f.StringVar(&c.Programs, "binaries", "", "directory with master-target, process-server and failback, instead of building them")
	f.StringVar(&c.JSON, "json", "", "write the report as JSON to this file, - for standard output instead of text")
	f.StringVar(&c.HTML, "html", "", "write the report as a page with plots to this file")
	f.StringVar(&c.Markdown, "markdown", "", "write the report as Markdown to this file")
	f.StringVar(&c.Bench, "benchfmt", "", "write the samples as lines of Go benchmarks to this file, for benchstat")
	f.StringVar(&c.Profile, "profile", "", "write profiles of both daemons (CPU, heap, block, mutex) into this directory, from one more run that does not count")
	for _, s := range suites {
		if s.Flags != nil {
			s.Flags(f)
		}
	}
	f.Usage = func() { fmt.Fprint(out, usage, list(suites), "\nflags:\n", f.FlagUsages()) }
	if err := f.Parse(args); err != nil {
		return c, f, nil, err
	}
	if c.Size, err = ParseSize(size); err != nil {
		return c, f, nil, fmt.Errorf("--size: %w", err)
	}
	if c.Quick && !f.Changed("size") {
		c.Size = quickSize
	}
	if c.Repeats < 0 || f.Changed("repeats") && c.Repeats == 0 {
		return c, f, nil, errors.New("--repeats must be at least 1")
	}
	if all, err = choose(suites, f.Args()); err != nil {
		return c, f, nil, err
	}
	for _, s := range all {
		if s.Check != nil {
			if err := s.Check(); err != nil {
				return c, f, nil, err
			}
		}
	}
	return c, f, all, nil
}

// ParseSize reads a number of bytes, with M, MiB, G or GiB: powers of 1024.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "iBMG")
	n, err := strconv.ParseUint(digits, 10, 31)
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
	if n < minSize || n > 1<<50 {
		return 0, fmt.Errorf("%q is not between %s and a PiB: less says nothing", s, report.Size(minSize))
	}
	return int64(n), nil
}
