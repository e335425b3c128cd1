package mastertarget

import (
	"errors"
	"slices"
	"sync"

	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
	"failback/retention"
)

// throughCycle is what of an open cycle is written through to the disks: all of a first baseline, and the disks that join with a later one. Safe for concurrent use.
type throughCycle struct {
	journal *retention.Journal
	targets []blockio.Target
	joining []replication.DiskNo // that it takes; empty: all

	mu      sync.Mutex
	written map[replication.DiskNo]*replication.Pages // since the last sync began
	bytes   int64                                     // data of these
	extents int                                       // and in how many it came
	failed  error                                     // a sync that failed: what it was to make durable is in no later one
	syncing sync.Mutex                                // held by the one that syncs

	keeping *keeping // saves what is written over, where the group keeps point 0; else nil
}

// How much is written through before it is made durable and noted: what is sent again, at most, after a power failure.
const (
	throughSyncEvery   = 512 << 20 // bytes of data
	throughSyncExtents = 1 << 20   // of anything
	notedAtOnce        = 64 << 10  // extents noted at a time, of these
)

func newThroughCycle(j *retention.Journal, targets []blockio.Target, joining []replication.DiskNo) *throughCycle {
	t := &throughCycle{journal: j, targets: targets, joining: joining, written: map[replication.DiskNo]*replication.Pages{}}
	if j.Identity().KeepOriginal && len(joining) == 0 { // what a disk that joins held before is no part of point 0
		t.keeping = &keeping{journal: j, targets: targets, put: t.put}
	}
	return t
}

// takes says whether the disk is written through.
func (t *throughCycle) takes(disk replication.DiskNo) bool {
	return len(t.joining) == 0 || slices.Contains(t.joining, disk)
}

// streams returns the disks whose content may come in streams: what is written through is kept nowhere as it came.
func (g *group) streams() (disks []replication.DiskNo) {
	g.gate.RLock()
	defer g.gate.RUnlock()
	if g.through == nil {
		return nil
	}
	for _, d := range g.journal.Identity().Disks {
		if g.through.takes(d.No) {
			disks = append(disks, d.No)
		}
	}
	return disks
}

// write puts a block on its disk, at once; or, where what it holds is saved first, some time up to the next sync.
func (t *throughCycle) write(b *block.Block, raw []byte) error {
	if t.keeping != nil {
		return t.keeping.add(b, raw)
	}
	return t.put(b, raw)
}

// put puts a block on its disk. What an equal block tells is noted too: the bytes are on the disk, but perhaps not durable yet.
func (t *throughCycle) put(b *block.Block, raw []byte) error {
	disk := t.targets[b.Disk]
	if b.Kind != block.Equal {
		if err := t.journal.MayWrite(int64(b.Raw)); err != nil {
			return journalProblem(t.journal.Identity().Group, err)
		}
	}
	for _, e := range b.Extents {
		var err error
		switch b.Kind {
		case block.Data:
			_, err = disk.WriteAt(raw[:e.Len()], e.Off)
			raw = raw[e.Len():]
		case block.Zero:
			err = disk.Zero(e.Off, e.Len())
		}
		if err != nil {
			return targetProblem(disk.Description().Path, err)
		}
	}
	t.mu.Lock()
	set := t.written[b.Disk]
	if set == nil {
		set = replication.NewPages(disk.Size())
		t.written[b.Disk] = set
	}
	for _, e := range b.Extents {
		set.Add(e)
	}
	t.bytes += int64(b.Raw)
	t.extents += len(b.Extents)
	due := t.bytes >= throughSyncEvery || t.extents >= throughSyncExtents
	t.mu.Unlock()
	if due && t.syncing.TryLock() { // the others go on writing
		defer t.syncing.Unlock()
		return t.syncLocked()
	}
	return nil
}

// sync makes durable, and notes as durable, all that was written before the call.
func (t *throughCycle) sync() error {
	var unsaved error
	if t.keeping != nil {
		unsaved = t.keeping.flush()
	}
	t.syncing.Lock()
	defer t.syncing.Unlock()
	if err := t.syncLocked(); err != nil {
		return err
	}
	return unsaved
}

func (t *throughCycle) syncLocked() error {
	t.mu.Lock()
	written, failed := t.written, t.failed
	t.written, t.bytes, t.extents = map[replication.DiskNo]*replication.Pages{}, 0, 0
	t.mu.Unlock()
	if failed != nil || len(written) == 0 {
		return failed
	}
	err := t.make(written)
	if err != nil {
		t.mu.Lock()
		t.failed = err
		t.mu.Unlock()
	}
	return err
}

// make makes what was written durable, and notes that it is.
func (t *throughCycle) make(written map[replication.DiskNo]*replication.Pages) error {
	var wg sync.WaitGroup
	errs := make([]error, len(t.targets))
	for disk := range written {
		wg.Go(func() { errs[disk] = t.targets[disk].Sync() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil { // the disk is poisoned: nothing more will be noted for it
		return targetProblem("sync", err)
	}
	part, n := map[replication.DiskNo][]replication.Extent{}, 0 // of several disks, as each time is a sync
	note := func() error {
		if err := t.journal.RecordCoverage(part); err != nil {
			return journalProblem(t.journal.Identity().Group, err)
		}
		clear(part)
		n = 0
		return nil
	}
	for disk, set := range written {
		for e := range set.All() {
			part[disk] = append(part[disk], e)
			if n++; n < notedAtOnce {
				continue
			}
			if err := note(); err != nil {
				return err
			}
		}
	}
	if n > 0 {
		return note()
	}
	return nil
}
