package mastertarget

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"failback/replication"
	"failback/replication/forecast"
)

// pace is what is known of how long things take a group. It outlives the group's handles, and is in the catalogue; if what was measured last is not there after a crash, a forecast is a little worse.
type pace struct {
	moves moveRate
	watch stopwatch

	mu     sync.Mutex
	record paceRecord
	noted  time.Time // in the catalogue
}

// paceRecord is what the catalogue knows of it.
type paceRecord struct {
	Created time.Time        `json:"created"`         // of the group: an earlier one of its name was another
	Cycles  []forecast.Cycle `json:"cycles"`          // the last ones, the earliest first
	Scan    float64          `json:"scan,omitempty"`  // bytes a second that the last verification compared
	Open    time.Duration    `json:"open,omitempty"`  // that it took to open the targets and the journal
	Close   time.Duration    `json:"close,omitempty"` // that it took to close them for their machine
	Moves   float64          `json:"moves,omitempty"` // bytes a second
	Brief   time.Duration    `json:"brief,omitempty"` // that a move takes which writes next to nothing
}

// noteEvery is how often what was measured is noted: each time is a sync.
const noteEvery = 30 * time.Second

// paceOf returns what is known of a group.
func (e *Engine) paceOf(id replication.GroupID, created time.Time) *pace {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := e.paces[id]; m != nil && m.record.Created.Equal(created) {
		return m
	}
	m := &pace{record: paceRecord{Created: created}}
	err := e.cat.db.View(func(tx *bbolt.Tx) error {
		var r paceRecord
		if b := tx.Bucket(bucketPaces).Get([]byte(id)); b == nil {
			return nil
		} else if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		if r.Created.Equal(created) {
			m.record, m.moves.value, m.moves.brief = r, r.Moves, r.Brief
		}
		return nil
	})
	if err != nil {
		e.cfg.Log.Warn("what was measured of a group can't be read", "group", id, "err", err)
	}
	e.paces[id] = m
	return m
}

// learn changes what is known, and notes it when that was not done for a while.
func (g *group) learn(change func(*paceRecord)) {
	m := g.pace
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.record)
	if time.Since(m.noted) < noteEvery {
		return
	}
	m.noted = time.Now()
	r := m.record
	r.Moves, r.Brief = m.moves.known()
	if err := g.engine.cat.put(bucketPaces, g.id, r); err != nil {
		g.log.Warn("what was measured can't be noted", "err", err)
	}
}

// stopwatch takes the times of the cycle under way. Only one that is made in one go is worth anything.
type stopwatch struct {
	ordered, cut time.Time // of the goroutine that gives orders
	first, sent  atomic.Int64
}

// begin is called when a cut is about to be ordered, and cutMade when it was made.
func (w *stopwatch) begin() {
	w.ordered, w.cut = time.Now(), time.Time{}
	w.first.Store(0)
	w.sent.Store(0)
}

func (w *stopwatch) cutMade() { w.cut = time.Now() }

// frame is called for the first frame of each lane, and all when the source has sent everything.
func (w *stopwatch) frame() { w.first.CompareAndSwap(0, time.Now().UnixNano()) }
func (w *stopwatch) all()   { w.sent.Store(time.Now().UnixNano()) }

// read returns what the cycle took until now; ok is false where it was not made in one go.
func (w *stopwatch) read(now time.Time) (c forecast.Cycle, ok bool) {
	sent := time.Unix(0, w.sent.Load())
	if w.cut.IsZero() || w.sent.Load() == 0 || sent.Before(w.cut) {
		return c, false
	}
	c.Cutting, c.Starting, c.Ending = w.cut.Sub(w.ordered), sent.Sub(w.cut), now.Sub(sent)
	if n := w.first.Load(); n != 0 {
		first := time.Unix(0, n)
		c.Starting, c.Sending = first.Sub(w.cut), sent.Sub(first)
	}
	return c, true
}

// cycleMeasured learns from a cycle whose point was just listed, and what came before it.
func (g *group) cycleMeasured(c replication.Cycle, before, listed replication.Point) {
	took, ok := g.pace.watch.read(time.Now())
	if !ok || c.Mode != replication.Changes || before.Time.IsZero() || !listed.Time.After(before.Time) {
		return
	}
	took.Cut, took.Span, took.Changed = listed.Time, listed.Time.Sub(before.Time), listed.Bytes
	g.mu.Lock()
	for _, l := range g.ledgers {
		took.Read += l.Read
	}
	if l := g.link; l != nil && l.Binds == "limit" {
		took.Limit = l.Limit
	}
	g.mu.Unlock()
	g.learn(func(r *paceRecord) {
		r.Cycles = append(r.Cycles, took)
		r.Cycles = append([]forecast.Cycle{}, r.Cycles[max(0, len(r.Cycles)-forecast.Kept):]...)
	})
}

// verifyMeasured learns from a verification that came to its end.
func (g *group) verifyMeasured(took time.Duration) {
	g.learn(func(r *paceRecord) { r.Scan = float64(g.bytes()) / max(took, time.Millisecond).Seconds() })
}

// bytes returns the size of all disks together.
func (g *group) bytes() (n int64) {
	for _, d := range g.journal.Identity().Disks {
		n += d.Size
	}
	return n
}
