package blockio

import (
	"runtime"
	"sync/atomic"
)

// turns lets the scheduler have its turn now and then. Of a goroutine that makes one short request after another for 10 ms, Go takes the processor away in the middle of a system call, again and again, and looks every 20 us meanwhile
// whether it should: on two cores that took a fifth of the rate of a device that answers in 12 us.
type turns struct{ n atomic.Uint32 }

// turnEvery is how many requests go between two turns: with four goroutines, each gets its own well within 10 ms.
const turnEvery = 32

func (t *turns) take() {
	if t.n.Add(1)%turnEvery == 0 {
		runtime.Gosched()
	}
}
