package retention

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"failback/replication"
)

// logReading is what a log holds, read without mending anything.
type logReading struct {
	name     string
	mark     mark // the newest good end mark; none: zero
	end      mark // where the state ends
	size     int64
	st       *state
	listed   map[replication.PointID]listing
	findings []Finding
	fatal    bool // the state is not that of the log's end
	cut      bool // a torn record was met, which ends the log
}

// listing is what the record of a point says that its cycle covered.
type listing struct {
	at    int64 // of the record
	route replication.Route
	bytes int64
	disks []diskRecord
	files []fileRecord
}

// readLog reads a log, up to its newest end mark only where a master target may be writing behind it. Errors are those of reading, and ErrNotJournal and ErrNewer; damage is among the findings.
func readLog(name string, f file, running bool) (*logReading, error) {
	l := &logReading{name: name, st: &state{}, listed: map[replication.PointID]listing{}, end: mark{end: logStart}}
	older, err := l.readMarks(f)
	if err != nil {
		return nil, err
	}
	if l.size, err = f.Size(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	limit := l.size
	if running && l.mark.end > 0 {
		limit = min(limit, l.mark.end)
	}
	w := logWalk{f: f, size: limit}
	for {
		x, ok, err := w.next()
		if err != nil {
			return nil, fmt.Errorf("read %s at %d: %w", name, x.at, err)
		}
		if !ok {
			break
		}
		if err := l.take(x); err != nil {
			return nil, err
		}
	}
	if l.end.end < l.mark.end && !l.fatal {
		l.lose(l.size, 0, "the log ends here, but %d bytes were durable", l.mark.end)
	}
	if l.st.id.UUID == "" && !l.fatal {
		l.lose(logStart, 0, "the log has no record")
	}
	if older != nil {
		// A crash tears the mark that is being written: of a record that is there, behind what the other mark covers.
		older.Damage = l.end.seq <= l.mark.seq
		l.findings = append(l.findings, *older)
	}
	return l, nil
}

// lose notes a damage after which the log's end is not known.
func (l *logReading) lose(at, n int64, format string, args ...any) {
	l.fatal = true
	l.findings = append(l.findings, Finding{File: l.name, Off: at, Len: n, What: fmt.Sprintf(format, args...), Damage: true, Fatal: true})
}

// readMarks reads the log's header and its end marks. A bad one is returned when the other stands.
func (l *logReading) readMarks(f file) (bad *Finding, err error) {
	b := make([]byte, logStart)
	if n, err := f.ReadAt(b, 0); err == io.EOF || n == len(b) {
		if n < logSlotB+logSlotSize {
			l.lose(0, int64(n), "the log is shorter than its header")
			return nil, nil
		}
		b = b[:n]
	} else if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.name, err)
	}
	if err := parseLogHeader(b); err != nil {
		if errors.Is(err, ErrNewer) {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		l.lose(0, logHeaderSize, "%v", err)
	}
	ma, erra := parseMark(b[logSlotA:])
	mb, errb := parseMark(b[logSlotB:])
	const what = "%v: the other end mark stands, and nothing is lost; this one is written anew"
	switch {
	case erra != nil && errb != nil:
		l.lose(logSlotA, logSlotSize, "%v", erra)
		l.lose(logSlotB, logSlotSize, "%v", errb)
	case erra != nil:
		l.mark, bad = mb, &Finding{File: l.name, Off: logSlotA, Len: logSlotSize, What: fmt.Sprintf(what, erra)}
	case errb != nil:
		l.mark, bad = ma, &Finding{File: l.name, Off: logSlotB, Len: logSlotSize, What: fmt.Sprintf(what, errb)}
	case ma.seq >= mb.seq:
		l.mark = ma
	default:
		l.mark = mb
	}
	for _, g := range [][2]int64{{logHeaderSize, logSlotA}, {logSlotA + logSlotSize, logSlotB}, {logSlotB + logSlotSize, int64(len(b))}} {
		l.padding(b[g[0]:g[1]], g[0])
	}
	return bad, nil
}

// padding tells of bytes that mean nothing and should be zeros: a crash may have torn them, or the medium changed them.
func (l *logReading) padding(b []byte, at int64) {
	for k := range b {
		if b[k] != 0 {
			l.findings = append(l.findings, Finding{File: l.name, Off: at + int64(k), Len: int64(len(b) - k), What: "padding is not zeros; it means nothing"})
			return
		}
	}
}

