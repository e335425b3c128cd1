package blockio

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
)

const (
	// maxTables bounds the tables in memory of all extents of a disk, 2 KiB each (I12).
	maxTables = 4096
	// minTables is the share of an extent in that where there are many. Half of a share may wait for a Sync; a write that would
	// need more syncs first.
	minTables = 4
)

// tableCache holds the directories of a sparse extent and the grain tables that were used lately. Guarded by sparseExtent.mu.
type tableCache struct {
	limit              int      // tables in memory
	primary, redundant []uint32 // sector of each table; 0 where there is none. redundant is nil without a second directory
	directoryDirty     map[int64]struct{}
	loaded             map[int64]*grainTable
	dirty              map[int64]*grainTable // ⊆ loaded: not written yet
	writing            map[int64]*grainTable // ⊆ loaded: being written by a flush
}

// grainTable is one grain table: where its 512 grains are.
type grainTable struct {
	number       int64
	at, atSecond int64 // sector of the table and of its redundant copy, 0 without one
	entries      [tableEntries]uint32
	dirty        uint8 // a bit for each of its four sectors
}

func (c *tableCache) load(st storage, h sparseHeader) error {
	c.limit = maxTables
	c.directoryDirty = map[int64]struct{}{}
	c.loaded, c.dirty, c.writing = map[int64]*grainTable{}, map[int64]*grainTable{}, map[int64]*grainTable{}
	read := func(sector int64) ([]uint32, error) {
		b := make([]byte, h.tables()*4)
		if err := readFull(st, b, sector*SectorSize); err != nil {
			return nil, fmt.Errorf("read grain directory: %w", err)
		}
		entries := make([]uint32, h.tables())
		decodeEntries(b, entries)
		return entries, nil
	}
	var err error
	if c.primary, err = read(h.directoryOffset); err != nil {
		return err
	}
	if h.flags&flagRedundant != 0 {
		c.redundant, err = read(h.redundantOffset)
	}
	return err
}

func (c *tableCache) set(t *grainTable, i int64, entry uint32) {
	t.entries[i] = entry
	t.dirty |= 1 << (i * 4 / SectorSize)
	c.dirty[t.number] = t
}

// shrink forgets tables that can be read again.
func (c *tableCache) shrink() {
	for n := range c.loaded {
		if len(c.loaded) <= c.limit/2 {
			return
		}
		if c.dirty[n] == nil && c.writing[n] == nil {
			delete(c.loaded, n)
		}
	}
}

// tableLocked returns table number n, nil when there is none and make is not set.
func (s *sparseExtent) tableLocked(n int64, make bool) (*grainTable, error) {
	c := &s.tables
	if t := c.loaded[n]; t != nil {
		return t, nil
	}
	if len(c.loaded) >= c.limit {
		c.shrink()
	}
	t := &grainTable{number: n, at: int64(c.primary[n])}
	if c.redundant != nil {
		t.atSecond = int64(c.redundant[n])
	}
	if err := s.checkDirectoriesLocked(t); err != nil {
		return nil, err
	}
	if t.at == 0 {
		if !make {
			return nil, nil
		}
		return t, s.newTableLocked(t)
	}
	if err := s.readTableLocked(t.at, n, &t.entries); err != nil {
		return nil, err
	}
	if err := s.checkCopyLocked(t); err != nil {
		return nil, err
	}
	c.loaded[n] = t
	return t, nil
}

// unsettled: a session that was cut off may have left the two directories in disagreement. Otherwise that is damage, and most
// of all a table of zeros is not believed without its copy.
func (s *sparseExtent) unsettled() bool { return s.crashed && !s.marked }

func (s *sparseExtent) checkDirectoriesLocked(t *grainTable) error {
	if s.tables.redundant == nil || s.unsettled() || (t.at == 0) == (t.atSecond == 0) {
		return nil
	}
	return corruptAt(s.st.Name(), s.header.directoryOffset*SectorSize+t.number*4,
		"grain table %d is at sector %d in the directory and at %d in the redundant one; 0 is none", t.number, t.at, t.atSecond)
}

func (s *sparseExtent) checkCopyLocked(t *grainTable) error {
	if s.tables.redundant == nil || s.unsettled() {
		return nil
	}
	var second [tableEntries]uint32
	if err := s.readTableLocked(t.atSecond, t.number, &second); err != nil {
		return err
	}
	for i := range second {
		if t.entries[i] != second[i] {
			return corruptAt(s.st.Name(), t.at*SectorSize+int64(i)*4, "grain %d is at sector %d, and at %d by the redundant table",
				t.number*tableEntries+int64(i), t.entries[i], second[i])
		}
	}
	return nil
}

// newTableLocked makes the place for a table and its copy. A fresh place reads as a table without grains.
func (s *sparseExtent) newTableLocked(t *grainTable) error {
	at, err := s.growLocked(2 * tableSectors)
	if err != nil {
		return err
	}
	c := &s.tables
	t.at = at
	c.primary[t.number] = uint32(t.at)
	if c.redundant != nil {
		t.atSecond = at + tableSectors
		c.redundant[t.number] = uint32(t.atSecond)
	}
	c.directoryDirty[t.number*4/SectorSize] = struct{}{}
	c.loaded[t.number] = t
	return nil
}

// readTableLocked reads the table at sector at after checking that it lies where a table can be.
func (s *sparseExtent) readTableLocked(at, number int64, into *[tableEntries]uint32) error {
	entryAt := s.header.directoryOffset*SectorSize + number*4
	if (at+tableSectors)*SectorSize > s.fileSize {
		return corruptAt(s.st.Name(), entryAt, "grain table %d is at sector %d, past the end of the file of %d bytes", number, at, s.fileSize)
	}
	if what := s.header.overlapsMetadata(at, tableSectors); what != "" {
		return corruptAt(s.st.Name(), entryAt, "grain table %d is at sector %d, inside the %s", number, at, what)
	}
	var b [tableBytes]byte
	if err := readFull(s.st, b[:], at*SectorSize); err != nil {
		return fmt.Errorf("read grain table %d: %w", number, err)
	}
	decodeEntries(b[:], into[:])
	return nil
}

