package blockio

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	// transferBytes is how much is read or written at a time where a range is moved in bulk.
	transferBytes = 1 << 20
	// transferLanes is how many such pieces of one disk are under way together. With one more buffer for each lane, that bounds the memory (I12).
	transferLanes = 4
)

// Stream writes the bytes [off, off+n) of d to w, in order, and returns how many it has written. Several reads are under way while one piece is written.
// Holes are not read; they are skipped over where w is a file that ends where it stands (the file is as long as if they had been written). From a
// file to a pipe the kernel moves the pages itself; a reader of the pipe may then see what was written to the disk after they were put in.
func Stream(ctx context.Context, w io.Writer, d Disk, off, n int64) (done int64, err error) {
	if off < 0 || n < 0 || off > d.Size() || n > d.Size()-off {
		return 0, fmt.Errorf("%w: offset %d, %d bytes, on a disk of %d", ErrOutOfRange, off, n, d.Size())
	}
	sink := newSink(w)
	for done < n && err == nil {
		var hole, data, k int64
		if hole, data, err = nextRun(d, off+done, off+n); err != nil {
			break
		}
		if k, err = sink.zeros(ctx, hole); err == nil {
			done += k
			k, err = sink.data(ctx, d, off+done, data)
		}
		done += k
	}
	if cerr := sink.finish(); err == nil {
		err = cerr
	}
	return done, err
}

// nextRun tells how many bytes from off on are zeros without being read, and how many behind them are data; both end before end.
func nextRun(d interface {
	NextData(off int64) (start, end int64, err error)
}, off, end int64) (hole, data int64, err error) {
	from, to, err := d.NextData(off)
	if err != nil {
		return 0, 0, err
	}
	from, to = min(from, end), min(to, end)
	for to < end { // a range may end where another begins
		next, until, err := d.NextData(to)
		if err != nil {
			return 0, 0, err
		}
		if next != to || to-from > 64*transferBytes {
			break
		}
		to = min(until, end)
	}
	return from - off, to - from, nil
}

// sink is where a stream goes.
type sink struct {
	w    io.Writer
	file *os.File // w, where it is one
	pipe bool     // and a pipe
	gap  bool     // and a regular file that ends where it stands: zeros can be left out there
}

func newSink(w io.Writer) *sink {
	s := &sink{w: w}
	s.file, _ = w.(*os.File)
	if s.file == nil {
		return s
	}
	info, err := s.file.Stat()
	if err != nil {
		return s
	}
	s.pipe = info.Mode()&os.ModeNamedPipe != 0
	if info.Mode().IsRegular() && !appends(s.file) {
		at, err := s.file.Seek(0, io.SeekCurrent)
		s.gap = err == nil && at >= info.Size()
	}
	if s.pipe {
		widenPipe(s.file)
	}
	return s
}

// zeros writes n bytes of zero.
func (s *sink) zeros(ctx context.Context, n int64) (done int64, err error) {
	if s.gap {
		if _, err := s.file.Seek(n, io.SeekCurrent); err != nil {
			return 0, err
		}
		return n, nil
	}
	for done < n && err == nil {
		if err = ctx.Err(); err != nil {
			break
		}
		var k int
		k, err = s.w.Write(zeroSource[:min(n-done, transferBytes)])
		done += int64(k)
	}
	return done, err
}

// finish makes a file as long as what was left out at its end.
func (s *sink) finish() error {
	if !s.gap {
		return nil
	}
	at, err := s.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	info, err := s.file.Stat()
	if err != nil || info.Size() >= at {
		return err
	}
	return s.file.Truncate(at)
}

// data writes [off, off+n) of d.
func (s *sink) data(ctx context.Context, d Disk, off, n int64) (done int64, err error) {
	if m, ok := d.(*image); ok && s.pipe {
		if done, err = m.splice(ctx, s.file, off, n); err != nil || done == n {
			return done, err
		}
	}
	k, err := copyInOrder(ctx, s.w, d, off+done, n-done)
	return done + k, err
}

// splice lets the kernel move what it can of [off, off+n) into the pipe: the leading part that lies in flat extents of files.
func (m *image) splice(ctx context.Context, pipe *os.File, off, n int64) (done int64, err error) {
	inside, err := m.enter()
	if err != nil {
		return 0, err
	}
	defer m.life.leave(inside)
	err = m.each(off, n, func(p *imagePart, off, n int64) error {
		e, ok := p.extent.(*flatExtent)
		if !ok {
			return errNoSplice
		}
		st, ok := e.st.(*osFile)
		if !ok {
			return errNoSplice
		}
		for n > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			k, err := spliceToPipe(pipe, st.f, e.base+off, min(n, transferBytes))
			if err != nil {
				return err
			}
			if k == 0 { // the end of the file: reading says so in words
				return errNoSplice
			}
			off, n, done = off+k, n-k, done+k
		}
		return nil
	})
	if err == errNoSplice {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("%s: splice from offset %d: %w", m.name, off+done, err)
	}
	return done, err
}

// readPiece is a piece of a disk on its way; ready is closed when it was read.
type readPiece struct {
	b     []byte
	err   error
	ready chan struct{}
}

// copyInOrder reads ahead of what it writes.
func copyInOrder(ctx context.Context, w io.Writer, d io.ReaderAt, off, n int64) (done int64, err error) {
	if n == 0 {
		return 0, nil
	}
	ctx, stop := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer stop()
	pieces := make(chan *readPiece, transferLanes)
	free := make(chan []byte, 2*transferLanes)
	for range min(2*transferLanes, (n+transferBytes-1)/transferBytes) {
		free <- make([]byte, min(n, transferBytes))
	}
	readers.Go(func() {
		defer close(pieces)
		for n > 0 {
			var b []byte
			select {
			case b = <-free:
			case <-ctx.Done():
				return
			}
			p := &readPiece{b: b[:min(n, transferBytes)], ready: make(chan struct{})}
			at := off
			readers.Go(func() {
				_, p.err = readWhole(d, p.b, at)
				close(p.ready)
			})
			off, n = off+int64(len(p.b)), n-int64(len(p.b))
			select {
			case pieces <- p:
			case <-ctx.Done():
				return
			}
		}
	})
	for p := range pieces {
		<-p.ready
		if p.err != nil {
			return done, p.err
		}
		if err := ctx.Err(); err != nil {
			return done, err
		}
		k, err := w.Write(p.b)
		done += int64(k)
		if err != nil {
			return done, err
		}
		free <- p.b[:cap(p.b)]
	}
	return done, ctx.Err()
}

// readWhole reads all of p; a read that ends with the disk is a good one.
func readWhole(d io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := d.ReadAt(p, off)
	if n == len(p) {
		err = nil
	}
	return n, err
}
