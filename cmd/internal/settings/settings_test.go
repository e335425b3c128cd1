package settings

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"failback/replication"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newFlags() (*pflag.FlagSet, *string, *int, *[]string) {
	f := pflag.NewFlagSet("x", pflag.ContinueOnError)
	AddConfig(f)
	return f, f.String("master-target", "default", ""), f.Int("lanes", 4, ""), f.StringSlice("tag", nil, "")
}

func TestLoadGivesWaysToTheCommandLine(t *testing.T) {
	flags, target, lanes, tags := newFlags()
	if err := flags.Parse([]string{"--lanes", "7"}); err != nil {
		t.Fatal(err)
	}
	if err := Load(flags, file(t, "master-target: mt:9443\nlanes: 2\ntag:\n- a\n- b\nwatch: true\n"), "watch"); err != nil {
		t.Fatal(err)
	}
	if *target != "mt:9443" || *lanes != 7 || strings.Join(*tags, " ") != "a b" {
		t.Errorf("got %q, %d, %q", *target, *lanes, *tags)
	}
	if !flags.Changed("master-target") {
		t.Error("a flag that the file gives counts as not given")
	}
}

func TestLoadRefuses(t *testing.T) {
	for text, want := range map[string][]string{
		"master_target: x\nlanes: many\n": {"line 1", `did you mean "master-target"?`, "line 2", "lanes"},
		"config: other.yaml":              {"line 1", `unknown key "config"`},
		"lanes: [1]":                      {"line 1", "single value"},
		"- lanes":                         {"line 1", "wrong form"},
		"lanes: 1\nlanes: 2\n":            {"line 2"},
	} {
		flags, _, _, _ := newFlags()
		path := file(t, text)
		err := Load(flags, path)
		var p *replication.Problem
		if !errors.As(err, &p) || ExitCode(err) != ExitUsage {
			t.Fatalf("%q: got %v, want a problem of wrong usage", text, err)
		}
		for _, w := range append(want, path) {
			if !strings.Contains(p.Message, w) {
				t.Errorf("%q: got %q, want %q in it", text, p.Message, w)
			}
		}
	}
	flags, _, _, _ := newFlags()
	if err := Load(flags, filepath.Join(t.TempDir(), "none")); ExitCode(err) != ExitUsage {
		t.Errorf("a file that is not there: got %v", err)
	}
	if err := Load(flags, file(t, "# nothing\n")); err != nil {
		t.Errorf("an empty file: got %v", err)
	}
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	log, err := (&Log{Format: "json", Level: "warn"}).Logger(&b)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("low")
	log.Warn("high", "group", "erp")
	if got := b.String(); strings.Contains(got, "low") || !strings.Contains(got, `"group":"erp"`) {
		t.Errorf("got %s", got)
	}
	for _, l := range []Log{{Format: "xml", Level: "info"}, {Format: "text", Level: "loud"}} {
		if _, err := l.Logger(&b); ExitCode(err) != ExitUsage {
			t.Errorf("%+v: got %v", l, err)
		}
	}
}

// daemon runs a daemon with one required flag, and returns what it printed.
func daemon(run func(ctx context.Context, log *slog.Logger, name string) error, args ...string) (code int, stdout, stderr string) {
	c := &cobra.Command{Use: "thing", Short: "Does things"}
	name := c.Flags().String("name", "", "its `NAME`")
	if err := c.MarkFlagRequired("name"); err != nil {
		panic(err)
	}
	var out, errs bytes.Buffer
	code = Daemon{Command: c, Run: func(ctx context.Context, log *slog.Logger) error { return run(ctx, log, *name) }}.Main(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestDaemonMain(t *testing.T) {
	ran := ""
	good := func(_ context.Context, log *slog.Logger, name string) error {
		ran = name
		log.Info("hello", "name", name)
		return nil
	}
	if code, _, stderr := daemon(good, "--name", "a", "--log-format", "json"); code != ExitDone || ran != "a" || !strings.Contains(stderr, `"msg":"hello"`) {
		t.Errorf("got %d, %q", code, stderr)
	}
	if code, _, stderr := daemon(good, "--config", file(t, "name: b\nlog-level: error\n")); code != ExitDone || ran != "b" || stderr != "" {
		t.Errorf("a required flag in the file: got %d, %q, %q", code, ran, stderr)
	}
	ran = ""
	for _, args := range [][]string{{}, {"--nme", "x"}, {"--name", "a", "more"}, {"--name", "a", "--log-level", "loud"}, {"--config", "/none"}} {
		if code, _, stderr := daemon(good, args...); code != ExitUsage || ran != "" || !strings.Contains(stderr, "What to do: ") {
			t.Errorf("%q: got %d, %q", args, code, stderr)
		}
	}
	failing := func(context.Context, *slog.Logger, string) error {
		return &replication.Problem{Code: "x", Message: "it broke", Remedy: "mend it", Err: io.EOF}
	}
	if code, _, stderr := daemon(failing, "--name", "a"); code != ExitFailed || stderr != "thing: it broke: EOF\nWhat to do: mend it\n" {
		t.Errorf("got %d, %q", code, stderr)
	}
	for _, args := range [][]string{{"--help"}, {"--version"}} {
		if code, stdout, _ := daemon(good, args...); code != ExitDone || !strings.Contains(stdout, "thing") || ran != "" {
			t.Errorf("%q: got %d, %q", args, code, stdout)
		}
	}
}
