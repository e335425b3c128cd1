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

func (t *tool) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify GROUP [POINT]",
		Short: "Compare a point with its source in Azure, by hashes only",
		Long: `Compares a point (the last one, if none is given) with the source's own view of it in Azure, where the source still has it. Only hashes
travel. The result is recorded on the point. Exit code 1 if they differ.`,
		Example: "  failback verify erp",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) (err error) {
			var point replication.PointID
			if len(args) == 2 {
				if point, err = t.point(c.Context(), args[0], args[1], 1); err != nil {
					return err
				}
			}
			return t.verify(c.Context(), args[0], point)
		},
	}
}

func (t *tool) verify(ctx context.Context, name string, point replication.PointID) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		shown := t.progress()
		point, v, differing, err := c.Verify(ctx, group, point, func(l []replication.Ledger) {
			g := gauge{name: "compared"}
			for _, d := range l {
				g.done, g.total = g.done+d.Done, g.total+d.Total
			}
			shown.show([]gauge{g})
		})
		shown.close()
		if err != nil {
			return err
		}
		result := struct {
			Group   replication.GroupID  `json:"group"`
			Point   replication.PointID  `json:"point"`
			Time    time.Time            `json:"time"`
			Equal   bool                 `json:"equal"`
			Differs int64                `json:"differs"` // bytes
			Disks   []replication.DiskID `json:"disks"`   // that differ
		}{group, point, v.Time, v.Equal, v.Differs, differing}
		err = t.print(result, func(w io.Writer) {
			if v.Equal {
				fmt.Fprintf(w, "group %s: point %d equals its source\n", group, point)
				return
			}
			var names []string
			for _, d := range differing {
				names = append(names, string(d))
			}
			fmt.Fprintf(w, "group %s: point %d DIFFERS from its source in %s: %s\n", group, point, size(v.Differs), strings.Join(names, ", "))
			fmt.Fprintln(w, "What to do: do not fail back to this point; cut another, and verify that. A source without snapshots, of which failback status has a note, differs too\n            when it was written to since the cut: keep it still until it is verified")
		})
		if err == nil && !v.Equal {
			err = errQuiet
		}
		return err
	})
}
