package source

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"failback/replication"
)

var update = flag.Bool("update", false, "write the golden files anew")

// someHashes returns hashes for a region: sometimes of zeros only.
func someHashes(r *rand.Rand, n int) []replication.Hash {
	pages := make([]replication.Hash, n)
	if r.IntN(4) == 0 {
		return pages
	}
	for i := range pages {
		if r.IntN(3) > 0 {
			le.PutUint64(pages[i][:], r.Uint64())
		}
	}
	return pages
}

func mustCreateTable(t *testing.T, size int64) (*Table, cutID) {
	t.Helper()
	id := newCutID(size, 7, "7-x")
	tab, err := createTable(filepath.Join(t.TempDir(), "7-0.tab"), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tab.close() })
	return tab, id
}

func mustPut(t *testing.T, tab *Table, region int64, pages []replication.Hash) {
	t.Helper()
	if err := tab.Put(region, pages); err != nil {
		t.Fatal(err)
	}
}

func TestTableGivesWhatWasPut(t *testing.T) {
	for _, size := range []int64{512, 4096, 1 << 20, 1<<20 + 512, 40<<20 - 4096} {
		tab, id := mustCreateTable(t, size)
		r := rand.New(rand.NewPCG(uint64(size), 1))
		want := make(map[int64][]replication.Hash)
		for range 3 * tab.Regions() {
			region := r.Int64N(tab.Regions())
			want[region] = someHashes(r, pagesOf(size, region))
			mustPut(t, tab, region, want[region])
			if r.IntN(20) == 0 {
				path := tab.path
				tab.close()
				var err error
				if tab, err = openTable(path, id); err != nil {
					t.Fatal(err)
				}
				defer tab.close()
			}
		}
		var dst []replication.Hash
		for region := range tab.Regions() {
			pages, ok, err := tab.Get(region, dst)
			if err != nil || ok != (want[region] != nil) || ok && !slices.Equal(pages, want[region]) {
				t.Fatalf("size %d region %d: ok %v err %v", size, region, ok, err)
			}
			if ok {
				dst = pages
			}
		}
		whole, err := tab.Complete()
		if err != nil || whole != (int64(len(want)) == tab.Regions()) {
			t.Fatalf("size %d: complete %v %v with %d of %d", size, whole, err, len(want), tab.Regions())
		}
		if err := tab.Seal(); (err == nil) != whole {
			t.Fatalf("seal of a table that is complete: %v: %v", whole, err)
		}
	}
}

func TestSealedTableStaysAsItIs(t *testing.T) {
	tab, id := mustCreateTable(t, 2<<20)
	r := rand.New(rand.NewPCG(1, 1))
	a, b := someHashes(r, regionPages), make([]replication.Hash, regionPages)
	mustPut(t, tab, 0, a)
	if err := tab.Seal(); err == nil || tab.Sealed() {
		t.Fatalf("an incomplete table is sealed: %v", err)
	}
	mustPut(t, tab, 1, b)
	for range 2 {
		if err := tab.Seal(); err != nil || !tab.Sealed() {
			t.Fatal(err)
		}
	}
	tab.close()
	tab, err := openTable(tab.path, id)
	if err != nil {
		t.Fatal(err)
	}
	defer tab.close()
	if !tab.Sealed() {
		t.Fatal("not sealed after opening")
	}
	mustPut(t, tab, 0, a)
	if err := tab.Put(0, b); !errors.Is(err, ErrSealed) && !slices.Equal(a, b) {
		t.Errorf("put other hashes: %v", err)
	}
	if err := tab.Put(1, slices.Repeat([]replication.Hash{{1}}, regionPages)); !errors.Is(err, ErrSealed) {
		t.Errorf("put other hashes: %v", err)
	}
}

func TestTableRefuses(t *testing.T) {
	tab, id := mustCreateTable(t, 1<<20+4096)
	for region, n := range map[int64]int{-1: regionPages, 0: regionPages - 1, 1: 2, 2: 1} {
		if err := tab.Put(region, make([]replication.Hash, n)); err == nil {
			t.Errorf("put %d hashes of region %d", n, region)
		}
	}
	if _, _, err := tab.Get(2, nil); err == nil {
		t.Error("get of region 2")
	}
	for _, other := range []cutID{{id.size + 512, id.point, id.snapshot}, {id.size, 8, id.snapshot}, newCutID(id.size, 7, "7-y")} {
		if _, err := openTable(tab.path, other); !errors.Is(err, errFormat) {
			t.Errorf("open as %v: %v", other, err)
		}
	}
	tab.close()
	if err := tab.Put(0, make([]replication.Hash, regionPages)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("put when closed: %v", err)
	}
	if _, _, err := tab.Get(0, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("get when closed: %v", err)
	}
}

