package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

const planHelp = `A plan is a YAML file, one for each group of machines that share recovery points:

  group: erp
  os: linux                       # linux or windows; one for the whole group
  process_server: ps1             # the name by which the process server in Azure was started
  policy: failback                # a point every 5m, kept for 24h; or a mapping of your own:
                                  #   policy: {crash_interval: 5m, app_interval: 60m, retention: 24h, rpo_alert: 15m, head_lag: 30s}
                                  #   retention: how far back (7d), or steps: all for 2h, every 1h for 22h, every 4h for 6d
                                  #   resync_window: when a resync may begin by itself: 18:00-06:00, or mon-fri 22:00-05:00; sat,sun; in Europe/Berlin
                                  #   head_lag: how long it may come to take to bring the disks to the last point; 0s: at once
  retention: {soft: 70%, hard: 90%, reserve: 2%} # optional: what the journal may take of the retention volume, or sizes: 500GiB
  priority: 10                    # optional: 1 to 100, the group's part where groups share a limit (failback throttle)
  copy_order: largest             # optional: disks are copied whole with the largest first; given (the default): as listed here
  machines:
    - name: erp-db
      disks:
        - id: os
          source: image:/srv/azure/erp-db-os.raw            # file or block device, on the process server
          target: /vmfs/volumes/ds1/erp-db/erp-db.vmdk      # made if absent; on the master target
          format: vmfs                                      # optional: raw, device, vmfs, monolithicFlat, monolithicSparse...
        - id: data
          source: image:/dev/disk/by-id/...
          target: /dev/disk/by-id/wwn-0x6000c29...
          snapshot: COMMAND       # optional: makes a stable view of the source; release lets go of it,
          release: COMMAND        # changes prints what changed between two points ("offset length" a line).
          changes: COMMAND        # These three may stand with a machine or the group, as default for the disks below.
      quiesce: {freeze: COMMAND, thaw: COMMAND, timeout: 30s} # optional, with a machine or the group: run on the process server around the cut of
                                  # all disks, every app_interval, so that the point is application-consistent. thaw always runs, and may run twice.`

func (t *tool) checkCommand() *cobra.Command {
	var ask replication.PathAsk
	var churn string
	var list bool
	var explain string
	most := byteCount(256 << 20)
	c := &cobra.Command{
		Use:   "check PLAN | --list | --explain CODE",
		Short: "Tell everything that would go wrong with a plan, before a byte moves",
		Long: `Looks at the plan, the sources, the targets and the path between the two sides, and tells everything that would go wrong. Nothing is changed.
Exit code 1 if the plan would not work; warnings alone leave it at 0. PLAN may be - for standard input.

It looks at the process server too (versions, clock, certificates, space), and at the master target's machine: how many disks it would have, and what it
shows of VMware's controllers, tools and disk.EnableUUID, and of LVM below. What the journal comes to take is reckoned from --churn, or from an assumed one,
the plan's retention and the sizes of the disks. All is told at once. Each finding has a code; --list tells all that there are, --explain what one
stands for. Codes of Azure Site Recovery, given beside ours where it has one for the same thing, can be explained too.

The path is measured by the process server, which connects as it does for replication: TCP, TLS, round-trip time, clocks, whether large packets
vanish where small ones pass (a wrong MTU behind a filter), and the rate each way, by filling it with padding over four connections for --path-time
or --path-bytes, whichever is over first. What replicates meanwhile shares the link. From the rate follow the time of the first point at most, and whether
the RPO of the plan holds at a --churn; compression comes on top.

` + planHelp,
		Example: "  failback check erp.yaml\n  failback check erp.yaml --churn 20MB/s --path-time 10s\n  failback check erp.yaml --path-time 0   # without measuring\n  failback check --explain 95226",
		Args: func(c *cobra.Command, args []string) error {
			if list || explain != "" {
				return cobra.NoArgs(c, args)
			}
			return cobra.ExactArgs(1)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) (err error) {
			switch t.local = list || explain != ""; {
			case list && explain != "":
				return settings.Usage(errors.New("give --list or --explain, not both"))
			case list:
				return t.listRules()
			case explain != "":
				return t.explainRule(explain)
			}
			if churn != "" {
				if ask.Churn, err = parseRate(churn); err != nil {
					return settings.Usage(fmt.Errorf("--churn: %w", err))
				}
			}
			if ask.MaxBytes = int64(most); most <= 0 {
				return settings.Usage(errors.New("--path-bytes: give more than zero; --path-time 0 measures no path"))
			}
			if err := ask.Check(); err != nil {
				return settings.Usage(err)
			}
			return t.check(c.Context(), args[0], ask)
		},
	}
	c.Flags().DurationVar(&ask.Each, "path-time", 3*time.Second, "fill the path for so long each way, at most 1m; 0: don't measure it")
	c.Flags().Var(&most, "path-bytes", "send at most so much each way, up to 1G")
	c.Flags().StringVar(&churn, "churn", "", "what is expected to change, such as 20MB/s (MB: a million bytes; MiB, Mbit): tells whether the RPO holds, and what the journal takes")
	c.Flags().BoolVar(&list, "list", false, "list all codes of findings; asks no master target")
	c.Flags().StringVar(&explain, "explain", "", "tell what a `CODE` stands for, ours or one of Azure Site Recovery's; asks no master target")
	return c
}

