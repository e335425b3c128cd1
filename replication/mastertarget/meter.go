package mastertarget

import (
	"sync"
	"time"

	"failback/retention"
)

// meter reads how fast a move is, from its progress.
type meter struct {
	assumed float64 // bytes a second, while nothing is known

	phase   string
	since   time.Time // the phase began
	first   int64     // and this was done
	written int64     // of the disks, so far
}

// meterAfter is how long a phase goes on before its rate is told.
const meterAfter = time.Second

// read returns the rate of the phase in bytes a second, 0 while it is not known, and how long the whole move takes at that rate.
func (m *meter) read(p retention.MoveProgress, now time.Time) (rate float64, left time.Duration) {
	if p.Phase == retention.PhaseSync {
		return 0, 0
	}
	if p.Phase != m.phase {
		m.phase, m.since, m.first = p.Phase, now, p.Done
	}
	if p.Phase == retention.PhaseWrite {
		m.written = p.Done
	}
	pace := m.assumed
	if took := now.Sub(m.since); took >= meterAfter && p.Done > m.first {
		rate = float64(p.Done-m.first) / took.Seconds()
		pace = rate
	}
	if pace <= 0 {
		return rate, 0
	}
	return rate, time.Duration(float64(p.Total-p.Done+p.Ahead) / pace * float64(time.Second))
}

// moveRate is what is known of how fast the group's disks move: bytes written a second, with all that goes with it.
type moveRate struct {
	mu    sync.Mutex
	value float64       // 0: not known yet
	brief time.Duration // that a move takes which writes less than is learnt from
}

// A move that is too short says more of the sync at its end than of the disks.
const (
	assumedRate = 64 << 20 // bytes a second, before the first move: of a slow disk
	leastMoved  = 4 << 20  // bytes of a move that is learnt from
)

// bytes returns how many bytes a second a move writes, as far as is known.
func (r *moveRate) bytes() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.value == 0 {
		return assumedRate
	}
	return r.value
}

// known returns what was measured; 0: nothing.
func (r *moveRate) known() (rate float64, brief time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value, r.brief
}

// takes returns how long a move takes that writes n bytes.
func (r *moveRate) takes(n int64) time.Duration {
	return time.Duration(float64(n) / r.bytes() * float64(time.Second))
}

// learn takes a move into account: the last ones count most.
func (r *moveRate) learn(n int64, took time.Duration) {
	if took <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n < leastMoved {
		r.brief = took
		return
	}
	now := float64(n) / took.Seconds()
	if r.value == 0 {
		r.value = now
	}
	r.value += (now - r.value) / 2
}
