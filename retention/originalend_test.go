package retention

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"failback/replication"
)

// originalInTheMaking is a journal that is closed in the middle of a first baseline, with all of the disk saved and written over; before is what the disk held.
func originalInTheMaking(t *testing.T, tn tuning) (dir string, s *stand, before []byte) {
	t.Helper()
	const size, part = 256 << 10, 64 << 10
	dir = filepath.Join(t.TempDir(), "g")
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s = &stand{t: t, disk: fileDisk{f, size}}
	before = bytes.Repeat([]byte("what the disk held "), size)[:size]
	s.must(one(f.WriteAt(before, 0)))
	j, err := create(osVolume{}, dir, Identity{Group: "g", Disks: []replication.Disk{{ID: "m/0", Size: size}}, Targets: []string{"disk"}, KeepOriginal: true}, tn)
	s.must(err)
	s.must(one(j.Adopt(0)))
	s.must(j.Begin(replication.Cycle{Point: 1, Route: replication.Through, Mode: replication.Compare, Cut: replication.Cut{Sizes: []int64{size}}}))
	for off := int64(0); off < size; off += part {
		e := map[replication.DiskNo][]replication.Extent{0: {{Off: off, End: off + part}}}
		s.must(j.SaveOriginal([]Disk{s.disk}, e))
		s.must(one(f.WriteAt(bytes.Repeat([]byte{'b'}, part), off)))
		s.must(j.RecordCoverage(e))
	}
	s.must(j.Close())
	return dir, s, before
}

// harmedOriginal has a master target start anew in the middle of a first baseline, with one bit wrong in what was acknowledged of point 0, at an offset of a file: it must not go on as if that had been torn.
func harmedOriginal(t *testing.T, file string, at int64) error {
	dir, s, before := originalInTheMaking(t, defaultTuning)
	size := int64(len(before))
	name := filepath.Join(dir, "save", file)
	if b, err := os.ReadFile(name); err == nil { // else: the rule that makes it is left out
		if at < 0 {
			at += int64(len(b))
		}
		b[at] ^= 1
		s.must(os.WriteFile(name, b, 0o600))
	}

	i, err := Inspect(dir)
	s.must(err)
	defer i.Close()
	fatal := false
	found, err := i.Check(t.Context(), nil)
	s.must(err)
	for _, f := range found {
		fatal = fatal || f.Fatal
	}
	j, err := Open(dir, "g")
	if err != nil {
		if !errors.Is(err, ErrCorrupt) || !fatal {
			return fmt.Errorf("open: %w; check finds %+v", err, found)
		}
		return nil
	}
	defer j.Close()
	all := replication.NewSet(replication.Extent{End: size})
	s.must(one(j.List([]replication.Total{{Bytes: size, Digest: all.Digest()}}, replication.Crash, nil)))
	r, err := j.Reader(0, 0, s.disk)
	if err != nil {
		return err
	}
	defer r.Close()
	got := make([]byte, size)
	if _, err := r.ReadAt(got, 0); err == nil && !bytes.Equal(got, before) {
		return errors.New("point 0 shows what the baseline wrote")
	}
	return nil
}

// TestHarmedOriginalIsNotTakenForTorn: a bit of a save of point 0 is wrong, in its header, in the first, a middle and the last block that was acknowledged; or of what tells how much was.
func TestHarmedOriginalIsNotTakenForTorn(t *testing.T) {
	for _, at := range []int64{9, 100, fileHeaderSize + 1, fileHeaderSize + 30, fileHeaderSize + entryFixed + extentSize + 9, 4096 + 50, 8192 + 60, -4000} {
		if err := harmedOriginal(t, "original-1.sav", at); err != nil {
			t.Errorf("at %d: %v", at, err)
		}
	}
	for _, at := range []int64{0, 5, 9, 30, originalEndPlace, originalEndPlace + 9, -1} {
		if err := harmedOriginal(t, originalEndName, at); err != nil {
			t.Errorf("end, at %d: %v", at, err)
		}
	}
}

func TestOriginalEndOfAnotherJournalOrTornIsNone(t *testing.T) {
	m := originalEnd{3, 77, 5, 0}
	b := m.encode(uuid{1})
	if got, ok := parseOriginalEnd(b, uuid{1}); !ok || got != m {
		t.Errorf("got %+v", got)
	}
	if _, ok := parseOriginalEnd(b, uuid{2}); ok {
		t.Error("that of another journal was taken")
	}
	for i := range originalEndBytes * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, ok := parseOriginalEnd(b, uuid{1}); ok {
			t.Errorf("bit %d is wrong, and it was taken", i)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

// TestSaveOfPointZeroIsMissing: one of those that are sealed already, while the first baseline is being made.
func TestSaveOfPointZeroIsMissing(t *testing.T) {
	tn := defaultTuning
	tn.originalBytes = 4096
	dir, s, _ := originalInTheMaking(t, tn)
	s.must(os.Remove(filepath.Join(dir, "save", "original-1.sav")))
	if i, err := inspect(osVolume{}, dir, tn, true); err != nil || !slices.ContainsFunc(i.findings, func(f Finding) bool { return f.Fatal && base(f.File) == "original-1.sav" }) {
		t.Errorf("inspected: %v", err)
	}
	var x *Corruption
	if _, err := open(osVolume{}, dir, "g", tn); !errors.As(err, &x) || base(x.File) != "original-1.sav" {
		t.Errorf("opened: %v", err)
	}
}
