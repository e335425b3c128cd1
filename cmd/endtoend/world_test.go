package endtoend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/bench/stand"
	"failback/replication"
)

const (
	mib     = 1 << 20
	page    = 4096
	patient = 3 * time.Minute // for what takes seconds: a machine may be busy with other things
	group   = "erp"
)

var (
	binaries   stand.Binaries
	buildFlags []string // of the programs
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "failback-programs-")
		if err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if binaries, err = stand.Build(dir, buildFlags...); err != nil {
			log.Print(err)
			return 1
		}
		// A program built with the race detector waits for a second at its end, to tell of races. Tests end hundreds of programs.
		os.Setenv("GORACE", "halt_on_error=1 exitcode=66 atexit_sleep_ms=0")
		os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
		return m.Run()
	}())
}

// world is a stand with a group's disks, and copies of them.
type world struct {
	*stand.Stand
	t     *testing.T
	ctx   context.Context
	rng   *rand.Rand
	fill  *rand.ChaCha8 // bytes that don't compress
	disks []*disk
	last  replication.PointID
}

// disk is one source and its target.
type disk struct {
	machine, id, format string
	size                int64
	source, target      string
	commands            bool // snapshot and release commands
	kept                map[replication.PointID]content
	born                replication.PointID // its first point, where it joined later
}

func (d *disk) name() string { return d.machine + "/" + d.id }

// The disks of most tests: every kind of target file, and a size that is no number of pages.
func threeDisks() []*disk {
	return []*disk{
		{machine: "erp-db", id: "os", format: "vmfs", size: 24 * mib},
		{machine: "erp-db", id: "data", format: "monolithicSparse", size: 16 * mib, commands: true},
		{machine: "web", id: "os", format: "raw", size: 7*mib + 3*512},
	}
}

// newWorld makes a stand; its daemons run when it returns. A race that a daemon found, or a panic, fails the test at its end.
func newWorld(t *testing.T, o stand.Options, disks ...*disk) *world {
	t.Helper()
	return newWorldAt(t, o, func(*stand.Stand) {}, disks...)
}

// newWorldAt is newWorld on a stand that place has changed before the daemons start.
func newWorldAt(t *testing.T, o stand.Options, place func(*stand.Stand), disks ...*disk) *world {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Fatal("qemu-img is needed: make test installs it")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	o.Binaries, o.StartWithin, o.StopWithin = binaries, patient, 30*time.Second
	dir, err := os.MkdirTemp("", "failback-test-") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := stand.New(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	place(s)
	seed := seedOf(t)
	w := &world{Stand: s, t: t, ctx: ctx, rng: rand.New(rand.NewPCG(seed, 0)), fill: rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})}
	t.Cleanup(w.close)
	for _, d := range disks {
		w.add(d)
	}
	w.must(s.Start(ctx))
	return w
}

// seedOf returns the test's seed, from FAILBACK_SEED where it is set: a failure names it.
func seedOf(t *testing.T) (seed uint64) {
	seed = 1
	fmt.Sscan(os.Getenv("FAILBACK_SEED"), &seed)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("FAILBACK_SEED=%d", seed)
		}
	})
	return seed
}

