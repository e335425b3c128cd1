package retention

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// Names within a group's directory.
const (
	lockName     = "lock"
	logName      = "log"
	retiredName  = "log.retired"
	coverageName = "coverage"
	segDir       = "seg"
	saveDir      = "save"
	packDir      = "pack"
	segSuffix    = ".seg"
	saveSuffix   = ".sav"
	packSuffix   = ".pack"
	newSuffix    = ".new"
	runSuffix    = ".run"
)

// fileDirs is where the files of a kind lie within a group's directory.
var fileDirs = [...]string{segmentFile: segDir, saveFile: saveDir, packFile: packDir}

// keptContentIDs is how many records of content ids are kept.
const keptContentIDs = 2

// MoveReserve is how many bytes a move leaves free on the volume: one that would not is refused, whatever else is set.
const MoveReserve = 16 << 20

// tuning holds the bounds of a journal (I12).
type tuning struct {
	writeBytes    int           // buffered before a write, and the most that one read or write of a disk has
	spillEntries  int           // index entries in memory before they are spilled as a run
	openFiles     int           // sealed files kept open beside those in use
	readerChunks  int           // index chunks kept for readers, of 5 KiB each
	readerBlocks  int           // decoded blocks kept for readers, of 67 KiB each
	regionBytes   int           // memory that regions take, for readers
	regionSpans   int           // spans of a region, about
	regionTouches int           // lookups in a region before it is made
	moveBlocks    int           // decoded blocks kept by a move, likewise
	savesAhead    int           // reads of a disk under way when it is saved, of 256 KiB each
	writesAhead   int           // batches of writeBytes that are loaded of what is written to a disk next
	disksAtOnce   int           // disks that a move works on at a time
	progressBytes int64         // written to a disk before the progress is recorded
	reserve       int64         // bytes left free on the volume when a move is reckoned
	setAside      int64         // bytes set aside on the volume for what must still work when it is full; 0: none
	originalBytes int64         // length at which a save of point 0 is sealed
	logBytes      int64         // length from which a log is shortened
	saveLevel     block.Level   // how content is compressed that is saved, rewritten or mended: it must keep up with a disk
	trust         time.Duration // how long a file counts as whole that this process wrote, or read whole

	batch     int64         // bytes written before it is made sure again that the journal is still ours
	batchTime time.Duration // likewise, time
}

var defaultTuning = tuning{
	saveLevel:  block.LevelS2, // less than half of the time of lz4 here, and a quarter where 4 KiB do not compress; they come to the same size
	writeBytes: 1 << 20, spillEntries: 64 << 10, openFiles: 256, readerChunks: 8192, readerBlocks: 512, regionBytes: 48 << 20, regionSpans: 4096, regionTouches: 8, moveBlocks: 512, savesAhead: 8, writesAhead: 4, disksAtOnce: 8,
	progressBytes: 1 << 30, reserve: MoveReserve, setAside: 16 << 20, originalBytes: originalBytes, logBytes: 4 << 20, trust: 24 * time.Hour,
	batch: 32 << 20, batchTime: 500 * time.Millisecond,
}

// Journal is a group's points on the retention volume. It is safe for concurrent use.
//
// After a failed sync of one of its files it is poisoned: nothing is known of what was written before, so every later call fails with that error. Close it
// and open it again; what was listed is still there.
type Journal struct {
	vol     volume // guarded, but for what reads
	guard   *guard
	dir     string
	journal uuid
	id      Identity
	t       tuning
	lock    io.Closer
	files   *handles
	read    *contents   // for readers
	chunks  *chunkCache // likewise
	regions *regions    // likewise

	shelf shelf // the catalogs in use

	moving   sync.Mutex // held by whoever moves the disks, and when what only the journal says of them changes; taken before mu
	packing  sync.Mutex // held by whoever rewrites files; taken before moving, or where moving is held, for an instant
	mending  sync.Mutex // held by whoever repairs; taken before both
	cycle    sync.Mutex // held by whoever changes the open cycle's files; taken before mu
	open     openCycle  // under cycle
	original original   // of point 0, before it is listed

	mu      sync.Mutex // guards what follows; held over an append to the log
	log     *recordLog
	logFile file
	bad     error              // poisoned or closed
	sealed  map[string]*sealed // by path: the files that records of the log name

	spare    sync.Mutex
	reserved bool // the reserve is there; under spare

	now atomic.Pointer[catalog]

	hurt suspects // files in which somebody came upon damage

	betweenLooks func() // for tests: called by readers between the look in the journal and the reads of files and of the disk
}

