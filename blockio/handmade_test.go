package blockio

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Images that no tool here makes are put together in this file, byte by byte, after the layouts in doc.go.

// pieces is what an image is made from: the content of grains by number; nil is a grain of zeros. What is not in it is absent.
type pieces map[int64][]byte

// content is the disk that results, on top of what is below it.
func (p pieces) content(size, grain int64, below []byte) []byte {
	b := make([]byte, size)
	copy(b, below)
	for g, data := range p {
		at := b[g*grain : min((g+1)*grain, size)]
		clear(at)
		copy(at, data)
	}
	return b
}

// noise is data that does not get smaller, and is different for each seed.
func noise(seed uint64, n int64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// grow puts b at the end of file, from a multiple of align sectors on, and returns the sector.
func grow(file *[]byte, b []byte, align int64) uint64 {
	unit := align * SectorSize
	at := ceilDiv(int64(len(*file)), unit) * unit
	*file = append(*file, make([]byte, at-int64(len(*file)))...)
	*file = append(*file, b...)
	*file = append(*file, make([]byte, ceilDiv(int64(len(*file)), SectorSize)*SectorSize-int64(len(*file)))...)
	return uint64(at / SectorSize)
}

func words32(entries []uint64) []byte {
	b := make([]byte, len(entries)*4)
	for i, e := range entries {
		binary.LittleEndian.PutUint32(b[i*4:], uint32(e))
	}
	return b
}

func words64(entries []uint64) []byte {
	b := make([]byte, len(entries)*8)
	for i, e := range entries {
		binary.LittleEndian.PutUint64(b[i*8:], e)
	}
	return b
}

// streamShape is what writers of streams do differently.
type streamShape struct {
	atEnd    bool // directory behind the grains, and a footer
	progress bool // markers of type 4 here and there
	plain    bool // no markers, only sizes
	short    bool // the last grain ends with the disk
	store    bool // no compression worth the name
}

// marker is a sector that says what follows.
func marker(value uint64, kind uint32) []byte {
	b := make([]byte, SectorSize)
	binary.LittleEndian.PutUint64(b, value)
	binary.LittleEndian.PutUint32(b[12:], kind)
	return b
}

// makeStream puts a streamOptimized image together, with grains of 16 sectors.
func makeStream(size int64, p pieces, s streamShape) []byte {
	const grain = 16
	le := binary.LittleEndian
	text := fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=0badcafe\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n"+
		"RDONLY %d SPARSE \"generated-stream.vmdk\"\n", size/SectorSize)
	head := make([]byte, SectorSize)
	le.PutUint32(head, sparseMagic)
	le.PutUint32(head[4:], 3)
	flags := uint32(flagNewlines | flagCompressed | flagMarkers)
	if s.plain {
		flags &^= flagMarkers
	}
	le.PutUint32(head[8:], flags)
	le.PutUint64(head[12:], uint64(size/SectorSize))
	le.PutUint64(head[20:], grain)
	le.PutUint64(head[28:], 1)
	le.PutUint64(head[36:], 2)
	le.PutUint32(head[44:], tableEntries)
	le.PutUint64(head[48:], 0x1234567890) // to be ignored
	copy(head[73:], newlineCheck[:])
	head[77] = compressionDeflate

	file := append(bytes.Clone(head), make([]byte, 2*SectorSize)...)
	copy(file[SectorSize:], text)
	tables := ceilDiv(size, grain*SectorSize*tableEntries)
	directory := make([]uint64, tables)
	entries := make([]uint64, tables*tableEntries)
	directorySectors := ceilDiv(tables*4, SectorSize)
	if !s.atEnd {
		grow(&file, make([]byte, (directorySectors+tables*tableSectors)*SectorSize), 1)
	}
	for g := int64(0); g*grain*SectorSize < size; g++ {
		if s.progress && g%3 == 1 {
			grow(&file, append(marker(1, 4), make([]byte, SectorSize)...), 1)
		}
		data, ok := p[g]
		if !ok {
			continue
		}
		raw := make([]byte, grain*SectorSize)
		copy(raw, data)
		if left := size - g*grain*SectorSize; s.short && left < int64(len(raw)) {
			raw = raw[:left]
		}
		entries[g] = grow(&file, compressedGrain(raw, uint64(g*grain), s), 1)
	}
	tableAt := func(i int64, write func(b []byte) uint64) {
		directory[i] = write(words32(entries[i*tableEntries : (i+1)*tableEntries]))
	}
	if !s.atEnd {
		next := int64(3) + directorySectors
		for i := range tables {
			tableAt(i, func(b []byte) uint64 {
				copy(file[next*SectorSize:], b)
				next += tableSectors
				return uint64(next - tableSectors)
			})
		}
		copy(file[3*SectorSize:], words32(directory))
		le.PutUint64(file[56:], 3)
		le.PutUint64(file[64:], uint64(next))
		grow(&file, marker(0, markerEnd), 1)
		return file
	}
	for i := range tables {
		if s.plain || bytes.Equal(words32(entries[i*tableEntries:(i+1)*tableEntries]), make([]byte, tableBytes)) {
			if !s.plain {
				continue
			}
		}
		grow(&file, marker(4, 1), 1)
		tableAt(i, func(b []byte) uint64 { return grow(&file, b, 1) })
	}
	grow(&file, marker(uint64(directorySectors), 2), 1)
	le.PutUint64(file[56:], gdAtEnd)
	le.PutUint64(head[56:], grow(&file, words32(directory), 1))
	grow(&file, marker(1, markerFooter), 1)
	grow(&file, head, 1)
	grow(&file, marker(0, markerEnd), 1)
	return file
}

