package blockio

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// maxRepairs bounds what is repaired at once, in tables: an image with more damage is not one to go on with.
const maxRepairs = 4096

// Repaired tells what Repair did.
type Repaired struct {
	Changes []string // each with file and offset
	Copies  []string // files with what stood there before, as hexadecimal digits: xxd -r COPY FILE puts it back
}

// Repair puts right what is provably right again: in a sparse extent with two grain directories, an entry or a table of one that is
// not sound, from the other one that is. What it would make is checked in full before anything is written, and what stood there
// is copied to a file beside the extent first. Everything else is refused with the reason, and then nothing is changed: tables that
// are sound and differ, formats with one directory, a disk that was not closed cleanly or is in use.
func Repair(path string) (Repaired, error) {
	done, err := repair(path)
	if err != nil {
		return done, fmt.Errorf("repair disk: %w", err)
	}
	return done, nil
}

func repair(path string) (done Repaired, err error) {
	l, err := examine(path)
	if err != nil {
		return done, err
	}
	for _, r := range l.refusals {
		if errors.Is(r.cause, ErrInUse) || r.ours {
			return done, fmt.Errorf("%w: %s: %s", cmp.Or(r.cause, ErrNotTarget), path, r.reason)
		}
	}
	var plans []*repairPlan
	defer func() {
		for _, p := range plans {
			p.file.st.Close()
		}
	}()
	for _, piece := range l.pieces {
		plan, err := l.planPiece(piece)
		if err != nil {
			return done, err
		}
		if plan != nil {
			plans = append(plans, plan)
		}
	}
	if len(plans) == 0 {
		return done, fmt.Errorf("%w: %s: only sparse extents have a second directory to repair from", ErrUnsupported, path)
	}
	for _, p := range plans {
		if len(p.fixes) == 0 {
			continue
		}
		name, err := p.saveBefore()
		if err != nil {
			return done, fmt.Errorf("copy what is to be changed: %w", err)
		}
		done.Copies = append(done.Copies, name)
		if err := p.apply(); err != nil {
			return done, err
		}
		done.Changes = append(done.Changes, p.changes...)
	}
	return done, nil
}

// planPiece opens the extent under its lock and plans; nil for extents without grain tables, and an error for those with one
// directory, if there is anything to repair.
func (l *layout) planPiece(p piece) (*repairPlan, error) {
	if !p.kind.grained() {
		return nil, nil
	}
	st, err := l.openStorage(p, true)
	if err != nil {
		return nil, err
	}
	plan, err := planRepair(st, p)
	if err != nil {
		st.Close()
		return nil, err
	}
	return plan, nil
}

// repairPlan is what to write into one extent.
type repairPlan struct {
	file     *grainFile
	fileSize int64
	places   []int64 // sectors of the tables that are where they should be; sorted
	fixes    []metadataWrite
	entries  []metadataWrite // ⊆ fixes: directory entries, which are written after the tables
	changes  []string
}

func planRepair(st storage, piece piece) (*repairPlan, error) {
	fileSize, err := st.Size()
	if err != nil {
		return nil, err
	}
	header, err := readGrainHeader(piece.kind, st, st.Name(), fileSize)
	if err != nil {
		return nil, err
	}
	p := &repairPlan{file: newGrainFile(st, header, false), fileSize: fileSize}
	if len(p.file.directories) == 1 {
		c, err := p.file.check()
		if err == nil && len(c.findings) > 0 {
			err = fmt.Errorf("%w; there is no second directory to repair it from", c.findings[0].err)
		}
		return p, err
	}
	for n := range p.file.tables() {
		if err := p.compare(n); err != nil {
			return nil, err
		}
		if len(p.changes) > maxRepairs {
			return nil, corruptAt(st.Name(), 0, "more than %d tables are damaged; restore the image instead", maxRepairs)
		}
	}
	return p, p.prove()
}

// compare plans for table n, if one of its copies needs it and the other is sound.
func (p *repairPlan) compare(n int64) error {
	f := p.file
	var copies [2]tableCopy
	var errs [2]error
	for d := range copies {
		if copies[d], errs[d] = f.table(d, n, p.fileSize); errs[d] != nil && !isDamage(errs[d]) {
			return errs[d]
		}
	}
	switch {
	case errs[0] == nil && errs[1] == nil:
		if !copies[0].same(copies[1]) {
			return fmt.Errorf("%w; both are sound, and nothing tells which one is right", f.disagreement(n, copies[0], copies[1]))
		}
		return nil
	case errs[0] != nil && errs[1] != nil:
		return fmt.Errorf("%w; and the other directory: %w", errs[0], errs[1])
	}
	bad := 0
	if errs[1] != nil {
		bad = 1
	}
	if !f.standsIn(n, copies[1-bad], copies[bad], p.fileSize) {
		return fmt.Errorf("%w; the other directory has too little to repair it from", errs[bad])
	}
	return p.fix(bad, n, copies[bad].at, copies[1-bad], errs[bad])
}

