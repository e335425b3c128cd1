package blockio

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSparseHeaderRoundTrip(t *testing.T) {
	for _, capacity := range []int64{1, 127, 128, 65536, 65537, 83886080, 8 << 31} {
		h := newSparseHeader(capacity, true)
		got, err := decodeSparseHeader("x", h.encode(), h.overhead*SectorSize)
		if err != nil || got != h {
			t.Errorf("capacity %d: decoded %+v, %v, want %+v", capacity, got, err, h)
		}
	}
}

// TestSparseHeaderGolden: the same layout as other products make for 1 GiB.
func TestSparseHeaderGolden(t *testing.T) {
	h := newSparseHeader(2097152, true)
	want := sparseHeader{version: 1, flags: 3, capacity: 2097152, grain: 128, descriptorOffset: 1, descriptorSize: 20,
		redundantOffset: 21, directoryOffset: 150, overhead: 384}
	if h != want {
		t.Errorf("newSparseHeader = %+v, want %+v", h, want)
	}
}

// TestSparseExtentGolden: all bytes of a new extent of 100 MiB that are not zero, but for the descriptor.
func TestSparseExtentGolden(t *testing.T) {
	const golden = "testdata/golden/sparse-extent.hex"
	file, err := newSparseFile("x.vmdk", 100<<20, "")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	fmt.Fprintf(&got, "%d bytes\n", file.size)
	for _, c := range file.content {
		for i := 0; i < len(c.b); i += 16 {
			if row := c.b[i : i+16]; !bytes.Equal(row, make([]byte, 16)) {
				fmt.Fprintf(&got, "%08x  % x\n", c.at+int64(i), row)
			}
		}
	}
	if *rewrite {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || got.String() != string(want) {
		t.Errorf("%v: a new extent is\n%s\nwant\n%s", err, got.String(), want)
	}
}

func TestCheckSoundDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.vmdk")
	if err := os.WriteFile(path, soundSparse(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if findings, err := Check(path); len(findings) > 0 || err != nil {
		t.Errorf("Check = %v, %v", findings, err)
	}
}

// soundSparse is an image of 40 MiB with data at its beginning, in the second table, and at its end.
func soundSparse(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.vmdk")
	if err := Create(path, FormatMonolithicSparse, 40<<20); err != nil {
		t.Fatal(err)
	}
	d, err := OpenTarget(path, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SetContentID(NewContentID()); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 200_000)
	for i := range data {
		data[i] = 0xa5
	}
	for _, off := range []int64{0, 33 << 20, 40<<20 - 200_000} {
		if _, err := d.WriteAt(data, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzSparse spoils an extent and writes into it. Nothing may panic, hang, or be believed outside of the file.
func FuzzSparse(f *testing.F) {
	image := smallSparse(f)
	f.Add([]byte{})
	f.Add(append(make([]byte, 4), patch(0x200, 1<<40)...))
	f.Fuzz(func(t *testing.T, patches []byte) {
		b := patched(image, patches)
		s, err := openSparse(&crashStorage{b: b})
		if err != nil {
			return
		}
		s.step = 0
		if s.header.tables() > 1<<16 {
			return // sound, and slow
		}
		if _, err := s.check(); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 64<<10)
		_, readErr := s.ReadAt(p[:min(int64(len(p)), s.size)], 0)
		_, _, _ = s.NextData(0)
		if s.checkForWriting() != nil || s.mark() != nil {
			return
		}
		if _, err := s.WriteAt(p[:min(int64(len(p)), s.size)], 0); err != nil || readErr != nil {
			t.Fatalf("tables that were found sound: read: %v, write: %v", readErr, err)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := s.checkForWriting(); err != nil {
			t.Fatalf("after writing: %v", err)
		}
	})
}
