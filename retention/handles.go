package retention

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"syscall"
)

// handles opens sealed files when they are read and keeps the last used ones open, at most max beside those in use (I12).
type handles struct {
	vol volume
	max int

	mu   sync.Mutex
	open map[string]*list.Element // of *handle
	used list.List                // most recently used first
}

type handle struct {
	name string
	f    file
	refs int
	gone bool // closed by the last user
}

func newHandles(vol volume, max int) *handles {
	return &handles{vol: vol, max: max, open: map[string]*list.Element{}}
}

func (h *handles) acquire(name string) (*handle, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if el := h.open[name]; el != nil {
		h.used.MoveToFront(el)
		x := el.Value.(*handle)
		x.refs++
		return x, nil
	}
	f, err := h.vol.Open(name)
	if err != nil {
		return nil, err
	}
	x := &handle{name: name, f: f, refs: 1}
	h.open[name] = h.used.PushFront(x)
	for el := h.used.Back(); el != nil && h.used.Len() > h.max; {
		prev := el.Prev()
		if y := el.Value.(*handle); y.refs == 0 {
			y.f.Close() // nothing was written through it
			h.used.Remove(el)
			delete(h.open, y.name)
		}
		el = prev
	}
	return x, nil
}

func (h *handles) release(x *handle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x.refs--; x.refs == 0 && x.gone {
		x.f.Close()
	}
}

// readAt reads exactly len(b) bytes; a file that ends before, or is not there, is a Corruption. So is what storage can't read, twice: an error that passes is none.
func (h *handles) readAt(name string, b []byte, off int64) error {
	err := h.readOnce(name, b, off)
	if badStorage(err) {
		h.forget(name) // through another handle
		err = h.readOnce(name, b, off)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return corruptf(name, off, "the file ends before %d bytes that should be here", len(b))
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", corruptf(name, 0, "the file is missing"), err)
	case badStorage(err):
		return fmt.Errorf("%w: %w", corruptf(name, off, "%d bytes from here can't be read, tried twice: %v", len(b), err), unreadable{err})
	}
	return fmt.Errorf("read %s at %d: %w", name, off, unreadable{err})
}

func (h *handles) readOnce(name string, b []byte, off int64) error {
	x, err := h.acquire(name)
	if err != nil {
		return err
	}
	defer h.release(x)
	return readFull(x.f, b, off)
}

// badStorage says whether an error is storage's: what was asked for can't be read, whatever is written right beside it.
func badStorage(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EBADMSG)
}

// unreadable is an error of reading a file that could be opened.
type unreadable struct{ error }

// Unwrap returns the cause.
func (e unreadable) Unwrap() error { return e.error }

// inPart says whether a read failed that may succeed for a part of what was asked for: some of it lies where storage can't be read.
func inPart(err error) bool {
	return errors.As(err, new(unreadable)) && errors.Is(err, syscall.EIO)
}

// forget closes the files that fit, or all for "".
func (h *handles) forget(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n, el := range h.open {
		if name != "" && n != name {
			continue
		}
		x := el.Value.(*handle)
		if x.gone = true; x.refs == 0 {
			x.f.Close()
		}
		h.used.Remove(el)
		delete(h.open, n)
	}
}
