package health

import (
	"time"

	"failback/replication"
)

type diskName struct {
	group replication.GroupID
	disk  replication.DiskID
}

// memory is what is remembered of a disk of an open cycle.
type memory struct {
	cut   time.Time // of the cycle
	total int64
	begun time.Time // watched since then; what was not to be watched is left out
	moved time.Time // when it made progress last
	sum   int64     // of what rises
	marks []mark    // one a minute, of the last quarter of an hour
	best  speed     // the most over any such time
	bound time.Time // by a limit, last
	now   time.Time
}

type mark struct {
	at         time.Time
	done, wire int64
}

// speed is in bytes a second: what a disk's state rises by, with what is known to be zero, or equal, and what the link carries of it.
type speed struct{ done, wire float64 }

// pace is how a disk goes on.
type pace struct {
	still time.Duration // since it made progress
	moved bool          // it did, since it is watched
	rate  float64       // bytes a second, over the marks
	best  float64       // the most that this was
	known bool          // rate is of a whole stretch
	slow  bool          // it is, to look at and on the wire, and by no limit: zeros and what is equal pass by faster than what is sent
}

const markEvery = time.Minute

// remember takes note of how far the disks are, and forgets those of cycles that are over, or that wait for something else: for their turn, too.
func (w *Watch) remember(f Facts) {
	fresh := map[diskName]*memory{}
	for _, g := range f.Groups {
		connected := false
		for _, s := range f.Servers {
			connected = connected || s.Name == g.Server && s.Connected
		}
		if g.Cut.IsZero() || !connected || g.HeldBack {
			continue
		}
		for _, d := range g.Disks {
			if d.Queued {
				continue
			}
			n := diskName{g.Name, d.Name}
			m := w.paces[n]
			if m == nil || !m.cut.Equal(g.Cut) || m.total != d.Total || d.Done < m.marks[len(m.marks)-1].done {
				m = &memory{cut: g.Cut, total: d.Total, begun: f.Now, moved: f.Now, sum: d.Done + d.Sent, marks: []mark{{f.Now, d.Done, d.Wire}}}
			}
			if g.Limited {
				m.bound = f.Now
			}
			m.take(f.Now, d, w.Thresholds.Progress)
			fresh[n] = m
		}
	}
	w.paces = fresh
}

func (m *memory) take(now time.Time, d Disk, stretch time.Duration) {
	m.now = now
	if sum := d.Done + d.Sent; sum != m.sum {
		m.sum, m.moved = sum, now
	}
	last := m.marks[len(m.marks)-1]
	if now.Sub(last.at) < markEvery {
		return
	}
	m.marks = append(m.marks, mark{now, d.Done, d.Wire})
	for len(m.marks) > 2 && now.Sub(m.marks[1].at) >= stretch {
		m.marks = m.marks[1:]
	}
	if now.Sub(m.marks[0].at) >= stretch {
		r := m.rate()
		m.best = speed{max(m.best.done, r.done), max(m.best.wire, r.wire)}
	}
}

func (m *memory) rate() speed {
	a, b := m.marks[0], m.marks[len(m.marks)-1]
	if !b.at.After(a.at) {
		return speed{}
	}
	took := b.at.Sub(a.at).Seconds()
	return speed{float64(b.done-a.done) / took, float64(max(b.wire-a.wire, 0)) / took}
}

func (w *Watch) pace(g Group, d Disk) pace {
	m := w.paces[diskName{g.Name, d.Name}]
	if m == nil {
		return pace{}
	}
	stretch, least, rate := w.Thresholds.Progress, w.Thresholds.Slow, m.rate()
	p := pace{still: m.now.Sub(m.moved), moved: m.moved.After(m.begun), rate: rate.done, best: m.best.done}
	p.known = m.best.done > 0 && m.now.Sub(m.marks[0].at) >= stretch
	p.slow = p.known && rate.done < least*m.best.done && rate.wire < least*m.best.wire && m.now.Sub(m.bound) >= stretch // of which no part was bound
	return p
}
