package retention

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// stampDisk is a disk whose every page repeats one byte, its stamp; the stamps are in a file, so that a huge disk takes no memory.
type stampDisk struct {
	stamps *os.File
	size   int64
}

func (d stampDisk) Size() int64 { return d.size }
func (d stampDisk) Sync() error { return nil }
func (d stampDisk) NextData(off int64) (int64, int64, error) {
	return off, d.size, nil
}

func (d stampDisk) ReadAt(b []byte, off int64) (int, error) {
	st := make([]byte, len(b)/replication.Page)
	if off%replication.Page != 0 || len(b)%replication.Page != 0 {
		return 0, fmt.Errorf("read %d bytes at %d: not pages", len(b), off)
	}
	if _, err := d.stamps.ReadAt(st, off/replication.Page); err != nil {
		return 0, err
	}
	for i, v := range st {
		repeatStamp(b[i*replication.Page:][:replication.Page], v)
	}
	return len(b), nil
}

func (d stampDisk) WriteAt(b []byte, off int64) (int, error) {
	st := make([]byte, len(b)/replication.Page)
	if off%replication.Page != 0 || len(b)%replication.Page != 0 {
		return 0, fmt.Errorf("write %d bytes at %d: not pages", len(b), off)
	}
	for i := range st {
		p := b[i*replication.Page:][:replication.Page]
		if st[i] = p[0]; p[replication.Page-1] != p[0] || p[replication.Page/2] != p[0] {
			return 0, fmt.Errorf("write at %d: not one stamp", off)
		}
	}
	_, err := d.stamps.WriteAt(st, off/replication.Page)
	return len(b), err
}

func (d stampDisk) Zero(off, n int64) error {
	_, err := d.stamps.WriteAt(make([]byte, n/replication.Page), off/replication.Page)
	return err
}