func (w *world) close() {
	if err := w.Close(); err != nil {
		w.t.Error(err)
	}
	unmountBelow(w.Dir)
	for _, d := range []*stand.Daemon{w.MasterTarget, w.ProcessServer} {
		said, _ := os.ReadFile(d.Log)
		for _, bad := range []string{"DATA RACE", "panic: ", "fatal error: "} {
			if i := bytes.Index(said, []byte(bad)); i >= 0 {
				w.t.Errorf("%s: %s", d.Program, said[i:min(len(said), i+6000)])
			}
		}
		if w.t.Failed() {
			w.t.Logf("the end of what %s logged:\n%s", d.Program, said[max(0, len(said)-4000):])
		}
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// add makes a disk's source, with something on it.
func (w *world) add(d *disk) {
	w.t.Helper()
	name := d.machine + "-" + d.id
	d.source, d.target = filepath.Join(w.Sources, name+".raw"), filepath.Join(w.Targets, name+".vmdk")
	if d.format == "raw" {
		d.target = filepath.Join(w.Targets, name+".img")
	}
	d.kept = map[replication.PointID]content{}
	f, err := os.Create(d.source)
	w.must(err)
	w.must(f.Truncate(d.size))
	w.must(f.Close())
	w.disks = append(w.disks, d)
	w.write(d, d.size/3, d.size/4)
}

// write overwrites n bytes of a source.
func (w *world) write(d *disk, off, n int64) {
	w.t.Helper()
	w.overwrite(d.source, off, n)
}

// overwrite writes n bytes that don't compress into a file.
func (w *world) overwrite(path string, off, n int64) {
	w.t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	w.must(err)
	_, err = io.CopyN(io.NewOffsetWriter(f, off), w.fill, n)
	w.must(errors.Join(err, f.Close()))
}

// change writes here and there on all disks: data of any length anywhere, and zeros.
func (w *world) change() {
	w.t.Helper()
	for _, d := range w.disks {
		f, err := os.OpenFile(d.source, os.O_WRONLY, 0)
		w.must(err)
		for range 30 {
			b := make([]byte, 1+w.rng.Int64N(40000))
			if w.rng.IntN(4) > 0 {
				w.fill.Read(b)
			}
			_, err := f.WriteAt(b, w.rng.Int64N(d.size-int64(len(b))))
			w.must(err)
		}
		w.must(f.Close())
	}
}

// plan writes the group's plan and returns its path.
func (w *world) plan() string {
	w.t.Helper()
	path, err := w.WritePlan(w.planOf(group, w.disks...))
	w.must(err)
	return path
}

func (w *world) planOf(name string, disks ...*disk) stand.Plan {
	p := stand.Plan{Group: name}
	for _, d := range disks {
		if len(p.Machines) == 0 || p.Machines[len(p.Machines)-1].Name != d.machine {
			p.Machines = append(p.Machines, stand.Machine{Name: d.machine})
		}
		e := stand.Disk{ID: d.id, Source: d.source, Target: d.target, Format: d.format}
		if d.commands {
			e.Snapshot = `v="$FAILBACK_SOURCE.$FAILBACK_POINT" && cp --sparse=always "$FAILBACK_SOURCE" "$v" && echo "$v"`
			e.Release = `rm -f "$FAILBACK_VIEW"`
		}
		m := &p.Machines[len(p.Machines)-1]
		m.Disks = append(m.Disks, e)
	}
	return p
}

// keep keeps what the sources hold as what they held at a point.
func (w *world) keep(point replication.PointID) {
	w.t.Helper()
	for _, d := range w.disks {
		d.kept[point] = w.read(d.source)
	}
}

// protect makes the first point.
func (w *world) protect() {
	w.t.Helper()
	w.must(w.Do(w.ctx, nil, "reprotect", w.plan(), "--wait"))
	w.listed(1)
}

// open waits until a master target that has just started has opened the group.
func (w *world) open() {
	w.t.Helper()
	_, err := w.Wait(w.ctx, group, "the group is open", func(g replication.GroupStatus) bool { return g.Generation > 0 })
	w.must(err)
}

// cut takes a point, with changes, and waits until it is listed.
func (w *world) cut() {
	w.t.Helper()
	w.change()
	point, err := w.Cut(w.ctx, group)
	w.must(err)
	w.listed(point)
}

// listed waits until a point is listed, and keeps copies: the sources have not changed since the cut.
func (w *world) listed(point replication.PointID) {
	w.t.Helper()
	if want := w.last + 1; point != want {
		w.t.Fatalf("cut told point %d, want %d", point, want)
	}
	w.must(w.WaitListed(w.ctx, group, point, patient))
	w.keep(point)
	w.last = point
}

// shows checks that the targets show a point.
func (w *world) shows(point replication.PointID) {
	w.t.Helper()
	w.must(w.WaitHead(w.ctx, group, point, patient))
	for _, d := range w.disks {
		w.same(fmt.Sprintf("target of %s at point %d", d.name(), point), w.target(d), d.kept[max(point, d.born)])
	}
}

// exports checks the content of every disk at every listed point, through export.
func (w *world) exports() {
	w.t.Helper()
	p, err := w.Points(w.ctx, group)
	w.must(err)
	if len(p.Points) != int(w.last) {
		w.t.Fatalf("%d points are listed, want %d: %+v", len(p.Points), w.last, p)
	}
	for _, at := range p.Points {
		for _, d := range w.disks {
			if at.Point < d.born {
				w.refused(1, []string{d.name(), fmt.Sprintf("joined at point %d", d.born)}, "export", group, fmt.Sprint(at.Point), d.name(), filepath.Join(w.Dir, "never.raw"))
				continue
			}
			w.export(d, at.Point)
		}
	}
}

// refused runs a failback command that must end with the exit code, and returns the error that it told; its message must have all the words.
func (w *world) refused(code int, words []string, args ...string) stand.Problem {
	w.t.Helper()
	err := w.Do(w.ctx, nil, args...)
	var e *stand.CommandError
	if !errors.As(err, &e) {
		w.t.Fatalf("failback %s: got %v, want exit code %d", strings.Join(args, " "), err, code)
	}
	if e.Code != code {
		w.t.Errorf("failback %s: exit code %d, want %d: %v", strings.Join(args, " "), e.Code, code, err)
	}
	if e.Problem.Code == "" || e.Message == "" || e.Remedy == "" {
		w.t.Errorf("failback %s: an error with something left out: %s", strings.Join(args, " "), e.Stderr)
	}
	for _, word := range words {
		if !strings.Contains(e.Message, word) {
			w.t.Errorf("failback %s: message %q, want %q in it", strings.Join(args, " "), e.Message, word)
		}
	}
	return e.Problem
}
