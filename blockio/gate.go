package blockio

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// gate is a sync.RWMutex for what is entered from all cores for a microsecond at a time, and closed once: readers on different cores don't write to the same cache line. Who enters
// takes a lane of the gate, as a rule that which its core had last; who closes it takes all.
type gate struct {
	lanes [gateLanes]gateLane
	near  sync.Pool // of *gateLane: what goes into it comes out on the same core, as a rule
	next  atomic.Uint32
}

const gateLanes = 8

type gateLane struct {
	sync.RWMutex
	_ [128 - unsafe.Sizeof(sync.RWMutex{})]byte // two cache lines: processors fetch them in pairs
}

// enter holds the gate open until leave is called on what it returns.
func (g *gate) enter() *gateLane {
	lane, ok := g.near.Get().(*gateLane)
	if !ok {
		lane = &g.lanes[g.next.Add(1)%gateLanes]
	}
	lane.RLock()
	return lane
}

func (g *gate) leave(lane *gateLane) {
	lane.RUnlock()
	g.near.Put(lane)
}

// close waits until nobody is inside, and keeps everybody out until open.
func (g *gate) close() {
	for i := range g.lanes {
		g.lanes[i].Lock()
	}
}

func (g *gate) open() {
	for i := range g.lanes {
		g.lanes[i].Unlock()
	}
}
