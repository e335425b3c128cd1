package blockio

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// grainFormat is what the header of an extent made of grains says, for reading it: hosted sparse and streamOptimized, COWD, seSparse.
type grainFormat interface {
	shape() grainShape
	// tableAt is the sector of the table that a directory entry names, 0 for none, or what is wrong with the entry.
	tableAt(entry uint64) (sector int64, wrong string)
	// place is what an entry of a table means, or what is wrong with it.
	place(entry uint64) (p grainPlace, wrong string)
	// overlapsMetadata names the part of the metadata that has sectors in [start, start+n), "" when there is none.
	overlapsMetadata(start, n int64) string
}

// grainShape is the arithmetic of an extent made of grains: a directory has an entry for each table, a table one for each grain.
type grainShape struct {
	capacity    int64 // sectors
	grain       int64 // sectors
	perTable    int64 // entries in a table
	entryBytes  int64 // of an entry, in directories and tables
	firstGrain  int64 // no grain lies before this sector
	directories []int64
}

// tables is the number of tables, and of entries in each directory.
func (s grainShape) tables() int64 { return ceilDiv(s.capacity, s.grain*s.perTable) }

func (s grainShape) tableBytes() int64 { return s.perTable * s.entryBytes }

func (s grainShape) grainBytes() int64 { return s.grain * SectorSize }

// span is how much of the disk a table is for, in bytes.
func (s grainShape) span() int64 { return s.perTable * s.grainBytes() }

// entryAt is where directory d has its entry for table n, in bytes.
func (s grainShape) entryAt(d int, n int64) int64 {
	return s.directories[d]*SectorSize + n*s.entryBytes
}

// need is how many bytes of grain g are inside the disk: the last grain may be short.
func (s grainShape) need(g int64) int64 {
	return min(s.grainBytes(), s.capacity*SectorSize-g*s.grainBytes())
}

func (s grainShape) decode(b []byte) []uint64 {
	entries := make([]uint64, int64(len(b))/s.entryBytes)
	for i := range entries {
		if s.entryBytes == 8 {
			entries[i] = binary.LittleEndian.Uint64(b[i*8:])
		} else {
			entries[i] = uint64(binary.LittleEndian.Uint32(b[i*4:]))
		}
	}
	return entries
}

// grainPlace is where a grain is.
type grainPlace struct {
	kind   grainKind
	sector int64 // in the file, of grainHeld
}

type grainKind int

const (
	grainAbsent grainKind = 1 // the parent's content, zeros without a parent
	grainZero   grainKind = 2
	grainHeld   grainKind = 3
)

// grainFile reads the directories and tables of an extent, and believes no entry before it has checked it. It keeps nothing.
type grainFile struct {
	st     storage
	format grainFormat
	grainShape
	// unclean: whoever wrote it last was interrupted, so the second directory may be behind the first one, or ahead of it.
	unclean bool
}

func newGrainFile(st storage, format grainFormat, unclean bool) *grainFile {
	return &grainFile{st: st, format: format, grainShape: format.shape(), unclean: unclean}
}

// tableCopy is a grain table as one of the directories has it.
type tableCopy struct {
	at      int64    // sector; 0 where there is no table
	entries []uint64 // nil where there is no table
}

// entry is the entry of the grain with that index in the table.
func (t tableCopy) entry(i int64) uint64 {
	if t.entries == nil {
		return 0
	}
	return t.entries[i]
}

func (t tableCopy) same(o tableCopy) bool {
	if t.entries == nil || o.entries == nil {
		return (t.entries == nil) == (o.entries == nil)
	}
	for i := range t.entries {
		if t.entries[i] != o.entries[i] {
			return false
		}
	}
	return true
}

// find reads the entry of directory d for table n, and checks where it points.
func (f *grainFile) find(d int, n, fileSize int64) (sector int64, err error) {
	b := make([]byte, f.entryBytes)
	if err := readFull(f.st, b, f.entryAt(d, n)); err != nil {
		return 0, fmt.Errorf("read grain directory: %w", err)
	}
	return f.findIn(f.decode(b)[0], d, n, fileSize)
}

func (f *grainFile) findIn(entry uint64, d int, n, fileSize int64) (sector int64, err error) {
	sector, wrong := f.format.tableAt(entry)
	switch {
	case wrong != "":
		return 0, corruptAt(f.st.Name(), f.entryAt(d, n), "grain table %d: %s", n, wrong)
	case sector == 0:
		return 0, nil
	case sector*SectorSize+f.tableBytes() > fileSize:
		return 0, corruptAt(f.st.Name(), f.entryAt(d, n), "grain table %d is at sector %d, past the end of the file of %d bytes", n, sector, fileSize)
	}
	if what := f.format.overlapsMetadata(sector, f.tableBytes()/SectorSize); what != "" {
		return 0, corruptAt(f.st.Name(), f.entryAt(d, n), "grain table %d is at sector %d, inside the %s", n, sector, what)
	}
	return sector, nil
}

