package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"failback/replication"
	"failback/transport"
)

func (t *tool) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain GROUP",
		Short: "Tell what a group is doing, what binds it, and where the bytes are that are on their way",
		Long: `Tells, for a group and each of its disks, what the work under way is bound by, as it was measured over the last seconds, what it waits for, and what comes next.

A bottleneck is the stage that the others wait for:
  source read   the source is read no faster
  hash          the process server's cores are busy with hashing
  compress      the process server's cores are busy with compressing
  link          the link takes no more
  throttle      failback throttle allows no more
  target read   a compare waits for the hashes of the target's side
  decode        the master target's cores are busy with checking and decoding
  target write  the target disks take no more
  journal       the retention volume takes no more

Each disk has three backlogs:
  at source          of the open cycle, still to be looked at (where changes are found by hashing, that is more than what changed)
  at process server  read, and not yet acknowledged by the master target as durable
  at master target   durable, and not yet on the disk: it is in the journal, and no point is lost by it

The same is in failback status --json.`,
		Example: "  failback explain erp",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			group, err := groupOf(args[0])
			if err != nil {
				return err
			}
			return t.explain(c.Context(), group)
		},
	}
}

func (t *tool) explain(ctx context.Context, group replication.GroupID) error {
	return t.with(func(c *transport.OperatorClient) error {
		s, err := c.Status(ctx, group)
		if err != nil {
			return err
		}
		g := s.Groups[0]
		return t.print(explanationOf(g), func(w io.Writer) { printExplanation(w, g, time.Now()) })
	})
}

// explanation is what of a status explain tells, with --json.
type explanation struct {
	Group      replication.GroupID    `json:"group"`
	State      replication.GroupState `json:"state"`
	Since      time.Time              `json:"since,omitzero"`
	WaitsFor   string                 `json:"waits_for"`
	Problem    *replication.Problem   `json:"problem"`
	Bottleneck string                 `json:"bottleneck"`
	Because    string                 `json:"because"`
	Next       string                 `json:"next"`
	Disks      []explainedDisk        `json:"disks"`
}

type explainedDisk struct {
	Disk       replication.DiskID       `json:"disk"`
	State      string                   `json:"state"`
	Bottleneck string                   `json:"bottleneck"`
	Because    string                   `json:"because"`
	Stages     []replication.StageShare `json:"stages"`
	Backlog    replication.Backlog      `json:"backlog"`
}

func explanationOf(g replication.GroupStatus) explanation {
	e := explanation{Group: g.Group, State: g.State, Since: g.Since, WaitsFor: g.WaitsFor, Problem: g.Problem, Bottleneck: g.Bottleneck, Because: g.Because, Next: next(g), Disks: []explainedDisk{}}
	for _, d := range g.Disks {
		e.Disks = append(e.Disks, explainedDisk{d.Disk, d.State, d.Bottleneck, d.Because, d.Stages, d.Backlog})
	}
	return e
}

// next says what comes when the work under way is done.
func next(g replication.GroupStatus) string {
	switch {
	case g.Cutover != nil:
		return g.Cutover.Next
	case g.Move != nil:
		return fmt.Sprintf("the disks stand at point %d", g.Move.To)
	case g.Open > 0 && g.Held:
		return fmt.Sprintf("point %d is listed; the disks stay at point %d until failback advance", g.Open, g.Head)
	case g.Open > 0:
		return fmt.Sprintf("point %d is listed, and the disks follow", g.Open)
	case g.Behind > 0 && g.Held:
		return "the disks stay where they are until failback advance"
	case g.Behind > 0:
		return fmt.Sprintf("the disks follow to point %d", g.Last)
	case !g.NextCut.IsZero():
		return "a point is due at " + clock(g.NextCut)
	}
	return ""
}

func printExplanation(w io.Writer, g replication.GroupStatus, now time.Time) {
	fmt.Fprintf(w, "%s: %s", g.Group, g.State)
	if !g.Since.IsZero() {
		fmt.Fprintf(w, " for %s", age(max(0, now.Sub(g.Since))))
	}
	if g.Last > 0 {
		fmt.Fprintf(w, ", last point %d is %s old", g.Last, age(time.Duration(g.LagSeconds*float64(time.Second))))
	}
	fmt.Fprintln(w)
	switch {
	case g.Problem != nil:
		fmt.Fprintf(w, "  Problem: %s\n  What to do: %s\n", g.Problem.Message, g.Problem.Remedy)
	case g.Bottleneck != "":
		fmt.Fprintf(w, "  Point %d is on its way, bound by: %s (%s)\n", g.Open, g.Bottleneck, g.Because)
	case g.Open > 0:
		fmt.Fprintf(w, "  Point %d is on its way\n", g.Open)
	}
	if m := g.Move; m != nil {
		fmt.Fprintf(w, "  The disks move from point %d to point %d: %s, %s of %s\n", m.From, m.To, m.Phase, size(m.Done), size(m.Total))
	}
	if g.WaitsFor != "" {
		fmt.Fprintf(w, "  Waits for: %s\n", g.WaitsFor)
	}
	if n := next(g); n != "" {
		fmt.Fprintf(w, "  Next: %s\n", n)
	}
	if len(g.Disks) == 0 {
		return
	}
	rows := [][]string{{"DISK", "STATE", "BOUND BY", "AT SOURCE", "AT PROCESS SERVER", "AT MASTER TARGET", "STAGES"}}
	for _, d := range g.Disks {
		var shares []string
		for _, s := range d.Stages {
			if s.Share >= 0.01 {
				shares = append(shares, fmt.Sprintf("%s %.0f %%", s.Stage, 100*s.Share))
			}
		}
		rows = append(rows, []string{string(d.Disk), stateOf(d), d.Bottleneck, size(d.Backlog.Source), size(d.Backlog.ProcessServer), size(d.Backlog.MasterTarget), strings.Join(shares, ", ")})
	}
	table(w, rows)
}