func (t *tool) check(ctx context.Context, path string, ask replication.PathAsk) error {
	text, err := t.readPlan(path)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		found, err := c.Check(ctx, text, ask)
		if err != nil {
			return err
		}
		group, findings := found.Group, found.Findings
		ok := !slices.ContainsFunc(findings, func(f replication.Finding) bool { return f.Severity == replication.Error })
		result := struct {
			Group    replication.GroupID   `json:"group"`
			Findings []replication.Finding `json:"findings"`
			OK       bool                  `json:"ok"`
			Path     *replication.Path     `json:"path,omitempty"` // where it was measured
		}{group, findings, ok, found.Path}
		if err := t.print(result, func(w io.Writer) { printFindings(w, group, findings) }); err != nil {
			return err
		}
		if !ok {
			return errQuiet
		}
		return nil
	})
}

// printFindings writes what was found, the worst first.
func printFindings(w io.Writer, group replication.GroupID, findings []replication.Finding) {
	count := make(map[replication.Severity]int)
	for _, s := range []replication.Severity{replication.Error, replication.Warning, replication.Info} {
		for _, f := range findings {
			if f.Severity != s {
				continue
			}
			count[s]++
			code := f.Code
			if f.ASR != "" {
				code += ", ASR " + f.ASR
			}
			fmt.Fprintf(w, "%-8s %s: %s  [%s]\n", s, f.Subject, f.Message, code)
			if f.Remedy != "" {
				fmt.Fprintf(w, "         What to do: %s\n", f.Remedy)
			}
		}
	}
	switch errs, warnings := count[replication.Error], count[replication.Warning]; {
	case errs > 0:
		fmt.Fprintf(w, "group %s: would not work: %s, %s\n", group, plural(errs, "error"), plural(warnings, "warning"))
	case warnings > 0:
		fmt.Fprintf(w, "group %s: would work, with %s\n", group, plural(warnings, "warning"))
	default:
		fmt.Fprintf(w, "group %s: nothing stands in the way\n", group)
	}
}

// readPlan returns the text of the plan at path, or from standard input for "-".
func (t *tool) readPlan(path string) (text []byte, err error) {
	in := t.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, &replication.Problem{Code: "plan", Message: fmt.Sprintf("read the plan: %v", err), Remedy: "name the plan's file; failback check --help shows what is in one"}
		}
		defer f.Close()
		in = f
	}
	text, err = io.ReadAll(io.LimitReader(in, transport.MaxPlan+1))
	if err != nil {
		return nil, &replication.Problem{Code: "plan", Message: fmt.Sprintf("read the plan: %v", err), Remedy: "name the plan's file"}
	}
	if len(text) > transport.MaxPlan {
		return nil, &replication.Problem{Code: "plan", Message: fmt.Sprintf("%s is not a plan: it has more than %s", path, size(transport.MaxPlan)), Remedy: "name the plan's file"}
	}
	return text, nil
}

