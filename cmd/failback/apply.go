package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

func (t *tool) applyCommand() *cobra.Command {
	var yes, dryRun bool
	c := &cobra.Command{
		Use:   "apply PLAN",
		Short: "Change the plan of a group that is protected: add or remove disks, change policy",
		Long: `Shows how the plan differs from the one in force, asks, and puts it into force while the group stays protected.

What can change: a disk more or less, or a machine with its disks; policy, retention, priority; the commands snapshot, release and changes;
keep_original from true to false, which unpins point 0. What can't is refused by name, with what to do instead: another
source, target or format of a disk, os, process_server (failback move changes that). Then nothing is changed.

A disk that joins needs a point of the group to be listed already. It is compared whole with its target and written there with the next cycle that
begins, while the others send their changes as ever; a cycle that is open is finished without it. The point of that cycle is its first one.
Points before don't have it: reading, drilling or extracting it there is refused, and a rewind to before leaves its target as it was at its
first point. What its target held before is not kept, with keep_original neither. Where in the plan the disk stands does not matter.

A disk that is in the plan no more leaves: its replication ends. The disks are brought to the last point first; its target stays as it is
there, is closed, and is free to be used, or deleted: no move touches it any more, a rewind to a point that has it neither. Points up to
the last one keep the disk, to be read, drilled or extracted, until they are dropped, and only as long as nobody writes to its target,
which holds what the journal does not; later points don't have it, and say so. It can't leave while a rewind holds the disks or a commit
is under way; a cycle that is open starts over without it; the last disks can't leave (failback unprotect). In a plan that comes later it
may join again, by being compared whole: what needs its target as it was left is gone then. One plan can't have disks leave and others join.

The group is opened anew with the plan: what is under way goes on from where it durably was, but a cycle of sources without snapshots
starts over. It asks on a terminal; elsewhere it takes --yes. PLAN may be - for standard input, with --yes or --dry-run.`,
		Example: "  failback apply erp.yaml --dry-run\n  failback apply erp.yaml\n  failback apply erp.yaml --yes --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if yes && dryRun {
				return settings.Usage(errors.New("--yes and --dry-run: give one of them"))
			}
			text, err := t.readPlan(args[0])
			if err != nil {
				return err
			}
			return t.apply(c.Context(), replication.ApplyRequest{Plan: text}, yes, dryRun)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "don't ask")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only show what differs; exit code 1 if it can't be applied")
	return c
}

// apply shows what a request does, asks, and does it.
func (t *tool) apply(ctx context.Context, r replication.ApplyRequest, yes, dryRun bool) error {
	return t.with(func(c *transport.OperatorClient) error {
		r.DryRun = true
		a, err := c.Apply(ctx, r)
		if err != nil {
			return err
		}
		switch {
		case dryRun || a.Failed() || len(a.Changes) == 0:
			err := t.print(a, func(w io.Writer) { printApplied(w, a) })
			if a.Failed() {
				err = errors.Join(err, errQuiet)
			}
			return err
		case !yes && !t.interactive():
			return settings.Usage(errors.New("nobody is there to be asked: look at it with --dry-run, then say --yes"))
		case !yes:
			printApplied(t.err, a)
			if err := t.askToApply(a, r.MoveTo); err != nil {
				return err
			}
		}
		r.DryRun, r.From = false, a.From
		done, err := c.Apply(ctx, r)
		if err != nil {
			return err
		}
		return t.print(done, func(w io.Writer) {
			if yes {
				printApplied(w, done)
			}
			if r.MoveTo != "" {
				fmt.Fprintf(w, "group %s: process server %s has it now; see failback status %s\n", done.Group, r.MoveTo, done.Group)
				return
			}
			fmt.Fprintf(w, "group %s: the plan is in force, with %s; see failback status %s\n", done.Group, plural(len(done.Changes), "change"), done.Group)
		})
	})
}

func (t *tool) askToApply(a replication.Applied, moveTo string) error {
	if moveTo != "" {
		fmt.Fprintf(t.err, "Move group %s to process server %s? [y/N] ", a.Group, moveTo)
	} else if gone := leaving(a); len(gone) > 0 {
		fmt.Fprintf(t.err, "Replication of %s ends. Put this plan of group %s into force? [y/N] ", strings.Join(gone, ", "), a.Group)
	} else {
		fmt.Fprintf(t.err, "Put this plan of group %s into force? [y/N] ", a.Group)
	}
	answer, err := bufio.NewReader(t.in).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("read the answer: %w", err)
	}
	if s := strings.ToLower(strings.TrimSpace(answer)); s != "y" && s != "yes" {
		return &replication.Problem{Code: "not-applied", Message: "nothing was changed", Remedy: "none needed"}
	}
	return nil
}

// leaving returns the disks that leave with a plan.
func leaving(a replication.Applied) (gone []string) {
	for _, c := range a.Changes {
		if c.Key == "disk" && c.Now == "" {
			gone = append(gone, c.Subject)
		}
	}
	return gone
}

func printApplied(w io.Writer, a replication.Applied) {
	if len(a.Changes) == 0 {
		fmt.Fprintf(w, "group %s: this plan is in force already\n", a.Group)
	}
	for _, c := range a.Changes {
		mark, to := "~", fmt.Sprintf("%s -> %s", c.Was, c.Now)
		switch {
		case c.Was == "":
			mark, to = "+", c.Now
		case c.Now == "":
			mark, to = "-", c.Was
		}
		if c.Refused {
			fmt.Fprintf(w, "%s %s %s: %s\n    REFUSED: %s\n    What to do: %s\n", mark, c.Subject, c.Key, to, c.Effect, c.Remedy)
			continue
		}
		fmt.Fprintf(w, "%s %s %s: %s\n    %s\n", mark, c.Subject, c.Key, to, c.Effect)
	}
	for _, f := range a.Findings {
		fmt.Fprintf(w, "%-8s %s: %s  [%s]\n", f.Severity, f.Subject, f.Message, f.Code)
		if f.Remedy != "" && f.Severity != replication.Info {
			fmt.Fprintf(w, "         What to do: %s\n", f.Remedy)
		}
	}
	if a.Failed() {
		fmt.Fprintf(w, "group %s: this plan can't be applied; nothing is changed\n", a.Group)
	}
}

// printUnborn tells of the disks that a move to a point leaves alone.
func printUnborn(w io.Writer, all []replication.UnbornDisk) {
	for _, u := range all {
		if u.Left > 0 {
			fmt.Fprintf(w, "  disk %s left after point %d: its target stays as it was left\n", u.Disk, u.Left)
		} else if u.Joined == 0 {
			fmt.Fprintf(w, "  disk %s has joined, and no point has it yet: it is left alone\n", u.Disk)
		} else {
			fmt.Fprintf(w, "  disk %s joined at point %d: it stays as it was there\n", u.Disk, u.Joined)
		}
	}
}

// unbornAt returns the disks that a move to a point leaves alone, by a group's status: they joined later, or the point has them and they have left.
func unbornAt(g replication.GroupStatus, p replication.PointID) (all []replication.UnbornDisk) {
	for _, d := range g.Disks {
		if d.Unborn || d.Joined > p {
			all = append(all, replication.UnbornDisk{Disk: d.Disk, Joined: d.Joined})
		}
	}
	for _, d := range g.Departed {
		if d.At(p) {
			all = append(all, replication.UnbornDisk{Disk: d.Disk, Joined: d.Joined, Left: d.Last})
		}
	}
	return all
}
