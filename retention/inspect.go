package retention

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"failback/replication"
)

// Inspection is a journal that is only looked at: nothing is written, made, mended or removed, so that it works on a read-only mount, beside a master target that has the journal
// open, and on what one left that was killed. Where a file is damaged the rest can still be read: a reader fails at what it can't know, and never serves other bytes.
//
// It shows the journal as it was when it was opened. It is safe for concurrent use.
type Inspection struct {
	j        *Journal // never appended to
	log      *logReading
	running  bool
	shared   io.Closer
	cycle    []CycleFile
	strays   []*sealed // where the log is damaged: files that the rest of it may name
	findings []Finding
}

// Finding is one place of a journal that is not as it should be.
type Finding struct {
	File   string // path
	Off    int64  // bytes from its begin
	Len    int64  // bytes that it may extend over; 0: not known, or all of it
	What   string
	Damage bool   // what was written is not there; else only what a crash leaves, which is settled when a master target opens the journal
	Fatal  bool   // of the log: a damage for which a master target would not open the journal; of another file: nothing of it can be read
	Needs  []Need // what listed points need of a damaged part; empty: nothing
}

// Need tells which points need a damaged part of a file for one disk. Of a disk that has grown since a point, what lies behind what the point shows counts too: a move to the point needs it. Such a point may read whole.
type Need struct {
	Disk   replication.DiskNo
	Points []replication.PointID // rising
	Bytes  int64                 // of the disk; 0: not known
	Spare  int64                 // of these: what the disks hold as well, standing at the head
}

// CycleFile is a segment file of the open cycle, or a save of point 0 before that is listed.
type CycleFile struct {
	Name   string // within the group's directory, with slashes
	Size   int64
	Sealed bool
}

// Inspect opens a journal for looking at it. When a master target has it open (Running), it is as of the newest end mark of its log; files that are rewritten later may be missed then.
// Damage is no error: see Findings. An error says that there is no journal, that it can't be read, or that a newer release wrote it.
func Inspect(dir string) (*Inspection, error) {
	return inspect(readOnlyVolume{}, dir, defaultTuning, false)
}

// InspectAtRest is Inspect for reading points with the disks, which must not move meanwhile: until Close, no master target can open the journal. ErrLocked when one has. Where the volume knows no locks,
// a finding says so.
func InspectAtRest(dir string) (*Inspection, error) {
	return inspect(readOnlyVolume{}, dir, defaultTuning, true)
}

// maxLooks is how often a journal is looked at again that changes meanwhile.
const maxLooks = 20

// sharing is what a volume offers that can tell whether a lock is held.
type sharing interface {
	// Held says whether somebody has locked a file exclusively.
	Held(name string) (bool, error)
	// Share keeps others from locking a file exclusively until the result is closed; ErrLocked when one has.
	Share(name string) (io.Closer, error)
}

func inspect(vol volume, dir string, t tuning, atRest bool) (_ *Inspection, err error) {
	names, err := vol.List(dir)
	if err != nil {
		return nil, fmt.Errorf("inspect journal: %w", err)
	}
	if !slices.Contains(names, logName) {
		if slices.Contains(names, retiredName) {
			return nil, fmt.Errorf("inspect journal: %w: %s was retired, and its removal has begun", ErrNotJournal, dir)
		}
		return nil, fmt.Errorf("inspect journal: %s: %w", dir, ErrNotJournal)
	}
	i := &Inspection{}
	lock := filepath.Join(dir, lockName)
	if s, ok := vol.(sharing); ok && slices.Contains(names, lockName) {
		if i.running, err = s.Held(lock); err == nil && atRest {
			i.shared, err = s.Share(lock)
		}
		if errors.Is(err, ErrLocked) {
			return nil, fmt.Errorf("inspect journal: %w", err)
		}
		if err != nil {
			i.remark(lock, "it can't be told whether a master target has the journal open: %v", err)
		}
	} else if atRest {
		i.remark(lock, "there is no lock: it can't be told whether a master target has the journal open")
	}
	kept := i.findings
	for range maxLooks {
		i.findings = slices.Clone(kept)
		again, err := i.look(vol, dir, t)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("inspect journal: %w", err), i.Close())
		}
		if !again {
			return i, nil
		}
		i.j.files.forget("")
	}
	return nil, errors.Join(fmt.Errorf("inspect journal: %s changes faster than it can be looked at", dir), i.Close())
}

