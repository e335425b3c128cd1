package blockiotest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"failback/blockio"
)

// Open opens the disk under test for writing, ready for WriteAt. It is called again after each Close, and must then find what
// was there.
type Open func() (blockio.Disk, error)

// New makes a disk of size bytes that reads as zeros, in a directory of t.
type New func(t *testing.T, size int64) Open

// Run runs the suite. Each case makes a disk of its own.
func Run(t *testing.T, newDisk New) {
	cases := []struct {
		name string
		size int64
		run  func(t *testing.T, s *subject)
	}{
		{"NewDiskIsZeros", 3 << 20, newDiskIsZeros},
		{"AlignedAndUnaligned", 1<<20 + 512, alignedAndUnaligned},
		{"EndOfDisk", 1<<20 + 512, endOfDisk},
		{"PastTheEndIsRefused", 1 << 20, pastTheEnd},
		{"ZeroReadsAsZeros", 4 << 20, zeroReadsAsZeros},
		{"DataIsFound", 16 << 20, dataIsFound},
		{"DisjointWritersDoNotDisturb", 2 << 20, disjointWriters},
		{"RandomOperationsFollowTheModel", 2<<20 + 3*512, randomOperations},
		{"ClosedDiskRefuses", 1 << 20, closedDiskRefuses},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &subject{t: t, size: c.size, open: newDisk(t, c.size), model: make([]byte, c.size)}
			s.reopen()
			c.run(t, s)
			s.compare()
			s.reopen()
			s.compare()
			if err := s.disk.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			s.disk = nil
		})
	}
}

// subject is a disk and what it should hold.
type subject struct {
	t     *testing.T
	size  int64
	open  Open
	disk  blockio.Disk
	model []byte
}

func (s *subject) reopen() {
	s.t.Helper()
	if s.disk != nil {
		if err := s.disk.Close(); err != nil {
			s.t.Fatalf("Close: %v", err)
		}
	}
	d, err := s.open()
	if err != nil {
		s.t.Fatalf("open: %v", err)
	}
	s.t.Cleanup(func() {
		if s.disk == d {
			d.Close()
		}
	})
	s.disk = d
	if got := d.Size(); got != s.size {
		s.t.Fatalf("Size = %d, want %d", got, s.size)
	}
}

func (s *subject) write(p []byte, off int64) {
	s.t.Helper()
	if n, err := s.disk.WriteAt(p, off); n != len(p) || err != nil {
		s.t.Fatalf("WriteAt(%d bytes, %d) = %d, %v", len(p), off, n, err)
	}
	copy(s.model[off:], p)
}

func (s *subject) zero(off, n int64) {
	s.t.Helper()
	if err := s.disk.Zero(off, n); err != nil {
		s.t.Fatalf("Zero(%d, %d): %v", off, n, err)
	}
	clear(s.model[off : off+n])
}

func (s *subject) sync() {
	s.t.Helper()
	if err := s.disk.Sync(); err != nil {
		s.t.Fatalf("Sync: %v", err)
	}
}

// compare reads the whole disk, and checks that everything outside of what NextData reports is zero.
func (s *subject) compare() {
	s.t.Helper()
	got := make([]byte, s.size)
	if n, err := s.disk.ReadAt(got, 0); int64(n) != s.size || err != nil {
		s.t.Fatalf("ReadAt of all = %d, %v", n, err)
	}
	if err := Diff(got, s.model); err != nil {
		s.t.Fatal(err)
	}
	for off := int64(0); off < s.size; {
		start, end, err := s.disk.NextData(off)
		if err != nil {
			s.t.Fatalf("NextData(%d): %v", off, err)
		}
		if start < off || end < start || end > s.size || start == end && start != s.size {
			s.t.Fatalf("NextData(%d) = %d, %d on a disk of %d", off, start, end, s.size)
		}
		if i := firstNonZero(s.model[off:start]); i >= 0 {
			s.t.Fatalf("NextData(%d) = %d, %d, but there is data at %d", off, start, end, off+int64(i))
		}
		off = end
	}
}

// Diff tells where two contents differ first, nil when they are equal.
func Diff(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	if len(got) != len(want) {
		return fmt.Errorf("content has %d bytes, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("content differs from offset %d on: got %x…, want %x…", i, got[i:min(i+8, len(got))], want[i:min(i+8, len(got))])
		}
	}
	return nil
}