// TestDamagedTableNeverGivesAWrongHash flips every byte that means something, one at a time, and cuts the file short everywhere.
func TestDamagedTableNeverGivesAWrongHash(t *testing.T) {
	const size = 3<<20 + 3*4096
	tab, id := mustCreateTable(t, size)
	r := rand.New(rand.NewPCG(3, 3))
	want := make([][]replication.Hash, tab.Regions())
	for i := range want {
		want[i] = someHashes(r, pagesOf(size, int64(i)))
		if i == 1 {
			clear(want[i])
		} else {
			want[i][0] = replication.Hash{1}
		}
		mustPut(t, tab, int64(i), want[i])
	}
	if err := tab.Seal(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(tab.path)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.tab")
	lost := func(b []byte) (n int) {
		t.Helper()
		mustWrite(t, path, b)
		tab, err := openTable(path, id)
		if errors.Is(err, errFormat) {
			return len(want)
		} else if err != nil {
			t.Fatal(err)
		}
		defer tab.close()
		if !tab.Sealed() {
			n++
		}
		for i := range want {
			pages, ok, err := tab.Get(int64(i), nil)
			if err != nil {
				t.Fatal(err)
			}
			if ok && !slices.Equal(pages, want[i]) {
				t.Fatalf("region %d: wrong hashes", i)
			}
			if !ok {
				n++
			}
		}
		return n
	}
	if n := lost(whole); n != 0 {
		t.Fatalf("%d lost without damage", n)
	}
	meant := func(off int) bool { // not padding, nor the record of zeros
		record := int64(off) - recordsOffset(size)
		switch {
		case off < tableHeaderSize, off >= sealOffset && off < sealOffset+sealSize:
			return true
		case record < 0:
			return int64(off) >= statesOffset && int64(off) < stateOffset(regions(size))
		}
		region := record / recordSize
		return region != 1 && record%recordSize < int64(pagesOf(size, region)*hashSize)
	}
	flipped := 0
	for off := range whole {
		if !meant(off) {
			continue
		}
		if int64(off) > recordsOffset(size) && off%7 != 0 {
			continue // the records are all alike
		}
		b := bytes.Clone(whole)
		b[off] ^= byte(1 + r.IntN(255))
		if flipped++; lost(b) == 0 {
			t.Fatalf("byte %d flipped: nothing is missed", off)
		}
	}
	for end := 0; end < len(whole); end += 509 {
		lost(whole[:end])
	}
	if flipped < 100 {
		t.Fatalf("only %d bytes flipped", flipped)
	}
}

func TestTornPutIsNotPresent(t *testing.T) {
	tab, _ := mustCreateTable(t, 2<<20)
	old, young := slices.Repeat([]replication.Hash{{1}}, regionPages), slices.Repeat([]replication.Hash{{2}}, regionPages)
	mustPut(t, tab, 0, old)
	record := bytes.Repeat(young[0][:], regionPages)
	if _, err := tab.file.WriteAt(record[:512], recordOffset(2<<20, 0)); err != nil { // a Put that ended here
		t.Fatal(err)
	}
	if _, ok, err := tab.Get(0, nil); ok || err != nil {
		t.Fatalf("torn record: %v %v", ok, err)
	}
	mustPut(t, tab, 0, young)
	if pages, ok, err := tab.Get(0, nil); !ok || err != nil || !slices.Equal(pages, young) {
		t.Fatalf("after putting again: %v %v", ok, err)
	}
}

func TestTableBlocksOfAnEarlierFileAreNotBelieved(t *testing.T) {
	tab, id := mustCreateTable(t, 2<<20)
	mustPut(t, tab, 0, slices.Repeat([]replication.Hash{{1}}, regionPages))
	mustPut(t, tab, 1, make([]replication.Hash, regionPages))
	old, err := os.ReadFile(tab.path)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := createTable(tab.path, id)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.close()
	if _, err := fresh.file.WriteAt(old[statesOffset:], statesOffset); err != nil {
		t.Fatal(err)
	}
	for region := range fresh.Regions() {
		if _, ok, err := fresh.Get(region, nil); ok || err != nil {
			t.Fatalf("region %d: %v %v", region, ok, err)
		}
	}
}

func TestTableConcurrently(t *testing.T) {
	const size = 64 << 20
	tab, _ := mustCreateTable(t, size)
	want := make([][]replication.Hash, tab.Regions())
	r := rand.New(rand.NewPCG(5, 5))
	for i := range want {
		want[i] = someHashes(r, regionPages)
	}
	var wait sync.WaitGroup
	for lane := range 4 {
		wait.Go(func() {
			dst := make([]replication.Hash, 0, regionPages)
			for i := lane; i < len(want); i += 4 {
				if err := tab.Put(int64(i), want[i]); err != nil {
					t.Error(err)
				}
				for j := range want { // others' regions: whole or not there
					if pages, ok, err := tab.Get(int64(j), dst); err != nil || ok && !slices.Equal(pages, want[j]) {
						t.Errorf("region %d: %v %v", j, ok, err)
					}
				}
			}
		})
	}
	wait.Wait()
	if err := tab.Seal(); err != nil {
		t.Error(err)
	}
}

// TestFormatsAreGolden keeps version 1 of both formats as it was written at first.
func TestFormatsAreGolden(t *testing.T) {
	golden := func(name string, got []byte) {
		t.Helper()
		path := filepath.Join("testdata", name)
		if *update {
			mustWrite(t, path, []byte(hex.EncodeToString(got)+"\n"))
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(got)+"\n" != string(want) {
			t.Errorf("%s differs", name)
		}
	}
	const size = 1<<20 + 2*4096
	id := newCutID(size, 7, "7-x")
	path := filepath.Join(t.TempDir(), "7-0.tab")
	tab, err := createTableWith(path, tableHeader{id, [16]byte{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, tab, 0, make([]replication.Hash, regionPages))
	mustPut(t, tab, 1, []replication.Hash{{1, 2}, {15: 3}})
	if err := tab.Seal(); err != nil {
		t.Fatal(err)
	}
	tab.close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The parts that mean something.
	got := slices.Concat(b[:tableHeaderSize], b[sealOffset:][:sealSize], b[statesOffset:][:2*stateSize], b[3*blockSize+recordSize:][:2*hashSize])
	golden("table-v1.hex", got)
	golden("changes-v1.hex", appendChanges(nil, changesHeader{id, 6}, []replication.Extent{{Off: 0, End: 4096}, {Off: 8192, End: size}}))
}
