package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

// copying is a disk whose snapshots are copies in dir, and whose changes are in the file "changes" there. Every command notes itself in the file "log".
func copying(no int, path, dir string) Spec {
	sp := spec(no, path)
	note := fmt.Sprintf("echo %%s $* $FAILBACK_DISK >>%s/log; ", dir)
	sp.Snapshot = fmt.Sprintf(note+"echo noise; cp $FAILBACK_SOURCE %[2]s/$1-%[3]d && echo %[2]s/$1-%[3]d", "snapshot", dir, no)
	sp.Release = fmt.Sprintf(note+"test $2 = $FAILBACK_VIEW && rm -f $2", "release")
	sp.Changes = fmt.Sprintf(note+"cat %[2]s/changes", "changes", dir)
	return sp
}

func readLog(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, "log"))
	return strings.TrimSpace(string(b))
}

func wantLog(t *testing.T, dir, want string) {
	t.Helper()
	if got := readLog(t, dir); got != want {
		t.Fatalf("commands run:\n%s\nwant:\n%s", got, want)
	}
}

func TestCommandsMakeTellAndRelease(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	src := filepath.Join(dir, "src")
	want := pattern(1, 1<<20)
	mustWrite(t, src, want)
	sp := copying(0, src, dir)
	s := mustOpen(t, state, sp)
	if s.Kind(0) != KindCommand || s.NeedsTable(0) {
		t.Fatalf("kind %s, needs table %v", s.Kind(0), s.NeedsTable(0))
	}
	c := mustCut(t, s, 1, 0)
	if !c.Stable || c.Tracked {
		t.Fatalf("cut %+v", c)
	}
	view := filepath.Join(dir, "1-0")
	wantLog(t, dir, "snapshot 1 erp-db/d0")
	mustWrite(t, src, pattern(2, 1<<20))
	if !bytes.Equal(content(t, s, 1, 0), want) {
		t.Fatal("the view changed")
	}

	mustWrite(t, filepath.Join(dir, "changes"), []byte("1 1\n0x3000 0x1000\n\n1048575 1\n"))
	c = mustCut(t, s, 2, 1)
	if !c.Tracked {
		t.Fatalf("not tracked: %s", s.Untracked(2))
	}
	wantLog(t, dir, "snapshot 2 erp-db/d0\nchanges 1 2 erp-db/d0")
	changed := replication.NewSet(replication.Extent{Off: 0, End: 4096}, replication.Extent{Off: 12288, End: 16384}, replication.Extent{Off: 1<<20 - 4096, End: 1 << 20})
	check := func() {
		t.Helper()
		set, known, err := s.Changed(t.Context(), 2, 1, 0)
		if err != nil || !known || set.Digest() != changed.Digest() {
			t.Fatalf("changes %v %v %v, want %v", set.Extents(), known, err, changed.Extents())
		}
		if again := mustCut(t, s, 2, 1); again.Snapshot != c.Snapshot || !again.Tracked {
			t.Fatalf("cut again %+v, was %+v", again, c)
		}
	}
	check()
	s.Close()
	s = mustOpen(t, state, sp)
	check()
	wantLog(t, dir, "") // neither is asked again
	if _, known, err := s.Changed(t.Context(), 2, 0, 0); known || err != nil {
		t.Fatalf("changes since another base: %v %v", known, err)
	}

	for range 2 {
		if err := s.Release(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
	}
	wantLog(t, dir, "release 1 "+view+" erp-db/d0")
	if _, err := s.View(1, 0); !errors.Is(err, ErrNotHeld) {
		t.Fatalf("released view: %v", err)
	}
	if c := mustCut(t, s, 3, 1); c.Tracked {
		t.Fatal("tracked since a point that is released")
	}
	if err := s.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir) + names(t, state); got != "changes log src" {
		t.Fatalf("left behind: %s", got)
	}
}

