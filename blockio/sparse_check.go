package blockio

import "fmt"

// check looks at every entry of both directories as they are in the file. Nothing has been written in this session.
func (s *sparseExtent) check() (*grainCheck, error) {
	return newGrainFile(s.st, s.header, s.crashed).check()
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
