package retention

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"failback/replication"
)

// checkpointRecord is a state: the second record of a log that took the place of a longer one.
type checkpointRecord struct {
	Generation   replication.Generation `json:"generation"`
	Owner        *Owner                 `json:"owner,omitempty"`
	Released     bool                   `json:"released,omitempty"`
	Settings     *Settings              `json:"settings,omitempty"`
	ContentIDs   [][]uint32             `json:"content_ids,omitempty"`
	Fingerprints []string               `json:"fingerprints,omitempty"`
	Cycle        *replication.Cycle     `json:"cycle,omitempty"`
	Begun        replication.Generation `json:"begun,omitempty"`
	Used         replication.PointID    `json:"used"`
	Dropped      replication.PointID    `json:"dropped,omitempty"`
	Points       []replication.Point    `json:"points"`
	Origin       replication.PointID    `json:"origin"`
	Births       []replication.PointID  `json:"births,omitempty"`
	Grown        []growth               `json:"grown,omitempty"`
	Left         []departure            `json:"left,omitempty"`
	Mixed        []replication.PointID  `json:"mixed,omitempty"` // those of which segments are left
	Files        []checkpointFile       `json:"files"`
	Saved        int                    `json:"saved"`
	Packed       int                    `json:"packed"`
	Head         replication.PointID    `json:"head"`
	Move         *Move                  `json:"move,omitempty"`
	Moves        uint64                 `json:"moves"`
	Damage       []Part                 `json:"damage,omitempty"`
	Scrub        *ScrubState            `json:"scrub,omitempty"`
	Cutover      *Cutover               `json:"cutover,omitempty"`
	Before       string                 `json:"before"` // chain hash of the log that it stands for
}

type checkpointFile struct {
	fileRecord
	Kind  fileKind            `json:"kind"`
	Point replication.PointID `json:"point,omitempty"`
	Blind string              `json:"blind,omitempty"`
}

func (s *state) checkpoint(before chain) checkpointRecord {
	r := checkpointRecord{
		Generation: s.generation, Owner: s.owner, Released: s.released, Settings: s.settings, Begun: s.begun, ContentIDs: s.contentIDs, Fingerprints: s.fingerprints, Cycle: s.cycle, Used: s.used, Dropped: s.dropped, Points: s.points, Origin: s.origin, Births: s.births, Grown: s.grown, Left: s.left,
		Saved: s.saved, Packed: s.packed, Head: s.head, Move: s.move, Moves: s.moves, Cutover: s.cutover, Before: string(before.hash()),
	}
	r.Damage = fewerHeld(s.damage)
	for _, p := range s.mixed {
		if slices.ContainsFunc(s.files, func(f namedFile) bool { return f.kind == segmentFile && f.point == p }) {
			r.Mixed = append(r.Mixed, p)
		}
	}
	if s.scrub != (ScrubState{}) {
		scrub := s.scrub
		r.Scrub = &scrub
	}
	for _, f := range s.files {
		r.Files = append(r.Files, checkpointFile{f.fileRecord, f.kind, f.point, f.blind})
	}
	return r
}

// maxHeldAll bounds the extents that a checkpoint tells of damaged parts, all together: they are for people, and a record has a bound.
const maxHeldAll = 32 << 10

// fewerHeld returns parts that tell of no more extents than a checkpoint may: of what is beyond, how many.
func fewerHeld(parts []Part) (out []Part) {
	left := maxHeldAll
	for _, p := range parts {
		n := min(left, len(p.Held))
		p.Held, p.More = p.Held[:n:n], p.More+len(p.Held)-n
		out, left = append(out, p), left-n
	}
	return out
}

