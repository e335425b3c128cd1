package workload

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"failback/replication"
)

// sparse makes a file of 1 MiB that holds data only at 64 KiB to 192 KiB.
func sparse(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 128<<10)
	for i := range b {
		b[i] = byte(i>>8) + 1
	}
	if _, err := f.WriteAt(b, 64<<10); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestScatterChangesWhatItTells(t *testing.T) {
	a := sparse(t)
	b := filepath.Join(t.TempDir(), "copy")
	if err := Copy(a, b); err != nil {
		t.Fatal(err)
	}
	if err := Compare(a, b); err != nil {
		t.Fatal(err)
	}
	data := []replication.Extent{{Off: 64 << 10, End: 192 << 10}}
	x, err := Scatter(a, data, 7, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(x) != 7 || Bytes(x) != 7*replication.Page {
		t.Fatalf("told %v", x)
	}
	was, _ := os.ReadFile(b)
	is, _ := os.ReadFile(a)
	var differ []replication.Extent
	for off := int64(0); off < int64(len(is)); off += replication.Page {
		if !slices.Equal(was[off:off+replication.Page], is[off:off+replication.Page]) {
			differ = append(differ, replication.Extent{Off: off, End: off + replication.Page})
		}
	}
	if !slices.Equal(differ, x) {
		t.Errorf("changed %v, told %v", differ, x)
	}
	if Compare(a, b) == nil {
		t.Error("Compare finds no difference")
	}
}

func TestScatterSameSeedSameChanges(t *testing.T) {
	a, b := sparse(t), sparse(t)
	data := []replication.Extent{{Off: 64 << 10, End: 192 << 10}}
	for i, path := range []string{a, b} {
		if _, err := Scatter(path, data, 9, 5); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := Compare(a, b); err != nil {
		t.Error(err)
	}
	if _, err := Scatter(b, data, 9, 6); err != nil {
		t.Fatal(err)
	}
	if Compare(a, b) == nil {
		t.Error("another seed makes the same changes")
	}
}

func TestCompareTellsTheSize(t *testing.T) {
	a, b := sparse(t), sparse(t)
	if err := os.Truncate(b, 1<<19); err != nil {
		t.Fatal(err)
	}
	if Compare(a, b) == nil {
		t.Error("files of different sizes are equal")
	}
}

func TestNonZeroLeavesPagesOfZerosOut(t *testing.T) {
	const page = replication.Page
	path := filepath.Join(t.TempDir(), "disk")
	b := make([]byte, 5*page+100)
	b[page], b[2*page+7], b[4*page-1], b[5*page+99] = 1, 1, 1, 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := NonZero(path, []replication.Extent{{End: int64(len(b))}})
	if want := []replication.Extent{{Off: page, End: 4 * page}, {Off: 5 * page, End: 5*page + 100}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

// TestDisksOfEveryKind: they have the size that is wanted, and the same seed makes the same bytes.
func TestDisksOfEveryKind(t *testing.T) {
	const size = 4 << 20
	for _, kind := range Kinds() {
		if kind == Files {
			continue
		}
		var was []byte
		for range 2 {
			path, err := Disk(t.Context(), t.TempDir(), kind, size, 7)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil || len(b) != size {
				t.Fatalf("%s: %d bytes, %v", kind, len(b), err)
			}
			if was != nil && !bytes.Equal(b, was) {
				t.Errorf("%s: the same seed made other bytes", kind)
			}
			was = b
			if replication.IsZero(b) != (kind == "zero") {
				t.Errorf("%s is all zeros, or is not", kind)
			}
		}
	}
}
