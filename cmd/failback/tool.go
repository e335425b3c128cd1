package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
	"failback/transport/pki"
)

// operatorEnv names the environment variable that stands in for --operator.
const operatorEnv = "FAILBACK_OPERATOR"

// errQuiet ends a command with exit code 1 when all there is to say was said.
var errQuiet = errors.New("said already")

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// pace is how often, and how patiently, the tool asks again.
type pace struct {
	poll     time.Duration // between two questions of a command that waits
	watch    time.Duration // between two pictures of status --watch
	lines    time.Duration // between two lines of progress where there is no terminal
	patience time.Duration // how long a master target may be away while a command waits
	asks     bool          // somebody is there to be asked, though there is no terminal: for tests
	width    int           // characters in a line of the terminal; 0: as it says itself
}

var defaults = pace{poll: 500 * time.Millisecond, watch: 2 * time.Second, lines: 10 * time.Second, patience: 2 * time.Minute}

// tool is one run of failback: its flags and its streams.
type tool struct {
	streams
	pace
	operator string
	pki      string
	json     bool
	local    bool // the command works on this machine, without a master target
}

// run does what args say and returns the exit code.
func run(ctx context.Context, args []string, s streams, p pace) int {
	t := &tool{streams: s, pace: p}
	err := settings.Execute(ctx, t.root(), args)
	if err == nil {
		return settings.ExitDone
	}
	if errors.Is(err, errQuiet) {
		return settings.ExitFailed
	}
	if ctx.Err() != nil && !t.local {
		err = &replication.Problem{Code: transport.CodeCancelled, Message: "interrupted", Remedy: "what the master target was asked to do goes on there; see failback status"}
	}
	if t.json || slices.Contains(args, "--json") { // flags may not have been read yet
		p := settings.ProblemOf(err)
		t.writeJSON(s.err, map[string]any{"error": replication.Problem{Code: p.Code, Message: p.Error(), Remedy: p.Remedy}})
	} else {
		settings.PrintError(s.err, "failback", err)
	}
	return settings.ExitCode(err)
}

func (t *tool) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "failback",
		Short: "Bring machines home from Azure: protect, take points, move along them",
		Long: `failback asks a master target to bring the disks of machines home from Azure, and tells how things stand.

The usual way:
  failback check plan.yaml        what would go wrong, before a byte moves
  failback reprotect plan.yaml    start; the first point is made by comparing both sides
  failback status --watch         how far it is, and what it waits for
  failback points erp             what there is to go back to
  failback rewind erp 12          put the disks back to point 12; nothing is lost by it
  failback advance erp            move forward to the latest point again

The master target is reached through its socket on the same machine (--operator unix:PATH) or over the network with an
operator's certificate (--operator HOST:PORT --pki DIR). Work goes on when this tool ends.`,
		Version: settings.Version().String(),
		Args:    cobra.ArbitraryArgs,
		RunE:    t.needsCommand,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			return t.settle(c)
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&t.operator, "operator", "", "`ADDRESS` of the master target: unix:PATH, or HOST:PORT (or set "+operatorEnv+")")
	flags.StringVar(&t.pki, "pki", "", "`DIR` with ca.crt, operator.crt and operator.key; needed for HOST:PORT")
	flags.BoolVar(&t.json, "json", false, "print one JSON document, for programs")
	settings.AddConfig(flags)
	root.SetIn(t.in)
	root.SetOut(t.out)
	root.SetErr(t.err)
	root.AddGroup(&cobra.Group{ID: "protect", Title: "Protect:"}, &cobra.Group{ID: "points", Title: "Points:"}, &cobra.Group{ID: "cutover", Title: "Fail back:"}, &cobra.Group{ID: "tool", Title: "Around it:"})
	add := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	add("protect", t.checkCommand(), t.reprotectCommand(), t.applyCommand(), t.statusCommand(), t.explainCommand(), t.eventsCommand(), t.jobsCommand(), t.resyncCommand(), t.unprotectCommand(), t.adoptCommand())
	add("points", t.pointsCommand(), t.cutCommand(), t.pinCommand(), t.unpinCommand(), t.rewindCommand(), t.advanceCommand(), t.moveCommand(), t.verifyCommand(), t.scrubCommand(), t.drillCommand(), t.exportCommand())
	add("cutover", t.commitCommand(), t.undoCommand(), t.finishCommand())
	add("tool", t.backupCommand(), t.restoreCommand(), t.volumesCommand(), t.journalCommand(), t.diskCommand(), t.pkiCommand(), t.rebindCommand(), t.forgetCommand(), t.throttleCommand(), t.supportCommand(), t.manCommand(), t.versionCommand())
	t.completes(root)
	root.SetHelpCommandGroupID("tool")
	root.SetCompletionCommandGroupID("tool")
	return root
}

