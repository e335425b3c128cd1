package blockio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
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

// damage is one way to spoil a sound image of 40 MiB in which some grains of both tables hold data.
type damage struct {
	name string
	do   func(b []byte) []byte
	// want is the sentinel; the default is ErrCorrupt.
	want error
	// write: found when the disk is opened as a target, while a reader that does not touch the place may go on.
	write bool
	// healed: the other directory is sound, and is read instead; a target it is not.
	healed bool
}

func put32(at int64, v uint32) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
}

func put64(at int64, v uint64) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint64(b[at:], v); return b }
}

func sparseDamages() []damage {
	h := newSparseHeader(40<<20/SectorSize, true)
	gd, rgd := h.directoryOffset*SectorSize, h.redundantOffset*SectorSize
	gt := gd + h.directorySectors()*SectorSize
	rgt := rgd + h.directorySectors()*SectorSize
	cutTo := func(n int64) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	return []damage{
		{name: "Empty", do: cutTo(0)},
		{name: "CutInMagic", do: cutTo(3)},
		{name: "CutInHeader", do: cutTo(100)},
		{name: "CutBehindHeader", do: cutTo(512)},
		{name: "CutInDescriptor", do: cutTo(700)},
		{name: "CutInDirectory", do: cutTo(gd)},
		{name: "CutInTable", do: cutTo(gt + 100)},
		{name: "CutInFirstGrain", do: cutTo(h.overhead*SectorSize + 512)},
		{name: "CutByASector", do: func(b []byte) []byte { return b[:len(b)-SectorSize] }},
		{name: "MagicWrong", do: put32(0, 0x12345678)},
		{name: "MagicUnfinished", do: put32(0, sparseMagicUnfinished)},
		{name: "MagicCOWD", do: put32(0, cowdMagic), want: ErrUnsupported},
		{name: "MagicSESparse", do: put32(0, seSparseMagic), want: ErrUnsupported},
		{name: "VersionZero", do: put32(4, 0), want: ErrUnsupported},
		{name: "VersionFour", do: put32(4, 4), want: ErrUnsupported},
		{name: "VersionThree", do: put32(4, 3), want: ErrNotTarget, write: true},
		{name: "FlagsCompressed", do: put32(8, 3|flagCompressed)},
		{name: "FlagsMarkers", do: put32(8, 3|flagMarkers)},
		{name: "FlagsUnknown", do: put32(8, 3|1<<20), want: ErrUnsupported},
		{name: "CapacityZero", do: put64(12, 0)},
		{name: "CapacityHuge", do: put64(12, 1<<63)},
		{name: "CapacityAllOnes", do: put64(12, 1<<64-1)},
		{name: "CapacityManyTables", do: put64(12, 1<<49)},
		{name: "CapacityBeyondDirectory", do: put64(12, 1<<32)},
		{name: "CapacityLessThanDescriptor", do: put64(12, 1000)},
		{name: "GrainZero", do: put64(20, 0)},
		{name: "GrainOne", do: put64(20, 1)},
		{name: "GrainNotPower", do: put64(20, 100)},
		{name: "GrainHuge", do: put64(20, 1<<40)},
		{name: "GrainNegative", do: put64(20, 1<<63)},
		{name: "DescriptorPastEnd", do: put64(28, 1<<40)},
		{name: "DescriptorNone", do: put64(28, 0), want: ErrUnsupported},
		{name: "DescriptorInDirectory", do: put64(28, uint64(h.directoryOffset))},
		{name: "DescriptorSizeZero", do: put64(36, 0)},
		{name: "DescriptorSizeHuge", do: put64(36, 1<<40)},
		{name: "DescriptorSizeOverDirectory", do: put64(36, 30)},
		{name: "EntriesZero", do: put32(44, 0)},
		{name: "EntriesOdd", do: put32(44, 511)},
		{name: "EntriesHuge", do: put32(44, 1<<31)},
		{name: "RedundantPastEnd", do: put64(48, 1<<40)},
		{name: "RedundantZero", do: put64(48, 0)},
		{name: "RedundantIsDirectory", do: put64(48, uint64(h.directoryOffset))},
		{name: "DirectoryPastEnd", do: put64(56, 1<<40)},
		{name: "DirectoryZero", do: put64(56, 0)},
		{name: "DirectoryInDescriptor", do: put64(56, 5)},
		{name: "DirectoryAtEndMark", do: put64(56, gdAtEnd)},
		{name: "DirectoryHuge", do: put64(56, 1<<63)},
		{name: "OverheadZero", do: put64(64, 0)},
		{name: "OverheadBeforeDirectory", do: put64(64, 10)},
		{name: "OverheadHuge", do: put64(64, 1<<63)},
		{name: "OverheadOverGrains", do: put64(64, uint64(h.overhead+128))},
		{name: "Unclean", do: func(b []byte) []byte { b[sparseUncleanAt] = 1; return b }, want: ErrNotTarget, write: true},
		{name: "LineEnds", do: func(b []byte) []byte { b[74] = '\n'; return b }},
		{name: "Compression", do: func(b []byte) []byte { b[77] = 1; return b }},
		{name: "DescriptorRubbish", do: func(b []byte) []byte { copy(b[512:], "rubbish\n"); return b }},
		{name: "DescriptorErased", do: func(b []byte) []byte { clear(b[512 : 512*21]); return b }},
		{name: "TablePastEnd", do: put32(gd, 1<<31), healed: true},
		{name: "TableAllOnes", do: put32(gd, 1<<32-1), healed: true},
		{name: "TableInHeader", do: put32(gd, 0xffffffff), healed: true},
		{name: "TableIsDescriptor", do: put32(gd, 2), healed: true},
		{name: "TableIsDirectory", do: put32(gd, uint32(h.directoryOffset)), healed: true},
		{name: "TableIsRedundantDirectory", do: put32(gd, uint32(h.redundantOffset)), healed: true},
		{name: "TableTwice", do: put32(gd, uint32(gt/SectorSize)+4)},
		{name: "TableMissing", do: put32(gd, 0)},
		{name: "TableIsTheRedundantOne", do: put32(gd, uint32(rgt/SectorSize)), write: true},
		{name: "TableIsAGrain", do: put32(gd, uint32(h.overhead)), healed: true},
		{name: "RedundantTableMissing", do: put32(rgd, 0)},
		{name: "RedundantTablePastEnd", do: put32(rgd, 1<<31), healed: true},
		{name: "RedundantTableTwice", do: put32(rgd+4, uint32(rgt/SectorSize))},
		{name: "RedundantTableDiffers", do: put32(rgt+400, 1234)},
		{name: "EntryPastEnd", do: put32(gt, 1<<30), healed: true},
		{name: "EntryAllOnes", do: put32(gt, 1<<32-1), healed: true},
		{name: "EntryOneWithoutFlag", do: put32(gt, 1), healed: true},
		{name: "EntryInDescriptor", do: put32(gt, 5), healed: true},
		{name: "EntryInDirectory", do: put32(gt, uint32(h.directoryOffset)), healed: true},
		{name: "EntryInTable", do: put32(gt, uint32(gt/SectorSize)), healed: true},
		{name: "EntryBeforeGrains", do: put32(gt, uint32(h.overhead)-1), healed: true},
		{name: "EntryTwice", do: func(b []byte) []byte { copy(b[gt:gt+4], b[gt+4:]); return b }},
		{name: "EntryHalfway", do: func(b []byte) []byte { b[gt] += 64; return b }},
		{name: "EntryBehindTheDisk", do: func(b []byte) []byte { copy(b[gt+tableBytes+4*200:], b[gt:gt+4]); return b }},
		{name: "EntryErased", do: put32(gt+4, 0)},
		{name: "TableErased", do: func(b []byte) []byte { clear(b[gt : gt+tableBytes]); return b }},
		{name: "TableSectorErased", do: func(b []byte) []byte { clear(b[gt+512 : gt+1024]); clear(b[gt : gt+512]); return b }},
		{name: "DirectoryErased", do: func(b []byte) []byte { clear(b[gd : gd+512]); return b }},
		{name: "EntryAtFileEnd", do: func(b []byte) []byte { return put32(gt, uint32(len(b)/SectorSize)-1)(b) }, healed: true},
	}
}

