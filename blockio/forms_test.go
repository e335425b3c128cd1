package blockio

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// formSizes lie at the boundaries of sectors, grains (8 KiB for streams, 4 KiB for seSparse) and tables.
var formSizes = []int64{512, 4096 - 512, 4096, 4096 + 512, 8192 - 512, 8192, 8192 + 512, 2<<20 - 512, 2<<20 + 512, 4<<20 + 512, 16<<20 + 7*512}

// somePieces are grains here and there, at both ends and on both sides of each table's, one of them of zeros.
func somePieces(size, grain, perTable int64) pieces {
	p := pieces{}
	last := (size - 1) / grain
	for i, g := range []int64{0, 1, 2, 5, perTable - 1, perTable, perTable + 1, last - 1, last} {
		if g >= 0 && g <= last {
			p[g] = noise(uint64(i), min(grain, size-g*grain))
		}
	}
	if last > 3 {
		p[3] = nil
	}
	return p
}

func TestReadStream(t *testing.T) {
	for _, size := range formSizes {
		p := somePieces(size, 8192, tableEntries)
		for _, s := range []streamShape{{}, {atEnd: true}, {short: true}, {atEnd: true, short: true}, {progress: true}, {atEnd: true, progress: true},
			{plain: true}, {atEnd: true, store: true}, {store: true, short: true}} {
			t.Run(fmt.Sprintf("%d/%+v", size, s), func(t *testing.T) {
				t.Parallel()
				path := put(t, t.TempDir(), "x.vmdk", makeStream(size, p, s))
				mustRead(t, path, p.content(size, 8192, nil))
				d, err := Probe(path)
				if err != nil || d.Format != formatStreamOptimized || d.ContentID != 0x0badcafe || !strings.Contains(d.TargetRefusal, "RDONLY") {
					t.Errorf("Probe = %+v, %v", d, err)
				}
			})
		}
	}
}

func TestReadCOWD(t *testing.T) {
	for _, size := range formSizes {
		for _, grain := range []int64{1, 8, 2048} {
			t.Run(fmt.Sprintf("%d/%d", size, grain), func(t *testing.T) {
				t.Parallel()
				p := somePieces(size, grain*SectorSize, cowdTableEntries)
				path := putCOWD(t, t.TempDir(), "x.vmdk", size, grain, p, 5, "", 0)
				mustRead(t, path, p.content(size, grain*SectorSize, nil))
			})
		}
	}
}

func TestReadSESparse(t *testing.T) {
	for _, size := range formSizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			p := somePieces(size, 4096, seSparseTableEntries)
			path := putSESparse(t, t.TempDir(), "x.vmdk", size, p, 5, "", 0)
			mustRead(t, path, p.content(size, 4096, nil))
		})
	}
}

// TestReadManyGrainsOfSESparse: the number of a grain is kept in two parts.
func TestReadManyGrainsOfSESparse(t *testing.T) {
	p := pieces{}
	for g := range int64(5000) {
		p[g] = noise(uint64(g), 64)
	}
	path := putSESparse(t, t.TempDir(), "x.vmdk", 5000*4096, p, 5, "", 0)
	mustRead(t, path, p.content(5000*4096, 4096, nil))
}

