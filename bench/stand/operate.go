package stand

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"failback/replication"
	"failback/transport"
)

// CLI runs the failback command with the stand's operator address. Code is -1 when it could not be run, or was killed.
func (s *Stand) CLI(ctx context.Context, args ...string) (stdout, stderr []byte, code int) {
	var out, said bytes.Buffer
	cmd := s.Command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	runtime.LockOSThread() // its end would be the command's
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		fmt.Fprintln(&said, err)
		return out.Bytes(), said.Bytes(), -1
	}
	return out.Bytes(), said.Bytes(), cmd.ProcessState.ExitCode()
}

// Command returns the failback command with the stand's operator address, not started yet.
func (s *Stand) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.Binaries.Path("failback"), args...)
	own(cmd)
	cmd.Env = append(os.Environ(), "FAILBACK_OPERATOR="+s.Operator)
	return cmd
}

// CommandError is that a failback command did not end with exit code 0.
type CommandError struct {
	Args    []string
	Code    int // exit code
	Problem     // as --json has it
	Stdout  []byte
	Stderr  []byte
}

// Problem is an error as --json has it.
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("failback %s: exit code %d: %s%s", strings.Join(e.Args, " "), e.Code, bytes.TrimSpace(e.Stderr), bytes.TrimSpace(e.Stdout))
}

// Do runs a failback command with --json and decodes its document into result, if that is not nil. The error is a *CommandError where the command says so.
func (s *Stand) Do(ctx context.Context, result any, args ...string) error {
	out, said, code := s.CLI(ctx, append(args, "--json")...)
	if code != 0 {
		e := &CommandError{Args: args, Code: code, Stdout: out, Stderr: said}
		_ = json.Unmarshal(said, &struct{ Error *Problem }{&e.Problem})
		return e
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(out, result); err != nil {
		return fmt.Errorf("failback %s: its document %q: %w", strings.Join(args, " "), out, err)
	}
	return nil
}

// Cut takes a point and returns its number, before it is listed.
func (s *Stand) Cut(ctx context.Context, group string) (replication.PointID, error) {
	var r struct{ Point replication.PointID }
	err := s.Do(ctx, &r, "cut", group)
	return r.Point, err
}

// Points is what failback points tells.
type Points struct {
	Group  string
	Head   replication.PointID
	Points []Point
}

// Point is one of them.
type Point struct {
	Point    replication.PointID
	Time     time.Time
	Kind     replication.Kind
	Head     bool
	Pinned   bool
	Verified *replication.Verify
	Suspect  bool
	Bytes    int64
	Stored   int64
}

// Points returns the points that are listed.
func (s *Stand) Points(ctx context.Context, group string) (p Points, err error) {
	err = s.Do(ctx, &p, "points", group)
	return p, err
}

// Has says whether a point is listed.
func (p Points) Has(point replication.PointID) bool {
	for _, one := range p.Points {
		if one.Point == point {
			return true
		}
	}
	return false
}

// Status returns how one group stands.
func (s *Stand) Status(ctx context.Context, group string) (replication.GroupStatus, error) {
	all, err := s.status(ctx, replication.GroupID(group))
	if err != nil {
		return replication.GroupStatus{}, err
	}
	for _, g := range all.Groups {
		if string(g.Group) == group {
			return g, nil
		}
	}
	return replication.GroupStatus{}, fmt.Errorf("status: there is no group %s", group)
}

// status asks over a connection that is kept; after an error over a new one, since an old one waits longer and longer before it dials again.
func (s *Stand) status(ctx context.Context, group replication.GroupID) (replication.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.operators == nil {
		c, err := transport.DialOperator(s.Operator, nil)
		if err != nil {
			return replication.Status{}, err
		}
		s.operators = c
	}
	all, err := s.operators.Status(ctx, group)
	if err != nil {
		s.operators.Close()
		s.operators = nil
	}
	return all, err
}

// JournalBytes returns how many bytes the files of a group's journal have: it grows while a cycle arrives. 0: there is none.
func (s *Stand) JournalBytes(group string) (n int64) {
	filepath.WalkDir(filepath.Join(s.Retention, group), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // a file that has just gone
		}
		if fi, err := d.Info(); err == nil {
			n += fi.Size()
		}
		return nil
	})
	return n
}

