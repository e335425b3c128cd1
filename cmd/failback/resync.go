package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"failback/replication"
	"failback/transport"
)

func (t *tool) resyncCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "resync GROUP",
		Short: "Compare a group's disks with their sources now, and send what differs",
		Long: `Makes the group's next point by comparing whole disks, by hashes made on both sides; only what differs is sent. Its points stay. It goes on after a restart of either side
where it was.

A resync is needed when it is not known what has changed since the last point: the process server's state was lost, a changes command failed, a point was
found to differ from its source, or to be damaged, a source has grown (its target grows first, if it is a raw file or a flat VMDK). It begins by itself, at once or when the plan's resync_window opens; failback status says why, and when.
This command has it begin now; also where none is needed.

Where others have written to a target disk since failback did (a machine was powered on), what they wrote is newer than anything the group knows: the group has
stopped, and a resync never begins by itself. This command tells what is lost by it, and asks on a terminal; elsewhere it takes --yes. Then what was written is
overwritten with what the source has, and the group's points go, as part of their content was on that disk: its first point is made anew, by comparing. A disk that
was exchanged, or is damaged, is told in the same way. The word is about the disks as they are when it is given: what is written to them after that is not overwritten,
and this command asks again. While a disk is missing or in use, nothing is given up.`,
		Example: "  failback resync erp\n  failback resync erp --yes",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return t.resync(c.Context(), args[0], yes) },
	}
	c.Flags().BoolVar(&yes, "yes", false, "don't ask: overwrite what others have written to the disks, and give the group's points up, where that is what it takes")
	return c
}

func (t *tool) resync(ctx context.Context, name string, yes bool) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		s, err := c.Resync(ctx, replication.ResyncRequest{Group: group})
		var asked *replication.ResyncOverwrites
		if errors.As(err, &asked) && (yes || t.interactive()) {
			fmt.Fprintf(t.err, "%s.\n", asked.Message)
			ok := yes
			if !yes {
				var aerr error
				if ok, aerr = t.confirm("Overwrite it for good, and give the points up? [y/N] "); aerr != nil {
					return aerr
				}
			}
			if !ok {
				return &replication.Problem{Code: asked.Code, Message: "nothing was overwritten, and nothing given up", Remedy: asked.Remedy}
			}
			s, err = c.Resync(ctx, replication.ResyncRequest{Group: group, Overwrite: true, Seen: asked.Seen})
		}
		if err != nil {
			return err
		}
		result := struct {
			Group  replication.GroupID      `json:"group"`
			Resync replication.ResyncStatus `json:"resync"`
		}{group, s}
		return t.print(result, func(w io.Writer) {
			fmt.Fprintf(w, "group %s: its disks are compared with their sources now: %s\nfailback status %s and failback jobs show how far it is\n", group, s.Why, group)
		})
	})
}

// printResync tells why whole disks will be compared.
func printResync(w io.Writer, s *replication.ResyncStatus, now time.Time) {
	if s == nil {
		return
	}
	if s.Since.IsZero() {
		fmt.Fprintf(w, "  Resync: %s\n", s.Why)
		return
	}
	fmt.Fprintf(w, "  Resync, needed for %s: %s", age(max(0, now.Sub(s.Since))), s.Why)
	if !s.Opens.IsZero() {
		fmt.Fprintf(w, "; it begins at %s, or now by failback resync", clock(s.Opens))
	}
	fmt.Fprintln(w)
}
