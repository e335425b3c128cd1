package volume

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"failback/replication"
)

// tool runs a program, or skips the test where it, or the right to mount, is missing.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	packages := map[string]string{"mkfs.vfat": "dosfstools", "mkfs.xfs": "xfsprogs", "mkfs.btrfs": "btrfs-progs", "mkfs.ext4": "e2fsprogs", "chattr": "e2fsprogs", "btrfs": "btrfs-progs"}
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is missing; on Debian it is in the package %s", name, packages[name])
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		if name == "mount" {
			t.Skipf("cannot mount here: %v: %s", err, out)
		}
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

// image makes a file system in a file.
func image(t *testing.T, size int64, mkfs ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	tool(t, mkfs[0], append(mkfs[1:], path)...)
	return path
}

// mountAt mounts for the length of the test, or until the result is called.
func mountAt(t *testing.T, dir string, args ...string) (unmount func()) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tool(t, "mount", append(args, dir)...)
	done := false
	unmount = func() {
		if done {
			return
		}
		done = true
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", dir, err, out)
		}
	}
	t.Cleanup(unmount)
	return unmount
}

func listed(t *testing.T, l *Looker, path string, uses ...Use) (v replication.Volume, there bool) {
	t.Helper()
	all, err := l.List(t.Context(), uses)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		if x.Path == path {
			if there {
				t.Errorf("%s is listed twice", path)
			}
			v, there = x, true
		}
	}
	return v, there
}

// TestVolumesOfEachKind mounts real file systems, and has them listed and judged.
func TestVolumesOfEachKind(t *testing.T) {
	for _, c := range []struct {
		name    string
		size    int64
		mkfs    []string
		options string
		kind    string
		want    string
	}{
		{"ext4", 32 << 20, []string{"mkfs.ext4", "-q", "-F"}, "loop", "ext4", ""},
		{"ext4ReadOnly", 32 << 20, []string{"mkfs.ext4", "-q", "-F"}, "loop,ro", "ext4", "error volume-read-only"},
		{"ext4NoBarrier", 32 << 20, []string{"mkfs.ext4", "-q", "-F"}, "loop,nobarrier", "ext4", "warning volume-barrier"},
		{"xfs", 320 << 20, []string{"mkfs.xfs", "-q"}, "loop", "xfs", ""},
		{"btrfs", 128 << 20, []string{"mkfs.btrfs", "-q"}, "loop", "btrfs", ""},
		{"vfat", 32 << 20, []string{"mkfs.vfat"}, "loop", "vfat", "error volume-fat"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := image(t, c.size, c.mkfs...)
			dir := filepath.Join(t.TempDir(), "with space")
			l := New(dir, false)
			if v, there := listed(t, l, dir); there {
				t.Fatalf("listed before it is mounted: %+v", v)
			}
			unmount := mountAt(t, dir, "-o", c.options, img)
			v, there := listed(t, l, dir)
			if !there || v.Type != c.kind || brief(v.Findings) != c.want || v.Usable == strings.HasPrefix(c.want, "error") || !v.Retention {
				t.Errorf("got %+v, want %s: %s", v, c.kind, c.want)
			}
			if v.Size <= 0 || v.Size > c.size || v.Free <= 0 || v.Free > v.Size {
				t.Errorf("got %d of %d bytes free of a volume of %d", v.Free, v.Size, c.size)
			}
			if got := brief(l.Check(t.Context(), nil, true)); got != c.want {
				t.Errorf("check: got %s, want %s", got, c.want)
			}
			for _, n := range namesIn(t, dir) {
				if n != "lost+found" {
					t.Errorf("left behind: %s", n)
				}
			}
			l.Release() // or it could not be unmounted
			unmount()
			if v, there := listed(t, l, dir); there {
				t.Errorf("still listed: %+v", v)
			}
		})
	}
}