// tablesAtOnce is how many tables a scan reads with one read.
const tablesAtOnce = 128

// emptyTables tells how many tables from number n on have no grains, as far as one read tells: it makes the scan of a disk that
// is large and empty quick. Both copies are looked at.
func (s *sparseExtent) emptyTables(n int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.tables
	var count int64
	for n+count < int64(len(c.primary)) && c.primary[n+count] == 0 && (c.redundant == nil || c.redundant[n+count] == 0) {
		count++
	}
	if count > 0 {
		return count, nil // there are none
	}
	for count < tablesAtOnce && n+count < int64(len(c.primary)) && c.loaded[n+count] == nil && follows(c.primary, n, count) && follows(c.redundant, n, count) {
		count++
	}
	for _, directory := range [][]uint32{c.primary, c.redundant} {
		if count == 0 || directory == nil {
			continue
		}
		at := int64(directory[n]) * SectorSize
		if at+count*tableBytes > s.fileSize || s.header.overlapsMetadata(at/SectorSize, count*tableSectors) != "" {
			return 0, nil // the lookup of the table finds and tells what is wrong
		}
		b := make([]byte, count*tableBytes)
		if err := readFull(s.st, b, at); err != nil {
			return 0, fmt.Errorf("read grain tables: %w", err)
		}
		for i := range count {
			if !bytes.Equal(b[i*tableBytes:(i+1)*tableBytes], zeroSource[:tableBytes]) {
				count = i
				break
			}
		}
	}
	return count, nil
}

// follows reports whether table n+i lies i tables behind table n. A directory that is not there agrees.
func follows(directory []uint32, n, i int64) bool {
	return directory == nil || int64(directory[n+i]) == int64(directory[n])+i*tableSectors
}

// makeRoom flushes when too many tables wait for it.
func (s *sparseExtent) makeRoom() error {
	s.mu.Lock()
	full := len(s.tables.dirty) >= s.tables.limit/2
	s.mu.Unlock()
	if !full {
		return nil
	}
	return s.Sync()
}

// metadataWrite is a piece of a table or directory on its way to the file.
type metadataWrite struct {
	at int64 // byte offset
	b  []byte
}

// Sync makes the data durable before the entries that point to it, and then those. A table that is new is known to the
// redundant directory before it is to the first one, which is the one that counts.
func (s *sparseExtent) Sync() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	tables, directory := s.collectLocked()
	s.mu.Unlock()
	if err := s.syncStorage(); err != nil {
		return err
	}
	for _, writes := range [][]metadataWrite{tables, directory} {
		if len(writes) == 0 {
			continue
		}
		if err := s.writeMetadata(writes); err != nil {
			return err
		}
	}
	s.mu.Lock()
	clear(s.tables.writing)
	s.mu.Unlock()
	return nil
}

// writeMetadata: an error counts as a failed sync, since the change is no longer marked as waiting anywhere.
func (s *sparseExtent) writeMetadata(writes []metadataWrite) error {
	for _, w := range writes {
		if _, err := s.st.WriteAt(w.b, w.at); err != nil {
			return syncFailed(s.st.Name(), fmt.Errorf("write grain tables: %w", err))
		}
	}
	return s.syncStorage()
}

// collectLocked copies what is dirty, in the order of the file, neighbours joined: tables and the redundant directory, and the
// first directory. The tables stay in memory until they are written, or a reader would find the old ones.
func (s *sparseExtent) collectLocked() (writes, directory []metadataWrite) {
	c := &s.tables
	for _, n := range slices.Sorted(maps.Keys(c.dirty)) {
		t := c.dirty[n]
		b := encodeEntries(t.entries[:])
		for i := range int64(tableSectors) {
			if t.dirty&(1<<i) == 0 {
				continue
			}
			part := b[i*SectorSize : (i+1)*SectorSize]
			writes = append(writes, metadataWrite{(t.at + i) * SectorSize, part})
			if t.atSecond != 0 {
				writes = append(writes, metadataWrite{(t.atSecond + i) * SectorSize, part})
			}
		}
		t.dirty = 0
		c.writing[n] = t
	}
	clear(c.dirty)
	for sector := range c.directoryDirty {
		from := sector * SectorSize / 4
		to := min(from+SectorSize/4, int64(len(c.primary)))
		directory = append(directory, metadataWrite{(s.header.directoryOffset + sector) * SectorSize, encodeEntries(c.primary[from:to])})
		if c.redundant != nil {
			writes = append(writes, metadataWrite{(s.header.redundantOffset + sector) * SectorSize, encodeEntries(c.redundant[from:to])})
		}
	}
	clear(c.directoryDirty)
	return joinWrites(writes), joinWrites(directory)
}

// joinWrites sorts writes by their place and makes one of those that touch.
func joinWrites(writes []metadataWrite) []metadataWrite {
	slices.SortFunc(writes, func(a, b metadataWrite) int { return cmp.Compare(a.at, b.at) })
	var joined []metadataWrite
	for i := 0; i < len(writes); {
		end, j := writes[i].at, i
		for j < len(writes) && writes[j].at == end {
			end += int64(len(writes[j].b))
			j++
		}
		b := make([]byte, 0, end-writes[i].at)
		for _, w := range writes[i:j] {
			b = append(b, w.b...)
		}
		joined = append(joined, metadataWrite{writes[i].at, b})
		i = j
	}
	return joined
}
