package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"golang.org/x/sync/errgroup"

	"failback/bench/harness"
	"failback/bench/report"
	"failback/bench/stand"
)

// alternate runs ways as the harness does, and then, where profiles are wanted, a round of ours more while they are taken: it does not count.
func (l *lab) alternate(ctx context.Context, s *report.Scenario, ways []harness.Way, before func(round int) error) error {
	if err := l.Alternate(ctx, s, ways, before); err != nil || l.Profile == "" {
		return err
	}
	s.Finish()
	if before != nil {
		if err := before(l.Repeats); err != nil {
			return err
		}
	}
	for _, w := range ways {
		told := s.Way(w.Name)
		if w.Peer || told == nil || len(told.Samples) == 0 {
			continue
		}
		l.profiling = &profiling{name: word(l.scenario + " " + s.Name + " " + w.Name), seconds: told.Seconds.Median}
		_, err := w.Run(ctx, l.Repeats)
		l.profiling = nil
		if err != nil {
			return fmt.Errorf("the run for profiles of %s: %w", w.Name, err)
		}
	}
	return nil
}

// profiling is what profiles of the run that is under way are to be called, and how long it is expected to take.
type profiling struct {
	name    string
	seconds float64
}

// word makes a file's name of words.
func word(s string) string {
	var b strings.Builder
	for _, f := range strings.FieldsFunc(s, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '.' }) {
		if b.Len() > 0 {
			b.WriteByte('-')
		}
		b.WriteString(f)
	}
	return b.String()
}

// profileDuring takes profiles of both daemons while work runs, for about as long as it is expected to take, and stores them as DIR/SCENARIO-PROGRAM-KIND.pprof: where processors were busy (cpu), what was waited for (block),
// which locks were (mutex), and what was in memory when the work was done (heap).
func (l *lab) profileDuring(ctx context.Context, p *pair, work func() error) error {
	scenario, seconds := l.profiling.name, l.profiling.seconds
	if err := os.MkdirAll(l.Profile, 0o755); err != nil {
		return err
	}
	l.Say("profiles of %s", scenario)
	take := func(d *stand.Daemon, kind, what string) error {
		return fetch(ctx, "http://"+d.Metrics+"/debug/pprof/"+what, filepath.Join(l.Profile, fmt.Sprintf("%s-%s-%s.pprof", scenario, d.Program, kind)))
	}
	daemons := []*stand.Daemon{p.MasterTarget, p.ProcessServer}
	during := fmt.Sprintf("?seconds=%d", max(1, int(seconds+0.5)))
	var g errgroup.Group
	for _, d := range daemons {
		g.Go(func() error { return take(d, "cpu", "profile"+during) })
		g.Go(func() error { return take(d, "block", "block"+during) })
		g.Go(func() error { return take(d, "mutex", "mutex"+during) })
	}
	g.Go(func() error {
		err := work()
		for _, d := range daemons {
			if err == nil {
				err = take(d, "heap", "heap")
			}
		}
		return err
	})
	return g.Wait()
}

func fetch(ctx context.Context, url, path string) error {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(ask)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, answer.Body); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
