package blockio_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"failback/blockio"
)

func TestCreateNeverOverwrites(t *testing.T) {
	for _, f := range []blockio.Format{blockio.FormatVMFS, blockio.FormatTwoGbSparse, blockio.FormatMonolithicSparse} {
		for _, existing := range []string{"x.vmdk", "x-flat.vmdk", "x-s002.vmdk"} {
			t.Run(string(f)+"/"+existing, func(t *testing.T) {
				dir := t.TempDir()
				writeFile(t, filepath.Join(dir, existing), []byte("precious"))
				err := blockio.Create(filepath.Join(dir, "x.vmdk"), f, 5<<30)
				inTheWay := existing == "x.vmdk" || f == blockio.FormatVMFS && existing == "x-flat.vmdk" || f == blockio.FormatTwoGbSparse && existing == "x-s002.vmdk"
				if errors.Is(err, os.ErrExist) != inTheWay {
					t.Errorf("Create: %v, in the way: %v", err, inTheWay)
				}
				if b, _ := os.ReadFile(filepath.Join(dir, existing)); string(b) != "precious" {
					t.Errorf("%s holds %q", existing, b)
				}
				if files, _ := os.ReadDir(dir); inTheWay && len(files) != 1 {
					t.Errorf("left behind: %v", files)
				}
			})
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, err := range map[string]error{
		"zero size":      blockio.Create(filepath.Join(dir, "x.vmdk"), blockio.FormatVMFS, 0),
		"negative size":  blockio.Create(filepath.Join(dir, "x.vmdk"), blockio.FormatVMFS, -512),
		"odd size":       blockio.Create(filepath.Join(dir, "x.vmdk"), blockio.FormatVMFS, 513),
		"huge size":      blockio.Create(filepath.Join(dir, "x.vmdk"), blockio.FormatVMFS, 1<<62),
		"device":         blockio.Create(filepath.Join(dir, "x"), blockio.FormatDevice, 512),
		"unknown format": blockio.Create(filepath.Join(dir, "x.vmdk"), "vhd", 512),
		"raw as vmdk":    blockio.Create(filepath.Join(dir, "x.vmdk"), blockio.FormatRaw, 512),
		"vmdk as img":    blockio.Create(filepath.Join(dir, "x.img"), blockio.FormatVMFS, 512),
		"flat name":      blockio.Create(filepath.Join(dir, "x-flat.vmdk"), blockio.FormatVMFS, 512),
		"quote in name":  blockio.Create(filepath.Join(dir, "x\".vmdk"), blockio.FormatVMFS, 512),
		"no directory":   blockio.Create(filepath.Join(dir, "no", "x.vmdk"), blockio.FormatVMFS, 512),
		"too large":      blockio.Create(filepath.Join(dir, "x.vmdk"), blockio.FormatVMFS, 1<<58),
	} {
		if err == nil {
			t.Errorf("%s: Create succeeded", name)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

func TestCreatedDisksAreThinAndDescribed(t *testing.T) {
	for _, f := range []blockio.Format{blockio.FormatRaw, blockio.FormatVMFS, blockio.FormatMonolithicFlat, blockio.FormatTwoGbMaxExtentFlat,
		blockio.FormatMonolithicSparse, blockio.FormatTwoGbSparse} {
		for _, size := range []int64{512, 2047 << 20, 2047<<20 + 512, 2<<30 - 512, 2 << 30, 3 << 40} {
			if f == blockio.FormatTwoGbMaxExtentFlat && size > 1<<40 || f == blockio.FormatTwoGbSparse && size > 1<<40 {
				continue // 1537 files
			}
			t.Run(fmt.Sprintf("%s/%d", f, size), func(t *testing.T) {
				name := "x.vmdk"
				if f == blockio.FormatRaw {
					name = "x.img"
				}
				path := mustCreate(t, name, f, size)
				d, err := blockio.Probe(path)
				if err != nil {
					t.Fatal(err)
				}
				hasID := f != blockio.FormatRaw
				if d.Format != f || d.Size != size || d.TargetRefusal != "" || (d.ContentID != 0) != hasID || (d.UUID != "") != hasID || d.Inode == 0 {
					t.Errorf("Probe = %+v", d)
				}
				if wantMany := (f == blockio.FormatTwoGbMaxExtentFlat || f == blockio.FormatTwoGbSparse) && size > 2047<<20; len(d.Extents) > 1 != wantMany {
					t.Errorf("%d extents", len(d.Extents))
				}
				r, err := blockio.OpenReader(path)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				if start, end, err := r.NextData(0); f != blockio.FormatRaw && (start != size || end != size || err != nil) {
					t.Errorf("NextData = %d, %d, %v on a new disk", start, end, err)
				}
			})
		}
	}
}

func TestDefaultFormat(t *testing.T) {
	for path, want := range map[string]blockio.Format{"a/b.vmdk": blockio.FormatVMFS, "B.VMDK": blockio.FormatVMFS, "x.img": blockio.FormatRaw, "/dev/sdb": blockio.FormatRaw} {
		if got := blockio.DefaultFormat(path); got != want {
			t.Errorf("DefaultFormat(%q) = %s, want %s", path, got, want)
		}
	}
}

// TestCreateSaysWhatIsFull: the system's reason stays in the message and in the chain.
func TestCreateSaysWhatIsFull(t *testing.T) {
	err := blockio.Create(filepath.Join(t.TempDir(), "x.img"), blockio.FormatRaw, 1<<58)
	if err == nil || !strings.Contains(err.Error(), "cannot hold a file") {
		t.Errorf("Create: %v", err)
	}
}
