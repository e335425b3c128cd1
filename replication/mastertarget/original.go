package mastertarget

import (
	"slices"
	"sync"
	"sync/atomic"

	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
	"failback/retention"
)

// What a first baseline writes over is saved before, where the group keeps point 0. Each save ends with a sync of the retention volume, so blocks gather until many can be saved at once; they
// are written when that is durable (I4). Two batches are in memory at most: one that gathers, and one that is saved and written.

// Bounds of a batch.
const (
	batchBytes   = 16 << 20 // of data
	batchExtents = 64 << 10
)

// keeping saves what disks hold before blocks are written over it. Safe for concurrent use.
type keeping struct {
	journal *retention.Journal
	targets []blockio.Target
	put     func(b *block.Block, raw []byte) error // writes a block

	mu      sync.Mutex // taken before writing
	blocks  []kept
	bytes   int
	extents int

	writing sync.Mutex            // held by the one that saves and writes a batch; who holds it does not take mu
	failed  atomic.Pointer[error] // a batch was not written: no later block may be taken for durable, nor the cycle for complete
}

// kept is a block that waits.
type kept struct {
	block.Block
	raw []byte
}

// add takes a block, which is the caller's again when it returns. It is written later: when a batch is full, or at flush.
func (k *keeping) add(b *block.Block, raw []byte) error {
	if err := k.failed.Load(); err != nil {
		return *err
	}
	k.mu.Lock()
	x := kept{Block: *b, raw: slices.Clone(raw)}
	x.Extents, x.Payload = slices.Clone(b.Extents), nil
	k.blocks = append(k.blocks, x)
	k.bytes += len(raw)
	k.extents += len(x.Extents)
	if k.bytes < batchBytes && k.extents < batchExtents {
		k.mu.Unlock()
		return nil
	}
	return k.writeLocked()
}

// flush writes what has gathered.
func (k *keeping) flush() error {
	if err := k.failed.Load(); err != nil {
		return *err
	}
	k.mu.Lock()
	return k.writeLocked()
}

// writeLocked saves and writes what has gathered, and lets go of mu: others gather the next batch meanwhile, and then wait.
func (k *keeping) writeLocked() error {
	blocks := k.blocks
	k.blocks, k.bytes, k.extents = nil, 0, 0
	k.writing.Lock() // batches are written in the order in which they gathered
	k.mu.Unlock()
	defer k.writing.Unlock()
	if err := k.failed.Load(); err != nil { // the batch before
		return *err
	}
	if len(blocks) == 0 {
		return nil
	}
	err := k.write(blocks)
	if err != nil {
		k.failed.Store(&err)
	}
	return err
}

func (k *keeping) write(blocks []kept) error {
	over := map[replication.DiskNo][]replication.Extent{}
	for i := range blocks {
		b := &blocks[i]
		switch b.Kind {
		case block.Data:
			over[b.Disk] = append(over[b.Disk], b.Extents...)
		case block.Zero:
			for _, e := range b.Extents {
				var err error
				if over[b.Disk], err = notZero(over[b.Disk], k.targets[b.Disk], e); err != nil {
					return targetProblem(k.targets[b.Disk].Description().Path, err)
				}
			}
		}
	}
	disks := make([]retention.Disk, len(k.targets))
	for i, t := range k.targets {
		disks[i] = t
	}
	if err := k.journal.SaveOriginal(disks, over); err != nil {
		return journalProblem(k.journal.Identity().Group, err)
	}
	for i := range blocks {
		if err := k.put(&blocks[i].Block, blocks[i].raw); err != nil {
			return err
		}
	}
	return nil
}

// notZero appends, in whole pages, the parts of an extent that a disk does not know to be zeros: zeros written over the others change nothing.
func notZero(dst []replication.Extent, disk blockio.Target, e replication.Extent) ([]replication.Extent, error) {
	for at := e.Off; at < e.End; {
		start, end, err := disk.NextData(at)
		if err != nil {
			return dst, err
		}
		x := replication.Extent{Off: start, End: end}.Intersect(e)
		if x.Empty() {
			break
		}
		at = x.End
		dst = append(dst, x.Outward(disk.Size()))
	}
	return dst, nil
}
