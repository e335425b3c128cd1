package processserver

import (
	"maps"
	"sync"
	"time"

	"failback/replication"
)

// gauges measure the machine that a process server runs on.
type gauges struct {
	mu   sync.Mutex
	cpu  cpuTimes // as read at at
	at   time.Time
	busy float64
}

// leastBusy is over how long a time the share of busy cores is taken at least: who asks sooner is told the last one.
const leastBusy = time.Second

// Figures implements link.Measured: it measures now.
func (e *Engine) Figures() replication.Figures {
	f := replication.Figures{Time: time.Now().UTC(), CPU: e.gauges.share(time.Now()), Memory: usedMemory(), Shipping: int(e.shipping.Load())}
	f.StateFree, f.StateTotal = volumeSpace(e.cfg.Dir)
	f.Frozen = e.stillFrozen()
	f.Clock = time.Now().UTC()
	return f
}

// share returns the share of the cores that was busy since it was asked before; -1: not known.
func (g *gauges) share(now time.Time) float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	first := g.at.IsZero()
	if !first && now.Sub(g.at) < leastBusy {
		return g.busy
	}
	cpu := readCPU()
	g.busy = -1
	if idle := cpu.idleSince(g.cpu); !first && idle >= 0 {
		g.busy = 1 - idle
	}
	g.cpu, g.at = cpu, now
	return g.busy
}

// Shipments returns the ledgers of the shipments under way, by group and disk.
func (e *Engine) Shipments() map[replication.GroupID]map[replication.DiskID]replication.Ledger {
	e.mu.Lock()
	ships := maps.Clone(e.ships)
	e.mu.Unlock()
	out := map[replication.GroupID]map[replication.DiskID]replication.Ledger{}
	for id, s := range ships {
		out[id] = map[replication.DiskID]replication.Ledger{}
		for _, d := range s.disks {
			out[id][d.Disk.ID] = d.ledger.snapshot()
		}
	}
	return out
}

// under notes that a shipment, whose disks are open, is under way, until the returned function is called.
func (e *Engine) under(id replication.GroupID, s *shipment) (over func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ships == nil {
		e.ships = map[replication.GroupID]*shipment{}
	}
	e.ships[id] = s
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.ships, id)
	}
}
