package blockio

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// qemu runs qemu-img or qemu-io in dir, the second opinion on content. (Not on damage: they read that as zeros.)
func qemu(t *testing.T, dir, tool string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Fatalf("%s is missing; this test compares with it: install the Debian package qemu-utils", tool)
	}
	cmd := exec.Command(tool, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("failed")) {
		t.Fatalf("%s %v: %v: %s", tool, args, err, out)
	}
}

// qemuReads compares what qemu reads from the disk at path with want.
func qemuReads(t *testing.T, path string, want []byte) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "x.raw")
	qemu(t, filepath.Dir(path), "qemu-img", "convert", "-f", "vmdk", "-O", "raw", filepath.Base(path), raw)
	got, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) || firstDifference(got, want) >= 0 {
		t.Fatalf("qemu-img reads %d bytes, want %d; the first difference is at %d", len(got), len(want), firstDifference(got, want))
	}
}

// TestQemuAgreesOnHandmade: what we put together by hand is what qemu understands by it, too.
func TestQemuAgreesOnHandmade(t *testing.T) {
	const size = 20<<20 + 512
	for _, s := range []streamShape{{}, {atEnd: true}, {short: true}, {atEnd: true, store: true}} {
		t.Run(fmt.Sprintf("stream%+v", s), func(t *testing.T) {
			p := somePieces(size, 8192, tableEntries)
			qemuReads(t, put(t, t.TempDir(), "x.vmdk", makeStream(size, p, s)), p.content(size, 8192, nil))
		})
	}
	t.Run("COWD", func(t *testing.T) {
		p := somePieces(size, 512, cowdTableEntries)
		delete(p, 3) // qemu makes zeros of what is absent and of a grain of zeros alike
		qemuReads(t, putCOWD(t, t.TempDir(), "x.vmdk", size, 1, p, 5, "", 0), p.content(size, 512, nil))
	})
	t.Run("seSparse", func(t *testing.T) {
		p := somePieces(size, 4096, seSparseTableEntries)
		qemuReads(t, putSESparse(t, t.TempDir(), "x.vmdk", size, p, 5, "", 0), p.content(size, 4096, nil))
	})
}

// TestQemuWritesCOWD: qemu goes on with an image made by hand, and we read what it wrote.
func TestQemuWritesCOWD(t *testing.T) {
	const size = 5 << 20
	dir := t.TempDir()
	p := somePieces(size, 512, cowdTableEntries)
	path := putCOWD(t, dir, "x.vmdk", size, 1, p, 5, "", 0)
	want := p.content(size, 512, nil)
	var args []string
	for i, off := range []int64{512, 2<<20 - 512, 3 << 20, size - 4096} {
		args = append(args, "-c", fmt.Sprintf("write -P %d %d 4096", 0x31+i, off))
		copy(want[off:], bytes.Repeat([]byte{byte(0x31 + i)}, 4096))
	}
	qemu(t, dir, "qemu-io", append(args, "-f", "vmdk", "x.vmdk")...)
	mustRead(t, path, want)
}

func TestWeReadStreamsOfQemu(t *testing.T) {
	for _, size := range []int64{512, 65536 - 512, 65536, 65536 + 512, 32<<20 - 512, 32<<20 + 512, 70<<20 + 7*512} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			want := somePieces(size, 65536, tableEntries).content(size, 65536, nil)
			put(t, dir, "x.raw", want)
			qemu(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", "x.raw", "x.vmdk")
			mustRead(t, filepath.Join(dir, "x.vmdk"), want)
		})
	}
}

// TestWeReadChainsOfQemu: qemu-img makes the snapshots, qemu-io writes into them.
func TestWeReadChainsOfQemu(t *testing.T) {
	const size = 40<<20 + 512
	for _, base := range []string{"monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized"} {
		for _, child := range []string{"monolithicSparse", "twoGbMaxExtentSparse"} {
			t.Run(base+"/"+child, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				want := somePieces(size, 65536, tableEntries).content(size, 65536, nil)
				put(t, dir, "x.raw", want)
				qemu(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat="+base, "x.raw", "0.vmdk")
				for i := 1; i <= 3; i++ {
					name := fmt.Sprintf("%d.vmdk", i)
					qemu(t, dir, "qemu-img", "create", "-f", "vmdk", "-b", fmt.Sprintf("%d.vmdk", i-1), "-F", "vmdk",
						"-o", "subformat="+child+",zeroed_grain=on", name)
					off := int64(i) * 7 << 20
					qemu(t, dir, "qemu-io", "-f", "vmdk", "-c", fmt.Sprintf("write -P %d %d 9000", i, off), "-c", "write -P 9 100 700",
						"-c", fmt.Sprintf("write -z %d 65536", int64(i-1)*65536), name)
					copy(want[off:], bytes.Repeat([]byte{byte(i)}, 9000))
					copy(want[100:], bytes.Repeat([]byte{9}, 700))
					clear(want[(i-1)*65536 : i*65536])
				}
				mustRead(t, filepath.Join(dir, "3.vmdk"), want)
				qemuReads(t, filepath.Join(dir, "3.vmdk"), want)
				qemu(t, dir, "qemu-io", "-f", "vmdk", "-c", "write -P 5 0 512", "1.vmdk")
				if _, err := OpenReader(filepath.Join(dir, "3.vmdk")); err == nil || !strings.Contains(err.Error(), "was changed after") {
					t.Errorf("a disk below was written: OpenReader: %v", err)
				}
			})
		}
	}
}

