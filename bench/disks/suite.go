package disks

import (
	"context"
	"regexp"
	"runtime"

	"github.com/spf13/pflag"

	"failback/bench/harness"
	"failback/bench/report"
)

// lab is one scenario's run.
type lab struct {
	context.Context
	*harness.Lab
	size  int64
	depth int
	only  *regexp.Regexp // nil: all pairs
	tool  string         // failback
	tell  func(*report.Scenario)
}

// quickSize is how large disks are at most with --quick, in bytes.
const quickSize = 256 << 20

// processors is how many of Go's processors there are for each request under way. A goroutine in a system call holds one until the scheduler takes it away, which takes longer than a small
// read: with no more processors than cores, two small requests are under way on two cores, whatever the depth is, while fio's threads are all in the kernel.
const processors = 2

// Suite returns the scenarios of disks alone.
func Suite() harness.Suite {
	var depth int
	var only string
	s := harness.Suite{
		Name: "disks", About: "package blockio and failback disk, without daemons, in pairs with fio, qemu-img and cat; loop devices too, as root",
		Dir: "/var/tmp/failback-bench-disks", Repeats: 5,
		Flags: func(f *pflag.FlagSet) {
			f.IntVar(&depth, "depth", 4, "disks: requests at a time")
			f.StringVar(&only, "only", "", "disks: only pairs whose name, as it is printed, matches this regular expression: 'direct', 'flat.*random'")
		},
		Check: func() error { _, err := regexp.Compile(only); return err },
	}
	for _, one := range []struct {
		name, about string
		run         func(*lab) error
	}{
		{"fio", "reads and writes of a flat VMDK and a loop device, beside fio", (*lab).besideFIO},
		{"convert", "an ext4 image into a sparse VMDK, beside qemu-img convert", (*lab).convert},
		{"read", "flat VMDKs to a pipe, beside cat, and to a file, beside qemu-img dd", (*lab).read},
	} {
		s.Scenarios = append(s.Scenarios, harness.Scenario{Name: one.name, About: one.about, Run: func(ctx context.Context, h *harness.Lab, tell func(*report.Scenario)) error {
			l := &lab{Context: ctx, Lab: h, size: h.Size, depth: depth, tool: h.Binaries.Path("failback"), tell: tell}
			if h.Quick {
				l.size = min(l.size, quickSize)
			}
			if only != "" {
				l.only = regexp.MustCompile(only)
			}
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(runtime.NumCPU(), processors*l.depth)))
			return one.run(l)
		}})
	}
	return s
}

// pairs runs ours and the peer's in turn. They return bytes a second.
func (l *lab) pairs(name, theirs string, ours, peer func() (float64, error), notes ...func() string) error {
	if l.only != nil && !l.only.MatchString(name) {
		return nil
	}
	mega := func(run func() (float64, error)) func() (float64, error) {
		return func() (float64, error) {
			rate, err := run()
			return rate / 1e6, err
		}
	}
	s, err := l.Pairs(l, name, "MB", mega(ours), mega(peer), theirs)
	if err != nil {
		return err
	}
	for _, n := range notes {
		s.Note("%s", n())
	}
	l.tell(s)
	return nil
}
