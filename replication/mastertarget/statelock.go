package mastertarget

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"failback/replication"
	"failback/retention/volume"
)

// lockName is the file in a state directory that is locked by the one that uses it; it stays there, and its content means nothing.
const lockName = "state.lock"

// lockState keeps others out of a state directory, which exists: a master target holds it as long as it runs, a restore until catalogue and jobs are there. It waits up to patience for one that is about to end, or was, while a process was being forked. The kernel gives the lock
// back when the process dies. The error is a Problem (state-in-use) when another one has it.
func lockState(dir string, patience time.Duration) (io.Closer, error) {
	const pause = 20 * time.Millisecond
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(pause) {
		if err = volume.LockFile(f); !errors.Is(err, volume.ErrLocked) || !time.Now().Before(end) {
			break
		}
	}
	switch {
	case errors.Is(err, volume.ErrLocked):
		err = &replication.Problem{Code: "state-in-use", Message: fmt.Sprintf("state directory %s is in use: a master target runs with it, or it is being restored", dir), Remedy: "stop that master target, or let the restore come to its end; or give another directory"}
	case err != nil:
		err = fmt.Errorf("lock state directory %s: %w", dir, err)
	default:
		return f, nil
	}
	return nil, errors.Join(err, f.Close())
}
