package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"failback/bench/stand"
)

// profileDuring takes profiles of both daemons while work runs, for about as long as it is expected to take, and stores them as DIR/SCENARIO-PROGRAM-KIND.pprof: where processors were busy (cpu), what was waited for (block),
// which locks were (mutex), and what was in memory when the work was done (heap).
func (l *lab) profileDuring(ctx context.Context, scenario string, p *pair, seconds float64, work func() error) error {
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
