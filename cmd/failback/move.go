package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"failback/replication"
	"failback/transport"
)

func (t *tool) rewindCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rewind GROUP POINT",
		Short: "Move the disks back to a point, and hold them there",
		Long: `Moves all disks of the group back to a point and holds them there. Replication goes on: later points collect ahead of the disks,
and nothing is lost; failback advance takes it back. Returns when the disks stand at the point. If this tool, the master target
or the power goes meanwhile, the move is carried on and finished.`,
		Example: "  failback points erp\n  failback rewind erp 12",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			point, err := pointOf(args[1], 0)
			if err != nil {
				return err
			}
			return t.move(c.Context(), args[0], point, false)
		},
	}
}

func (t *tool) advanceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "advance GROUP [POINT]",
		Short: "Move the disks forward again",
		Long: `Moves all disks of the group forward to a point. Without POINT, or at the latest one, it also lets go of them: they follow new points
again, as before the rewind. Returns when the disks stand at the point.`,
		Example: "  failback advance erp\n  failback advance erp 14",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) (err error) {
			var point replication.PointID
			if len(args) == 2 {
				if point, err = pointOf(args[1], 1); err != nil {
					return err
				}
			}
			return t.move(c.Context(), args[0], point, true)
		},
	}
}

func (t *tool) move(ctx context.Context, name string, to replication.PointID, advance bool) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		shown := t.progress()
		head, err := c.Move(ctx, group, to, advance, func(m replication.MoveStatus) {
			shown.show([]gauge{{name: fmt.Sprintf("point %d to %d, %s", m.From, m.To, m.Phase), done: m.Done, total: m.Total}})
		})
		shown.close()
		if err != nil {
			return err
		}
		result := struct {
			Group replication.GroupID `json:"group"`
			Head  replication.PointID `json:"head"`
		}{group, head}
		return t.print(result, func(w io.Writer) {
			fmt.Fprintf(w, "group %s: the disks stand at point %d", group, head)
			switch {
			case !advance:
				fmt.Fprintf(w, " and are held there; failback advance %s moves them forward again\n", group)
			case to == 0:
				fmt.Fprintln(w, ", the latest, and follow new points again")
			default:
				fmt.Fprintf(w, "; failback status %s tells whether they are held there\n", group)
			}
		})
	})
}