// fix plans to give directory d the table that the other one has.
func (p *repairPlan) fix(d int, n, was int64, sound tableCopy, why error) error {
	f := p.file
	at, err := p.placeFor(d, n, was)
	if err != nil {
		return err
	}
	if at == 0 {
		return fmt.Errorf("%w; where the table was is not known any more", why)
	}
	table := make([]byte, f.tableBytes())
	for i, entry := range sound.entries {
		binary.LittleEndian.PutUint32(table[i*4:], uint32(entry))
	}
	old := make([]byte, len(table))
	if err := readFull(f.st, old, at*SectorSize); err != nil {
		return err
	}
	if !bytes.Equal(old, table) {
		p.fixes = append(p.fixes, metadataWrite{at * SectorSize, table})
	}
	if at != was {
		entry := metadataWrite{f.entryAt(d, n), binary.LittleEndian.AppendUint32(nil, uint32(at))}
		p.fixes, p.entries = append(p.fixes, entry), append(p.entries, entry)
	}
	p.changes = append(p.changes, fmt.Sprintf("table %d of the %s is taken from the other one: %v", n, [2]string{"grain directory",
		"redundant grain directory"}[d], why))
	return nil
}

// placeFor is the sector at which table n of directory d belongs: where it is, or where it is missing among its neighbours, or
// directly behind its directory. It is inside the metadata and free of other tables; 0 if there is none.
func (p *repairPlan) placeFor(d int, n, was int64) (int64, error) {
	f := p.file
	if p.places == nil {
		if err := p.notePlaces(); err != nil {
			return 0, err
		}
	}
	sectors := f.tableBytes() / SectorSize
	candidates := []int64{was}
	if n > 0 {
		if at, err := f.find(d, n-1, p.fileSize); err == nil && at != 0 {
			candidates = append(candidates, at+sectors)
		}
	}
	if n+1 < f.tables() {
		if at, err := f.find(d, n+1, p.fileSize); err == nil && at != 0 {
			candidates = append(candidates, at-sectors)
		}
	}
	candidates = append(candidates, f.directories[d]+ceilDiv(f.tables()*f.entryBytes, SectorSize)+n*sectors)
	for _, at := range candidates {
		if at < 1 || at+sectors > f.firstGrain || f.format.overlapsMetadata(at, sectors) != "" {
			continue
		}
		i, taken := slices.BinarySearch(p.places, at)
		if taken || i > 0 && p.places[i-1]+sectors > at || i < len(p.places) && p.places[i] < at+sectors {
			continue
		}
		return at, nil
	}
	return 0, nil
}

// notePlaces notes where the tables are that need no repair.
func (p *repairPlan) notePlaces() error {
	p.places = []int64{}
	for n := range p.file.tables() {
		for d := range p.file.directories {
			t, err := p.file.table(d, n, p.fileSize)
			if err != nil && !isDamage(err) {
				return err
			}
			if err == nil && t.at != 0 {
				p.places = append(p.places, t.at)
			}
		}
	}
	slices.Sort(p.places)
	return nil
}

// prove checks the extent as it would be. Anything that is still wrong with it forbids the repair.
func (p *repairPlan) prove() error {
	slices.SortFunc(p.fixes, func(a, b metadataWrite) int { return cmp.Compare(a.at, b.at) })
	would := *p.file
	would.st = &patchedStorage{storage: p.file.st, patches: p.fixes}
	c, err := would.check()
	if err == nil && len(c.findings) > 0 {
		err = fmt.Errorf("%w; a repair of the tables would leave that", c.findings[0].err)
	}
	return err
}

// patchedStorage is a storage as it would be with some bytes written.
type patchedStorage struct {
	storage
	patches []metadataWrite // sorted
}

func (s *patchedStorage) ReadAt(b []byte, off int64) (int, error) {
	n, err := s.storage.ReadAt(b, off)
	i, _ := slices.BinarySearchFunc(s.patches, off, func(w metadataWrite, off int64) int { return cmp.Compare(w.at+int64(len(w.b)), off) })
	for ; i < len(s.patches) && s.patches[i].at < off+int64(n); i++ {
		w := s.patches[i]
		if from := max(w.at, off); from < w.at+int64(len(w.b)) {
			copy(b[from-off:n], w.b[from-w.at:])
		}
	}
	return n, err
}

// saveBefore writes what stands where the plan writes to a new file beside the extent, durably, and returns its name.
func (p *repairPlan) saveBefore() (string, error) {
	var text bytes.Buffer
	for _, w := range p.fixes {
		b := make([]byte, len(w.b))
		if err := readFull(p.file.st, b, w.at); err != nil {
			return "", err
		}
		for i := 0; i < len(b); i += 16 {
			fmt.Fprintf(&text, "%08x: % x\n", w.at+int64(i), b[i:min(i+16, len(b))])
		}
	}
	var f *os.File
	for i := 1; f == nil; i++ {
		var err error
		f, err = os.OpenFile(fmt.Sprintf("%s.before-repair-%d", p.file.st.Name(), i), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
	}
	err := writeAndSync(f, text.Bytes(), nil)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = syncDir(filepath.Dir(f.Name()))
	}
	return f.Name(), err
}

// apply writes tables before the entries that point to them, so that a crash in between leaves no entry that points to less.
func (p *repairPlan) apply() error {
	isEntry := func(w metadataWrite) bool {
		return slices.ContainsFunc(p.entries, func(e metadataWrite) bool { return e.at == w.at })
	}
	for _, entries := range []bool{false, true} {
		for _, w := range p.fixes {
			if isEntry(w) != entries {
				continue
			}
			if _, err := p.file.st.WriteAt(w.b, w.at); err != nil {
				return fmt.Errorf("write %s: %w", p.file.st.Name(), err)
			}
		}
		if err := p.file.st.Sync(); err != nil {
			return syncFailed(p.file.st.Name(), err)
		}
	}
	return nil
}
