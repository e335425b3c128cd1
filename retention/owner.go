package retention

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"failback/replication"
)

// Owner is a master target that writes a journal.
type Owner struct {
	ID      string    `json:"id"`                // names the master target, and its state directory
	Host    string    `json:"host,omitempty"`    // its machine's name, for a person to read
	Machine string    `json:"machine,omitempty"` // names the machine: on the same one, locks tell whether it runs; "": not known
	Since   time.Time `json:"since,omitzero"`
}

// String says who it is, for a person to read.
func (o Owner) String() string {
	if o.Host == "" {
		return "master target " + o.ID
	}
	return fmt.Sprintf("master target %s on %s", o.ID, o.Host)
}

// ErrOwned: the journal belongs to another master target; an Owned is in the chain.
var ErrOwned = errors.New("journal of another master target")

// Owned says whose a journal is. ErrOwned is in its chain.
type Owned struct {
	Dir        string
	Owner      Owner // the zero one: not known
	Generation replication.Generation
}

func (o *Owned) Error() string {
	if o.Owner.ID == "" {
		return fmt.Sprintf("%s: another has written to it since (generation %d)", o.Dir, o.Generation)
	}
	return fmt.Sprintf("%s belongs to %s since %s (generation %d)", o.Dir, o.Owner, o.Owner.Since.UTC().Format(time.DateTime), o.Generation)
}

// Unwrap returns ErrOwned.
func (o *Owned) Unwrap() error { return ErrOwned }

// Settings are what a master target has to know of a group beside its points, so that another one can take the group over with nothing but this directory and the disks.
type Settings struct {
	Plan    string   `json:"plan"`    // canonical text
	Targets []string `json:"targets"` // by disk number: where the disks lie
	Held    bool     `json:"held"`    // a rewind holds the head
}

// OpenAs is Open by the master target of that name. A journal that belongs to another is refused (ErrOwned), and nothing is written to it.
func OpenAs(dir string, group replication.GroupID, owner string) (*Journal, error) {
	forgetCached(dir)
	return openAs(osVolume{}, dir, group, owner, defaultTuning)
}

// OwnedBy says, without opening the journal in a directory, whether it is another master target's (ErrOwned) than the one of that name.
func OwnedBy(dir, owner string) error {
	forgetCached(dir)
	return ownedBy(osVolume{}, dir, owner)
}

// ownedBy refuses a journal whose log names another owner. The log is only read: its owner may be writing to it, where locks don't reach it.
func ownedBy(vol volume, dir, owner string) error {
	name := filepath.Join(dir, logName)
	f, err := vol.Open(name)
	if err != nil {
		return err
	}
	l, err := readLog(name, f, true)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if now := l.st.owner; now != nil && now.ID != owner {
		return &Owned{dir, *now, l.st.generation}
	}
	return nil // what is damaged is told when the journal is opened
}

// TakeOver raises the generation above the journal's own and atLeast, durably, and makes the journal that of a master target (I7): any other is refused from then on, and one that has it open stops before
// its next write. It returns the generation.
//
// Where the journal was another's, who may be under way with a write, nothing that comes after is where that write may go: the log is replaced, an open cycle that is journaled starts over, and
// the next save and pack have numbers that the other has not. Of arrivals and moves, none is under way here.
func (j *Journal) TakeOver(by Owner, atLeast replication.Generation) (replication.Generation, error) {
	st := j.now.Load().state
	if st.owner != nil && st.owner.ID == by.ID {
		by.Since = st.owner.Since
	} else if by.Since.IsZero() {
		by.Since = time.Now().UTC()
	}
	r := generationRecord{Generation: max(st.generation, atLeast) + 1, Owner: &by}
	if by.same(st.owner) {
		return r.Generation, j.commit(kindGeneration, func(*state) (any, error) { return r, nil })
	}
	if err := j.takeOver(r); err != nil {
		return 0, fmt.Errorf("take the journal over: %w", err)
	}
	return r.Generation, nil
}

func (o Owner) same(other *Owner) bool { return other != nil && other.ID == o.ID }

func (j *Journal) takeOver(r generationRecord) error {
	j.cycle.Lock()
	defer j.cycle.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bad != nil {
		return j.bad
	}
	st := j.now.Load().state.clone()
	before := st.cycle
	if err := st.own(r); err != nil {
		return err
	}
	if err := j.replaceLog(st); err != nil {
		return err
	}
	j.publish(st)
	if before == nil || st.cycle != nil {
		return nil
	}
	// The log is another one already: what fails to go of the cycle's files goes when the journal is opened.
	for _, s := range j.open.sealed {
		j.files.forget(s.name)
	}
	_ = j.open.close()
	return nil
}

// own adds what a record of kind generation says.
func (s *state) own(r generationRecord) error {
	if r.Generation <= s.generation {
		return fmt.Errorf("generation %d after %d", r.Generation, s.generation)
	}
	if r.Owner != nil && !r.Owner.same(s.owner) { // what another may be about to write is not to be met with
		s.saved++
		s.packed++
		if s.cycle != nil && s.cycle.Route == replication.Journaled {
			s.cycle, s.dropped = nil, s.cycle.Point
		}
	}
	s.generation, s.owner, s.released = r.Generation, r.Owner, r.Released
	return nil
}

// GiveUp makes the journal nobody's: any master target may open it.
func (j *Journal) GiveUp() error {
	return j.commit(kindGeneration, func(st *state) (any, error) {
		if st.released {
			return nil, nil
		}
		return generationRecord{Generation: st.generation + 1, Released: true}, nil
	})
}

// Owner returns whose the journal is; false where that is not known (a release wrote it that did not say), or where its owner has given it up (released).
func (j *Journal) Owner() (o Owner, known, released bool) { return j.now.Load().ownedBy() }

func (s *state) ownedBy() (o Owner, known, released bool) {
	if s.owner == nil {
		return o, false, s.released
	}
	return *s.owner, true, false
}

// RecordSettings notes what a master target has to know of the group. To note the same again changes nothing.
func (j *Journal) RecordSettings(s Settings) error {
	return j.commit(kindSettings, func(st *state) (any, error) {
		if len(s.Targets) != st.present() {
			return nil, fmt.Errorf("%w: %d targets for %d disks", ErrDisks, len(s.Targets), st.present())
		}
		if st.settings != nil && sameJSON(*st.settings, s) {
			return nil, nil
		}
		return s, nil
	})
}

func sameJSON[T any](a, b T) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// Settings returns what RecordSettings noted last; false when there is none.
func (j *Journal) Settings() (Settings, bool) {
	if s := j.now.Load().settings; s != nil {
		return *s, true
	}
	return Settings{}, false
}
