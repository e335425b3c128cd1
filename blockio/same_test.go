package blockio_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"failback/blockio"
)

func probed(t *testing.T, path string) blockio.Description {
	t.Helper()
	d, err := blockio.Probe(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFindTwins(t *testing.T) {
	a := mustCreate(t, "a.vmdk", blockio.FormatVMFS, 1<<20)
	b := mustCreate(t, "b.vmdk", blockio.FormatMonolithicSparse, 1<<20)
	raw := mustCreate(t, "c.img", blockio.FormatRaw, 1<<20)
	dir := t.TempDir()
	link := filepath.Join(dir, "link.img")
	if err := os.Link(raw, link); err != nil {
		t.Skip(err)
	}
	for _, file := range []string{"a.vmdk", "a-flat.vmdk"} { // a copy by hand
		content, err := os.ReadFile(filepath.Join(filepath.Dir(a), file))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, file), content)
	}
	other := filepath.Join(filepath.Dir(a), "other.vmdk")
	text, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, other, []byte(strings.Replace(string(text), "60 00 c2 9", "60 00 c2 8", 1))) // another descriptor of the same data
	disks := []blockio.Description{probed(t, a), probed(t, b), probed(t, raw), probed(t, link), probed(t, filepath.Join(dir, "a.vmdk")), probed(t, other)}
	got := blockio.FindTwins(disks)
	want := []struct {
		first, second int
		why           string
	}{{2, 3, "two names"}, {0, 4, "same UUID"}, {0, 5, "both have their data in"}}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i, w := range want {
		if g := got[i]; g.First != w.first || g.Second != w.second || !strings.Contains(g.Reason, w.why) {
			t.Errorf("got %+v, want %+v", g, w)
		}
	}
	if got := blockio.FindTwins([]blockio.Description{{Path: "x"}, {Path: "y"}}); len(got) != 0 {
		t.Errorf("disks of which nothing is known: %+v", got)
	}
}

// TestLockFileNamesHost: the lock of an ESXi host on NFS, beside whichever file it locks.
func TestLockFileNamesHost(t *testing.T) {
	path := mustCreate(t, "x.vmdk", blockio.FormatVMFS, 1<<20)
	sub := filepath.Join(filepath.Dir(path), "data")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(filepath.Dir(path), "x-flat.vmdk"), filepath.Join(sub, "x-flat.vmdk")); err != nil {
		t.Fatal(err)
	}
	edit(t, path, `"x-flat.vmdk"`, `"data/x-flat.vmdk"`)
	d := probed(t, path)
	if d.TargetRefusal != "" || d.Inode == 0 {
		t.Fatalf("%+v", d)
	}
	lock := func(inode uint64) string {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], inode)
		return filepath.Join(sub, fmt.Sprintf(".lck-%x", b))
	}
	holder := append(make([]byte, 0x14), "esx-07.example.net\x00\x00"...)
	writeFile(t, lock(d.Inode+1<<40), holder)
	if d := probed(t, path); d.TargetRefusal != "" {
		t.Errorf("the lock of another file: %s", d.TargetRefusal)
	}
	writeFile(t, lock(d.Inode), holder)
	if d := probed(t, path); !strings.Contains(d.TargetRefusal, "esx-07.example.net") {
		t.Errorf("a locked disk: %q", d.TargetRefusal)
	}
}
