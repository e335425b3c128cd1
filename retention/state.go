package retention

import (
	"encoding/json"
	"fmt"
	"slices"

	"failback/replication"
)

// state is what a log's records add up to: a value, made by replaying them. A published state never changes.
type state struct {
	id           Identity
	generation   replication.Generation
	contentIDs   [][]uint32 // the last two, newest first
	fingerprints []string   // of a session that ended well, by disk; empty: none
	cycle        *replication.Cycle
	used         replication.PointID // the highest number that a cycle ever had
	dropped      replication.PointID // the last cycle was dropped: its number is free again, for nothing is of that version; else 0
	points       []replication.Point // listed, rising
	records      []pointRecord       // of every segment, rising; a dropped point keeps its segment
	head         replication.PointID // 0: the disks are at no point
	move         *Move               // recorded and not committed
	saves        []fileRecord
	retired      bool
}

// free says whether a cycle may be opened under that number.
func (s *state) free(p replication.PointID) bool {
	return p > s.used || p == s.dropped && p != 0
}

// Move is a recorded move that has not been committed. Each byte of the disks stands at its version at one end or the other.
type Move struct {
	From replication.PointID
	To   replication.PointID
	Done []int64 // by disk number: every byte before is durable at To
}

func (m *Move) clone() *Move {
	if m == nil {
		return nil
	}
	return &Move{m.From, m.To, slices.Clone(m.Done)}
}

func (s *state) clone() *state {
	c := *s
	c.contentIDs = slices.Clone(s.contentIDs)
	c.points, c.records, c.saves = slices.Clone(s.points), slices.Clone(s.records), slices.Clone(s.saves)
	c.move = s.move.clone()
	return &c
}

func (s *state) last() (p replication.Point, ok bool) {
	if len(s.points) == 0 {
		return p, false
	}
	return s.points[len(s.points)-1], true
}

func (s *state) point(id replication.PointID) (int, error) {
	i, ok := slices.BinarySearchFunc(s.points, id, func(p replication.Point, id replication.PointID) int {
		switch {
		case p.ID < id:
			return -1
		case p.ID > id:
			return 1
		}
		return 0
	})
	if !ok {
		return 0, fmt.Errorf("%w: %d", ErrNoPoint, id)
	}
	return i, nil
}

// floor is the version that bytes have which no segment holds: that of the first baseline, whose content the disks hold.
func (s *state) floor() replication.PointID {
	if len(s.records) == 0 {
		return 0
	}
	return s.records[0].Point
}

// apply adds one record. An error says that the log contradicts itself.
func (s *state) apply(r record) error {
	if (r.kind == kindIdentity) != (r.seq == 0) {
		return fmt.Errorf("record %d is of kind %d: the identity comes first and once", r.seq, r.kind)
	}
	if s.retired {
		return fmt.Errorf("record %d follows the journal's end", r.seq)
	}
	switch r.kind {
	case kindIdentity:
		return decode(r, &s.id)
	case kindGeneration:
		var x generationRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		if x.Generation <= s.generation {
			return fmt.Errorf("generation %d after %d", x.Generation, s.generation)
		}
		s.generation = x.Generation
	case kindContentIDs:
		var x contentIDsRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		if len(x.IDs) != len(s.id.Disks) {
			return fmt.Errorf("%d content ids for %d disks", len(x.IDs), len(s.id.Disks))
		}
		s.contentIDs = append([][]uint32{x.IDs}, s.contentIDs...)
		s.contentIDs = s.contentIDs[:min(len(s.contentIDs), keptContentIDs)]
	case kindFingerprints:
		var x fingerprintsRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		if len(x.Disks) != 0 && len(x.Disks) != len(s.id.Disks) {
			return fmt.Errorf("%d fingerprints for %d disks", len(x.Disks), len(s.id.Disks))
		}
		s.fingerprints = x.Disks
	case kindCycleOpened:
		var x replication.Cycle
		if err := decode(r, &x); err != nil {
			return err
		}
		if s.cycle != nil || !s.free(x.Point) {
			return fmt.Errorf("cycle %d opened after %d", x.Point, s.used)
		}
		s.cycle, s.used, s.dropped = &x, max(s.used, x.Point), 0
	case kindCycleDropped:
		var x cycleDroppedRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		if s.cycle == nil || s.cycle.Point != x.Point {
			return fmt.Errorf("cycle %d dropped, which is not open", x.Point)
		}
		s.cycle, s.dropped = nil, x.Point
	case kindPointListed:
		return s.list(r)
	case kindMoveStarted, kindMoveProgress, kindMoveTurned, kindMoveCommitted:
		return s.moved(r)
	case kindPointVerified, kindPointPinned, kindPointsSuspect, kindPointDrilled:
		return s.noted(r)
	case kindJournalRetired:
		s.retired = true
	default:
		return fmt.Errorf("record of kind %d", r.kind)
	}
	return nil
}

