package blockio_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"failback/blockio"
	"failback/blockio/blockiotest"
)

// qemuImg runs qemu-img, the second opinion on content. (Not on damage: it reads that as zeros.)
func qemuImg(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Fatal("qemu-img is missing; this test compares with it: install the Debian package qemu-utils")
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v: %s", args, err, out)
	}
}

// sizesOfInterest lie at the boundaries of sectors, grains and tables.
var sizesOfInterest = []int64{512, 65536 - 512, 65536, 65536 + 512, 32<<20 - 512, 32<<20 + 512, 34<<20 + 7*512}

// scatter is a few writes that leave holes, for a disk of size bytes; the last one ends with the disk.
func scatter(size int64) map[int64][]byte {
	writes := map[int64][]byte{}
	for i, off := range []int64{0, 3 * 512, 65536 - 100, 1<<20 + 1, 33<<20 - 70_000} {
		if n := min(100_000, size-off); n > 0 {
			writes[off] = blockiotest.Pattern(uint64(i), int(n))
		}
	}
	n := min(size, 700)
	writes[size-n] = blockiotest.Pattern(99, int(n))
	return writes
}

// scattered is the content that results, written in the order of the offsets.
func scattered(size int64) []byte {
	b := make([]byte, size)
	writes := scatter(size)
	for _, off := range sortedKeys(writes) {
		copy(b[off:], writes[off])
	}
	return b
}

func TestQemuReadsWhatWeWrite(t *testing.T) {
	for _, f := range []blockio.Format{blockio.FormatVMFS, blockio.FormatMonolithicFlat, blockio.FormatTwoGbMaxExtentFlat,
		blockio.FormatMonolithicSparse, blockio.FormatTwoGbSparse} {
		for _, size := range sizesOfInterest {
			t.Run(fmt.Sprintf("%s/%d", f, size), func(t *testing.T) {
				t.Parallel()
				path := mustCreate(t, "x.vmdk", f, size)
				d := mustOpen(t, path)
				writes := scatter(size)
				for _, off := range sortedKeys(writes) {
					if _, err := d.WriteAt(writes[off], off); err != nil {
						t.Fatal(err)
					}
				}
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				raw := filepath.Join(t.TempDir(), "x.raw")
				qemuImg(t, "convert", "-f", "vmdk", "-O", "raw", path, raw)
				got, err := os.ReadFile(raw)
				if err != nil {
					t.Fatal(err)
				}
				if err := blockiotest.Diff(got, scattered(size)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestWeReadWhatQemuWrites(t *testing.T) {
	for _, subformat := range []string{"monolithicFlat", "monolithicSparse", "twoGbMaxExtentFlat", "twoGbMaxExtentSparse"} {
		for _, size := range sizesOfInterest {
			t.Run(fmt.Sprintf("%s/%d", subformat, size), func(t *testing.T) {
				t.Parallel()
				path := qemuDisk(t, subformat, scattered(size))
				compareDisk(t, path, scattered(size))
				if d, err := blockio.Probe(path); err != nil || string(d.Format) != subformat || d.TargetRefusal != "" {
					t.Errorf("Probe = %+v, %v", d, err)
				}
			})
		}
	}
}

// TestWeReadVMFSFromQemu: the same data file under the descriptor that ESXi has for it.
func TestWeReadVMFSFromQemu(t *testing.T) {
	const size = 5 << 20
	path := qemuDisk(t, "monolithicFlat", scattered(size))
	edit(t, path, `createType="monolithicFlat"`, `createType="vmfs"`)
	edit(t, path, `FLAT "x-flat.vmdk" 0`, `VMFS "x-flat.vmdk"`)
	compareDisk(t, path, scattered(size))
}

// TestWriteIntoQemuImages goes on with an image that qemu made, and lets it read the result.
func TestWriteIntoQemuImages(t *testing.T) {
	const size = 40 << 20
	for _, subformat := range []string{"monolithicFlat", "monolithicSparse", "twoGbMaxExtentSparse"} {
		t.Run(subformat, func(t *testing.T) {
			t.Parallel()
			want := scattered(size)
			path := qemuDisk(t, subformat, want)
			d := mustOpen(t, path)
			p := blockiotest.Pattern(5, 300_000)
			for _, off := range []int64{10, 36<<20 - 1, size - 300_000} {
				if _, err := d.WriteAt(p, off); err != nil {
					t.Fatal(err)
				}
				copy(want[off:], p)
			}
			if err := d.Zero(1<<20, 65536); err != nil {
				t.Fatal(err)
			}
			clear(want[1<<20 : 1<<20+65536])
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			compareDisk(t, path, want)
			raw := filepath.Join(t.TempDir(), "x.raw")
			qemuImg(t, "convert", "-f", "vmdk", "-O", "raw", path, raw)
			got, err := os.ReadFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			if err := blockiotest.Diff(got, want); err != nil {
				t.Error(err)
			}
		})
	}
}

// qemuDisk lets qemu-img make a VMDK with that content.
func qemuDisk(t *testing.T, subformat string, content []byte) string {
	t.Helper()
	dir := t.TempDir()
	raw, path := filepath.Join(dir, "x.raw"), filepath.Join(dir, "x.vmdk")
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat="+subformat, raw, path)
	return path
}

// compareDisk reads the disk at path, and walks its data ranges.
func compareDisk(t *testing.T, path string, want []byte) {
	t.Helper()
	d, err := blockio.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got := make([]byte, d.Size())
	if _, err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if err := blockiotest.Diff(got, want); err != nil {
		t.Fatal(err)
	}
	byRanges := make([]byte, d.Size())
	for off := int64(0); off < d.Size(); {
		start, end, err := d.NextData(off)
		if err != nil {
			t.Fatal(err)
		}
		copy(byRanges[start:end], got[start:end])
		off = end
	}
	if !bytes.Equal(byRanges, want) {
		t.Error("NextData misses data")
	}
}
