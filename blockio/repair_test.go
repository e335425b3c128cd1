package blockio

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// repairable are the damages of sparseDamages that Repair undoes. Of every other it must keep its hands off. (VersionThree is none.)
var repairable = map[string]bool{
	"TablePastEnd": true, "TableAllOnes": true, "TableInHeader": true, "TableIsDescriptor": true, "TableIsDirectory": true,
	"TableIsRedundantDirectory": true, "TableIsAGrain": true, "RedundantTablePastEnd": true, "EntryPastEnd": true, "EntryAllOnes": true,
	"EntryOneWithoutFlag": true, "EntryInDescriptor": true, "EntryInDirectory": true, "EntryInTable": true, "EntryBeforeGrains": true,
	"EntryAtFileEnd": true,
}

// TestRepair: what is repaired is as it was, to the byte; what is not repaired is not touched, and the error says why.
func TestRepair(t *testing.T) {
	sound := soundSparse(t)
	for _, d := range sparseDamages() {
		t.Run(d.name, func(t *testing.T) {
			spoiled := d.do(bytes.Clone(sound))
			dir := t.TempDir()
			path := put(t, dir, "x.vmdk", spoiled)
			done, err := Repair(path)
			got, readErr := os.ReadFile(path)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if !repairable[d.name] {
				files, _ := os.ReadDir(dir)
				if err == nil && d.name != "VersionThree" || !bytes.Equal(got, spoiled) || len(files) != 1 {
					t.Fatalf("Repair = %+v, %v; changed: %v; %d files", done, err, !bytes.Equal(got, spoiled), len(files))
				}
				return
			}
			if err != nil || len(done.Changes) == 0 || len(done.Copies) != 1 {
				t.Fatalf("Repair = %+v, %v", done, err)
			}
			if !bytes.Equal(got, sound) {
				t.Fatal("the repaired image is not the one from before")
			}
			if findings, err := Check(path); err != nil || len(findings) > 0 {
				t.Errorf("Check = %v, %v", findings, err)
			}
			undo(t, done.Copies[0], path)
			if got, _ := os.ReadFile(path); !bytes.Equal(got, spoiled) {
				t.Error("putting the copy back does not make what there was")
			}
		})
	}
}

// undo puts back what Repair changed, the way its doc says.
func undo(t *testing.T, saved, path string) {
	t.Helper()
	if _, err := exec.LookPath("xxd"); err != nil {
		b, err := os.ReadFile(saved)
		if err != nil {
			t.Fatal(err)
		}
		unhex(t, string(b), path)
		return
	}
	if out, err := exec.Command("xxd", "-r", saved, path).CombinedOutput(); err != nil {
		t.Fatalf("xxd: %v: %s", err, out)
	}
}

// unhex does what xxd -r does.
func unhex(t *testing.T, text, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		at, digits, _ := strings.Cut(line, ": ")
		off, err := strconv.ParseInt(at, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRepairSeveral: a whole directory that is gone to rubbish, and a table of the other one that is not needed for it.
func TestRepairSeveral(t *testing.T) {
	sound := soundSparse(t)
	h, err := decodeSparseHeader("x", sound, int64(len(sound)))
	if err != nil {
		t.Fatal(err)
	}
	spoiled := bytes.Clone(sound)
	for i := range int64(2) {
		put32(h.directoryOffset*SectorSize+i*4, 0xfffffff0+uint32(i))(spoiled)
	}
	path := put(t, t.TempDir(), "x.vmdk", spoiled)
	done, err := Repair(path)
	if err != nil || len(done.Changes) != 2 {
		t.Fatalf("Repair = %+v, %v", done, err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, sound) {
		t.Error("the repaired image is not the one from before")
	}
}

// TestRepairRefuses: an image in use, one with a single directory, one that is sound.
func TestRepairRefuses(t *testing.T) {
	sound := soundSparse(t)
	path := put(t, t.TempDir(), "x.vmdk", sound)
	if done, err := Repair(path); err != nil || len(done.Changes)+len(done.Copies) != 0 {
		t.Errorf("a sound image: %+v, %v", done, err)
	}
	d, err := OpenTarget(path, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Repair(path); !errors.Is(err, ErrInUse) {
		t.Errorf("an image in use: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cowd := putCOWD(t, dir, "c.vmdk", 1<<20, 1, pieces{0: noise(1, 512)}, 3, "", 0)
	spoiled, err := os.ReadFile(filepath.Join(dir, "c-delta.vmdk"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, "c-delta.vmdk", put32(4*SectorSize, 1<<30)(spoiled))
	if _, err := Repair(cowd); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "no second directory") {
		t.Errorf("a COWD: %v", err)
	}
	flat := putFlat(t, dir, "f.vmdk", make([]byte, 512), 4)
	if _, err := Repair(flat); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a flat disk: %v", err)
	}
}

// TestRepairCrash: wherever a repair is cut off, the disk reads as before, and can be repaired again.
func TestRepairCrash(t *testing.T) {
	t.Parallel()
	sound := soundSparse(t)
	h, err := decodeSparseHeader("x", sound, int64(len(sound)))
	if err != nil {
		t.Fatal(err)
	}
	gd, gt := h.directoryOffset*SectorSize, (h.directoryOffset+h.directorySectors())*SectorSize
	spoiled := bytes.Clone(sound)
	put32(gd, uint32(h.overhead))(spoiled)   // the first table is a grain
	put32(gd+4, 1<<31)(spoiled)              // the second one is nowhere
	put32(gt, 7)(spoiled)                    // and where they were is rubbish
	put32(gt+tableBytes+100, 1<<31)(spoiled) //
	want := mustReadBytes(t, sound)
	st := &crashStorage{b: bytes.Clone(spoiled)}
	repairBytes(t, st)
	if !bytes.Equal(st.b, sound) {
		t.Fatal("the repaired image is not the one from before")
	}
	r := rand.New(rand.NewPCG(3, 3))
	for k := range len(st.log) + 1 {
		for range 4 {
			left := cut(spoiled, st.log, k, r)
			if firstDifference(mustReadBytes(t, left.b), want) >= 0 {
				t.Fatalf("cut at %d: another content", k)
			}
			repairBytes(t, left)
			if !bytes.Equal(left.b, sound) {
				t.Fatalf("cut at %d: repaired again, it is not the image from before", k)
			}
		}
	}
}

func repairBytes(t *testing.T, st *crashStorage) {
	t.Helper()
	p, err := planRepair(st, piece{kind: pieceSparse})
	if err == nil {
		err = p.apply()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func mustReadBytes(t *testing.T, b []byte) []byte {
	t.Helper()
	e, err := openBytes(pieceSparse, b)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, e.size)
	if _, err := e.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	return p
}