// firstNonZero compares in large steps: this is most of the suite's work.
func firstNonZero(p []byte) int {
	for off := 0; off < len(p); {
		n := min(len(zeros), len(p)-off)
		if !bytes.Equal(p[off:off+n], zeros[:n]) {
			for p[off] == 0 {
				off++
			}
			return off
		}
		off += n
	}
	return -1
}

var zeros [64 << 10]byte

// Pattern fills n bytes from a seed. No byte is zero.
func Pattern(seed uint64, n int) []byte {
	r := rand.NewPCG(seed, 1)
	p := make([]byte, 0, n+8)
	for len(p) < n {
		p = binary.LittleEndian.AppendUint64(p, r.Uint64()|0x0101010101010101)
	}
	return p[:n]
}

func newDiskIsZeros(t *testing.T, s *subject) { s.compare() }

func alignedAndUnaligned(t *testing.T, s *subject) {
	at := []struct{ off, n int64 }{
		{0, 512}, {512, 4096}, {1, 1}, {511, 2}, {4095, 4098}, {65536 - 1, 2}, {65536, 65536}, {131072 - 512, 1024}, {200_001, 99_999},
		{262144 + 7, 3*65536 + 11},
	}
	for i, w := range at {
		s.write(Pattern(uint64(i), int(w.n)), w.off)
	}
	s.sync()
	for _, w := range at {
		got := make([]byte, w.n)
		if n, err := s.disk.ReadAt(got, w.off); n != len(got) || err != nil {
			t.Fatalf("ReadAt(%d bytes, %d) = %d, %v", w.n, w.off, n, err)
		}
		if err := Diff(got, s.model[w.off:w.off+w.n]); err != nil {
			t.Errorf("read at %d: %v", w.off, err)
		}
	}
}

func endOfDisk(t *testing.T, s *subject) {
	s.write(Pattern(1, 512), s.size-512)
	s.write([]byte{7}, s.size-1)
	got := make([]byte, 1024)
	if n, err := s.disk.ReadAt(got, s.size-512); n != 512 || err != io.EOF {
		t.Errorf("ReadAt across the end = %d, %v, want 512, EOF", n, err)
	}
	if err := Diff(got[:512], s.model[s.size-512:]); err != nil {
		t.Error(err)
	}
	if n, err := s.disk.ReadAt(got, s.size); n != 0 || err != io.EOF {
		t.Errorf("ReadAt at the end = %d, %v, want 0, EOF", n, err)
	}
	if n, err := s.disk.WriteAt(nil, s.size); n != 0 || err != nil {
		t.Errorf("WriteAt of nothing at the end = %d, %v", n, err)
	}
	if start, end, err := s.disk.NextData(s.size); start != s.size || end != s.size || err != nil {
		t.Errorf("NextData at the end = %d, %d, %v", start, end, err)
	}
	s.zero(s.size-100, 100)
}

func pastTheEnd(t *testing.T, s *subject) {
	s.write(Pattern(2, 4096), s.size-4096)
	p := Pattern(3, 1024)
	for _, off := range []int64{s.size - 512, s.size, s.size + 512, 1 << 62, -1, -1 << 63} {
		if n, err := s.disk.WriteAt(p, off); n != 0 || !errors.Is(err, blockio.ErrOutOfRange) {
			t.Errorf("WriteAt(1024 bytes, %d) = %d, %v, want 0, ErrOutOfRange", off, n, err)
		}
		if err := s.disk.Zero(off, 1024); !errors.Is(err, blockio.ErrOutOfRange) {
			t.Errorf("Zero(%d, 1024) = %v, want ErrOutOfRange", off, err)
		}
	}
	if err := s.disk.Zero(0, 1<<62); !errors.Is(err, blockio.ErrOutOfRange) {
		t.Errorf("Zero(0, 1<<62) = %v, want ErrOutOfRange", err)
	}
	if err := s.disk.Zero(512, -512); !errors.Is(err, blockio.ErrOutOfRange) {
		t.Errorf("Zero(512, -512) = %v, want ErrOutOfRange", err)
	}
	if _, err := s.disk.ReadAt(p, -1); err == nil || err == io.EOF {
		t.Errorf("ReadAt(-1) = %v, want an error", err)
	}
	if n, err := s.disk.ReadAt(p, s.size+1); n != 0 || err != io.EOF {
		t.Errorf("ReadAt past the end = %d, %v, want 0, EOF", n, err)
	}
	if _, _, err := s.disk.NextData(s.size + 1); !errors.Is(err, blockio.ErrOutOfRange) {
		t.Errorf("NextData past the end: %v, want ErrOutOfRange", err)
	}
}