// TestVolumeNotMounted looks at a retention directory where the volume should be, and is not.
func TestVolumeNotMounted(t *testing.T) {
	root, _, err := mountedAt("/")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if m, _, err := mountedAt(dir); err != nil || m.FS != root.FS {
		t.Skipf("the test's directory is not on the root's volume: %+v, %v", m, err)
	}
	got := New(dir, false).Check(t.Context(), nil, true)
	if !strings.Contains(brief(got), "error "+CodeRoot) || !strings.Contains(got[0].Message+got[len(got)-1].Message, "nothing is mounted there") {
		t.Errorf("got %+v", got)
	}
	got = New(filepath.Join(dir, "none"), true).Check(t.Context(), nil, true)
	if brief(got) != "error "+CodeUnknown {
		t.Errorf("no directory: got %+v", got)
	}
}

func mountedAt(path string) (Mount, string, error) {
	t, _, err := mounted()
	if err != nil {
		return Mount{}, "", err
	}
	return place(t, path)
}

// TestSubvolumesAndBinds judges parts of file systems that are mounted elsewhere as well.
func TestSubvolumesAndBinds(t *testing.T) {
	img := image(t, 128<<20, "mkfs.btrfs", "-q")
	top, one, two := filepath.Join(t.TempDir(), "top"), filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	unmountTop := mountAt(t, top, "-o", "loop", img)
	tool(t, "btrfs", "-q", "subvolume", "create", filepath.Join(top, "ret"))
	tool(t, "btrfs", "-q", "subvolume", "create", filepath.Join(top, "home"))
	m, _, err := mountedAt(top)
	if err != nil {
		t.Fatal(err)
	}
	unmountOne := mountAt(t, one, "-o", "subvol=ret", m.Device)
	defer unmountOne()
	l := New(one, false)
	defer l.Release()
	check := func(what, want string, uses ...Use) {
		t.Helper()
		if got := l.Check(t.Context(), uses, true); brief(got) != want {
			t.Errorf("%s: got %+v, want %s", what, got, want)
		}
	}
	check("top mounted too", "error volume-shared")
	unmountTop()
	check("alone", "")
	target := filepath.Join(one, "disk.vmdk")
	check("a target that does not exist yet", "error volume-target", Use{CodeTarget, "target", target})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	check("a target by a link to nothing", "error volume-target", Use{CodeTarget, "target", link})
	check("the device itself", "", Use{CodeTarget, "target", filepath.Join(t.TempDir(), "x")})

	unmountTwo := mountAt(t, two, "-o", "subvol=home", m.Device)
	check("another subvolume", "error volume-shared")
	check("a target on another subvolume", "error volume-target, error volume-shared", Use{CodeTarget, "target", filepath.Join(two, "x")})
	unmountTwo()
	unmountBind := mountAt(t, two, "--bind", one)
	check("bound elsewhere", "error volume-shared")
	unmountBind()
	unmountUnder := mountAt(t, filepath.Join(one, "mem"), "-t", "tmpfs", "tmpfs")
	check("a mount below", "error volume-mount-under, warning volume-not-empty")
	unmountUnder()
	if err := os.Remove(filepath.Join(one, "mem")); err != nil {
		t.Fatal(err)
	}
	unmountOver := mountAt(t, one, "-t", "tmpfs", "tmpfs")
	all, err := l.List(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var over []string
	for _, v := range all {
		if v.Path == one {
			over = append(over, v.Type+": "+brief(v.Findings))
		}
	}
	// Which of two at one path comes first is by device.
	if got := strings.Join(over, "; "); got != "btrfs: error volume-hidden; tmpfs: error volume-memory" {
		t.Errorf("mounted over: got %s", got)
	}
	l.Release()
	unmountOver()
}

// TestTargetIsTheVolumesDevice gives the loop device below the volume as a target.
func TestTargetIsTheVolumesDevice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ret")
	mountAt(t, dir, "-o", "loop", image(t, 32<<20, "mkfs.ext4", "-q", "-F"))
	m, _, err := mountedAt(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := New(dir, true)
	defer l.Release()
	got := l.Check(t.Context(), []Use{{CodeTarget, "target of disk m/d", m.Device}}, true)
	if brief(got) != "error "+CodeTarget || !strings.Contains(got[0].Message, m.Device) {
		t.Errorf("got %+v", got)
	}
}

// TestVolumeThatTakesNoFiles makes the top directory immutable.
func TestVolumeThatTakesNoFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ret")
	mountAt(t, dir, "-o", "loop", image(t, 32<<20, "mkfs.ext4", "-q", "-F"))
	tool(t, "chattr", "+i", dir)
	defer tool(t, "chattr", "-i", dir)
	l := New(dir, false)
	defer l.Release()
	if got := l.Check(t.Context(), nil, true); brief(got) != "error volume-probe" {
		t.Errorf("got %+v", got)
	}
	if got := l.Check(t.Context(), nil, false); brief(got) != "" {
		t.Errorf("without a probe: got %+v", got)
	}
}

