// Command process-server runs in Azure: it finds what changed on its source disks and ships it to a master target.
package main

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"failback/cmd/internal/metrics"
	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/replication/block"
	"failback/replication/processserver"
	"failback/transport"
	"failback/transport/pki"
)

type config struct {
	name, state, masterTarget, pki, metrics, compression string
	lanes, workers, disks, repeatsMemory                 int
	repeats                                              bool
	allowPublic                                          bool
}

func main() {
	var c config
	cmd := &cobra.Command{
		Use:   "process-server --name NAME --state DIR --master-target HOST:PORT --pki DIR",
		Short: "Find what changed on source disks, and ship it to a master target",
		Long: `process-server runs in Azure, where it can read the disks of the machines that come home: files or block devices. It dials its master target, registers by
name, and works on its orders: cut a point, find what changed, compress and ship it over several connections.

It decides nothing and may be stopped or killed at any moment: it dials again, is told what is durable, and ships the rest. In --state it keeps snapshots, and tables of
hashes by which it finds changes: 0.4 % of the disks' size, twice that during a cycle. Snapshots made by reflink are kept there where that is the disks' file system.

Content that repeats (disks of one template, files that are copied or moved) is sent once: the master target is told where it holds it, and checks that by a cryptographic
hash. Where it does not, it asks for the bytes. --repeats-memory 64 remembers every page of 16 GiB, or every 64th of a TiB, by which whole files are still found; it never takes more than
16 bytes for each 4 KiB of the disks.

The master target is expected within a VPN: at a public address it is not dialled, unless --allow-public is given. Certificates are looked at every few seconds: a renewed one
is used from the next connection on.

Plans may name commands (snapshot, release, changes, and freeze and thaw of quiesce): they are run here, as the user that runs this program. Only a master target
with a certificate of the same "failback pki init" can give them. Machines that a killed process server left frozen are thawed when it is started again.`,
		Example: `  process-server --name ps1 --state /var/lib/failback --master-target 10.1.0.4:9443 --pki /etc/failback/pki`,
	}
	f := cmd.Flags()
	f.StringVar(&c.name, "name", "", "name by which plans call this process server")
	f.StringVar(&c.state, "state", "", "state directory")
	f.StringVar(&c.masterTarget, "master-target", "", "HOST:PORT of the master target")
	f.StringVar(&c.pki, "pki", "", "directory with ca.crt, process-server.crt and process-server.key")
	f.BoolVar(&c.allowPublic, "allow-public", false, "dial a master target at a public address too")
	f.StringVar(&c.metrics, "metrics", "", "HOST:PORT of metrics, health and profiles over plain HTTP; loopback is best (default: none)")
	f.StringVar(&c.compression, "compression", "auto", "auto: as link and cores take most; or pinned: none, lz4, s2, zstd, zstd-better, zstd-stream, zstd-stream-best (these two in first copies only; else zstd-better)")
	f.IntVar(&c.lanes, "lanes", 8, "connections that a cycle uses at most; how many it uses follows what helps")
	f.IntVar(&c.workers, "workers", 0, "goroutines that read, hash and compress (default: twice the cores)")
	f.IntVar(&c.disks, "disks", processserver.DefaultDisks, "disks of all groups that are copied or compared whole at a time, in first cycles and resyncs; the others wait in a queue (failback status); 0: no limit")
	f.BoolVar(&c.repeats, "repeats", true, "send content that the master target holds elsewhere by reference")
	f.IntVar(&c.repeatsMemory, "repeats-memory", processserver.DefaultRepeats>>20, "MiB of memory to remember where disks hold what, for all groups together")
	for _, name := range []string{"name", "state", "master-target", "pki"} {
		cmd.MarkFlagRequired(name)
	}
	d := settings.Daemon{Command: cmd, Run: func(ctx context.Context, log *slog.Logger) error { return run(ctx, c, log) }}
	os.Exit(d.Main(os.Args[1:], os.Stdout, os.Stderr))
}

// Waits between dialling again.
const (
	redialMin = 500 * time.Millisecond
	redialMax = 15 * time.Second
)