// restore makes the state that of a checkpoint.
func (s *state) restore(r checkpointRecord) error {
	id := s.id
	*s = state{
		id: id, generation: r.Generation, owner: r.Owner, released: r.Released, settings: r.Settings, begun: r.Begun, contentIDs: r.ContentIDs, fingerprints: r.Fingerprints, cycle: r.Cycle, used: r.Used, dropped: r.Dropped, points: r.Points, origin: r.Origin, births: r.Births, grown: r.Grown, left: r.Left, mixed: r.Mixed,
		saved: r.Saved, packed: r.Packed, head: r.Head, move: r.Move, moves: r.Moves,
	}
	for _, f := range r.Files {
		if f.Kind < segmentFile || f.Kind > packFile {
			return fmt.Errorf("checkpoint names a file of kind %d", f.Kind)
		}
		s.files = append(s.files, namedFile{f.fileRecord, f.Kind, f.Point, f.Blind})
	}
	if err := s.quarantine(r.Damage); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if r.Scrub != nil {
		s.scrub = *r.Scrub
	}
	for i, p := range s.points {
		if i > 0 && p.ID <= s.points[i-1].ID || p.ID > s.used {
			return fmt.Errorf("checkpoint lists point %d out of order, or after %d", p.ID, s.used)
		}
	}
	if s.move != nil && len(s.move.Done) != len(s.id.Disks) {
		return fmt.Errorf("checkpoint has a move of %d disks, the group has %d", len(s.move.Done), len(s.id.Disks))
	}
	if err := s.cutOver(r.Cutover); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := s.checkLeft(); err != nil {
		return err
	}
	if len(s.births) > len(s.id.Disks) || !slices.IsSorted(s.birthsOf()) {
		return fmt.Errorf("checkpoint has births %v of %d disks", s.births, len(s.id.Disks))
	}
	for _, g := range s.grown {
		if size := s.id.size(g.Disk); g.Was <= 0 || g.Was >= size {
			return fmt.Errorf("checkpoint has disk %d grow from %d bytes, and it has %d", g.Disk, g.Was, size)
		}
	}
	return nil
}

// Shorten puts a log in the place of a long one that says the same in two records, when that saves much of it. A crash leaves either of them.
func (j *Journal) Shorten() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bad != nil {
		return j.bad
	}
	if j.log.mark.end < j.t.logBytes {
		return nil
	}
	st := j.now.Load().state
	payload, err := json.Marshal(st.checkpoint(j.log.mark.chain))
	if err != nil {
		return fmt.Errorf("shorten the log: %w", err)
	}
	if int64(len(payload))+logStart > j.log.mark.end/2 || len(payload) > maxRecord {
		return nil
	}
	if err := j.replaceLog(st); err != nil {
		return fmt.Errorf("shorten the log: %w", err)
	}
	return nil
}

// replaceLog puts a log of two records, which say a state, in the place of the log, durably. A crash leaves either of them.
func (j *Journal) replaceLog(st *state) error {
	identity, err := json.Marshal(st.id)
	if err != nil {
		return err
	}
	payload, err := json.Marshal(st.checkpoint(j.log.mark.chain))
	if err != nil {
		return err
	}
	j.guard.mu.Lock()
	defer j.guard.mu.Unlock()
	if err = j.guard.lookLocked(); err == nil {
		err = j.shorten(identity, payload)
		j.guard.mark = j.log.mark
	}
	if err == nil {
		return nil
	}
	err = noSpace(err)
	var failed *syncError
	if errors.As(err, &failed) && j.bad == nil {
		j.bad = err
	}
	return err
}

func (j *Journal) shorten(identity, payload []byte) error {
	name := j.path(logName)
	vol := j.guard.vol // the guard is held, and has just looked
	if err := removeIfThere(vol, name+newSuffix); err != nil {
		return err
	}
	f, err := vol.Create(name + newSuffix)
	if err != nil {
		return err
	}
	l, err := newLog(name, f, j.now.Load().logVersion(), kindIdentity, identity)
	if err == nil {
		_, err = l.append(kindCheckpoint, payload)
	}
	if err != nil { // no sync of what is relied on has failed: the old log stands
		return errors.Join(err, f.Close(), removeIfThere(vol, name+newSuffix))
	}
	if err := vol.Rename(name+newSuffix, name); err != nil {
		return errors.Join(err, f.Close())
	}
	// From here on, a record appended to either log could be the one that is lost: only one that is certain to be found may be written to.
	if err := syncDir(vol, j.dir); err != nil {
		return errors.Join(err, f.Close())
	}
	old := j.logFile
	j.log, j.logFile = l, f
	return old.Close()
}
