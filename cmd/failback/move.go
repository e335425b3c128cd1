package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

// moveFlags are what rewind and advance take besides their arguments.
type moveFlags struct {
	dryRun bool
	giveUp bool
}

const spaceHelp = `Before it writes, a move saves on the retention volume what only the disks hold of the bytes that change. Its space is reckoned before it
starts, uncompressed. Where it fits only when older points are given up, you are asked on a terminal; elsewhere the command fails (exit
code 1) and names them, unless --give-up-history. Where it does not fit at all, it says how much is lacking, and which pins or drills
would give it. --dry-run tells all of that, and moves nothing; its exit code is 1 where the move would be refused.`

func (f *moveFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "tell what the move would write, save and take, and move nothing")
	c.Flags().BoolVar(&f.giveUp, "give-up-history", false, "give up the oldest points, as many as it takes, where the move does not fit otherwise")
}

func (t *tool) rewindCommand() *cobra.Command {
	var f moveFlags
	c := &cobra.Command{
		Use:   "rewind GROUP POINT",
		Short: "Move the disks back to a point, and hold them there",
		Long: `Moves all disks of the group back to a point and holds them there. Replication goes on: later points collect ahead of the disks,
and nothing is lost; failback advance takes it back. A disk that joined the group later (failback apply) stays as it was at its first point, one that has left the group since as it was left. Point 0, where the plan keeps it, is the disks as they were before they were protected. Returns when the disks stand at the point. If this tool, the master target
or the power goes meanwhile, the move is carried on and finished; failback move cancel takes it back.
` + pointHelp + `

` + spaceHelp,
		Example: "  failback points erp\n  failback rewind erp 12 --dry-run\n  failback rewind erp 12\n  failback rewind erp latest-app",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			point, err := t.point(c.Context(), args[0], args[1], 0)
			if err != nil {
				return err
			}
			return t.move(c.Context(), args[0], replication.MoveRequest{To: point}, f)
		},
	}
	f.add(c)
	return c
}

func (t *tool) advanceCommand() *cobra.Command {
	var f moveFlags
	c := &cobra.Command{
		Use:   "advance GROUP [POINT]",
		Short: "Move the disks forward again",
		Long: `Moves all disks of the group forward to a point. Without POINT, or at the latest one, it also lets go of them: they follow new points
again, as before the rewind. Disks that follow, and are a little behind, catch up at once. Returns when the disks stand at the point.

` + spaceHelp,
		Example: "  failback advance erp\n  failback advance erp 14",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) (err error) {
			r := replication.MoveRequest{Advance: true}
			if len(args) == 2 {
				if r.To, err = t.point(c.Context(), args[0], args[1], 1); err != nil {
					return err
				}
			}
			return t.move(c.Context(), args[0], r, f)
		},
	}
	f.add(c)
	return c
}

