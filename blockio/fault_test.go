package blockio

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// faultStorage fails every call of one kind once it is armed.
type faultStorage struct {
	crashStorage
	fail string
	err  error
}

func (f *faultStorage) WriteAt(p []byte, off int64) (int, error) {
	if f.fail == "write" || f.fail == "write metadata" && off < 1<<16 {
		return 0, fmt.Errorf("offset %d: %w", off, f.err)
	}
	return f.crashStorage.WriteAt(p, off)
}

func (f *faultStorage) Sync() error {
	if f.fail == "sync" {
		return f.err
	}
	return f.crashStorage.Sync()
}

func (f *faultStorage) ReadAt(p []byte, off int64) (int, error) {
	if f.fail == "read" {
		return 0, fmt.Errorf("offset %d: %w", off, f.err)
	}
	return f.crashStorage.ReadAt(p, off)
}

func (f *faultStorage) Truncate(size int64) error {
	if f.fail == "truncate" {
		return f.err
	}
	return f.crashStorage.Truncate(size)
}

func faultyDisks(t *testing.T) map[string]func() (*image, *faultStorage) {
	return map[string]func() (*image, *faultStorage){
		"flat": func() (*image, *faultStorage) {
			st := &faultStorage{crashStorage: crashStorage{b: make([]byte, 1<<20)}}
			m := &image{name: "flat", write: true, files: []storage{st}}
			m.mayWrite.Store(true)
			m.add(1<<20, &flatExtent{st: st, size: 1 << 20})
			return m, st
		},
		"sparse": func() (*image, *faultStorage) {
			st := &faultStorage{crashStorage: crashStorage{b: sparseBytes(t, 1<<20, 1)}}
			m, err := openCrashed(st)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.SetContentID(2); err != nil {
				t.Fatal(err)
			}
			return m, st
		},
	}
}

// TestFailedSyncPoisons: every later call fails with the same error, even when syncing would work again.
func TestFailedSyncPoisons(t *testing.T) {
	for name, open := range faultyDisks(t) {
		for _, fail := range []string{"sync", "write metadata"} {
			if name == "flat" && fail != "sync" {
				continue
			}
			t.Run(name+"/"+fail, func(t *testing.T) {
				m, st := open()
				p := make([]byte, 512)
				if _, err := m.WriteAt(p, 0); err != nil {
					t.Fatal(err)
				}
				st.fail, st.err = fail, syscall.EIO
				first := m.Sync()
				if !errors.Is(first, ErrPoisoned) || !errors.Is(first, syscall.EIO) {
					t.Fatalf("Sync: %v, want ErrPoisoned and EIO", first)
				}
				st.fail = ""
				ops := len(st.log)
				_, readErr := m.ReadAt(p, 0)
				_, writeErr := m.WriteAt(p, 0)
				_, _, nextErr := m.NextData(0)
				for call, err := range map[string]error{"ReadAt": readErr, "WriteAt": writeErr, "NextData": nextErr, "Zero": m.Zero(0, 1),
					"Sync": m.Sync(), "SetContentID": m.SetContentID(9), "Close": m.Close()} {
					if err != first && call != "Close" && !errors.Is(err, os.ErrClosed) {
						t.Errorf("%s: %v, want %v", call, err, first)
					}
				}
				if len(st.log) != ops {
					t.Error("something was written or marked clean after the disk was poisoned")
				}
			})
		}
	}
}

// TestFaultsSurface: an error names what it happened to and where, and stops nothing else.
func TestFaultsSurface(t *testing.T) {
	for name, open := range faultyDisks(t) {
		for fail, errno := range map[string]error{"write": syscall.ENOSPC, "read": syscall.EIO, "truncate": syscall.ENOSPC} {
			if name == "flat" && fail == "truncate" {
				continue
			}
			t.Run(name+"/"+fail, func(t *testing.T) {
				m, st := open()
				p := make([]byte, 1000)
				if fail != "truncate" {
					if _, err := m.WriteAt(p, 4096); err != nil {
						t.Fatal(err)
					}
				}
				st.fail, st.err = fail, errno
				var err error
				if fail == "read" {
					_, err = m.ReadAt(p, 4096)
				} else {
					_, err = m.WriteAt(p, 4096)
				}
				if !errors.Is(err, errno) || errors.Is(err, ErrPoisoned) || !strings.Contains(err.Error(), m.name) {
					t.Errorf("%s: %v, want %v that names %s", fail, err, errno, m.name)
				}
				st.fail = ""
				if _, err := m.WriteAt(p, 4096); err != nil {
					t.Errorf("write after the fault: %v", err)
				}
				if err := m.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
	}
}

// TestForcedFlush: tables that wait for a sync are bounded.
func TestForcedFlush(t *testing.T) {
	const tables = maxTables/2 + 10
	st := &countingStorage{}
	h := newSparseHeader(tables*tableEntries*newGrain, false)
	st.b = make([]byte, h.overhead*SectorSize)
	copy(st.b, h.encode())
	copy(st.b[h.redundantOffset*SectorSize:], h.newDirectory(h.redundantOffset))
	copy(st.b[h.directoryOffset*SectorSize:], h.newDirectory(h.directoryOffset))
	s, err := openSparse(st)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(tables) {
		if _, err := s.WriteAt([]byte{1}, i*tableEntries*h.grainBytes()); err != nil {
			t.Fatal(err)
		}
		if n := len(s.tables.dirty); n > maxTables/2 {
			t.Fatalf("%d dirty tables, at most %d are allowed", n, maxTables/2)
		}
		if n := len(s.tables.loaded); n > maxTables {
			t.Fatalf("%d tables in memory, at most %d are allowed", n, maxTables)
		}
	}
	if st.syncs != 2 {
		t.Errorf("%d syncs, want the 2 of one flush", st.syncs)
	}
}

// countingStorage drops data beyond the metadata, so that a large disk fits.
type countingStorage struct {
	crashStorage
	size  int64
	syncs int
}

func (c *countingStorage) Size() (int64, error)   { return max(c.size, int64(len(c.b))), nil }
func (c *countingStorage) Truncate(n int64) error { c.size = n; return nil }
func (c *countingStorage) Sync() error            { c.syncs++; return nil }
func (c *countingStorage) WriteAt(p []byte, off int64) (int, error) {
	if off < int64(len(c.b)) {
		copy(c.b[off:], p)
	}
	return len(p), nil
}
