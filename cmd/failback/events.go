package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

func (t *tool) eventsCommand() *cobra.Command {
	var since string
	var follow bool
	c := &cobra.Command{
		Use:   "events [GROUP]",
		Short: "Tell what happened: points, moves, cutovers, damage, alerts",
		Long: `Tells what happened to a group, or to all of them and to process servers, oldest first: points listed and missed, changes of state and problems, moves, steps of a cutover, drills,
damage and its repair, process servers that come and go, and alerts when they are raised, change and are over. The master target keeps the last 10,000 events.

With --follow it goes on telling until it is interrupted, also over a restart of the master target. With --json and --follow there is one document a line.

An alert that is not over shows in failback status too, and makes its group's health. Levels are healthy, warning and critical; of an alert's event, healthy says that it is over. Rules,
with the codes of Azure Site Recovery where it has one for the same:
  heartbeat 806                    the process server is not connected for 15 min
  cpu, memory                      of the process server's machine: 80 % for 15 min, 95 %
  cache                            free on the volume of its state: below 30 %, 25 % for 15 min; 20 % at once
  clock                            of the process server, a minute off
  rpo 78169                        the last point is older than the plan's rpo_alert, or twice that
  schedule                         a scheduled point was missed
  backlog 78188                    changes need 30 min, 45 min to be sent
  churn-link, churn-disks 78188    more changes than what can be sent, or written to the targets
  slow-progress, no-progress       of a disk: for 15 min
  stopped                          the group has a problem for 15 min, or is in state error
  retention                        there is no space on the retention volume
  damage                           the journal is damaged`,
		Example: "  failback events erp --since 24h\n  failback events --follow\n  failback events --since 2026-03-01T12:00:00Z --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			r := replication.EventsRequest{Follow: follow}
			if len(args) == 1 {
				if r.Group, err = groupOf(args[0]); err != nil {
					return err
				}
			}
			if r.Since, err = sinceOf(since, time.Now()); err != nil {
				return err
			}
			if follow {
				return t.followEvents(c.Context(), r)
			}
			return t.events(c.Context(), r)
		},
	}
	c.Flags().StringVar(&since, "since", "", "how long ago (30m, 24h, 7d), or when (2026-03-01T12:00:00Z), the first one happened at the earliest")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on telling, until interrupted")
	return c
}

// sinceOf reads a time: how long ago, or when.
func sinceOf(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, nil
	}
	d, err := replication.ParseDuration(s)
	if err != nil || d <= 0 {
		return time.Time{}, settings.Usage(fmt.Errorf("--since %q is neither a time ago such as 24h or 7d, nor a time such as 2026-03-01T12:00:00Z", s))
	}
	return now.Add(-time.Duration(d)), nil
}

func (t *tool) events(ctx context.Context, r replication.EventsRequest) error {
	return t.with(func(c *transport.OperatorClient) error {
		all := []replication.Event{}
		if err := c.Events(ctx, r, func(e replication.Event) error { all = append(all, e); return nil }); err != nil {
			return err
		}
		return t.print(map[string]any{"events": all}, func(w io.Writer) {
			if len(all) == 0 {
				fmt.Fprintln(w, "no events")
			}
			for _, e := range all {
				printEvent(w, e)
			}
		})
	})
}

// followEvents tells events until ctx ends, which is its good end.
func (t *tool) followEvents(ctx context.Context, r replication.EventsRequest) error {
	return t.with(func(c *transport.OperatorClient) error {
		var failed error // to write, which ends it
		lines := json.NewEncoder(t.out)
		var away time.Time // since when nobody has answered; zero: somebody does
		for {
			err := c.Events(ctx, r, func(e replication.Event) error {
				r.After, away = e.No, time.Time{}
				if t.json {
					failed = lines.Encode(e)
				} else {
					failed = printEvent(t.out, e)
				}
				return failed
			})
			switch {
			case ctx.Err() != nil:
				return nil
			case failed != nil:
				return fmt.Errorf("write the events: %w", failed)
			case err != nil && !unreachable(err):
				return err
			case away.IsZero():
				away = time.Now()
			case err != nil && time.Since(away) > t.patience:
				return errors.Join(err)
			}
			select { // it shuts down, or has
			case <-time.After(t.poll):
			case <-ctx.Done():
				return nil
			}
		}
	})
}

// printEvent writes an event as one line, and what to do on another.
func printEvent(w io.Writer, e replication.Event) error {
	level := string(e.Level)
	if e.Level == replication.Healthy {
		level = "-"
	}
	about := string(e.Group)
	switch {
	case about == "":
		about = e.Subject
	case e.Subject != "" && e.Subject != about:
		about += " " + e.Subject
	}
	kind := string(e.Kind)
	if e.Rule != "" {
		kind += " " + e.Rule
	}
	_, err := fmt.Fprintf(w, "%s  %-8s  %s  %s: %s\n", clock(e.Time), level, about, kind, e.Message)
	if err == nil && e.Remedy != "" {
		_, err = fmt.Fprintf(w, "      What to do: %s\n", e.Remedy)
	}
	return err
}
