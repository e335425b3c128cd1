package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

func (t *tool) throttleCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "throttle",
		Short: "Tell or change how much may go over the link",
		Long: `Without a command below it, tells what limit holds now, until when, and how much of it each group uses.

A limit is of bytes on the wire of all groups of the master target together, TLS included, kept by process servers within a tenth of a second. Groups share it by their
priorities (1 to 100; 10 is the default, or what the plan says): of two that send, one with 30 has three times as much as one with 10. What a group does not use is the
others'. None that sends has less than 64 Kbps, or half of an equal share where that is less. Orders, questions and hashes on their way to Azure are not counted: they are few.`,
		Example: `  failback throttle
  failback throttle set "20Mbps mon-fri 08:00-18:00; 200Mbps; in Europe/Berlin"
  failback throttle set none
  failback throttle priority erp 30
  failback throttle pass erp --for 1h`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return t.needsCommand(c, args)
			}
			return t.throttle(c.Context(), replication.ThrottleChange{})
		},
	}
	c.AddCommand(t.throttleSetCommand(), t.throttlePriorityCommand(), t.throttlePassCommand())
	return c
}

func (t *tool) throttleSetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "set SCHEDULE",
		Short: "Set the calendar of limits; it holds at once",
		Long: `SCHEDULE is rules with ; between them, of which the first that applies counts; where none does, there is no limit. A rule is a rate, then days and hours where it is not
for all of them. The last part may name the time zone (else it is UTC).

  20Mbps mon-fri 08:00-18:00; 200Mbps; in Europe/Berlin
  512Kbps mon,wed 22:00-06:00     hours past midnight belong to the day on which they begin
  none                            no limit

Rates: Kbps, Mbps, Gbps (thousands, millions… of bits a second), KB/s, MB/s, GB/s, KiB/s, MiB/s, GiB/s, or a number of bits a second. What Azure Site Recovery was set to may be written
as it is: 512 Kbps to 1,023 Mbps, or the numbers of Set-OBMachineSetting, such as "524288 mo,tu,we,th,fr 9:00:00-18:00:00; 2097152".`,
		Example: `  failback throttle set "20Mbps mon-fri 08:00-18:00; 200Mbps; in Europe/Berlin"`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text := strings.Join(args, " ")
			return t.throttle(c.Context(), replication.ThrottleChange{Schedule: &text})
		},
	}
}

func (t *tool) throttlePriorityCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "priority GROUP N",
		Short:   "Set a group's part of the limit",
		Long:    "Sets the group's weight where groups share a limit: 1 to 100; 10 is the default. It holds at once, until it is set again or a plan with another priority is given to reprotect.",
		Example: "  failback throttle priority erp 30",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			group, err := groupOf(args[0])
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 1 || n > replication.MaxPriority {
				return settings.Usage(fmt.Errorf("priority %q is not a number from 1 to %d", args[1], replication.MaxPriority))
			}
			return t.throttle(c.Context(), replication.ThrottleChange{Group: group, Priority: n})
		},
	}
}

func (t *tool) throttlePassCommand() *cobra.Command {
	var life time.Duration
	var end bool
	c := &cobra.Command{
		Use:   "pass GROUP",
		Short: "Let a group through for a while, whatever the limit: for the last cycle before a failback",
		Long: `The group sends as fast as the link takes it, and what it sends counts for nothing: the others keep the whole limit among themselves. It ends by itself after --for, or with
--end.`,
		Example: "  failback throttle pass erp --for 1h\n  failback throttle pass erp --end",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			group, err := groupOf(args[0])
			if err != nil {
				return err
			}
			if life <= 0 || life > 7*24*time.Hour {
				return settings.Usage(fmt.Errorf("--for %s is not up to 168h", life))
			}
			if end {
				life = 0
			}
			return t.throttle(c.Context(), replication.ThrottleChange{Group: group, Let: true, Pass: life})
		},
	}
	c.Flags().DurationVar(&life, "for", time.Hour, "how long")
	c.Flags().BoolVar(&end, "end", false, "let it through no more")
	return c
}

// throttle changes what is to be changed, and tells how it stands.
func (t *tool) throttle(ctx context.Context, change replication.ThrottleChange) error {
	return t.with(func(c *transport.OperatorClient) error {
		s, err := c.Throttle(ctx, change)
		if err != nil {
			return err
		}
		return t.print(s, func(w io.Writer) { printThrottle(w, s, time.Now()) })
	})
}

func printThrottle(w io.Writer, s replication.ThrottleStatus, now time.Time) {
	limit := "no limit"
	if s.Limit > 0 {
		limit = fmt.Sprintf("%s/s (%.4g Mbps)", size(s.Limit), float64(s.Limit)*8/1e6)
	}
	fmt.Fprintf(w, "now: %s, %s/s used", limit, size(int64(s.Use)))
	if !s.Next.IsZero() {
		fmt.Fprintf(w, ", another limit in %s", age(max(0, s.Next.Sub(now))))
	}
	fmt.Fprintf(w, "\nschedule: %s\n", s.Schedule)
	if len(s.Groups) == 0 {
		return
	}
	rows := [][]string{{"GROUP", "PRIORITY", "LIMIT NOW", "USES", ""}}
	for _, g := range s.Groups {
		limit, note := "-", ""
		if g.Limit > 0 {
			limit = size(g.Limit) + "/s"
		}
		if !g.PassUntil.IsZero() {
			note = "let through for " + age(max(0, g.PassUntil.Sub(now)))
		}
		rows = append(rows, []string{string(g.Group), fmt.Sprint(g.Priority), limit, size(int64(g.Use)) + "/s", note})
	}
	table(w, rows)
}
