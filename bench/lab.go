package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"failback/bench/peer"
	"failback/bench/report"
	"failback/bench/stand"
	"failback/bench/workload"
	"failback/replication"
)

// scenario is one job that is measured.
type scenario struct {
	name, about string
	run         func(l *lab, ctx context.Context, s *report.Scenario) error
}

var scenarios = []scenario{
	{"fullcopy", "a disk of real files into a new flat VMDK, beside nbdcopy and qemu-img; what each stage alone takes", (*lab).fullCopy},
	{"equal", "a baseline of disks that are equal already, beside reading and hashing both", (*lab).equal},
	{"cycle", "1 % of scattered 4 KiB changes, found by hashing and told, beside rsync", (*lab).cycle},
	{"repeats", "two disks of one template: sent by reference where they hold the same, and not", (*lab).repeatsOf},
	{"memory", "peak memory of both daemons with 16 disks", (*lab).memory},
}

// lab is where scenarios run: the work directory, the built programs and the settings.
type lab struct {
	config
	binaries stand.Binaries
	certs    string // of peers
	out      io.Writer
	runs     int // stands so far
}

func open(ctx context.Context, c config, out io.Writer) (*lab, error) {
	l := &lab{config: c, out: out}
	if m := peer.Missing(peer.Mkfs); m != "" {
		return nil, fmt.Errorf("the disks are made by mkfs.ext4: %s", m)
	}
	var err error
	if l.dir, err = filepath.Abs(c.dir); err != nil {
		return nil, err
	}
	l.certs = filepath.Join(l.dir, "certs")
	if err := peer.MakeCerts(l.certs); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	if l.binaries = (stand.Binaries{Dir: c.binaries}); c.binaries == "" {
		if l.binaries, err = stand.Build(filepath.Join(l.dir, "bin")); err != nil {
			return nil, err
		}
	}
	l.say("work directory %s", l.dir)
	_, err = l.image(ctx)
	return l, err
}

// image returns the disk of real files, which is not to be written to.
func (l *lab) image(ctx context.Context) (string, error) {
	return workload.Image(ctx, l.dir, int64(l.size))
}

func (l *lab) say(format string, args ...any) {
	fmt.Fprintf(l.out, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func (l *lab) programs() []report.Program {
	said, _ := exec.Command(l.binaries.Path("failback"), "version").Output()
	version, _, _ := strings.Cut(string(said), "\n")
	all := []report.Program{{Name: "failback", Version: version}}
	for _, p := range peer.Programs() {
		all = append(all, p.Describe())
	}
	return all
}

func (l *lab) params() []report.Param {
	return []report.Param{
		{Name: "size", Value: report.Size(int64(l.size))},
		{Name: "repeats", Value: fmt.Sprint(l.repeats)},
		{Name: "seed", Value: fmt.Sprint(l.seed)},
		{Name: "quiet", Value: fmt.Sprintf("before each run, up to %s waited for the machine to have nothing else to do", l.quiet)},
		{Name: "caches", Value: "sources (and targets that exist) read to their ends before each run; file system synced before each run; new targets each time, removed afterwards"},
	}
}

// scratch makes a directory for a scenario's files. They are removed by the function that it returns.
func (l *lab) scratch(name string) (dir string, remove func(), err error) {
	dir = filepath.Join(l.dir, name)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return "", nil, err
	}
	return dir, func() {
		os.RemoveAll(dir)
		l.settle()
	}, nil
}

// ready makes a run's beginning the same for all: the files are in the page cache as far as it goes, and nothing waits to be written.
func (l *lab) ready(files ...string) error {
	for _, f := range files {
		if err := workload.Warm(f); err != nil {
			return err
		}
	}
	return errors.Join(l.settle(), l.awaitQuiet())
}

// awaitQuiet waits until the machine has little else to do, for as long as --quiet says.
func (l *lab) awaitQuiet() error {
	const (
		look  = time.Second
		quiet = 0.15 // of one core
	)
	for begin := time.Now(); time.Since(begin) < l.quiet; {
		before, err := report.MachineCPU()
		if err != nil {
			return err
		}
		time.Sleep(look)
		after, err := report.MachineCPU()
		if err != nil {
			return err
		}
		if after-before < quiet*look.Seconds() {
			return nil
		}
	}
	return nil
}

// settle makes all that was written to the work directory's file system durable.
func (l *lab) settle() error {
	d, err := os.Open(l.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// way is one way of doing a scenario's job.
type way struct {
	name  string
	needs []peer.Program
	run   func(ctx context.Context, round int) (report.Sample, error)
}

// alternate runs all ways in turn, as often as wanted; every round begins with another one. A way that fails once is not run again.
func (l *lab) alternate(ctx context.Context, s *report.Scenario, ways []way, before func(round int) error) error {
	for _, w := range ways {
		s.Ways = append(s.Ways, &report.Way{Name: w.name, Missing: peer.Missing(w.needs...)})
	}
	for round := range l.repeats {
		if before != nil {
			if err := before(round); err != nil {
				return err
			}
		}
		for i := range ways {
			at := (i + round) % len(ways)
			w, told := ways[at], s.Ways[at]
			if told.Missing != "" || told.Failed != "" {
				continue
			}
			sample, err := w.run(ctx, round)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				told.Failed = err.Error()
				l.say("%s: %s: FAILED: %v", s.Name, w.name, err)
				continue
			}
			told.Samples = append(told.Samples, sample)
			l.say("%s: %s: %.2f s", s.Name, w.name, sample.Seconds)
		}
	}
	if s.Ways[0].Failed != "" {
		return fmt.Errorf("%s: %s", s.Ways[0].Name, s.Ways[0].Failed)
	}
	return nil
}

// measure fills in what the whole machine did during a run.
func measure(run func() (report.Sample, error)) (report.Sample, error) {
	before, err := report.MachineCPU()
	if err != nil {
		return report.Sample{}, err
	}
	s, err := run()
	if err != nil {
		return s, err
	}
	after, err := report.MachineCPU()
	s.MachineCPU = after - before
	return s, err
}

// dataOf returns where the image holds data.
func (l *lab) dataOf(ctx context.Context) (image string, data []replication.Extent, err error) {
	if image, err = l.image(ctx); err != nil {
		return "", nil, err
	}
	data, err = workload.Data(image)
	return image, data, err
}