// take adds one part of the log.
func (l *logReading) take(x logPart) error {
	switch {
	case l.cut:
		return nil
	case errors.Is(x.err, ErrNewer):
		return fmt.Errorf("%s at %d: %w", l.name, x.at, x.err)
	case x.err != nil && l.mark.end > 0 && x.at >= l.mark.end:
		l.cut = true
		l.findings = append(l.findings, Finding{File: l.name, Off: x.at, Len: l.size - x.at,
			What: "a record that was never acknowledged was torn by a crash: it never happened, and is cut off when the journal is opened"})
		return nil
	case x.err != nil:
		l.lose(x.at, x.next-x.at, "%v", x.err)
		return nil
	}
	l.padding(x.pad, x.end)
	if l.fatal && l.end.end != x.at {
		return nil // what follows a damage does not add up to a state
	}
	if err := l.st.apply(x.record); err != nil {
		l.lose(x.at, x.next-x.at, "%v", err)
		return nil
	}
	if x.kind == kindIdentity {
		if err := checkIdentity(l.st.id); err != nil {
			l.lose(x.at, x.next-x.at, "%v", err)
		}
	}
	if x.kind == kindPointListed {
		var r pointRecord
		if err := json.Unmarshal(x.payload, &r); err == nil { // it applied
			l.listed[r.Point] = listing{x.at, r.Route, r.Bytes, r.Disks, r.Files}
		}
	}
	l.end = mark{x.next, x.seq + 1, x.chain}
	if l.end.end == l.mark.end && l.end != l.mark {
		l.lose(x.at, x.next-x.at, "record %d is not the one that was acknowledged", x.seq)
	}
	return nil
}

// logPart is a record of a log, or a stretch that holds none although it should.
type logPart struct {
	record
	at   int64 // where it begins
	end  int64 // where the record ends, and its padding begins
	next int64 // where the next one begins
	pad  []byte
	err  error // errFormat or ErrNewer: what is wrong
}

// logWalk reads a log record by record, and goes on behind a bad one.
type logWalk struct {
	f    file
	size int64
	at   mark
	lost bool // the chain is not known here
}

// next returns the next part; false at the end.
func (w *logWalk) next() (logPart, bool, error) {
	if w.at.end == 0 {
		w.at.end = logStart
	}
	if w.at.end >= w.size {
		return logPart{}, false, nil
	}
	x := logPart{at: w.at.end}
	b, err := w.bytes(x.at)
	if err == nil && w.lost { // the first one behind a damage: it says itself what it follows
		w.at.seq = le.Uint64(b[16:])
		err = loose(b)
		x.record = record{kind: kind(le.Uint16(b[8:])), seq: w.at.seq, chain: chain(b[24:56]), payload: b[recordSize:]}
	} else if err == nil {
		x.record, err = parseRecord(b, w.at.chain, w.at.seq)
	}
	if err != nil && !errors.Is(err, errFormat) && !errors.Is(err, ErrNewer) {
		return x, false, err
	}
	if x.err = err; err == nil {
		x.end = x.at + int64(len(b))
		x.next = alignUp(x.end)
		x.pad = make([]byte, min(x.next, w.size)-x.end)
		if err := readFull(w.f, x.pad, x.end); err != nil {
			return x, false, err
		}
		w.at, w.lost = mark{x.next, x.seq + 1, x.chain}, false
		return x, true, nil
	}
	for x.next = x.at + sector; x.next < w.size; x.next += sector {
		b, err := w.bytes(x.next)
		if err == nil {
			err = loose(b)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, errFormat) {
			return x, false, err
		}
	}
	x.next = min(x.next, w.size)
	w.at.end, w.lost = x.next, true
	return x, true, nil
}

// bytes reads the record that should begin at an offset.
func (w *logWalk) bytes(at int64) ([]byte, error) {
	if at+recordSize > w.size {
		return nil, malformed("record is cut off")
	}
	h := make([]byte, recordSize)
	if err := readFull(w.f, h, at); err != nil {
		return nil, err
	}
	n, err := recordLen(h)
	if err != nil {
		return nil, err
	}
	if at+recordSize+int64(n) > w.size {
		return nil, malformed("record is cut off")
	}
	b := make([]byte, recordSize+n)
	return b, readFull(w.f, b, at)
}

// loose says whether a whole record lies in b, whatever it follows.
func loose(b []byte) error {
	if le.Uint32(b[4:]) != crc(b[8:]) || le.Uint16(b[8:]) == 0 {
		return malformed("checksum of a record")
	}
	return nil
}