// needsCommand is what a command that only holds others does when it is called itself.
func (t *tool) needsCommand(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		err := fmt.Errorf("%q is not a command of %s", args[0], c.CommandPath())
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			err = fmt.Errorf("%w; did you mean %s?", err, near[0])
		}
		return settings.Usage(err)
	}
	if !t.json {
		c.SetOut(t.err)
		_ = c.Help()
	}
	return settings.Usage(fmt.Errorf("%s needs a command", c.CommandPath()))
}

// settle takes the environment and the settings file into account.
func (t *tool) settle(c *cobra.Command) error {
	if address := os.Getenv(operatorEnv); address != "" && !c.Flags().Changed("operator") {
		if err := c.Flags().Set("operator", address); err != nil {
			return err
		}
	}
	var elsewhere []string
	for _, other := range c.Root().Commands() {
		other.Flags().VisitAll(func(f *pflag.Flag) { elsewhere = append(elsewhere, f.Name) })
	}
	path, err := c.Flags().GetString(settings.ConfigFlag)
	if err != nil {
		return err
	}
	return settings.Load(c.Flags(), path, elsewhere...)
}

// dial returns a client of the master target.
func (t *tool) dial() (*transport.OperatorClient, error) {
	if t.operator == "" {
		return nil, settings.Usage(&replication.Problem{
			Code: "usage", Message: "it is not known where the master target is",
			Remedy: "give --operator unix:PATH as master-target was given it, or set " + operatorEnv,
		})
	}
	if t.pki == "" {
		return transport.DialOperator(t.operator, nil)
	}
	id, err := pki.Open(t.pki, pki.Operator, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return transport.DialOperator(t.operator, id)
}

// with calls do with a client, and closes it.
func (t *tool) with(do func(*transport.OperatorClient) error) error {
	c, err := t.dial()
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close())
}

// print writes the result: v with --json, else what text writes.
func (t *tool) print(v any, text func(w io.Writer)) error {
	if t.json {
		return t.writeJSON(t.out, v)
	}
	text(t.screenOf(t.out))
	return nil
}

func (t *tool) writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// progress returns where a command's progress is shown: bars on a terminal, lines elsewhere, nothing with --json.
func (t *tool) progress() progress {
	switch {
	case t.json:
		return silent{}
	case isTerminal(t.err):
		return newBars(t.err)
	}
	return &lines{w: t.err, every: t.lines, last: time.Now()} // what is quick says nothing
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// groupOf reads a group's name.
func groupOf(s string) (replication.GroupID, error) {
	if err := replication.ValidName(s); err != nil {
		return "", settings.Usage(fmt.Errorf("GROUP: %w", err))
	}
	return replication.GroupID(s), nil
}

// pointOf reads a point's number, of at least least.
func pointOf(s string, least uint64) (replication.PointID, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, settings.Usage(fmt.Errorf("POINT: %q is not the number of a point", s))
	}
	if n < least {
		return 0, settings.Usage(fmt.Errorf("POINT: %d is too small: points are numbered from %d", n, least))
	}
	return replication.PointID(n), nil
}

// Names of points in the place of their numbers.
const (
	latestPoint = "latest"
	latestApp   = "latest-app"
)

const pointHelp = `POINT is its number, or latest, or latest-app: the newest one that is application-consistent, and neither suspect nor damaged.`

// soundApp says whether latest-app may mean a point.
func soundApp(p replication.Point) bool {
	return p.Kind == replication.App && !p.Suspect && p.Damaged == 0
}

// point reads a point's number, of at least least, or finds the point of a name.
func (t *tool) point(ctx context.Context, name, s string, least uint64) (found replication.PointID, err error) {
	if s != latestPoint && s != latestApp {
		return pointOf(s, least)
	}
	group, err := groupOf(name)
	if err != nil {
		return 0, err
	}
	err = t.with(func(c *transport.OperatorClient) error {
		_, points, err := c.Points(ctx, group)
		if err != nil {
			return err
		}
		for _, p := range slices.Backward(points) {
			if s == latestPoint || soundApp(p) {
				found = p.ID
				return nil
			}
		}
		if s == latestPoint {
			return &replication.Problem{Code: "no-such-point", Message: fmt.Sprintf("group %s has no points yet", group), Remedy: fmt.Sprintf("failback status %s tells how far the first one is", group)}
		}
		return &replication.Problem{Code: replication.CodeNotApp, Message: fmt.Sprintf("group %s has no application-consistent point that is sound", group),
			Remedy: fmt.Sprintf("failback points %s lists those that there are, and why they are crash-consistent only; failback cut %s --app --wait makes one, where the plan has quiesce commands", group, group)}
	})
	return found, err
}
