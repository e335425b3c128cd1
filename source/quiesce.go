package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"failback/replication"
)

// frozenName is the file in a group's directory that says which machines may be frozen: it is durable before the first freeze command begins, and goes when all have been thawed.
const (
	frozenName   = "frozen.json"
	frozenFormat = "failback frozen machines"
	besideWait   = time.Second // for a freeze command that was left running, before its machine is thawed beside it
	maxWhy       = 600         // bytes of what is told of a freeze that failed
)

// frozen is the content of that file.
type frozen struct {
	Format   string                `json:"format"`
	Version  int                   `json:"version"`
	Group    replication.GroupID   `json:"group"`
	Point    replication.PointID   `json:"point"`
	Machines []replication.Quiesce `json:"machines"`
	Until    time.Time             `json:"until,omitzero"` // a freeze command was killed here, and what it began elsewhere may come to its end: all are thawed again until then

	held  bool // all machines are believed to have been still while all disks were cut
	alone bool // no other group freezes or thaws its machines, see alone
}

// errRests: all machines were thawed, and will be again.
var errRests = errors.New("a freeze command that was killed may come to its end still: the machines are thawed again")

// still is a group's machines while they are kept still.
type still struct {
	cut   chan struct{} // closed when all disks are cut
	over  chan struct{} // closed when the machines have been thawed; then:
	why   string        // the cut is not application-consistent; "": it is
	lasts time.Duration // from the first freeze command's begin to the last thaw command's end
}

// freeze has the machines of the hooks kept still, all together, and returns when they are. It returns nil when they are not: the cut says why, where they were to be. What was begun has been thawed then.
func (s *Images) freeze(ctx context.Context, c *cut, hooks []replication.Quiesce) *still {
	if len(hooks) == 0 {
		return nil
	}
	refuse := func(err error) *still {
		c.NotApp = shorter(err.Error())
		s.log.Warn("point is cut without freezing", "point", c.Point, "err", err)
		return nil
	}
	if err := s.mayFreeze(c, hooks); err != nil {
		return refuse(err)
	}
	limit := hooks[0].Timeout
	for _, h := range hooks {
		limit = min(limit, h.Timeout)
	}
	patience, enough := context.WithTimeout(ctx, limit)
	give, err := takeAlone(patience, s.dir, hooks)
	enough()
	if err != nil {
		return refuse(err)
	}
	thawing := false // by another goroutine, which gives the machines back
	defer func() {
		if !thawing {
			give()
		}
	}()
	before, err := loadFrozen(s.dir)
	if err != nil {
		return refuse(err)
	}
	note := frozen{Format: frozenFormat, Version: 1, Group: s.group, Point: c.Point, Machines: hooks, Until: before.Until, alone: true}
	if err := note.save(s.dir); err != nil {
		return refuse(err)
	}
	s.step("frozen noted")
	began := time.Now()
	deadline, cancel := context.WithTimeout(ctx, limit)
	var killed atomic.Bool
	err = note.each(func(h replication.Quiesce) error {
		err := note.command(s.dir, quiesceLock, "freeze", h.Freeze, h, s.wait).within(deadline)
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			killed.Store(true)
		}
		if err != nil && errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("the freeze command did not end within %s", limit)
		}
		if err != nil {
			cancel() // the others need not go on
			return fmt.Errorf("machine %s: %w", h.Machine, err)
		}
		return nil
	})
	s.step("frozen")
	f := &still{cut: make(chan struct{}), over: make(chan struct{})}
	if err != nil {
		cancel()
		if killed.Load() {
			note.Until = time.Now().Add(note.longest())
			if serr := note.save(s.dir); serr != nil { // the note without it is there
				s.log.Error("machines are thawed once only", "group", s.group, "point", c.Point, "err", serr)
			}
		}
		if terr := note.thaw(s.dir, s.log); terr != nil && !errors.Is(terr, errRests) {
			err = fmt.Errorf("%w; %w", terr, err)
		}
		c.FrozenNs = int64(time.Since(began))
		return refuse(err)
	}
	thawing = true
	go func() {
		defer close(f.over)
		defer give()
		defer cancel()
		select {
		case <-f.cut:
		case <-deadline.Done(): // whatever the snapshots do
			f.why = fmt.Sprintf("the disks were not all cut %s after freezing had begun: the machines were thawed before", limit)
			if ctx.Err() != nil {
				f.why = "the machines were thawed before all disks were cut: the order to cut was ended"
			}
		}
		note.held = f.why == ""
		if err := note.thaw(s.dir, s.log); err != nil && !errors.Is(err, errRests) {
			f.why = err.Error()
		}
		s.step("thawed")
		f.lasts = time.Since(began)
	}()
	return f
}

