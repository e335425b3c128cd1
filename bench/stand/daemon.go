package stand

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Daemon is one of the two programs that a stand runs, over all its restarts.
type Daemon struct {
	Program string
	Log     string // file with what it writes to standard error, of all its runs
	Metrics string // HOST:PORT of metrics, health and profiles

	stand *Stand

	mu    sync.Mutex
	run   *process // nil: does not run
	spent Usage    // of runs that have ended
}

// process is one run of a daemon.
type process struct {
	cmd    *exec.Cmd
	waited chan struct{} // closed when it has ended
	ended  chan struct{} // closed when usage is final, too

	mu    sync.Mutex
	usage Usage
}

const (
	readyPoll   = 10 * time.Millisecond
	usageSample = 100 * time.Millisecond
)

// Pid returns the process's id; 0: it does not run.
func (d *Daemon) Pid() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run == nil {
		return 0
	}
	return d.run.cmd.Process.Pid
}

// Running says whether the daemon was started and not yet stopped or killed.
func (d *Daemon) Running() bool { return d.Pid() != 0 }

// start runs the program, with what is to stand before its command, and returns when it answers /healthz.
func (d *Daemon) start(args []string, before ...string) error {
	if d.Running() {
		return fmt.Errorf("%s runs already", d.Program)
	}
	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", d.Program, err)
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("start %s: %w", d.Program, err)
	}
	all := slices.Concat(before, []string{d.stand.Binaries.Path(d.Program)}, args)
	cmd := exec.Command(all[0], all[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), d.stand.Env...)
	own(cmd)
	p := &process{cmd: cmd, waited: make(chan struct{}), ended: make(chan struct{})}
	if err := p.start(); err != nil {
		return fmt.Errorf("start %s: %w", d.Program, err)
	}
	go p.watch()
	d.mu.Lock()
	d.run = p
	d.mu.Unlock()
	deadline := time.Now().Add(d.stand.StartWithin)
	for !d.healthy() {
		select {
		case <-p.ended:
			d.forget()
			return fmt.Errorf("start %s: it ended with %v: %s", d.Program, cmd.ProcessState, d.said(begin))
		case <-time.After(readyPoll):
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("start %s: not ready after %s: %s", d.Program, d.stand.StartWithin, d.said(begin)), d.Kill())
		}
	}
	return nil
}

func (d *Daemon) healthy() bool {
	client := http.Client{Timeout: time.Second}
	answer, err := client.Get("http://" + d.Metrics + "/healthz")
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// said returns the end of what the daemon logged from an offset on.
func (d *Daemon) said(from int64) string {
	b, err := os.ReadFile(d.Log)
	if err != nil || from > int64(len(b)) {
		return ""
	}
	b = bytes.TrimSpace(b[from:])
	return string(b[max(0, len(b)-2000):])
}

// start starts the process from a thread that stays until it has ended: the kernel takes the end of that thread for this process's end. Threads end where a goroutine has changed theirs, to another network
// for instance.
func (p *process) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait()
			close(p.waited)
		}
	}()
	return <-started
}

// watch samples what the process uses until it ends.
func (p *process) watch() {
	t := time.NewTicker(usageSample)
	defer t.Stop()
	for {
		p.sample()
		select {
		case <-p.waited:
			p.mu.Lock()
			p.usage.User, p.usage.System = p.cmd.ProcessState.UserTime(), p.cmd.ProcessState.SystemTime()
			p.mu.Unlock()
			close(p.ended)
			return
		case <-t.C:
		}
	}
}

func (p *process) sample() {
	u, err := usageOf(p.cmd.Process.Pid)
	if err != nil { // it has just ended
		return
	}
	p.mu.Lock()
	p.usage = p.usage.and(u)
	p.mu.Unlock()
}

// forget takes an ended run out and adds up what it used.
func (d *Daemon) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run == nil {
		return
	}
	d.spent = d.spent.plus(d.run.usage)
	d.run = nil
}

// Kill ends the daemon as kill -9 does, and returns when it has gone.
func (d *Daemon) Kill() error {
	p, err := d.current()
	if err != nil {
		return err
	}
	p.sample()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", d.Program, err)
	}
	<-p.ended
	d.forget()
	return nil
}

// Stop sends SIGTERM and returns when the daemon has gone. One that takes longer than StopWithin is killed, which is an error, as is another exit code than 0.
func (d *Daemon) Stop() error {
	p, err := d.current()
	if err != nil {
		return err
	}
	p.sample()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", d.Program, err)
	}
	select {
	case <-p.ended:
	case <-time.After(d.stand.StopWithin):
		p.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines, into the log
		select {
		case <-p.ended:
		case <-time.After(time.Second):
		}
		return errors.Join(fmt.Errorf("stop %s: it still ran %s after SIGTERM; its goroutines are in %s", d.Program, d.stand.StopWithin, d.Log), d.Kill())
	}
	d.forget()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("stop %s: it ended with %v: %s", d.Program, p.cmd.ProcessState, d.said(0))
	}
	return nil
}

func (d *Daemon) current() (*process, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run == nil {
		return nil, fmt.Errorf("%s does not run", d.Program)
	}
	return d.run, nil
}

// Usage is what a process, or several runs of one program, took of the machine.
type Usage struct {
	PeakRSS       int64 // bytes of memory, the most at one time
	User, System  time.Duration
	Read, Written int64 // bytes that had to be fetched from, or were given to, file systems and devices; 0 where the kernel does not tell
}

// CPU returns the time on all cores.
func (u Usage) CPU() time.Duration { return u.User + u.System }

// and returns the usage of one run, looked at twice.
func (u Usage) and(later Usage) Usage {
	return Usage{max(u.PeakRSS, later.PeakRSS), max(u.User, later.User), max(u.System, later.System), max(u.Read, later.Read), max(u.Written, later.Written)}
}

// plus returns the usage of two runs, one after the other.
func (u Usage) plus(next Usage) Usage {
	return Usage{max(u.PeakRSS, next.PeakRSS), u.User + next.User, u.System + next.System, u.Read + next.Read, u.Written + next.Written}
}

// Usage returns what the daemon has used in all its runs. PeakRSS is of the run that had the most; of a run that ended by itself, as it was seen last.
func (d *Daemon) Usage() Usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run == nil {
		return d.spent
	}
	d.run.sample()
	d.run.mu.Lock()
	defer d.run.mu.Unlock()
	return d.spent.plus(d.run.usage)
}
