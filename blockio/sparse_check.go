package blockio

import (
	"fmt"
	"slices"
)

// finding is one thing that is wrong with an extent.
type finding struct {
	err error
	// redundantOnly: the first directory is sound, and says all that is needed; the second one disagrees with it.
	redundantOnly bool
}

// maxFindings ends a check: an image with more is not going to be put right by hand.
const maxFindings = 100

// sparseCheck is what a look at every entry of a sparse extent found.
type sparseCheck struct {
	findings []finding
	end      int64 // first sector behind all tables and grains
	grains   int64 // that exist
	full     bool  // stopped at maxFindings
}

func (c *sparseCheck) add(f finding) {
	if len(c.findings) >= maxFindings {
		c.full = true
		return
	}
	c.findings = append(c.findings, f)
}

// first returns the first finding that is more than a disagreement of the second directory.
func (c *sparseCheck) first() error {
	for _, f := range c.findings {
		if !f.redundantOnly {
			return f.err
		}
	}
	return nil
}

// check reads every directory and table entry of both directories: bounds, places used twice, and agreement. Its memory is
// one bit for each grain that the file has room for, at most 64 MiB for the smallest grains.
func (s *sparseExtent) check() (*sparseCheck, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &sparseCheck{end: s.header.overhead}
	used := s.checkTablePlacesLocked(c)
	var first, second [tableEntries]uint32
	for n, at := range s.tables.primary {
		if c.full {
			break
		}
		if at == 0 {
			continue
		}
		if err := s.readTableLocked(int64(at), int64(n), &first); err != nil {
			c.add(finding{err: err})
			continue
		}
		s.checkEntriesLocked(c, int64(n), int64(at), &first, used)
		if s.tables.redundant == nil {
			continue
		}
		if err := s.readTableLocked(int64(s.tables.redundant[n]), int64(n), &second); err != nil {
			c.add(finding{err: err, redundantOnly: true})
		} else if first != second {
			c.add(finding{redundantOnly: true, err: corruptAt(s.st.Name(), int64(s.tables.redundant[n])*SectorSize,
				"grain table %d and its redundant copy differ", n)})
		}
	}
	return c, nil
}

// grainMap has a bit for each grain-sized place in the file.
type grainMap struct {
	bits  []uint64
	grain int64 // sectors
}

// take marks the place at sector, and reports whether it was free.
func (m *grainMap) take(sector int64) bool {
	i := sector / m.grain
	if m.bits[i/64]&(1<<(i%64)) != 0 {
		return false
	}
	m.bits[i/64] |= 1 << (i % 64)
	return true
}

// checkTablePlacesLocked checks that no two tables share sectors, and takes their places behind the overhead.
func (s *sparseExtent) checkTablePlacesLocked(c *sparseCheck) *grainMap {
	used := &grainMap{grain: s.header.grain}
	used.bits = make([]uint64, ceilDiv(min(s.fileSize, maxSparse+1), s.header.grainBytes())/64+1)
	var places []int64
	for n, at := range s.tables.primary {
		if at != 0 {
			places = append(places, int64(at))
		}
		if s.tables.redundant != nil && (at == 0) != (s.tables.redundant[n] == 0) {
			c.add(finding{redundantOnly: at == 0, err: corruptAt(s.st.Name(), s.header.directoryOffset*SectorSize+int64(n)*4,
				"grain table %d is at sector %d in one directory and at %d in the other", n, at, s.tables.redundant[n])})
		} else if s.tables.redundant != nil && at != 0 {
			places = append(places, int64(s.tables.redundant[n]))
		}
	}
	slices.Sort(places)
	for i, at := range places {
		if i > 0 && at < places[i-1]+tableSectors {
			c.add(finding{err: corruptAt(s.st.Name(), at*SectorSize, "two grain tables share sector %d", at)})
		}
		if end := (at + tableSectors) * SectorSize; end <= s.fileSize && at+tableSectors > s.header.overhead {
			used.take(at)
			used.take(at + tableSectors - 1)
			c.end = max(c.end, at+tableSectors)
		}
	}
	return used
}

func (s *sparseExtent) checkEntriesLocked(c *sparseCheck, table, at int64, entries *[tableEntries]uint32, used *grainMap) {
	for i, entry := range entries {
		if entry == 0 || entry == entryZero && s.header.flags&flagZeroGrains != 0 {
			continue
		}
		g, sector, entryAt := table*tableEntries+int64(i), int64(entry), at*SectorSize+int64(i)*4
		if g*s.header.grainBytes() >= s.size {
			c.add(finding{err: corruptAt(s.st.Name(), entryAt, "grain %d is behind the end of the disk", g)})
			continue
		}
		if err := s.checkEntryLocked(g, sector, entryAt); err != nil {
			c.add(finding{err: err})
			continue
		}
		if !used.take(sector) || sector%s.header.grain != 0 && !used.take(sector+s.header.grain-1) {
			c.add(finding{err: corruptAt(s.st.Name(), entryAt, "grain %d is at sector %d, which is in use by another grain or a table", g, sector)})
		}
		c.grains++
		c.end = max(c.end, sector+s.header.grain)
	}
}

// checkForWriting refuses an extent whose tables are not sound. After a crash of ours the second directory may be behind the
// first, or ahead of it: every entry was written after its grain was durable, so either is right, and recover settles it.
func (s *sparseExtent) checkForWriting() error {
	c, err := s.check()
	if err != nil {
		return err
	}
	if err := c.first(); err != nil {
		return err
	}
	if len(c.findings) > 0 && !s.crashed {
		return fmt.Errorf("%w (the first directory is sound)", c.findings[0].err)
	}
	return nil
}

// recover makes the second directory follow the first one, and cuts off what no entry points to, so that what is grown later
// reads as zeros. The extent has been checked by checkForWriting.
func (s *sparseExtent) recover() error {
	c, err := s.check()
	if err != nil {
		return err
	}
	if err := c.first(); err != nil {
		return err
	}
	writes, err := s.redundantFixes()
	if err != nil {
		return err
	}
	if err := s.writeMetadata(writes); err != nil {
		return err
	}
	end := ceilDiv(c.end, s.header.grain) * s.header.grain
	if end*SectorSize < s.fileSize {
		if err := s.st.Truncate(end * SectorSize); err != nil {
			return fmt.Errorf("cut %s to %d bytes: %w", s.st.Name(), end*SectorSize, err)
		}
		s.fileSize, s.nextFree = end*SectorSize, end
	}
	return s.syncStorage()
}

// redundantFixes lists what the second directory and its tables lack of the first. A table that only the second one knows was
// never in use.
func (s *sparseExtent) redundantFixes() ([]metadataWrite, error) {
	var writes []metadataWrite
	for n := range s.tables.redundant {
		at, atSecond := int64(s.tables.primary[n]), int64(s.tables.redundant[n])
		if at == 0 {
			if atSecond != 0 {
				s.tables.redundant[n] = 0
				writes = append(writes, metadataWrite{s.header.redundantOffset*SectorSize + int64(n)*4, make([]byte, 4)})
			}
			continue
		}
		var first, second [tableEntries]uint32
		if err := s.readTableLocked(at, int64(n), &first); err != nil {
			return nil, err
		}
		if err := s.readTableLocked(atSecond, int64(n), &second); err != nil {
			return nil, err
		}
		if first != second {
			writes = append(writes, metadataWrite{atSecond * SectorSize, encodeEntries(first[:])})
		}
	}
	return writes, nil
}
