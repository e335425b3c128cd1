package retention

import (
	"context"
	"fmt"

	"failback/replication"
	"failback/replication/block"
)

// maxBatchSpans bounds the spans of a batch.
const maxBatchSpans = 4096

// batch is what a move writes next of a disk: spans that rise, and the content of those with data, one after the other.
type batch struct {
	spans []span
	buf   []byte
	err   error
	done  chan struct{} // closed when buf and err are as they stay
}

// diskWriter brings one disk to a point. What it writes next is read and decoded ahead, by others; it writes in the order of the disk, one piece after the other, so that there is never more than one write of it
// under way. Neighbours are written together, and zeros as ranges.
type diskWriter struct {
	m        *mover
	to       Disk
	no       replication.DiskNo
	blocks   *contents
	loaders  *loaders
	next     *batch             // gathers
	ahead    []*batch           // under way, in the order of the disk
	unused   []*batch           // written
	zero     replication.Extent // to be zeroed: what follows on may join it
	since    int64              // bytes taken since the progress was recorded
	recorded int64              // the progress
}

// loaders are those who load what moves write, at most loadersAtOnce of them (I12), made when they are needed first.
type loaders struct {
	id   *Identity
	idle chan *loader
	made chan struct{}
}

// loadersAtOnce bounds how many batches are loaded at a time, each in about 1.2 MiB of memory.
const loadersAtOnce = 8

func newLoaders(id *Identity) *loaders {
	return &loaders{id: id, idle: make(chan *loader, loadersAtOnce), made: make(chan struct{}, loadersAtOnce)}
}

// do calls fn with a loader that is its own meanwhile.
func (s *loaders) do(fn func(*loader)) {
	var l *loader
	select {
	case l = <-s.idle:
	default:
		select {
		case l = <-s.idle:
		case s.made <- struct{}{}:
			l = &loader{gatherer: gatherer{id: s.id}}
		}
	}
	fn(l)
	s.idle <- l
}

func (w *diskWriter) run(ctx context.Context, c *catalog, u *Move) error {
	err := c.differing(w.no, u.From, u.To, u.To, u.Done[w.no], func(sp span) error {
		if sp.in == nil {
			return missing(w.m.j.dir, sp.disk, sp.ext, sp.version)
		} else if sp.kind == lost {
			return sp.lostError()
		}
		if w.since >= w.m.j.t.progressBytes || ctx.Err() != nil {
			if err := w.record(sp.ext.Off); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return w.put(sp)
	})
	if err == nil {
		err = w.flush()
	}
	if err != nil {
		return err
	}
	w.m.syncing()
	return w.sync(ruleMoveSynced)
}

// sync makes durable what was written to the disk.
func (w *diskWriter) sync(r rule) error {
	if leftOut(r) {
		return nil
	}
	if err := w.to.Sync(); err != nil {
		return fmt.Errorf("sync disk %d: %w", w.no, err)
	}
	return nil
}

// record writes what was taken, makes it durable, and then that it is.
func (w *diskWriter) record(done int64) error {
	if !leftOut(ruleProgressWritten) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if done == w.recorded {
		return nil
	}
	if err := w.sync(ruleProgressSynced); err != nil {
		return err
	}
	err := w.m.j.commit(kindMoveProgress, func(*state) (any, error) { return progressRecord{w.no, done}, nil })
	if err != nil {
		return err
	}
	w.since, w.recorded = 0, done
	return nil
}

// put takes a span, to be written.
func (w *diskWriter) put(sp span) error {
	w.since += sp.ext.Len()
	if b := w.next; b != nil && (len(b.spans) == maxBatchSpans || sp.kind == block.Data && len(b.buf)+int(sp.ext.Len()) > cap(b.buf)) {
		if err := w.send(); err != nil {
			return err
		}
	}
	if w.next == nil {
		w.next = w.empty()
	}
	b := w.next
	b.spans = append(b.spans, sp)
	if sp.kind == block.Data {
		b.buf = b.buf[:len(b.buf)+int(sp.ext.Len())]
	}
	return nil
}

// empty returns a batch without content.
func (w *diskWriter) empty() *batch {
	b := &batch{}
	if n := len(w.unused); n > 0 {
		b, w.unused = w.unused[n-1], w.unused[:n-1]
	} else {
		b.buf = make([]byte, 0, max(w.m.j.t.writeBytes, block.MaxRaw))
	}
	b.spans, b.buf, b.err, b.done = b.spans[:0], b.buf[:0], nil, make(chan struct{})
	return b
}

// send has what has gathered loaded, and writes the first of what is loaded already where enough is under way.
func (w *diskWriter) send() error {
	b := w.next
	if b == nil {
		return nil
	}
	w.next, w.ahead = nil, append(w.ahead, b)
	load := func() {
		w.loaders.do(func(l *loader) { b.err = l.load(b, w.blocks) })
		close(b.done)
	}
	if w.m.j.t.writesAhead <= 1 {
		load()
	} else {
		go load()
	}
	if len(w.ahead) < w.m.j.t.writesAhead {
		return nil
	}
	return w.land()
}

// land writes the first of what is under way.
func (w *diskWriter) land() error {
	b := w.ahead[0]
	<-b.done
	w.ahead = w.ahead[1:]
	if b.err != nil {
		return b.err
	}
	for at, i := 0, 0; i < len(b.spans); {
		sp := &b.spans[i]
		if sp.kind == block.Zero {
			if err := w.zeros(sp.ext); err != nil {
				return err
			}
			i++
			continue
		}
		e := sp.ext
		for i++; i < len(b.spans) && b.spans[i].kind == block.Data && b.spans[i].ext.Off == e.End; i++ {
			e.End = b.spans[i].ext.End
		}
		if err := w.write(b.buf[at:at+int(e.Len())], e.Off); err != nil {
			return err
		}
		at += int(e.Len())
	}
	w.blocks.passed(w.no, b.spans[len(b.spans)-1].ext.End)
	w.unused = append(w.unused, b)
	return nil
}

// wait returns when nothing reads for the disk any more.
func (w *diskWriter) wait() {
	for _, b := range w.ahead {
		<-b.done
	}
	w.ahead = nil
}

// flush writes what was taken.
func (w *diskWriter) flush() error {
	if err := w.send(); err != nil {
		return err
	}
	for len(w.ahead) > 0 {
		if err := w.land(); err != nil {
			return err
		}
	}
	return w.zeros(replication.Extent{})
}

// write writes a piece.
func (w *diskWriter) write(p []byte, off int64) error {
	if err := w.zeros(replication.Extent{}); err != nil {
		return err
	}
	if err := w.m.j.guard.before(int64(len(p))); err != nil {
		return err
	}
	if _, err := w.to.WriteAt(p, off); err != nil {
		return fmt.Errorf("write %d bytes at %d of disk %d: %w", len(p), off, w.no, err)
	}
	w.m.advance(int64(len(p)))
	return nil
}

// zeros zeroes what was to be, unless e follows on, and then has e zeroed, later.
func (w *diskWriter) zeros(e replication.Extent) error {
	n := w.zero.Len()
	if n > 0 && e.Off == w.zero.End && !e.Empty() {
		w.zero.End = e.End
		return nil
	}
	if n > 0 {
		if err := w.m.j.guard.before(n); err != nil {
			return err
		}
		if err := w.to.Zero(w.zero.Off, n); err != nil {
			return fmt.Errorf("zero %d bytes at %d of disk %d: %w", n, w.zero.Off, w.no, err)
		}
		w.m.advance(n)
	}
	w.zero = e
	return nil
}
