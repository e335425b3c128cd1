package blockio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"
	"sync/atomic"
)

// image is a disk made of extents. It stands between the callers and the extents: it checks every range, splits it, keeps
// writers out until the content id is set, and remembers a failed sync.
type image struct {
	name  string
	size  int64
	parts []imagePart
	files []storage // what the extents lie in, to be closed with the image; two may share one
	write bool

	parent *image       // under a snapshot that is open for reading; closed with it
	cache  *readerCache // shared with the parents; nil while writing

	// life is entered by every call, and closed by Close.
	life   gate
	closed bool
	poison atomic.Pointer[error]

	// ids serializes SetContentID; mayWrite is set when it has succeeded, or when the format has no content id.
	ids         sync.Mutex
	mayWrite    atomic.Bool
	description Description
	identity    contentIdentity // nil where there is no content id
}

// imagePart is an extent and its place in the disk.
type imagePart struct {
	start, size int64
	extent      extent
}

// contentIdentity is where a disk keeps its content id.
type contentIdentity interface {
	// replaceContentID durably sets the id and drops change tracking, of which it reports whether there was any.
	replaceContentID(id uint32) (tracked bool, err error)
}

// add puts an extent at the end of the disk.
func (m *image) add(size int64, e extent) {
	m.parts = append(m.parts, imagePart{start: m.size, size: size, extent: e})
	m.size += size
}

// enter begins a call. The caller gives what it returns to m.life.leave when it is done.
func (m *image) enter() (*gateLane, error) {
	inside := m.life.enter()
	if m.closed {
		m.life.leave(inside)
		return nil, fmt.Errorf("%s: %w", m.name, os.ErrClosed)
	}
	if p := m.poison.Load(); p != nil {
		m.life.leave(inside)
		return nil, *p
	}
	return inside, nil
}

// failed adds the name of the disk to an error, and poisons the disk when the error leaves open what is durable.
func (m *image) failed(err error) error {
	if err == nil {
		return nil
	}
	if se := (*syncError)(nil); errors.As(err, &se) {
		poison := fmt.Errorf("%w: %s: %w", ErrPoisoned, m.name, err)
		m.poison.CompareAndSwap(nil, &poison)
		return *m.poison.Load()
	}
	return fmt.Errorf("%s: %w", m.name, err)
}

// inside checks the range of a write.
func (m *image) inside(off, n int64) error {
	if off < 0 || n < 0 || off > m.size || n > m.size-off {
		return fmt.Errorf("%w: %s: offset %d, %d bytes, on a disk of %d", ErrOutOfRange, m.name, off, n, m.size)
	}
	return nil
}

func (m *image) enterWrite(off, n int64) (*gateLane, error) {
	inside, err := m.enter()
	if err != nil {
		return nil, err
	}
	err = m.inside(off, n)
	switch {
	case !m.write:
		err = fmt.Errorf("%w: %s", ErrReadOnly, m.name)
	case err == nil && !m.mayWrite.Load():
		err = fmt.Errorf("%w: %s: SetContentID comes before the first write", ErrNoContentID, m.name)
	}
	if err != nil {
		m.life.leave(inside)
		return nil, err
	}
	return inside, nil
}