func (t *tool) moveCommand() *cobra.Command {
	var server, planFile string
	var yes, dryRun bool
	c := &cobra.Command{
		Use:   "move GROUP --process-server NAME",
		Short: "Have another process server read a group; or take a move of the disks back",
		Long: `Puts another process server in the place of the one that reads the group's sources, while the group stays protected: the machine of the old one is
lost, or is to be replaced. It shows what changes, asks, and does it; elsewhere than on a terminal it takes --yes.

The new one has to be connected, and to see the same disks: at the same paths, or, with --plan, at those of that plan, which differs from the one in force in
process_server, and in source, snapshot, release and changes of disks, and in nothing else. Sizes are compared with the group's, content with the next point: the new
process server knows of no changes, so that the disks are compared whole, by hashes. All points stay; a cycle that is open is begun again.

What the old one keeps of the group, its snapshots among it, is released: now, or when it connects again. It is given no orders of the group any more, and what it may still
send is refused. Nothing can be moved while a commit is under way or undone, or while the disks are moved at an operator's word.

To take back a move of the disks to another point is failback move cancel; failback rewind and failback advance begin them.`,
		Example: "  failback move erp --process-server ps2 --dry-run\n  failback move erp --process-server ps2\n  failback move erp --process-server ps2 --plan erp-on-ps2.yaml --yes",
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 && server == "", len(args) > 0 && len(c.SuggestionsFor(args[0])) > 0:
				return t.needsCommand(c, args)
			case server == "" || len(args) != 1:
				return settings.Usage(errors.New("name the group, and the process server that it moves to: failback move GROUP --process-server NAME"))
			case yes && dryRun:
				return settings.Usage(errors.New("--yes and --dry-run: give one of them"))
			}
			group, err := groupOf(args[0])
			if err != nil {
				return err
			}
			r := replication.ApplyRequest{Group: group, MoveTo: server}
			if planFile != "" {
				if r.Plan, err = t.readPlan(planFile); err != nil {
					return err
				}
			}
			return t.apply(c.Context(), r, yes, dryRun)
		},
	}
	c.Flags().StringVar(&server, "process-server", "", "`NAME` of the process server that is to read the group from now on")
	c.Flags().StringVar(&planFile, "plan", "", "`FILE` with the plan, where the new process server has the sources at other paths")
	c.Flags().BoolVar(&yes, "yes", false, "don't ask")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only show what changes; exit code 1 if it can't be done")
	var back, finish bool
	cancel := &cobra.Command{
		Use:   "cancel GROUP",
		Short: "Take the move that is under way, or was cut off, back; or finish it",
		Long: `Takes back the move of the group's disks that is under way, or was cut off by an error or a restart: the disks go back to where they came
from, and are held, or follow new points, as before. A move that only saves has written nothing yet, and just ends. Where the disks
were following by themselves, they are held where they were; failback advance lets go of them.

With --finish the move is finished, and nothing else begun. Both ends of a move are in the journal until it is done: neither way can lose
anything. Returns when the disks stand at a point. A move that is done is taken back by another: failback rewind, failback advance.`,
		Example: "  failback move cancel erp\n  failback move cancel erp --finish",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if back && finish {
				return settings.Usage(errors.New("--back and --finish: give one of them"))
			}
			return t.cancelMove(c.Context(), args[0], finish)
		},
	}
	cancel.Flags().BoolVar(&back, "back", false, "back to where the disks came from (the default)")
	cancel.Flags().BoolVar(&finish, "finish", false, "on to where the disks were going")
	c.AddCommand(cancel)
	return c
}

// movedJSON is where a move left the disks.
type movedJSON struct {
	Group replication.GroupID `json:"group"`
	Head  replication.PointID `json:"head"`
	// Unborn are the disks that joined after the head: they are left as they were at their first point; and those that it has and that have left.
	Unborn []replication.UnbornDisk `json:"unborn,omitempty"`
}

func (t *tool) move(ctx context.Context, name string, r replication.MoveRequest, f moveFlags) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	r.GiveUpAny = f.giveUp
	return t.with(func(c *transport.OperatorClient) error {
		if f.dryRun {
			return t.planMove(ctx, c, group, r)
		}
		head, err := t.moving(func(show func(replication.MoveStatus)) (replication.PointID, error) {
			return c.Move(ctx, group, r, show)
		})
		var p *replication.Problem
		if errors.As(err, &p) && p.Code == replication.CodeMoveGivesUp && t.interactive() {
			if r.GiveUp, err = t.askToGiveUp(ctx, c, group, r); err != nil {
				return err
			}
			head, err = t.moving(func(show func(replication.MoveStatus)) (replication.PointID, error) {
				return c.Move(ctx, group, r, show)
			})
		}
		if err != nil {
			return err
		}
		var unborn []replication.UnbornDisk
		if s, serr := c.Status(ctx, group); serr == nil && len(s.Groups) == 1 { // the move is done, whatever became of the question
			unborn = unbornAt(s.Groups[0], head)
		}
		return t.print(movedJSON{group, head, unborn}, func(w io.Writer) {
			defer printUnborn(w, unborn)
			fmt.Fprintf(w, "group %s: the disks stand at point %d", group, head)
			switch {
			case !r.Advance:
				fmt.Fprintf(w, " and are held there; failback advance %s moves them forward again\n", group)
			case r.To == 0:
				fmt.Fprintln(w, ", the latest, and follow new points again")
			default:
				fmt.Fprintf(w, "; failback status %s tells whether they are held there\n", group)
			}
		})
	})
}