// TestListNamesWhatElseIsThere fills a volume with a journal, state directories and others.
func TestListNamesWhatElseIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ret")
	mountAt(t, dir, "-o", "loop", image(t, 32<<20, "mkfs.ext4", "-q", "-F"))
	for _, p := range []string{"erp/lock", "ours/catalogue.db", "photos/cat"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(p)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, p), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "theirs", ".instances"), 0o755); err != nil {
		t.Fatal(err)
	}
	l := New(dir, false)
	defer l.Release()
	ours := Use{CodeState, "state directory of this master target", filepath.Join(dir, "ours")}
	v, _ := listed(t, l, dir, ours)
	if got := brief(v.Findings); got != "error volume-state, warning volume-not-empty" {
		t.Fatalf("got %+v", v.Findings)
	}
	for i, words := range [][]string{{"/ours (", "/theirs"}, {"journals: photos"}} {
		for _, word := range words {
			if !strings.Contains(v.Findings[i].Message, word) {
				t.Errorf("got %+v, want %s in it", v.Findings[i], word)
			}
		}
	}
}

// TestVolumeIsForOneMasterTarget locks a volume from two sides.
func TestVolumeIsForOneMasterTarget(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ret")
	unmount := mountAt(t, dir, "-o", "loop", image(t, 32<<20, "mkfs.ext4", "-q", "-F"))
	inner := filepath.Join(dir, "journals")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	first, second := New(inner, false), New(dir, false)
	hold := func(l *Looker) {
		t.Helper()
		if err := l.Hold(); err != nil {
			t.Fatal(err)
		}
	}
	hold(first)
	hold(first)
	if err := second.Hold(); !errors.Is(err, ErrLocked) {
		t.Errorf("the second: got %v", err)
	}
	if got := brief(first.Check(t.Context(), nil, true)); got != "" {
		t.Errorf("the first sees %s", got)
	}
	if v, _ := listed(t, second, dir); brief(v.Findings) != "error volume-locked, warning volume-not-empty" {
		t.Errorf("the second sees %+v", v)
	}
	if v, _ := listed(t, New("/nowhere", false), dir); brief(v.Findings) != "error volume-locked, warning volume-not-empty" {
		t.Errorf("a third sees %+v", v)
	}
	first.Release()
	hold(second)
	second.Release()

	// On trial, each has its own directory.
	trial, other := New(inner, true), New(inner, true)
	hold(trial)
	if got := brief(other.Check(t.Context(), nil, true)); got != "error volume-locked" {
		t.Errorf("another on trial, in the same directory: got %s", got)
	}
	other = New(dir, true)
	if got := brief(other.Check(t.Context(), nil, true)); got != "warning volume-not-empty" {
		t.Errorf("another on trial, in another directory: got %s", got)
	}
	trial.Release()
	other.Release()

	// What was locked is not what is there later.
	hold(second)
	over := mountAt(t, dir, "-t", "tmpfs", "tmpfs")
	if err := second.Hold(); err != nil {
		t.Error(err)
	}
	if lock, err := lockDir(dir, false); !errors.Is(err, ErrLocked) {
		lock.Close()
		t.Errorf("what is mounted now is not locked: %v", err)
	}
	second.Release()
	over()
	unmount()
}
