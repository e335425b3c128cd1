package transport

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestReadingAheadWaitsForWhatTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog()
		begin := time.Now()
		b.read(2 * backlogMost) // no lane yet: nobody would take it
		b.open()
		b.read(backlogMost)
		if took := time.Since(begin); took != 0 {
			t.Fatalf("waited %v while there was room", took)
		}
		go func() {
			time.Sleep(backlogWait / 4)
			b.taken(backlogMost / 2)
		}()
		b.read(backlogMost / 2)
		if took := time.Since(begin); took != backlogWait/4 {
			t.Errorf("waited %v, want as long as a frame took to be taken", took)
		}

		begin = time.Now()
		for range 100 { // nothing takes: a disk that is slow to answer
			b.read(backlogMost)
		}
		if took := time.Since(begin); took != backlogWait {
			t.Errorf("waited %v for what takes nothing, want %v once", took, backlogWait)
		}
		b.taken(backlogMost)
		begin = time.Now()
		go func() {
			time.Sleep(backlogWait / 4)
			b.end()
		}()
		b.read(1)
		if took := time.Since(begin); took != backlogWait/4 {
			t.Errorf("waited %v, want until the lane ended", took)
		}
		b.read(backlogMost)
		if took := time.Since(begin); took != backlogWait/4 {
			t.Errorf("waited %v for a lane that has ended", took)
		}
	})
}

// TestTakingMoreThanWasCountedIsForgotten: what came before the lane was open counts for nothing.
func TestTakingMoreThanWasCountedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog()
		b.open()
		b.taken(10 * backlogMost)
		begin := time.Now()
		b.read(backlogMost + 1)
		if took := time.Since(begin); took != backlogWait {
			t.Errorf("waited %v, want %v: there is more than should be", took, backlogWait)
		}
	})
}
