package retention

import (
	"errors"
	"io"
	"os"
)

// errLooking is what a volume says that is only looked at: a call that comes here is a defect.
var errLooking = errors.New("the journal is only looked at")

// readOnlyVolume is the file system of the operating system, of which nothing is changed.
type readOnlyVolume struct{ osVolume }

func (readOnlyVolume) Open(name string) (file, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (readOnlyVolume) Create(string) (file, error)    { return nil, errLooking }
func (readOnlyVolume) Mkdir(string) error             { return errLooking }
func (readOnlyVolume) Rename(string, string) error    { return errLooking }
func (readOnlyVolume) Remove(string) error            { return errLooking }
func (readOnlyVolume) Allocate(string, int64) error   { return errLooking }
func (readOnlyVolume) SyncDir(string) error           { return errLooking }
func (readOnlyVolume) Lock(string) (io.Closer, error) { return nil, errLooking }

// Held says whether somebody has locked a file exclusively.
func (readOnlyVolume) Held(name string) (bool, error) { return lockHeld(name) }

// Share keeps others from locking a file exclusively until the result is closed; ErrLocked when one has.
func (readOnlyVolume) Share(name string) (io.Closer, error) { return shareLock(name) }