// end says that all disks are cut, waits until the machines are thawed, and notes in the cut what it is.
func (f *still) end(c *cut) {
	if f == nil {
		return
	}
	close(f.cut)
	<-f.over
	c.App, c.NotApp, c.FrozenNs = f.why == "", shorter(f.why), int64(f.lasts)
}

// mayFreeze says why no machine is to be frozen for a cut; nil: they may be.
func (s *Images) mayFreeze(c *cut, hooks []replication.Quiesce) error {
	for _, d := range c.Disks {
		if d.Kind == KindNone {
			return fmt.Errorf("disk %s has no snapshots: it is read in place", d.Disk.ID)
		}
	}
	if err := correctThaw(s.dir, hooks); err != nil {
		return err
	}
	if err := Thaw(s.dir, s.log); err != nil && !errors.Is(err, errRests) { // of an earlier point
		return err
	}
	for _, h := range hooks {
		for _, x := range []struct{ verb, line string }{{"thaw", h.Thaw}, {"freeze", h.Freeze}} {
			if err := Runnable(x.line); err != nil { // above all: nothing is frozen that can't be thawed
				return fmt.Errorf("machine %s: the %s command can't be run: %w", h.Machine, x.verb, err)
			}
		}
	}
	return nil
}

// correctThaw has what is frozen thawed as the hooks say now: a command that failed may have been mended since.
func correctThaw(dir string, hooks []replication.Quiesce) error {
	n, err := loadFrozen(dir)
	if err != nil {
		return err
	}
	changed := false
	for i := range n.Machines {
		was := &n.Machines[i]
		for _, h := range hooks {
			if h.Machine == was.Machine && (h.Thaw != was.Thaw || h.Timeout != was.Timeout) {
				was.Thaw, was.Timeout, changed = h.Thaw, h.Timeout, true
			}
		}
	}
	if !changed {
		return nil
	}
	return n.save(dir)
}

// Frozen returns the machines of the group of a directory that may be frozen.
func Frozen(dir string) (machines []string) {
	n, err := loadFrozen(dir)
	if err != nil {
		return []string{"unknown"}
	}
	for _, h := range n.Machines {
		machines = append(machines, h.Machine)
	}
	return machines
}

// Thaw thaws the machines that may be frozen of the group of a directory. It is to be called when nothing is cut there, and again after an error: one may say that a machine may be frozen anew by what was begun before.
func Thaw(dir string, log *slog.Logger) error {
	n, err := loadFrozen(dir)
	if err != nil || len(n.Machines) == 0 {
		return err
	}
	return n.thaw(dir, log)
}

// loadFrozen reads the note; there are no machines in it where there is none.
func loadFrozen(dir string) (n frozen, err error) {
	path := filepath.Join(dir, frozenName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	} else if err != nil {
		return n, fmt.Errorf("read which machines are frozen: %w", err)
	}
	if err := json.Unmarshal(b, &n); err != nil || n.Format != frozenFormat || n.Version != 1 {
		return n, &replication.Problem{Code: "source-state", Message: path + " is not what this release writes: it can't be told which machines may be frozen", Err: err,
			Remedy: "thaw the group's machines by hand, and remove the file"}
	}
	return n, nil
}

