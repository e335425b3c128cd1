package blockio_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"failback/blockio"
)

func TestGrow(t *testing.T) {
	const was, size = 3 << 20, 5<<30 + 512
	for _, f := range []blockio.Format{blockio.FormatRaw, blockio.FormatVMFS, blockio.FormatMonolithicFlat} {
		for _, cut := range []bool{false, true} { // a crash left the file grown, and the descriptor as it was
			t.Run(string(f), func(t *testing.T) {
				dir := t.TempDir()
				path, data := filepath.Join(dir, "x.vmdk"), filepath.Join(dir, "x-flat.vmdk")
				if f == blockio.FormatRaw {
					path, data = filepath.Join(dir, "x.raw"), filepath.Join(dir, "x.raw")
				}
				if err := blockio.Create(path, f, was); err != nil {
					t.Fatal(err)
				}
				content := bytes.Repeat([]byte("what was there. "), was/16)
				write := func(off int64, b []byte, ids ...uint32) uint32 {
					d, err := blockio.OpenTarget(path, blockio.TargetOptions{ResumeContentIDs: ids})
					if err != nil {
						t.Fatal(err)
					}
					id := blockio.NewContentID()
					if len(ids) > 0 {
						id = ids[0]
					}
					if err := d.SetContentID(id); err != nil {
						t.Fatal(err)
					}
					if _, err := d.WriteAt(b, off); err != nil {
						t.Fatal(err)
					}
					if err := d.Close(); err != nil {
						t.Fatal(err)
					}
					return id
				}
				id := write(0, content)
				if cut {
					if err := os.Truncate(data, size); err != nil {
						t.Fatal(err)
					}
					if d, err := blockio.Probe(path); err != nil || f != blockio.FormatRaw && d.Size != was {
						t.Fatalf("cut off: %+v, error %v", d, err)
					}
				}
				for range 2 { // a second time does nothing
					if err := blockio.Grow(path, size, blockio.TargetOptions{ResumeContentIDs: []uint32{id}}); err != nil {
						t.Fatal(err)
					}
				}
				d, err := blockio.Probe(path)
				if err != nil || d.Size != size || d.Format != f || d.ContentID != 0 && d.ContentID != id {
					t.Errorf("grown: %+v, error %v", d, err)
				}
				write(size-512, content[:512], id)
				r, err := blockio.OpenReader(path)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				got := make([]byte, was+4096)
				if _, err := r.ReadAt(got, 0); err != nil || !bytes.Equal(got[:was], content) || len(bytes.Trim(got[was:], "\x00")) > 0 {
					t.Errorf("content is not what it was, with zeros behind: error %v", err)
				}
				if f == blockio.FormatRaw {
					return
				}
				text, err := os.ReadFile(path)
				if err != nil || !strings.Contains(string(text), "RW 10485761 ") || !strings.Contains(string(text), `ddb.geometry.cylinders = "652"`) {
					t.Errorf("descriptor (error %v):\n%s", err, text)
				}
			})
		}
	}
}

func TestGrowRefuses(t *testing.T) {
	for _, f := range []blockio.Format{blockio.FormatMonolithicSparse, blockio.FormatTwoGbSparse, blockio.FormatTwoGbMaxExtentFlat} {
		path := filepath.Join(t.TempDir(), "x.vmdk")
		if err := blockio.Create(path, f, 1<<20); err != nil {
			t.Fatal(err)
		}
		if err := blockio.Grow(path, 2<<20, blockio.TargetOptions{}); err == nil {
			t.Errorf("a disk of format %s was grown", f)
		}
	}
	path := filepath.Join(t.TempDir(), "x.vmdk")
	if err := blockio.Create(path, blockio.FormatVMFS, 2<<20); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{1 << 20, 2<<20 + 1, 1 << 62} {
		if err := blockio.Grow(path, size, blockio.TargetOptions{}); err == nil {
			t.Errorf("a disk of 2 MiB was given %d bytes", size)
		}
	}
	held, err := blockio.OpenTarget(path, blockio.TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := blockio.Grow(path, 4<<20, blockio.TargetOptions{}); err == nil {
		t.Error("a disk was grown that is open")
	}
}