func (s *state) list(r record) error {
	var x pointRecord
	if err := decode(r, &x); err != nil {
		return err
	}
	if s.cycle == nil || s.cycle.Point != x.Point {
		return fmt.Errorf("point %d listed without its cycle", x.Point)
	}
	if (x.Route == replication.Through) != (len(s.records) == 0) {
		return fmt.Errorf("point %d took the route %q", x.Point, x.Route)
	}
	s.cycle = nil
	s.records = append(s.records, x)
	s.points = append(s.points, replication.Point{
		ID: x.Point, Time: x.Time, Kind: x.Kind, Chain: r.chain.hash(), Snapshot: x.Snap, Bytes: x.Bytes, Stored: x.Stored, Verified: x.Verify,
	})
	if x.Route == replication.Through {
		s.head = x.Point
	}
	return nil
}

// moved adds the records of moves.
func (s *state) moved(r record) error {
	switch r.kind {
	case kindMoveStarted:
		var x moveRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		_, err := s.point(x.To)
		if err != nil || s.move != nil || x.From != s.head || x.From == x.To {
			return fmt.Errorf("move from %d to %d with the head at %d (%v)", x.From, x.To, s.head, err)
		}
		s.move = &Move{x.From, x.To, make([]int64, len(s.id.Disks))}
		if x.Save != nil {
			s.saves = append(s.saves, *x.Save)
		}
		return nil
	}
	if s.move == nil {
		return fmt.Errorf("record of kind %d without a move", r.kind)
	}
	switch r.kind {
	case kindMoveProgress:
		var x progressRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		if size := s.id.size(x.Disk); size < 0 || size < x.Done || x.Done < s.move.Done[x.Disk] {
			return fmt.Errorf("progress %d of disk %d", x.Done, x.Disk)
		}
		s.move.Done[x.Disk] = x.Done
	case kindMoveTurned:
		var x turnRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		if x.From != s.move.To || x.To != s.move.From {
			return fmt.Errorf("move from %d to %d turned into one from %d to %d", s.move.From, s.move.To, x.From, x.To)
		}
		s.move = &Move{x.From, x.To, make([]int64, len(s.id.Disks))}
	case kindMoveCommitted:
		var x commitRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		if x.Head != s.move.To {
			return fmt.Errorf("move to %d committed at %d", s.move.To, x.Head)
		}
		s.head, s.move = x.Head, nil
	}
	return nil
}

// noted adds the records that only change what is known of a point.
func (s *state) noted(r record) error {
	switch r.kind {
	case kindPointVerified:
		var x verifyRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		i, err := s.point(x.Point)
		if err != nil {
			return err
		}
		s.points[i].Verified = &x.Verify
	case kindPointPinned:
		var x pinRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		i, err := s.point(x.Point)
		if err != nil {
			return err
		}
		s.points[i].Pinned = x.Pinned
	case kindPointDrilled:
		var x drillRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		i, err := s.point(x.Point)
		if err != nil {
			return err
		}
		s.points[i].Drill = &x.Drill
	case kindPointsSuspect:
		var x suspectRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		for _, id := range x.Points {
			i, err := s.point(id)
			if err != nil {
				return err
			}
			s.points[i].Suspect = true
		}
	}
	return nil
}

func decode(r record, to any) error {
	if err := json.Unmarshal(r.payload, to); err != nil {
		return fmt.Errorf("payload of record %d: %v", r.seq, err)
	}
	return nil
}
