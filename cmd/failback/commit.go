package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

func (t *tool) commitCommand() *cobra.Command {
	var r replication.CommitRequest
	var point, notBefore string
	var forecast bool
	c := &cobra.Command{
		Use:     "commit GROUP",
		Aliases: []string{"cutover"},
		Short:   "Fail back: bring the disks to the last point, and give them to their machine",
		Long: `Makes the last point, brings the disks to it, and closes them: from then on they are the machine's, and nothing reads or writes them here.
The group accepts no cycles any more; all its points stay until failback finish, and failback undo takes it back, as long as nobody has
written to the disks.

 1. --not-before: it waits until then; replication goes on. A time without its date, or how long from now, is another instant
    later: the same command line does not take part then; failback status shows how far it is.
 2. --stop-command is run. While the machine still runs, the disks are brought up, and points are made, so that little is left to do when it is
    down; none is made where what changed is found by reading whole disks. The command has to end with 0 when the machine at the source is stopped: then nothing that it wrote is lost. Without it,
    the last point is what the machine had written at that moment.
 3. The last point is made, and sent ahead of all limits of the link (failback throttle). With --point it is not: the disks go to that one.
 4. --verify: the point is compared with the source's snapshot, by hashes.
 5. The disks are brought to the point, and synced. No point is given up for it: where there is no space for that, nothing is changed.
 6. The disks are closed: locks are let go of, and what they look like is noted.
 7. --after-command is run: to start the machine, for example.

--forecast changes nothing: it tells how long the machine would be down, what of that each step takes, and how that was estimated. Give it the
same flags as the commit; what the stop-command says does not matter, only whether there is one. The stop-command's own time is not in it.

Until the disks move (5), whatever fails leaves all as it was. The commands run on the master target's machine, as its user, by sh, with group
and point as $1 and $2 (point 0: not made yet), also FAILBACK_GROUP and FAILBACK_POINT, for 30 minutes at most. Each step is noted before it is taken: if this tool, the
master target or the power goes, it goes on where it was, and a command that was running is run again. The same command line again takes
part in a commit that is under way; and where the group is committed, and its after-command failed, or did not run because an undo was asked
for, it runs that again. No drill begins while a commit is under way, and the points that it needs are not dropped.`,
		Example: "  failback commit erp --stop-command … --verify --forecast\n  failback commit erp --stop-command 'ssh erp-db poweroff-and-wait' --verify --after-command 'govc vm.power -on erp-db'\n  failback commit erp --point 318\n  failback commit erp --point latest-app\n  failback commit erp --not-before 02:00",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if c.Flags().Changed("point") {
				if r.Point, err = t.point(c.Context(), args[0], point, 1); err != nil {
					return err
				}
			}
			if c.Flags().Changed("not-before") {
				if r.NotBefore, err = timeOf(notBefore, time.Now()); err != nil {
					return settings.Usage(fmt.Errorf("--not-before: %w", err))
				}
			}
			if forecast {
				return t.forecast(c.Context(), args[0], r)
			}
			return t.commit(c.Context(), args[0], r)
		},
	}
	c.Flags().StringVar(&point, "point", "", "`POINT` to bring the disks to, in the place of one that is made now: its number, latest, or latest-app")
	c.Flags().StringVar(&r.Stop, "stop-command", "", "`COMMAND` that stops the machine at the source, before the last point is made")
	c.Flags().StringVar(&r.After, "after-command", "", "`COMMAND` to be run when the disks are closed")
	c.Flags().BoolVar(&forecast, "forecast", false, "tell how long the machine would be down, and change nothing")
	c.Flags().BoolVar(&r.Verify, "verify", false, "compare the point with the source before the disks move")
	c.Flags().StringVar(&notBefore, "not-before", "", "`TIME` before which nothing happens: a time, or how long from now")
	return c
}

// cutoverJSON is where a commit or an undo left the disks.
type cutoverJSON struct {
	Group     replication.GroupID `json:"group"`
	Committed bool                `json:"committed"`
	Head      replication.PointID `json:"head"`
	Held      bool                `json:"held"`                 // undone: the disks are held there
	Down      time.Duration       `json:"down_nanos,omitempty"` // committed: from the machine's stop until its disks were closed; 0: not known
}

func (t *tool) commit(ctx context.Context, name string, r replication.CommitRequest) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		var down time.Duration
		head, err := t.cuttingOver(func(show func(replication.CutoverStatus)) (replication.PointID, error) {
			return c.Commit(ctx, group, r, func(s replication.CutoverStatus) {
				down = s.Down
				show(s)
			})
		})
		if err != nil {
			return goesOn(group, "commit", err)
		}
		return t.print(cutoverJSON{Group: group, Committed: true, Head: head, Down: down}, func(w io.Writer) {
			fmt.Fprintf(w, "group %s is committed: its disks stand at point %d, and are the machine's\n", group, head)
			if down > 0 {
				fmt.Fprintf(w, "%s went by from the machine's stop until its disks were closed\n", age(down))
			}
			fmt.Fprintf(w, "failback undo %s takes it back, as long as nobody has written to them; failback finish %s ends the group, and its points\n", group, group)
		})
	})
}

// goesOn says that what was asked for goes on, where only the master target does not answer any more.
func goesOn(group replication.GroupID, what string, err error) error {
	var p *replication.Problem
	if !errors.As(err, &p) || p.Code != transport.CodeUnreachable {
		return err
	}
	return &replication.Problem{Code: p.Code, Message: p.Error(), Remedy: fmt.Sprintf("%s. If the %s had begun, it goes on as soon as the master target runs: failback status %s", p.Remedy, what, group)}
}

