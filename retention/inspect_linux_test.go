package retention

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInspectBesideARunningJournal looks at a journal that another has open, and that goes on meanwhile.
func TestInspectBesideARunningJournal(t *testing.T) {
	s := newStand(t, 8<<20)
	for k := range 3 {
		s.cycle(64<<10, 256<<10, int64(k)*4096)
	}
	i, err := Inspect(s.j.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if !i.Running() {
		t.Error("it is not said that the journal is open")
	}
	if _, err := InspectAtRest(s.j.dir); !errors.Is(err, ErrLocked) {
		t.Errorf("at rest: got %v want ErrLocked", err)
	}
	if changed, err := i.Changed(); err != nil || changed {
		t.Errorf("changed %v, %v", changed, err)
	}
	points := len(i.Points())
	for k := range 3 {
		s.cycle(64<<10, 256<<10, int64(k)*8192)
	}
	if changed, err := i.Changed(); err != nil || !changed {
		t.Errorf("changed %v, %v, after three points", changed, err)
	}
	if len(i.Points()) != points {
		t.Error("an inspection shows what was not there when it was opened")
	}
	var names []string
	use, err := s.j.Use(t.Context(), nil)
	s.must(err)
	for _, u := range use.Files {
		names = append(names, u.Name)
	}
	s.must(one(s.j.Rewrite(t.Context(), names[:1], RewriteOptions{}))) // replaced under its eyes
	fs, err := i.Check(t.Context(), nil)
	if err != nil || slices.ContainsFunc(fs, func(f Finding) bool { return f.Damage }) {
		t.Errorf("check: %+v, %v", fs, err)
	}
	s.must(s.j.Close())
	at, err := InspectAtRest(s.j.dir)
	s.must(err)
	if at.Running() {
		t.Error("it is said to be open, and is not")
	}
	if _, err := Open(s.j.dir, s.j.id.Group); !errors.Is(err, ErrLocked) {
		t.Errorf("open beside an inspection at rest: got %v want ErrLocked", err)
	}
	s.must(at.Close())
	s.j, err = Open(s.j.dir, s.j.id.Group)
	s.must(err)
}

// TestInspectOnAReadOnlyMount opens, checks and reads a journal below a mount on which nothing can be written.
func TestInspectOnAReadOnlyMount(t *testing.T) {
	s := newStand(t, 8<<20)
	p := s.cycle(64<<10, 256<<10, 0)
	s.must(s.j.Close())
	before := tree(t, s.j.dir)
	dir := filepath.Join(t.TempDir(), "ro")
	s.must(os.Mkdir(dir, 0o700))
	if err := unix.Mount(s.j.dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("needs to mount: %v", err)
	}
	t.Cleanup(func() { s.must(unix.Unmount(dir, 0)) })
	s.must(unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Fatalf("the mount is not read-only: %v", err)
	}
	i, err := InspectAtRest(dir)
	s.must(err)
	defer i.Close()
	found, err := i.Check(t.Context(), nil)
	if err != nil || len(found) > 0 {
		t.Errorf("check: %+v, %v", found, err)
	}
	r, err := i.Reader(p, 0, s.disk)
	s.must(err)
	s.must(one(r.ReadAt(make([]byte, 8<<20), 0)))
	if after := tree(t, s.j.dir); after != before {
		t.Errorf("changed:\n%s\nwas:\n%s", after, before)
	}
	if _, err := Open(s.j.dir, s.j.id.Group); !errors.Is(err, ErrLocked) {
		t.Errorf("the lock is not shared through the mount: %v", err)
	}
}

// tree lists what is in a directory, with sizes and times of the last change.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		b.WriteString(path + " " + info.ModTime().String() + " " + info.Mode().String() + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestInspectRefuses names what is no journal.
func TestInspectRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Inspect(dir); !errors.Is(err, ErrNotJournal) {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := Inspect(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, retiredName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(dir); !errors.Is(err, ErrNotJournal) || !strings.Contains(err.Error(), "retired") {
		t.Errorf("a retired one: %v", err)
	}
	w := goldenWorld(t)
	i := w.m.names[worldDir+"/log"]
	le.PutUint32(i.cur[8:], logVersion+1)
	le.PutUint32(i.cur[12:], crc(i.cur[:12]))
	if err := w.inspect(func(*Inspection) error { return nil }); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer one: %v", err)
	}
	copy(i.cur, "SOMETHIN")
	err := w.inspect(func(i *Inspection) error {
		if i.Whole() {
			t.Error("a log without its header is said to be whole")
		}
		if _, err := i.Reader(2, 0, w.m.targets()[0]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("reader: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Errorf("a log without its header: %v", err)
	}
}
