package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"failback/replication"
)

const group = replication.GroupID("erp")

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// spec returns a disk without commands.
func spec(no int, path string) Spec {
	return Spec{Disk: replication.Disk{No: replication.DiskNo(no), ID: replication.DiskID(fmt.Sprintf("erp-db/d%d", no))}, Path: path}
}

func mustOpen(t *testing.T, dir string, specs ...Spec) *Images {
	t.Helper()
	s, err := Open(dir, group, specs, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustCut(t *testing.T, s *Images, point, base replication.PointID) replication.Cut {
	t.Helper()
	c, err := s.Cut(t.Context(), point, base)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pattern returns n bytes that only seed makes.
func pattern(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

func mustWrite(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// overwrite changes part of a file in place.
func overwrite(t *testing.T, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, s *Images, point replication.PointID, disk replication.DiskNo) []byte {
	t.Helper()
	v, err := s.View(point, disk)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	b := make([]byte, v.Size())
	if _, err := v.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// fill hashes a disk at a point into its table and seals it.
func fill(t *testing.T, s *Images, point replication.PointID, disk replication.DiskNo) {
	t.Helper()
	tab, err := s.Table(point, disk)
	if err != nil {
		t.Fatal(err)
	}
	b := content(t, s, point, disk)
	for r := range tab.Regions() {
		end := min(int64(len(b)), (r+1)*replication.Region)
		if err := tab.Put(r, replication.HashPages(nil, b[r*replication.Region:end])); err != nil {
			t.Fatal(err)
		}
	}
	if err := tab.Seal(); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && path != dir {
			rel, _ := filepath.Rel(dir, path)
			all = append(all, rel)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// mount makes a file system in a file and mounts it, or skips the test.
func mount(t *testing.T, size int64, mkfs ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	for _, tool := range []string{mkfs[0], "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing", tool)
		}
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	mustWrite(t, image, nil)
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", mkfs, err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// everyReflink runs a test on each file system that has reflinks, with the state there too, and with the state elsewhere.
func everyReflink(t *testing.T, test func(t *testing.T, state, sources string)) {
	for _, mkfs := range [][]string{{"mkfs.xfs", "-q", "-m", "reflink=1"}, {"mkfs.btrfs", "-q"}} {
		t.Run(mkfs[0], func(t *testing.T) {
			dir := mount(t, 320<<20, mkfs...)
			for _, place := range []string{"Together", "Apart"} {
				t.Run(place, func(t *testing.T) {
					sources := filepath.Join(dir, place)
					if err := os.Mkdir(sources, 0o700); err != nil {
						t.Fatal(err)
					}
					state := filepath.Join(dir, "state")
					if place == "Apart" {
						state = filepath.Join(t.TempDir(), "state")
					}
					test(t, state, sources)
				})
			}
		})
	}
}

func TestReflinkViewStaysWhileTheSourceIsWritten(t *testing.T) {
	everyReflink(t, func(t *testing.T, state, sources string) {
		a, b := filepath.Join(sources, "a"), filepath.Join(sources, "b")
		wantA, wantB := pattern(1, 3<<20+512), pattern(2, 1<<20)
		mustWrite(t, a, wantA)
		mustWrite(t, b, wantB)
		s := mustOpen(t, state, spec(0, a), spec(1, b))
		if got := s.Kind(0); got != KindReflink {
			t.Fatalf("kind %q, want reflink", got)
		}
		c := mustCut(t, s, 1, 0)
		if !c.Stable || c.Tracked || len(c.Sizes) != 2 || c.Sizes[0] != int64(len(wantA)) || c.Sizes[1] != int64(len(wantB)) {
			t.Fatalf("cut %+v", c)
		}
		overwrite(t, a, 4096, pattern(3, 1<<20))
		mustWrite(t, b, pattern(4, 1<<20))
		check := func(s *Images) {
			t.Helper()
			if !bytes.Equal(content(t, s, 1, 0), wantA) || !bytes.Equal(content(t, s, 1, 1), wantB) {
				t.Fatal("a view changed")
			}
			if again := mustCut(t, s, 1, 0); again.Snapshot != c.Snapshot || !again.Time.Equal(c.Time) {
				t.Fatalf("cut again %+v, was %+v", again, c)
			}
		}
		check(s)
		s.Close()
		s = mustOpen(t, state, spec(0, a), spec(1, b))
		check(s)

		// The next point: tracked when both tables are sealed.
		fill(t, s, 1, 0)
		if c := mustCut(t, s, 2, 1); c.Tracked || !strings.Contains(s.Untracked(2), "d1: there is no table of point 1") {
			t.Fatalf("tracked %v because %q, with a table missing", c.Tracked, s.Untracked(2))
		}
		fill(t, s, 1, 1)
		if c := mustCut(t, s, 2, 1); !c.Tracked || s.Untracked(2) != "" {
			t.Fatalf("not tracked: %s", s.Untracked(2))
		}
		if err := s.Release(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		if _, err := s.View(1, 0); !errors.Is(err, ErrNotHeld) {
			t.Fatalf("view of a released point: %v", err)
		}
		if got := content(t, s, 2, 1); !bytes.Equal(got, pattern(4, 1<<20)) {
			t.Fatal("point 2 is not what the source was")
		}
		if err := s.Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if got := names(t, sources) + names(t, state); got != "a b" {
			t.Fatalf("left behind: %s", got)
		}
	})
}

func TestCloneOfANoCowFile(t *testing.T) {
	dir := mount(t, 320<<20, "mkfs.btrfs", "-q")
	src := filepath.Join(dir, "src")
	mustWrite(t, src, nil)
	if out, err := exec.Command("chattr", "+C", src).CombinedOutput(); err != nil {
		t.Skipf("chattr: %v: %s", err, out)
	}
	mustWrite(t, src, pattern(1, 2<<20))
	s := mustOpen(t, filepath.Join(dir, "state"), spec(0, src))
	if c := mustCut(t, s, 1, 0); !c.Stable {
		t.Fatal("not stable")
	}
	overwrite(t, src, 0, pattern(2, 2<<20))
	if !bytes.Equal(content(t, s, 1, 0), pattern(1, 2<<20)) {
		t.Fatal("the view changed")
	}
}

func TestSourceWithoutViewsStartsOver(t *testing.T) {
	src, state := filepath.Join(t.TempDir(), "src"), t.TempDir()
	mustWrite(t, src, pattern(1, 1<<20))
	s := mustOpen(t, state, spec(0, src))
	if s.Kind(0) != KindNone {
		t.Skip("the temporary directory has reflinks")
	}
	c := mustCut(t, s, 1, 0)
	if c.Stable {
		t.Fatal("stable")
	}
	fill(t, s, 1, 0)
	if again := mustCut(t, s, 1, 0); again.Snapshot != c.Snapshot {
		t.Fatalf("another name %s in one process, was %s", again.Snapshot, c.Snapshot)
	}
	s.Close()
	s = mustOpen(t, state, spec(0, src))
	again := mustCut(t, s, 1, 0)
	if again.Snapshot == c.Snapshot {
		t.Fatal("the same name after a restart")
	}
	tab, err := s.Table(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := tab.Get(0, nil); ok || err != nil {
		t.Fatalf("hashes of the old cut: %v %v", ok, err)
	}
	overwrite(t, src, 0, []byte("x"))
	if after := mustCut(t, s, 1, 0); after.Snapshot == again.Snapshot {
		t.Fatal("the same name after a write")
	}
	fill(t, s, 1, 0)
	if c := mustCut(t, s, 2, 1); !c.Tracked {
		t.Fatalf("not tracked: %s", s.Untracked(2))
	}
}

func TestOpenRefuses(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	mustWrite(t, src, make([]byte, 4096))
	release := spec(0, src)
	release.Release = "true"
	for name, c := range map[string]struct {
		group replication.GroupID
		specs []Spec
		want  string
	}{
		"NoDisk":          {group, nil, "0 disks"},
		"GroupName":       {"../x", []Spec{spec(0, src)}, "not a name"},
		"NumberMissing":   {group, []Spec{spec(1, src)}, "not numbered"},
		"SameSource":      {group, []Spec{spec(0, src), spec(1, src)}, "same source"},
		"RelativePath":    {group, []Spec{spec(0, "src")}, "not absolute"},
		"ReleaseAlone":    {group, []Spec{release}, "no snapshot command"},
		"AnotherGroup":    {"other", []Spec{spec(0, src)}, `of group "erp"`},
		"StillLockedHere": {group, []Spec{spec(0, src)}, "locked"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, dir, spec(0, src))
			mustCut(t, s, 1, 0)
			if name != "StillLockedHere" {
				s.Close()
			}
			if _, err := Open(dir, c.group, c.specs, quiet()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestStateThatIsNotOursIsRefused(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	mustWrite(t, src, make([]byte, 4096))
	for name, c := range map[string]struct{ state, want string }{
		"Garbage":   {"\x00\x01", "not the state"},
		"Other":     {`{"format":"x"}`, "not the state"},
		"Newer":     {`{"format":"failback image source","version":2,"group":"erp"}`, "version 2"},
		"Falling":   {`{"format":"failback image source","version":1,"group":"erp","cuts":[{"point":2},{"point":1}]}`, "do not rise"},
		"NoView":    {`{"format":"failback image source","version":1,"group":"erp","cuts":[{"point":2,"disks":[{"disk":{"no":0}}]}]}`, "no whole view"},
		"NullInCut": {`{"format":"failback image source","version":1,"group":"erp","cuts":[null]}`, "do not rise"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustWrite(t, filepath.Join(dir, stateName), []byte(c.state))
			if _, err := Open(dir, group, []Spec{spec(0, src)}, quiet()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestWhatLosesTracking(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, sp *Spec, dir string)
		want   string
	}{
		"AnotherPath": {func(t *testing.T, sp *Spec, dir string) { sp.Path = filepath.Join(dir, "b") }, "its source was"},
		"AnotherDisk": {func(t *testing.T, sp *Spec, dir string) { sp.Disk.ID = "erp-db/new" }, "has none of these disks"},
		"Unsealed":    {func(t *testing.T, sp *Spec, dir string) { unseal(t, filepath.Join(dir, "state", "1-0.tab")) }, "not complete"},
		"DamagedTable": {func(t *testing.T, sp *Spec, dir string) {
			overwrite(t, filepath.Join(dir, "state", "1-0.tab"), 60, []byte("x"))
		}, "checksum"},
		"NoTable": {func(t *testing.T, sp *Spec, dir string) { os.Remove(filepath.Join(dir, "state", "1-0.tab")) }, "no table"},
		"Larger": {func(t *testing.T, sp *Spec, dir string) {
			if err := os.Truncate(sp.Path, 2<<20); err != nil {
				t.Fatal(err)
			}
		}, "1048576 bytes at point 1"},
		"AnotherFileWithChanges": {func(t *testing.T, sp *Spec, dir string) {
			sp.Changes = "echo 0 4096"
			if err := os.Rename(filepath.Join(dir, "b"), sp.Path); err != nil {
				t.Fatal(err)
			}
		}, "another file"},
		"Nothing": {func(t *testing.T, sp *Spec, dir string) { overwrite(t, sp.Path, 0, []byte("x")) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustWrite(t, filepath.Join(dir, "a"), pattern(1, 1<<20))
			mustWrite(t, filepath.Join(dir, "b"), pattern(1, 1<<20))
			sp := spec(0, filepath.Join(dir, "a"))
			s := mustOpen(t, filepath.Join(dir, "state"), sp)
			mustCut(t, s, 1, 0)
			fill(t, s, 1, 0)
			s.Close()
			c.change(t, &sp, dir)
			s = mustOpen(t, filepath.Join(dir, "state"), sp)
			got, why := mustCut(t, s, 2, 1), s.Untracked(2)
			if got.Tracked != (c.want == "") || !strings.Contains(why, c.want) {
				t.Fatalf("tracked %v because %q, want %q", got.Tracked, why, c.want)
			}
		})
	}
}

// unseal takes the seal off a table.
func unseal(t *testing.T, path string) {
	t.Helper()
	overwrite(t, path, sealOffset, make([]byte, sealSize))
}

func TestHeldCutIsNotAnotherPaths(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	mustWrite(t, a, pattern(1, 1<<20))
	mustWrite(t, b, pattern(2, 1<<20))
	s := mustOpen(t, filepath.Join(dir, "state"), copying(0, a, dir))
	c := mustCut(t, s, 1, 0)
	s.Close()
	s = mustOpen(t, filepath.Join(dir, "state"), copying(0, b, dir))
	if again := mustCut(t, s, 1, 0); again.Snapshot == c.Snapshot || !bytes.Equal(content(t, s, 1, 0), pattern(2, 1<<20)) {
		t.Fatal("the cut of the old path was taken")
	}
}

// TestHeldCutSaysSo: who asks for a cut learns whether it was made for that, or was there.
func TestHeldCutSaysSo(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	mustWrite(t, src, make([]byte, 1<<20))
	s := mustOpen(t, t.TempDir(), spec(0, src))
	for _, held := range []bool{false, true} {
		if c, err := s.Cut(t.Context(), 1, 0); err != nil || c.Held != held {
			t.Errorf("held: %v, want %v; %v", c.Held, held, err)
		}
	}
}

func TestCutRefuses(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	mustWrite(t, src, make([]byte, 1<<20))
	known := spec(0, src)
	known.Disk.Size = 2 << 20
	s := mustOpen(t, t.TempDir(), known)
	for _, p := range [][2]replication.PointID{{0, 0}, {1, 1}, {1, 2}} {
		if _, err := s.Cut(t.Context(), p[0], p[1]); err == nil {
			t.Errorf("cut %v", p)
		}
	}
	if _, err := s.Cut(t.Context(), 1, 0); !errors.Is(err, ErrGone) || replication.AsProblem(err).Code != "source-size-changed" {
		t.Errorf("cut of a shrunken source: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Cut(ctx, 1, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cut with a context that is over: %v", err)
	}
	os.Remove(src)
	if _, err := s.Cut(t.Context(), 1, 0); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), src) {
		t.Errorf("cut of a source that is gone: %v", err)
	}
	if len(s.state.Cuts) != 0 {
		t.Errorf("cuts %v are held", s.state.Cuts)
	}
	s.Close()
	if _, err := s.Cut(t.Context(), 1, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("cut when closed: %v", err)
	}
}

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	path := func(name string, n int) string {
		p := filepath.Join(dir, name)
		mustWrite(t, p, make([]byte, n))
		return p
	}
	if n, err := Probe(path("good", 1536)); n != 1536 || err != nil {
		t.Errorf("got %d %v", n, err)
	}
	for path, want := range map[string]string{
		path("odd", 1000):              "not a multiple of 512",
		path("empty", 0):               "no bytes",
		dir:                            "neither",
		"/dev/null":                    "neither",
		filepath.Join(dir, "nowhere"):  "gone",
		filepath.Join(dir, "good", ""): "",
	} {
		_, err := Probe(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

func TestLiveSourceThatShrinksOrVanishesIsGone(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	mustWrite(t, src, pattern(1, 2<<20))
	cmd := spec(0, src)
	s := mustOpen(t, t.TempDir(), cmd)
	if s.Kind(0) != KindNone {
		t.Skip("the temporary directory has reflinks")
	}
	mustCut(t, s, 1, 0)
	v, err := s.View(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if n, err := v.ReadAt(make([]byte, 1024), 2<<20-512); n != 512 || err != io.EOF {
		t.Errorf("read across the end: %d %v", n, err)
	}
	if err := os.Truncate(src, 1<<20); err != nil {
		t.Fatal(err)
	}
	gone := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), src) || !strings.Contains(err.Error(), "erp-db/d0") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = v.ReadAt(make([]byte, 4096), 1<<20)
	gone("read past the new end", err)
	_, err = v.ReadAt(make([]byte, 4096), 1<<20-512)
	gone("read across the new end", err)
	_, _, err = v.NextData(1 << 20)
	gone("next data past the new end", err)
	_, _, err = v.NextData(0)
	gone("next data", err)
	_, err = s.View(1, 0)
	gone("view of a shrunken file", err)
	if err := os.Remove(src); err != nil {
		t.Fatal(err)
	}
	_, err = s.View(1, 0)
	gone("view of a file that is gone", err)
	mustWrite(t, src+"2", pattern(1, 2<<20))
	if err := os.Rename(src+"2", src); err != nil {
		t.Fatal(err)
	}
	_, err = s.View(1, 0)
	gone("view of another file", err)
}

func TestNextDataTellsHoles(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	mustWrite(t, src, nil)
	if err := os.Truncate(src, 8<<20); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 8<<20)
	for _, off := range []int64{1 << 20, 5<<20 + 4096} {
		copy(want[off:], pattern(1, 8192))
		overwrite(t, src, off, pattern(1, 8192))
	}
	s := mustOpen(t, t.TempDir(), spec(0, src))
	mustCut(t, s, 1, 0)
	v, err := s.View(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	got := make([]byte, v.Size())
	data := int64(0)
	for off := int64(0); off < v.Size(); {
		start, end, err := v.NextData(off)
		if err != nil || start < off || end < start || end > v.Size() {
			t.Fatalf("next data at %d: %d %d %v", off, start, end, err)
		}
		if start == end {
			break
		}
		if _, err := v.ReadAt(got[start:end], start); err != nil {
			t.Fatal(err)
		}
		data += end - start
		off = end
	}
	if !bytes.Equal(got, want) {
		t.Error("data outside what NextData told")
	}
	if data > 1<<20 {
		t.Errorf("%d bytes told as data of 16384", data)
	}
	if start, end, err := v.NextData(v.Size()); start != v.Size() || end != v.Size() || err != nil {
		t.Errorf("at the end: %d %d %v", start, end, err)
	}
}

func TestDeviceViewSeesWhatAMountedFileSystemWrites(t *testing.T) {
	dir := mount(t, 64<<20, "mkfs.ext4", "-q", "-F")
	out, err := exec.Command("findmnt", "-n", "-o", "SOURCE", dir).Output()
	if err != nil {
		t.Skipf("findmnt: %v", err)
	}
	s := mustOpen(t, t.TempDir(), spec(0, strings.TrimSpace(string(out))))
	c := mustCut(t, s, 1, 0)
	if c.Stable || c.Sizes[0] != 64<<20 || s.Kind(0) != KindNone {
		t.Fatalf("cut %+v", c)
	}
	want := pattern(7, 1<<20)
	if bytes.Contains(content(t, s, 1, 0), want[:4096]) {
		t.Fatal("what was not written is there")
	}
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	got := content(t, s, 1, 0)
	at := bytes.Index(got, want[:4096])
	if at < 0 {
		t.Fatal("what was written is not seen")
	}
	v, err := s.View(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 { // any offset, any length, any alignment of the buffer
		off := r.Int64N(64 << 20)
		p := make([]byte, r.IntN(3<<20))[r.IntN(2):]
		n, err := v.ReadAt(p, off)
		if want := min(int64(len(p)), 64<<20-off); int64(n) != want || err != nil && err != io.EOF || !bytes.Equal(p[:n], got[off:off+want]) {
			t.Fatalf("read %d at %d: %d %v", len(p), off, n, err)
		}
	}
}
