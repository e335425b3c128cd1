package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"failback/bench/report"
)

// Program is one that is installed, or not.
type Program struct {
	Name    string
	Package string // of Debian
	ask     string // argument that makes it tell its version
}

// The programs that scenarios use.
var (
	NBDCopy   = Program{"nbdcopy", "libnbd-bin", "--version"}
	NBDKit    = Program{"nbdkit", "nbdkit", "--version"}
	QEMUImg   = Program{"qemu-img", "qemu-utils", "--version"}
	Rsync     = Program{"rsync", "rsync", "--version"}
	Mkfs      = Program{"mkfs.ext4", "e2fsprogs", "-V"}
	Zstd      = Program{"zstd", "zstd", "--version"}
	Cat       = Program{"cat", "coreutils", "--version"}
	SHA256Sum = Program{"sha256sum", "coreutils", "--version"}
	Socat     = Program{"socat", "socat", "-V"}
	Shell     = Program{"sh", "dash", ""}
	FIO       = Program{"fio", "fio", "--version"}

	QEMUDaemon = Program{"qemu-storage-daemon", "qemu-system-common", "--version"}

	Btrfs     = Program{"btrfs", "btrfs-progs", "--version"}
	MkfsBtrfs = Program{"mkfs.btrfs", "btrfs-progs", "--version"}
)

// Programs returns all of them.
func Programs() []Program {
	return []Program{NBDCopy, NBDKit, QEMUImg, QEMUDaemon, Rsync, Socat, Zstd, FIO, Mkfs, Btrfs, Cat, SHA256Sum}
}

// Found says whether the program is installed.
func (p Program) Found() bool {
	_, err := exec.LookPath(p.Name)
	return err == nil
}

// Missing returns what to install for those programs that are not there; empty: all are.
func Missing(all ...Program) string {
	var packages []string
	for _, p := range all {
		if !p.Found() {
			packages = append(packages, p.Package)
		}
	}
	if packages == nil {
		return ""
	}
	return "apt-get install " + strings.Join(packages, " ")
}

// Describe returns the program for the report, with its version as it tells it.
func (p Program) Describe() report.Program {
	d := report.Program{Name: p.Name, Package: p.Package}
	if !p.Found() {
		return d
	}
	said, _ := exec.Command(p.Name, p.ask).CombinedOutput()
	line := ""
	for one := range strings.Lines(string(said)) { // socat begins with its authors
		if one = strings.TrimSpace(one); line == "" || strings.HasPrefix(line, "socat by") && strings.Contains(one, "version") {
			line = one
		}
	}
	if d.Version = line; line == "" {
		d.Version = "tells no version"
	}
	return d
}

// process is a program that was started.
type process struct {
	cmd  *exec.Cmd
	said bytes.Buffer
}

func start(ctx context.Context, p Program, args ...string) (*process, error) {
	return startWith(ctx, nil, p, args...)
}

func startWith(ctx context.Context, env []string, p Program, args ...string) (*process, error) {
	r := &process{cmd: exec.CommandContext(ctx, p.Name, args...)}
	r.cmd.Env = append(os.Environ(), env...)
	r.cmd.Stderr = &r.said
	own(r.cmd)
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	return r, nil
}

// wait waits for the end and returns the CPU time that the program used.
func (r *process) wait() (cpu time.Duration, err error) {
	if err := r.cmd.Wait(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(r.cmd.Args, " "), err, bytes.TrimSpace(r.said.Bytes()))
	}
	return r.cmd.ProcessState.UserTime() + r.cmd.ProcessState.SystemTime(), nil
}

// stop ends a server and returns the CPU time that it used.
func (r *process) stop() (cpu time.Duration, err error) {
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	r.cmd.Wait() // how it ends says nothing of what it did before
	return r.cmd.ProcessState.UserTime() + r.cmd.ProcessState.SystemTime(), nil
}

// measure runs programs at once, then makes the files durable, and tells what it took.
func measure(ctx context.Context, durable []string, all ...invocation) (report.Sample, error) {
	begin := time.Now()
	var running []*process
	var errs []error
	for _, one := range all {
		r, err := startWith(ctx, one.env, one.program, one.args...)
		if err != nil {
			errs = append(errs, err)
			break
		}
		running = append(running, r)
	}
	var total time.Duration
	for _, r := range running {
		cpu, err := r.wait()
		total += cpu
		errs = append(errs, err)
	}
	for _, path := range durable {
		errs = append(errs, fdatasync(path))
	}
	return report.Sample{Seconds: time.Since(begin).Seconds(), CPU: total.Seconds()}, errors.Join(errs...)
}

type invocation struct {
	program Program
	args    []string
	env     []string // more of the environment
}

// run runs a short command.
func run(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, out)
	}
	return nil
}
