package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"failback/replication"
	"failback/retention"
	"failback/transport"
)

func (t *tool) scrubCommand() *cobra.Command {
	var rate byteCount
	var wait bool
	c := &cobra.Command{
		Use:   "scrub GROUP",
		Short: "Read the whole journal now, and mend what is damaged",
		Long: `Reads every block and every index of the group's journal, and compares them with their checksums. The master target does so by itself, once a week and at
20 MiB/s unless it was told otherwise (--scrub-every, --scrub-rate); this command begins a pass now. Replication goes on, and goes first.

What is damaged is quarantined: never served, never written to a disk. Then it is mended by itself, as far as it can be:
  an index            is made again from the blocks
  a block             is read from the disks, where they hold the same; else the source sends it again from its snapshot of the last point
  what neither has    stays lost. Points that need it are marked damaged, and can't be moved to; the next point is made by comparing, and is whole

With --wait it returns when the pass has ended: exit code 1 if any point is damaged then. It may be interrupted; the pass goes on.`,
		Example: "  failback scrub erp --wait\n  failback scrub erp --rate 50M",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return t.scrub(c.Context(), args[0], int64(rate), wait)
		},
	}
	c.Flags().Var(&rate, "rate", "bytes a second, as in 50M (default: as fast as replication allows)")
	c.Flags().BoolVar(&wait, "wait", false, "return when the pass has ended, and tell what it found")
	return c
}

func (t *tool) scrub(ctx context.Context, name string, rate int64, wait bool) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		shown := t.progress()
		s, err := c.Scrub(ctx, group, rate, wait, func(s replication.ScrubStatus) {
			shown.show([]gauge{{name: "read", done: s.Done, total: s.Total}})
		})
		shown.close()
		if err != nil {
			return err
		}
		result := struct {
			Group replication.GroupID     `json:"group"`
			Scrub replication.ScrubStatus `json:"scrub"`
		}{group, s}
		err = t.print(result, func(w io.Writer) {
			if !wait {
				fmt.Fprintf(w, "group %s: its journal is being read; failback status shows how far it is\n", group)
				return
			}
			for _, f := range s.Found {
				fmt.Fprintf(w, "  found: %s\n", f)
			}
			switch {
			case s.Lost > 0:
				fmt.Fprintf(w, "group %s: %s of its journal are LOST; damaged points: %s\n", group, size(s.Lost), retention.ListPoints(s.Points))
				fmt.Fprintln(w, "What to do: the next point is whole, as soon as the process server is there to make it; damaged points stay as they are, and are served where they are not damaged")
			case len(s.Found) > 0:
				fmt.Fprintf(w, "group %s: what was damaged is mended; all points are whole. See to the retention volume's storage\n", group)
			default:
				fmt.Fprintf(w, "group %s: its journal is whole\n", group)
			}
		})
		if err == nil && wait && s.Lost > 0 {
			err = errQuiet
		}
		return err
	})
}

// printScrub tells how whole the journal is.
func printScrub(w io.Writer, s *replication.ScrubStatus, now time.Time) {
	if s == nil {
		return
	}
	if s.Running {
		fmt.Fprintf(w, "  Scrub: %s of %s read\n", percent(s.Done, s.Total), size(s.Total))
	} else if !s.Whole.IsZero() {
		fmt.Fprintf(w, "  Scrub: journal last read whole %s ago\n", age(max(0, now.Sub(s.Whole))))
	}
	if s.Lost > 0 {
		fmt.Fprintf(w, "  DAMAGED: %s lost; points %s\n", size(s.Lost), retention.ListPoints(s.Points))
	}
}
