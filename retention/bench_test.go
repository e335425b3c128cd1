package retention

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"failback/replication"
	"failback/replication/block"
)

// fileDisk is a disk in a file, for measuring.
type fileDisk struct {
	*os.File
	size int64
}

func (d fileDisk) Size() int64             { return d.size }
func (d fileDisk) Zero(off, n int64) error { _, err := d.WriteAt(make([]byte, n), off); return err }
func (d fileDisk) Sync() error             { return d.File.Sync() }
func (d fileDisk) NextData(off int64) (int64, int64, error) {
	if off >= d.size {
		return d.size, d.size, nil
	}
	return off, d.size, nil
}

// stand is a journal on the real file system with one disk, baselined.
type stand struct {
	t    testing.TB
	j    *Journal
	disk fileDisk
	n    uint64
	enc  block.Encoder
}

func newStand(t testing.TB, size int64) *stand {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s := &stand{t: t, disk: fileDisk{f, size}}
	buf := make([]byte, 1<<20)
	r := rand.NewChaCha8([32]byte{1})
	for off := int64(0); off < size; off += int64(len(buf)) {
		r.Read(buf[:len(buf)/2])
		s.must(one(f.WriteAt(buf[:min(int64(len(buf)), size-off)], off)))
	}
	s.must(f.Sync())
	s.j, err = Create(filepath.Join(dir, "g"), Identity{Group: "g", Disks: []replication.Disk{{ID: "m/0", Size: size}}, Targets: []string{"disk"}})
	s.must(err)
	t.Cleanup(func() { s.j.Close() })
	s.must(one(s.j.Adopt(0)))
	all := replication.NewSet(replication.Extent{End: size})
	s.must(s.j.Begin(replication.Cycle{Point: 1, Route: replication.Through, Mode: replication.Compare, Cut: replication.Cut{Sizes: []int64{size}}}))
	s.must(s.j.RecordCoverage(map[replication.DiskNo][]replication.Extent{0: all.Extents()}))
	s.must(one(s.j.List([]replication.Total{{Bytes: size, Digest: all.Digest()}}, replication.Crash, nil)))
	return s
}

func one[T any](_ T, err error) error { return err }

func (s *stand) must(err error) {
	if err != nil {
		s.t.Helper()
		s.t.Fatal(err)
	}
}

func (s *stand) begin() *Arrival {
	last, _ := s.j.Last()
	s.must(s.j.Begin(replication.Cycle{Point: s.j.NextPoint(), Base: last.ID, BaseChain: last.Chain, Route: replication.Journaled, Mode: replication.Changes, Cut: replication.Cut{Sizes: []int64{s.disk.size}}}))
	s.n++
	a, err := s.j.Lane(replication.Lane{Session: replication.Session{Group: "g", Generation: 1, ID: 1}, Point: s.j.OpenCycle().Point, Attempt: s.n})
	s.must(err)
	return a
}

func (s *stand) end(a *Arrival) replication.PointID {
	s.must(a.Close())
	set := s.j.Coverage(0)
	p, err := s.j.List([]replication.Total{{Bytes: set.Bytes(), Digest: set.Digest()}}, replication.Crash, nil)
	s.must(err)
	return p.ID
}

// cycle makes a point that changes a run every stride bytes.
func (s *stand) cycle(run, stride, start int64) replication.PointID {
	a := s.begin()
	var exts []replication.Extent
	raw := make([]byte, 0, block.MaxRaw)
	r := rand.NewChaCha8([32]byte{byte(s.n)})
	flush := func() {
		b := block.Block{Kind: block.Data, Extents: exts, Raw: len(raw), CRC: block.Checksum(raw)}
		b.Payload, b.Codec = s.enc.Encode(nil, raw, block.LevelLZ4)
		s.must(a.Append(&b))
		exts, raw = nil, raw[:0]
	}
	for off := start; off+run <= s.disk.size; off += stride {
		n := len(raw)
		raw = raw[:n+int(run)]
		r.Read(raw[n : n+int(run)/2])
		exts = append(exts, replication.Extent{Off: off, End: off + run})
		if len(raw)+int(run) > block.MaxRaw {
			flush()
		}
	}
	if len(exts) > 0 {
		flush()
	}
	return s.end(a)
}

func BenchmarkAppend(b *testing.B) {
	s := newStand(b, 1<<30)
	raw := make([]byte, block.MaxRaw)
	rand.NewChaCha8([32]byte{1}).Read(raw[:len(raw)/2])
	x := block.Block{Kind: block.Data, Raw: len(raw), CRC: block.Checksum(raw)}
	x.Payload, x.Codec = s.enc.Encode(nil, raw, block.LevelLZ4)
	a := s.begin()
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	off := int64(0)
	for b.Loop() {
		x.Extents = []replication.Extent{{Off: off, End: off + block.MaxRaw}}
		off = (off + block.MaxRaw) % (1 << 30)
		s.must(a.Append(&x))
	}
	s.must(a.Sync())
}

