package retention

import (
	"errors"
	"fmt"
	"io/fs"

	"failback/replication"
	"failback/replication/crc32c"
)

// A save of point 0 that grows can't be judged by itself: a bad block in it may be one that a crash tore, which nobody relied on, or damage of one that was acknowledged, after which the disks were written
// over. So what was acknowledged is noted beside it, in two places in turn, of which a crash tears one at most.

const (
	originalEndName  = "original.end"
	originalEndBytes = 64   // of a place, the rest of its sector is zeros
	originalEndPlace = 4096 // from one place to the other
)

// originalEnd is how much of the saves of point 0 was acknowledged: the files before number are sealed, and number holds whole blocks up to end.
type originalEnd struct {
	number int
	end    int64
	turn   uint64 // of writing it: odd ones go to the second place
	sealed int    // files before number that have something
}

func (m originalEnd) encode(u uuid) []byte {
	b := make([]byte, originalEndPlace)
	le.PutUint32(b[4:], uint32(m.number))
	le.PutUint64(b[8:], uint64(m.end))
	le.PutUint64(b[16:], m.turn)
	copy(b[24:40], u[:])
	le.PutUint32(b[40:], uint32(m.sealed))
	le.PutUint32(b, crc32c.Checksum(b[4:originalEndBytes]))
	return b
}

// parseOriginalEnd reads one place; false where nothing valid is.
func parseOriginalEnd(b []byte, u uuid) (m originalEnd, ok bool) {
	if le.Uint32(b) != crc32c.Checksum(b[4:originalEndBytes]) || uuid(b[24:40]) != u {
		return m, false
	}
	m = originalEnd{number: int(le.Uint32(b[4:])), end: int64(le.Uint64(b[8:])), turn: le.Uint64(b[16:]), sealed: int(le.Uint32(b[40:]))}
	return m, m.turn > 0
}

// readOriginalEnd reads what was acknowledged last.
func (j *Journal) readOriginalEnd() (m originalEnd, err error) {
	name := j.path(saveDir, originalEndName)
	f, err := j.vol.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	} else if err != nil {
		return m, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return m, err
	}
	bad := 0
	for at := int64(0); at < 2*originalEndPlace && at+originalEndBytes <= size; at += originalEndPlace {
		b := make([]byte, originalEndBytes)
		if err := readFull(f, b, at); err != nil {
			return m, fmt.Errorf("read %s at %d: %w", base(name), at, err)
		}
		if x, ok := parseOriginalEnd(b, j.journal); ok && x.turn > m.turn {
			m = x
		} else if !ok && !replication.IsZero(b) {
			bad++
		}
	}
	if bad == 2 {
		return m, corruptf(name, 0, "neither place tells how much of point 0 was acknowledged")
	}
	return m, nil
}

// acknowledgeOriginal notes, durably, that all blocks up to end are. original.mu is held.
func (j *Journal) acknowledgeOriginal(number int, end int64) (err error) {
	if leftOut(ruleOriginalAcknowledged) {
		return nil
	}
	name := j.path(saveDir, originalEndName)
	f, err := j.vol.Open(name)
	isNew := errors.Is(err, fs.ErrNotExist)
	if isNew {
		f, err = j.vol.Create(name)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	m := originalEnd{number, end, j.original.end.turn + 1, len(j.original.sealed)}
	if _, err := f.WriteAt(m.encode(j.journal), int64(m.turn%2)*originalEndPlace); err != nil {
		return fmt.Errorf("write %s: %w", base(name), noSpace(err))
	}
	if err := syncFile(f, name); err != nil {
		return err
	}
	if isNew || j.original.end.turn == 0 { // it may have been made by a process that did not live to sync the directory
		if err := syncDir(j.vol, j.path(saveDir)); err != nil {
			return err
		}
	}
	j.original.end = m
	return nil
}

// needs is how far a save must be whole: below zero, that it must be sealed.
func (m originalEnd) needs(number int) int64 {
	switch {
	case number < m.number:
		return -1
	case number == m.number:
		return m.end
	}
	return 0
}

// missing returns what was acknowledged and is not among the files of point 0 that there are; "": nothing. Files without anything in them leave gaps in the numbers.
func (m originalEnd) missing(names []string) (name string) {
	there := map[int]bool{}
	for _, n := range names {
		if number, ok := originalNumber(n); ok {
			there[number] = true
		}
	}
	if m.number > 0 && !there[m.number] {
		return fmt.Sprintf("%s%d%s", originalPrefix, m.number, saveSuffix)
	}
	before := 0
	for number := range there {
		if number < m.number {
			before++
		}
	}
	for number := 1; before < m.sealed && number < m.number; number++ {
		if !there[number] {
			return fmt.Sprintf("%s%d%s", originalPrefix, number, saveSuffix)
		}
	}
	return ""
}

// lostOriginal says that acknowledged blocks of point 0 can't be read.
func lostOriginal(name string, at int64) error {
	return corruptf(name, at, "what lies here of point 0 was acknowledged, the disks have been written over since, and it is damaged: point 0 can't be had in whole")
}
