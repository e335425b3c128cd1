package retention

import (
	"errors"
	"fmt"

	"failback/replication"
)

// What a caller can act on.
var (
	// ErrLocked: another process, or another Journal of this one, has the journal open.
	ErrLocked = errors.New("journal is in use by another")
	// ErrNotJournal: the directory holds no journal.
	ErrNotJournal = errors.New("not a journal")
	// ErrOtherGroup: the directory holds the journal of another group.
	ErrOtherGroup = errors.New("journal of another group")
	// ErrNewer: a later release wrote the journal.
	ErrNewer = errors.New("written by a newer version of failback")
	// ErrCorrupt: a file does not hold what was written; a Corruption with file and offset is in the chain.
	ErrCorrupt = errors.New("corrupt journal")
	// ErrNoSpace: the retention volume is too full. Nothing listed is lost.
	ErrNoSpace = errors.New("no space on the retention volume")
	// ErrClosed: the journal, arrival or reader was closed.
	ErrClosed = errors.New("closed")
	// ErrBase: a cycle does not start from the last listed point (I10).
	ErrBase = errors.New("cycle does not start from the last listed point")
	// ErrCycleOpen: another cycle is open.
	ErrCycleOpen = errors.New("another cycle is open")
	// ErrNoCycle: no cycle is open.
	ErrNoCycle = errors.New("no cycle is open")
	// ErrRoute: the cycle's bytes go the other way.
	ErrRoute = errors.New("wrong route")
	// ErrStale: a lane attempt of an older generation, of another cycle, or one that was there before.
	ErrStale = errors.New("stale lane attempt")
	// ErrIncomplete: what is durable of the cycle is not what the source says it sent.
	ErrIncomplete = errors.New("cycle is not complete")
	// ErrNoPoint: there is no such point.
	ErrNoPoint = errors.New("no such point")
	// ErrNoFile: the journal has no such file, or not any more: it was rewritten.
	ErrNoFile = errors.New("no such file in the journal")
	// ErrNotAtPoint: the disks are at no point: the first baseline is not complete.
	ErrNotAtPoint = errors.New("disks are at no point")
	// ErrInUse: a point can't be dropped, or a file not be rewritten, while it is needed as it is.
	ErrInUse = errors.New("in use")
	// ErrDisks: the disks given are not the group's.
	ErrDisks = errors.New("not the disks of the group")
)

// Corruption says where a file does not hold what was written. ErrCorrupt is in its chain.
type Corruption struct {
	File   string // path
	Off    int64  // bytes from its begin
	Reason string
}

func (c *Corruption) Error() string {
	return fmt.Sprintf("%v: %s at offset %d: %s", ErrCorrupt, c.File, c.Off, c.Reason)
}

// Unwrap returns ErrCorrupt.
func (c *Corruption) Unwrap() error { return ErrCorrupt }

// corrupt turns what a decoder says into a Corruption; a newer format stays what it is.
func corrupt(file string, off int64, err error) error {
	if errors.Is(err, ErrNewer) {
		return fmt.Errorf("%s: %w", file, err)
	}
	return &Corruption{File: file, Off: off, Reason: err.Error()}
}

func corruptf(file string, off int64, format string, args ...any) error {
	return &Corruption{File: file, Off: off, Reason: fmt.Sprintf(format, args...)}
}

// missing is the corruption of a version that should be in the journal and is not.
func missing(dir string, disk replication.DiskNo, e replication.Extent, v replication.PointID) error {
	return &Corruption{File: dir, Reason: fmt.Sprintf("version %d of disk %d %v is not in the journal", v, disk, e)}
}
