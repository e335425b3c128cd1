package blockio

import (
	"errors"
	"fmt"
)

// One sentinel for each thing that a caller can act on. All are wrapped: test with errors.Is. A missing file keeps os.ErrNotExist,
// an existing one os.ErrExist, and the system's own errors (ENOSPC, EIO, ENXIO) stay in the chain.
var (
	// ErrInUse: locked, mounted or held by someone else, or changed while it was being opened.
	ErrInUse = errors.New("disk is in use")
	// ErrCorrupt: the bytes of a format contradict themselves or the file they are in. The message names file and offset.
	ErrCorrupt = errors.New("disk is corrupt")
	// ErrPoisoned: a sync failed earlier. Only closing is left; what was written since the sync before has to be written again.
	ErrPoisoned = errors.New("disk is poisoned by a failed sync")
	// ErrNotTarget: the disk can be read, perhaps, but must not be written. The message says why, and what to do.
	ErrNotTarget = errors.New("disk is refused as a target")
	// ErrUnsupported: a format or a feature that this package does not know.
	ErrUnsupported = errors.New("disk format is not supported")
	// ErrOutOfRange: a range that is not inside the disk.
	ErrOutOfRange = errors.New("range is outside of the disk")
	// ErrReadOnly: a write to a disk that was opened by OpenReader.
	ErrReadOnly = errors.New("disk is open for reading only")
	// ErrNoContentID: a write before SetContentID, on a format that has a content id.
	ErrNoContentID = errors.New("content id of this session is not set yet")
)

// Damage is one place at which a disk contradicts itself. It is an ErrCorrupt.
type Damage struct {
	File   string
	Offset int64 // bytes into File
	What   string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%v: %s: offset %d: %s", ErrCorrupt, d.File, d.Offset, d.What)
}

func (d *Damage) Unwrap() error { return ErrCorrupt }

func corruptAt(file string, off int64, format string, args ...any) error {
	return &Damage{File: file, Offset: off, What: fmt.Sprintf(format, args...)}
}

func unsupported(file, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrUnsupported, file, fmt.Sprintf(format, args...))
}

// syncError marks an error after which it is unknown what is durable. The image that sees one is poisoned.
type syncError struct{ err error }

func (e *syncError) Error() string { return e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }

func syncFailed(name string, err error) error {
	return &syncError{fmt.Errorf("sync %s: %w", name, err)}
}

func isDamage(err error) bool { return errors.Is(err, ErrCorrupt) }

// asFinding tells damage from what kept us from looking.
func asFinding(err error) ([]error, error) {
	if isDamage(err) {
		return []error{err}, nil
	}
	return nil, fmt.Errorf("check disk: %w", err)
}