// compressedGrain is a grain with what stands before it.
func compressedGrain(raw []byte, sector uint64, s streamShape) []byte {
	var z bytes.Buffer
	level := zlib.DefaultCompression
	if s.store {
		level = zlib.NoCompression
	}
	w, _ := zlib.NewWriterLevel(&z, level)
	w.Write(raw)
	w.Close()
	var b []byte
	if !s.plain {
		b = binary.LittleEndian.AppendUint64(b, sector)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(z.Len()))
	return append(b, z.Bytes()...)
}

// makeCOWD puts the data file of a vmfsSparse disk together.
func makeCOWD(size, grain int64, p pieces) []byte {
	le := binary.LittleEndian
	tables := ceilDiv(size, grain*SectorSize*cowdTableEntries)
	head := make([]byte, cowdHeaderBytes)
	le.PutUint32(head, cowdMagic)
	le.PutUint32(head[4:], 1)
	le.PutUint32(head[8:], 3)
	le.PutUint32(head[12:], uint32(size/SectorSize))
	le.PutUint32(head[16:], uint32(grain))
	le.PutUint32(head[20:], 4)
	le.PutUint32(head[24:], uint32(tables))
	file := bytes.Clone(head)
	directory := make([]uint64, tables)
	at := grow(&file, words32(directory), 1)
	for i := range tables {
		entries := make([]uint64, cowdTableEntries)
		some := false
		for j := range int64(cowdTableEntries) {
			if data, ok := p[i*cowdTableEntries+j]; ok {
				b := make([]byte, grain*SectorSize)
				copy(b, data)
				entries[j], some = grow(&file, b, 1), true
			}
		}
		if some {
			directory[i] = grow(&file, words32(entries), 1)
		}
	}
	copy(file[at*SectorSize:], words32(directory))
	le.PutUint32(file[28:], uint32(len(file)/SectorSize)) // the next free sector
	return file
}

// makeSESparse puts the data file of a seSparse disk together. Tables and grains are in no order. Grains of zeros are unmapped or
// zeroed by turns.
func makeSESparse(size int64, p pieces) []byte {
	le := binary.LittleEndian
	const grain = seSparseGrain * SectorSize
	tables := ceilDiv(size, grain*seSparseTableEntries)
	held := int64(0)
	for _, data := range p {
		if data != nil {
			held++
		}
	}
	file := make([]byte, SectorSize)
	place := func(at int, sectors int64) uint64 {
		start := grow(&file, make([]byte, sectors*SectorSize), 8)
		le.PutUint64(file[at:], start)
		le.PutUint64(file[at+8:], uint64(sectors))
		return start
	}
	le.PutUint64(file, seSparseMagic)
	le.PutUint64(file[8:], seSparseVersion)
	le.PutUint64(file[16:], uint64(size/SectorSize))
	le.PutUint64(file[24:], seSparseGrain)
	le.PutUint64(file[32:], seSparseTable)
	volatile := place(80, 1)
	le.PutUint64(file[volatile*SectorSize:], seSparseVolatileMagic)
	place(96, 1)
	place(112, 8)
	directory := place(128, ceilDiv(tables*8, SectorSize))
	first := place(144, tables*seSparseTable)
	place(160, 8)
	place(176, 8)
	grains := place(192, held*seSparseGrain+64)
	next := held - 1
	for i := range tables {
		entries := make([]uint64, seSparseTableEntries)
		some := false
		for j := range int64(seSparseTableEntries) {
			g := i*seSparseTableEntries + j
			data, ok := p[g]
			switch {
			case !ok:
				continue
			case data == nil:
				entries[j] = uint64(1+g%2) << 60
			default:
				copy(file[int64(grains)*SectorSize+next*grain:], data)
				entries[j] = seSparseAllocated<<60 | uint64(next)&0xfff<<48 | uint64(next)>>12
				next--
			}
			some = true
		}
		if some {
			number := tables - 1 - i
			le.PutUint64(file[int64(directory)*SectorSize+i*8:], seSparseTableTag<<32|uint64(number))
			copy(file[(int64(first)+number*seSparseTable)*SectorSize:], words64(entries))
		}
	}
	return file
}