// TestSparseDamage: every kind of damage ends in an error that names the file and, for corruption, the offset; none reads as zeros.
func TestSparseDamage(t *testing.T) {
	sound, soundDir := soundSparse(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(soundDir, "x.vmdk"), sound, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range sparseDamages() {
		t.Run(d.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.vmdk")
			if err := os.WriteFile(path, d.do(append([]byte(nil), sound...)), 0o600); err != nil {
				t.Fatal(err)
			}
			want := d.want
			if want == nil {
				want = ErrCorrupt
			}
			target, err := OpenTarget(path, TargetOptions{})
			if err == nil {
				target.Close()
			}
			if !errors.Is(err, want) {
				t.Errorf("OpenTarget: %v, want %v", err, want)
			}
			if findings, err := Check(path); len(findings) == 0 && want == ErrCorrupt {
				t.Errorf("Check: no findings, %v", err)
			}
			if err := readAll(path); d.healed {
				mustReadAs(t, path, filepath.Join(soundDir, "x.vmdk"))
			} else if d.write {
				err = nil // a reader may or may not come across it
			} else if !errors.Is(err, want) {
				t.Errorf("reading all: %v, want %v", err, want)
			} else if !strings.Contains(err.Error(), path) || want == ErrCorrupt && !strings.Contains(err.Error(), "offset ") {
				t.Errorf("reading all: %v, want file and offset in it", err)
			}
		})
	}
}

// mustReadAs: the disk at path has the content of the one at sound, and says that something is wrong with it.
func mustReadAs(t *testing.T, path, sound string) {
	t.Helper()
	d, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	want, err := OpenReader(sound)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	got, wanted := make([]byte, d.Size()), make([]byte, want.Size())
	if _, err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := want.ReadAt(wanted, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, wanted) {
		t.Error("the content is another")
	}
	if n := d.Description().Notices; len(n) != 1 || !strings.Contains(n[0], "redundant") {
		t.Errorf("notices: %q, want one about the redundant directory", n)
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

func readAll(path string) error {
	d, err := OpenReader(path)
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = io.Copy(io.Discard, io.NewSectionReader(d, 0, d.Size()))
	return err
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

// FuzzSparse feeds whole images: header, directories and tables. Nothing may panic, hang, or be believed outside of the file.
func FuzzSparse(f *testing.F) {
	small := newSparseHeader(300, true)
	file, err := newSparseFile("x.vmdk", 300*SectorSize, soundDescriptor)
	if err != nil {
		f.Fatal(err)
	}
	b := make([]byte, file.size)
	for _, c := range file.content {
		copy(b[c.at:], c.b)
	}
	f.Add(b[:small.overhead*SectorSize])
	f.Fuzz(func(t *testing.T, b []byte) {
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
