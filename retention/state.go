package retention

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"failback/replication"
)

// NoPoint is the number of no point.
const NoPoint = replication.NoPoint

// state is what a log's records add up to: a value, made by replaying them. A published state never changes.
type state struct {
	id           Identity
	generation   replication.Generation
	owner        *Owner     // whose it is; nil: nobody's, or not known
	released     bool       // its owner has given it up
	settings     *Settings  // nil: none noted
	contentIDs   [][]uint32 // the last two, newest first
	fingerprints []string   // of a session that ended well, by disk; empty: none
	cycle        *replication.Cycle
	begun        replication.Generation // at which the open cycle was begun: files of an earlier one are none of it
	used         replication.PointID    // the highest number that a cycle ever had
	dropped      replication.PointID    // the last cycle was dropped: its number is free again, for nothing is of that version; else 0
	points       []replication.Point    // listed, rising
	mixed        []replication.PointID  // rising: points of which two segments have the same bytes, as a cycle was sent in several attempts or rounds: the later one counts
	births       []replication.PointID  // by disk number, as far as any joined: its first point; 0: there from the begin, NoPoint: none yet. Those of disks that have not left rise
	left         []departure            // disks that have left, the earliest first; the identity has them still
	grown        []growth               // disks that have grown, the earliest first; the identity has their sizes now
	origin       replication.PointID    // the first baseline's, which wrote to the disks what no file has an entry of; 0: none yet
	files        []namedFile            // that the journal holds, in the order in which they were named: among equal versions the later one stands above
	saved        int                    // saves that were ever named
	packed       int                    // packs likewise
	head         replication.PointID    // what the disks show, once a point is listed; before, they are at no point
	move         *Move                  // recorded and not committed
	moves        uint64                 // moves that were recorded or turned: what a disk held before may have been written over since
	retired      bool
	damage       []Part // of files that the journal holds, by file and offset
	scrub        ScrubState
	cutover      *Cutover // nil: none
	changes      uint64   // records that change what files and points are worth
}

// namedFile is a file that a record names.
type namedFile struct {
	fileRecord
	kind  fileKind
	point replication.PointID // of a segment; else 0
	blind string              // why it was found that nothing of it can be told; "": it was not
}

// path returns the file's path within the group's directory.
func (f namedFile) path() string { return filepath.Join(fileDirs[f.kind], f.Name) }

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
	c.points, c.files, c.damage = slices.Clone(s.points), slices.Clone(s.files), slices.Clone(s.damage)
	c.move = s.move.clone()
	return &c
}

// atPoint says whether the disks are at a point, or move between two: as soon as one is listed, one stays listed.
func (s *state) atPoint() bool { return len(s.points) > 0 }

func (s *state) last() (p replication.Point, ok bool) {
	if len(s.points) == 0 {
		return p, false
	}
	return s.points[len(s.points)-1], true
}

func (s *state) point(id replication.PointID) (int, error) {
	i, ok := slices.BinarySearchFunc(s.points, id, func(p replication.Point, id replication.PointID) int { return cmp.Compare(p.ID, id) })
	if !ok {
		return 0, fmt.Errorf("%w: %d", ErrNoPoint, id)
	}
	return i, nil
}

// floor is the oldest listed point. No reader asks for what was before it, so that it stands for every version up to it: bytes that no file has an entry of are at it.
func (s *state) floor() replication.PointID {
	if len(s.points) == 0 {
		return 0
	}
	return s.points[0].ID
}

// class returns the oldest listed point that may show a version: of the versions with one class, each byte's highest alone is needed. NoPoint: no point is listed that is not older.
func (s *state) class(v replication.PointID) replication.PointID {
	if leftOut(ruleClassOldest) {
		return v
	} else if leftOut(ruleClassNotBefore) {
		v++
	}
	i, _ := slices.BinarySearchFunc(s.points, v, func(p replication.Point, v replication.PointID) int { return cmp.Compare(p.ID, v) })
	if i == len(s.points) {
		return NoPoint
	}
	return s.points[i].ID
}

