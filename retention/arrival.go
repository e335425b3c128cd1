package retention

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"failback/replication"
	"failback/replication/block"
)

// Bounds of what an arrival keeps in memory (I12).
const (
	maxEqual   = 16 << 10  // extents that the target already holds, before they are noted durably
	maxPending = 256 << 10 // extents appended, before it syncs without being asked: 6 MiB
)

// Arrival takes the blocks of one lane attempt into a segment file. It is safe for concurrent use, though one lane has one goroutine.
type Arrival struct {
	j    *Journal
	lane replication.Lane

	mu      sync.Mutex // taken before the journal's cycle lock
	w       *writer
	pending []covered // appended since the last sync, as they came
	equal   []covered // likewise, without content
	ended   error
}

// Lane starts a lane attempt of the open, journaled cycle: a new segment file. An attempt that is not of the journal's generation, or was there before, is
// refused (ErrStale).
func (j *Journal) Lane(l replication.Lane) (*Arrival, error) {
	j.cycle.Lock()
	defer j.cycle.Unlock()
	if err := j.usable(); err != nil {
		return nil, err
	}
	st := j.now.Load()
	switch {
	case st.cycle == nil || j.open.dropping:
		return nil, ErrNoCycle
	case st.cycle.Route != replication.Journaled:
		return nil, fmt.Errorf("%w: the cycle of point %d is written through", ErrRoute, st.cycle.Point)
	case l.Group != j.id.Group || l.Point != st.cycle.Point || l.Generation != st.generation:
		return nil, fmt.Errorf("%w: %v, the journal of %s is at generation %d and point %d", ErrStale, l, j.id.Group, st.generation, st.cycle.Point)
	}
	hdr := fileHeader{kind: segmentFile, journal: j.journal, point: l.Point, generation: l.Generation, session: l.ID, attempt: l.Attempt, lane: l.Lane, group: l.Group}
	for _, s := range j.open.sealed {
		if s.hdr == hdr {
			return nil, fmt.Errorf("%w: %v was there before", ErrStale, l)
		}
	}
	for a := range j.open.arrivals {
		if a.lane == l {
			return nil, fmt.Errorf("%w: %v is there already", ErrStale, l)
		}
	}
	name := j.path(segDir, fmt.Sprintf("%d-%d-%d-%d-%d%s", l.Point, l.Generation, l.ID, l.Lane, l.Attempt, segSuffix))
	w, err := createWriter(j.vol, name, hdr, &j.t)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: %v was there before", ErrStale, l)
	}
	if err != nil {
		return nil, fmt.Errorf("lane %v: %w", l, err)
	}
	a := &Arrival{j: j, lane: l, w: w}
	j.open.arrivals[a] = true
	return a, nil
}

// Append adds a block whose payload the caller has decoded and checked; the payload is the caller's again when it returns. An Equal block only adds to the
// coverage. What was appended is durable after the next Sync. After an error the arrival takes no more; what Sync has acknowledged stays.
func (a *Arrival) Append(b *block.Block) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended != nil {
		return a.ended
	}
	st := a.j.now.Load()
	if slot := st.slot(b.Disk); slot != b.Disk {
		x := *b
		x.Disk, b = slot, &x
	}
	size := a.j.id.size(b.Disk)
	if size < 0 {
		return fmt.Errorf("%w: disk %d", ErrDisks, b.Disk)
	}
	if err := b.Check(size); err != nil {
		return fmt.Errorf("append to point %d: %w", a.lane.Point, err)
	}
	for _, e := range b.Extents {
		if e.Outward(size) != e && !leftOut(ruleOutward) {
			return fmt.Errorf("append to point %d: disk %d extent %v is not on pages of %d bytes (I13)", a.lane.Point, b.Disk, e, replication.Page)
		}
	}
	if st.cycle != nil && (!st.cycleHas(b.Disk) || st.joining(b.Disk)) {
		return fmt.Errorf("append to point %d: %w: disk %d joined later, has left, or joins with it and is written through", a.lane.Point, ErrRoute, b.Disk)
	}
	if b.Kind == block.Repeat { // the journal stands for itself: it holds the content
		return fmt.Errorf("append to point %d: disk %d at %d: %w: a repeat that was not resolved", a.lane.Point, b.Disk, b.Extents[0].Off, block.ErrCorrupt)
	}
	if b.Kind == block.Equal {
		a.equal = appendCovered(a.equal, b)
		if len(a.equal) >= maxEqual {
			return a.noteEqual()
		}
		return nil
	}
	if err := a.w.append(b, a.lane.Point); err != nil {
		return fmt.Errorf("append to point %d: %w", a.lane.Point, err)
	}
	a.pending = appendCovered(a.pending, b)
	if len(a.pending) >= maxPending {
		return a.syncLocked()
	}
	return nil
}

