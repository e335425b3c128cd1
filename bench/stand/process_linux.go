package stand

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// own makes a process end with this one, and keeps a terminal's ^C, which is for this one, from it.
func own(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// clockTicks is the unit of times in /proc: a hundredth of a second on every Linux that Go runs on.
const clockTicks = 100

// usageOf reads what a running process has used so far, from /proc. ru_maxrss is of no use: it begins with the parent's.
func usageOf(pid int) (u Usage, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	_, after, found := bytes.Cut(status, []byte("VmHWM:"))
	if !found { // a process that has just ended has no memory
		return u, os.ErrProcessDone
	}
	kib, err := strconv.ParseInt(string(bytes.Fields(after)[0]), 10, 64)
	if err != nil {
		return u, fmt.Errorf("/proc/%d/status: %w", pid, err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // from the third on
	if len(fields) < 13 {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks [2]int64
	for i, f := range fields[11:13] { // utime, stime
		if ticks[i], err = strconv.ParseInt(string(f), 10, 64); err != nil {
			return u, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
	}
	u = Usage{PeakRSS: kib << 10, User: time.Duration(ticks[0]) * time.Second / clockTicks, System: time.Duration(ticks[1]) * time.Second / clockTicks}
	if io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid)); err == nil { // not in every kernel
		for line := range strings.Lines(string(io)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			n, _ := strconv.ParseInt(value, 10, 64)
			switch name {
			case "read_bytes":
				u.Read = n
			case "write_bytes":
				u.Written = n
			}
		}
	}
	return u, nil
}
