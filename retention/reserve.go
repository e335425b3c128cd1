package retention

import (
	"errors"
	"io/fs"
)

// A journal sets space aside on its volume (I11): when the volume is full, what gives space back, and what ends what was begun, still has room. It is given up as a whole, and set
// aside again when there is room.

// ReserveName is the file of the reserve within a group's directory. It is no part of what the journal takes.
const ReserveName = "reserve"

// setAside makes the reserve, when it is not there. A volume without room for it is no error: the journal works, and is nearer to standing still.
func (j *Journal) setAside() error {
	if j.t.setAside == 0 {
		return nil
	}
	j.spare.Lock()
	defer j.spare.Unlock()
	if j.reserved {
		return nil
	}
	switch err := j.vol.Allocate(j.path(ReserveName), j.t.setAside); {
	case err == nil:
		j.reserved = true
	case !errors.Is(noSpace(err), ErrNoSpace):
		return err
	default:
		return removeIfThere(j.vol, j.path(ReserveName))
	}
	return nil
}

// giveUp gives the reserve back to the volume and says whether there was one.
func (j *Journal) giveUp() bool {
	j.spare.Lock()
	defer j.spare.Unlock()
	had := j.reserved
	j.reserved = false
	err := j.vol.Remove(j.path(ReserveName))
	return had && (err == nil || errors.Is(err, fs.ErrNotExist))
}

// Reserved says whether the reserve is set aside.
func (j *Journal) Reserved() bool {
	j.spare.Lock()
	defer j.spare.Unlock()
	return j.reserved
}
