package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

func (t *tool) statusCommand() *cobra.Command {
	var watch, ledger bool
	c := &cobra.Command{
		Use:   "status [GROUP]",
		Short: "Tell how things stand: one line for each disk",
		Long: `Tells how one group stands, or all: its state and since when, the point that its disks show (head), the last point and how old
it is (lag: what you would lose if Azure were gone now), and for each disk its state, progress, rate and what it waits for.

The disks may be a few points behind the last one, as far as the plan's head_lag lets them: they catch up when it is quiet, before
unprotect, and at once by failback advance. Nothing is lost by it: the points are in the journal.

States of a group:
  checking     sources and targets are being looked at; no byte has moved
  baseline     the first point is being made by comparing both sides
  protected    points are made as the policy says
  held         a rewind holds the head; points collect ahead of it until failback advance
  resync needed  tracking was lost; comparing again waits for the plan's resync_window, or for failback resync
  resyncing    tracking was lost; a point is being made by comparing again
  error        stopped; it says why and what to do
  unprotected  replication was ended; the disks stay at the head

In a first cycle or a resync disks are copied or compared whole, three at a time of all groups of a process server (process-server --disks). The others are
queued: "queued, place 2" is the second to begin when one is done, those of other groups counted. The plan's copy_order says which go first. A disk of
which a read does not return for 5 minutes gives its turn to the next, and goes on without one when it returns.

While something is shipped, a line tells of the link: bytes a second on the wire, how many lanes (connections) are used, how content is compressed and
why: what the rate is bound by. With --ledger, each disk's bytes of the open or last cycle: to look at; read; zero; equal on both sides; kept, as they were durable
already; repeated, as the master target holds them elsewhere; sent, and how much of it again after a lane was lost; of these by codec; as payload after compression;
on the wire, TLS included. In the end what was to look at is zero, equal, kept, repeated, or sent once; on the way, payload that waits for the wire is counted already.`,
		Example: "  failback status\n  failback status erp --ledger\n  failback status erp --watch",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			var group replication.GroupID
			if len(args) == 1 {
				if group, err = groupOf(args[0]); err != nil {
					return err
				}
			}
			if ledger {
				return t.ledgers(c.Context(), group)
			}
			if watch {
				return t.watchStatus(c.Context(), group)
			}
			return t.status(c.Context(), group)
		},
	}
	c.Flags().BoolVar(&ledger, "ledger", false, "tell where the bytes of the open or last cycle went, disk by disk")
	c.Flags().BoolVar(&watch, "watch", false, "show it again every 2 seconds, until interrupted")
	return c
}

// ledgers shows the status's ledgers; with --json it is the status.
func (t *tool) ledgers(ctx context.Context, group replication.GroupID) error {
	return t.with(func(c *transport.OperatorClient) error {
		s, err := c.Status(ctx, group)
		if err != nil {
			return err
		}
		return t.print(s, func(w io.Writer) {
			for _, g := range s.Groups {
				printLedgers(w, g)
			}
		})
	})
}

func (t *tool) status(ctx context.Context, group replication.GroupID) error {
	return t.with(func(c *transport.OperatorClient) error {
		s, err := c.Status(ctx, group)
		if err != nil {
			return err
		}
		return t.print(s, func(w io.Writer) { printStatus(w, s, time.Now()) })
	})
}

