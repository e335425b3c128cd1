package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

func (t *tool) adoptCommand() *cobra.Command {
	var r replication.AdoptRequest
	var planFile string
	var disks []string
	c := &cobra.Command{
		Use:   "adopt DIR",
		Short: "Take over a group whose master target is lost, from its journal and disks",
		Long: `Has the master target take over the group whose journal is DIR: on the retention volume of the lost one, mounted as this one's own (--retention), as DIR and disks are seen
from there. The journal keeps the plan and the points; everything goes on after it: status, points, rewind, drills, cycles. The disks must be those that failback wrote last: size, content id
and fingerprint are compared, and a disk that another has written to is refused.

The old master target is refused from then on: its generation is older, the journal names another owner, and before each batch of writes it looks whether that is still itself. On the same
machine, locks tell that it does not run. A lost machine can't be seen from here: make sure that it is off, or cut off from the volume and the datastore, and say so by --old-host-is-off. That
word is the last line of defence; two machines that write to one disk destroy it.

A cycle that was on its way starts over. Where the disks do not stand at the last point, they are held there until failback advance. The process server goes on when it is started with
this master target's address: by changes where its state allows it, else by comparing.

With --list nothing is changed: it tells whose the journal is, its points and disks, and what would be refused; exit code 1 if something would.`,
		Example: `  failback adopt --list /mnt/retention/erp
  failback adopt /mnt/retention/erp --old-host-is-off
  failback adopt /mnt/retention/erp --old-host-is-off --disk erp-db/os=/vmfs/volumes/ds2/erp-db/erp-db.vmdk`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if r.Dir = args[0]; !filepath.IsAbs(r.Dir) {
				return settings.Usage(fmt.Errorf("DIR %q is not an absolute path: it is one of the master target's machine", r.Dir))
			}
			if r.Disks, err = places(disks); err != nil {
				return err
			}
			if planFile != "" {
				if r.Plan, err = t.readPlan(planFile); err != nil {
					return err
				}
			}
			return t.adopt(c.Context(), r)
		},
	}
	c.Flags().BoolVar(&r.List, "list", false, "only tell what would be done, and what stands in the way")
	c.Flags().StringArrayVar(&disks, "disk", nil, "`ID=PATH`: where a target disk is now (default: where it lay)")
	c.Flags().StringVar(&planFile, "plan", "", "`FILE` with the group's plan, for a journal that does not keep it (of an earlier release)")
	c.Flags().BoolVar(&r.OldHostIsOff, "old-host-is-off", false, "the machine of the old master target is off, or can't reach the volume and the disks: you have made sure")
	return c
}

// places reads ID=PATH.
func places(disks []string) (map[string]string, error) {
	at := map[string]string{}
	for _, s := range disks {
		id, path, ok := strings.Cut(s, "=")
		if !ok || id == "" || !filepath.IsAbs(path) {
			return nil, settings.Usage(fmt.Errorf("--disk %q is not ID=PATH with an absolute path", s))
		}
		if at[id] != "" {
			return nil, settings.Usage(fmt.Errorf("--disk %s is given twice", id))
		}
		at[id] = path
	}
	return at, nil
}

func (t *tool) adopt(ctx context.Context, r replication.AdoptRequest) error {
	return t.with(func(c *transport.OperatorClient) error {
		look := r
		look.List = true
		a, err := c.Adopt(ctx, look)
		if err != nil {
			return err
		}
		if r.List || a.Failed() {
			err := t.print(a, func(w io.Writer) { printAdoption(w, a) })
			if a.Failed() {
				err = errors.Join(err, errQuiet)
			}
			return err
		}
		if a, err = c.Adopt(ctx, r); err != nil {
			return err
		}
		return t.print(a, func(w io.Writer) {
			for _, f := range a.Findings {
				if f.Severity == replication.Warning {
					fmt.Fprintf(w, "%-8s %s: %s  [%s]\n         What to do: %s\n", f.Severity, f.Subject, f.Message, f.Code, f.Remedy)
				}
			}
			fmt.Fprintf(w, "group %s is adopted with %s, at generation %d; see failback status %s\n", a.Group, plural(len(a.Points), "point"), a.Generation, a.Group)
			if a.Held {
				fmt.Fprintf(w, "its disks are held where they stand; failback advance %s lets them go on\n", a.Group)
			}
		})
	})
}

func printAdoption(w io.Writer, a replication.Adoption) {
	owner := a.Owner
	if owner == "" {
		owner = "nobody: it was given up"
	}
	stand := fmt.Sprintf("at point %d", a.Head)
	switch {
	case a.MovingTo != 0:
		stand = fmt.Sprintf("within a move from point %d to %d, which will be finished", a.Head, a.MovingTo)
	case a.Head == 0:
		stand = "at no point: the first baseline is not complete"
	}
	if a.Held {
		stand += "; held there"
	}
	rows := [][]string{{"group", string(a.Group)}, {"journal", a.Journal}, {"belongs to", owner}, {"generation", fmt.Sprint(a.Generation)}, {"disks", stand}}
	if a.Open != 0 {
		rows = append(rows, []string{"open cycle", fmt.Sprintf("point %d: it starts over, unless it is the first", a.Open)})
	}
	table(w, rows)
	fmt.Fprintln(w)
	if len(a.Disks) > 0 {
		rows = [][]string{{"DISK", "SIZE", "LOOKED FOR AT", "STATE"}}
		for _, d := range a.Disks {
			rows = append(rows, []string{string(d.Disk), size(d.Size), d.Target, d.State})
		}
		table(w, rows)
		fmt.Fprintln(w)
	}
	if len(a.Points) > 0 {
		printPoints(w, a.Group, a.Head, a.Points)
		fmt.Fprintln(w)
	}
	printFindings(w, a.Group, a.Findings)
}
