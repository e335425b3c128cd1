package processserver

import (
	"time"

	"failback/replication/link"
)

// stuckAfter is how long a lane's socket may take nothing of a frame before another lane has its turn. Where few lanes are used, as with streams, all would wait for it.
const stuckAfter = time.Second

// pulse is what shows that a lane moves.
type pulse struct {
	lane   *openLane
	frames uint64
	wire   int64
}

func (l *openLane) pulse() pulse {
	p := pulse{lane: l, frames: l.frames.Load()}
	if m, ok := l.Lane.(link.Metered); ok {
		p.wire = m.Wire()
	}
	return p
}

func (u *laneUse) opens(l *openLane) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open[l.no] = l
}

func (u *laneUse) closes(l *openLane) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.open, l.no)
	if u.stuck[l.no] {
		delete(u.stuck, l.no)
		u.movedLocked()
	}
}

// feel looks at the lanes' pulses, every stuckAfter, and notes which are stuck: not those that a limit holds back, as it would the next one.
func (u *laneUse) feel() {
	u.mu.Lock()
	defer u.mu.Unlock()
	before := u.seen
	u.seen = map[uint32]pulse{}
	for no, l := range u.open {
		now := l.pulse()
		u.seen[no] = now
		if stuck := now.frames%2 == 1 && now == before[no] && !l.held.Load(); stuck != u.stuck[no] {
			delete(u.stuck, no)
			if stuck {
				u.stuck[no] = true
			}
			u.movedLocked()
		}
	}
}
