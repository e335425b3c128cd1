package backup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"failback/replication"
)

// lockName is the file in a state directory that is locked by the one that uses it; it stays there, and its content means nothing.
const lockName = "state.lock"

// errHeld is in the chain of lockFile's error when another one has the lock.
var errHeld = errors.New("somebody else has the lock")

// Lock keeps others out of a state directory, which exists: a master target holds it as long as it runs, a restore until catalogue and jobs are there. It waits up to patience for one that is about to end. The kernel gives the lock
// back when the process dies. The error is a Problem (state-in-use) when another one has it.
func Lock(dir string, patience time.Duration) (io.Closer, error) {
	const pause = 20 * time.Millisecond
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(pause) {
		if err = lockFile(f); !errors.Is(err, errHeld) || !time.Now().Before(end) {
			break
		}
	}
	switch {
	case errors.Is(err, errHeld):
		err = &replication.Problem{Code: "state-in-use", Message: fmt.Sprintf("state directory %s is in use: a master target runs with it, or it is being restored", dir), Remedy: "stop that master target, or let the restore come to its end; or give another directory"}
	case err != nil:
		err = fmt.Errorf("lock state directory %s: %w", dir, err)
	default:
		return held{f}, nil
	}
	return nil, errors.Join(err, f.Close())
}

// held is a lock, to be given back by Close: at once, and not only when a process that is just being started, and has inherited the open file, has closed it.
type held struct{ f *os.File }

func (h held) Close() error { return errors.Join(unlockFile(h.f), h.f.Close()) }
