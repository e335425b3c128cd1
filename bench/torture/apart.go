package main

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

const apartMark = "FAILBACK_TORTURE_APART"

// apart runs this program again in a mount namespace of its own, and returns its exit code; false: it is in one already. What others copy of the machine's mounts, for a namespace of theirs, has none of ours then, which would
// live on there after they were unmounted here.
func apart(args ...string) (code int, ran bool, err error) {
	if os.Getenv(apartMark) != "" {
		return 0, false, nil
	}
	self, err := os.Executable()
	if err != nil {
		return 1, true, err
	}
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), apartMark+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	runtime.LockOSThread() // the kernel tells the child of the end of the thread that made it
	defer runtime.UnlockOSThread()
	err = c.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return failed.ExitCode(), true, nil
	}
	return 0, true, err
}