// look reads the log and opens the files that it names. again: the journal changed meanwhile.
func (i *Inspection) look(vol volume, dir string, t tuning) (again bool, err error) {
	name := filepath.Join(dir, logName)
	f, err := vol.Open(name)
	if err != nil {
		return false, err
	}
	i.log, err = readLog(name, f, i.running)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return false, err
	}
	i.findings = append(i.findings, i.log.findings...)
	st := i.log.st
	j := &Journal{vol: vol, dir: dir, t: t, files: newHandles(vol, t.openFiles), id: st.id, sealed: map[string]*sealed{}}
	j.shelf.vol, j.shelf.files = vol, j.files
	j.journal, _ = parseUUID(j.id.UUID) // readLog has looked at it
	j.read, j.chunks, j.regions = newContents(&j.id, t.readerBlocks), newChunkCache(t.readerChunks), newRegions(&j.t)
	i.j, i.cycle, i.strays = j, nil, nil
	for _, n := range st.files {
		s, err := j.openNamed(n)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				if changed, cerr := i.Changed(); cerr == nil && changed {
					return true, nil
				}
			}
			s = j.broken(n, st, err)
		}
		j.sealed[s.name] = s
	}
	j.publish(st)
	c := j.now.Load()
	for _, s := range c.files {
		if s.bad != nil && !(i.log.fatal && errors.Is(s.bad, fs.ErrNotExist)) { // what the log says later may be that it was replaced
			i.findings = append(i.findings, c.lostFile(s))
		}
	}
	if !i.running { // files come and go beside one that runs
		return false, i.lookAround(st)
	}
	return false, i.lookAtCycle(st)
}

// openNamed opens a file that a record names.
func (j *Journal) openNamed(f namedFile) (*sealed, error) {
	s, err := openSealed(j.files, j.path(f.path()), &j.id, j.journal)
	if err != nil {
		return nil, err
	}
	if s.hdr.kind != f.kind || f.point != 0 && s.hdr.point != f.point {
		return nil, corruptf(s.name, 0, "file of kind %d of point %d, want kind %d of point %d", s.hdr.kind, s.hdr.point, f.kind, f.point)
	}
	s.rec = f.versions()
	return s, s.matches(f.fileRecord)
}

// broken stands in for a file whose index can't be had: it is blind.
func (j *Journal) broken(f namedFile, st *state, err error) *sealed {
	s := &sealed{name: j.path(f.path()), h: j.files, life: &life{}, bad: err, hdr: fileHeader{kind: f.kind, point: f.point}}
	if f.point == 0 {
		s.hdr.point = st.used
	}
	s.rec = f.versions()
	s.foot = footer{index: f.Size - footerSize, bytes: f.Bytes, last: fence{math.MaxUint32, math.MaxInt64}}
	return s
}

// lookAround tells of the files that no record names.
func (i *Inspection) lookAround(st *state) error {
	if err := i.lookAtCycle(st); err != nil {
		return err
	}
	for _, dir := range fileDirs[segmentFile:] {
		names, err := i.list(dir)
		if err != nil {
			return err
		}
		for _, n := range names {
			name := i.j.path(dir, n)
			var p replication.PointID
			switch _, err := fmt.Sscanf(n, "%d-", &p); {
			case i.j.sealed[name] != nil || dir == segDir && st.cycle != nil && err == nil && p == st.cycle.Point && strings.HasSuffix(n, segSuffix):
			case strings.HasSuffix(n, newSuffix) || strings.Contains(n, runSuffix):
				i.remark(name, "an unfinished file that a crash left: worth nothing")
			case dir == saveDir && st.savesOriginal() && (isOriginal(n) || n == originalEndName): // told with the open cycle
			case i.log.fatal:
				i.stray(name)
			case dir == segDir && strings.HasSuffix(n, segSuffix) && err == nil && p > st.used:
				i.findings = append(i.findings, Finding{File: i.log.name, Off: i.log.end.end, Damage: true, Fatal: true,
					What: fmt.Sprintf("the log does not know point %d, of which there is %s: it is an older log, or was cut off", p, n)})
				i.log.fatal = true
				i.stray(name)
			case strings.HasSuffix(n, segSuffix) || strings.HasSuffix(n, saveSuffix) || strings.HasSuffix(n, packSuffix) || n == originalEndName:
				i.remark(name, "a file that is not needed any more: worth nothing")
			default:
				i.remark(name, "not a file of the journal")
			}
		}
	}
	return nil
}

