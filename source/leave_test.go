package source

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"failback/replication"
)

// TestDiskThatLeaves: disks that are numbered anew, as one has left, are found by their names in what was cut before, and their changes are known; what is kept of the one that left is let go of with the next point.
func TestDiskThatLeaves(t *testing.T) {
	dir := t.TempDir()
	views := filepath.Join(dir, "views")
	if err := os.Mkdir(views, 0o700); err != nil {
		t.Fatal(err)
	}
	var specs []Spec
	for i, name := range []string{"a", "b", "c"} {
		mustWrite(t, filepath.Join(dir, name), pattern(uint64(i+1), 1<<20+i*4096))
		s := spec(i, filepath.Join(dir, name))
		s.Snapshot = "v=" + views + "/$1-$(basename $FAILBACK_SOURCE); cp $FAILBACK_SOURCE $v && echo $v"
		s.Release = "rm -f $2"
		specs = append(specs, s)
	}
	specs[2].Changes = "echo 4096 4096"
	state := filepath.Join(dir, "state")
	s := mustOpen(t, state, specs...)
	mustCut(t, s, 1, 0)
	for d := range specs {
		fill(t, s, 1, replication.DiskNo(d))
	}
	if err := s.Release(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	s.Close()

	left := []Spec{specs[0], specs[2]}
	left[1].Disk.No = 1
	s = mustOpen(t, state, left...)
	if _, err := s.View(1, 2); err == nil {
		t.Error("a disk is shown that there is not")
	}
	if got := content(t, s, 1, 1); !bytes.Equal(got, pattern(3, 1<<20+2*4096)) {
		t.Error("a disk that is numbered anew is shown as another one")
	}
	overwrite(t, filepath.Join(dir, "a"), 0, []byte("changed"))
	overwrite(t, filepath.Join(dir, "c"), 4096, []byte("changed"))
	if c := mustCut(t, s, 2, 1); !c.Tracked || len(c.Sizes) != 2 || c.Sizes[1] != 1<<20+2*4096 {
		t.Fatalf("cut: %+v, %s", c, s.Untracked(2))
	}
	tab, err := s.Table(1, 0)
	if err != nil || !tab.Sealed() {
		t.Errorf("the table of the base: %v", err)
	}
	set, known, err := s.Changed(t.Context(), 2, 1, 1)
	if err != nil || !known || set.Bytes() != 4096 {
		t.Errorf("changes of a disk that is numbered anew: %v %v", known, err)
	}
	fill(t, s, 2, 0)
	if err := s.Release(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadDir(views); err != nil || len(kept) != 2 {
		t.Errorf("%d views are kept, want 2 (%v)", len(kept), err)
	}
	s.Close()

	// A cut that was made for a point with the disk is made again without it.
	s = mustOpen(t, state, specs...)
	if c := mustCut(t, s, 3, 2); len(c.Sizes) != 3 || !c.Tracked { // it joined again
		t.Errorf("cut: %+v", c)
	}
	s.Close()
	s = mustOpen(t, state, left...)
	if c := mustCut(t, s, 3, 2); len(c.Sizes) != 2 || c.Held {
		t.Errorf("cut: %+v", c)
	}
	if _, err := s.Table(3, 1); err != nil {
		t.Error(err)
	}
}
