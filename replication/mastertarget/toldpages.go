package mastertarget

import (
	"sync"

	"failback/replication"
)

// toldMost bounds toldPages, in regions: 32 MiB of hashes, those of 8 GiB of disks (I12).
const toldMost = 8192

// toldPages are the hashes of the pages of regions that comparisons have told of, so that a region that turns out to differ is not read and hashed again. Each is given out once, as what
// comes then changes the disk, and to the session that compared only. The oldest go first; a region whose hashes are gone is hashed again. The zero value is empty.
type toldPages struct {
	mu     sync.Mutex
	begun  uint64 // comparisons
	newest map[comparedDisk]comparing
	pages  map[toldRegion][]replication.Hash
	order  []toldRegion // of pages, as they came, and of some that were given out since
}

type comparedDisk struct {
	group replication.GroupID
	disk  replication.DiskNo
}

// comparing is one comparison of a disk.
type comparing struct {
	session replication.Session
	number  uint64
}

type toldRegion struct {
	comparedDisk
	off int64
}

// begin begins a comparison of a disk, and returns what keeps the hashes of its regions: no more once another has begun. What was kept of the disk is forgotten.
func (t *toldPages) begin(d comparedDisk, s replication.Session) (keep func(off int64, pages []replication.Hash)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.newest == nil {
		t.newest, t.pages = map[comparedDisk]comparing{}, map[toldRegion][]replication.Hash{}
	}
	t.begun++
	now := comparing{s, t.begun}
	t.drop(func(of comparedDisk) bool { return of == d })
	t.newest[d] = now
	return func(off int64, pages []replication.Hash) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.newest[d] != now {
			return
		}
		for len(t.order) >= toldMost {
			delete(t.pages, t.order[0])
			t.order = t.order[1:]
		}
		r := toldRegion{d, off}
		t.pages[r], t.order = pages, append(t.order, r)
	}
}

// take returns the hashes of a region's pages, if they are kept, and forgets them.
func (t *toldPages) take(d comparedDisk, s replication.Session, off int64) []replication.Hash {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := toldRegion{d, off}
	pages := t.pages[r]
	if t.newest[d].session != s {
		return nil
	}
	delete(t.pages, r)
	return pages
}

// forget forgets what is kept of a group.
func (t *toldPages) forget(g replication.GroupID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(func(of comparedDisk) bool { return of.group == g })
}

// drop forgets what is kept of some disks. The lock is held.
func (t *toldPages) drop(of func(comparedDisk) bool) {
	kept := t.order[:0]
	for _, r := range t.order {
		if !of(r.comparedDisk) {
			kept = append(kept, r)
			continue
		}
		delete(t.pages, r)
	}
	clear(t.order[len(kept):])
	if t.order = kept; len(kept) == 0 {
		t.order = nil
	}
	for d := range t.newest {
		if of(d) {
			delete(t.newest, d)
		}
	}
}
