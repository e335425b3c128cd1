package retention

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// volume is the file system that holds a journal: a seam, so that a test can cut the power at any operation. Names are paths.
type volume interface {
	// Open opens a file for reading and writing.
	Open(name string) (file, error)
	// Create makes a file that must not exist. It is there after a power failure only once its directory was synced.
	Create(name string) (file, error)
	// Allocate makes a file of a size whose space is really taken, or makes it so; it need not be durable.
	Allocate(name string, size int64) error
	// Mkdir makes a directory and is content when it exists.
	Mkdir(name string) error
	// Rename replaces what has the new name. It is durable once the directory was synced.
	Rename(from, to string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// List returns the names in a directory.
	List(dir string) ([]string, error)
	// SyncDir makes a directory's entries durable.
	SyncDir(dir string) error
	// Lock locks a file, making it when needed, until the result is closed; ErrLocked when another holds it.
	Lock(name string) (io.Closer, error)
	// Free returns how many bytes may still be written to the file system that holds dir.
	Free(dir string) (int64, error)
}

// file is an open file of a volume.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes the content and size durable. After an error nothing is known of what was written before; it is not tried again.
	Sync() error
}

// osVolume is the file system of the operating system.
type osVolume struct{}

type osFile struct{ *os.File }

func (osVolume) Open(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osVolume) Create(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osVolume) Mkdir(name string) error {
	err := os.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// fill writes a file's bytes, so that their space is taken.
func fill(f *os.File, size int64) error {
	b := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(b)) {
		if _, err := f.WriteAt(b[:min(int64(len(b)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}

func (osVolume) Rename(from, to string) error { return os.Rename(from, to) }

func (osVolume) Remove(name string) error { return os.Remove(name) }

func (osVolume) List(dir string) ([]string, error) {
	es, err := os.ReadDir(dir)
	names := make([]string, len(es))
	for i, e := range es {
		names[i] = e.Name()
	}
	return names, err
}

func (osVolume) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

func (osVolume) Lock(name string) (io.Closer, error) { return lockFile(name) }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f osFile) Sync() error { return dataSync(f.File) }

// noSpace adds ErrNoSpace to an error of a full volume.
func noSpace(err error) error {
	if err != nil && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, errQuota)) && !errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// removeIfThere removes a file and is content when there is none.
func removeIfThere(v volume, name string) error {
	if err := v.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// readFull reads exactly len(b) bytes; a file that ends before is io.ErrUnexpectedEOF.
func readFull(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func base(name string) string { return filepath.Base(name) }

// syncError is a failed sync: nothing is known of what was written before, and the journal must not go on (it is poisoned).
type syncError struct {
	name string
	err  error
}

func (e *syncError) Error() string { return fmt.Sprintf("sync %s: %v", e.name, e.err) }

// Unwrap returns the cause.
func (e *syncError) Unwrap() error { return e.err }

func syncFile(f file, name string) error {
	if err := f.Sync(); err != nil {
		return &syncError{name, err}
	}
	return nil
}

func syncDir(v volume, dir string) error {
	if err := v.SyncDir(dir); err != nil {
		return &syncError{dir, err}
	}
	return nil
}
