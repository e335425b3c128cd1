package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

func (t *tool) pinCommand() *cobra.Command {
	var until, note string
	c := &cobra.Command{
		Use:   "pin GROUP POINT",
		Short: "Keep a point, whatever the policy says",
		Long: `Keeps a point from being dropped: by the plan's grid, and for want of space. It holds until failback unpin, or until the time that --until
gives, and survives restarts. A pin that is there already is replaced.

What is pinned takes space on the retention volume that nothing gives back. When the volume is full of it, replication is held back;
failback status says so then, and which pins it is.

--until takes a time or how long from now:
  2h  3d  1h30m            from now
  18:00                    today, or tomorrow if that has passed
  2026-12-24               the end of that day
  2026-12-24 18:00         in this machine's time zone (or with seconds, or as 2026-12-24T18:00:00Z)`,
		Example: "  failback pin erp 12 --until 7d --note \"before the upgrade\"\n  failback pin erp 12",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return t.pin(c.Context(), args, c.Flags().Changed("until"), until, note)
		},
	}
	c.Flags().StringVar(&until, "until", "", "`TIME` when the pin ends by itself (default: never)")
	c.Flags().StringVar(&note, "note", "", "why: `TEXT` of one line, that points and status show")
	return c
}

func (t *tool) unpinCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "unpin GROUP POINT",
		Short:   "Take a pin back",
		Long:    "Takes the pin of a point back: policy may drop it again. A point that is not pinned stays as it is.",
		Example: "  failback unpin erp 12",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			group, err := groupOf(args[0])
			if err != nil {
				return err
			}
			point, err := t.point(c.Context(), args[0], args[1], 0)
			if err != nil {
				return err
			}
			return t.with(func(o *transport.OperatorClient) error {
				p, err := o.Unpin(c.Context(), group, point)
				if err != nil {
					return err
				}
				return t.printPin(group, p)
			})
		},
	}
}

func (t *tool) pin(ctx context.Context, args []string, ends bool, until, note string) error {
	group, err := groupOf(args[0])
	if err != nil {
		return err
	}
	pin := replication.Pin{Note: note}
	if pin.Point, err = t.point(ctx, args[0], args[1], 0); err != nil {
		return err
	}
	if ends {
		if pin.Until, err = timeOf(until, time.Now()); err != nil {
			return settings.Usage(fmt.Errorf("--until: %w", err))
		}
	}
	if err := replication.CheckNote(note); err != nil {
		return settings.Usage(fmt.Errorf("--note: %w", err))
	}
	return t.with(func(c *transport.OperatorClient) error {
		p, err := c.Pin(ctx, group, pin)
		if err != nil {
			return err
		}
		return t.printPin(group, p)
	})
}

func (t *tool) printPin(group replication.GroupID, p replication.Point) error {
	result := struct {
		Group  replication.GroupID `json:"group"`
		Point  replication.PointID `json:"point"`
		Pinned bool                `json:"pinned"`
		Until  time.Time           `json:"pinned_until,omitzero"`
		Note   string              `json:"pin_note"`
	}{group, p.ID, p.Pinned, p.PinnedUntil, p.PinNote}
	return t.print(result, func(w io.Writer) {
		if p.Pinned {
			fmt.Fprintf(w, "group %s: point %d is %s\n", group, p.ID, pinnedText(p.PinnedUntil, p.PinNote))
		} else {
			fmt.Fprintf(w, "group %s: point %d is not pinned; policy says how long it is kept\n", group, p.ID)
		}
	})
}

// pinnedText says of a pin how long it holds, and why.
func pinnedText(until time.Time, note string) string {
	text := "pinned"
	if !until.IsZero() {
		text += " until " + clock(until)
	}
	if note != "" {
		text += ": " + note
	}
	return text
}

// printPins tells of the pins in a group's status.
func printPins(w io.Writer, g replication.GroupStatus) {
	for _, p := range g.Pins {
		fmt.Fprintf(w, "  Point %d is %s\n", p.Point, pinnedText(p.Until, p.Note))
	}
}

// lastYear is the first year that a time to come may not lie in: nanoseconds since 1970 end in 2262.
const lastYear = 2200

// timeOf reads a time to come as people write it: a moment, in this machine's time zone where it names none, or how long from now.
func timeOf(s string, now time.Time) (time.Time, error) {
	s = strings.TrimSpace(s)
	if d, err := replication.ParseDuration(s); err == nil {
		if d <= 0 {
			return time.Time{}, fmt.Errorf("%q is no time to come", s)
		}
		return now.Add(time.Duration(d)), nil
	}
	now = now.Local()
	at, err := time.Parse(time.RFC3339, s)
	for _, form := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if err != nil {
			at, err = time.ParseInLocation(form, s, time.Local)
		}
	}
	if err != nil {
		if at, err = time.ParseInLocation("2006-01-02", s, time.Local); err == nil {
			at = at.AddDate(0, 0, 1)
		}
	}
	if err != nil {
		var t time.Time
		if t, err = time.ParseInLocation("15:04", s, time.Local); err == nil {
			at = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, time.Local)
			if !at.After(now) {
				at = at.AddDate(0, 0, 1)
			}
		}
	}
	if err != nil {
		return at, fmt.Errorf("%q is neither a time nor a duration: write it as 2026-12-24 18:00, 2026-12-24, 18:00, 2h or 7d", s)
	}
	if at.Year() >= lastYear {
		return at, fmt.Errorf("%q is too far away: leave it out to pin for ever", s)
	}
	if !at.After(now) {
		return at, fmt.Errorf("%q has passed: it is %s", s, clock(now))
	}
	return at, nil
}
