package stand

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"failback/transport"
)

// Options say how a stand is made. Only Binaries must be given.
type Options struct {
	Binaries Binaries
	Name     string // of the process server; "" = ps1

	// Where things are; "" = a directory of the stand's own. The directories are made.
	Retention, Sources, Targets string

	// More flags for the daemons, and more of their environment (KEY=value).
	MasterTargetFlags, ProcessServerFlags, Env []string

	// Far is what to put before the process server's command to run it elsewhere, in a network namespace for instance. The addresses that it can be reached at are the
	// caller's to change then, before a start: Listen and ProcessServer.Metrics.
	Far []string

	// What a start and a clean end may take. 0 = the default.
	StartWithin, StopWithin time.Duration
}

const (
	startWithin = 20 * time.Second
	stopWithin  = 10 * time.Second
)

// Stand is a master target and a process server on loopback, with all that they need. Not for several goroutines, but for Status, Points, CLI and Do.
type Stand struct {
	Options
	Dir      string // all of the stand
	State    string // directory of the master target's state
	PSState  string // directory of the process server's state
	PKI      string // made by failback pki init
	Logs     string // master-target.log, process-server.log
	Operator string // address of the master target for operators
	Listen   string // address of the master target for process servers

	MasterTarget  *Daemon
	ProcessServer *Daemon

	socket string // a directory of its own for the socket, where Dir is too long a path; "" = none

	mu        sync.Mutex
	operators *transport.OperatorClient // nil: not dialled
}

// New makes the directories and the certificates of a stand in dir. No daemon runs yet.
func New(dir string, o Options) (*Stand, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("stand: %w", err)
	}
	s := &Stand{Options: o, Dir: dir, State: filepath.Join(dir, "mt"), PSState: filepath.Join(dir, "ps"), PKI: filepath.Join(dir, "pki"), Logs: filepath.Join(dir, "logs")}
	for _, d := range []struct {
		path      *string
		otherwise string
	}{{&s.Retention, "retention"}, {&s.Sources, "sources"}, {&s.Targets, "targets"}} {
		if *d.path == "" {
			*d.path = filepath.Join(dir, d.otherwise)
		}
	}
	for _, d := range []string{s.State, s.PSState, s.Logs, s.Retention, s.Sources, s.Targets} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("stand: %w", err)
		}
	}
	s.Name = or(s.Name, "ps1")
	s.StartWithin, s.StopWithin = or(s.StartWithin, startWithin), or(s.StopWithin, stopWithin)
	if err := s.address(); err != nil {
		return nil, err
	}
	s.MasterTarget = &Daemon{Program: "master-target", stand: s}
	s.ProcessServer = &Daemon{Program: "process-server", stand: s}
	for _, d := range []*Daemon{s.MasterTarget, s.ProcessServer} {
		d.Log = filepath.Join(s.Logs, d.Program+".log")
		if d.Metrics, err = freePort(); err != nil {
			return nil, err
		}
	}
	if s.Listen, err = freePort(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.PKI); errors.Is(err, os.ErrNotExist) {
		if err := s.Do(context.Background(), nil, "pki", "init", s.PKI); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func or[T comparable](v, otherwise T) T {
	var none T
	if v == none {
		return otherwise
	}
	return v
}

// maxSocket is how long a path the kernel takes for a unix socket, less the master target's lock beside it.
const maxSocket = 90

// address gives the operators' socket a path that is not too long.
func (s *Stand) address() error {
	path := filepath.Join(s.Dir, "op.sock")
	if len(path) > maxSocket {
		dir, err := os.MkdirTemp("", "failback-socket-")
		if err != nil {
			return fmt.Errorf("stand: %w", err)
		}
		s.socket, path = dir, filepath.Join(dir, "op.sock")
	}
	s.Operator = "unix:" + path
	return nil
}

// freePort returns a loopback address that nobody listens on, below the range from which the kernel takes ports for callers: it stays free while a daemon is
// restarted.
func freePort() (string, error) {
	var last error
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 15000+rand.N(16000))
		l, err := net.Listen("tcp", address)
		if err == nil {
			l.Close()
			return address, nil
		}
		last = err
	}
	return "", fmt.Errorf("find a free port: %w", last)
}

// StartMasterTarget starts the master target and returns when operators and process servers can reach it.
func (s *Stand) StartMasterTarget() error {
	return s.MasterTarget.start(append([]string{"--state", s.State, "--retention", s.Retention, "--allow-shared-volume", "--listen", s.Listen,
		"--operator", s.Operator, "--pki", s.PKI, "--metrics", s.MasterTarget.Metrics}, s.MasterTargetFlags...))
}

// StartProcessServer starts the process server and returns when it runs; it may still be dialling then.
func (s *Stand) StartProcessServer() error {
	return s.ProcessServer.start(append([]string{"--name", s.Name, "--state", s.PSState, "--master-target", s.Listen,
		"--pki", s.PKI, "--metrics", s.ProcessServer.Metrics}, s.ProcessServerFlags...), s.Far...)
}

// Start starts both daemons and returns when the process server has registered.
func (s *Stand) Start(ctx context.Context) error {
	if err := s.StartMasterTarget(); err != nil {
		return err
	}
	if err := s.StartProcessServer(); err != nil {
		return err
	}
	return s.WaitConnected(ctx)
}

// KillMasterTarget ends the master target as kill -9 does.
func (s *Stand) KillMasterTarget() error { return s.MasterTarget.Kill() }

// KillProcessServer ends the process server as kill -9 does.
func (s *Stand) KillProcessServer() error { return s.ProcessServer.Kill() }

// StopMasterTarget asks the master target to end, by SIGTERM. It is an error when it does not end in time, or not with exit code 0.
func (s *Stand) StopMasterTarget() error { return s.MasterTarget.Stop() }

// StopProcessServer asks the process server to end, by SIGTERM. It is an error when it does not end in time, or not with exit code 0.
func (s *Stand) StopProcessServer() error { return s.ProcessServer.Stop() }

// Stop stops both daemons as Stop… do, those that run.
func (s *Stand) Stop() error {
	var errs []error
	for _, d := range []*Daemon{s.ProcessServer, s.MasterTarget} {
		if d.Running() {
			errs = append(errs, d.Stop())
		}
	}
	return errors.Join(errs...)
}

// Close kills what still runs. The files stay.
func (s *Stand) Close() error {
	var errs []error
	for _, d := range []*Daemon{s.ProcessServer, s.MasterTarget} {
		if d.Running() {
			errs = append(errs, d.Kill())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.operators != nil {
		errs = append(errs, s.operators.Close())
		s.operators = nil
	}
	if s.socket != "" {
		errs = append(errs, os.RemoveAll(s.socket))
	}
	return errors.Join(errs...)
}