func (t *tool) reprotectCommand() *cobra.Command {
	var wait bool
	c := &cobra.Command{
		Use:   "reprotect PLAN",
		Short: "Start protecting a group, or carry on",
		Long: `Starts to bring the plan's group home: the first point is made by comparing both sides, later ones by sending what changed.
Where the group is protected by the same plan already, it carries on where it was. Returns at once; with --wait, when the
first point is listed. PLAN may be - for standard input.

` + planHelp,
		Example: "  failback reprotect erp.yaml --wait",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return t.reprotect(c.Context(), args[0], wait) },
	}
	c.Flags().BoolVar(&wait, "wait", false, "return when the first point is listed, and fail if the group stops before")
	return c
}

func (t *tool) reprotect(ctx context.Context, path string, wait bool) error {
	text, err := t.readPlan(path)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		group, carriedOn, err := c.Reprotect(ctx, text)
		if err != nil {
			return err
		}
		result := struct {
			Group     replication.GroupID `json:"group"`
			CarriedOn bool                `json:"carried_on"`
			Point     replication.PointID `json:"point,omitempty"` // the last listed one; with --wait
		}{Group: group, CarriedOn: carriedOn}
		if wait {
			if result.Point, err = t.waitFirst(ctx, c, group); err != nil {
				return err
			}
		}
		return t.print(result, func(w io.Writer) {
			switch {
			case wait:
				fmt.Fprintf(w, "group %s is protected: point %d is listed\n", group, result.Point)
			case carriedOn:
				fmt.Fprintf(w, "group %s carries on; see failback status %s\n", group, group)
			default:
				fmt.Fprintf(w, "group %s has started; see failback status %s\n", group, group)
			}
		})
	})
}

// waitFirst returns the group's last point when there is one.
func (t *tool) waitFirst(ctx context.Context, c *transport.OperatorClient, group replication.GroupID) (point replication.PointID, err error) {
	shown := t.progress()
	defer shown.close()
	var told string
	err = t.until(ctx, shown, func() (bool, error) {
		g, err := statusOf(ctx, c, group)
		if err != nil {
			return false, err
		}
		shown.show(gaugesOf(g))
		if g.Last > 0 {
			point = g.Last
			return true, nil
		}
		if g.WaitsFor != "" && g.WaitsFor != told {
			shown.note(fmt.Sprintf("%s: waits for %s", group, g.WaitsFor))
		}
		told = g.WaitsFor
		return false, stopped(g)
	})
	return point, err
}

func gaugesOf(g replication.GroupStatus) (all []gauge) {
	for _, d := range g.Disks {
		if d.Ledger.Total > 0 {
			all = append(all, gauge{name: string(d.Disk), done: d.Ledger.Done, total: d.Ledger.Total})
		}
	}
	return all
}

// statusOf returns the status of one group.
func statusOf(ctx context.Context, c *transport.OperatorClient, group replication.GroupID) (replication.GroupStatus, error) {
	s, err := c.Status(ctx, group)
	if err != nil {
		return replication.GroupStatus{}, err
	}
	for _, g := range s.Groups {
		if g.Group == group {
			return g, nil
		}
	}
	return replication.GroupStatus{}, &replication.Problem{
		Code: "no-such-group", Message: fmt.Sprintf("the master target has no group %s", group), Remedy: "failback status lists the groups that it has",
	}
}

// stopped returns why no point is to be expected of the group any more, or nil.
func stopped(g replication.GroupStatus) error {
	switch {
	case g.State == replication.StateError && g.Problem != nil:
		return g.Problem
	case g.State == replication.StateError:
		return &replication.Problem{Code: "group-error", Message: fmt.Sprintf("group %s stopped with an error", g.Group), Remedy: "see the master target's log"}
	case g.State == replication.StateUnprotected:
		return &replication.Problem{Code: "unprotected", Message: fmt.Sprintf("group %s is not protected any more", g.Group), Remedy: "failback reprotect PLAN starts again"}
	}
	return nil
}

