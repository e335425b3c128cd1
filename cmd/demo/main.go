package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"failback/bench/stand"
)

type config struct {
	keep     bool     // the directory stays
	dir      string   // where the work directory is made
	binaries string   // directory with the programs
	disks    []string // images to take copies of; none: disks are made
}

func main() {
	var c config
	self, _ := os.Executable()
	flag.BoolVar(&c.keep, "keep", false, "keep the work directory: disks, journal, logs, copies")
	flag.StringVar(&c.dir, "dir", defaultDir(), "where the work directory is made")
	flag.StringVar(&c.binaries, "bin", filepath.Dir(self), "directory with failback, master-target and process-server")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: demo [--keep] [--dir DIR] [DISK.raw...]\n\nBrings machines home from disk images to VMDKs with the real daemons, and proves every step. The disks given are copied, never written.\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	c.disks = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, c)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: FAILED: %v\n", err)
		os.Exit(1)
	}
}

// defaultDir is a directory on a disk: /tmp is memory on some machines.
func defaultDir() string {
	if fi, err := os.Stat("/var/tmp"); err == nil && fi.IsDir() {
		return "/var/tmp"
	}
	return os.TempDir()
}

func run(ctx context.Context, c config) (err error) {
	if err := needTools(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.dir, "failback-demo-")
	if err != nil {
		return fmt.Errorf("make the work directory: %w", err)
	}
	d := &demo{config: c, dir: dir, out: os.Stdout, begin: time.Now()}
	defer func() { err = errors.Join(err, d.clean(err != nil)) }()
	if err := d.space(); err != nil {
		return err
	}
	d.stand, err = stand.New(dir, stand.Options{Binaries: stand.Binaries{Dir: c.binaries}})
	if err != nil {
		return err
	}
	return d.story(ctx)
}

// clean ends the daemons and removes what was made.
func (d *demo) clean(failed bool) error {
	var errs []error
	if d.mounted != "" {
		errs = append(errs, exec.Command("umount", d.mounted).Run())
	}
	if d.stand != nil {
		errs = append(errs, d.stand.Close())
	}
	if d.keep {
		fmt.Fprintf(d.out, "\nThe work directory stays: %s\n", d.dir)
		return errors.Join(errs...)
	}
	if failed && d.stand != nil { // the logs are small, and wanted now
		kept := d.dir + "-logs"
		if err := os.Rename(d.stand.Logs, kept); err == nil {
			fmt.Fprintf(d.out, "\nThe daemons' logs stay: %s\n", kept)
		}
	}
	if errors.Join(errs...) == nil { // never while something is mounted there
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// tools are the programs that the demonstration uses, and the Debian packages that have them.
var tools = [][2]string{{"qemu-img", "qemu-utils"}, {"mkfs.ext4", "e2fsprogs"}, {"debugfs", "e2fsprogs"}, {"e2fsck", "e2fsprogs"}, {"cp", "coreutils"}}

func needTools() error {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	var lost, packages []string
	for _, t := range tools {
		if _, err := exec.LookPath(t[0]); err != nil {
			lost, packages = append(lost, t[0]), append(packages, t[1])
		}
	}
	if lost != nil {
		return fmt.Errorf("%s missing; on Debian: apt-get install %s", strings.Join(lost, ", "), strings.Join(packages, " "))
	}
	return nil
}

// command runs a program and returns what it printed; its error tells that too.
func command(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	said := strings.TrimSpace(string(out))
	if err != nil {
		return said, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, said)
	}
	return said, nil
}
