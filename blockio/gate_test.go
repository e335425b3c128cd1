package blockio

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestGateIsClosedToAll: while it is closed nobody is inside, on whatever core, and whoever waits gets in afterwards.
func TestGateIsClosedToAll(t *testing.T) {
	var g gate
	var inside atomic.Int64
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 20000 {
				lane := g.enter()
				inside.Add(1)
				inside.Add(-1)
				g.leave(lane)
			}
		})
	}
	for range 200 {
		g.close()
		if n := inside.Load(); n != 0 {
			t.Errorf("%d inside of a closed gate", n)
		}
		g.open()
	}
	callers.Wait()
}