// commit appends a record, made from the present state, and publishes what follows from it. with are the sealed files that the record names.
func (j *Journal) commit(k kind, make func(*state) (any, error), with ...*sealed) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bad != nil {
		return j.bad
	}
	if err := j.guard.found(); err != nil {
		return err
	}
	st := j.now.Load().state.clone()
	v, err := make(st)
	if err != nil || v == nil {
		return err
	}
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("record of kind %d: %w", k, err)
	}
	// What the log would not replay must not enter it.
	r := record{kind: k, seq: j.log.mark.seq, payload: payload}
	if err := st.clone().apply(r); err != nil {
		return fmt.Errorf("record of kind %d: %w", k, err)
	}
	r.chain, err = j.append(k, payload)
	if errors.Is(err, ErrNoSpace) && k != kindCycleOpened && j.log.bad == nil && j.giveUp() {
		r.chain, err = j.append(k, payload)
	}
	if err != nil {
		j.bad = j.log.bad
		return err
	}
	if err := st.apply(r); err != nil {
		panic(fmt.Sprintf("retention: a record that applied does not apply: %v", err))
	}
	for _, s := range with {
		j.sealed[s.name] = s
	}
	j.publish(st)
	return nil
}

// append appends to the log, if it is still ours.
func (j *Journal) append(k kind, payload []byte) (chain, error) {
	j.guard.mu.Lock()
	defer j.guard.mu.Unlock()
	if err := j.guard.lookLocked(); err != nil {
		return chain{}, err
	}
	c, err := j.log.append(k, payload)
	j.guard.mark = j.log.mark
	return c, err
}

// note returns err; a failed sync poisons the journal: every later call fails.
func (j *Journal) note(err error) error {
	var failed *syncError
	if !errors.As(err, &failed) {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bad == nil {
		j.bad = fmt.Errorf("the journal %s can not go on after a failed sync: %w", j.dir, err)
	}
	return err
}

// Err returns why the journal can not be used any more: it is poisoned, or closed. nil: it can.
func (j *Journal) Err() error { return j.usable() }

// usable returns why the journal can not be used.
func (j *Journal) usable() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bad != nil {
		return j.bad
	}
	return j.guard.found()
}

// Close lets go of the journal. The caller has ended its arrivals, moves and readers.
func (j *Journal) Close() error {
	if err := j.cutOff(); err != nil && !errors.Is(err, ErrNoCycle) { // waits for calls of arrivals that are under way
		return fmt.Errorf("close journal: %w", err)
	}
	j.moving.Lock()
	defer j.moving.Unlock()
	j.cycle.Lock()
	defer j.cycle.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.logFile == nil {
		return nil
	}
	err := errors.Join(j.open.close(), j.original.close(), j.logFile.Close())
	j.files.forget("")
	err = errors.Join(err, j.lock.Close())
	j.logFile, j.bad = nil, fmt.Errorf("journal %s: %w", j.dir, ErrClosed)
	if err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}

// Identity says whose journal it is, with the disks that have not left.
func (j *Journal) Identity() Identity {
	id, st := j.id, j.now.Load()
	id.Disks, id.Targets = nil, nil
	for n, d := range st.slots() {
		disk := j.id.Disks[d]
		disk.No = replication.DiskNo(n)
		id.Disks, id.Targets = append(id.Disks, disk), append(id.Targets, j.id.Targets[d])
	}
	return id
}

// Generation returns the highest generation that the journal knows; 0 before the first Adopt.
func (j *Journal) Generation() replication.Generation { return j.now.Load().generation }

// Adopt raises the generation above the journal's own and atLeast, durably, and returns it (I7).
func (j *Journal) Adopt(atLeast replication.Generation) (g replication.Generation, err error) {
	err = j.commit(kindGeneration, func(st *state) (any, error) {
		g = max(st.generation, atLeast) + 1
		return generationRecord{g, st.owner, st.released}, nil
	})
	return g, err
}

