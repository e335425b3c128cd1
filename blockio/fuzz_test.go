package blockio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// patched is a sound image after what a fuzzer does to it: the first four bytes of patches cut it, each twelve after that set eight
// bytes somewhere. That reaches further into the formats than whole images would, most of whose bytes mean nothing.
func patched(image, patches []byte) []byte {
	b := bytes.Clone(image)
	le := binary.LittleEndian
	if len(patches) < 4 {
		return b
	}
	if n := int(le.Uint32(patches)); n != 0 {
		b = b[:n%(len(b)+1)]
	}
	for patches = patches[4:]; len(patches) >= 12 && len(b) > 0; patches = patches[12:] {
		copy(b[int(le.Uint32(patches))%len(b):], patches[4:12])
	}
	return b
}

// patch is one change for patched.
func patch(at uint32, value uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, at), value)
}

// openBytes opens an extent of that kind in memory.
func openBytes(kind pieceKind, b []byte) (*grainExtent, error) {
	st := &crashStorage{b: b}
	header, err := readGrainHeader(kind, st, st.Name(), int64(len(b)))
	if err != nil {
		return nil, err
	}
	e := &grainExtent{file: newGrainFile(st, header, false), cache: newReaderCache()}
	e.size = e.file.capacity * SectorSize
	if h, ok := header.(sparseHeader); ok && h.compressed() {
		e.stream = &h
	}
	return e, nil
}

// fuzzExtent is what holds for every extent: reading ends, errors are of the kinds that callers know, what NextData leaves out
// reads as zeros, and what a check finds sound can be read.
func fuzzExtent(t *testing.T, kind pieceKind, b []byte) {
	e, err := openBytes(kind, b)
	if err != nil {
		mustBeKnown(t, err)
		return
	}
	if e.file.tables() > 1<<14 {
		return // sound, and slow
	}
	c, err := e.file.check()
	if err != nil {
		mustBeKnown(t, err)
		return
	}
	for _, f := range c.findings {
		mustBeKnown(t, f.err)
	}
	p := make([]byte, 256<<10)
	n := min(int64(len(p)), e.size)
	_, err = e.ReadAt(p[:n], 0)
	mustBeKnown(t, err)
	if err != nil && len(c.findings) == 0 && e.stream == nil {
		t.Fatalf("a sound extent: %v", err)
	}
	readable := err == nil
	off := int64(0)
	for range 1000 {
		start, end, err := e.NextData(off)
		if err != nil {
			mustBeKnown(t, err)
			if len(c.findings) == 0 {
				t.Fatalf("NextData of a sound extent: %v", err)
			}
			return
		}
		if start < off || end < start || end > e.size || start == end && start != e.size {
			t.Fatalf("NextData(%d) = %d, %d, of %d", off, start, end, e.size)
		}
		if from, to := min(off, n), min(start, n); readable && len(bytes.Trim(p[from:to], "\x00")) > 0 {
			t.Fatalf("NextData leaves out [%d, %d), where there is data", off, start)
		}
		if off = end; off == e.size {
			return
		}
	}
}

// mustBeKnown: damage and what is not supported are said as such.
func mustBeKnown(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
		t.Fatalf("%v: neither damage nor unsupported", err)
	}
}

func FuzzSparseHeader(f *testing.F) {
	f.Add(newSparseHeader(1000, true).encode(), int64(1<<20))
	f.Add(newSparseHeader(100_000, false).encode(), int64(1<<30))
	f.Add(makeStream(20000, pieces{0: {1}}, streamShape{atEnd: true})[:512], int64(1<<20))
	f.Fuzz(func(t *testing.T, b []byte, fileSize int64) {
		h, err := decodeSparseHeader("x", b, fileSize)
		if err != nil {
			mustBeKnown(t, err)
			return
		}
		if h.tables() < 1 || h.tables() > maxDirectory || h.grainBytes() > 16<<20 || h.descriptorSize*SectorSize > maxDescriptorBytes {
			t.Fatalf("%+v asks for too much", h)
		}
		for _, part := range h.metadata() {
			if part.start < 0 || (part.start+part.n)*SectorSize > max(fileSize, SectorSize) {
				t.Fatalf("the %s is outside of the file: %+v", part.what, h)
			}
		}
	})
}

func FuzzSparseReader(f *testing.F) {
	image := smallSparse(f)
	f.Add([]byte{})
	f.Add(append(make([]byte, 4), patch(0x200, 1<<40)...))
	f.Fuzz(func(t *testing.T, patches []byte) { fuzzExtent(t, pieceSparse, patched(image, patches)) })
}

