package mastertarget

import (
	"os/exec"
	"syscall"
)

// ownGroup has all that a command starts ended with it, and the command itself with this process: with the thread, which the caller keeps.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
