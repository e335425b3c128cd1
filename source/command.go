package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"failback/replication"
)

const (
	maxStderr  = 4 << 10 // of a command, kept for the error message: the last part
	maxLine    = 4 << 10 // bytes of a line of a command's output: a path
	maxPrinted = 1 << 20 // bytes that a snapshot command may print
	pipesDelay = 5 * time.Second
	orphanPoll = 50 * time.Millisecond
	orphanWait = 30 * time.Second // for a command that a killed process left running
)

var (
	errLocked = errors.New("locked by another process")
	errRuns   = errors.New("a command that an earlier process server started for this view still runs")
)

// command is one of the operator's, with what it is told.
type command struct {
	verb string // snapshot, release, changes: for messages
	line string
	args []string
	env  []string
	lock string // path of the file that it and all that it starts keep locked while they run
	wait time.Duration

	discreet bool // errors do not tell its line: they go further than to who wrote it
}

func (s *Images) command(verb, line string, point replication.PointID, disk replication.Disk, path string) command {
	return command{
		verb: verb,
		line: line,
		lock: s.file(point, disk.No, "run"),
		wait: s.wait,
		env: []string{
			"FAILBACK_GROUP=" + string(s.group),
			"FAILBACK_DISK=" + string(disk.ID),
			"FAILBACK_SOURCE=" + path,
			fmt.Sprintf("FAILBACK_POINT=%d", point),
		},
	}
}

// run runs the command and gives its output to out as it comes. An error of out ends the command.
func (c command) run(ctx context.Context, out io.Writer) error {
	f, err := os.OpenFile(c.lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("%s command: %w", c.verb, err)
	}
	defer f.Close()
	if err := c.alone(ctx, f); err != nil {
		return fmt.Errorf("%s command: %w", c.verb, err)
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sink := &sink{out: out, cancel: cancel}
	var stderr tail
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", c.line, "failback"}, c.args...)...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = sink, &stderr
	cmd.ExtraFiles = []*os.File{f}
	cmd.WaitDelay = pipesDelay
	ownGroup(cmd)
	err = cmd.Run()
	switch {
	case sink.err != nil:
		err = sink.err
	case err == nil:
		os.Remove(c.lock) // what it leaves running on purpose is not in the way of another
		return nil
	case errors.Is(err, exec.ErrWaitDelay):
		err = errors.New("it left a process running that holds its output")
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	what := fmt.Sprintf("%s command %q", c.verb, c.line)
	if c.discreet {
		what = c.verb + " command"
	}
	if said := stderr.String(); said != "" {
		return fmt.Errorf("%s: %w: %s", what, err, said)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// alone locks the command's file, after a while if an orphan has it: two at a time would write to one view.
func (c command) alone(ctx context.Context, f *os.File) error {
	poll := time.NewTicker(orphanPoll)
	defer poll.Stop()
	for start := time.Now(); ; {
		err := lock(f)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, errLocked):
			return fmt.Errorf("lock %s: %w", c.lock, err)
		case time.Since(start) >= c.wait:
			return fmt.Errorf("%w (it holds %s)", errRuns, c.lock)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
}

// sink passes output on until that fails.
type sink struct {
	out    io.Writer
	cancel func()
	err    error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.err == nil {
		if _, s.err = s.out.Write(p); s.err != nil {
			s.cancel()
		}
	}
	return len(p), nil // what still comes is drained: the command is being killed
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-maxStderr):]...)
	t.b = append(t.b[:0], t.b[max(0, len(t.b)-maxStderr):]...)
	return len(p), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(strings.TrimSpace(string(t.b)), "?") }

// lines cuts output into lines and gives each to line, without its end. The caller calls end after the last Write.
type lines struct {
	line func(b []byte) error
	part []byte
}

func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if len(l.part)+len(p) > maxLine {
				return 0, fmt.Errorf("a line of more than %d bytes", maxLine)
			}
			l.part = append(l.part, p...)
			break
		}
		b := p[:i]
		if len(l.part)+i > maxLine {
			return 0, fmt.Errorf("a line of more than %d bytes", maxLine)
		}
		if len(l.part) > 0 {
			l.part = append(l.part, b...)
			b = l.part
		}
		err := l.line(b)
		l.part, p = l.part[:0], p[i+1:]
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// end gives the last line, if it has no end.
func (l *lines) end() error {
	if len(l.part) == 0 {
		return nil
	}
	return l.line(l.part)
}

// snapshot runs a disk's snapshot command and returns the path of the view.
func (s *Images) snapshot(ctx context.Context, point replication.PointID, d *diskView, line string) (view string, err error) {
	c := s.command("snapshot", line, point, d.Disk, d.Path)
	c.args = []string{fmt.Sprint(point)}
	var last string
	printed := 0
	out := &lines{line: func(b []byte) error {
		if printed += len(b) + 1; printed > maxPrinted {
			return fmt.Errorf("it prints more than %d bytes", maxPrinted)
		}
		if b = bytes.TrimRight(b, "\r"); len(b) > 0 {
			last = string(b)
		}
		return nil
	}}
	if err := c.run(ctx, out); err != nil {
		return "", err
	}
	if err := out.end(); err != nil {
		return "", fmt.Errorf("snapshot command %q: %w", line, err)
	}
	if !filepath.IsAbs(last) {
		return "", fmt.Errorf("snapshot command %q: the last line of its output is %q, not the absolute path of the view", line, last)
	}
	return filepath.Clean(last), nil
}

// release runs a release command.
func (s *Images) release(ctx context.Context, p pending, line string) error {
	c := s.command("release", line, p.Point, p.Disk, p.Path)
	c.args = []string{fmt.Sprint(p.Point), p.View}
	c.env = append(c.env, "FAILBACK_VIEW="+p.View)
	return c.run(ctx, io.Discard)
}

// changes runs a changes command.
func (s *Images) changes(ctx context.Context, from, to *diskView, base, point replication.PointID, line string) ([]replication.Extent, error) {
	c := s.command("changes", line, point, to.Disk, to.Path)
	c.args = []string{fmt.Sprint(base), fmt.Sprint(point)}
	c.env = append(c.env,
		fmt.Sprintf("FAILBACK_FROM=%d", base), fmt.Sprintf("FAILBACK_TO=%d", point),
		"FAILBACK_VIEW="+to.View, "FAILBACK_FROM_VIEW="+from.View)
	p := newRanges(to.Size)
	out := &lines{line: p.add}
	if err := c.run(ctx, out); err != nil {
		return nil, err
	}
	if len(out.part) > 0 { // cut off, perhaps within a number
		return nil, fmt.Errorf("changes command %q: its last line %.80q has no end", line, out.part)
	}
	return p.extents(), nil
}