// each calls fn for the parts of [off, off+n), with the range inside each.
func (m *image) each(off, n int64, fn func(p *imagePart, off, n int64) error) error {
	for i := m.partAt(off); n > 0; i++ {
		p := &m.parts[i]
		k := min(n, p.start+p.size-off)
		if err := fn(p, off-p.start, k); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// partAt is the index of the part that holds off.
func (m *image) partAt(off int64) int {
	if len(m.parts) > 0 && off < m.parts[0].size { // most disks have one
		return 0
	}
	return sort.Search(len(m.parts), func(i int) bool { return m.parts[i].start+m.parts[i].size > off })
}

func (m *image) Size() int64 { return m.size }

func (m *image) ReadAt(p []byte, off int64) (int, error) {
	inside, err := m.enter()
	if err != nil {
		return 0, err
	}
	defer m.life.leave(inside)
	if off < 0 {
		return 0, fmt.Errorf("%w: %s: offset %d", ErrOutOfRange, m.name, off)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off >= m.size {
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > m.size-off {
		p, eof = p[:m.size-off], io.EOF
	}
	done := 0
	for i := m.partAt(off); done < len(p); i++ {
		part := &m.parts[i]
		at := off + int64(done) - part.start
		k, err := part.extent.ReadAt(p[done:done+int(min(int64(len(p)-done), part.size-at))], at)
		done += k
		if err != nil {
			return done, m.failed(fmt.Errorf("read: %w", err))
		}
	}
	return done, eof
}

func (m *image) WriteAt(p []byte, off int64) (int, error) {
	inside, err := m.enterWrite(off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer m.life.leave(inside)
	done := 0
	err = m.each(off, int64(len(p)), func(part *imagePart, off, n int64) error {
		k, err := part.extent.WriteAt(p[done:done+int(n)], off)
		done += k
		return err
	})
	if err != nil {
		return done, m.failed(fmt.Errorf("write: %w", err))
	}
	return done, nil
}

func (m *image) Zero(off, n int64) error {
	inside, err := m.enterWrite(off, n)
	if err != nil {
		return err
	}
	defer m.life.leave(inside)
	return m.failed(m.each(off, n, func(part *imagePart, off, n int64) error { return part.extent.Zero(off, n) }))
}

func (m *image) NextData(off int64) (start, end int64, err error) {
	inside, err := m.enter()
	if err != nil {
		return 0, 0, err
	}
	defer m.life.leave(inside)
	if off < 0 || off > m.size {
		return 0, 0, fmt.Errorf("%w: %s: offset %d, on a disk of %d", ErrOutOfRange, m.name, off, m.size)
	}
	for i := m.partAt(off); i < len(m.parts); i++ {
		p := m.parts[i]
		start, end, err := p.extent.NextData(max(off, p.start) - p.start)
		if err != nil {
			return 0, 0, m.failed(err)
		}
		if start < end {
			return p.start + start, p.start + end, nil
		}
	}
	return m.size, m.size, nil
}

func (m *image) Sync() error {
	inside, err := m.enter()
	if err != nil {
		return err
	}
	defer m.life.leave(inside)
	return m.syncParts()
}

func (m *image) syncParts() error {
	if !m.write {
		return nil
	}
	for _, p := range m.parts {
		if err := m.failed(p.extent.Sync()); err != nil {
			return err
		}
	}
	return nil
}

func (m *image) Close() error {
	m.life.close()
	defer m.life.open()
	if m.closed {
		return fmt.Errorf("%s: %w", m.name, os.ErrClosed)
	}
	m.closed = true
	err := m.finish()
	for _, f := range m.files {
		if cerr := f.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close %s: %w", m.name, cerr)
		}
	}
	if m.parent != nil {
		if cerr := m.parent.Close(); err == nil {
			err = cerr
		}
	}
	return err
}

// finish syncs and takes the marks of an open session away, unless something is wrong: then they stay, and say so.
func (m *image) finish() error {
	if p := m.poison.Load(); p != nil {
		return *p
	}
	if err := m.syncParts(); err != nil {
		return err
	}
	for _, p := range m.parts {
		if e, ok := p.extent.(markedExtent); ok && m.write {
			if err := m.failed(e.Finish()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *image) Description() Description {
	m.ids.Lock()
	defer m.ids.Unlock()
	d := m.description
	d.Extents = append([]string(nil), d.Extents...)
	d.Parents = append([]Parent(nil), d.Parents...)
	d.Notices = append([]string(nil), d.Notices...)
	if m.cache != nil {
		d.Notices = append(d.Notices, m.cache.noticed()...)
	}
	return d
}

// SetContentID: the id is durable before any mark or data. A crash in between makes the id newer than the content, never the
// content newer than the id.
func (m *image) SetContentID(id uint32) error {
	inside, err := m.enter()
	if err != nil {
		return err
	}
	defer m.life.leave(inside)
	m.ids.Lock()
	defer m.ids.Unlock()
	if m.identity == nil {
		return nil
	}
	if err := validContentID(id); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	tracked, err := m.identity.replaceContentID(id)
	if err != nil {
		return m.failed(fmt.Errorf("set content id %08x: %w", id, err))
	}
	m.description.ContentID = id
	if tracked {
		m.description.Notices = append(m.description.Notices, noticeTrackingDropped)
	}
	for _, p := range m.parts {
		if e, ok := p.extent.(markedExtent); ok {
			if err := e.mark(); err != nil {
				return m.failed(err)
			}
		}
	}
	m.mayWrite.Store(true)
	return nil
}

const noticeTrackingDropped = "change tracking was on; it is dropped, because it does not see what is written here: " +
	"the next incremental backup has to be a full one"
