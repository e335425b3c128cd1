// Command compare runs the bench harness of this tree with the daemons of two revisions, in turn, and has benchstat tell what changed.
//
//	go run ./bench/compare REF [scenario or flag of bench…]         # REF beside the working tree; or make bench-compare REF=…
//	go run ./bench/compare --to v1.2 --rounds 10 v1.1 --size=4GiB fullcopy
//
// Only the three programs are of the revisions: what is measured, and how, is the same for both. Scenarios that measure packages and not programs (journal, disks/fio, link/frames alone) therefore say nothing here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

const benchstat = "golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da"

// usual is what is run when nothing is named.
var usual = []string{"fullcopy", "equal", "cycle"}

func main() {
	to := flag.String("to", "", "the other revision; none: the working tree")
	rounds := flag.Int("rounds", 6, "runs with each; benchstat calls nothing significant below four")
	dir := flag.String("dir", filepath.Join("build", "compare"), "directory for programs and results")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: go run ./bench/compare [flags] REF [scenario or flag of bench…]\n\nRuns scenarios with the daemons of two revisions, in turn, and tells what changed.")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 || flag.Arg(0) == "" || *rounds < 1 {
		fmt.Fprintln(os.Stderr, "compare: name a revision: go run ./bench/compare main~10, or make bench-compare REF=main~10")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := compare(ctx, *dir, flag.Arg(0), *to, *rounds, flag.Args()[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// side is one revision: its programs, and what was measured with them.
type side struct{ name, bin, results string }

func compare(ctx context.Context, dir, from, to string, rounds int, args []string) error {
	if len(args) == 0 {
		args = usual
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	var sides []side
	for _, rev := range []string{from, to} {
		s, err := build(ctx, dir, rev)
		if err != nil {
			return err
		}
		sides = append(sides, s)
	}
	if sides[0].name == sides[1].name {
		sides[1].name += " again" // how far two runs of the same are apart
	}
	bench := filepath.Join(dir, "bench")
	if err := run(ctx, "", os.Stderr, "go", "build", "-o", bench, "failback/bench"); err != nil {
		return err
	}
	failed := false
	for round := range rounds {
		for i := range sides {
			s := sides[(i+round)%2]
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, rounds, s.name)
			one := filepath.Join(dir, "one")
			all := append([]string{"--ours", "--bounds=false", "--repeats=1", "--binaries=" + s.bin, "--benchfmt=" + one}, args...)
			if err := run(ctx, "", os.Stderr, bench, all...); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				fmt.Fprintf(os.Stderr, "compare: %s: %v\n", s.name, err)
				failed = true
			}
			if err := add(s.results, one); err != nil {
				return err
			}
		}
	}
	if err := run(ctx, "", os.Stdout, "go", "run", benchstat, sides[0].name+"="+sides[0].results, sides[1].name+"="+sides[1].results); err != nil {
		return err
	}
	if failed {
		return errors.New("not all runs have a result: see above")
	}
	return nil
}

// build builds the programs of a revision from what git has of it; "" is the working tree.
func build(ctx context.Context, dir, rev string) (s side, err error) {
	name, tree := "working tree", ""
	if rev != "" {
		var id strings.Builder
		if err := run(ctx, "", &id, "git", "rev-parse", "--short", "--verify", rev+"^{commit}"); err != nil {
			return s, err
		}
		if name = strings.TrimSpace(id.String()); name != rev {
			name = strings.NewReplacer("=", "-").Replace(rev) + " " + name
		}
		tree = filepath.Join(dir, "tree-"+strings.TrimSpace(id.String()))
		archive := tree + ".tar"
		if err := errors.Join(os.MkdirAll(tree, 0o755), run(ctx, "", os.Stderr, "git", "archive", "-o", archive, rev), run(ctx, "", os.Stderr, "tar", "-xf", archive, "-C", tree), os.Remove(archive)); err != nil {
			return s, err
		}
	}
	s = side{name: name, bin: filepath.Join(dir, "bin-"+strings.ReplaceAll(name, " ", "-")), results: filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".txt")}
	return s, run(ctx, tree, os.Stderr, "go", "build", "-o", s.bin+string(filepath.Separator), "./cmd/failback", "./cmd/master-target", "./cmd/process-server")
}

func run(ctx context.Context, dir string, out io.Writer, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.Dir, c.Stdout, c.Stderr = dir, out, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// add appends one file to another.
func add(to, from string) error {
	b, err := os.ReadFile(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the run failed before its report
	}
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close(), os.Remove(from))
}
