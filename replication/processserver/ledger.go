package processserver

import (
	"sync/atomic"

	"failback/replication"
	"failback/replication/block"
)

// ledger counts one disk's bytes in one order. Safe for concurrent use.
type ledger struct {
	no                                           replication.DiskNo
	total, done, read, zero, equal, raw, payload atomic.Int64
}

func (l *ledger) sent(b *block.Block) {
	if b.Kind == block.Data {
		l.raw.Add(int64(b.Raw))
		l.payload.Add(int64(len(b.Payload)))
	}
}

func (l *ledger) snapshot() replication.Ledger {
	return replication.Ledger{
		Disk: l.no, Total: l.total.Load(), Done: l.done.Load(), Read: l.read.Load(), Zero: l.zero.Load(),
		Equal: l.equal.Load(), Raw: l.raw.Load(), Payload: l.payload.Load(),
	}
}
