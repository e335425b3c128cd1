package retention

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"failback/replication"
)

// How a journal is made, and opened: locked, its log replayed, the files that it names opened, and what a crash left removed.

// Create makes the journal of a group in dir, which must not exist, or be empty. The journal is durable, and open, when it returns.
func Create(dir string, id Identity) (*Journal, error) {
	return create(osVolume{}, dir, id, defaultTuning)
}

func create(vol volume, dir string, id Identity, t tuning) (_ *Journal, err error) {
	if id.UUID == "" {
		var u uuid
		rand.Read(u[:]) // never fails
		id.UUID = u.String()
	}
	if id.Created.IsZero() {
		id.Created = time.Now().UTC()
	}
	if err := checkIdentity(id); err != nil {
		return nil, fmt.Errorf("create journal %s: %w", dir, err)
	}
	if err := errors.Join(vol.Mkdir(dir), vol.SyncDir(filepath.Dir(dir))); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	if err := empty(vol, dir); err != nil {
		return nil, err
	}
	lock, err := vol.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if err := empty(vol, dir); err != nil { // another may have been faster
		return nil, err
	}
	if err := makeDirs(vol, dir); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	payload, err := json.Marshal(id)
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	name := filepath.Join(dir, logName)
	if err := removeIfThere(vol, name+newSuffix); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	f, err := vol.Create(name + newSuffix)
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", noSpace(err))
	}
	_, err = newLog(name, f, (&state{id: id}).logVersion(), kindIdentity, payload)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	if err := vol.Rename(name+newSuffix, name); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	if err := vol.SyncDir(dir); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	return load(vol, dir, id.Group, t, lock)
}

// makeDirs makes the directories of a journal's files.
func makeDirs(vol volume, dir string) error {
	for _, d := range fileDirs[segmentFile:] {
		if err := vol.Mkdir(filepath.Join(dir, d)); err != nil {
			return err
		}
	}
	return nil
}

func checkIdentity(id Identity) error {
	if err := replication.ValidName(string(id.Group)); err != nil {
		return err
	}
	if len(id.Disks) == 0 || len(id.Disks) > maxNumbers || len(id.Targets) != len(id.Disks) {
		return fmt.Errorf("%d disks and %d targets, want 1 to %d of each", len(id.Disks), len(id.Targets), maxNumbers)
	}
	for i, d := range id.Disks {
		if d.No != replication.DiskNo(i) || d.Size <= 0 || d.Size > replication.MaxDiskSize {
			return fmt.Errorf("disk %d has number %d and %d bytes", i, d.No, d.Size)
		}
	}
	_, err := parseUUID(id.UUID)
	return err
}

// empty says whether a journal may be made in dir: nothing is there, or the leftovers of an attempt that did not come to its end.
func empty(vol volume, dir string) error {
	names, err := vol.List(dir)
	if err != nil {
		return fmt.Errorf("create journal: %w", err)
	}
	for _, n := range names {
		ok := n == lockName || n == logName+newSuffix
		if slices.Contains(fileDirs[segmentFile:], n) {
			in, err := vol.List(filepath.Join(dir, n))
			ok = err == nil && len(in) == 0
		}
		if !ok {
			return fmt.Errorf("create journal: %s is not empty: %q: %w", dir, n, fs.ErrExist)
		}
	}
	return nil
}

// Open opens a group's journal: it locks it, replays its log and takes up the open cycle where it durably was. It reads the open cycle's unsealed files in
// whole; the rest by headers only.
func Open(dir string, group replication.GroupID) (*Journal, error) {
	forgetCached(dir)
	return open(osVolume{}, dir, group, defaultTuning)
}

func open(vol volume, dir string, group replication.GroupID, t tuning) (*Journal, error) {
	return openAs(vol, dir, group, "", t)
}

// openAs opens a journal for an owner; "": whoever owns it.
func openAs(vol volume, dir string, group replication.GroupID, owner string, t tuning) (*Journal, error) {
	names, err := vol.List(dir)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if !slices.Contains(names, logName) { // do not leave a lock file in a directory that is not ours
		return nil, fmt.Errorf("open journal: %s: %w", dir, ErrNotJournal)
	}
	lock, err := vol.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if owner != "" && !leftOut(ruleOwner) {
		if err := ownedBy(vol, dir, owner); err != nil {
			return nil, errors.Join(fmt.Errorf("open journal: %w", err), lock.Close())
		}
	}
	j, err := load(vol, dir, group, t, lock)
	if err != nil {
		lock.Close()
	}
	return j, err
}

