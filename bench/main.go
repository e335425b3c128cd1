package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"failback/bench/disks"
	"failback/bench/harness"
	"failback/bench/journal"
	"failback/bench/link"
	"failback/bench/report"
	"failback/bench/workload"
	"failback/replication"
)

func main() {
	for _, other := range []func([]string) (int, bool){link.PeerMain, ask} {
		if code, ran := other(os.Args[1:]); ran {
			os.Exit(code)
		}
	}
	os.Exit(harness.Main(os.Args[1:], allSuites()...))
}

func allSuites() []harness.Suite {
	return []harness.Suite{daemons(), link.Suite(), disks.Suite(), journal.Suite()}
}

// options are what this suite's flags say.
type options struct {
	workloads []string
	churn     float64 // MB/s
	pattern   string
	duration  time.Duration
}

// quickDuration is how long lag is looked at with --quick.
const quickDuration = 8 * time.Second

func (o *options) flags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.workloads, "workloads", []string{workload.Files}, "kinds of disks that fullcopy copies: "+strings.Join(workload.Kinds(), ", "))
	f.Float64Var(&o.churn, "churn", 20, "MB/s that are written to the disk in lag and cutover")
	f.StringVar(&o.pattern, "pattern", workload.Uniform, "where they are written, and in churn: "+strings.Join(workload.Patterns, ", "))
	f.DurationVar(&o.duration, "for", 30*time.Second, "how long lag is looked at; in cutover, four times as long as the last point is old in one way")
}

func (o *options) check() error {
	if o.churn <= 0 || o.duration < time.Second {
		return errors.New("--churn must be more than nothing, and --for at least 1s")
	}
	if !slices.Contains(workload.Patterns, o.pattern) {
		return fmt.Errorf("--pattern: there is no %q, only %s", o.pattern, strings.Join(workload.Patterns, ", "))
	}
	for _, w := range o.workloads {
		if workload.About[w] == "" {
			return fmt.Errorf("--workloads: there is no %q, only %s", w, strings.Join(workload.Kinds(), ", "))
		}
	}
	return nil
}

// daemons is the suite of both daemons, with all on this machine.
func daemons() harness.Suite {
	var o options
	several := func(name, about string, run func(*lab, context.Context, func(*report.Scenario)) error) harness.Scenario {
		return harness.Scenario{Name: name, About: about, Run: func(ctx context.Context, h *harness.Lab, tell func(*report.Scenario)) error {
			if h.Quick {
				o.duration = min(o.duration, quickDuration)
			}
			return run(&lab{Lab: h, options: o, scenario: name}, ctx, tell)
		}}
	}
	one := func(name, about string, run func(*lab, context.Context, *report.Scenario) error) harness.Scenario {
		return several(name, about, func(l *lab, ctx context.Context, tell func(*report.Scenario)) error { return l.one(ctx, "", tell, run) })
	}
	return harness.Suite{Dir: harness.UsualDir, Repeats: 3, Flags: o.flags, Check: o.check, Scenarios: []harness.Scenario{
		several("fullcopy", "a disk into a new flat VMDK, beside nbdcopy, qemu-img, rsync and zstd, all over TLS", (*lab).fullCopies),
		one("equal", "a baseline of disks that are equal already, beside rsync, sha256sum and cat of both", (*lab).equal),
		one("different", "a baseline of disks of which 1 % differs, beside the same", (*lab).different),
		several("cycle", "0.1, 1 and 10 % of scattered 4 KiB changes, told and found by hashing, beside QEMU's incremental backup and rsync", (*lab).cycle),
		one("many", "one image as 1, 4, 16 and as many disks as there may be, all at once", (*lab).many),
		one("lag", "how old the last point is while a disk is written to at a steady rate, point after point", (*lab).lag),
		one("churn", "the highest rate of changes that the daemons carry, with all on storage and with the master target's in memory", (*lab).sustained),
		one("cutover", "from failback commit until the disks are final, under the same steady writing", (*lab).cutover),
		one("repeats", "two disks of one template: sent by reference where they hold the same, and not", (*lab).repeatsOf),
		one("memory", "peak memory of both daemons with 16 disks", (*lab).memory),
	}}
}

// lab is where this suite's scenarios run.
type lab struct {
	*harness.Lab
	options
	scenario  string
	workload  string     // kind of disk that is copied
	runs      int        // stands so far
	profiling *profiling // nil: no profiles are taken of what runs now
}

// one runs what has one result, and tells it, also where it failed half way.
func (l *lab) one(ctx context.Context, name string, tell func(*report.Scenario), run func(*lab, context.Context, *report.Scenario) error) error {
	s := &report.Scenario{Name: name}
	if err := run(l, ctx, s); err != nil {
		s.Failed = err.Error()
		l.Say("FAILED: %v", err)
	}
	tell(s)
	return nil
}

// fullCopies copies a disk of each kind that is wanted.
func (l *lab) fullCopies(ctx context.Context, tell func(*report.Scenario)) error {
	for _, l.workload = range l.workloads {
		if err := l.one(ctx, l.workload, tell, (*lab).fullCopy); err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	return nil
}

// content returns the disk that is copied, which is not to be written to.
func (l *lab) content(ctx context.Context) (string, error) {
	return workload.Disk(ctx, l.Dir, l.workload, l.Size, l.Seed)
}

// image returns the disk of real files, which is not to be written to.
func (l *lab) image(ctx context.Context) (string, error) { return workload.Image(ctx, l.Dir, l.Size) }

// dataOf returns where the image holds data.
func (l *lab) dataOf(ctx context.Context) (image string, data []replication.Extent, err error) {
	if image, err = l.image(ctx); err != nil {
		return "", nil, err
	}
	data, err = workload.Data(image)
	return image, data, err
}
