package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"failback/bench/report"
)

// run runs what was chosen and writes the report. A scenario that fails is in it, and the next one is run.
func run(ctx context.Context, c Config, flags *pflag.FlagSet, all []chosen, out, progress io.Writer) error {
	r := &report.Report{Started: time.Now(), Params: params(c, flags)}
	failed := false
	for _, s := range all {
		if ctx.Err() != nil {
			break
		}
		l, err := open(c, s.Suite, progress)
		if err != nil {
			return err
		}
		if len(r.Programs) == 0 {
			r.Machine, r.Programs = report.MachineAt(l.Dir), l.programs()
		}
		if s.Needs != nil {
			if err := s.Needs(); err != nil {
				r.Scenarios = append(r.Scenarios, &report.Scenario{Name: s.Name, Failed: "not measured here: " + err.Error()})
				failed = true
				continue
			}
		}
		for _, one := range s.scenarios {
			path := s.Path(one.Name)
			l.Say("%s: %s", path, one.About)
			err := one.Run(ctx, l, func(done *report.Scenario) {
				done.Name = strings.TrimSpace(path + " " + done.Name)
				done.Storage = report.Storage(l.Dir)
				done.Finish()
				r.Scenarios = append(r.Scenarios, done)
				failed = failed || done.Failed != ""
			})
			if ctx.Err() != nil { // what there is so far is told
				failed = true
				break
			}
			if err != nil {
				failed = true
				r.Scenarios = append(r.Scenarios, &report.Scenario{Name: path, About: one.About, Failed: err.Error()})
				l.Say("%s: FAILED: %v", path, err)
			}
		}
		if err := l.close(); err != nil {
			return err
		}
	}
	r.Seconds = time.Since(r.Started).Seconds()
	if err := write(r, c, out); err != nil {
		return err
	}
	if failed {
		return errors.New("not all scenarios have a result: see the report")
	}
	return nil
}

// params are all flags, as they were, and what always holds.
func params(c Config, flags *pflag.FlagSet) []report.Param {
	all := []report.Param{{Name: "size", Value: report.Size(c.Size)}}
	flags.VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "size", "json", "html", "markdown", "benchfmt", "profile":
		default:
			value := f.Value.String()
			if value == "" || value == "[]" || f.Name == "repeats" && c.Repeats == 0 {
				value = "the suite's own"
			}
			all = append(all, report.Param{Name: f.Name, Value: value})
		}
	})
	return append(all, report.Param{Name: "caches",
		Value: "sources (and targets that exist) read to their ends before each run; file system synced before each run; new targets each time, removed afterwards"})
}

// write writes the report as text to out, and in the other forms that are wanted.
func write(r *report.Report, c Config, out io.Writer) error {
	if c.JSON != "-" {
		r.WriteText(out)
	}
	for _, form := range []struct {
		path  string
		write func(io.Writer) error
	}{
		{c.JSON, func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(r)
		}},
		{c.HTML, r.WriteHTML},
		{c.Markdown, r.WriteMarkdown},
		{c.Bench, r.WriteBench},
	} {
		if form.path == "" {
			continue
		}
		if form.path == "-" {
			if err := form.write(out); err != nil {
				return err
			}
			continue
		}
		f, err := os.Create(form.path)
		if err != nil {
			return err
		}
		if err := errors.Join(form.write(f), f.Close()); err != nil {
			return fmt.Errorf("%s: %w", form.path, err)
		}
	}
	return nil
}
