package source

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"failback/replication"
	"failback/replication/crc32c"
)

// Table holds the hashes of one disk's pages at one point, in a file. It is safe for concurrent use; two Puts of the same region must
// not run at the same time.
//
// A record that was not written, was torn by a crash or was damaged since is not present: Get tells so, and never returns a hash
// that was not put.
type Table struct {
	path     string
	file     *os.File
	header   tableHeader
	nonceSum uint32

	mu     sync.RWMutex // held for reading by Put, so that Seal and Close see whole Puts
	sealed bool
	closed bool
	failed error // a sync that failed: what it was to make durable may be lost, and the next sync would not tell
}

// tableBuffer is what one Put or Get needs.
type tableBuffer struct {
	record  [recordSize]byte
	state   [stateSize]byte
	scratch [12]byte
}

var tableBuffers = sync.Pool{New: func() any { return new(tableBuffer) }}

// createTable makes an empty table, in the place of what is there.
func createTable(path string, id cutID) (*Table, error) {
	h := tableHeader{cutID: id}
	rand.Read(h.nonce[:])
	return createTableWith(path, h)
}

func createTableWith(path string, h tableHeader) (_ *Table, err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("create table: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create table: %w", err)
	}
	if err = f.Truncate(tableFileSize(h.size)); err == nil {
		_, err = f.WriteAt(appendTableHeader(nil, h), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("create table: %w", err)
	}
	return newTable(path, f, h, false), nil
}

// openTable opens the table of exactly that cut. Any other, or a damaged header, is errFormat.
func openTable(path string, id cutID) (_ *Table, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open table: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	b := make([]byte, tableHeaderSize)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("open table: %w", err)
	}
	h, err := parseTableHeader(b)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if h.cutID != id {
		return nil, fmt.Errorf("open %s: it is of another cut (point %d, %d bytes): %w", path, h.point, h.size, errFormat)
	}
	seal := make([]byte, sealSize)
	if _, err := f.ReadAt(seal, sealOffset); err != nil && err != io.EOF {
		return nil, fmt.Errorf("open table: %w", err)
	}
	return newTable(path, f, h, bytes.Equal(seal, appendSeal(nil, h))), nil
}

func newTable(path string, f *os.File, h tableHeader, sealed bool) *Table {
	return &Table{path: path, file: f, header: h, nonceSum: crc32c.Checksum(h.nonce[:]), sealed: sealed}
}

// Regions returns the number of regions of the disk.
func (t *Table) Regions() int64 { return regions(t.header.size) }

// Put keeps the hashes of a region's pages: as many as the region has. Putting a region again replaces its record; in a sealed table that is
// ErrSealed, except when it changes nothing. The caller keeps pages.
func (t *Table) Put(region int64, pages []replication.Hash) error {
	if err := t.check(region); err != nil {
		return err
	}
	if want := pagesOf(t.header.size, region); len(pages) != want {
		return fmt.Errorf("put region %d of %s: %d hashes, the region has %d pages", region, t.path, len(pages), want)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return fmt.Errorf("put region %d of %s: %w", region, t.path, os.ErrClosed)
	}
	b := tableBuffers.Get().(*tableBuffer)
	defer tableBuffers.Put(b)
	if t.sealed {
		return t.checkSame(b, region, pages)
	}
	record := b.record[:len(pages)*hashSize]
	kind := uint32(kindZero)
	for i := range pages {
		if pages[i] != (replication.Hash{}) {
			kind = kindHashes
		}
		copy(record[i*hashSize:], pages[i][:])
	}
	if kind == kindZero {
		record = nil
	} else if _, err := t.file.WriteAt(record, recordOffset(t.header.size, region)); err != nil {
		return fmt.Errorf("put region %d: %w", region, err)
	}
	le.PutUint32(b.state[:], regionSum(t.nonceSum, region, kind, record, b.scratch[:]))
	le.PutUint32(b.state[4:], kind)
	if _, err := t.file.WriteAt(b.state[:], stateOffset(region)); err != nil {
		return fmt.Errorf("put region %d: %w", region, err)
	}
	return nil
}

// checkSame is Put for a sealed table.
func (t *Table) checkSame(b *tableBuffer, region int64, pages []replication.Hash) error {
	record, ok, err := t.read(b, region)
	if err != nil {
		return err
	}
	for i := range pages {
		ok = ok && replication.Hash(record[i*hashSize:][:hashSize]) == pages[i]
	}
	if !ok {
		return fmt.Errorf("put region %d of %s: %w", region, t.path, ErrSealed)
	}
	return nil
}

