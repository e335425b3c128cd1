package retention

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Retire ends the journal for good, for a group that is protected no more: it records that, closes the journal and removes its directory. When it fails half
// way, or the power does, the directory is no journal any more, and Remove removes the rest.
func (j *Journal) Retire() error {
	if err := j.commit(kindJournalRetired, func(*state) (any, error) { return struct{}{}, nil }); err != nil {
		return fmt.Errorf("retire journal: %w", err)
	}
	if err := j.Close(); err != nil {
		return fmt.Errorf("retire journal: %w", err)
	}
	return remove(j.guard.vol, j.dir) // there is no log any more to look at
}

// Remove removes a journal's directory, or what an earlier attempt has left of it. It refuses one that is in use (ErrLocked) or is no journal (ErrNotJournal),
// and files that are not the journal's stay, with the directory.
func Remove(dir string) error { return remove(osVolume{}, dir) }

func remove(vol volume, dir string) error {
	names, err := vol.List(dir)
	if err != nil {
		return fmt.Errorf("remove journal: %w", err)
	}
	if !slices.Contains(names, logName) && !slices.Contains(names, retiredName) {
		return fmt.Errorf("remove journal: %s: %w", dir, ErrNotJournal)
	}
	lock, err := vol.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return fmt.Errorf("remove journal: %w", err)
	}
	if err := errors.Join(removeLocked(vol, dir, slices.Contains(names, logName)), lock.Close()); err != nil {
		return fmt.Errorf("remove journal: %w", err)
	}
	return nil
}

func removeLocked(vol volume, dir string, live bool) error {
	if live { // from here on it is no journal
		if err := vol.Rename(filepath.Join(dir, logName), filepath.Join(dir, retiredName)); err != nil {
			return err
		}
		if err := vol.SyncDir(dir); err != nil {
			return err
		}
	}
	for _, sub := range fileDirs[segmentFile:] {
		names, err := vol.List(filepath.Join(dir, sub))
		if err != nil {
			continue // gone before
		}
		for _, n := range names {
			if isPart(n) {
				if err := removeIfThere(vol, filepath.Join(dir, sub, n)); err != nil {
					return err
				}
			}
		}
		if err := vol.Remove(filepath.Join(dir, sub)); err != nil {
			return err
		}
	}
	if err := vol.SyncDir(dir); err != nil {
		return err
	}
	for _, n := range besideParts {
		if err := removeIfThere(vol, filepath.Join(dir, n)); err != nil {
			return err
		}
	}
	if err := vol.Remove(dir); err != nil {
		return err
	}
	return vol.SyncDir(filepath.Dir(dir))
}

// besideParts are the files beside the log and its parts, in the order in which they are removed.
var besideParts = []string{ReserveName, coverageName, coverageName + newSuffix, logName + newSuffix, retiredName, lockName}

// isPart says whether a name is of a file that the log names, or that a crash left of one.
func isPart(n string) bool {
	return strings.HasSuffix(n, segSuffix) || strings.HasSuffix(n, saveSuffix) || strings.HasSuffix(n, packSuffix) || strings.HasSuffix(n, newSuffix) || strings.Contains(n, runSuffix) || n == originalEndName
}

// Foreign returns what is in a journal's directory, by path within it, that is not the journal's: Remove would leave it, and the directory with it.
func Foreign(dir string) (foreign []string, err error) {
	var vol osVolume
	names, err := vol.List(dir)
	if err != nil {
		return nil, fmt.Errorf("look for foreign files: %w", err)
	}
	for _, n := range names {
		switch {
		case n == logName || slices.Contains(besideParts, n):
		case slices.Contains(fileDirs[segmentFile:], n):
			in, err := vol.List(filepath.Join(dir, n))
			if err != nil {
				return nil, fmt.Errorf("look for foreign files: %w", err)
			}
			for _, p := range in {
				if !isPart(p) {
					foreign = append(foreign, filepath.Join(n, p))
				}
			}
		default:
			foreign = append(foreign, n)
		}
	}
	return foreign, nil
}