// cuttingOver shows the progress of a commit or an undo.
func (t *tool) cuttingOver(do func(show func(replication.CutoverStatus)) (replication.PointID, error)) (replication.PointID, error) {
	shown := t.progress()
	defer shown.close()
	told := ""
	return do(func(c replication.CutoverStatus) {
		if c.Doing != "" && c.Doing != told {
			shown.note(c.Doing)
			told = c.Doing
		}
		if c.Total > 0 {
			shown.show([]gauge{{name: c.Step, done: c.Done, total: c.Total, left: c.Left}})
		}
	})
}

func (t *tool) undoCommand() *cobra.Command {
	var original bool
	c := &cobra.Command{
		Use:   "undo GROUP",
		Short: "Take a commit back: the disks go to where they were, and replication goes on",
		Long: `Takes a commit back, one that is under way too. The disks go back to where they were: held at the point at which a rewind had held them,
or following new points again; with --to-original to point 0, and held there. Replication goes on where it was: start the machine at
the source again, if it was stopped (a stop-command that was cut off may have stopped it, too). It is refused while the after-command runs; an
after-command that has not run yet does not run any more, be it that the undo is refused in the end.

Once a group is committed, the disks are the machine's. They are looked at first, all of them: size, content id, and the fingerprint that
was taken when they were closed. If anybody has written to one, the machine for example, undo is refused, and nothing is touched: these
bytes are newer than ours. What is left then: revert the disks to the platform's snapshot of before the machine was started, and undo
again; or failback finish, and failback reprotect, which compares. A block device has neither content id nor times: there the fingerprint
compares a sample of blocks, and all places where file systems note that they were mounted.`,
		Example: "  failback undo erp\n  failback undo erp --to-original",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return t.undo(c.Context(), args[0], original) },
	}
	c.Flags().BoolVar(&original, "to-original", false, "to point 0, the disks as they were before they were protected")
	return c
}

func (t *tool) undo(ctx context.Context, name string, toOriginal bool) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		head, err := t.cuttingOver(func(show func(replication.CutoverStatus)) (replication.PointID, error) {
			return c.Undo(ctx, group, toOriginal, show)
		})
		if err != nil {
			return goesOn(group, "undo", err)
		}
		held := toOriginal
		if g, serr := statusOf(ctx, c, group); serr == nil { // it is undone, whatever became of the question
			held = g.Held
		}
		return t.print(cutoverJSON{Group: group, Head: head, Held: held}, func(w io.Writer) {
			fmt.Fprintf(w, "group %s is replicated again; its disks stand at point %d", group, head)
			if held {
				fmt.Fprintf(w, ", and are held there: failback advance %s lets go of them\n", group)
			} else {
				fmt.Fprintln(w, ", and follow new points")
			}
		})
	})
}

func (t *tool) finishCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "finish GROUP",
		Short: "End a group that is committed: its points go, its disks stay",
		Long: `Ends a group that was committed: its journal goes, and with it every point; the disks stay as they are, and are not touched. After that
nothing can be taken back. It asks on a terminal; elsewhere it takes --yes. A group that is not committed is ended by failback unprotect.`,
		Example: "  failback finish erp --yes",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return t.finish(c.Context(), args[0], yes) },
	}
	c.Flags().BoolVar(&yes, "yes", false, "don't ask")
	return c
}

func (t *tool) finish(ctx context.Context, name string, yes bool) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		if !yes {
			if !t.interactive() {
				return settings.Usage(errors.New("nobody is there to be asked: say --yes"))
			}
			ok, err := t.confirm(fmt.Sprintf("Remove all points of group %s for good, and keep its disks as they are? [y/N] ", group))
			if err != nil {
				return err
			}
			if !ok {
				return &replication.Problem{Code: replication.CodeCommitted, Message: "nothing was removed", Remedy: fmt.Sprintf("the group stays committed: failback undo %s takes that back", group)}
			}
		}
		head, err := c.FinishCutover(ctx, group)
		if err != nil {
			return err
		}
		result := struct {
			Group   replication.GroupID `json:"group"`
			AtPoint bool                `json:"at_point"`
			Head    replication.PointID `json:"head"` // when the disks were given; means nothing unless AtPoint
		}{group, head != replication.NoPoint, head}
		if !result.AtPoint {
			result.Head = 0
		}
		return t.print(result, func(w io.Writer) {
			fmt.Fprintf(w, "group %s is finished: its points are gone, its disks are the machine's\n", group)
		})
	})
}

// printCutover tells how far a commit is, and what comes next.
func printCutover(w io.Writer, c *replication.CutoverStatus, now time.Time) {
	if c == nil {
		return
	}
	fmt.Fprintf(w, "  Cutover: %s for %s", c.Step, age(max(0, now.Sub(c.Since))))
	if c.Point > 0 {
		fmt.Fprintf(w, ", at point %d", c.Point)
	}
	if c.Doing != "" {
		fmt.Fprintf(w, ": %s", c.Doing)
	}
	if c.Total > 0 {
		fmt.Fprintf(w, ", %s of %s", percent(c.Done, c.Total), size(c.Total))
	}
	if c.Left > 0 {
		fmt.Fprintf(w, ", about %s left", age(c.Left))
	}
	fmt.Fprintln(w)
	if c.After != "" && c.Ended != "" {
		fmt.Fprintf(w, "  After-command: %s\n", c.Ended)
	}
	fmt.Fprintf(w, "  Next: %s\n", c.Next)
}