// table reads table n as directory d has it. It is sound in itself when err is nil: every entry points to where a grain can be.
func (f *grainFile) table(d int, n, fileSize int64) (tableCopy, error) {
	at, err := f.find(d, n, fileSize)
	if err != nil || at == 0 {
		return tableCopy{}, err
	}
	t, err := f.readTable(n, at)
	if err == nil {
		err = f.judge(n, t, fileSize)
	}
	return t, err
}

func (f *grainFile) readTable(n, at int64) (tableCopy, error) {
	b := make([]byte, f.tableBytes())
	if err := readFull(f.st, b, at*SectorSize); err != nil {
		return tableCopy{}, fmt.Errorf("read grain table %d: %w", n, err)
	}
	return tableCopy{at: at, entries: f.decode(b)}, nil
}

// judge returns what is wrong with the first entry that is not sound. Entries for grains behind the end of the disk are not
// looked at: nobody reads them.
func (f *grainFile) judge(n int64, t tableCopy, fileSize int64) error {
	for i, entry := range t.entries {
		g := n*f.perTable + int64(i)
		if g*f.grain >= f.capacity {
			break
		}
		if err := f.judgeEntry(g, entry, t.at*SectorSize+int64(i)*f.entryBytes, fileSize); err != nil {
			return err
		}
	}
	return nil
}

func (f *grainFile) judgeEntry(g int64, entry uint64, entryAt, fileSize int64) error {
	p, wrong := f.format.place(entry)
	if wrong != "" {
		return corruptAt(f.st.Name(), entryAt, "grain %d: %s", g, wrong)
	}
	if p.kind != grainHeld {
		return nil
	}
	need := f.need(g)
	if h, ok := f.format.(sparseHeader); ok && h.compressed() {
		need = h.markerBytes()
	}
	switch {
	case p.sector < f.firstGrain:
		return corruptAt(f.st.Name(), entryAt, "grain %d is at sector %d, inside the metadata (%d sectors)", g, p.sector, f.firstGrain)
	case p.sector*SectorSize+need > fileSize:
		return corruptAt(f.st.Name(), entryAt, "grain %d is at sector %d, past the end of the file of %d bytes", g, p.sector, fileSize)
	}
	if what := f.format.overlapsMetadata(p.sector, ceilDiv(need, SectorSize)); what != "" {
		return corruptAt(f.st.Name(), entryAt, "grain %d is at sector %d, inside the %s", g, p.sector, what)
	}
	return nil
}

// choose reads table n for use. Where there are two directories, a sound copy stands in for one that is not, which notice tells;
// two that are sound and differ are damage, since nothing tells which one is right.
func (f *grainFile) choose(n int64) (t tableCopy, notice string, err error) {
	fileSize, err := f.st.Size()
	if err != nil {
		return tableCopy{}, "", fmt.Errorf("size of %s: %w", f.st.Name(), err)
	}
	first, firstErr := f.table(0, n, fileSize)
	if len(f.directories) == 1 {
		return first, "", firstErr
	}
	if firstErr != nil && !isDamage(firstErr) {
		return first, "", firstErr
	}
	second, secondErr := f.table(1, n, fileSize)
	switch {
	case secondErr != nil && !isDamage(secondErr):
		return second, "", secondErr
	case firstErr != nil && secondErr != nil:
		return first, "", firstErr
	case firstErr != nil:
		if !f.standsIn(n, second, first, fileSize) {
			return first, "", firstErr
		}
		return second, fmt.Sprintf("the redundant grain directory is in use: %v", firstErr), nil
	case secondErr != nil:
		if !f.standsIn(n, first, second, fileSize) {
			return second, "", secondErr
		}
		return first, fmt.Sprintf("the redundant grain directory is damaged: %v", secondErr), nil
	case first.same(second) || f.unclean:
		return first, "", nil
	}
	return first, "", f.disagreement(n, first, second)
}

// standsIn reports whether a table that is sound can be believed without its copy, which is not. One without grains cannot, since
// what was erased looks like that; nor one that lacks a grain which the copy has.
func (f *grainFile) standsIn(n int64, sound, unsound tableCopy, fileSize int64) bool {
	some := false
	for i, entry := range sound.entries {
		if entry != 0 {
			some = true
		} else if g := n*f.perTable + int64(i); unsound.entry(int64(i)) != 0 && g*f.grain < f.capacity &&
			f.judgeEntry(g, unsound.entry(int64(i)), 0, fileSize) == nil {
			return false
		}
	}
	return some
}