// Get returns the hashes of a region's pages in dst's array, or in a new one where that is too small. ok is false when they are not known; as a base of
// a compare that means that every page of the region counts as changed. The caller owns pages.
func (t *Table) Get(region int64, dst []replication.Hash) (pages []replication.Hash, ok bool, err error) {
	if err := t.check(region); err != nil {
		return nil, false, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return nil, false, fmt.Errorf("get region %d of %s: %w", region, t.path, os.ErrClosed)
	}
	b := tableBuffers.Get().(*tableBuffer)
	defer tableBuffers.Put(b)
	record, ok, err := t.read(b, region)
	if err != nil || !ok {
		return nil, false, err
	}
	pages = dst[:0]
	for ; len(record) > 0; record = record[hashSize:] {
		pages = append(pages, replication.Hash(record[:hashSize]))
	}
	return pages, true, nil
}

// read returns a region's record, in b, if it is present and whole.
func (t *Table) read(b *tableBuffer, region int64) (record []byte, ok bool, err error) {
	if _, err := t.file.ReadAt(b.state[:], stateOffset(region)); err == io.EOF {
		return nil, false, nil
	} else if err != nil {
		return nil, false, fmt.Errorf("get region %d: %w", region, err)
	}
	sum, kind := le.Uint32(b.state[:]), le.Uint32(b.state[4:])
	record = b.record[:pagesOf(t.header.size, region)*hashSize]
	switch kind {
	case kindZero:
		ok = sum == regionSum(t.nonceSum, region, kind, nil, b.scratch[:])
		clear(record)
	case kindHashes:
		if _, err := t.file.ReadAt(record, recordOffset(t.header.size, region)); err == io.EOF {
			return nil, false, nil
		} else if err != nil {
			return nil, false, fmt.Errorf("get region %d: %w", region, err)
		}
		ok = sum == regionSum(t.nonceSum, region, kind, record, b.scratch[:])
	}
	return record, ok, nil
}

func (t *Table) check(region int64) error {
	if region < 0 || region >= t.Regions() {
		return fmt.Errorf("region %d of %s, which has %d", region, t.path, t.Regions())
	}
	return nil
}

// Complete says whether every region has been put. It reads the states, not the records.
func (t *Table) Complete() (bool, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.completeLocked()
}

func (t *Table) completeLocked() (bool, error) {
	if t.closed {
		return false, fmt.Errorf("read %s: %w", t.path, os.ErrClosed)
	}
	b := make([]byte, min(t.Regions()*stateSize, 1<<20))
	for left, off := t.Regions()*stateSize, int64(statesOffset); left > 0; {
		b = b[:min(left, int64(len(b)))]
		if _, err := t.file.ReadAt(b, off); err == io.EOF {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("read states: %w", err)
		}
		for i := 0; i < len(b); i += stateSize {
			if kind := le.Uint32(b[i+4:]); kind != kindHashes && kind != kindZero {
				return false, nil
			}
		}
		left -= int64(len(b))
		off += int64(len(b))
	}
	return true, nil
}

// Sealed says whether the table is sealed.
func (t *Table) Sealed() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.sealed
}

// failure returns the sync that failed, or nil.
func (t *Table) failure() error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.failed
}

// Seal makes a complete table durable: only then it counts as the base of a tracked cut. Sealing it again does nothing.
func (t *Table) Seal() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil {
		return fmt.Errorf("seal %s, after an earlier failure: %w", t.path, t.failed)
	}
	if t.sealed && !t.closed {
		return nil
	}
	whole, err := t.completeLocked()
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if !whole {
		return fmt.Errorf("seal %s: regions are missing", t.path)
	}
	if err := t.writeSeal(); err != nil {
		t.failed = err
		return fmt.Errorf("seal: %w", err)
	}
	t.sealed = true
	return nil
}

func (t *Table) writeSeal() error {
	if err := t.file.Sync(); err != nil { // the records before the seal that vouches for them
		return err
	}
	if _, err := t.file.WriteAt(appendSeal(nil, t.header), sealOffset); err != nil {
		return err
	}
	if err := t.file.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(t.path))
}

func (t *Table) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	return t.file.Close()
}
