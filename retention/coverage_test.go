package retention

import (
	"path/filepath"
	"slices"
	"testing"

	"failback/replication"
	"failback/replication/block"
)

// everyOther returns n pages of which each has a gap behind it, from the page first on.
func everyOther(first, n int64) (x []replication.Extent) {
	for i := range n {
		x = append(x, replication.Extent{Off: (first + 2*i) * replication.Page, End: (first + 2*i + 1) * replication.Page})
	}
	return x
}

// TestCoverageFileShrinks: many extents, then what lies between them; the file follows, and holds all of it whenever it is opened again.
func TestCoverageFileShrinks(t *testing.T) {
	const n = 3*maxBatch + 100 // extents: several batches
	const size = 2*n*replication.Page - 5
	vol, dir := osVolume{}, t.TempDir()
	name := filepath.Join(dir, coverageName)
	id := &Identity{Disks: []replication.Disk{{Size: size}, {No: 1, Size: size}}}
	c := newCoverage(vol, name, id, uuid{1}, 7)
	want := replication.NewPages(size)
	add := func(x []replication.Extent) {
		t.Helper()
		for part := range slices.Chunk(x, maxBatch+1) {
			var cs []covered
			for _, e := range part {
				want.Add(e)
				cs = append(cs, covered{1, e})
			}
			if err := c.add(cs); err != nil {
				t.Fatal(err)
			}
		}
	}
	again := func() {
		t.Helper()
		if err := c.close(); err != nil {
			t.Fatal(err)
		}
		end := c.end
		var err error
		if c, err = openCoverage(vol, name, id, uuid{1}, 7); err != nil {
			t.Fatal(err)
		}
		if got := c.sets[1]; got.Digest() != want.Digest() || got.Bytes() != want.Bytes() || c.sets[0].Bytes() != 0 || c.end != end {
			t.Fatalf("got %d bytes in a file of %d want %d in %d", got.Bytes(), c.end, want.Bytes(), end)
		}
	}
	add(everyOther(0, n))
	again()
	if c.end < n*coverageEntry {
		t.Fatalf("a file of %d bytes", c.end)
	}
	gaps := everyOther(1, n)
	gaps[n-1].End = size
	add(gaps)
	if most := int64(3*coverageSlack + maxBatch*coverageEntry); c.end > most {
		t.Errorf("got a file of %d bytes for one extent want at most %d", c.end, most)
	}
	again()
	add(everyOther(0, n)) // nothing new
	again()
	if err := c.rewrite(); err != nil {
		t.Fatal(err)
	}
	if c.end != 2*sector {
		t.Errorf("got a file of %d bytes for one extent want %d", c.end, 2*sector)
	}
	again()
	if err := c.remove(); err != nil {
		t.Fatal(err)
	}
}

// TestArrivalSyncsByItself: what it has to remember until it is told to sync is bounded.
func TestArrivalSyncsByItself(t *testing.T) {
	const size = 2 * (maxPending + block.MaxRanges) * replication.Page
	j, err := Create(filepath.Join(t.TempDir(), "g"), Identity{Group: "g", Disks: []replication.Disk{{ID: "m/0", Size: size}}, Targets: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	s := &stand{t: t, j: j, disk: fileDisk{nil, size}}
	s.must(one(j.Adopt(0)))
	s.must(j.Begin(replication.Cycle{Point: 1, Route: replication.Through, Cut: replication.Cut{Sizes: []int64{size}}}))
	s.must(j.RecordCoverage(map[replication.DiskNo][]replication.Extent{0: {{End: size}}}))
	s.must(one(j.List([]replication.Total{{Bytes: size, Digest: replication.NewPages(size, replication.Extent{End: size}).Digest()}}, replication.Crash, nil)))
	a := s.begin()
	x := everyOther(0, maxPending+block.MaxRanges)
	for part := range slices.Chunk(x, block.MaxRanges) {
		s.must(a.Append(&block.Block{Kind: block.Zero, Extents: part}))
		if len(a.pending) > maxPending {
			t.Fatalf("%d extents are pending", len(a.pending))
		}
	}
	if got, want := j.Durable(0), int64(maxPending*replication.Page); got != want {
		t.Errorf("got %d durable bytes want %d", got, want)
	}
	if got := j.Coverage(0); got.Bytes() != j.Durable(0) || !got.Contains(x[maxPending-1]) || got.Contains(x[maxPending]) {
		t.Errorf("got %d covered bytes want the first %d", got.Bytes(), j.Durable(0))
	}
	s.must(a.Sync())
	if got, want := j.Durable(0), int64(size/2); got != want {
		t.Errorf("got %d durable bytes want %d", got, want)
	}
}

// TestCoverageLiesOnPages (I13): half a page would be told as none, and the point never listed.
func TestCoverageLiesOnPages(t *testing.T) {
	const size = 8*replication.Page + 1
	j, err := Create(filepath.Join(t.TempDir(), "g"), Identity{Group: "g", Disks: []replication.Disk{{ID: "m/0", Size: size}}, Targets: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	s := &stand{t: t, j: j}
	s.must(j.Begin(replication.Cycle{Point: 1, Route: replication.Through, Cut: replication.Cut{Sizes: []int64{size}}}))
	for _, e := range []replication.Extent{{Off: 1, End: 4096}, {Off: 0, End: 4097}, {Off: 8 * 4096, End: size + 1}} {
		if err := j.RecordCoverage(map[replication.DiskNo][]replication.Extent{0: {e}}); err == nil {
			t.Errorf("%v was taken", e)
		}
	}
	if err := j.RecordCoverage(map[replication.DiskNo][]replication.Extent{1: {{End: 4096}}}); err == nil {
		t.Error("a disk that is not there was taken")
	}
	s.must(j.RecordCoverage(map[replication.DiskNo][]replication.Extent{0: {{Off: 8 * 4096, End: size}}}))
	if got := j.Durable(0); got != 1 {
		t.Errorf("got %d durable bytes want 1", got)
	}
	if j.Durable(1) != 0 || j.Coverage(1).Bytes() != 0 {
		t.Error("a disk that is not there is covered")
	}
}