func (f *grainFile) disagreement(n int64, first, second tableCopy) error {
	if first.entries == nil || second.entries == nil {
		return corruptAt(f.st.Name(), f.entryAt(0, n),
			"grain table %d is at sector %d in the directory and at %d in the redundant one; 0 is none", n, first.at, second.at)
	}
	i := 0
	for first.entries[i] == second.entries[i] {
		i++
	}
	return corruptAt(f.st.Name(), first.at*SectorSize+int64(i)*f.entryBytes, "grain %d is at sector %d, and at %d by the redundant table",
		n*f.perTable+int64(i), first.entries[i], second.entries[i])
}

// scanBytes is how much of a directory, or of tables, a scan reads at once.
const scanBytes = 256 << 10

// empty tells how many tables from n on have no grains, as far as one read of each directory and its tables tells: it makes the
// scan of a disk that is large and empty quick. 0 says nothing.
func (f *grainFile) empty(n int64) (int64, error) {
	if count, err := f.absent(n); count > 0 || err != nil {
		return count, err
	}
	fileSize, err := f.st.Size()
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", f.st.Name(), err)
	}
	count := min(f.tables()-n, scanBytes/f.entryBytes)
	for d := range f.directories {
		if count, err = f.emptyIn(d, n, count, fileSize); count == 0 || err != nil {
			return 0, err
		}
	}
	return count, nil
}

// absent counts the tables from n on that no directory knows: a few entries are read first, and many only where those are 0.
func (f *grainFile) absent(n int64) (int64, error) {
	count := int64(0)
	for _, most := range []int64{SectorSize / f.entryBytes, scanBytes / f.entryBytes} {
		count = min(f.tables()-n, most)
		for d := range f.directories {
			b := make([]byte, count*f.entryBytes)
			if err := readFull(f.st, b, f.entryAt(d, n)); err != nil {
				return 0, fmt.Errorf("read grain directory: %w", err)
			}
			if count = leadingZeros(b) / f.entryBytes; count == 0 {
				return 0, nil
			}
		}
		if count < SectorSize/f.entryBytes {
			break
		}
	}
	return count, nil
}

// emptyIn counts up to most of the tables that directory d has from number n on: those that lie one behind the other, and are
// empty. Where they lie in a hole of the file, that is known without reading them.
func (f *grainFile) emptyIn(d int, n, most, fileSize int64) (int64, error) {
	start, err := f.find(d, n, fileSize)
	if isDamage(err) || err == nil && start == 0 {
		return 0, nil // whoever reads that table finds out
	}
	if err != nil {
		return 0, err
	}
	data, _, err := f.st.NextData(start*SectorSize, fileSize)
	if err != nil {
		return 0, fmt.Errorf("find grain tables of %s: %w", f.st.Name(), err)
	}
	hole := (data - start*SectorSize) / f.tableBytes()
	if hole > 0 {
		return f.inRow(d, n, min(most, hole), start, fileSize)
	}
	var empty int64
	for _, many := range []int64{1, scanBytes / f.tableBytes()} { // more are read only where the first one is empty
		count, err := f.inRow(d, n, min(most, many), start, fileSize)
		if err != nil {
			return 0, err
		}
		tables := make([]byte, count*f.tableBytes())
		if err := readFull(f.st, tables, start*SectorSize); err != nil {
			return 0, fmt.Errorf("read grain tables: %w", err)
		}
		if empty = leadingZeros(tables) / f.tableBytes(); empty == 0 {
			break
		}
	}
	return empty, nil
}

// inRow counts up to most of the tables of directory d that lie one behind the other, table n at sector start.
func (f *grainFile) inRow(d int, n, most, start, fileSize int64) (int64, error) {
	b := make([]byte, most*f.entryBytes)
	if err := readFull(f.st, b, f.entryAt(d, n)); err != nil {
		return 0, fmt.Errorf("read grain directory: %w", err)
	}
	for i, entry := range f.decode(b) {
		if at, err := f.findIn(entry, d, n+int64(i), fileSize); err != nil || at != start+int64(i)*f.tableBytes()/SectorSize {
			return int64(i), nil
		}
	}
	return most, nil
}

// leadingZeros counts the bytes of b before the first that is not zero, by the sector.
func leadingZeros(b []byte) int64 {
	at := 0
	for at < len(b) {
		end := min(at+SectorSize, len(b))
		if !bytes.Equal(b[at:end], zeroSource[:end-at]) {
			for b[at] == 0 {
				at++
			}
			return int64(at)
		}
		at = end
	}
	return int64(len(b))
}