func repeatStamp(b []byte, v byte) {
	if v == 0 {
		clear(b)
		return
	}
	b[0] = v
	for n := 1; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// check compares every stamp.
func (d stampDisk) check(t *testing.T, want func(page int64) byte) {
	t.Helper()
	b := make([]byte, 1<<20)
	for at := int64(0); at < d.size/replication.Page; at += int64(len(b)) {
		n, err := d.stamps.ReadAt(b, at)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		for i, v := range b[:n] {
			if w := want(at + int64(i)); v != w {
				t.Fatalf("page %d: got stamp %d want %d", at+int64(i), v, w)
			}
		}
	}
}

// Every other page changes: to a stamp for each fourth of them, else to zeros. Before, a third of the disk was not zeros.
func stampBefore(page int64) byte {
	if page%6 < 2 {
		return byte(1 + page%7)
	}
	return 0
}

func stampAfter(page int64) byte {
	switch {
	case page%2 == 1:
		return stampBefore(page)
	case page%8 == 0:
		return byte(10 + page/8%200)
	}
	return 0
}

// scatter sends the changes of pages [from, to) of one lane.
func scatter(t *testing.T, a *Arrival, enc *block.Encoder, from, to int64) {
	t.Helper()
	var data, zeros []replication.Extent
	raw := make([]byte, block.MaxRaw)
	send := func(kind block.Kind, x []replication.Extent) {
		if len(x) == 0 {
			return
		}
		b := block.Block{Kind: kind, Extents: x}
		if kind == block.Data {
			b.Raw = len(x) * replication.Page
			b.CRC = block.Checksum(raw[:b.Raw])
			b.Payload, b.Codec = enc.Encode(nil, raw[:b.Raw], block.LevelLZ4)
		}
		if err := a.Append(&b); err != nil {
			t.Fatal(err)
		}
	}
	for page := from; page < to; page += 2 {
		e := replication.Extent{Off: page * replication.Page, End: (page + 1) * replication.Page}
		if v := stampAfter(page); v != 0 {
			repeatStamp(raw[len(data)*replication.Page:][:replication.Page], v)
			if data = append(data, e); len(data)*replication.Page == len(raw) {
				send(block.Data, data)
				data = data[:0]
			}
			continue
		}
		if zeros = append(zeros, e); len(zeros) == block.MaxExtents { // what the process server packs
			send(block.Zero, zeros)
			zeros = zeros[:0]
		}
	}
	send(block.Data, data)
	send(block.Zero, zeros)
}

// peak is the most memory that the process had since the last reset, in bytes; 0: not known.
func peak() int64 {
	b, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func resetPeak() {
	runtime.GC()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// TestScattered journals a cycle of very many scattered pages with two lanes, cut off and taken up in the middle, lists it, moves there and back, reads, and rewrites its files.
// SCATTERED=10000000 makes it ten million, in less than 256 MiB of memory in all (I12).
func TestScattered(t *testing.T) {
	n := int64(300_000 / slow)
	if s := os.Getenv("SCATTERED"); s != "" {
		var err error
		if n, err = strconv.ParseInt(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	pages := 2 * n
	d := stampDisk{size: pages * replication.Page}
	var err error
	if d.stamps, err = os.Create(filepath.Join(dir, "stamps")); err != nil {
		t.Fatal(err)
	}
	defer d.stamps.Close()
	buf := make([]byte, 1<<20)
	for at := int64(0); at < pages; at += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), pages-at)]
		for i := range b {
			b[i] = stampBefore(at + int64(i))
		}
		if _, err := d.stamps.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	j, err := Create(filepath.Join(dir, "g"), Identity{Group: "g", Disks: []replication.Disk{{ID: "m/0", Size: d.size}}, Targets: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { j.Close() }()
	s := &stand{t: t, j: j, disk: fileDisk{nil, d.size}}
	s.must(one(j.Adopt(0)))
	all := replication.NewSet(replication.Extent{End: d.size})
	s.must(j.Begin(replication.Cycle{Point: 1, Route: replication.Through, Cut: replication.Cut{Sizes: []int64{d.size}}}))
	s.must(j.RecordCoverage(map[replication.DiskNo][]replication.Extent{0: all.Extents()}))
	s.must(one(j.List([]replication.Total{{Bytes: d.size, Digest: all.Digest()}}, replication.Crash, nil)))
	resetPeak()
	before := liveHeap()
	last := time.Now()
	step := func(what string) {
		t.Helper()
		t.Logf("%-28s %6.1fs  peak %4d MiB", what, time.Since(last).Seconds(), peak()>>20)
		last = time.Now()
	}

	lane := func(no uint32) *Arrival {
		s.n++
		a, err := s.j.Lane(replication.Lane{Session: replication.Session{Group: "g", Generation: 1, ID: 1}, Point: 2, Lane: no, Attempt: s.n})
		s.must(err)
		return a
	}
	p1, _ := j.Last()
	cycle := replication.Cycle{Point: 2, Base: 1, BaseChain: p1.Chain, Route: replication.Journaled, Mode: replication.Changes, Cut: replication.Cut{Sizes: []int64{d.size}}}
	s.must(j.Begin(cycle))
	// Two lanes that take turns, the second behind the first; half of it is synced when the process dies.
	const run = 8192 // pages
	turns := func(from, to int64) {
		a, b := lane(0), lane(1)
		for at := from; at < to; at += 2 * run {
			scatter(t, b, &s.enc, min(at+run, to), min(at+2*run, to))
			scatter(t, a, &s.enc, at, min(at+run, to))
			if at/run%64 == 0 {
				s.must(a.Sync())
				s.must(b.Sync())
			}
		}
		s.must(a.Close())
		s.must(b.Close())
	}
	half := pages / 2 &^ (2*run - 1)
	turns(0, half)
	step("half of it arrived")
	if got := j.Durable(0); got != half/2*replication.Page {
		t.Fatalf("got %d durable bytes want %d", got, half/2*replication.Page)
	}
	cut := lane(2) // of this one, the seal is missing
	scatter(t, cut, &s.enc, half, half+4*run)
	s.must(cut.Sync())
	s.must(j.Close())
	j, err = Open(filepath.Join(dir, "g"), "g")
	s.must(err)
	s.j = j
	step("opened again")
	cover := j.Coverage(0)
	if got, want := cover.Bytes(), (half+4*run)/2*replication.Page; got != want {
		t.Fatalf("got %d durable bytes want %d", got, want)
	}
	cover = nil
	turns(half+4*run, pages)
	step("all arrived")
	if got, most := liveHeap()-before, 4*n+1<<20; got > most {
		t.Errorf("got %d bytes of memory for an open cycle of %d extents, want at most %d", got, n, most)
	}
	cover = j.Coverage(0)
	total := replication.Total{Bytes: n * replication.Page, Digest: cover.Digest()}
	if cover.Bytes() != total.Bytes {
		t.Fatalf("got %d durable bytes want %d", cover.Bytes(), total.Bytes)
	}
	cover = nil
	step("coverage told")
	s.must(one(j.List([]replication.Total{total}, replication.Crash, nil)))
	step("listed")

	read := func(point replication.PointID, want func(int64) byte) {
		t.Helper()
		r, err := j.Reader(point, 0, d)
		s.must(err)
		defer r.Close()
		b := make([]byte, 16*replication.Page)
		for i := range int64(5000) {
			page := i * 7919 * 31 % (pages - 16)
			s.must(one(r.ReadAt(b, page*replication.Page)))
			for k := range int64(16) {
				if got, w := b[k*replication.Page+17], want(page+k); got != w {
					t.Fatalf("point %d page %d: got stamp %d want %d", point, page+k, got, w)
				}
			}
		}
	}
	read(1, stampBefore)
	read(2, stampAfter)
	step("read")
	if write, on, err := j.EstimateWrite(t.Context(), 2); err != nil || write != n*replication.Page || on[0] != write {
		t.Fatalf("got %d bytes to write, %v want %d", write, err, n*replication.Page)
	}
	s.must(j.Move(t.Context(), []Disk{d}, 2, nil))
	d.check(t, stampAfter)
	step("moved there")
	read(1, stampBefore)
	s.must(j.Move(t.Context(), []Disk{d}, 1, nil))
	d.check(t, stampBefore)
	read(2, stampAfter)
	step("moved back")
	use, err := j.Use(t.Context(), nil)
	s.must(err)
	step("use told")
	for _, f := range use.Files {
		s.must(one(j.Rewrite(t.Context(), []string{f.Name}, RewriteOptions{})))
		step("rewritten " + f.Name[:4])
	}
	read(1, stampBefore)
	read(2, stampAfter)
	step("read")
	s.must(j.Close())
	j, err = Open(filepath.Join(dir, "g"), "g")
	s.must(err)
	step("opened")
	if got := peak(); n >= 10_000_000 && (got == 0 || got >= 256<<20) {
		t.Errorf("got a peak of %d MiB want less than 256", got>>20)
	}
}
