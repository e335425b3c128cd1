package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"failback/replication"
	"failback/transport"
)

func (t *tool) pointsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "points GROUP",
		Short: "List the points that there are to go back to",
		Long: `Lists the group's recovery points, the oldest first. A point is one instant of all disks of the group.

  KIND      crash: what a power failure would have left; app: the plan's quiesce commands kept the applications still while all disks were cut;
            final: the last of a planned failback; original: the disks as they were before the first cycle, kept by keep_original in the plan
  SKEW      within how long all disks of all machines were cut, at most
  CHANGED   bytes of the disks that changed since the point before; of point 0, those that the first cycle has written over
  STORED    what the point takes on the retention volume
  NOTES     head: the disks show this point; pinned: not dropped by policy (failback pin); equal / DIFFERS: what failback verify found;
            DAMAGED: a part of it is lost, never served, and it can't be moved to (see failback scrub --help);
            not app: it was to be application-consistent, and why it is not;
            suspect: do not trust it before failback verify found it equal; drill: what failback drill --record told`,
		Example: "  failback points erp",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return t.points(c.Context(), args[0]) },
	}
}

// pointJSON is a point as points --json has it.
type pointJSON struct {
	Point    replication.PointID  `json:"point"`
	Time     time.Time            `json:"time"`
	Kind     replication.Kind     `json:"kind"`
	Head     bool                 `json:"head"`
	Pinned   bool                 `json:"pinned"`
	Until    time.Time            `json:"pinned_until,omitzero"` // the pin ends by itself then
	PinNote  string               `json:"pin_note,omitempty"`
	Verified *replication.Verify  `json:"verified"` // null: never verified
	Drill    *replication.Drilled `json:"drill"`    // null: none was recorded
	Suspect  bool                 `json:"suspect"`
	Damaged  int64                `json:"damaged"` // bytes that it needs and that are lost
	Bytes    int64                `json:"bytes"`
	Stored   int64                `json:"stored"`
	Skew     time.Duration        `json:"skew_nanos"`        // all its disks were cut within so long; 0: not known
	NotApp   string               `json:"not_app,omitempty"` // why it is not application-consistent, where it was to be
}

func (t *tool) points(ctx context.Context, name string) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		head, points, err := c.Points(ctx, group)
		if err != nil {
			return err
		}
		result := struct {
			Group  replication.GroupID `json:"group"`
			Head   replication.PointID `json:"head"`
			Points []pointJSON         `json:"points"`
		}{group, head, []pointJSON{}}
		for _, p := range points {
			result.Points = append(result.Points, pointJSON{p.ID, p.Time, p.Kind, p.ID == head, p.Pinned, p.PinnedUntil, p.PinNote, p.Verified, p.Drill, p.Suspect, p.Damaged, p.Bytes, p.Stored, p.Skew, p.NotApp})
		}
		return t.print(result, func(w io.Writer) { printPoints(w, group, head, points) })
	})
}

func printPoints(w io.Writer, group replication.GroupID, head replication.PointID, points []replication.Point) {
	if len(points) == 0 {
		fmt.Fprintf(w, "group %s has no points yet; failback status %s tells how far the first one is\n", group, group)
		return
	}
	rows := [][]string{{"POINT", "TIME", "KIND", "SKEW", "CHANGED", "STORED", "NOTES"}}
	for _, p := range points {
		rows = append(rows, []string{strconv.FormatUint(uint64(p.ID), 10), clock(p.Time), string(p.Kind), skew(p.Skew), size(p.Bytes), size(p.Stored), notesOf(p, head)})
	}
	table(w, rows)
}

func notesOf(p replication.Point, head replication.PointID) string {
	var notes []string
	if p.ID == head {
		notes = append(notes, "head")
	}
	if p.Pinned {
		notes = append(notes, pinnedText(p.PinnedUntil, p.PinNote))
	}
	if p.NotApp != "" {
		notes = append(notes, "not app: "+strings.Join(strings.Fields(p.NotApp), " "))
	}
	if p.Damaged > 0 {
		notes = append(notes, "DAMAGED ("+size(p.Damaged)+" lost)")
	}
	if p.Suspect {
		notes = append(notes, "suspect")
	}
	if v := p.Verified; v != nil && v.Equal {
		notes = append(notes, "equal ("+clock(v.Time)+")")
	} else if v != nil {
		notes = append(notes, fmt.Sprintf("DIFFERS in %s (%s)", size(v.Differs), clock(v.Time)))
	}
	if d := p.Drill; d != nil {
		note := fmt.Sprintf("drill %s (%s)", d.Outcome, clock(d.Time))
		if d.Note != "" {
			note += ": " + d.Note
		}
		notes = append(notes, note)
	}
	return strings.Join(notes, ", ")
}

func (t *tool) cutCommand() *cobra.Command {
	var wait, app bool
	c := &cobra.Command{
		Use:   "cut GROUP",
		Short: "Take a point now",
		Long: `Takes a point of all disks of the group now, whatever the policy says, and prints its number. The point can be used once it is
listed: --wait returns then.

With --app the machines are frozen by the plan's quiesce commands while the disks are cut, as every app_interval by itself. Where that fails, or takes
too long, a crash-consistent point is made all the same, and says why (failback points); with --wait, the exit code is 1 then.`,
		Example: "  failback cut erp --wait\n  failback cut erp --app --wait",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return t.cut(c.Context(), args[0], app, wait) },
	}
	c.Flags().BoolVar(&app, "app", false, "make an application-consistent point")
	c.Flags().BoolVar(&wait, "wait", false, "return when the point is listed, and fail if the group stops before")
	return c
}

func (t *tool) cut(ctx context.Context, name string, app, wait bool) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		point, err := c.Cut(ctx, group, app)
		if err != nil {
			return err
		}
		var listed replication.Point
		if wait {
			if listed, err = t.waitListed(ctx, c, group, point); err != nil {
				return err
			}
		}
		result := struct {
			Point replication.PointID `json:"point"`
		}{point}
		if err := t.print(result, func(w io.Writer) { fmt.Fprintln(w, point) }); err != nil {
			return err
		}
		if app && wait && listed.Kind != replication.App {
			return &replication.Problem{Code: replication.CodeNotApp, Message: fmt.Sprintf("point %d of group %s is listed, and is crash-consistent only: %s", point, group, listed.NotApp),
				Remedy: "see to what is told; the process server's log has more"}
		}
		return nil
	})
}

// waitListed returns the point when it is listed.
func (t *tool) waitListed(ctx context.Context, c *transport.OperatorClient, group replication.GroupID, point replication.PointID) (listed replication.Point, err error) {
	shown := t.progress()
	defer shown.close()
	err = t.until(ctx, shown, func() (bool, error) {
		g, err := statusOf(ctx, c, group)
		if err != nil {
			return false, err
		}
		if g.Open == point {
			shown.show(gaugesOf(g))
		}
		if g.Last < point {
			return false, stopped(g)
		}
		_, points, err := c.Points(ctx, group) // asked after the status: what that told is in it
		if err != nil {
			return false, err
		}
		for _, p := range points {
			if p.ID == point {
				listed = p
				return true, nil
			}
		}
		return false, &replication.Problem{
			Code:    "no-such-point",
			Message: fmt.Sprintf("point %d of group %s is not listed, although point %d is", point, group, g.Last),
			Remedy:  "its cycle was given up, or policy dropped it already; failback points shows what there is, and the master target's log why",
		}
	})
	return listed, err
}
