package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"failback/replication"
)

const (
	commandLimit = 30 * time.Minute // that a command of a cutover may take
	commandSaid  = 4 << 10          // of what it says, that is kept: the last part
)

// runCommand runs a command of the operator's on this machine, as this process's user: by sh, with the group and the point (0: not made yet) as $1 and $2, and as FAILBACK_GROUP and FAILBACK_POINT. The end of ctx ends it, with
// what it started. Where this process is killed, the shell is too (on Linux), what it started may go on, and it is run again by the next one.
func runCommand(ctx context.Context, what, line string, group replication.GroupID, point replication.PointID) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	said := &lastSaid{}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line, "failback", string(group), fmt.Sprint(point))
	cmd.Env = append(os.Environ(), "FAILBACK_GROUP="+string(group), fmt.Sprintf("FAILBACK_POINT=%d", point))
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = "/", said, said, 5*time.Second
	ownGroup(cmd)
	runtime.LockOSThread() // its end would be the command's
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // what it leaves running on purpose may hold its output
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("it took more than %s", commandLimit)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	if text := said.String(); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return fmt.Errorf("%s-command %q: %w", what, line, err)
}

// lastSaid keeps the end of what is written to it.
type lastSaid struct{ b []byte }

func (s *lastSaid) Write(p []byte) (int, error) {
	s.b = append(s.b, p[max(0, len(p)-commandSaid):]...)
	s.b = append(s.b[:0], s.b[max(0, len(s.b)-commandSaid):]...)
	return len(p), nil
}

func (s *lastSaid) String() string { return strings.ToValidUTF8(strings.TrimSpace(string(s.b)), "?") }
