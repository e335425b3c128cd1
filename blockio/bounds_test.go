package blockio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// readCounter counts what is asked of a storage.
type readCounter struct {
	storage
	reads, bytes atomic.Int64
}

func (s *readCounter) ReadAt(p []byte, off int64) (int, error) {
	s.reads.Add(1)
	s.bytes.Add(int64(len(p)))
	return s.storage.ReadAt(p, off)
}

// TestMapOfLargeSparseDisk: an empty disk of 1 TiB is known to be empty after a few reads: the tables are a hole in the file.
func TestMapOfLargeSparseDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.vmdk")
	if err := Create(path, FormatMonolithicSparse, 1<<40); err != nil {
		t.Fatal(err)
	}
	d, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	file := d.(*image).parts[0].extent.(*grainExtent).file
	count := &readCounter{storage: file.st}
	file.st = count
	if start, end, err := d.NextData(0); start != 1<<40 || end != 1<<40 || err != nil {
		t.Fatalf("NextData = %d, %d, %v", start, end, err)
	}
	if n, b := count.reads.Load(), count.bytes.Load(); n > 100 || b > 8<<20 {
		t.Errorf("%d reads of %d bytes", n, b)
	}
}

// TestMapOfFullSparseDisk: every table is read a few times, and never with its neighbours.
func TestMapOfFullSparseDisk(t *testing.T) {
	const tables = 200
	h := newSparseHeader(tables*tableEntries*newGrain, false)
	b := make([]byte, h.overhead*SectorSize+h.grainBytes())
	copy(b, h.encode())
	for _, at := range []int64{h.redundantOffset, h.directoryOffset} {
		directory := h.newDirectory(at)
		copy(b[at*SectorSize:], directory)
		for i := range int64(tables) { // each has one grain, all the same one: that is for a check to find
			put32(int64(binary.LittleEndian.Uint32(directory[i*4:]))*SectorSize, uint32(h.overhead))(b)
		}
	}
	e, err := openBytes(pieceSparse, b)
	if err != nil {
		t.Fatal(err)
	}
	count := &readCounter{storage: e.file.st}
	e.file.st = count
	ranges := 0
	for off := int64(0); off < e.size; ranges++ {
		_, end, err := e.NextData(off)
		if err != nil {
			t.Fatal(err)
		}
		off = end
	}
	if n, b := count.reads.Load(), count.bytes.Load(); ranges < tables || n > 12*tables || b > 4*tables*tableBytes {
		t.Errorf("%d ranges, %d reads of %d bytes", ranges, n, b)
	}
}

// TestMapOfChain: snapshots that hold nothing do not make the map of the disk below longer to find.
func TestMapOfChain(t *testing.T) {
	const size = 1 << 40
	dir := t.TempDir()
	if err := Create(filepath.Join(dir, "b.vmdk"), FormatMonolithicSparse, size); err != nil {
		t.Fatal(err)
	}
	below, err := Probe(filepath.Join(dir, "b.vmdk"))
	if err != nil {
		t.Fatal(err)
	}
	id := below.ContentID
	for i := 1; i <= 5; i++ {
		parent := fmt.Sprintf("s%d.vmdk", i-1)
		if i == 1 {
			parent = "b.vmdk"
		}
		name := fmt.Sprintf("s%d-sesparse.vmdk", i)
		b := makeSESparse(16<<20, nil)
		largeSESparse(t, filepath.Join(dir, name), b, size)
		put(t, dir, fmt.Sprintf("s%d.vmdk", i), []byte(snapshotText("seSparse", fmt.Sprintf("RW %d SESPARSE %q", size/SectorSize, name), uint32(i), parent, id)))
		id = uint32(i)
	}
	d, err := OpenReader(filepath.Join(dir, "s5.vmdk"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	counts := []*readCounter{}
	for m := d.(*image); m != nil; m = m.parent {
		file := m.parts[0].extent.(*grainExtent).file
		count := &readCounter{storage: file.st}
		file.st, counts = count, append(counts, count)
	}
	if start, end, err := d.NextData(0); start != size || end != size || err != nil {
		t.Fatalf("NextData = %d, %d, %v", start, end, err)
	}
	for i, c := range counts {
		if n := c.reads.Load(); n > 100 {
			t.Errorf("%d reads of link %d", n, i)
		}
	}
}

// largeSESparse writes an empty seSparse of size bytes: its regions are holes in the file.
func largeSESparse(t *testing.T, path string, head []byte, size int64) {
	t.Helper()
	le := binary.LittleEndian
	tables := ceilDiv(size, seSparseGrain*SectorSize*seSparseTableEntries)
	le.PutUint64(head[16:], uint64(size/SectorSize))
	directory, next := ceilDiv(tables*8, SectorSize), int64(4096)
	for _, r := range []struct {
		at int
		n  int64
	}{{128, directory}, {144, tables * seSparseTable}, {192, 1 << 20}} {
		le.PutUint64(head[r.at:], uint64(next))
		le.PutUint64(head[r.at+8:], uint64(r.n))
		next += r.n
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(head[:64*SectorSize]); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(next * SectorSize); err != nil {
		t.Fatal(err)
	}
}

// TestMemoryOfReaders: whatever the virtual size and however tables are scattered, what a reader and a check hold is bounded.
func TestMemoryOfReaders(t *testing.T) {
	const size = 60 << 40
	dir := t.TempDir()
	b := makeSESparse(16<<20, nil)
	path := filepath.Join(dir, "d")
	largeSESparse(t, path, b, size)
	h, err := decodeSESparseHeader("d", b, 1<<50)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const used = 1500
	tables := size / (16 << 20)
	for i := range int64(used) { // each has one grain
		n := i * (int64(tables) / used)
		entry := binary.LittleEndian.AppendUint64(nil, seSparseTableTag<<32|uint64(i))
		grain := binary.LittleEndian.AppendUint64(nil, seSparseAllocated<<60|uint64(i)&0xfff<<48|uint64(i)>>12)
		f.WriteAt(entry, h.directory.start*SectorSize+n*8)
		f.WriteAt(grain, (h.tables.start+i*seSparseTable)*SectorSize)
	}
	x := put(t, dir, "x.vmdk", []byte(snapshotText("seSparse", fmt.Sprintf("RW %d SESPARSE \"d\"", int64(size)/SectorSize), 1, "", 0)))
	peak := watchMemory(t, func() {
		d, err := OpenReader(x)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		p := make([]byte, 4096)
		found := 0
		for off := int64(0); off < d.Size(); {
			start, end, err := d.NextData(off)
			if err != nil {
				t.Fatal(err)
			}
			if start < end {
				found++
				if _, err := d.ReadAt(p, start); err != nil || !bytes.Equal(p, make([]byte, 4096)) {
					t.Fatalf("ReadAt(%d): %v", start, err)
				}
			}
			off = end
		}
		if found != 0 { // the grains are holes
			t.Errorf("%d ranges of data", found)
		}
	})
	if peak > 48<<20 {
		t.Errorf("reading held %d bytes", peak)
	}
	peak = watchMemory(t, func() {
		if findings, err := Check(x); err != nil || len(findings) > 0 {
			t.Errorf("Check = %v, %v", findings, err)
		}
	})
	if peak > 60<<20 {
		t.Errorf("checking held %d bytes", peak)
	}
}

// watchMemory returns by how much more than before was live on the heap while fn ran.
func watchMemory(t *testing.T, fn func()) int64 {
	t.Helper()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, peak := int64(m.HeapAlloc), int64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				runtime.ReadMemStats(&m)
				peak = max(peak, int64(m.HeapAlloc)-before)
			}
		}
	}()
	fn()
	close(stop)
	<-stopped
	t.Logf("%d MiB at most", peak>>20)
	return peak
}

