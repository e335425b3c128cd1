package blockio

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
)

// zeroUnit is the unit in which a copy looks for zeros that need not be written: the grain of a sparse disk.
const zeroUnit = 64 << 10

// OpenFile returns the content of a regular file as a raw disk for reading. The disk takes over f: Close closes it.
func OpenFile(f *os.File) (Disk, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, unsupported(f.Name(), "not a regular file")
	}
	st := &osFile{f: f, name: f.Name()}
	m := &image{name: f.Name(), files: []storage{st}, description: Description{Path: f.Name(), Format: FormatRaw, Size: info.Size()}}
	m.add(info.Size(), &flatExtent{st: st, size: info.Size()})
	return m, nil
}

// Copy makes the bytes of to from at on those of [off, off+n) of from, several pieces at a time. Holes of from are not read, and blocks of zeros not written: what to has
// there is zeroed, where it may have something. Nothing is durable before the next Sync. An error leaves the range partly written.
func Copy(ctx context.Context, to Disk, at int64, from Disk, off, n int64) error {
	w := newCopier(ctx, to)
	for done := int64(0); done < n && w.ctx.Err() == nil; {
		hole, data, err := nextRun(from, off+done, off+n)
		if err != nil {
			w.fail(err)
			break
		}
		if err := w.zero(at+done, hole); err != nil {
			w.fail(err)
			break
		}
		for done += hole; data > 0 && w.ctx.Err() == nil; {
			// Pieces end at multiples of their size, so that each grain of a sparse disk is written by one lane.
			k := min(data, transferBytes-(at+done)%transferBytes)
			w.start(from, off+done, nil, at+done, k)
			done, data = done+k, data-k
		}
	}
	return w.wait()
}

// CopyFrom writes what r has to to, from at on, until io.EOF, and returns how much that was. Several writes are under way while the next piece is read; blocks of zeros are
// not written, as with Copy. What does not fit onto the disk is ErrOutOfRange; what came before that is written.
func CopyFrom(ctx context.Context, to Disk, at int64, r io.Reader) (n int64, err error) {
	w := newCopier(ctx, to)
	for w.ctx.Err() == nil && err == nil {
		b := <-w.buffers
		var k int
		k, err = io.ReadFull(r, b[:transferBytes-(at+n)%transferBytes])
		if room := to.Size() - at - n; int64(k) > room {
			err = fmt.Errorf("%w: there is more to write than the %d bytes from offset %d to the end of the disk", ErrOutOfRange, to.Size()-at, at)
			k = int(max(room, 0))
		}
		w.start(nil, 0, b[:k], at+n, int64(k))
		n += int64(k)
	}
	if werr := w.wait(); werr != nil {
		return n, werr
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}

// copier writes pieces side by side. Its buffers bound how many.
type copier struct {
	ctx     context.Context
	stop    context.CancelCauseFunc
	to      Disk
	buffers chan []byte
	lanes   sync.WaitGroup
}

func newCopier(ctx context.Context, to Disk) *copier {
	w := &copier{to: to, buffers: make(chan []byte, transferLanes+1)}
	w.ctx, w.stop = context.WithCancelCause(ctx)
	for range cap(w.buffers) {
		w.buffers <- make([]byte, transferBytes)
	}
	return w
}

func (w *copier) fail(err error) { w.stop(err) }

// start writes n bytes at at, which are b, or else are read from from at off. b is one of the buffers.
func (w *copier) start(from io.ReaderAt, off int64, b []byte, at, n int64) {
	if b == nil {
		b = (<-w.buffers)[:n]
	}
	w.lanes.Go(func() {
		defer func() { w.buffers <- b[:transferBytes] }()
		if w.ctx.Err() != nil {
			return
		}
		if from != nil {
			if _, err := readWhole(from, b, off); err != nil {
				w.fail(err)
				return
			}
		}
		if err := w.write(b, at); err != nil {
			w.fail(err)
		}
	})
}

func (w *copier) wait() error {
	w.lanes.Wait()
	err := context.Cause(w.ctx)
	w.stop(nil)
	return err
}

// write writes the units of b that hold data, neighbours together, and zeroes the others.
func (w *copier) write(b []byte, at int64) error {
	for len(b) > 0 {
		zero := isZero(b[:unitAt(at, len(b))])
		n := unitAt(at, len(b))
		for n < len(b) && isZero(b[n:n+unitAt(at+int64(n), len(b)-n)]) == zero {
			n += unitAt(at+int64(n), len(b)-n)
		}
		var err error
		if zero {
			err = w.zero(at, int64(n))
		} else {
			_, err = w.to.WriteAt(b[:n], at)
		}
		if err != nil {
			return err
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

// unitAt is how much of n bytes at at lies in the first unit.
func unitAt(at int64, n int) int { return int(min(zeroUnit-at%zeroUnit, int64(n))) }

func isZero(p []byte) bool { return bytes.Equal(p, zeroSource[:len(p)]) }

// zero zeroes what may hold data of [at, at+n).
func (w *copier) zero(at, n int64) error {
	if n > 0 && (at < 0 || at > w.to.Size() || n > w.to.Size()-at) {
		return fmt.Errorf("%w: offset %d, %d bytes, on a disk of %d", ErrOutOfRange, at, n, w.to.Size())
	}
	for end := at + n; at < end; {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		hole, data, err := nextRun(w.to, at, end)
		if err != nil {
			return err
		}
		if at += hole; data == 0 {
			continue
		}
		if err := w.to.Zero(at, data); err != nil {
			return err
		}
		at += data
	}
	return nil
}