// statusPoll is how often a stand asks while it waits.
const statusPoll = 20 * time.Millisecond

// Wait asks for the group's status until until is true of it, or ctx ends. A master target that is away is waited for.
func (s *Stand) Wait(ctx context.Context, group, what string, until func(replication.GroupStatus) bool) (g replication.GroupStatus, err error) {
	for {
		now, asked := s.Status(ctx, group)
		if asked == nil {
			if g = now; until(g) {
				return g, nil
			}
		}
		select {
		case <-ctx.Done():
			told, _ := json.Marshal(g)
			return g, fmt.Errorf("group %s: wait until %s: %w; last status %s, last answer: %v", group, what, context.Cause(ctx), told, asked)
		case <-time.After(statusPoll):
		}
	}
}

// WaitListed waits until a point is listed.
func (s *Stand) WaitListed(ctx context.Context, group string, point replication.PointID, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := s.Wait(ctx, group, fmt.Sprintf("point %d is listed", point), func(g replication.GroupStatus) bool { return g.Last >= point })
	return err
}

// WaitHead waits until the disks stand at a point.
func (s *Stand) WaitHead(ctx context.Context, group string, point replication.PointID, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := s.Wait(ctx, group, fmt.Sprintf("the disks stand at point %d", point), func(g replication.GroupStatus) bool { return g.Head == point && g.Move == nil })
	return err
}

// WaitConnected waits until the process server has registered with the master target.
func (s *Stand) WaitConnected(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.StartWithin)
	defer cancel()
	for {
		all, err := s.status(ctx, "")
		for _, w := range all.Workers {
			if err == nil && w.Name == s.Name && w.Connected {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process server %s is not connected: %w; last answer: %v; see %s", s.Name, context.Cause(ctx), err, s.ProcessServer.Log)
		case <-time.After(statusPoll):
		}
	}
}

// Plan is a group's plan. What is empty is left out, but for a policy under which only failback cut makes points, and the disks follow at once.
type Plan struct {
	Group    string
	OS       string // "" = linux
	Server   string // process server; "" = the stand's
	Policy   string // "" = intervals of a day
	Machines []Machine
}

// Machine is one machine of a plan.
type Machine struct {
	Name  string
	Disks []Disk
}

// Disk is one disk of a plan.
type Disk struct {
	ID, Source, Target, Format, Snapshot, Release, Changes string
}

// WritePlan writes a plan into the stand's directory, as GROUP.yaml, and returns its path.
func (s *Stand) WritePlan(p Plan) (string, error) {
	path := filepath.Join(s.Dir, p.Group+".yaml")
	if err := os.WriteFile(path, []byte(s.PlanText(p)), 0o644); err != nil {
		return "", fmt.Errorf("write plan: %w", err)
	}
	return path, nil
}

// PlanText returns a plan as YAML.
func (s *Stand) PlanText(p Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "group: %s\nos: %s\nprocess_server: %s\npolicy: %s\nmachines:\n", p.Group, or(p.OS, "linux"), or(p.Server, s.Name),
		or(p.Policy, "{crash_interval: 24h, app_interval: 24h, retention: 48h, rpo_alert: 48h, head_lag: 0s}"))
	for _, m := range p.Machines {
		fmt.Fprintf(&b, "  - name: %s\n    disks:\n", m.Name)
		for _, d := range m.Disks {
			fmt.Fprintf(&b, "      - id: %s\n", d.ID)
			for _, kv := range [][2]string{{"source", "image:" + d.Source}, {"target", d.Target}, {"format", d.Format}, {"snapshot", d.Snapshot}, {"release", d.Release}, {"changes", d.Changes}} {
				if kv[1] != "" {
					fmt.Fprintf(&b, "        %s: %q\n", kv[0], kv[1])
				}
			}
		}
	}
	return b.String()
}