// stray opens a file that a damaged log may name where it can't be read.
func (i *Inspection) stray(name string) {
	s, err := openSealed(i.j.files, name, &i.j.id, i.j.journal)
	if err != nil {
		f := damage(name, 0, 0, err)
		var c *Corruption
		if errors.As(err, &c) {
			f.Off = c.Off
		}
		i.findings = append(i.findings, f)
		return
	}
	s.rec.High, s.rec.Gone = math.MaxUint64, -1
	i.strays = append(i.strays, s)
}

// lookAtCycle finds the files of the open cycle.
func (i *Inspection) lookAtCycle(st *state) error {
	if st.cycle != nil {
		point := fmt.Sprintf("%d-", st.cycle.Point)
		if err := i.lookAtUnlisted(segDir, func(n string) bool { return strings.HasPrefix(n, point) && strings.HasSuffix(n, segSuffix) }); err != nil {
			return err
		}
	}
	if !st.savesOriginal() {
		return nil
	}
	if end, err := i.j.readOriginalEnd(); err == nil { // else it is told where the saves are examined
		names, err := i.list(saveDir)
		if err != nil {
			return err
		}
		if n := end.missing(names); n != "" {
			name := i.j.path(saveDir, n)
			i.findings = append(i.findings, Finding{File: name, What: "missing: " + lostOriginal(name, 0).Error(), Damage: true, Fatal: true})
		}
	}
	return i.lookAtUnlisted(saveDir, isOriginal)
}

// lookAtUnlisted finds files in a directory that no record names yet.
func (i *Inspection) lookAtUnlisted(dir string, is func(name string) bool) error {
	names, err := i.list(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		name := i.j.path(dir, n)
		if !is(n) || i.j.sealed[name] != nil {
			continue
		}
		f, err := i.j.vol.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped meanwhile
		}
		if err != nil {
			return err
		}
		size, err := f.Size()
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		_, err = openSealed(i.j.files, name, &i.j.id, i.j.journal)
		i.j.files.forget(name)
		i.cycle = append(i.cycle, CycleFile{dir + "/" + n, size, err == nil})
	}
	return nil
}

