package settings

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"failback/replication"
)

// The exit codes of all our programs.
const (
	ExitDone   = 0
	ExitFailed = 1 // refused, or failed
	ExitUsage  = 2 // wrong usage: nothing was tried
)

// codeUsage is the code of problems of wrong usage that have no other.
const codeUsage = "usage"

// usage marks an error as one of wrong usage.
type usage struct{ err error }

func (u usage) Error() string { return u.err.Error() }
func (u usage) Unwrap() error { return u.err }

// Usage marks err as one of wrong usage: exit code 2.
func Usage(err error) error { return usage{err} }

// ExitCode returns the exit code for what a program's run returned.
func ExitCode(err error) int {
	var u usage
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &u):
		return ExitUsage
	}
	return ExitFailed
}

// ProblemOf returns err as an operator should see it: wrong usage without a problem of its own has the code "usage".
func ProblemOf(err error) *replication.Problem {
	p := replication.AsProblem(err)
	var u usage
	var told *replication.Problem
	if errors.As(err, &u) && !errors.As(err, &told) {
		p = &replication.Problem{Code: codeUsage, Message: err.Error(), Remedy: "--help shows what can be given"}
	}
	return p
}

// PrintError writes err for people: what happened, and what to do about it.
func PrintError(w io.Writer, program string, err error) {
	p := ProblemOf(err)
	fmt.Fprintf(w, "%s: %s\n", program, p.Error())
	if p.Remedy != "" {
		fmt.Fprintf(w, "What to do: %s\n", p.Remedy)
	}
}

// Execute runs the command that args name. What cobra refuses before a command runs is an error of wrong usage. Nothing is printed but what
// commands and --help print.
func Execute(ctx context.Context, root *cobra.Command, args []string) error {
	entered := false
	noteEntry(root, &entered)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SuggestionsMinimumDistance = 2
	root.SetArgs(args)
	root.SetContext(ctx)
	c, err := root.ExecuteC()
	var told *replication.Problem
	if err != nil && !entered {
		if !errors.As(err, &told) {
			err = &replication.Problem{
				Code: codeUsage, Message: err.Error(), Remedy: fmt.Sprintf("the usage is: %s; %s --help tells more", c.UseLine(), c.CommandPath()),
			}
		}
		err = Usage(err)
	}
	return err
}

func noteEntry(c *cobra.Command, entered *bool) {
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			*entered = true
			return run(c, args)
		}
	}
	for _, sub := range c.Commands() {
		noteEntry(sub, entered)
	}
}

// Daemon is a program that runs until it is told to end.
type Daemon struct {
	// Command has Use, Short, Long, Example and flags. A flag that must be given is marked by MarkFlagRequired; the file may give it too.
	Command *cobra.Command
	// Run works until ctx ends, by SIGTERM or SIGINT, and then ends cleanly with nil. A second signal kills.
	Run func(ctx context.Context, log *slog.Logger) error
}

// Main parses args, reads the settings, runs the daemon and returns its exit code. Logs and errors go to stderr.
func (d Daemon) Main(args []string, stdout, stderr io.Writer) int {
	flags := d.Command.Flags()
	AddConfig(flags)
	logging := AddLog(flags)
	d.Command.Args = cobra.NoArgs
	d.Command.Version = Version().String()
	d.Command.PreRunE = func(c *cobra.Command, _ []string) error {
		path, _ := c.Flags().GetString(ConfigFlag)
		return Load(c.Flags(), path)
	}
	d.Command.RunE = func(c *cobra.Command, _ []string) error {
		log, err := logging.Logger(stderr)
		if err != nil {
			return err
		}
		if os.Getenv("GOMEMLIMIT") == "" {
			debug.SetMemoryLimit(memoryLimit)
		}
		ctx, stop := Signals(c.Context())
		defer stop()
		return d.Run(ctx, log)
	}
	d.Command.SetOut(stdout)
	d.Command.SetErr(stderr)
	if len(args) == 1 && args[0] == manCommand { // not a command of cobra's, which would give the daemon's --help others beside
		_, err := stdout.Write(Man(d.Command))
		return ExitCode(err)
	}
	err := Execute(context.Background(), d.Command, args)
	if err != nil {
		PrintError(stderr, d.Command.Name(), err)
	}
	return ExitCode(err)
}

// memoryLimit is what a daemon's Go heap keeps below if it can, by collecting more often: what daemons hold at a time is far less. GOMEMLIMIT in the
// environment says otherwise.
const memoryLimit = 160 << 20

// Signals returns a context that ends at SIGTERM or SIGINT. After the first of them the next one kills as usual.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Build says which build of a program this is.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // empty: not built from a repository
	Time    string `json:"time"`   // of the commit, RFC 3339
	Go      string `json:"go"`
}

// Version returns the build that is running, as Go's build information has it.
func Version() Build {
	b := Build{Version: "(devel)"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		}
	}
	return b
}

func (b Build) String() string {
	s := b.Version
	if b.Commit != "" {
		s += fmt.Sprintf(" (commit %.12s, %s)", b.Commit, b.Time)
	}
	return s + " " + b.Go
}