// TestMemoryOfSparseTarget: writes all over a disk of 60 TiB wait in memory up to a bound, and are there in the end.
func TestMemoryOfSparseTarget(t *testing.T) {
	const size, writes = 60 << 40, 6000
	path := filepath.Join(t.TempDir(), "x.vmdk")
	peak := watchMemory(t, func() {
		if err := Create(path, FormatMonolithicSparse, size); err != nil {
			t.Fatal(err)
		}
		d, err := OpenTarget(path, TargetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.SetContentID(7); err != nil {
			t.Fatal(err)
		}
		for i := range int64(writes) {
			if _, err := d.WriteAt([]byte{byte(i), 1}, i*(size/writes)); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if peak > 60<<20 {
		t.Errorf("writing held %d bytes", peak)
	}
	d, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := make([]byte, 2)
	for i := int64(0); i < writes; i += 7 {
		if _, err := d.ReadAt(b, i*(size/writes)); err != nil || b[0] != byte(i) || b[1] != 1 {
			t.Fatalf("write %d: %v, % x", i, err, b)
		}
	}
}

// TestMemoryOfStream: grains as large as they may be, of which nothing gets smaller, read side by side.
func TestMemoryOfStream(t *testing.T) {
	const grain, count = maxStream * SectorSize, 24
	rounds := 3
	if underRace {
		rounds = 1
	}
	path := filepath.Join(t.TempDir(), "x.vmdk")
	p := pieces{}
	for g := range int64(count) {
		p[g] = noise(uint64(g), 1000)
	}
	if err := os.WriteFile(path, largeGrains(count*grain, p), 0o600); err != nil {
		t.Fatal(err)
	}
	peak := watchMemory(t, func() {
		d, err := OpenReader(path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		var wait sync.WaitGroup
		for lane := range int64(8) {
			wait.Go(func() {
				b := make([]byte, 4096)
				for i := range int64(rounds * count) {
					g := (i*7 + lane) % count
					if _, err := d.ReadAt(b, g*grain); err != nil || !bytes.Equal(b[:1000], p[g]) {
						t.Errorf("grain %d: %v", g, err)
						return
					}
				}
			})
		}
		wait.Wait()
	})
	if peak > 60<<20 {
		t.Errorf("reading held %d bytes", peak)
	}
}

// largeGrains is a stream with the largest grains there may be, stored without compression.
func largeGrains(size int64, p pieces) []byte {
	le := binary.LittleEndian
	file := makeStream(512, nil, streamShape{})[:(4+tableSectors)*SectorSize]
	le.PutUint64(file[12:], uint64(size/SectorSize))
	le.PutUint64(file[20:], maxStream)
	text := bytes.Replace(file[SectorSize:3*SectorSize], []byte("RDONLY 1 "), fmt.Appendf(nil, "RDONLY %d ", size/SectorSize), 1)
	copy(file[SectorSize:3*SectorSize], text)
	for g, data := range p {
		raw := make([]byte, maxStream*SectorSize)
		copy(raw, data)
		at := grow(&file, compressedGrain(raw, uint64(g*maxStream), streamShape{store: true}), 1)
		le.PutUint32(file[4*SectorSize+g*4:], uint32(at))
	}
	return file
}
