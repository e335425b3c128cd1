package journal

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"

	"failback/bench/harness"
	"failback/bench/report"
)

// lab is one scenario's run.
type lab struct {
	context.Context
	*harness.Lab
	noise []byte // what does not compress
	tell  func(*report.Scenario)
}

// Suite returns the scenarios of the journal alone.
func Suite() harness.Suite {
	s := harness.Suite{
		Name: "journal", About: "package retention, without daemons, in pairs with dd, fio and the disk itself; it takes up to 11 GiB, whatever --size is",
		Dir: "/var/tmp/failback-bench-journal", Repeats: 3,
	}
	for _, one := range []struct {
		name, about string
		run         func(*lab) error
	}{
		{"arrival", "a cycle arrives until its point is listed, beside dd conv=fsync", (*lab).arrival},
		{"advance", "a first advance, which saves what only the disk holds, beside fio", (*lab).advance},
		{"rewind", "back over 24 points, beside back over one", (*lab).rewind},
		{"thinning", "of 24 points one in 12 is kept, and files that are half dead are rewritten, beside dd", (*lab).thinning},
		{"proof", "what a move looks at before it is recorded, beside dd", (*lab).proof},
		{"points", "24 points are kept, read, thinned and gone back to, beside btrfs snapshots and qcow2 overlays; as root", (*lab).points},
		{"read", "4 KiB at random at an old point, beside the disk", (*lab).read},
	} {
		s.Scenarios = append(s.Scenarios, harness.Scenario{Name: one.name, About: one.about, Run: func(ctx context.Context, h *harness.Lab, tell func(*report.Scenario)) error {
			l := &lab{Context: ctx, Lab: h, noise: make([]byte, 64<<20), tell: tell}
			rand.NewChaCha8([32]byte{1}).Read(l.noise)
			if h.Profile == "" {
				return one.run(l)
			}
			return profiled(filepath.Join(h.Profile, "journal-"+one.name+"-cpu.pprof"), func() error { return one.run(l) })
		}})
	}
	return s
}

// profiled takes a CPU profile of this process while work runs.
func profiled(path string, work func() error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = work()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

// pairs runs ours and the peer's in turn. They return units a second, times scale; note, which may be nil, what else there is to say.
func (l *lab) pairs(name, unit string, scale float64, theirs string, ours, peer func() (float64, error), note func() string) error {
	scaled := func(run func() (float64, error)) func() (float64, error) {
		return func() (float64, error) {
			rate, err := run()
			return rate / scale, err
		}
	}
	s, err := l.Pairs(l, name, unit, scaled(ours), scaled(peer), theirs)
	if err != nil {
		return err
	}
	if note != nil {
		s.Note("%s", note())
	}
	l.tell(s)
	return nil
}
