package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"failback/bench/stand"
	"failback/bench/workload"
	"failback/transport/pki"
)

// What frames may cost, beside bare TLS: of its rate at least, and of its CPU time at most.
const (
	framesRateAim = 0.85
	framesCPUAim  = 1.2
)

const (
	framesSize  = 1 << 30
	framesConns = 4 // of every way
)

// frames copies bytes over loopback, by all the CPU there is: through frames alone, without compression, from reading them of a file in the page cache to their checksums being found right
// at the other end; by both daemons, into a new file; and each time by as many bare TLS connections, by the same certificates, that read the same file, and write the same.
func (l *lab) frames(ctx context.Context, _ int, _ time.Duration) (*cell, error) {
	source, err := l.noise(framesSize)
	if err != nil {
		return nil, err
	}
	c := &cell{Bytes: framesSize}
	err = l.alternate(c, []func() (sample, error){
		func() (sample, error) { return l.pipe(ctx, pipeFrames, source, "") },
		func() (sample, error) { return l.pipe(ctx, pipeTLS, source, "") },
		func() (sample, error) { return l.daemons(ctx, source) },
		func() (sample, error) { return l.pipe(ctx, pipeTLS, source, "copy") },
	}, []string{"frames, into nothing", "TLS, into nothing", "failback, into a file", "TLS, into a file"})
	if err != nil {
		return nil, err
	}
	cpu := func(w *way) float64 {
		return w.median(func(s sample) float64 { return s.CPU }) / (framesSize / float64(1<<30))
	}
	for i, said := range []string{"frames alone", "the whole job"} {
		ours, bare := c.Ways[2*i], c.Ways[2*i+1]
		c.check("rate of "+said+", of bare TLS", bare.seconds()/ours.seconds(), framesRateAim, true)
		name := fmt.Sprintf("CPU of %s to that of bare TLS (%.2f and %.2f s a GiB)", said, cpu(ours), cpu(bare))
		c.check(name, cpu(ours)/cpu(bare), framesCPUAim, false)
	}
	return c, nil
}

// pipe copies a file by two processes of this program: into nothing, or a file of that name.
func (l *lab) pipe(ctx context.Context, how, source, into string) (s sample, err error) {
	dir, err := l.scratch()
	if err != nil {
		return s, err
	}
	certs := filepath.Join(dir, "pki")
	if _, err := pki.Init(certs); err != nil {
		return s, err
	}
	if into != "" {
		into = filepath.Join(dir, into)
	}
	conns := strconv.Itoa(framesConns)
	near := exec.CommandContext(ctx, l.Self, peerCommand, "take", how, certs, conns, into)
	far := exec.CommandContext(ctx, l.Self, peerCommand, "give", how, certs, conns, source)
	near.Stderr, far.Stderr = os.Stderr, os.Stderr
	out, err := near.StdoutPipe()
	if err != nil {
		return s, err
	}
	if err := near.Start(); err != nil {
		return s, err
	}
	defer near.Process.Kill()
	address := make([]byte, 64) // one line, written at once
	n, err := out.Read(address)
	if err != nil {
		return s, fmt.Errorf("the other end: %w", err)
	}
	far.Args = append(far.Args, strings.TrimSpace(string(address[:n])))
	begin := time.Now()
	if err := far.Run(); err != nil {
		return s, err
	}
	if err := near.Wait(); err != nil {
		return s, err
	}
	s.Seconds = time.Since(begin).Seconds()
	for _, p := range []*os.ProcessState{near.ProcessState, far.ProcessState} {
		s.CPU += (p.UserTime() + p.SystemTime()).Seconds()
	}
	s.Middle = framesSize / s.Seconds
	if into != "" {
		err = workload.Compare(source, into)
	}
	return s, err
}

// daemons copies a file by both daemons on loopback. Its changes are told by a command, so that it is hashed by nobody, as by the peer.
func (l *lab) daemons(ctx context.Context, source string) (s sample, err error) {
	dir, err := l.scratch()
	if err != nil {
		return s, err
	}
	flags := append([]string{"--compression=none", fmt.Sprintf("--lanes=%d", framesConns), "--repeats=false"}, l.psFlags...)
	st, err := stand.New(dir, stand.Options{Binaries: l.Binaries, ProcessServerFlags: flags, MasterTargetFlags: l.mtFlags})
	if err != nil {
		return s, err
	}
	p := &pair{Stand: st, target: filepath.Join(st.Targets, "disk.raw")}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := st.Start(ctx); err != nil {
		return s, err
	}
	plan, err := p.plan(source, "true", false)
	if err != nil {
		return s, err
	}
	cpu, begin := p.cpu(), time.Now()
	if err := p.Do(ctx, nil, "reprotect", plan); err != nil {
		return s, err
	}
	if err := p.listed(ctx, 1); err != nil {
		return s, err
	}
	s.Seconds, s.CPU = time.Since(begin).Seconds(), (p.cpu() - cpu).Seconds()
	s.Middle = framesSize / s.Seconds
	return s, workload.Compare(source, p.target)
}
