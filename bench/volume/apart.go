package volume

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
)

const apartMark = "FAILBACK_BENCH_APART"

// Apart runs this program again in a mount namespace of its own, and returns its exit code; false: it is in one already. What others copy of the machine's mounts, for a namespace of theirs, has none of ours then, which would
// live on there after they were unmounted here.
func Apart(args ...string) (code int, ran bool, err error) {
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
	asked := make(chan os.Signal, 4)
	signal.Notify(asked, os.Interrupt, syscall.SIGTERM) // this one stays until the other has ended; a terminal's ^C is for both
	if err := c.Start(); err != nil {
		return 1, true, err
	}
	go func() {
		for s := range asked {
			if s == syscall.SIGTERM {
				c.Process.Signal(s)
			}
		}
	}()
	err = c.Wait()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return failed.ExitCode(), true, nil
	}
	return 0, true, err
}