// appendCovered appends a block's extents, joined where they follow on.
func appendCovered(cs []covered, b *block.Block) []covered {
	for _, e := range b.Extents {
		if n := len(cs); n > 0 && cs[n-1].disk == b.Disk && cs[n-1].ext.End == e.Off {
			cs[n-1].ext.End = e.End
			continue
		}
		cs = append(cs, covered{b.Disk, e})
	}
	return cs
}

// noteEqual makes the extents durable that came without content.
func (a *Arrival) noteEqual() error {
	a.j.cycle.Lock()
	defer a.j.cycle.Unlock()
	if err := a.j.noteCovered(a.equal); err != nil {
		return fmt.Errorf("coverage of point %d: %w", a.lane.Point, err)
	}
	a.equal = a.equal[:0]
	return nil
}

// Sync makes durable what was appended before; from then on it is part of the journal's Coverage.
func (a *Arrival) Sync() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended != nil {
		return a.ended
	}
	return a.syncLocked()
}

func (a *Arrival) syncLocked() error {
	if err := a.j.usable(); err != nil {
		return err
	}
	if len(a.pending) > 0 {
		if err := a.j.note(a.w.sync()); err != nil {
			return fmt.Errorf("sync point %d: %w", a.lane.Point, err)
		}
		a.j.cycle.Lock()
		if a.j.open.arrivals[a] { // else the journal was closed
			for _, x := range a.pending {
				a.j.open.durable[x.disk].Add(x.ext)
			}
		}
		a.j.cycle.Unlock()
		a.pending = a.pending[:0]
	}
	if len(a.equal) > 0 {
		return a.noteEqual()
	}
	return nil
}

// Close syncs, seals the segment file and keeps it for the point. After an error what Sync acknowledged is kept nevertheless.
func (a *Arrival) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended != nil {
		if errors.Is(a.ended, ErrClosed) {
			return nil
		}
		return a.ended
	}
	err := a.syncLocked()
	var s *sealed
	if err == nil {
		s, err = a.j.sealWriter(a.w)
		err = a.j.note(err)
	}
	if cerr := a.w.close(); err == nil && cerr != nil {
		err = fmt.Errorf("close %s: %w", base(a.w.name), cerr)
	}
	a.leave(s, err)
	a.ended = ErrClosed
	return err
}

// cutOff ends the arrival without sealing.
func (a *Arrival) cutOff() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended != nil {
		return
	}
	_ = a.w.close() // nothing more is expected of this file
	a.ended = fmt.Errorf("%w: %v was cut off", ErrStale, a.lane)
	a.leave(nil, a.ended)
}

// leave hands the file over to the open cycle.
func (a *Arrival) leave(s *sealed, err error) {
	j := a.j
	j.cycle.Lock()
	defer j.cycle.Unlock()
	if !j.open.arrivals[a] {
		return // the journal was closed
	}
	delete(j.open.arrivals, a)
	switch {
	case s != nil && err == nil:
		j.open.sealed = append(j.open.sealed, s)
	case err == nil: // nothing came
		_ = removeIfThere(j.vol, a.w.name) // what stays behind goes when the journal is opened
	default:
		j.open.unsealed = append(j.open.unsealed, a.w.name)
	}
}