// list returns the names in a directory of the journal; none where it is not there yet.
func (i *Inspection) list(dir string) ([]string, error) {
	names, err := i.j.vol.List(i.j.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

// missing says whether a file is not there any more.
func (i *Inspection) missing(name string) bool {
	f, err := i.j.vol.Open(name)
	if err == nil {
		f.Close()
	}
	return errors.Is(err, fs.ErrNotExist)
}

func (i *Inspection) remark(file, format string, args ...any) {
	i.findings = append(i.findings, Finding{File: file, What: fmt.Sprintf(format, args...)})
}

// Close lets go of the journal.
func (i *Inspection) Close() error {
	if i.j != nil {
		i.j.files.forget("")
	}
	if i.shared == nil {
		return nil
	}
	s := i.shared
	i.shared = nil
	return s.Close()
}

// Changed says whether the journal went on since it was opened: a record was appended to its log, or the log was replaced by a shorter one.
func (i *Inspection) Changed() (bool, error) {
	f, err := i.j.vol.Open(i.log.name)
	if err != nil {
		return false, err
	}
	l := &recordLog{name: i.log.name, f: f}
	err = l.readMarks()
	if err = errors.Join(err, f.Close()); err != nil {
		return false, err
	}
	return l.mark.chain != i.log.mark.chain && l.mark.chain != i.log.end.chain, nil // a log that was shortened counts from the begin
}

// Running says whether a master target has the journal open, on this machine or where its locks reach.
func (i *Inspection) Running() bool { return i.running }

// Locked says whether no master target can open the journal until Close: InspectAtRest, where the volume knows locks.
func (i *Inspection) Locked() bool { return i.shared != nil }

// Findings returns what was found when the journal was opened. Check finds more.
func (i *Inspection) Findings() []Finding { return slices.Clone(i.findings) }

// Whole says whether the log could be read up to its end. If not, points, head and files are as of its last good record, and nothing can be read.
func (i *Inspection) Whole() bool { return !i.log.fatal }

// Identity says whose journal it is.
func (i *Inspection) Identity() Identity { return i.j.Identity() }

// Generation returns the highest generation that the journal knows.
func (i *Inspection) Generation() replication.Generation { return i.j.Generation() }

// Owner returns whose the journal is, as Journal.Owner does.
func (i *Inspection) Owner() (o Owner, known, released bool) { return i.j.Owner() }

// Settings returns what a master target noted of the group last; false when there is none.
func (i *Inspection) Settings() (Settings, bool) { return i.j.Settings() }

// Targets returns, by disk number, where the disks lay last.
func (i *Inspection) Targets() []string {
	if s, ok := i.Settings(); ok && len(s.Targets) == i.j.now.Load().present() {
		return slices.Clone(s.Targets)
	}
	return i.Identity().Targets
}

// Records returns how many records the log has up to where the inspection stands.
func (i *Inspection) Records() uint64 { return i.log.end.seq }

// Points returns the listed points, rising.
func (i *Inspection) Points() []replication.Point { return i.j.Points() }

// Head returns the point that the disks show, or showed before a move that is not finished; it means nothing while no point is listed.
func (i *Inspection) Head() replication.PointID { return i.j.Head() }

// Unfinished returns the move that was recorded and not committed, or nil.
func (i *Inspection) Unfinished() *Move { return i.j.Unfinished() }

// ContentIDs returns, by disk number, every content id that a disk may carry because of us, the newest first.
func (i *Inspection) ContentIDs() [][]uint32 { return i.j.ContentIDs() }

// Fingerprints returns what the disks without a content id looked like when the last session ended, by disk number; empty when it did not end well, or has not.
func (i *Inspection) Fingerprints() []string { return i.j.Fingerprints() }

// OpenCycle returns the open cycle and its files, or nil.
func (i *Inspection) OpenCycle() (*replication.Cycle, []CycleFile) {
	return i.j.OpenCycle(), slices.Clone(i.cycle)
}

// OriginalStored returns what a point 0 that is not listed yet takes, as Journal.OriginalStored does.
func (i *Inspection) OriginalStored() (bytes int64) {
	for _, f := range i.cycle {
		if strings.HasPrefix(f.Name, saveDir+"/") {
			bytes += f.Size
		}
	}
	return bytes
}

// Retired says whether the journal's end was recorded: its group is protected no more.
func (i *Inspection) Retired() bool { return i.log.st.retired }

// Use tells what each file is worth, from the indexes alone. Where one is damaged, the error says so, and only names, sizes and points are known.
func (i *Inspection) Use(ctx context.Context) (Use, error) {
	use, err := i.j.Use(ctx, nil)
	c := i.j.now.Load()
	if err == nil && len(c.blind) > 0 {
		err = c.blind[0].bad
	}
	if !errors.Is(err, ErrCorrupt) {
		return use, err
	}
	use = Use{}
	for k, s := range c.files {
		f := c.state.files[k]
		use.Files = append(use.Files, FileUse{Name: filepath.ToSlash(f.path()), Size: f.Size, First: c.class(s.low()), Last: c.class(s.high())})
	}
	return use, err
}

// Damage tells what is quarantined, and which points need what of it is lost, from the indexes alone.
func (i *Inspection) Damage(ctx context.Context) (Damage, error) { return i.j.Damage(ctx) }

// Reader opens a listed point for reading, as Journal.Reader does. target is the disk as it stands at the head, or within an unfinished move. Nobody may move the disks while it reads: see InspectAtRest.
func (i *Inspection) Reader(p replication.PointID, disk replication.DiskNo, target Disk) (*Reader, error) {
	if i.log.fatal {
		return nil, fmt.Errorf("%w: the log can't be read up to its end, so that it is not known where the disks stand", ErrCorrupt)
	}
	if !i.j.AtPoint() {
		return nil, ErrNotAtPoint
	}
	return i.j.Reader(p, disk, target)
}
