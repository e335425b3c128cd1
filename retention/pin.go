package retention

import (
	"time"

	"failback/replication"
)

// Pin keeps a point from being dropped, durably, until a time, or, when that is zero, until it is taken back. The note is the operator's words, one line or empty. A pin that is there already
// is replaced.
func (j *Journal) Pin(id replication.PointID, until time.Time, note string) error {
	if err := replication.CheckNote(note); err != nil {
		return err
	}
	return j.pin(pinRecord{id, true, until.UTC(), note})
}

// Unpin takes a pin back. A point without one stays as it is.
func (j *Journal) Unpin(id replication.PointID) error { return j.pin(pinRecord{Point: id}) }

func (j *Journal) pin(r pinRecord) error {
	return j.commit(kindPointPinned, func(st *state) (any, error) {
		i, err := st.point(r.Point)
		if err != nil {
			return nil, err
		}
		if p := st.points[i]; p.Pinned == r.Pinned && p.PinnedUntil.Equal(r.Until) && p.PinNote == r.Note {
			return nil, nil
		}
		return r, nil
	})
}

// LetGo takes back the pins that ended at or before now, and returns their points. One that was renewed meanwhile stays.
func (j *Journal) LetGo(now time.Time) (ended []replication.PointID, err error) {
	for _, p := range j.now.Load().points {
		if !p.Pinned || p.HeldAt(now) {
			continue
		}
		gone := false
		err := j.commit(kindPointPinned, func(st *state) (any, error) {
			i, err := st.point(p.ID)
			if err != nil || !st.points[i].Pinned || st.points[i].HeldAt(now) {
				return nil, nil // dropped, or renewed
			}
			gone = true
			return pinRecord{Point: p.ID}, nil
		})
		if err != nil {
			return ended, err
		}
		if gone {
			ended = append(ended, p.ID)
		}
	}
	return ended, nil
}
