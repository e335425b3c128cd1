package blockio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// damage is one way to spoil a sound image.
type damage struct {
	name string
	do   func(b []byte) []byte
	// want is the sentinel; the default is ErrCorrupt.
	want error
	// write: found when the disk is opened as a target, while a reader that does not touch the place may go on.
	write bool
	// healed: the other directory is sound, and is read instead; a target it is not.
	healed bool
	// inData: Check, which reads none, does not see it.
	inData bool
}

// form is a sound disk and what can be done to one of its files.
type form struct {
	name    string
	files   map[string][]byte // x.vmdk is the disk
	spoiled string            // the file that the damages are done to
	target  bool              // it may be written when it is sound
	damages []damage
}

func forms(t testing.TB) []form {
	const size, mixed = 5<<20 + 512, 1 << 20
	front := makeStream(size, somePieces(size, 8192, tableEntries), streamShape{})
	end := makeStream(size, somePieces(size, 8192, tableEntries), streamShape{atEnd: true, progress: true})
	cowd := makeCOWD(size, 1, somePieces(size, 512, cowdTableEntries))
	se := makeSESparse(17<<20, somePieces(17<<20, 4096, seSparseTableEntries))
	text := func(createType, line string) []byte { return []byte(snapshotText(createType, line, 2, "b.vmdk", 1)) }
	base := func(n int64) []byte { return []byte(snapshotText("custom", sprintZero(n), 1, "", 0)) }
	return []form{
		{"Sparse", map[string][]byte{"x.vmdk": soundSparse(t)}, "x.vmdk", true, sparseDamages()},
		{"Stream", map[string][]byte{"x.vmdk": front}, "x.vmdk", false, streamDamages(front)},
		{"StreamWithFooter", map[string][]byte{"x.vmdk": end}, "x.vmdk", false, footerDamages(end)},
		{"COWD", map[string][]byte{"b.vmdk": base(size), "d": cowd, "x.vmdk": text("vmfsSparse", sprintLine(size, "VMFSSPARSE"))}, "d", false, cowdDamages(cowd)},
		{"SESparse", map[string][]byte{"b.vmdk": base(17 << 20), "d": se, "x.vmdk": text("seSparse", sprintLine(17<<20, "SESPARSE"))}, "d", false, seSparseDamages(se)},
		{"Chain", map[string][]byte{"b.vmdk": base(mixed), "d": makeCOWD(mixed, 1, pieces{1: noise(1, 512)}),
			"x.vmdk": text("vmfsSparse", sprintLine(mixed, "VMFSSPARSE"))}, "x.vmdk", false, chainDamages()},
		{"Base", map[string][]byte{"b.vmdk": base(mixed), "d": makeCOWD(mixed, 1, pieces{1: noise(1, 512)}),
			"x.vmdk": text("vmfsSparse", sprintLine(mixed, "VMFSSPARSE"))}, "b.vmdk", false, baseDamages()},
	}
}

func sprintZero(size int64) string { return fmt.Sprintf("RW %d ZERO", size/SectorSize) }

func sprintLine(size int64, kind string) string {
	return fmt.Sprintf("RW %d %s \"d\"", size/SectorSize, kind)
}

// TestDamage: every kind of damage ends in an error that names a file and, for corruption, the offset; none reads as zeros, and none makes
// us allocate what a file asks for.
func TestDamage(t *testing.T) {
	kinds := 0
	for _, f := range forms(t) {
		sound := t.TempDir()
		f.write(t, sound, func(b []byte) []byte { return b })
		if err := readAll(filepath.Join(sound, "x.vmdk")); err != nil {
			t.Fatalf("%s: the sound disk: %v", f.name, err)
		}
		if findings, err := Check(filepath.Join(sound, "x.vmdk")); len(findings) > 0 || err != nil {
			t.Fatalf("%s: the sound disk: %v, %v", f.name, findings, err)
		}
		for _, d := range f.damages {
			kinds++
			t.Run(f.name+"/"+d.name, func(t *testing.T) {
				dir := t.TempDir()
				f.write(t, dir, d.do)
				if d.want == nil {
					d.want = ErrCorrupt
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				f.judge(t, filepath.Join(dir, "x.vmdk"), d)
				runtime.ReadMemStats(&after)
				if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
					t.Errorf("%d bytes were allocated", n)
				}
				if d.healed {
					mustReadAs(t, filepath.Join(dir, "x.vmdk"), filepath.Join(sound, "x.vmdk"))
				}
			})
		}
	}
	if kinds < 100 {
		t.Errorf("%d kinds of damage", kinds)
	}
}

// write writes the files of f into dir, one of them spoiled.
func (f form) write(t testing.TB, dir string, do func([]byte) []byte) {
	t.Helper()
	for name, b := range f.files {
		if name == f.spoiled {
			b = do(bytes.Clone(b))
		}
		put(t, dir, name, b)
	}
}

func (f form) judge(t *testing.T, path string, d damage) {
	t.Helper()
	target, err := OpenTarget(path, TargetOptions{})
	if err == nil {
		target.Close()
	}
	if err == nil || f.target && !errors.Is(err, d.want) {
		t.Errorf("OpenTarget: %v, want %v", err, d.want)
	}
	if findings, err := Check(path); len(findings) == 0 && d.want == ErrCorrupt && !d.inData {
		t.Errorf("Check: no findings, %v", err)
	} else {
		for _, f := range findings {
			if damage := (*Damage)(nil); !errors.As(f, &damage) || damage.File == "" {
				t.Errorf("Check: %v names no file", f)
			}
		}
	}
	if d.healed || d.write {
		return // a reader may or may not come across it
	}
	if err := readAll(path); !errors.Is(err, d.want) {
		t.Errorf("reading all: %v, want %v", err, d.want)
	} else if !strings.Contains(err.Error(), filepath.Dir(path)) || d.want == ErrCorrupt && !strings.Contains(err.Error(), "offset ") {
		t.Errorf("reading all: %v, want file and offset in it", err)
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

func readAll(path string) error {
	d, err := OpenReader(path)
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = io.Copy(io.Discard, io.NewSectionReader(d, 0, d.Size()))
	return err
}

func put32(at int64, v uint32) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
}

func put64(at int64, v uint64) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint64(b[at:], v); return b }
}