// load opens a locked journal.
func load(vol volume, dir string, group replication.GroupID, t tuning, lock io.Closer) (*Journal, error) {
	name := filepath.Join(dir, logName)
	f, err := vol.Open(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrNotJournal, err)
		}
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{vol: vol, dir: dir, t: t, lock: lock, files: newHandles(vol, t.openFiles), logFile: f, sealed: map[string]*sealed{}}
	j.guard = &guard{vol: vol, dir: dir, batch: t.batch, batchTime: t.batchTime}
	j.vol = guarded{vol, j.guard}
	j.shelf.vol, j.shelf.files = j.vol, j.files
	if err := j.replay(name, group); err != nil {
		j.files.forget("")
		return nil, fmt.Errorf("open journal: %w", errors.Join(err, f.Close()))
	}
	return j, nil
}

func (j *Journal) replay(name string, group replication.GroupID) (err error) {
	st := &state{}
	if j.log, err = openLog(name, j.logFile, st.apply); err != nil {
		return err
	}
	j.guard.mark = j.log.mark
	if leftOut(ruleRecord) {
		st.move = nil
	}
	j.id = st.id
	if err := checkIdentity(j.id); err != nil {
		return corrupt(name, logStart, err)
	}
	if j.id.Group != group {
		return fmt.Errorf("%w: %s is of %q, not of %q", ErrOtherGroup, j.dir, j.id.Group, group)
	}
	if st.retired {
		return fmt.Errorf("%w: %s was retired", ErrNotJournal, j.dir)
	}
	if j.journal, err = parseUUID(j.id.UUID); err != nil {
		return corrupt(name, logStart, err)
	}
	j.read, j.chunks, j.regions = newContents(&j.id, j.t.readerBlocks), newChunkCache(j.t.readerChunks), newRegions(&j.t)
	// A crash may have left the directories undone, never one that a record stands on.
	if err := makeDirs(j.vol, j.dir); err != nil {
		return err
	}
	if err := syncDir(j.vol, j.dir); err != nil { // a process that was killed may have left a name that is not durable
		return err
	}
	if err := j.openListed(st); err != nil {
		return err
	}
	j.publish(st)
	if !leftOut(ruleSweep) {
		if err := j.sweep(st); err != nil {
			return err
		}
	}
	if err := j.openOriginal(st); err != nil {
		return err
	}
	if err := j.openCycleFiles(st); err != nil {
		return err
	}
	if leftOut(ruleSweep) {
		return nil
	}
	return j.setAside()
}

func (j *Journal) path(elem ...string) string {
	return filepath.Join(append([]string{j.dir}, elem...)...)
}

// openListed opens every file that a record names, and that was not replaced. One that is not as it was written is made again from what it holds; where that can't be, or it is not there, it is blind: the rest of the journal is
// served, and what it may have had is not.
func (j *Journal) openListed(st *state) error {
	for _, f := range st.files {
		s, err := j.openNamed(f)
		if err == nil && f.blind != "" { // it may be well again
			err = s.verifyIndex(&j.id)
		}
		if errors.Is(err, ErrCorrupt) && !errors.Is(err, fs.ErrNotExist) {
			rerr := j.rebuild(context.Background(), st, f)
			if rerr == nil {
				s, err = j.openNamed(f)
			} else if err = errors.Join(err, rerr); j.bad != nil {
				return err
			}
		}
		if errors.Is(err, ErrCorrupt) {
			s, err = j.broken(f, st, err), nil
		}
		if err != nil {
			return err
		}
		j.sealed[s.name] = s
	}
	return nil
}

// sweep removes what a crash left: files that no record names and that do not belong to the open cycle.
func (j *Journal) sweep(st *state) error {
	for _, dir := range fileDirs[segmentFile:] {
		names, err := j.vol.List(j.path(dir))
		if err != nil {
			return err
		}
		for _, n := range names {
			name := j.path(dir, n)
			if j.sealed[name] != nil {
				continue
			}
			if dir == saveDir && st.savesOriginal() && (isOriginal(n) || n == originalEndName) {
				continue
			}
			if dir == segDir && strings.HasSuffix(n, segSuffix) {
				var p replication.PointID
				if _, err := fmt.Sscanf(n, "%d-", &p); err != nil || p == 0 {
					continue // not ours
				}
				if p > st.used {
					return corruptf(j.path(logName), j.log.mark.end, "the log does not know point %d, of which there is %s", p, n)
				}
				if st.cycle != nil && st.cycle.Point == p {
					continue
				}
			} else if !strings.HasSuffix(n, saveSuffix) && !strings.HasSuffix(n, packSuffix) && !strings.HasSuffix(n, newSuffix) && !strings.Contains(n, runSuffix) && n != originalEndName {
				continue // not ours
			}
			if err := removeIfThere(j.vol, name); err != nil {
				return err
			}
		}
	}
	if err := removeIfThere(j.vol, j.path(logName+newSuffix)); err != nil {
		return err
	}
	return removeIfThere(j.vol, j.path(coverageName+newSuffix))
}
