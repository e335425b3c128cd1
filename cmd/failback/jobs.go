package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

func (t *tool) jobsCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "jobs [GROUP]",
		Short: "Tell what was asked for: what runs, how far it is, and how it ended",
		Long: `Lists what operators asked of a group, or of all: reprotect (until the first point is listed), rewind, advance, verify, commit, undo, finish and unprotect. A job
that has begun goes on when the one who asked is gone, and over restarts of the master target; only a verification ends with him. The master target remembers
the last 1,000.

States: running, done, failed (with the problem), cancelled (by an operator), lost (the master target was started anew in the middle, and it does not go on by itself).`,
		Example: "  failback jobs\n  failback jobs erp --all\n  failback jobs cancel 17",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			var group replication.GroupID
			if len(args) == 1 {
				if group, err = groupOf(args[0]); err != nil {
					return err
				}
			}
			return t.jobs(c.Context(), group, all)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all that are remembered, and not only what runs and the last ten")
	c.AddCommand(&cobra.Command{
		Use:   "cancel JOB",
		Short: "Take a job back",
		Long: `Takes a job back that runs: the disks of a rewind or an advance go back to where they were, as with failback move cancel; a commit is undone, as with failback undo;
a verification ends. Others can't be taken back in the middle.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || id == 0 {
				return settings.Usage(fmt.Errorf("%q is not the number of a job: failback jobs lists them", args[0]))
			}
			return t.with(func(o *transport.OperatorClient) error {
				if err := o.CancelJob(c.Context(), id); err != nil {
					return err
				}
				return t.print(struct {
					Cancelled uint64 `json:"cancelled"`
				}{id}, func(w io.Writer) { fmt.Fprintf(w, "job %d is cancelled\n", id) })
			})
		},
	})
	return c
}

// lastJobs is how many that have ended are shown.
const lastJobs = 10

func (t *tool) jobs(ctx context.Context, group replication.GroupID, all bool) error {
	return t.with(func(c *transport.OperatorClient) error {
		jobs, err := c.Jobs(ctx, group)
		if err != nil {
			return err
		}
		if !all {
			jobs = recent(jobs)
		}
		return t.print(struct {
			Jobs []replication.Job `json:"jobs"`
		}{jobs}, func(w io.Writer) { printJobs(w, jobs, time.Now()) })
	})
}

// recent leaves what runs, and the last ones that have ended.
func recent(jobs []replication.Job) []replication.Job {
	ended := 0
	for _, j := range jobs {
		if j.State != replication.JobRunning {
			ended++
		}
	}
	out := []replication.Job{}
	for _, j := range jobs {
		if j.State != replication.JobRunning {
			if ended--; ended >= lastJobs {
				continue
			}
		}
		out = append(out, j)
	}
	return out
}

func printJobs(w io.Writer, jobs []replication.Job, now time.Time) {
	if len(jobs) == 0 {
		fmt.Fprintln(w, "no jobs")
		return
	}
	rows := [][]string{{"JOB", "GROUP", "WHAT", "STATE", "BEGAN", "TOOK", "PROGRESS"}}
	for _, j := range jobs {
		end, progress := j.Ended, j.Result
		if end.IsZero() {
			end, progress = now, j.Doing
			if j.Total > 0 {
				progress += " " + percent(j.Done, j.Total)
			}
			if j.Left > 0 {
				progress += ", " + age(j.Left) + " left"
			}
		}
		if j.Problem != nil {
			progress = j.Problem.Error()
		}
		rows = append(rows, []string{strconv.FormatUint(j.ID, 10), string(j.Group), fmt.Sprintf("%s: %s", j.Kind, j.Detail), string(j.State), clock(j.Began), age(end.Sub(j.Began)), progress})
	}
	table(w, rows)
}
