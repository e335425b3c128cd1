package processserver

import (
	"sync/atomic"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// ledger counts one disk's bytes in one order. Safe for concurrent use.
type ledger struct {
	no                             replication.DiskNo
	total                          atomic.Int64
	done, zero, equal, kept        atomic.Int64
	read, raw, again, payload, net atomic.Int64
	repeated                       atomic.Int64 // by reference
	codecs                         [block.Zstd + 1]struct{ raw, payload atomic.Int64 }
	spent                          struct{ read, hash, compress, send, target atomic.Int64 } // nanoseconds
	later                          atomic.Bool                                               // lanes were lost: all that was looked at is looked at again, and counted already
}

// since adds the time that has passed to one of the counters of what was spent.
func since(counter *atomic.Int64, begin time.Time) { counter.Add(int64(time.Since(begin))) }

// look adds n to one of done, zero, equal and kept.
func (l *ledger) look(counter *atomic.Int64, n int64) {
	if !l.later.Load() {
		counter.Add(n)
	}
}

func (l *ledger) sent(b *block.Block) {
	if b.Kind != block.Data {
		return
	}
	l.raw.Add(int64(b.Raw))
	l.payload.Add(int64(len(b.Payload)))
	if l.later.Load() {
		l.again.Add(int64(b.Raw))
	}
	codec := b.Codec
	if codec == block.Stream { // that is what it is a stream of
		codec = block.Zstd
	}
	if codec <= block.Zstd {
		l.codecs[codec].raw.Add(int64(b.Raw))
		l.codecs[codec].payload.Add(int64(len(b.Payload)))
	}
}

func (l *ledger) snapshot() replication.Ledger {
	by := func(c block.Codec) replication.Sent {
		return replication.Sent{Raw: l.codecs[c].raw.Load(), Payload: l.codecs[c].payload.Load()}
	}
	return replication.Ledger{
		Disk: l.no, Total: l.total.Load(), Done: l.done.Load(), Read: l.read.Load(), Zero: l.zero.Load(), Equal: l.equal.Load(), Kept: l.kept.Load(),
		Raw: l.raw.Load(), Again: l.again.Load(), Payload: l.payload.Load(), Wire: l.net.Load(), Repeated: l.repeated.Load(),
		Spent: replication.Spent{
			Read: time.Duration(l.spent.read.Load()), Hash: time.Duration(l.spent.hash.Load()), Compress: time.Duration(l.spent.compress.Load()), Send: time.Duration(l.spent.send.Load()), Target: time.Duration(l.spent.target.Load()),
		},
		Codecs: replication.Codecs{None: by(block.None), LZ4: by(block.LZ4), S2: by(block.S2), Zstd: by(block.Zstd)},
	}
}

// wireShare divides what one lane's socket took between the disks whose frames it carried, in the order in which they went. One goroutine at a time.
type wireShare struct {
	disks   []*diskShip
	told    int64 // divided so far, or spare
	spare   int64 // headers and TLS: divided when the lane ends
	queue   []carried
	carried map[replication.DiskNo]int64
}

// carried is payload of a disk that is not known to be on the wire.
type carried struct {
	disk  replication.DiskNo
	bytes int64
}

func (w *wireShare) carry(b *block.Block) {
	if w.carried == nil {
		w.carried = map[replication.DiskNo]int64{}
	}
	n := int64(len(b.Payload))
	w.carried[b.Disk] += n + int64(len(b.Extents)) // of notes too
	if last := len(w.queue) - 1; last >= 0 && w.queue[last].disk == b.Disk {
		w.queue[last].bytes += n
	} else if n > 0 {
		w.queue = append(w.queue, carried{b.Disk, n})
	}
}

// divide takes what the socket took in all.
func (w *wireShare) divide(sent int64) {
	fresh := sent - w.told
	w.told = sent
	for fresh > 0 && len(w.queue) > 0 {
		head := &w.queue[0]
		n := min(fresh, head.bytes)
		w.disks[head.disk].ledger.net.Add(n)
		fresh -= n
		if head.bytes -= n; head.bytes == 0 {
			w.queue = w.queue[1:]
		}
	}
	w.spare += fresh
}

// end divides what is no payload, to the last byte, in the shares of what was carried.
func (w *wireShare) end() {
	all, rest, last := int64(0), w.spare, replication.DiskNo(0)
	for disk, n := range w.carried {
		all, last = all+n, max(last, disk)
	}
	if all == 0 {
		return
	}
	for disk, n := range w.carried {
		if disk != last {
			part := int64(float64(w.spare) * float64(n) / float64(all))
			w.disks[disk].ledger.net.Add(part)
			rest -= part
		}
	}
	w.disks[last].ledger.net.Add(rest)
	w.spare = 0
}
