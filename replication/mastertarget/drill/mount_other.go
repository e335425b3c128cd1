//go:build !linux

package drill

import (
	"errors"
	"fmt"
	"runtime"
)

// Drill is a mounted one. There are none on this system.
type Drill struct{ done chan struct{} }

// Available says why drills are not possible here.
func Available() error {
	return fmt.Errorf("drills are mounted by FUSE, which %s has not: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Start says that it is not possible here.
func Start(Options) (*Drill, error) { return nil, Available() }

// Clean has nothing to do.
func Clean(string) error { return nil }

// Done is closed when the drill has ended.
func (d *Drill) Done() <-chan struct{} { return d.done }

// End unmounts.
func (d *Drill) End(bool) error { return nil }

// Usage returns what the drill has come to.
func (d *Drill) Usage() Usage { return Usage{} }
