package processserver

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"sync"

	"failback/replication"
)

// contents remembers where disks hold which content, page by page, for all groups of a process server, in bounded memory. It forgets, and what it tells may be long out of date: who
// asks looks there. When the disks have more pages than there are slots, only pages whose hashes end in so many zero bits are in it: those of a run that is long enough to
// matter find the others. Safe for concurrent use.
type contents struct {
	mu    sync.Mutex
	limit int    // slots, a power of two
	slots []slot // as many as the groups have pages, up to limit
	skip  uint   // bits of a key that must be zero
	pages map[replication.GroupID]int64
}

type slot struct {
	key   uint64 // of a hash and a group; 0: empty
	place place
}

// place is a page of a disk of some group.
type place uint64

const (
	placeBits = 48       // of the page's number; the disk's is above
	slotBytes = 16       // a slot's
	slotWays  = 4        // slots that a key may be in: one line of the processor's cache
	slotSkip  = 16       // bits of a key below those that say which slots
	leastSlot = 16 << 10 // slots of the smallest index: 256 KiB
)

func placeOf(disk replication.DiskNo, off int64) place {
	return place(disk)<<placeBits | place(off/replication.Page)
}

func (p place) disk() replication.DiskNo { return replication.DiskNo(p >> placeBits) }
func (p place) off() int64               { return int64(p&(1<<placeBits-1)) * replication.Page }

// newContents returns contents that take at most so many bytes; nil where that is too little for any.
func newContents(limit int64) *contents {
	if limit < leastSlot*slotBytes {
		return nil
	}
	return &contents{limit: 1 << (bits.Len64(uint64(limit/slotBytes)) - 1), pages: map[replication.GroupID]int64{}}
}

// salt keeps the groups' keys apart.
func salt(g replication.GroupID) uint64 {
	sum := sha256.Sum256([]byte(g))
	return binary.LittleEndian.Uint64(sum[:])
}

// hold makes room for a group of so many pages; 0: it is gone.
func (c *contents) hold(g replication.GroupID, pages int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pages[g] = pages; pages == 0 {
		delete(c.pages, g)
		return
	}
	all := int64(0)
	for _, n := range c.pages {
		all += n
	}
	want := max(leastSlot, 1<<bits.Len64(uint64(all-1)))
	c.skip = 0
	for ; want > c.limit; want /= 2 {
		c.skip = min(c.skip+1, slotSkip)
	}
	if want <= len(c.slots) {
		return
	}
	old := c.slots
	c.slots = make([]slot, want)
	for _, s := range old {
		if s.key != 0 && c.keeps(s.key) {
			c.putLocked(s.key, s.place)
		}
	}
}

func key(salt uint64, h replication.Hash) uint64 { return binary.LittleEndian.Uint64(h[:]) ^ salt }

func (c *contents) keeps(key uint64) bool { return key&(1<<c.skip-1) == 0 }

// ways returns the slots that a key may be in.
func (c *contents) ways(key uint64) []slot {
	i := (key >> slotSkip) & uint64(len(c.slots)-1) &^ (slotWays - 1)
	return c.slots[i : i+slotWays]
}

// find returns where the content may be; kept says whether content of that hash is remembered at all.
func (c *contents) find(salt uint64, h replication.Hash) (p place, found, kept bool) {
	k := key(salt, h)
	c.mu.Lock()
	defer c.mu.Unlock()
	if h == (replication.Hash{}) || !c.keeps(k) {
		return 0, false, false
	}
	for _, s := range c.ways(k) {
		if s.key == k {
			return s.place, true, true
		}
	}
	return 0, false, true
}

// put remembers that the content is at p, and no other place of it.
func (c *contents) put(salt uint64, h replication.Hash, p place) {
	k := key(salt, h)
	c.mu.Lock()
	defer c.mu.Unlock()
	if h == (replication.Hash{}) || !c.keeps(k) {
		return
	}
	c.putLocked(k, p)
}

func (c *contents) putLocked(key uint64, p place) {
	ways := c.ways(key)
	at := int(key>>(64-2)) % slotWays // whose turn it is to be forgotten: any
	for i, s := range ways {
		if s.key == key {
			at = i
			break
		}
		if s.key == 0 {
			at = i
		}
	}
	ways[at] = slot{key, p}
}