// thaw runs the thaw command of every machine, to its end, whatever else ends, and removes the note when all have succeeded.
func (n *frozen) thaw(dir string, log *slog.Logger) error {
	err := n.each(func(h replication.Quiesce) error {
		if !n.alone {
			patience, enough := context.WithTimeout(context.Background(), 2*h.Timeout+aloneWait)
			defer enough()
			if give, err := takeAlone(patience, dir, []replication.Quiesce{h}); err == nil { // else it is thawed nevertheless
				defer give()
			}
		}
		run := func(lock string, wait time.Duration) error {
			ctx, cancel := context.WithTimeout(context.Background(), h.Timeout)
			defer cancel()
			return n.command(dir, lock, "thaw", h.Thaw, h, wait).within(ctx)
		}
		err := run(quiesceLock, besideWait)
		if errors.Is(err, errRuns) { // what still freezes is not waited for; when it has ended, it is thawed again
			err = errors.Join(err, run("beside", 0))
		}
		if err != nil {
			return fmt.Errorf("machine %s could not be thawed and may be frozen still: %w", h.Machine, err)
		}
		return nil
	})
	if err != nil {
		log.Error("machines could not be thawed", "group", n.Group, "point", n.Point, "err", err)
		return err
	}
	if rest := time.Until(n.Until); rest > 0 && rest <= n.longest() { // one that is longer is of a clock that was set back
		log.Warn("machines are thawed, and will be again: a freeze command was killed", "group", n.Group, "point", n.Point, "until", n.Until)
		return errRests
	}
	if err := os.Remove(filepath.Join(dir, frozenName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note that machines are thawed: %w", err)
	}
	return nil // a crash may bring the note back: they are thawed once more then
}

// longest is the longest time that a command may take.
func (n *frozen) longest() (t time.Duration) {
	for _, h := range n.Machines {
		t = max(t, h.Timeout)
	}
	return t
}

// save makes the note durable.
func (n *frozen) save(dir string) error {
	b, err := json.MarshalIndent(n, "", "\t")
	if err == nil {
		err = replaceFile(filepath.Join(dir, frozenName), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("note that machines are being frozen: %w", err)
	}
	return nil
}

// within runs the command, and returns soon after ctx has ended, whether or not the command can be ended: one that sleeps in the kernel, or has become another user's, can't, and others' machines are frozen
// meanwhile. It then has its lock still.
func (c command) within(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- c.run(ctx, io.Discard) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	patient := time.NewTimer(2 * pipesDelay)
	defer patient.Stop()
	select {
	case err := <-ended:
		return err
	case <-patient.C:
		return fmt.Errorf("%s command: %w, and it can't be ended", c.verb, context.Cause(ctx))
	}
}

// each does something for every machine, all at once, and returns the errors.
func (n *frozen) each(do func(replication.Quiesce) error) error {
	errs := make([]error, len(n.Machines))
	var wait sync.WaitGroup
	for i, h := range n.Machines {
		wait.Go(func() { errs[i] = do(h) })
	}
	wait.Wait()
	var all []error
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) { // that one was ended for another's sake
			all = append(all, err)
		}
	}
	if all == nil {
		all = errs
	}
	return errors.Join(all...)
}

// quiesceLock begins the names of the files that are locked by freeze and thaw commands.
const quiesceLock = "quiesce"

func (n *frozen) command(dir, lock, verb, line string, h replication.Quiesce, wait time.Duration) command {
	c := command{
		verb: verb, line: line, wait: wait, discreet: true,
		args: []string{fmt.Sprint(n.Point), h.Machine},
		lock: filepath.Join(dir, lock+"-"+h.Machine+".run"),
		env:  []string{"FAILBACK_GROUP=" + string(n.Group), "FAILBACK_MACHINE=" + h.Machine, fmt.Sprintf("FAILBACK_POINT=%d", n.Point)},
	}
	if n.held && verb == "thaw" {
		c.env = append(c.env, "FAILBACK_HELD=1")
	}
	return c
}

// firstWord is that of a command line, where it can be nothing but the name of a program, a function or a word of the shell.
var firstWord = regexp.MustCompile(`^\s*([A-Za-z0-9_.+/-]+)(\s|;|$)`)

// Runnable says why a command line can't be run here, as far as that can be told without running it: by its syntax, and by its first word. nil: it may be.
func Runnable(line string) error {
	if out, err := exec.Command("/bin/sh", "-n", "-c", line).CombinedOutput(); err != nil {
		return fmt.Errorf("sh does not understand it: %s", strings.TrimSpace(string(out)))
	}
	m := firstWord.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	if strings.Contains(m[1], "/") {
		if _, err := exec.LookPath(m[1]); err != nil {
			return err
		}
	} else if exec.Command("/bin/sh", "-c", `command -v "$1" >/dev/null`, "failback", m[1]).Run() != nil {
		return fmt.Errorf("there is no program %s here", m[1])
	}
	return nil
}

// shorter bounds what is told.
func shorter(why string) string {
	return strings.ToValidUTF8(why[:min(len(why), maxWhy)], "")
}
