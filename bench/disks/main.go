package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
)

type lab struct {
	dir     string
	size    int64
	repeats int
	depth   int
	only    *regexp.Regexp // nil: all pairs
	tool    string         // failback
	context.Context
}

func main() {
	l := &lab{}
	mib := flag.Int64("size", 4096, "size of the disks, in MiB; beside fio at most 1024")
	quick := flag.Bool("quick", false, "small disks, three pairs: shows that it works, and little else")
	flag.StringVar(&l.dir, "dir", filepath.Join("/var/tmp", "failback-bench-disks"), "work directory: which storage is measured")
	flag.IntVar(&l.repeats, "repeats", 5, "pairs of each kind")
	flag.IntVar(&l.depth, "depth", 4, "requests at a time")
	flag.Func("only", "only pairs whose name, as it is printed, matches this `REGEXP`: 'direct', 'flat.*random'", func(s string) (err error) {
		l.only, err = regexp.Compile(s)
		return err
	})
	flag.Parse()
	l.size = *mib << 20
	if *quick {
		l.size, l.repeats = min(l.size, 256<<20), min(l.repeats, 3)
	}
	var stop func()
	l.Context, stop = signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := l.run(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "disks:", err)
		os.Exit(1)
	}
}

// processors is how many of Go's processors there are for each request under way. A goroutine in a system call holds one until the scheduler takes it away, which takes longer than a small
// read: with no more processors than cores, two small requests are under way on two cores, whatever the depth is, while fio's threads are all in the kernel.
const processors = 2

func (l *lab) run(wanted []string) error {
	runtime.GOMAXPROCS(max(runtime.NumCPU(), processors*l.depth))
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return err
	}
	l.tool = filepath.Join(l.dir, "failback")
	if out, err := exec.Command("go", "build", "-o", l.tool, "./cmd/failback").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w: %s", err, out)
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("disks of %d MiB in %s, %d pairs of each kind, %d requests at a time; load at the start %s", l.size>>20, l.dir, l.repeats, l.depth, load)
	fmt.Printf("%-58s %10s %10s   %s\n", "", "ours MB/s", "its MB/s", "ratio (lowest, highest)")
	for _, s := range []struct {
		name string
		run  func() error
	}{{"fio", l.besideFIO}, {"convert", l.convert}, {"read", l.read}} {
		if len(wanted) > 0 && !slices.Contains(wanted, s.name) {
			continue
		}
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// pairs runs ours and the peer's in turn, each first every other time, and prints the medians. They return bytes a second.
func (l *lab) pairs(name string, ours, peer func() (float64, error)) error {
	if l.only != nil && !l.only.MatchString(name) {
		return nil
	}
	var a, b, ratios []float64
	for i := range l.repeats {
		order := []func() (float64, error){ours, peer}
		rates := make([]float64, 2)
		for k := range 2 {
			which := (i + k) % 2
			if err := l.Err(); err != nil {
				return err
			}
			rate, err := order[which]()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			rates[which] = rate
		}
		a, b, ratios = append(a, rates[0]), append(b, rates[1]), append(ratios, rates[0]/rates[1])
	}
	slices.Sort(ratios)
	fmt.Printf("%-58s %10.1f %10.1f   %.2f (%.2f, %.2f)\n", name, median(a)/1e6, median(b)/1e6, median(ratios), ratios[0], ratios[len(ratios)-1])
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[n/2] + v[(n-1)/2]) / 2
}