// RecordContentIDs notes the content ids that the disks may carry from now on, by disk number: before the first write of a session (I8). It keeps the last
// two records: note first the ids found on the disks, if they are others, then the new ones, so that whichever the disks carry after a crash is known.
func (j *Journal) RecordContentIDs(ids []uint32) error {
	return j.commit(kindContentIDs, func(st *state) (any, error) {
		if len(ids) != st.present() {
			return nil, fmt.Errorf("%w: %d content ids for %d disks", ErrDisks, len(ids), st.present())
		}
		if len(st.contentIDs) > 0 && slices.Equal(st.contentIDs[0], ids) {
			return nil, nil
		}
		return contentIDsRecord{ids}, nil
	})
}

// ContentIDs returns, by disk number, every content id that a disk may carry because of us, the newest first.
func (j *Journal) ContentIDs() [][]uint32 {
	st := j.now.Load()
	out := make([][]uint32, st.present())
	for _, ids := range st.contentIDs {
		for d, id := range ids {
			if !slices.Contains(out[d], id) {
				out[d] = append(out[d], id)
			}
		}
	}
	return out
}

// RecordFingerprints notes what the disks looked like (blockio.Fingerprint; "" where it can't be told) when a session ended, by disk number; nil, before the next session's first write, that
// nothing is known of them any more (I8).
func (j *Journal) RecordFingerprints(disks []string) error {
	return j.commit(kindFingerprints, func(st *state) (any, error) {
		if len(disks) != 0 && len(disks) != st.present() {
			return nil, fmt.Errorf("%w: %d fingerprints for %d disks", ErrDisks, len(disks), st.present())
		}
		if slices.Equal(st.fingerprints, disks) {
			return nil, nil
		}
		return fingerprintsRecord{disks}, nil
	})
}

// Fingerprints returns what RecordFingerprints noted last: empty while a session is open, and after one that ended badly.
func (j *Journal) Fingerprints() []string { return slices.Clone(j.now.Load().fingerprints) }

// Points returns the listed points, rising.
func (j *Journal) Points() []replication.Point { return slices.Clone(j.now.Load().points) }

// Last returns the last listed point; false when there is none.
func (j *Journal) Last() (replication.Point, bool) { return j.now.Load().last() }

// Point returns a listed point.
func (j *Journal) Point(id replication.PointID) (replication.Point, error) {
	c := j.now.Load()
	i, err := c.point(id)
	if err != nil {
		return replication.Point{}, err
	}
	return c.points[i], nil
}

// AtPoint says whether the disks are at a point, or between two of them: not before the first baseline is listed.
func (j *Journal) AtPoint() bool { return j.now.Load().atPoint() }

// Head returns the point that the disks show, or showed before a move that is not finished. It means nothing while they are at none (AtPoint).
func (j *Journal) Head() replication.PointID { return j.now.Load().head }

// Unfinished returns the move that was recorded and not committed, or nil.
func (j *Journal) Unfinished() *Move {
	st := j.now.Load()
	m := st.move.clone()
	if m != nil && len(st.left) > 0 {
		done := m.Done
		m.Done = nil
		for _, d := range st.slots() {
			m.Done = append(m.Done, done[d])
		}
	}
	return m
}

// MarkVerified notes the outcome of comparing a point with the source.
func (j *Journal) MarkVerified(id replication.PointID, v replication.Verify) error {
	return j.commit(kindPointVerified, func(st *state) (any, error) {
		_, err := st.point(id)
		return verifyRecord{id, v}, err
	})
}

// MarkDrilled notes the outcome of a drill of a point; the last one counts.
func (j *Journal) MarkDrilled(id replication.PointID, d replication.Drilled) error {
	if err := d.Check(); err != nil {
		return err
	}
	return j.commit(kindPointDrilled, func(st *state) (any, error) {
		_, err := st.point(id)
		return drillRecord{id, d}, err
	})
}

// MarkSuspect marks a point whose tracking was found wanting, and all points before it since the last verified one (I14).
func (j *Journal) MarkSuspect(id replication.PointID, reason string) error {
	return j.commit(kindPointsSuspect, func(st *state) (any, error) {
		i, err := st.point(id)
		if err != nil {
			return nil, err
		}
		r := suspectRecord{Reason: reason}
		for ; i >= 0; i-- {
			p := st.points[i]
			if p.ID == replication.OriginalPoint || p.ID != id && p.Verified != nil && p.Verified.Equal {
				break
			}
			r.Points = append(r.Points, p.ID)
		}
		return r, nil
	})
}