// watchStatus shows the status until ctx ends, which is its good end.
func (t *tool) watchStatus(ctx context.Context, group replication.GroupID) error {
	if t.json {
		return settings.Usage(fmt.Errorf("--watch shows many pictures, --json is one document: use one of the two"))
	}
	terminal := isTerminal(t.out)
	return t.with(func(c *transport.OperatorClient) error {
		tick := time.NewTicker(t.watch)
		defer tick.Stop()
		for {
			var picture bytes.Buffer
			s, err := c.Status(ctx, group)
			switch {
			case ctx.Err() != nil:
				return nil
			case unreachable(err):
				settings.PrintError(&picture, "failback", err)
			case err != nil:
				return err
			default:
				printStatus(screen{&picture, t.screenOf(t.out).width}, s, time.Now())
			}
			if terminal {
				fmt.Fprint(t.out, "\x1b[H\x1b[2J")
			} else {
				fmt.Fprintf(t.out, "--- %s\n", clock(time.Now()))
			}
			if _, err := t.out.Write(picture.Bytes()); err != nil {
				return fmt.Errorf("write the status: %w", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

func printStatus(w io.Writer, s replication.Status, now time.Time) {
	for i, g := range s.Groups {
		if i > 0 {
			fmt.Fprintln(w)
		}
		printGroup(w, g, now)
	}
	if len(s.Groups) == 0 {
		fmt.Fprintln(w, "no groups; failback reprotect PLAN starts one")
	}
	if len(s.Workers) == 0 {
		return
	}
	fmt.Fprintln(w)
	rows := [][]string{{"PROCESS SERVER", "STATE", "SINCE", "VERSION", "CLOCK"}}
	for _, p := range s.Workers {
		state, skew := "connected", "agrees"
		if !p.Connected {
			state = "away"
		}
		switch d := p.ClockSkew; {
		case p.NoClock:
			skew = "not told"
		case d > time.Second:
			skew = age(d) + " ahead"
		case d < -time.Second:
			skew = age(-d) + " behind"
		}
		rows = append(rows, []string{p.Name, state, clock(p.Since), p.Version, skew})
	}
	table(w, rows)
}

// opened says whether the master target has the group's journal and disks: only then it knows their sizes, and the head.
func opened(g replication.GroupStatus) bool {
	return g.Last > 0 || slices.ContainsFunc(g.Disks, func(d replication.DiskStatus) bool { return d.Size > 0 })
}

func printGroup(w io.Writer, g replication.GroupStatus, now time.Time) {
	fmt.Fprintf(w, "%s: %s", g.Group, g.State)
	if !g.Since.IsZero() {
		fmt.Fprintf(w, " for %s", age(max(0, now.Sub(g.Since))))
	}
	switch {
	case g.Last > 0 && g.Held:
		fmt.Fprintf(w, ", disks held at point %d", g.Head)
	case g.Last > 0:
		fmt.Fprintf(w, ", disks at point %d", g.Head)
	case g.State == replication.StateError && !opened(g):
		fmt.Fprint(w, ", points and disks out of reach")
	default:
		fmt.Fprint(w, ", disks at no point")
	}
	if g.Last > 0 {
		fmt.Fprintf(w, ", last point %d of %s", g.Last, clock(g.LastTime))
		if g.LastApp > 0 {
			fmt.Fprintf(w, " (application-consistent: %d of %s)", g.LastApp, clock(g.LastAppTime))
		}
	}
	if g.Behind > 0 {
		fmt.Fprintf(w, " (%s ahead of the disks, about %s to move)", plural(g.Behind, "point"), age(g.CatchUp))
	}
	if g.Open > 0 {
		fmt.Fprintf(w, ", making point %d", g.Open)
		if lacks := g.Lacks(); lacks != "" {
			fmt.Fprintf(w, " (withheld: it lacks %s)", lacks)
		}
	}
	if !g.NextCut.IsZero() {
		fmt.Fprintf(w, ", next point in %s", age(max(0, g.NextCut.Sub(now))))
	}
	fmt.Fprintln(w)
	if m := g.Move; m != nil {
		fmt.Fprintf(w, "  moving from point %d to point %d: %s %s of %s", m.From, m.To, m.Phase, percent(m.Done, m.Total), size(m.Total))
		if m.Rate > 0 {
			fmt.Fprintf(w, ", %s/s", size(int64(m.Rate)))
		}
		if m.Left > 0 {
			fmt.Fprintf(w, ", about %s left", age(m.Left))
		}
		fmt.Fprintln(w)
	}
	if p := g.Problem; p != nil {
		fmt.Fprintf(w, "  Problem: %s\n", p.Message)
		if p.Remedy != "" {
			fmt.Fprintf(w, "  What to do: %s\n", p.Remedy)
		}
	}
	for _, a := range g.Alerts {
		fmt.Fprintf(w, "  Alert, %s (%s) since %s: %s\n  What to do: %s\n", a.Level, a.Rule, clock(a.Raised), a.Message, a.Remedy)
	}
	printCutover(w, g.Cutover, now)
	if g.Open == 0 { // else a note says why
		printResync(w, g.Resync, now)
	}
	printLink(w, g)
	printSpace(w, g.Space)
	printScrub(w, g.Scrub, now)
	printPins(w, g)
	printOriginal(w, g.Original)
	printDrills(w, g, now)
	for _, n := range g.Notices {
		fmt.Fprintf(w, "  Note: %s\n", n)
	}
	for _, d := range g.Departed {
		fmt.Fprintf(w, "  Disk %s left after point %d, %s: its target %s stays as it was at point %d; points up to %d have it as long as nobody writes to that\n", d.Disk, d.Last, clock(d.Left), d.Target, d.Head, d.Last)
	}
	printDisks(w, g)
}

// binding says what a shipment's rate is bound by.
var binding = map[string]string{
	"link": "the link takes no more", "limit": "the throttle allows no more", "source": "the source is read no faster", "cores": "the process server's cores are all busy",
}

// printLink tells what a shipment makes of the link.
func printLink(w io.Writer, g replication.GroupStatus) {
	l := g.Link
	if l == nil || l.Most == 0 {
		return
	}
	fmt.Fprintf(w, "  Link: %s/s on the wire, %d of %s", size(int64(l.Rate)), l.Lanes, plural(l.Most, "lane"))
	if l.Limit > 0 {
		fmt.Fprintf(w, ", limit %s/s", size(l.Limit))
	}
	for i, m := range l.Mix {
		fmt.Fprintf(w, "%s %.0f %%", []string{"; ", ", "}[min(i, 1)]+m.Level, 100*m.Share)
	}
	raw, payload := int64(0), int64(0)
	for _, d := range g.Disks {
		raw, payload = raw+d.Ledger.Raw, payload+d.Ledger.Payload
	}
	if payload > 0 {
		fmt.Fprintf(w, ", so far %.2f to 1", float64(raw)/float64(payload))
	}
	if why := binding[l.Binds]; why != "" {
		fmt.Fprintf(w, "; %s", why)
	}
	fmt.Fprintln(w)
}

// printLedgers tells where the bytes of the open or last cycle went.
func printLedgers(w io.Writer, g replication.GroupStatus) {
	fmt.Fprintf(w, "%s: bytes of the open or last cycle\n", g.Group)
	rows := [][]string{{"DISK", "TO DO", "READ", "ZERO", "EQUAL", "KEPT", "REPEATED", "SENT", "AGAIN", "NONE", "LZ4", "S2", "ZSTD", "PAYLOAD", "WIRE"}}
	for _, d := range g.Disks {
		l, c := d.Ledger, d.Ledger.Codecs
		row := []string{string(d.Disk)}
		for _, n := range []int64{l.Total, l.Read, l.Zero, l.Equal, l.Kept, l.Repeated, l.Raw, l.Again, c.None.Raw, c.LZ4.Raw, c.S2.Raw, c.Zstd.Raw, l.Payload, l.Wire} {
			row = append(row, size(n))
		}
		rows = append(rows, row)
	}
	table(w, rows)
}

// printSpace tells how far back the points reach, and how long the space lasts.
func printSpace(w io.Writer, s *replication.SpaceStatus) {
	if s == nil {
		return
	}
	fmt.Fprintf(w, "  Journal: %d points, %s; takes %s of %s", s.Points, s.Runway, size(s.Used), size(s.Limit))
	if s.Spare > 0 {
		fmt.Fprintf(w, ", %s of it spare", size(s.Spare))
	}
	fmt.Fprintln(w)
	if s.Doing != "" {
		fmt.Fprintf(w, "  Space: %s\n", s.Doing)
	}
}

// printOriginal tells what point 0 takes.
func printOriginal(w io.Writer, o *replication.OriginalStatus) {
	switch {
	case o == nil:
	case o.Saving:
		fmt.Fprintf(w, "  Point 0: what the first cycle writes over is being saved, %s so far\n", size(o.Stored))
	default:
		fmt.Fprintf(w, "  Point 0: the disks as they were before the first cycle are kept, in %s\n", size(o.Stored))
	}
}

// stateOf is a disk's state, with its place where it is queued.
func stateOf(d replication.DiskStatus) string {
	if d.Queue > 0 {
		return fmt.Sprintf("%s, place %d", d.State, d.Queue)
	}
	return d.State
}

func printDisks(w io.Writer, g replication.GroupStatus) {
	if len(g.Disks) == 0 {
		return
	}
	lag := "-"
	if g.Last > 0 {
		lag = age(time.Duration(g.LagSeconds * float64(time.Second)))
	}
	rows := [][]string{{"DISK", "SIZE", "STATE", "PROGRESS", "RATE", "SENT", "REPEATED", "LAG", "WAITS FOR"}}
	for _, d := range g.Disks {
		progress, rate := "-", "-"
		if g.Open > 0 {
			progress = percent(d.Ledger.Done, d.Ledger.Total)
		}
		if d.Rate >= 1 {
			rate = size(int64(d.Rate)) + "/s"
		}
		state := stateOf(d)
		if d.Joined > 0 {
			state += fmt.Sprintf(", joined at point %d", d.Joined)
		}
		rows = append(rows, []string{string(d.Disk), size(d.Size), state, progress, rate, size(d.Ledger.Payload), size(d.Ledger.Repeated), lag, g.WaitsFor})
	}
	table(w, rows)
}