// moving shows the progress of a move.
func (t *tool) moving(move func(show func(replication.MoveStatus)) (replication.PointID, error)) (replication.PointID, error) {
	shown := t.progress()
	defer shown.close()
	return move(func(m replication.MoveStatus) {
		shown.show([]gauge{{name: fmt.Sprintf("point %d to %d, %s", m.From, m.To, m.Phase), done: m.Done, total: m.Total, rate: m.Rate, left: m.Left}})
	})
}

// planMove tells what a move would take.
func (t *tool) planMove(ctx context.Context, c *transport.OperatorClient, group replication.GroupID, r replication.MoveRequest) error {
	p, err := c.PlanMove(ctx, group, r)
	if err != nil {
		return err
	}
	result := struct {
		Group replication.GroupID `json:"group"`
		replication.MovePlan
	}{group, p}
	if err := t.print(result, func(w io.Writer) { printMovePlan(w, group, p) }); err != nil {
		return err
	}
	if !p.Fits || !r.Allows(p.GiveUp) {
		return errQuiet
	}
	return nil
}

func printMovePlan(w io.Writer, group replication.GroupID, p replication.MovePlan) {
	fmt.Fprintf(w, "group %s: a move of the disks from point %d to point %d\n", group, p.From, p.To)
	fmt.Fprintf(w, "  writes %s to the disks\n", size(p.Write))
	fmt.Fprintf(w, "  saves %s that only the disks hold", size(p.Save))
	if p.Need > 0 {
		fmt.Fprintf(w, "; with the reserve, %s have to be free on the retention volume, %s are", size(p.Need), size(p.Free))
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "  takes about %s\n", age(p.Takes))
	printUnborn(w, p.Unborn)
	switch {
	case !p.Fits:
		fmt.Fprintf(w, "It does not fit: %s\n", p.Why)
	case len(p.GiveUp) > 0:
		fmt.Fprintf(w, "It costs history: %s\nWith --give-up-history it gives these points up.\n", p.Why)
	default:
		fmt.Fprintf(w, "It fits: %s\n", p.Why)
	}
}

// askToGiveUp asks whether the points that a move costs may be given up, and returns them.
func (t *tool) askToGiveUp(ctx context.Context, c *transport.OperatorClient, group replication.GroupID, r replication.MoveRequest) ([]replication.PointID, error) {
	p, err := c.PlanMove(ctx, group, r)
	if err != nil {
		return nil, err
	}
	printMovePlan(t.err, group, p)
	yes, err := t.confirm(fmt.Sprintf("Give up %s for good, and move? [y/N] ", plural(len(p.GiveUp), "point")))
	if err != nil {
		return nil, err
	}
	if !yes {
		return nil, &replication.Problem{Code: replication.CodeMoveGivesUp, Message: "nothing was moved, and nothing given up", Remedy: "make the retention volume larger, or choose a point that is nearer"}
	}
	return p.GiveUp, nil
}

// confirm asks somebody who is there, and says whether the answer was yes.
func (t *tool) confirm(question string) (bool, error) {
	fmt.Fprint(t.err, question)
	answer, err := bufio.NewReader(t.in).ReadString('\n')
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	a := strings.ToLower(strings.TrimSpace(answer))
	return a == "y" || a == "yes", nil
}

// interactive says whether somebody is there to be asked.
func (t *tool) interactive() bool {
	if t.json {
		return false
	}
	in, ok := t.in.(*os.File)
	return t.asks || ok && term.IsTerminal(int(in.Fd())) && isTerminal(t.err)
}

func (t *tool) cancelMove(ctx context.Context, name string, finish bool) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		head, err := t.moving(func(show func(replication.MoveStatus)) (replication.PointID, error) {
			return c.CancelMove(ctx, group, finish, show)
		})
		if err != nil {
			return err
		}
		return t.print(movedJSON{Group: group, Head: head}, func(w io.Writer) {
			what := "was taken back"
			if finish {
				what = "is finished"
			}
			fmt.Fprintf(w, "group %s: the move %s; the disks stand at point %d; failback status %s tells whether they are held there\n", group, what, head, group)
		})
	})
}