func (t *tool) unprotectCommand() *cobra.Command {
	var keep, giveUp, yes bool
	c := &cobra.Command{
		Use:   "unprotect GROUP",
		Short: "Stop replication; the disks stay as they are",
		Long: `Stops replication of the group. Its disks stay at the head's point, complete and consistent; failback points shows which that is.
The journal goes, and with it every other point, unless --keep-journal is given: you are asked on a terminal; elsewhere it takes --yes.
A move that was cut off is finished first. Where it can't be, as its points are damaged, the journal has to be kept: the disks stay between points.

Before the first point is listed, the disks hold neither what they were nor what the source is. Where the plan keeps the original
(keep_original), what was written over is in the journal, and would be lost with it: you are asked on a terminal; elsewhere the command
fails (exit code 1), unless --give-up-original is given.`,
		Example: "  failback unprotect erp --keep-journal\n  failback unprotect erp --yes",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return t.unprotect(c.Context(), args[0], keep, giveUp, yes)
		},
	}
	c.Flags().BoolVar(&keep, "keep-journal", false, "leave the journal on the retention volume")
	c.Flags().BoolVar(&yes, "yes", false, "don't ask")
	c.Flags().BoolVar(&giveUp, "give-up-original", false, "what the disks were before may be lost, where no point is listed yet")
	return c
}

func (t *tool) unprotect(ctx context.Context, name string, keep, giveUp, yes bool) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		if !keep && !yes {
			if err := t.mayPointsGo(ctx, c, group); err != nil {
				return err
			}
		}
		head, journal, err := c.Unprotect(ctx, group, keep, giveUp)
		var p *replication.Problem
		if errors.As(err, &p) && p.Code == replication.CodeOriginalLost && t.interactive() {
			fmt.Fprintf(t.err, "%s\n", p.Message)
			yes, aerr := t.confirm("Lose it for good, and unprotect? [y/N] ")
			if aerr != nil {
				return aerr
			}
			if !yes {
				return &replication.Problem{Code: p.Code, Message: "nothing was unprotected, and nothing lost", Remedy: p.Remedy}
			}
			head, journal, err = c.Unprotect(ctx, group, keep, true)
		}
		if err != nil {
			return err
		}
		result := struct {
			Group   replication.GroupID `json:"group"`
			AtPoint bool                `json:"at_point"`
			Head    replication.PointID `json:"head"` // means nothing unless AtPoint
			Journal string              `json:"journal"`
		}{group, head != replication.NoPoint, head, journal}
		if !result.AtPoint {
			result.Head = 0
		}
		return t.print(result, func(w io.Writer) {
			fmt.Fprintf(w, "group %s is not replicated any more; %s\n", group, standAt(head))
			if journal != "" {
				fmt.Fprintf(w, "Its journal was kept: %s\n", journal)
			} else {
				fmt.Fprintln(w, "Its journal was removed.")
			}
		})
	})
}

func standAt(head replication.PointID) string {
	if head == replication.NoPoint {
		return "its disks are at no point that is known"
	}
	return fmt.Sprintf("its disks stand at point %d", head)
}

// unreachable says whether err is that the master target is not there just now.
func unreachable(err error) bool {
	var p *replication.Problem
	return errors.As(err, &p) && p.Code == transport.CodeUnreachable
}

// mayPointsGo asks whether all points of a group may go; nil: they may, or there are none.
func (t *tool) mayPointsGo(ctx context.Context, c *transport.OperatorClient, group replication.GroupID) error {
	switch g, err := statusOf(ctx, c, group); {
	case err != nil:
		return err
	case g.Last == 0 && opened(g):
		return nil
	case !t.interactive():
		return settings.Usage(errors.New("nobody is there to be asked whether all points may go: say --yes, or --keep-journal"))
	}
	ok, err := t.confirm(fmt.Sprintf("Remove all points of group %s for good, and keep its disks as they are? [y/N] ", group))
	if err == nil && !ok {
		err = &replication.Problem{Code: "not-confirmed", Message: "nothing was removed", Remedy: "--keep-journal leaves the points on the retention volume"}
	}
	return err
}
