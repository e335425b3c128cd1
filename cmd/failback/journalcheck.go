package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"failback/replication"
	"failback/retention"
)

func (t *tool) journalCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check DIR",
		Short: "Read every byte of a journal; exit code 1 with file and offset of all damage",
		Long: `Reads every byte of the journal in DIR: the records of the log and the chain of hashes over them, the headers, indexes and blocks of every file with their checksums, that files
hold what their points' records say, and, within a move that was not finished, that both its ends can be read. It goes on behind each damage, and tells of each the file,
the offset, and which points need the damaged part for which disk; all other points can be read. Nothing is changed.

Notes are things that a crash leaves, and that are settled when a master target opens the journal: a torn record that was never acknowledged, a file that was not sealed.
The target disks are not read: failback verify compares them with the source.`,
		Example: "  failback journal check /mnt/retention/erp",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return t.journalCheck(c.Context(), args[0]) },
	}
}

func (t *tool) journalCheck(ctx context.Context, dir string) error {
	i, err := retention.Inspect(dir)
	if err != nil {
		return journalFailure(dir, err)
	}
	defer i.Close()
	shown := t.progress()
	var read int64
	found, err := i.Check(ctx, func(done, total int64) {
		read = total
		shown.show([]gauge{{name: "check", done: done, total: total}})
	})
	shown.close()
	if ctx.Err() != nil {
		return interrupted("the check did not come to its end")
	}
	if err != nil {
		return journalFailure(dir, err)
	}
	id := i.Identity()
	result := struct {
		Directory string              `json:"directory"`
		Group     replication.GroupID `json:"group"`
		Running   bool                `json:"running"`
		Records   uint64              `json:"records"`
		Read      int64               `json:"read"`
		Sound     bool                `json:"sound"`
		Hurt      []pointDisksJSON    `json:"damaged_points"` // which points can't be read in full
		Findings  []findingJSON       `json:"findings"`
	}{dir, id.Group, i.Running(), i.Records(), read, true, damagedPoints(i, found), findingsOf(i.AllDisks(), found)}
	damages := 0
	for _, f := range found {
		if f.Damage {
			damages++
		}
	}
	result.Sound = damages == 0
	err = t.print(result, func(w io.Writer) {
		printDamages(w, result.Findings)
		if i.Running() {
			fmt.Fprintf(w, "a master target has it open: checked as of record %d, the end mark of its log\n", result.Records)
		}
		if result.Sound {
			fmt.Fprintf(w, "%s is sound: %s read, %s\n", dir, size(read), plural(len(i.Points()), "point"))
			return
		}
		fmt.Fprintf(w, "%s: %s in %s\n", dir, plural(damages, "damage"), size(read))
		switch {
		case !i.Whole():
			fmt.Fprintln(w, "The log is damaged: no point can be relied on.")
		case len(result.Hurt) == 0:
			fmt.Fprintf(w, "No listed point needs what is damaged.\n")
		default:
			for _, p := range result.Hurt {
				fmt.Fprintf(w, "Disk %s can't be read in full at %s.\n", p.Disk, pointRanges(p.Points))
			}
		}
	})
	if err == nil && !result.Sound {
		err = errQuiet
	}
	return err
}

// pointDisksJSON is the points at which a disk can't be read in full.
type pointDisksJSON struct {
	Disk   replication.DiskID    `json:"disk"`
	Points []replication.PointID `json:"points"`
}

func damagedPoints(i *retention.Inspection, found []retention.Finding) []pointDisksJSON {
	out := []pointDisksJSON{}
	for d, x := range i.AllDisks() {
		one := pointDisksJSON{Disk: x.ID}
		hurt := map[replication.PointID]bool{}
		for _, f := range found {
			for _, n := range f.Needs {
				for _, p := range n.Points {
					hurt[p] = hurt[p] || int(n.Disk) == d
				}
			}
		}
		for _, p := range i.Points() {
			if hurt[p.ID] {
				one.Points = append(one.Points, p.ID)
			}
		}
		if len(one.Points) > 0 {
			out = append(out, one)
		}
	}
	return out
}
