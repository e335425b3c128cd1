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

// profileDuring takes CPU profiles of both daemons while work runs, for about as long as it is expected to take, and stores them as DIR/SCENARIO-PROGRAM.pprof.
func (l *lab) profileDuring(ctx context.Context, scenario string, p *pair, seconds float64, work func() error) error {
	if err := os.MkdirAll(l.profile, 0o755); err != nil {
		return err
	}
	var g errgroup.Group
	for _, d := range []*stand.Daemon{p.MasterTarget, p.ProcessServer} {
		g.Go(func() error {
			path := filepath.Join(l.profile, scenario+"-"+d.Program+".pprof")
			return fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", d.Metrics, max(1, int(seconds+0.5))), path)
		})
	}
	g.Go(work)
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
