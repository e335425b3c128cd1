package retention

import (
	"errors"
	"fmt"
	"io"
)

// recordLog is the log of a journal: one writer, records appended one by one, each durable before the next.
type recordLog struct {
	name string
	f    file
	mark mark // the end, durable
	slot int  // where the next end mark goes
	bad  error
}

// newLog writes a log with one record to an empty file and makes it durable.
func newLog(name string, f file, version uint32, k kind, payload []byte) (*recordLog, error) {
	l := &recordLog{name: name, f: f, mark: mark{end: logStart}}
	if _, err := f.WriteAt(putLogHeader(version), 0); err != nil {
		return nil, fmt.Errorf("write %s: %w", name, noSpace(err))
	}
	for _, at := range []int64{logSlotB, logSlotA} {
		if _, err := f.WriteAt(l.mark.put(), at); err != nil {
			return nil, fmt.Errorf("write %s: %w", name, noSpace(err))
		}
	}
	_, err := l.append(k, payload)
	return l, err
}

// openLog reads every record to apply, and cuts off a record that a power failure tore. A record can only be torn when no end mark covers it: a
// damaged one is a Corruption.
func openLog(name string, f file, apply func(record) error) (*recordLog, error) {
	l := &recordLog{name: name, f: f}
	if err := l.readMarks(); err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	durable := l.mark
	at := mark{end: logStart}
	for at.end < size {
		r, n, err := readRecord(f, at, size)
		if err != nil {
			if !errors.Is(err, errFormat) && !errors.Is(err, ErrNewer) {
				return nil, fmt.Errorf("read %s at %d: %w", name, at.end, err)
			}
			if at.end < durable.end || errors.Is(err, ErrNewer) {
				return nil, corrupt(name, at.end, err)
			}
			break
		}
		if err := apply(r); err != nil {
			return nil, corrupt(name, at.end, err)
		}
		at = mark{alignUp(at.end + n), at.seq + 1, r.chain}
		if at.end == durable.end && at != durable {
			return nil, corruptf(name, at.end, "record %d is not the one that was acknowledged", at.seq)
		}
	}
	if at.end < durable.end {
		return nil, corruptf(name, size, "log ends here, but %d bytes were durable", durable.end)
	}
	l.mark = at
	if size != at.end { // longer: the torn record goes; shorter: the padding of the last one was torn
		if err := f.Truncate(at.end); err != nil {
			return nil, fmt.Errorf("cut the torn record of %s: %w", name, err)
		}
	}
	if size != at.end || at != durable { // what was read is relied on from now: first the records, then the mark
		if err := l.again(durable.end, at.end); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, fmt.Errorf("sync %s: %w", name, err)
		}
		if err := l.acknowledge(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// again writes a part of the log as it was read: after a failed sync, memory holds what the volume does not, and another sync would not write it.
func (l *recordLog) again(from, to int64) error {
	for b := make([]byte, 1<<20); from < to; from += int64(len(b)) {
		b = b[:min(int64(len(b)), to-from)]
		if err := readFull(l.f, b, from); err != nil {
			return fmt.Errorf("read %s at %d: %w", l.name, from, err)
		}
		if _, err := l.f.WriteAt(b, from); err != nil {
			return fmt.Errorf("write %s at %d: %w", l.name, from, noSpace(err))
		}
	}
	return nil
}

// readMarks checks the log's header and takes the newer of its end marks; the next one goes to the other's place.
func (l *recordLog) readMarks() error {
	b := make([]byte, logSlotB+logSlotSize)
	if err := readFull(l.f, b, 0); err != nil {
		if err == io.ErrUnexpectedEOF {
			return corruptf(l.name, 0, "the log is shorter than its header")
		}
		return fmt.Errorf("read %s: %w", l.name, err)
	}
	if err := parseLogHeader(b); err != nil {
		if string(b[:8]) != logMagic {
			return fmt.Errorf("%w: %s is not a journal's log", ErrNotJournal, l.name)
		}
		return corrupt(l.name, 0, err)
	}
	ma, erra := parseMark(b[logSlotA:])
	mb, errb := parseMark(b[logSlotB:])
	switch {
	case erra != nil && errb != nil:
		return corrupt(l.name, logSlotA, erra)
	case errb != nil || erra == nil && ma.seq >= mb.seq:
		l.mark, l.slot = ma, 1
	default:
		l.mark, l.slot = mb, 0
	}
	return nil
}

// readRecord reads the record that begins at a mark.
func readRecord(f file, at mark, size int64) (record, int64, error) {
	h := make([]byte, recordSize)
	if at.end+recordSize > size {
		return record{}, 0, malformed("record is cut off")
	}
	if err := readFull(f, h, at.end); err != nil {
		return record{}, 0, err
	}
	n, err := recordLen(h)
	if err != nil {
		return record{}, 0, err
	}
	if at.end+recordSize+int64(n) > size {
		return record{}, 0, malformed("record is cut off")
	}
	b := make([]byte, recordSize+n)
	if err := readFull(f, b, at.end); err != nil {
		return record{}, 0, err
	}
	r, err := parseRecord(b, at.chain, at.seq)
	return r, int64(len(b)), err
}

// append writes a record and returns its chain hash once it is durable. After an error that left the log's end unknown, the log is bad for ever.
func (l *recordLog) append(k kind, payload []byte) (chain, error) {
	if l.bad != nil {
		return chain{}, l.bad
	}
	if len(payload) > maxRecord {
		return chain{}, fmt.Errorf("append to %s: record of %d bytes, at most %d", l.name, len(payload), maxRecord)
	}
	b, c := putRecord(k, l.mark.seq, l.mark.chain, payload)
	b = append(b, make([]byte, alignUp(int64(len(b)))-int64(len(b)))...)
	if _, err := l.f.WriteAt(b, l.mark.end); err != nil {
		err = fmt.Errorf("append to %s: %w", l.name, noSpace(err))
		// What was written of it must not be there when the next record is shorter and the power fails.
		if terr := l.f.Truncate(l.mark.end); terr != nil {
			l.bad = fmt.Errorf("%w; and cut it off: %w", err, terr)
		} else if serr := l.f.Sync(); serr != nil {
			l.bad = fmt.Errorf("%w; and sync: %w", err, serr)
		}
		return chain{}, err
	}
	if !leftOut(ruleLogSynced) {
		if err := l.f.Sync(); err != nil {
			l.bad = fmt.Errorf("sync %s: %w", l.name, err)
			return chain{}, l.bad
		}
	}
	l.mark = mark{l.mark.end + int64(len(b)), l.mark.seq + 1, c}
	return c, l.acknowledge()
}

// acknowledge writes the end mark: from here on, what lies before it was durable once, and is never taken for a torn tail.
func (l *recordLog) acknowledge() error {
	if leftOut(ruleEndMark) {
		return nil
	}
	at := [2]int64{logSlotA, logSlotB}[l.slot]
	if _, err := l.f.WriteAt(l.mark.put(), at); err != nil {
		l.bad = fmt.Errorf("write the end mark of %s: %w", l.name, err)
		return l.bad
	}
	if err := l.f.Sync(); err != nil {
		l.bad = fmt.Errorf("sync %s: %w", l.name, err)
		return l.bad
	}
	l.slot = 1 - l.slot
	return nil
}