// apply adds one record. An error says that the log contradicts itself.
func (s *state) apply(r record) error {
	if (r.kind == kindIdentity) != (r.seq == 0) {
		return fmt.Errorf("record %d is of kind %d: the identity comes first and once", r.seq, r.kind)
	}
	if s.retired {
		return fmt.Errorf("record %d follows the journal's end", r.seq)
	}
	if err := s.whileAway(r.kind); err != nil {
		return err
	}
	switch r.kind {
	case kindPointListed, kindMoveStarted, kindMoveTurned, kindMoveCommitted, kindPointPinned, kindPointsDropped, kindFilesReplaced, kindQuarantined, kindFileBlind, kindDisksLeft:
		s.changes++
	}
	switch r.kind {
	case kindIdentity:
		return decode(r, &s.id)
	case kindGeneration:
		var x generationRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		return s.own(x)
	case kindContentIDs:
		var x contentIDsRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		if len(x.IDs) != s.present() {
			return fmt.Errorf("%d content ids for %d disks", len(x.IDs), s.present())
		}
		s.contentIDs = append([][]uint32{x.IDs}, s.contentIDs...)
		s.contentIDs = s.contentIDs[:min(len(s.contentIDs), keptContentIDs)]
	case kindFingerprints:
		var x fingerprintsRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		if len(x.Disks) != 0 && len(x.Disks) != s.present() {
			return fmt.Errorf("%d fingerprints for %d disks", len(x.Disks), s.present())
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
		s.cycle, s.begun, s.used, s.dropped = &x, s.generation, max(s.used, x.Point), 0
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
	case kindPointsDropped:
		var x dropRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		return s.drop(x.Points)
	case kindCheckpoint:
		var x checkpointRecord
		if r.seq != 1 {
			return fmt.Errorf("record %d is a checkpoint, which comes second", r.seq)
		}
		if err := decode(r, &x); err != nil {
			return err
		}
		return s.restore(x)
	case kindFilesReplaced:
		var x replaceRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		return s.replace(x)
	case kindQuarantined:
		var x quarantineRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		return s.quarantine(x.Parts)
	case kindFileBlind:
		var x blindRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		i := slices.IndexFunc(s.files, func(f namedFile) bool { return filepath.ToSlash(f.path()) == x.File })
		if i < 0 || x.What == "" {
			return fmt.Errorf("file %q is blind, which is not there (%s)", x.File, x.What)
		}
		s.files[i].blind = x.What
	case kindScrubbed:
		return decode(r, &s.scrub)
	case kindSettings:
		var x Settings
		if err := decode(r, &x); err != nil {
			return err
		}
		s.settings = &x
	case kindDisksJoined:
		var x joinRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		return s.join(x)
	case kindDiskGrown:
		var x growRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		return s.grow(x)
	case kindDisksLeft:
		var x leaveRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		return s.leave(x)
	case kindCutover:
		var x cutoverRecord
		if err := decode(r, &x); err != nil {
			return err
		}
		return s.cutOver(x.Cutover)
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
	if (x.Route == replication.Through) != (s.origin == 0) {
		return fmt.Errorf("point %d took the route %q", x.Point, x.Route)
	}
	if s.sentTwice(x) {
		s.mixed = append(slices.Clone(s.mixed), x.Point)
	}
	if err := s.birth(x); err != nil {
		return err
	}
	s.cycle = nil
	for _, f := range x.Files {
		s.files = append(s.files, namedFile{f, segmentFile, x.Point, ""})
	}
	if x.Original != nil {
		if err := s.listOriginal(x); err != nil {
			return err
		}
	} else if x.Route == replication.Through && s.id.KeepOriginal {
		return fmt.Errorf("point %d listed without point 0, which the identity says is kept", x.Point)
	}
	s.points = append(s.points, replication.Point{
		ID: x.Point, Time: x.Time, Kind: x.Kind, Chain: r.chain.hash(), Snapshot: x.Snap, Bytes: x.Bytes, Stored: x.Stored, Verified: x.Verify,
		Skew: x.Skew, NotApp: x.NotApp,
	})
	if x.Route == replication.Through {
		s.head, s.origin = x.Point, x.Point
	}
	return nil
}

// sentTwice says whether the segments of a point that is being listed have more than what changed.
func (s *state) sentTwice(x pointRecord) bool {
	changed := x.Bytes
	for _, d := range x.Disks {
		if s.born(d.Disk) == NoPoint { // written through
			changed -= d.Bytes
		}
	}
	for _, f := range x.Files {
		changed -= f.Bytes
	}
	return x.Route == replication.Journaled && changed < 0
}

// logVersion is the version of a log that says all this: what an earlier release would misunderstand has a higher one.
func (s *state) logVersion() uint32 {
	switch {
	case len(s.left) > 0:
		return logVersion
	case len(s.grown) > 0:
		return logGrown
	case s.cutover != nil:
		return logCutover
	case len(s.births) > 0:
		return logJoined
	case s.id.KeepOriginal:
		return logOriginal
	}
	return 1
}

// savesOriginal says whether what the disks hold is to be saved before the first baseline writes over it.
func (s *state) savesOriginal() bool { return s.id.KeepOriginal && s.origin == 0 }

// listOriginal lists point 0, pinned, beside the first baseline's: what the saves hold is of version 0, and what the pack tells of without content the baseline has written over.
func (s *state) listOriginal(x pointRecord) error {
	if x.Route != replication.Through || !s.id.KeepOriginal {
		return fmt.Errorf("point 0 listed with point %d, which took the route %q", x.Point, x.Route)
	}
	o := x.Original
	p := replication.Point{ID: replication.OriginalPoint, Time: o.Time, Kind: replication.Original, Pinned: true}
	for _, f := range o.Saves {
		s.files = append(s.files, namedFile{f, saveFile, 0, ""})
		p.Bytes, p.Stored = p.Bytes+f.Bytes, p.Stored+f.Size
	}
	if o.Over != nil {
		s.files = append(s.files, namedFile{*o.Over, packFile, 0, ""})
		s.packed++
		p.Stored += o.Over.Size
	}
	s.points = append(s.points, p)
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
		if err != nil || s.move != nil && !leftOut(ruleRecord) || x.From != s.head || x.From == x.To {
			return fmt.Errorf("move from %d to %d with the head at %d (%v)", x.From, x.To, s.head, err)
		}
		s.move = &Move{x.From, x.To, make([]int64, len(s.id.Disks))}
		s.moves++
		if x.Save != nil {
			s.files = append(s.files, namedFile{*x.Save, saveFile, 0, ""})
			s.saved++
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
		done := make([]int64, len(s.id.Disks))
		if leftOut(ruleTurnFromStart) {
			done = s.move.Done
		}
		s.move = &Move{x.From, x.To, done}
		s.moves++
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
		s.points[i].Pinned, s.points[i].PinnedUntil, s.points[i].PinNote = x.Pinned, x.Until, x.Note
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

// drop takes points off the list. What only they showed is needed no more.
func (s *state) drop(ids []replication.PointID) error {
	for _, id := range ids {
		i, err := s.point(id)
		if err == nil {
			err = s.droppable(id)
		}
		if err != nil {
			return err
		}
		s.points = slices.Delete(s.points, i, i+1)
	}
	return nil
}

// droppable says why a point must stay listed (I11).
func (s *state) droppable(id replication.PointID) error {
	switch {
	case leftOut(ruleEndsStay) && id != s.points[len(s.points)-1].ID:
		return nil
	case id == s.head:
		return fmt.Errorf("%w: the disks show point %d", ErrInUse, id)
	case s.move != nil && (id == s.move.From || id == s.move.To):
		return fmt.Errorf("%w: the disks move from point %d to %d", ErrInUse, s.move.From, s.move.To)
	case id == s.points[len(s.points)-1].ID:
		return fmt.Errorf("%w: point %d is the last one, which the next cycle starts from", ErrInUse, id)
	}
	return nil
}

// replace takes files out and puts packs in their place.
func (s *state) replace(x replaceRecord) error {
	for _, n := range x.Gone {
		i := slices.IndexFunc(s.files, func(f namedFile) bool { return f.path() == filepath.FromSlash(n) })
		if i < 0 {
			return fmt.Errorf("file %q replaced, which is not there", n)
		}
		s.files = slices.Delete(s.files, i, i+1)
		s.damage = slices.DeleteFunc(s.damage, func(p Part) bool { return p.File == n })
	}
	for _, f := range x.Files {
		s.files = append(s.files, namedFile{f, packFile, 0, ""})
		s.packed++
	}
	return nil
}

func decode(r record, to any) error {
	if err := json.Unmarshal(r.payload, to); err != nil {
		return fmt.Errorf("payload of record %d: %v", r.seq, err)
	}
	return nil
}