func TestChangesThatMakeNoSenseAreNotKnown(t *testing.T) {
	for name, c := range map[string]struct{ command, want string }{
		"Fails":       {"echo 0 512; echo broken >&2; exit 3", "exit status 3: broken"},
		"Malformed":   {"echo 0 512; echo what", "line 2"},
		"Outside":     {"echo 0 1048577", "outside the disk"},
		"CutOff":      {"printf '0 512\\n4096 40'", "has no end"},
		"EndlessLine": {"cat /dev/zero", "a line of more than"},
		"Killed":      {"echo 0 512; kill -9 $$", "killed"},
		"NotThere":    {"/nowhere/changes", "not found"},
		"LongMessage": {"head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", "xxx"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			src := filepath.Join(dir, "src")
			mustWrite(t, src, pattern(1, 1<<20))
			sp := copying(0, src, dir)
			sp.Changes = c.command
			s := mustOpen(t, filepath.Join(dir, "state"), sp)
			mustCut(t, s, 1, 0)
			if c := mustCut(t, s, 2, 1); c.Tracked {
				t.Fatal("tracked")
			}
			why := s.Untracked(2)
			if !strings.Contains(why, c.want) || !strings.Contains(why, "erp-db/d0") || len(why) > 2*maxStderr {
				t.Errorf("because %.300q (%d bytes), want %q", why, len(why), c.want)
			}
			if _, known, err := s.Changed(t.Context(), 2, 1, 0); known || err != nil {
				t.Errorf("changes: %v %v", known, err)
			}
		})
	}
}

func TestSnapshotCommandThatMisleads(t *testing.T) {
	for name, c := range map[string]struct{ command, want string }{
		"Fails":    {"echo no space >&2; exit 5", "exit status 5: no space"},
		"Nothing":  {"true", `"", not the absolute path`},
		"Relative": {"echo src", "not the absolute path"},
		"Nowhere":  {"echo /nowhere/x", "no such file"},
		"Itself":   {"ln -f $FAILBACK_SOURCE DIR/link; echo DIR/link", "the source"},
		"Shorter":  {"head -c 4096 $FAILBACK_SOURCE >DIR/short; echo DIR/short", "4096 bytes"},
		"Same":     {"cp $FAILBACK_SOURCE DIR/same; echo DIR/same", "view of disk erp-db/d0 at point 1"},
		"Twice":    {"", "printed the same view"},
		"Endless":  {"yes", "prints more than"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
			mustWrite(t, a, pattern(1, 1<<20))
			mustWrite(t, b, pattern(2, 1<<20))
			good, bad := copying(0, a, dir), copying(1, b, dir)
			bad.Snapshot = strings.ReplaceAll(c.command, "DIR", dir)
			if name == "Same" {
				good.Snapshot = bad.Snapshot
				s := mustOpen(t, filepath.Join(dir, "state"), good)
				mustCut(t, s, 1, 0)
				if _, err := s.Cut(t.Context(), 2, 1); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				if _, err := s.View(1, 0); !errors.Is(err, ErrGone) {
					t.Errorf("a view that was overwritten: %v", err)
				}
				return
			}
			if name == "Twice" {
				bad.Snapshot = strings.ReplaceAll("truncate -s 1M DIR/both; echo DIR/both", "DIR", dir)
				good.Snapshot = bad.Snapshot
			}
			s := mustOpen(t, filepath.Join(dir, "state"), good, bad)
			_, err := s.Cut(t.Context(), 1, 0)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if len(s.state.Cuts) != 0 || len(s.state.Pending) != 0 {
				t.Errorf("held: %v, pending %v", s.state.Cuts, s.state.Pending)
			}
			if _, err := os.Stat(filepath.Join(dir, "1-0")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the other disk's view is not let go of: %v", err)
			}
		})
	}
}