// BenchmarkMove counts the bytes of the disks that change. Copy is the same bytes read and written back, synced, without a journal.
func BenchmarkMove(b *testing.B) {
	const size = 256 << 20
	for _, run := range []int64{4 << 10, 64 << 10} {
		s := newStand(b, size)
		to := s.cycle(run, 4*run, 0)
		b.Run(fmt.Sprintf("advance/%dKiB", run>>10), func(b *testing.B) {
			b.SetBytes(size / 4)
			for range b.N {
				s.must(s.j.Move(b.Context(), []Disk{s.disk}, to, nil)) // the first time it saves
				b.StopTimer()
				s.must(s.j.Move(b.Context(), []Disk{s.disk}, 1, nil))
				b.StartTimer()
			}
		})
		b.Run(fmt.Sprintf("rewind/%dKiB", run>>10), func(b *testing.B) {
			b.SetBytes(size / 4)
			for range b.N {
				b.StopTimer()
				s.must(s.j.Move(b.Context(), []Disk{s.disk}, to, nil))
				b.StartTimer()
				s.must(s.j.Move(b.Context(), []Disk{s.disk}, 1, nil))
			}
		})
		b.Run(fmt.Sprintf("copy/%dKiB", run>>10), func(b *testing.B) {
			b.SetBytes(size / 4)
			buf := make([]byte, run)
			for range b.N {
				for off := int64(0); off+run <= size; off += 4 * run {
					s.must(one(s.disk.ReadAt(buf, off)))
					s.must(one(s.disk.WriteAt(buf, off)))
				}
				s.must(s.disk.Sync())
			}
		})
	}
}

// BenchmarkFirstAdvance moves over content that only the disk holds: it is saved first.
func BenchmarkFirstAdvance(b *testing.B) {
	const size = 256 << 20
	for _, run := range []int64{4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", run>>10), func(b *testing.B) {
			b.SetBytes(size / 4)
			for range b.N {
				b.StopTimer()
				s := newStand(b, size)
				to := s.cycle(run, 4*run, 0)
				b.StartTimer()
				s.must(s.j.Move(b.Context(), []Disk{s.disk}, to, nil))
			}
		})
	}
}

// BenchmarkRead reads 4 KiB at random at an old point, with 100 points in the journal.
func BenchmarkRead(b *testing.B) {
	s := newStand(b, 256<<20)
	for i := range int64(100) {
		s.cycle(4<<10, 1<<20, i%200*4096)
	}
	r, err := s.j.Reader(90, 0, s.disk)
	s.must(err)
	buf := make([]byte, 4096)
	x := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		s.must(one(r.ReadAt(buf, x.Int64N(64<<10)*4096)))
	}
}

// TestManyExtents arrives with scattered pages, many times what an arrival keeps in memory, in an order that is not rising, and reads them back.
func TestManyExtents(t *testing.T) {
	n := int64(fewer(19200)) * 16
	size := 2 * n * replication.Page
	m := newMachine(1, 0)
	m.disks[0] = nil
	id := Identity{Group: "g", Disks: []replication.Disk{{ID: "m/0", Size: size}}, Targets: []string{"x"}}
	dir := filepath.Join(t.TempDir(), "g")
	j, err := Create(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	s := &stand{t: t, j: j, disk: fileDisk{nil, size}}
	s.must(one(j.Adopt(0)))
	all := replication.NewSet(replication.Extent{End: size})
	s.must(j.Begin(replication.Cycle{Point: 1, Route: replication.Through, Cut: replication.Cut{Sizes: []int64{size}}}))
	s.must(j.RecordCoverage(map[replication.DiskNo][]replication.Extent{0: all.Extents()}))
	s.must(one(j.List([]replication.Total{{Bytes: size, Digest: all.Digest()}}, replication.Crash, nil)))
	a := s.begin()
	raw := make([]byte, block.MaxRaw)
	for _, half := range []int64{n / 2, 0} { // the upper half first
		for k := half; k < half+n/2; k += 16 {
			var exts []replication.Extent
			for i := k; i < min(k+16, half+n/2); i++ {
				le.PutUint64(raw[len(exts)*replication.Page:], uint64(i)+1)
				exts = append(exts, replication.Extent{Off: 2 * i * replication.Page, End: (2*i + 1) * replication.Page})
			}
			x := block.Block{Kind: block.Data, Extents: exts, Raw: len(exts) * replication.Page}
			x.CRC = block.Checksum(raw[:x.Raw])
			x.Payload, x.Codec = s.enc.Encode(nil, raw[:x.Raw], block.LevelLZ4)
			s.must(a.Append(&x))
		}
	}
	if got := len(a.w.es); got >= defaultTuning.spillEntries {
		t.Errorf("%d index entries in memory", got)
	}
	p := s.end(a)
	r := &Reader{j: j, point: p, target: s.disk, size: size, shown: size}
	buf := make([]byte, replication.Page)
	for i := int64(0); i < n; i += 997 {
		s.must(one(r.ReadAt(buf, 2*i*replication.Page)))
		if got := le.Uint64(buf); got != uint64(i)+1 {
			t.Fatalf("page %d: got %d want %d", 2*i, got, i+1)
		}
	}
	if err := j.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