// snapshotText is a descriptor; parent is "" for a disk without one.
func snapshotText(createType, line string, id uint32, parent string, parentID uint32) string {
	if parent != "" {
		parent = fmt.Sprintf("parentFileNameHint=%q\n", parent)
	} else {
		parentID = noParent
	}
	return fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%08x\ncreateType=%q\n%s%s\n# The Disk Data Base\n#DDB\n\n",
		id, parentID, createType, parent, line)
}

// put writes a file into dir and returns its path.
func put(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func putCOWD(t testing.TB, dir, name string, size, grain int64, p pieces, id uint32, parent string, parentID uint32) string {
	t.Helper()
	data := strings.TrimSuffix(name, ".vmdk") + "-delta.vmdk"
	put(t, dir, data, makeCOWD(size, grain, p))
	return put(t, dir, name, []byte(snapshotText("vmfsSparse", fmt.Sprintf("RW %d VMFSSPARSE %q", size/SectorSize, data), id, parent, parentID)))
}

func putSESparse(t testing.TB, dir, name string, size int64, p pieces, id uint32, parent string, parentID uint32) string {
	t.Helper()
	data := strings.TrimSuffix(name, ".vmdk") + "-sesparse.vmdk"
	put(t, dir, data, makeSESparse(size, p))
	return put(t, dir, name, []byte(snapshotText("seSparse", fmt.Sprintf("RW %d SESPARSE %q", size/SectorSize, data), id, parent, parentID)))
}

// putFlat writes a base disk.
func putFlat(t testing.TB, dir, name string, content []byte, id uint32) string {
	t.Helper()
	data := strings.TrimSuffix(name, ".vmdk") + "-flat.vmdk"
	put(t, dir, data, content)
	return put(t, dir, name, []byte(snapshotText("vmfs", fmt.Sprintf("RW %d VMFS %q", len(content)/SectorSize, data), id, "", 0)))
}

// mustRead compares the disk at path with want, read as a whole, in odd pieces, and by its data ranges, and checks it.
func mustRead(t *testing.T, path string, want []byte) {
	t.Helper()
	d, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Size() != int64(len(want)) {
		t.Fatalf("Size = %d, want %d", d.Size(), len(want))
	}
	got := make([]byte, len(want))
	if _, err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if i := firstDifference(got, want); i >= 0 {
		t.Fatalf("the content differs from offset %d on", i)
	}
	r := rand.New(rand.NewPCG(7, 7))
	for range 50 {
		off := r.Int64N(int64(len(want)))
		n := min(1+r.Int64N(100_000), int64(len(want))-off)
		b := got[:n]
		if _, err := d.ReadAt(b, off); err != nil || !bytes.Equal(b, want[off:off+n]) {
			t.Fatalf("ReadAt(%d, %d): %v, or another content", n, off, err)
		}
	}
	ranges := make([]byte, len(want))
	for off := int64(0); off < d.Size(); {
		start, end, err := d.NextData(off)
		if err != nil || start < off || end < start || start == end && start != d.Size() {
			t.Fatalf("NextData(%d) = %d, %d, %v", off, start, end, err)
		}
		copy(ranges[start:end], want[start:end])
		off = end
	}
	if i := firstDifference(ranges, want); i >= 0 {
		t.Fatalf("NextData misses the data at offset %d", i)
	}
	if findings, err := Check(path); err != nil || len(findings) > 0 {
		t.Fatalf("Check = %v, %v", findings, err)
	}
}

// firstDifference is -1 where there is none. Byte by byte it would be most of the suite's work under the race detector.
func firstDifference(a, b []byte) int {
	const step = 1 << 12
	for off := 0; off < len(a); off += step {
		end := min(off+step, len(a))
		if bytes.Equal(a[off:end], b[off:end]) {
			continue
		}
		for i := off; i < end; i++ {
			if a[i] != b[i] {
				return i
			}
		}
	}
	return -1
}