func TestContextEndsCommandsAndAllTheyStarted(t *testing.T) {
	dir := t.TempDir()
	src, fifo := filepath.Join(dir, "src"), filepath.Join(dir, "started")
	mustWrite(t, src, pattern(1, 1<<20))
	sp := spec(0, src)
	sp.Snapshot = fmt.Sprintf("mkfifo %[1]s; (sleep 1000; echo late >%[2]s/late) & echo go >%[1]s; wait", fifo, dir)
	s := mustOpen(t, filepath.Join(dir, "state"), sp)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for { // the command makes the fifo; reading waits for the command
			if b, err := os.ReadFile(fifo); err == nil && len(b) > 0 {
				cancel()
				return
			}
		}
	}()
	start := time.Now()
	if _, err := s.Cut(ctx, 1, 0); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if took := time.Since(start); took > pipesDelay {
		t.Errorf("ended only after %v", took)
	}
	f, err := os.OpenFile(s.file(1, 0, "run"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lock(f) != nil { // the lock goes with the last process of the group; the test's deadline bounds this
	}
}

func TestReleaseThatFailsIsTriedAgain(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	src := filepath.Join(dir, "src")
	mustWrite(t, src, pattern(1, 1<<20))
	sp := copying(0, src, dir)
	sp.Release = fmt.Sprintf("echo release $1 >>%[1]s/log; test -e %[1]s/may && rm -f $2", dir)
	s := mustOpen(t, state, sp)
	mustCut(t, s, 1, 0)
	mustCut(t, s, 2, 1)
	readLog(t, dir)
	if err := s.Release(t.Context(), 2); !errors.Is(err, ErrNotReleased) || !strings.Contains(err.Error(), "1-0") {
		t.Fatalf("got %v", err)
	}
	if _, err := s.View(1, 0); !errors.Is(err, ErrNotHeld) {
		t.Fatalf("got %v", err)
	}
	s.Close()
	s = mustOpen(t, state, sp)
	wantLog(t, dir, "release 1")
	if err := s.Forget(t.Context()); !errors.Is(err, ErrNotReleased) {
		t.Fatalf("got %v", err)
	}
	wantLog(t, dir, "release 1\nrelease 2")
	mustWrite(t, filepath.Join(dir, "may"), nil)
	if err := s.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLog(t, dir, "release 1\nrelease 2")
	if got := names(t, dir) + names(t, state); got != "may src" {
		t.Fatalf("left behind: %s", got)
	}
}

// TestPendingReleaseDoesNotTakeTheNewView: a view of a failed cut could not be let go of; the next try makes it anew at the same path.
func TestPendingReleaseDoesNotTakeTheNewView(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	mustWrite(t, a, pattern(1, 1<<20))
	mustWrite(t, b, pattern(2, 1<<20))
	good, bad := copying(0, a, dir), copying(1, b, dir)
	good.Release = fmt.Sprintf("test -e %s/may && rm -f $2", dir)
	// The bad one fails only when the good one has its view.
	bad.Snapshot = fmt.Sprintf("while ! test -e %[1]s/1-0; do :; done; test -e %[1]s/good || exit 1;", dir) + bad.Snapshot
	good.Snapshot = "trap '' TERM; " + good.Snapshot
	s := mustOpen(t, filepath.Join(dir, "state"), good, bad)
	if _, err := s.Cut(t.Context(), 1, 0); err == nil {
		t.Fatal("cut")
	}
	mustWrite(t, filepath.Join(dir, "good"), nil)
	c := mustCut(t, s, 1, 0)
	mustWrite(t, filepath.Join(dir, "may"), nil)
	if err := s.Release(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if again := mustCut(t, s, 1, 0); again.Snapshot != c.Snapshot {
		t.Fatal("the view was let go of")
	}
	if !bytes.Equal(content(t, s, 1, 0), pattern(1, 1<<20)) {
		t.Fatal("the view is wrong")
	}
}

// TestCommandThatStillRunsIsNotStartedTwice: part of a command escapes from its group, and goes on after the cut has ended.
func TestCommandThatStillRunsIsNotStartedTwice(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("setsid is missing")
	}
	dir := t.TempDir()
	src, end := filepath.Join(dir, "src"), filepath.Join(dir, "end")
	mustWrite(t, src, pattern(1, 1<<20))
	if out, err := exec.Command("mkfifo", end).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sp := spec(0, src)
	sp.Snapshot = fmt.Sprintf("setsid cat %s >/dev/null 2>&1 & exit 1", end)
	s := mustOpen(t, filepath.Join(dir, "state"), sp)
	if _, err := s.Cut(t.Context(), 1, 0); err == nil || errors.Is(err, errRuns) {
		t.Fatalf("got %v", err)
	}
	s.Close()
	s = mustOpen(t, filepath.Join(dir, "state"), copying(0, src, dir))
	s.wait = 0
	if _, err := s.Cut(t.Context(), 1, 0); !errors.Is(err, errRuns) {
		t.Fatalf("got %v", err)
	}
	wantLog(t, dir, "")
	mustWrite(t, end, []byte("end")) // cat ends
	s.wait = orphanWait
	mustCut(t, s, 1, 0)
}

func TestChangesAreAskedAnewForAnotherBase(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	mustWrite(t, src, pattern(1, 1<<20))
	s := mustOpen(t, filepath.Join(dir, "state"), copying(0, src, dir))
	mustWrite(t, filepath.Join(dir, "changes"), []byte("0 4096\n"))
	mustCut(t, s, 1, 0)
	mustCut(t, s, 2, 1)
	for base := range replication.PointID(2) {
		mustWrite(t, filepath.Join(dir, "changes"), fmt.Appendf(nil, "0 %d\n", 4096*(base+1)))
		mustCut(t, s, 3, base+1)
		set, known, err := s.Changed(t.Context(), 3, base+1, 0)
		if err != nil || !known || set.Bytes() != int64(4096*(base+1)) {
			t.Errorf("base %d: %v %v %v", base+1, set.Extents(), known, err)
		}
	}
	if _, known, err := s.Changed(t.Context(), 3, 1, 0); known || err != nil {
		t.Errorf("changes since a base that is not the last cut's: %v %v", known, err)
	}
}

func TestListedPointIsNeverMadeAgain(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	mustWrite(t, src, pattern(1, 1<<20))
	s := mustOpen(t, filepath.Join(dir, "state"), copying(0, src, dir))
	c := mustCut(t, s, 1, 0)
	if err := s.Release(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if again := mustCut(t, s, 1, 0); again.Snapshot != c.Snapshot {
		t.Fatal("another name")
	}
	os.Remove(filepath.Join(dir, "1-0"))
	if _, err := s.Cut(t.Context(), 1, 0); err == nil || !strings.Contains(err.Error(), "listed") {
		t.Fatalf("got %v", err)
	}
	mustWrite(t, filepath.Join(dir, "changes"), nil)
	if c := mustCut(t, s, 2, 1); !c.Tracked { // a view of the base is not what its changes come from
		t.Fatalf("not tracked: %s", s.Untracked(2))
	}
}

func TestViewThatWasWrittenToIsGone(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	mustWrite(t, src, pattern(1, 1<<20))
	s := mustOpen(t, filepath.Join(dir, "state"), copying(0, src, dir))
	c := mustCut(t, s, 1, 0)
	overwrite(t, filepath.Join(dir, "1-0"), 0, []byte("stranger"))
	if _, err := s.View(1, 0); !errors.Is(err, ErrGone) {
		t.Fatalf("got %v", err)
	}
	if again := mustCut(t, s, 1, 0); again.Snapshot == c.Snapshot {
		t.Fatal("the same name for another view")
	}
	if !bytes.Equal(content(t, s, 1, 0), pattern(1, 1<<20)) {
		t.Fatal("the view is wrong")
	}
}

func TestViewThatIsAnotherFileIsGone(t *testing.T) {
	dir := t.TempDir()
	src, view := filepath.Join(dir, "src"), filepath.Join(dir, "1-0")
	mustWrite(t, src, pattern(1, 1<<20))
	s := mustOpen(t, filepath.Join(dir, "state"), copying(0, src, dir))
	mustCut(t, s, 1, 0)
	fi, err := os.Stat(view)
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, view+".new", pattern(2, 1<<20))
	if err := os.Chtimes(view+".new", fi.ModTime(), fi.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(view+".new", view); err != nil {
		t.Fatal(err)
	}
	if _, err := s.View(1, 0); !errors.Is(err, ErrGone) {
		t.Fatalf("got %v", err)
	}
}
