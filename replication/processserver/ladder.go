package processserver

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"failback/replication/block"
)

// ladder chooses how much work compression is worth, by what is scarce. Frames that find the lanes' queue full wait for the link (or for the master
// target); frames that find it empty are waited for. When frames wait and this machine has idle cores, the level goes up; when
// lanes wait, or frames wait while the cores are all busy, it goes down.
type ladder struct {
	pinned bool
	now    atomic.Uint32 // block.Level

	mu      sync.Mutex
	frames  int // since the last decision
	full    int // of these, found the queue full
	empty   int // of these, found it empty
	decided time.Time
	cpu     cpuTimes
}

// rungs are the levels it climbs. LZ4 is none of them: measured here, s2 compresses the same data as well, at several times the speed.
var rungs = []block.Level{block.Raw, block.LevelS2, block.LevelZstd1, block.LevelZstd2}

// A decision is made after so many frames and so long a time.
const (
	ladderFrames = 16
	ladderEvery  = 250 * time.Millisecond
)

func newLadder(pin *block.Level) *ladder {
	l := &ladder{decided: time.Now(), cpu: readCPU()}
	l.now.Store(uint32(block.LevelS2))
	if pin != nil {
		l.pinned = true
		l.now.Store(uint32(*pin))
	}
	return l
}

func (l *ladder) level() block.Level { return block.Level(l.now.Load()) }

// note tells that a frame met a queue of the given length and capacity.
func (l *ladder) note(length, capacity int) {
	if l.pinned {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames++
	if length == capacity {
		l.full++
	} else if length == 0 {
		l.empty++
	}
	if l.frames < ladderFrames || time.Since(l.decided) < ladderEvery {
		return
	}
	cpu := readCPU()
	next := step(l.level(), l.frames, l.full, l.empty, cpu.idleSince(l.cpu))
	l.now.Store(uint32(next))
	l.frames, l.full, l.empty, l.decided, l.cpu = 0, 0, 0, time.Now(), cpu
}

// step decides: of so many frames, how many found the queue full or empty, and what share of the machine's cores was idle (0 to 1; below 0: not known).
func step(at block.Level, frames, full, empty int, idle float64) block.Level {
	rung := slices.Index(rungs, at)
	linkBinds, cpuBinds := full*2 > frames, empty*2 > frames || idle >= 0 && idle < 0.10
	switch {
	case linkBinds && idle >= 0.25:
		rung++
	case linkBinds && idle < 0: // not known: a cheap codec is a safe guess
		rung = max(rung, 1)
	case cpuBinds:
		rung--
	}
	return rungs[max(0, min(rung, len(rungs)-1))]
}