// TestReadChains: what a snapshot lacks comes from the disk below, and what it has hides that, zeros too.
func TestReadChains(t *testing.T) {
	const size = 20<<20 + 3*512
	base := noise(1, size)
	clear(base[5<<20 : 9<<20])
	t.Run("COWD", func(t *testing.T) {
		dir := t.TempDir()
		putFlat(t, dir, "b.vmdk", base, 1)
		want := base
		for i := uint32(1); i <= 3; i++ {
			p := pieces{int64(i): noise(uint64(i), 512), int64(1000 * i): nil, 4096 * 2: noise(uint64(i+10), 512)}
			parent := "b.vmdk"
			if i > 1 {
				parent = fmt.Sprintf("b-%06d.vmdk", i-1)
			}
			putCOWD(t, dir, fmt.Sprintf("b-%06d.vmdk", i), size, 1, p, i+1, parent, i)
			want = p.content(size, 512, want)
		}
		mustRead(t, dir+"/b-000003.vmdk", want)
		d, err := Probe(dir + "/b-000003.vmdk")
		if err != nil || len(d.Parents) != 3 || d.Parents[2] != (Parent{Path: dir + "/b.vmdk", Format: FormatVMFS, ContentID: 1, Noted: 1}) {
			t.Errorf("Probe = %+v, %v", d, err)
		}
	})
	t.Run("SESparse", func(t *testing.T) {
		dir := t.TempDir()
		putFlat(t, dir, "b.vmdk", base, 1)
		first := pieces{0: noise(2, 4096), 10: nil, 11: nil, 4096: noise(3, 4096)}
		second := pieces{10: noise(4, 4096), 4097: nil, (size - 1) / 4096: nil}
		putSESparse(t, dir, "b-000001.vmdk", size, first, 2, "b.vmdk", 1)
		path := putSESparse(t, dir, "b-000002.vmdk", size, second, 3, "/vmfs/volumes/5f/elsewhere/b-000001.vmdk", 2)
		mustRead(t, path, second.content(size, 4096, first.content(size, 4096, base)))
	})
	t.Run("StreamBelow", func(t *testing.T) {
		dir := t.TempDir()
		p := somePieces(size, 8192, tableEntries)
		put(t, dir, "b.vmdk", makeStream(size, p, streamShape{atEnd: true}))
		q := pieces{1: noise(9, 4096), 2: nil}
		path := putSESparse(t, dir, "c.vmdk", size, q, 3, "b.vmdk", 0x0badcafe)
		mustRead(t, path, q.content(size, 4096, p.content(size, 8192, nil)))
	})
}

// TestSplitSnapshot: each extent of a snapshot lies over its own part of the disk below.
func TestSplitSnapshot(t *testing.T) {
	const size = 3 << 20
	dir, base := t.TempDir(), noise(1, size)
	putFlat(t, dir, "b.vmdk", base, 1)
	p, q := pieces{3: noise(2, 512)}, pieces{7: noise(3, 512), 4095: noise(4, 512)}
	put(t, dir, "p.vmdk", makeCOWD(1<<20, 1, p))
	put(t, dir, "q.vmdk", makeCOWD(2<<20, 1, q))
	path := put(t, dir, "c.vmdk", []byte(snapshotText("vmfsSparse", "RW 2048 VMFSSPARSE \"p.vmdk\"\nRW 4096 VMFSSPARSE \"q.vmdk\"", 2, "b.vmdk", 1)))
	mustRead(t, path, append(p.content(1<<20, 512, base[:1<<20]), q.content(2<<20, 512, base[1<<20:])...))
}

// TestNoAccessExtent: the rest of the disk can be read, and the extent is not opened.
func TestNoAccessExtent(t *testing.T) {
	dir, data := t.TempDir(), noise(1, 1024)
	put(t, dir, "d", data)
	put(t, dir, "e", data)
	path := put(t, dir, "x.vmdk", []byte(snapshotText("custom", "RW 2 FLAT \"d\" 0\nNOACCESS 4 FLAT \"absent\" 0\nRDONLY 1 FLAT \"e\" 1", 1, "", 0)))
	d, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := make([]byte, 7*512)
	if n, err := d.ReadAt(b, 0); n != 1024 || !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "NOACCESS") {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
	if start, end, err := d.NextData(1024); start != 1024 || end != 6*512 || err != nil {
		t.Errorf("NextData = %d, %d, %v", start, end, err)
	}
	if _, err := d.ReadAt(b[:512], 6*512); err != nil || string(b[:512]) != string(data[512:]) {
		t.Errorf("ReadAt behind it: %v", err)
	}
}