func zeroReadsAsZeros(t *testing.T, s *subject) {
	s.write(Pattern(4, int(s.size)), 0)
	for _, z := range []struct{ off, n int64 }{{0, 512}, {4096, 8192}, {65536, 65536}, {200_001, 100_003}, {1 << 20, 1 << 20}, {s.size - 700, 700}} {
		s.zero(z.off, z.n)
	}
	s.compare()
	s.sync()
	s.write(Pattern(5, 1000), 70_000)
	s.zero(1<<20+100, 4096) // zeros again
	s.zero(0, 0)
}

func dataIsFound(t *testing.T, s *subject) {
	s.write(Pattern(6, 100), 5<<20+1000)
	s.write(Pattern(7, 70_000), 9<<20-35_000)
	s.write(Pattern(8, 1), s.size-1)
	s.compare()
	s.sync()
	s.zero(8<<20, 2<<20)
}

func disjointWriters(t *testing.T, s *subject) {
	const writers, piece = 8, 1536 // several writers inside one grain, block and page
	var wg sync.WaitGroup
	failed := make(chan error, 2*writers)
	for w := range writers {
		wg.Go(func() {
			for off := int64(w) * piece; off+piece <= s.size; off += writers * piece {
				p := Pattern(uint64(off), piece)
				if _, err := s.disk.WriteAt(p, off); err != nil {
					failed <- err
					return
				}
				got := make([]byte, piece)
				if _, err := s.disk.ReadAt(got, off); err != nil {
					failed <- err
					return
				}
				if err := Diff(got, p); err != nil {
					failed <- fmt.Errorf("own write at %d: %w", off, err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for range 5 {
			if err := s.disk.Sync(); err != nil {
				failed <- err
			}
			if _, _, err := s.disk.NextData(0); err != nil {
				failed <- err
			}
		}
	})
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	for off := int64(0); off+piece <= s.size; off += piece {
		copy(s.model[off:], Pattern(uint64(off), piece))
	}
}

func randomOperations(t *testing.T, s *subject) {
	r := rand.New(rand.NewPCG(42, uint64(s.size)))
	span := func() (off, n int64) {
		n = 1 + r.Int64N(200_000)
		if r.IntN(2) == 0 {
			n = 512 * (1 + r.Int64N(64))
		}
		off = r.Int64N(s.size - n + 1)
		if r.IntN(2) == 0 {
			off = off / 512 * 512
		}
		return off, n
	}
	for i := range 250 {
		off, n := span()
		switch k := r.IntN(20); {
		case k < 9:
			s.write(Pattern(uint64(i), int(n)), off)
		case k < 13:
			s.zero(off, n)
		case k < 18:
			got := make([]byte, n)
			if _, err := s.disk.ReadAt(got, off); err != nil {
				t.Fatalf("ReadAt(%d bytes, %d): %v", n, off, err)
			}
			if err := Diff(got, s.model[off:off+n]); err != nil {
				t.Fatalf("operation %d: read at %d: %v", i, off, err)
			}
		case k < 19:
			s.sync()
		default:
			s.reopen()
		}
	}
}

func closedDiskRefuses(t *testing.T, s *subject) {
	s.write(Pattern(9, 512), 0)
	if err := s.disk.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	p := make([]byte, 512)
	if _, err := s.disk.ReadAt(p, 0); err == nil {
		t.Error("ReadAt after Close succeeded")
	}
	if _, err := s.disk.WriteAt(p, 0); err == nil {
		t.Error("WriteAt after Close succeeded")
	}
	if s.disk.Zero(0, 1) == nil || s.disk.Sync() == nil || s.disk.Close() == nil {
		t.Error("Zero, Sync or Close after Close succeeded")
	}
	s.disk = nil
	s.reopen()
}
