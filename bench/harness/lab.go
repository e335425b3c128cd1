package harness

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
)

// UsualDir is the main suite's work directory.
const UsualDir = "/var/tmp/failback-bench"

// Lab is where a suite's scenarios run: the work directory, the built programs and the settings.
type Lab struct {
	Config
	Binaries stand.Binaries
	Certs    string // of peers
	Self     string // this program, which may be run again as a peer or a command

	out     io.Writer
	atClose []func() error
}

func open(c Config, s Suite, out io.Writer) (l *Lab, err error) {
	l = &Lab{Config: c, out: out}
	if l.Dir == "" {
		l.Dir = s.Dir
	}
	if l.Repeats == 0 {
		if l.Repeats = s.Repeats; c.Quick {
			l.Repeats = 1
		}
	}
	if m := peer.Missing(peer.Mkfs); m != "" {
		return nil, fmt.Errorf("the disks are made by mkfs.ext4: %s", m)
	}
	if l.Dir, err = filepath.Abs(l.Dir); err != nil {
		return nil, err
	}
	if l.Self, err = os.Executable(); err != nil {
		return nil, err
	}
	l.Certs = filepath.Join(l.Dir, "certs")
	if err := peer.MakeCerts(l.Certs); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	if l.Binaries = (stand.Binaries{Dir: c.Programs}); c.Programs == "" {
		if l.Binaries, err = stand.Build(filepath.Join(l.Dir, "bin")); err != nil {
			return nil, err
		}
	}
	l.Say("work directory %s", l.Dir)
	return l, nil
}

// AtClose has something done when the suite is over: last first.
func (l *Lab) AtClose(f func() error) { l.atClose = append(l.atClose, f) }

func (l *Lab) close() (err error) {
	for i := len(l.atClose) - 1; i >= 0; i-- {
		err = errors.Join(err, l.atClose[i]())
	}
	return err
}

// Say writes a line of progress.
func (l *Lab) Say(format string, args ...any) {
	fmt.Fprintf(l.out, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func (l *Lab) programs() []report.Program {
	said, _ := exec.Command(l.Binaries.Path("failback"), "version").Output()
	version, _, _ := strings.Cut(string(said), "\n")
	all := []report.Program{{Name: "failback", Version: version}}
	for _, p := range peer.Programs() {
		all = append(all, p.Describe())
	}
	return all
}

// Scratch makes an empty directory for a scenario's files. They are removed by the function that it returns.
func (l *Lab) Scratch(name string) (dir string, remove func(), err error) {
	dir = filepath.Join(l.Dir, name)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return "", nil, err
	}
	return dir, func() {
		os.RemoveAll(dir)
		l.Settle()
	}, nil
}

// Ready makes a run's beginning the same for all: the files are in the page cache as far as it goes, and nothing waits to be written.
func (l *Lab) Ready(files ...string) error {
	for _, f := range files {
		if err := workload.Warm(f); err != nil {
			return err
		}
	}
	return errors.Join(l.Settle(), l.awaitQuiet())
}

// awaitQuiet waits until the machine has little else to do, for as long as --quiet says.
func (l *Lab) awaitQuiet() error {
	const (
		look  = time.Second
		quiet = 0.15 // of one core
	)
	for begin := time.Now(); time.Since(begin) < l.Quiet; {
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

// Settle makes all that was written to the work directory's file system durable.
func (l *Lab) Settle() error {
	d, err := os.Open(l.Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// Way is one way of doing a scenario's job.
type Way struct {
	Name  string
	Peer  bool           // it is not ours
	Needs []peer.Program // without which it can't be run
	Lacks string         // what else there is not; "": nothing
	Run   func(ctx context.Context, round int) (report.Sample, error)
}

// Alternate runs all ways in turn, as often as wanted; every round begins with another one. A way that fails once is not run again. before, if not nil, begins each round.
func (l *Lab) Alternate(ctx context.Context, s *report.Scenario, ways []Way, before func(round int) error) error {
	if l.Ours {
		var ours []Way
		for _, w := range ways {
			if !w.Peer {
				ours = append(ours, w)
			}
		}
		ways = ours
	}
	for _, w := range ways {
		told := &report.Way{Name: w.Name, Peer: w.Peer, Missing: peer.Missing(w.Needs...)}
		if told.Missing == "" {
			told.Missing = w.Lacks
		}
		s.Ways = append(s.Ways, told)
	}
	for round := range l.Repeats {
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
			sample, err := w.Run(ctx, round)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				told.Failed = err.Error()
				l.Say("%s: FAILED: %v", w.Name, err)
				continue
			}
			told.Samples = append(told.Samples, sample)
			l.Say("%s: %s", w.Name, s.Figure(sample))
		}
	}
	if s.Ways[0].Failed != "" {
		return fmt.Errorf("%s: %s", s.Ways[0].Name, s.Ways[0].Failed)
	}
	return nil
}

// Measure fills in what the whole machine did during a run.
func Measure(run func() (report.Sample, error)) (report.Sample, error) {
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
