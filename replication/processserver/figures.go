package processserver

import (
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
