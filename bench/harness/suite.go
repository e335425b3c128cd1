package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"failback/bench/report"
)

// Suite is scenarios that belong together.
type Suite struct {
	Name  string // "": the main one, which is run when nothing is named
	About string
	// What holds where no flag says otherwise.
	Dir     string // work directory
	Repeats int    // runs of each way; with --quick one

	Flags     func(*pflag.FlagSet) // the suite's own; nil: none
	Check     func() error         // of these flags; nil: anything goes
	Needs     func() error         // what this machine lacks for it; nil: nothing special
	Scenarios []Scenario
}

// Scenario is one job that is measured. Run tells each result as soon as it is there; one that could not be finished is told too, before the error is returned.
type Scenario struct {
	Name, About string
	Run         func(ctx context.Context, l *Lab, tell func(*report.Scenario)) error
}

// Path returns how a scenario is named on the command line.
func (s Suite) Path(name string) string {
	if s.Name == "" {
		return name
	}
	return s.Name + "/" + name
}

// everything names all scenarios of all suites.
const everything = "all"

// chosen is what of a suite is to be run.
type chosen struct {
	Suite
	scenarios []Scenario
}

// choose finds scenarios by their names: one, a suite's name for all of its, "all", or nothing for the main suite.
func choose(suites []Suite, names []string) ([]chosen, error) {
	known := map[string]bool{everything: true}
	for _, s := range suites {
		known[s.Name] = s.Name != ""
		for _, one := range s.Scenarios {
			known[s.Path(one.Name)] = true
		}
	}
	for _, name := range names {
		if !known[name] {
			return nil, fmt.Errorf("there is no scenario %q: see go run ./bench -h", name)
		}
	}
	var all []chosen
	for _, s := range suites {
		c := chosen{Suite: s}
		for _, one := range s.Scenarios {
			if len(names) == 0 && s.Name == "" || slices.Contains(names, everything) || s.Name != "" && slices.Contains(names, s.Name) || slices.Contains(names, s.Path(one.Name)) {
				c.scenarios = append(c.scenarios, one)
			}
		}
		if len(c.scenarios) > 0 {
			all = append(all, c)
		}
	}
	return all, nil
}

// list writes the scenarios of all suites for people.
func list(suites []Suite) string {
	var b strings.Builder
	for _, s := range suites {
		if s.Name != "" {
			fmt.Fprintf(&b, "\n%s: %s (in %s, %d runs of each way)\n", s.Name, s.About, s.Dir, s.Repeats)
		}
		for _, one := range s.Scenarios {
			fmt.Fprintf(&b, "  %-16s %s\n", s.Path(one.Name), one.About)
		}
	}
	return b.String()
}
