package retention

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"failback/replication"
	"failback/replication/block"
)

// Check reads everything that the journal holds: every record, index and block, the open cycle's sealed files included. The first damage is a Corruption with
// file and offset. It may run beside everything else.
func (j *Journal) Check(ctx context.Context) error {
	if err := j.checkLog(); err != nil {
		return fmt.Errorf("check journal: %w", err)
	}
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	for _, s := range c.files {
		if err := j.checkFile(ctx, s); err != nil {
			return fmt.Errorf("check journal: %w", err)
		}
	}
	j.cycle.Lock()
	files := append([]*sealed(nil), j.open.sealed...)
	j.cycle.Unlock()
	for _, s := range files {
		if err := j.checkFile(ctx, s); err != nil {
			if j.now.Load().cycle != c.cycle { // dropped meanwhile
				return nil
			}
			return fmt.Errorf("check the open cycle: %w", err)
		}
	}
	return nil
}

// checkLog replays the log up to its end.
func (j *Journal) checkLog() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bad != nil {
		return j.bad
	}
	l := &recordLog{name: j.log.name, f: j.logFile}
	if err := l.readMarks(); err != nil {
		return err
	}
	if l.mark != j.log.mark {
		return corruptf(l.name, logSlotA, "end mark at record %d, want %d", l.mark.seq, j.log.mark.seq)
	}
	st, at := &state{}, mark{end: logStart}
	for at.end < j.log.mark.end {
		r, n, err := readRecord(j.logFile, at, j.log.mark.end)
		if err == nil {
			err = st.apply(r)
		}
		if err != nil {
			if errors.Is(err, errFormat) || errors.Is(err, ErrNewer) {
				return corrupt(l.name, at.end, err)
			}
			return fmt.Errorf("read %s at %d: %w", l.name, at.end, err)
		}
		at = mark{alignUp(at.end + n), at.seq + 1, r.chain}
	}
	if at != j.log.mark {
		return corruptf(l.name, at.end, "record %d is not the one that was acknowledged", at.seq)
	}
	got, err := json.Marshal(st.checkpoint(chain{}))
	if err != nil {
		return err
	}
	want, err := json.Marshal(j.now.Load().checkpoint(chain{}))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return corruptf(l.name, at.end, "the records tell %s, want %s", got, want)
	}
	return nil
}

// checkFile reads a sealed file in whole. It opens it anew, so that what it checks is what the next start would see.
func (j *Journal) checkFile(ctx context.Context, s *sealed) error {
	fresh, err := openSealed(j.files, s.name, &j.id, j.journal)
	if err != nil {
		return err
	}
	if fresh.hdr != s.hdr {
		return corruptf(s.name, 0, "header of another file")
	}
	fresh.rec = s.rec
	if err := fresh.matches(s.record()); err != nil {
		return err
	}
	if err := fresh.verifyIndex(&j.id); err != nil {
		return err
	}
	if err := fresh.checkEntries(ctx, &j.id); err != nil {
		return err
	}
	return fresh.checkSpans(ctx, &j.id)
}

// checkEntries decodes every block.
func (s *sealed) checkEntries(ctx context.Context, id *Identity) error {
	raw := make([]byte, block.MaxRaw)
	at := int64(fileHeaderSize)
	for at < s.foot.dataEnd {
		if err := ctx.Err(); err != nil {
			return err
		}
		skipped, err := s.skipPadding(at)
		if err != nil {
			return err
		}
		if at = skipped; at == s.foot.dataEnd {
			break
		}
		b, v, err := s.block(at, id)
		if err != nil {
			return err
		}
		if v < s.low() || v > s.high() {
			return corruptf(s.name, at, "block of version %d in a file of point %d", v, s.hdr.point)
		}
		if b.Kind == block.Data {
			if _, err := b.Decode(raw); err != nil {
				return corrupt(s.name, at, err)
			}
		}
		at += int64(entryFixed + len(b.Extents)*extentSize + len(b.Payload))
	}
	if at != s.foot.dataEnd {
		return corruptf(s.name, at, "entries end behind %d", s.foot.dataEnd)
	}
	return nil
}

// skipPadding returns where the next entry begins: at, or, when zeros follow, at the next sector.
func (s *sealed) skipPadding(at int64) (int64, error) {
	next := min(alignUp(at), s.foot.dataEnd)
	var pad [sector]byte
	b := pad[:next-at]
	if err := s.h.readAt(s.name, b, at); err != nil {
		return 0, err
	}
	if len(b) > 0 && replication.IsZero(b[:min(len(b), 4)]) { // no entry begins with zeros
		if !replication.IsZero(b) {
			return 0, corruptf(s.name, at, "padding is not zeros")
		}
		return next, nil
	}
	return at, nil
}

// checkSpans compares every index entry with the block that it points to.
func (s *sealed) checkSpans(ctx context.Context, id *Identity) error {
	blocks := newContents(id, 16)
	dst := make([]byte, block.MaxRaw)
	for c := (&cursor{src: s, in: s, whole: true}); ; {
		sp, ok, err := c.next(0)
		if err != nil || !ok {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !sp.hasContent() {
			continue
		}
		if sp.kind == block.Data {
			if sp.ext.Len() > block.MaxRaw {
				return corruptf(s.name, sp.at, "index entry of %d bytes of a data block", sp.ext.Len())
			}
			if err := blocks.read(dst[:sp.ext.Len()], sp); err != nil {
				return err
			}
			continue
		}
		b, v, err := s.block(sp.at, id)
		if err != nil {
			return err
		}
		in := replication.NewSet(b.Extents...)
		if b.Kind != block.Zero || b.Disk != sp.disk || v != sp.version || !in.Contains(sp.ext) {
			return corruptf(s.name, sp.at, "block does not hold the zeros of disk %d %v", sp.disk, sp.ext)
		}
	}
}