// smallSparse is an extent with two tables, of small grains, some of which hold data.
func smallSparse(t testing.TB) []byte {
	h := sparseHeader{version: 1, flags: flagNewlines | flagRedundant | flagZeroGrains, capacity: 8*tableEntries + 100, grain: 8,
		redundantOffset: 1, directoryOffset: 10, overhead: 24}
	b := make([]byte, 30*8*SectorSize)
	copy(b, h.encode())
	for _, at := range []int64{h.redundantOffset, h.directoryOffset} {
		copy(b[at*SectorSize:], h.newDirectory(at))
		table := b[(at+1)*SectorSize:]
		for i, g := range []int{0, 1, 7, 511, 512, 524} {
			binary.LittleEndian.PutUint32(table[g*4:], uint32(24+8*i))
		}
		binary.LittleEndian.PutUint32(table[5*4:], entryZero)
	}
	for i := 24 * SectorSize; i < len(b); i++ {
		b[i] = byte(i)
	}
	if _, err := openBytes(pieceSparse, b); err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzStream(f *testing.F) {
	const size = 70_000 / 512 * 512
	p := pieces{0: {1, 2, 3}, 3: noise(1, 8192), 8: {9}}
	images := [][]byte{makeStream(size, p, streamShape{}), makeStream(size, p, streamShape{atEnd: true, progress: true}),
		makeStream(size, p, streamShape{plain: true, short: true})}
	for i := range images {
		f.Add(byte(i), []byte{})
		f.Add(byte(i), append(make([]byte, 4), patch(0x600, 1<<33)...))
	}
	f.Fuzz(func(t *testing.T, which byte, patches []byte) {
		fuzzExtent(t, pieceSparse, patched(images[int(which)%len(images)], patches))
	})
}

func FuzzCOWD(f *testing.F) {
	image := makeCOWD(3<<20, 1, pieces{0: noise(1, 512), 9: nil, 4096: noise(2, 512), 6143: noise(3, 512)})
	f.Add([]byte{})
	f.Add(append(make([]byte, 4), patch(0x800, 1<<33)...))
	f.Fuzz(func(t *testing.T, patches []byte) { fuzzExtent(t, pieceCOWD, patched(image, patches)) })
}

func FuzzSESparse(f *testing.F) {
	image := makeSESparse(17<<20, pieces{0: noise(1, 4096), 9: nil, 10: nil, 4097: noise(2, 4096)})
	f.Add([]byte{})
	f.Add(append(make([]byte, 4), patch(0x80, 1<<33)...))
	f.Fuzz(func(t *testing.T, patches []byte) { fuzzExtent(t, pieceSE, patched(image, patches)) })
}

// chainLines are the extents that a link of FuzzChain may have; a size follows each.
var chainLines = []string{"RW %d ZERO", `RW %d VMFSSPARSE "d"`, `RW %d SESPARSE "e"`, `RW %d FLAT "f" 0`, `RW %d SPARSE "s"`, `NOACCESS %d FLAT "g" 0`,
	`RW 8 VMFSSPARSE "d"` + "\n" + `RW %d SESPARSE "e"`, `RW %d VMFSSPARSE "../d"`, `RW %d VMFSSPARSE "0.vmdk"`, `RW %d VMFSSPARSE "e"`}

// FuzzChain makes up to ten descriptors of four bytes each, which say: extents, size, parent, and content ids of both.
func FuzzChain(f *testing.F) {
	f.Add([]byte{0, 8, 0, 0x10, 1, 8, 1, 0x21, 1, 8, 2, 0x32})
	f.Add([]byte{3, 8, 0, 0x10, 2, 8, 1, 0x21, 1, 8, 2, 0x32})
	f.Add([]byte{1, 8, 2, 0x12, 1, 8, 1, 0x21})
	f.Add([]byte{1, 8, 1, 0x11})
	f.Add([]byte{0, 8, 0, 0x10, 4, 8, 11, 0x21})
	dir := f.TempDir()
	put(f, dir, "d", makeCOWD(16*SectorSize, 1, pieces{3: {1}}))
	put(f, dir, "e", makeSESparse(16*SectorSize, pieces{1: {2}}))
	put(f, dir, "f", noise(1, 16*SectorSize))
	put(f, dir, "s", smallSparse(f))
	f.Fuzz(func(t *testing.T, links []byte) {
		n := min(len(links)/4, 10)
		for i := range n {
			at := links[i*4:]
			parent := fmt.Sprintf("%d.vmdk", int(at[2])-1)
			switch at[2] {
			case 0:
				parent = ""
			case 11:
				parent = "/elsewhere/0.vmdk"
			case 12:
				parent = "../0.vmdk"
			}
			line := fmt.Sprintf(chainLines[int(at[0])%len(chainLines)], at[1])
			put(t, dir, fmt.Sprintf("%d.vmdk", i), []byte(snapshotText("custom", line, uint32(at[3]>>4), parent, uint32(at[3]&15))))
		}
		for i := n; i < 10; i++ {
			os.Remove(filepath.Join(dir, fmt.Sprintf("%d.vmdk", i)))
		}
		for i := range n {
			fuzzDisk(t, filepath.Join(dir, fmt.Sprintf("%d.vmdk", i)))
		}
	})
}

func fuzzDisk(t *testing.T, path string) {
	if _, err := Check(path); err != nil && !knownOfChain(err) {
		t.Fatal(err)
	}
	d, err := OpenReader(path)
	if err != nil {
		if !knownOfChain(err) {
			t.Fatal(err)
		}
		return
	}
	defer d.Close()
	if _, err := d.ReadAt(make([]byte, min(d.Size(), 1<<20)), 0); err != nil && err != io.EOF && !knownOfChain(err) {
		t.Fatal(err)
	}
	files := d.Description().Extents
	for _, p := range d.Description().Parents {
		files = append(files, p.Path)
	}
	for _, file := range files {
		if filepath.Dir(file) != filepath.Dir(path) {
			t.Fatalf("it read %s", file)
		}
	}
	if _, _, err := d.NextData(0); err != nil && !knownOfChain(err) {
		t.Fatal(err)
	}
}

// knownOfChain: besides damage, names that lead out.
func knownOfChain(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrNotTarget)
}
