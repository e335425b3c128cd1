package blockio

import "fmt"

// extent is a run of a disk's bytes with one way of keeping them. Offsets are relative to it, and the caller stays inside it.
// ReadAt and WriteAt fill or take all of p, or return an error.
type extent interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Zero(off, n int64) error
	NextData(off int64) (start, end int64, err error)
	Sync() error
}

// markedExtent is an extent that carries a mark while it is being written.
type markedExtent interface {
	mark() error   // before the first write of a session
	Finish() error // at a clean close, after a Sync that went well
}

// flatExtent keeps its bytes as they are, from base on in a file or device.
type flatExtent struct {
	st         storage
	base, size int64
}

func (e *flatExtent) ReadAt(p []byte, off int64) (int, error) {
	if err := readFull(e.st, p, e.base+off); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (e *flatExtent) WriteAt(p []byte, off int64) (int, error) { return e.st.WriteAt(p, e.base+off) }

func (e *flatExtent) Zero(off, n int64) error { return e.st.Zero(e.base+off, n) }

func (e *flatExtent) NextData(off int64) (int64, int64, error) {
	start, end, err := e.st.NextData(e.base+off, e.base+e.size)
	return start - e.base, end - e.base, err
}

func (e *flatExtent) Sync() error {
	if err := e.st.Sync(); err != nil {
		return syncFailed(e.st.Name(), err)
	}
	return nil
}

// zeroExtent has no file: it reads as zeros.
type zeroExtent struct {
	name string
	size int64
}

func (e zeroExtent) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

func (e zeroExtent) WriteAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("%w: %s: a ZERO extent holds no data", ErrNotTarget, e.name)
}

func (e zeroExtent) Zero(int64, int64) error { return nil }

func (e zeroExtent) NextData(int64) (int64, int64, error) { return e.size, e.size, nil }

func (e zeroExtent) Sync() error { return nil }

// deniedExtent is one that nobody may look into. It may hold anything.
type deniedExtent struct {
	name string
	size int64
}

func (e deniedExtent) ReadAt(_ []byte, off int64) (int, error) {
	return 0, fmt.Errorf("%w: %s: offset %d of an extent that may not be accessed (NOACCESS)", ErrUnsupported, e.name, off)
}

func (e deniedExtent) WriteAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("%w: %s: an extent that may not be accessed", ErrNotTarget, e.name)
}

func (e deniedExtent) Zero(int64, int64) error {
	return fmt.Errorf("%w: %s: an extent that may not be accessed", ErrNotTarget, e.name)
}

func (e deniedExtent) NextData(off int64) (int64, int64, error) { return off, e.size, nil }

func (e deniedExtent) Sync() error { return nil }