// largeSizes cross what fits into one piece of a split disk, and into the sector numbers of a sparse one.
var largeSizes = []int64{2<<30 - 512, 2 << 30, 2<<30 + 512, 2047<<20 + 512, 5<<30 + 512}

// marksOf are places in a large disk, at its ends and across the pieces of split ones.
func marksOf(size int64) []int64 {
	marks := []int64{0, 1<<30 - 512, size - 1024}
	for _, at := range []int64{2047 << 20, 2 << 30, 4 << 30, 2 << 40} {
		if at+1024 < size {
			marks = append(marks, at-512)
		}
	}
	return marks
}

const markBytes = 1024

// TestLargeDisksOfQemu: we read what qemu writes into large disks, and know the rest to be empty.
func TestLargeDisksOfQemu(t *testing.T) {
	for _, format := range []string{"monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"} {
		for _, size := range append(largeSizes, 2<<40+65536+512) {
			if size > 1<<40 && format != "monolithicSparse" {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", format, size), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				qemu(t, dir, "qemu-img", "create", "-f", "vmdk", "-o", "subformat="+format, "x.vmdk", fmt.Sprint(size))
				args := []string{"-f", "vmdk"}
				for i, off := range marksOf(size) {
					args = append(args, "-c", fmt.Sprintf("write -P %d %d %d", i+1, off, markBytes))
				}
				qemu(t, dir, "qemu-io", append(args, "x.vmdk")...)
				mustFindMarks(t, filepath.Join(dir, "x.vmdk"), size)
			})
		}
	}
}

// TestQemuReadsLargeDisks: and the other way round.
func TestQemuReadsLargeDisks(t *testing.T) {
	for _, format := range []Format{FormatMonolithicSparse, FormatMonolithicFlat, FormatTwoGbSparse, FormatTwoGbMaxExtentFlat, FormatVMFS} {
		for _, size := range append(largeSizes, 2<<40+65536+512) {
			if size > 1<<40 && format != FormatMonolithicSparse {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", format, size), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				path := filepath.Join(dir, "x.vmdk")
				if err := Create(path, format, size); err != nil {
					t.Fatal(err)
				}
				d, err := OpenTarget(path, TargetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if err := d.SetContentID(7); err != nil {
					t.Fatal(err)
				}
				args := []string{"-r", "-f", "vmdk"}
				for i, off := range marksOf(size) {
					if _, err := d.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, markBytes), off); err != nil {
						t.Fatal(err)
					}
					args = append(args, "-c", fmt.Sprintf("read -P %d %d %d", i+1, off, markBytes))
				}
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				qemu(t, dir, "qemu-io", append(args, "x.vmdk")...)
				mustFindMarks(t, path, size)
			})
		}
	}
}

// mustFindMarks reads the marks, and checks that NextData finds them and little else.
func mustFindMarks(t *testing.T, path string, size int64) {
	t.Helper()
	d, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Size() != size {
		t.Fatalf("Size = %d, want %d", d.Size(), size)
	}
	b := make([]byte, markBytes)
	found := map[int64]bool{}
	data := int64(0)
	for off := int64(0); off < size; {
		start, end, err := d.NextData(off)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range marksOf(size) {
			found[at] = found[at] || start <= at && at < end
		}
		data, off = data+end-start, end
	}
	for i, off := range marksOf(size) {
		if _, err := d.ReadAt(b, off); err != nil || !bytes.Equal(b, bytes.Repeat([]byte{byte(i + 1)}, markBytes)) {
			t.Errorf("mark %d at %d: %v, % x…", i+1, off, err, b[:4])
		}
		if !found[off] {
			t.Errorf("NextData does not find the mark at %d", off)
		}
	}
	if data > 2<<20 {
		t.Errorf("NextData calls %d bytes data", data)
	}
	if findings, err := Check(path); err != nil || len(findings) > 0 {
		t.Errorf("Check = %v, %v", findings, err)
	}
}