// memory returns what processserver.Config.Repeats wants.
func (c config) memory() int64 {
	if !c.repeats {
		return -1
	}
	return int64(c.repeatsMemory) << 20
}

func run(ctx context.Context, c config, log *slog.Logger) error {
	if err := replication.ValidName(c.name); err != nil {
		return settings.Usage(fmt.Errorf("--name: %w", err))
	}
	var pin *block.Level
	if c.compression != "auto" {
		l, err := block.ParseLevel(c.compression)
		if err != nil {
			return settings.Usage(fmt.Errorf("--compression: %w, or auto", err))
		}
		pin = &l
	}
	if c.repeatsMemory < 1 || c.repeatsMemory > 1<<20 {
		return settings.Usage(fmt.Errorf("--repeats-memory %d is not 1 to %d MiB; --repeats=false sends nothing by reference", c.repeatsMemory, 1<<20))
	}
	if c.lanes == 0 {
		return settings.Usage(errors.New("--lanes 0: write how many connections at most"))
	}
	switch {
	case c.disks < 0:
		return settings.Usage(fmt.Errorf("--disks %d: write how many at a time, or 0 for all at once", c.disks))
	case c.disks == 0:
		c.disks = -1
	}
	id, err := pki.Open(c.pki, pki.ProcessServer, log)
	if err != nil {
		return err
	}
	home, unlock, err := lockState(c.state)
	if err != nil {
		return err
	}
	defer unlock()
	client, err := transport.DialReplication(c.masterTarget, id, c.allowPublic)
	if err != nil {
		return err
	}
	defer client.Close()
	engine, err := processserver.New(processserver.Config{Dir: c.state, Lanes: c.lanes, Workers: c.workers, Disks: c.disks, Level: pin, Repeats: c.memory(), Log: log}, client)
	if err != nil {
		return settings.Usage(err)
	}
	var connected atomic.Bool
	if err := metrics.Serve(ctx, c.metrics, log, newCollector(engine, &connected)); err != nil {
		return err
	}
	go id.Watch(ctx)
	log.Info("dialling", "master_target", c.masterTarget, "name", c.name)
	for wait := redialMin; ctx.Err() == nil; {
		err := client.Work(ctx, c.name, home, settings.Version().Version, engine, func(version string, skew time.Duration) {
			connected.Store(true)
			log.Info("connected", "master_target", c.masterTarget, "version", version, "skew", skew)
			wait = redialMin
		})
		connected.Store(false)
		if ctx.Err() != nil {
			break
		}
		p := replication.AsProblem(err)
		pause := wait + rand.N(wait) // so that many process servers do not dial at once
		log.Warn("no connection to the master target", "code", p.Code, "err", p, "remedy", p.Remedy, "again_in", pause.Round(time.Millisecond))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		wait = min(2*wait, redialMax)
	}
	if err := engine.Close(); err != nil {
		return err
	}
	log.Info("ended")
	return nil
}

// lockState makes the state directory and keeps a second process server out of it. It returns the random name that the directory has for ever: the
// lock file's content.
func lockState(dir string) (home string, unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("state directory: %w", err)
	}
	path := filepath.Join(dir, ".lock") // no group can have that name
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("state directory: %w", err)
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		f.Close()
		return "", nil, &replication.Problem{Code: "state-in-use", Message: "state directory " + dir + " is in use", Err: err, Remedy: "another process server runs with it: stop that one, or give another directory"}
	}
	home, err = nameHome(f)
	if err != nil {
		f.Close()
		return "", nil, fmt.Errorf("state directory: %w", err)
	}
	return home, func() { f.Close() }, nil
}

// nameHome returns the name that the file holds, and makes one where there is none, or where a killed process left half of one.
func nameHome(f *os.File) (string, error) {
	var name [32]byte
	if _, err := f.ReadAt(name[:], 0); err == nil {
		return string(name[:]), nil
	} else if err != io.EOF {
		return "", err
	}
	var b [16]byte
	crand.Read(b[:])
	hex.Encode(name[:], b[:])
	if _, err := f.WriteAt(name[:], 0); err != nil {
		return "", err
	}
	return string(name[:]), f.Sync()
}