// TestOddDescriptors: names in other encodings are bytes; content ids may lack digits.
func TestOddDescriptors(t *testing.T) {
	for name, file := range map[string]string{"Windows1252": "b\xfcro-flat.vmdk", "GBK": "\xb2\xe2\xca\xd4\\\xc0-flat.vmdk", "Big5": "\xa5\x5c-flat.vmdk",
		"ShiftJIS": "\x83\x5c\x95\x5c.vmdk", "Quotes": "a \"b\" c.vmdk", "NoBreakSpace": "\xc2\xa0x.vmdk"} {
		t.Run(name, func(t *testing.T) {
			dir, data := t.TempDir(), noise(3, 1024)
			put(t, dir, file, data)
			text := snapshotText("vmfs", "RW 2 VMFS \""+file+"\"", 0xc97ec59, "", 0)
			text = strings.Replace(text, "CID=0c97ec59", "encoding=\"GBK\"\nCID=c97ec59", 1)
			path := put(t, dir, "x.vmdk", []byte(strings.ReplaceAll(text, "\n", "\r\n")+strings.Repeat("\x00", 700)))
			mustRead(t, path, data)
			if d, err := Probe(path); err != nil || d.ContentID != 0xc97ec59 || d.TargetRefusal != "" {
				t.Errorf("Probe = %+v, %v", d, err)
			}
		})
	}
}

// TestChainDepth: as many disks as any product makes can be below one, and an endless chain ends.
func TestChainDepth(t *testing.T) {
	const size = 1 << 20
	dir := t.TempDir()
	content := noise(1, size)
	putFlat(t, dir, "0.vmdk", content, 1)
	p := pieces{7: noise(2, 512)}
	put(t, dir, "d", makeCOWD(size, 1, p))
	for i := range maxChain + 1 {
		put(t, dir, fmt.Sprintf("%d.vmdk", i+1), []byte(snapshotText("vmfsSparse", fmt.Sprintf("RW %d VMFSSPARSE \"d\"", size/SectorSize),
			uint32(i+2), fmt.Sprintf("%d.vmdk", i), uint32(i+1))))
	}
	d, err := OpenReader(fmt.Sprintf("%s/%d.vmdk", dir, maxChain))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got := make([]byte, size)
	if _, err := d.ReadAt(got, 0); err != nil || firstDifference(got, p.content(size, 512, content)) >= 0 {
		t.Errorf("ReadAt: %v, or another content", err)
	}
	if _, err := OpenReader(fmt.Sprintf("%s/%d.vmdk", dir, maxChain+1)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "more than 128") {
		t.Errorf("one more: %v", err)
	}
}

// TestMixedChainIsRefused: the two kinds of ESXi do not lie on each other.
func TestMixedChainIsRefused(t *testing.T) {
	dir := t.TempDir()
	putFlat(t, dir, "b.vmdk", make([]byte, 1<<20), 1)
	putCOWD(t, dir, "c.vmdk", 1<<20, 1, nil, 2, "b.vmdk", 1)
	path := putSESparse(t, dir, "s.vmdk", 1<<20, nil, 3, "c.vmdk", 2)
	if _, err := OpenReader(path); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "one chain") {
		t.Errorf("OpenReader: %v", err)
	}
}

// TestParentOfAnotherHost: of an absolute path only the name counts.
func TestParentOfAnotherHost(t *testing.T) {
	dir, content := t.TempDir(), noise(1, 1<<20)
	putFlat(t, dir, "b.vmdk", content, 1)
	for i, hint := range []string{"/vmfs/volumes/5e/other/b.vmdk", `C:\vm\b.vmdk`} {
		name := fmt.Sprintf("c%d.vmdk", i)
		text := snapshotText("vmfsSparse", `RW 2048 VMFSSPARSE "d"`, 2, "HINT", 1)
		put(t, dir, "d", makeCOWD(1<<20, 1, nil))
		mustRead(t, put(t, dir, name, []byte(strings.Replace(text, "HINT", hint, 1))), content)
	}
}

// TestWrappedDescriptor: a header without room for grains is only there for its descriptor.
func TestWrappedDescriptor(t *testing.T) {
	dir, content := t.TempDir(), noise(1, 4096)
	put(t, dir, "d", content)
	b := make([]byte, 3*SectorSize)
	copy(b, sparseHeader{version: 1, grain: newGrain, descriptorOffset: 1, descriptorSize: 2}.encode())
	copy(b[SectorSize:], snapshotText("monolithicFlat", `RW 8 FLAT "d" 0`, 7, "", 0))
	path := put(t, dir, "x.vmdk", b)
	mustRead(t, path, content)
	if d, err := Probe(path); err != nil || d.Format != FormatMonolithicFlat || !strings.Contains(d.TargetRefusal, "inside of a header") {
		t.Errorf("Probe = %+v, %v", d, err)
	}
}
