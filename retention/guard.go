package retention

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// guard sees to it that a journal is written to, and its disks, only by the one whose it is (I7), where locks do not see to it: a master target that was thought dead, and was not.
//
// Whoever takes a journal over appends to its log. So the newest end mark of the log, looked for by the log's name, is the one that was written here last, or the journal is another's now. The guard looks before each
// record, before a name of the journal's files changes, and before a batch of writes, to the journal or to a disk: what is written until as many bytes were written, or as much time has passed, as the tuning says.
// What it found stands for good. A look is an open and a read of three pages, which the kernel has.
//
// A look and the write that follows it are two steps: a process that is stopped between them, for as long as it takes to adopt its group, writes what it was about to write. No look can
// change that; it is why adopting asks for the word that the old host is off.
type guard struct {
	vol       volume
	dir       string
	batch     int64         // bytes
	batchTime time.Duration //

	taken   atomic.Pointer[Owned] // found out
	written atomic.Int64          // bytes since the last look
	looked  atomic.Pointer[time.Time]

	mu   sync.Mutex // held over an append to the log, whose end mark is not the expected one meanwhile
	mark mark       // the expected one
}

// look says whether the journal is still this one's.
func (g *guard) look() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lookLocked()
}

func (g *guard) lookLocked() error {
	if err := g.found(); err != nil {
		return err
	}
	if leftOut(ruleStillOurs) || leftOut(ruleEndMark) {
		g.lookedNow()
		return nil
	}
	name := filepath.Join(g.dir, logName)
	f, err := g.vol.Open(name)
	if err != nil {
		return fmt.Errorf("look whose the journal is: %w", err)
	}
	l := &recordLog{name: name, f: f}
	err = l.readMarks()
	if err == nil && l.mark != g.mark {
		owned := &Owned{Dir: g.dir}
		if now, rerr := readLog(name, f, true); rerr == nil {
			owned.Generation = now.st.generation
			if now.st.owner != nil {
				owned.Owner = *now.st.owner
			}
		}
		g.taken.Store(owned)
		err = owned
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("look whose the journal is: %w", err)
	}
	g.lookedNow()
	return nil
}

func (g *guard) lookedNow() {
	now := time.Now()
	g.written.Store(0)
	g.looked.Store(&now)
}

// before says whether n bytes may be written, looking where a batch is over.
func (g *guard) before(n int64) error {
	if err := g.found(); err != nil || !g.due(n) {
		return err
	}
	return g.look()
}

// afterRead says whether what was just read from a disk counts. It does not wait for an append to the log, which has looked itself.
func (g *guard) afterRead() error {
	if g == nil { // an Inspection has none
		return nil
	}
	if err := g.found(); err != nil || !g.due(0) || !g.mu.TryLock() {
		return err
	}
	defer g.mu.Unlock()
	return g.lookLocked()
}

func (g *guard) due(n int64) bool {
	looked := g.looked.Load()
	return g.written.Add(n) >= g.batch || looked == nil || time.Since(*looked) >= g.batchTime
}

// found returns what a look has found out; nil: nothing yet.
func (g *guard) found() error {
	if g == nil {
		return nil
	}
	if o := g.taken.Load(); o != nil {
		return fmt.Errorf("look whose the journal is: %w", o)
	}
	return nil
}

// guarded is a volume on which nothing changes unless the guard says so. Locks and room are as they are.
type guarded struct {
	volume
	g *guard
}

func (v guarded) Open(name string) (file, error) {
	f, err := v.volume.Open(name)
	if err != nil {
		return nil, err
	}
	return guardedFile{f, v.g}, nil
}

func (v guarded) Create(name string) (file, error) {
	if err := v.g.look(); err != nil {
		return nil, err
	}
	f, err := v.volume.Create(name)
	if err != nil {
		return nil, err
	}
	return guardedFile{f, v.g}, nil
}

func (v guarded) Allocate(name string, size int64) error {
	if err := v.g.look(); err != nil {
		return err
	}
	return v.volume.Allocate(name, size)
}

func (v guarded) Rename(from, to string) error {
	if err := v.g.look(); err != nil {
		return err
	}
	return v.volume.Rename(from, to)
}

func (v guarded) Remove(name string) error {
	if err := v.g.before(0); err != nil { // what is removed, a record said before, or it is unfinished
		return err
	}
	return v.volume.Remove(name)
}

type guardedFile struct {
	file
	g *guard
}

func (f guardedFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.g.before(int64(len(b))); err != nil {
		return 0, err
	}
	return f.file.WriteAt(b, off)
}

func (f guardedFile) Truncate(size int64) error {
	if err := f.g.look(); err != nil {
		return err
	}
	return f.file.Truncate(size)
}

// startWriting changes nothing: what is on its way was written before.
func (f guardedFile) startWriting(off, n int64) {
	if s, ok := f.file.(starter); ok {
		s.startWriting(off, n)
	}
}

// MayWrite is asked before n bytes are written to a disk of the group by anyone but the journal: an error says that the disks are another's now.
func (j *Journal) MayWrite(n int64) error { return j.guard.before(n) }

// StillOurs says whether the journal is still this one's; an ErrOwned says whose it is, and stands for good.
func (j *Journal) StillOurs() error { return j.guard.look() }
