//go:build linux

package blockio_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"failback/blockio"
	"failback/blockio/blockiotest"
)

// TestReadMixedExtents: each line has its share of the disk, whatever its type.
func TestReadMixedExtents(t *testing.T) {
	sparse := mustCreate(t, "s.vmdk", blockio.FormatMonolithicSparse, 64<<10)
	d := mustOpen(t, sparse)
	inSparse, inFlat := blockiotest.Pattern(1, 64<<10), blockiotest.Pattern(2, 10*512)
	if _, err := d.WriteAt(inSparse, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(sparse)
	writeFile(t, filepath.Join(dir, "f 名.vmdk"), inFlat)
	path := filepath.Join(dir, "x.vmdk")
	writeFile(t, path, []byte("# Disk DescriptorFile\r\nversion=2\r\nCID=1\r\nparentCID=ffffffff\r\ncreateType=\"custom\"\r\n"+
		"RW 3 ZERO\r\nRDONLY 128 SPARSE \"s.vmdk\"\r\nRW 2 FLAT \"f 名.vmdk\" 7\r\nRW 1 VMFS \"f 名.vmdk\"\r\nNOACCESS 4 ZERO\r\n"))
	want := bytes.Join([][]byte{make([]byte, 3*512), inSparse, inFlat[7*512 : 9*512], inFlat[:512], make([]byte, 4*512)}, nil)
	compareDisk(t, path, want)
	refused(t, path, "ZERO", blockio.ErrNotTarget)
	if desc, err := blockio.Probe(path); err != nil || desc.Size != int64(len(want)) || desc.ContentID != 1 || desc.Format != "custom" {
		t.Errorf("Probe = %+v, %v", desc, err)
	}
}

// TestReadOtherNamesOfFlat: what ESX calls its flat disks here and there.
func TestReadOtherNamesOfFlat(t *testing.T) {
	for _, name := range []string{"vmfsThin", "vmfsPreallocated", "vmfsEagerZeroedThick", "VMFS"} {
		path := mustCreate(t, "x.vmdk", blockio.FormatVMFS, 4096)
		edit(t, path, `createType="vmfs"`, `createType="`+name+`"`)
		content := blockiotest.Pattern(3, 4096)
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), "x-flat.vmdk"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		compareDisk(t, path, content)
		if d, err := blockio.Probe(path); err != nil || d.Format != blockio.FormatVMFS || d.TargetRefusal != "" {
			t.Errorf("%s: Probe = %+v, %v", name, d, err)
		}
	}
}
