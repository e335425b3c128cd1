package source

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"failback/replication"
)

// TestCrashHelper is the process that is killed: it does one round and kills itself at the k-th durable step.
func TestCrashHelper(t *testing.T) {
	dir, kind := os.Getenv("CRASH_DIR"), os.Getenv("CRASH_KIND")
	if dir == "" {
		t.Skip("run by TestKilledAtEveryStep")
	}
	k, _ := strconv.Atoi(os.Getenv("CRASH_AT"))
	var done atomic.Int64
	step := func(string) {
		if done.Add(1) == int64(k) {
			if self, err := os.FindProcess(os.Getpid()); err == nil {
				self.Kill()
			}
			select {}
		}
	}
	s, err := open(crashState(dir, kind), group, crashSpecs(dir, kind), quiet(), step)
	if err != nil {
		t.Fatal(err)
	}
	if err := crashRound(t.Context(), s, crashHooks(dir, kind), step); err != nil {
		t.Fatal(err)
	}
}

// crashState is the state directory: on another file system than the clones for kind "beside".
func crashState(dir, kind string) string {
	if kind == "beside" {
		return filepath.Join(os.TempDir(), "failback-beside"+strings.ReplaceAll(dir, "/", "-"))
	}
	return filepath.Join(dir, "state")
}

func crashSpecs(dir, kind string) []Spec {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if kind == "command" || kind == "frozen" {
		return []Spec{copying(0, a, dir), copying(1, b, dir)}
	}
	return []Spec{spec(0, a), spec(1, b)}
}

// crashHooks are those of kind "frozen".
func crashHooks(dir, kind string) []replication.Quiesce {
	if kind != "frozen" {
		return nil
	}
	return []replication.Quiesce{noting(dir, "db", "", ""), noting(dir, "web", "", "")}
}

// crashRound goes from point 1 to point 2, from wherever it was left.
func crashRound(ctx context.Context, s *Images, hooks []replication.Quiesce, step func(string)) error {
	if _, err := s.Cut(ctx, 2, 1, hooks...); err != nil {
		return err
	}
	for disk := range replication.DiskNo(2) {
		if !s.NeedsTable(disk) {
			continue
		}
		t, err := s.Table(2, disk)
		if err != nil {
			return err
		}
		v, err := s.View(2, disk)
		if err != nil {
			return err
		}
		defer v.Close()
		b := make([]byte, replication.Region)
		for r := range t.Regions() {
			if _, ok, err := t.Get(r, nil); err != nil {
				return err
			} else if ok {
				continue
			}
			n, err := v.ReadAt(b[:min(replication.Region, v.Size()-r*replication.Region)], r*replication.Region)
			if err != nil {
				return err
			}
			if err := t.Put(r, replication.HashPages(nil, b[:n])); err != nil {
				return err
			}
			step("put")
		}
		if err := t.Seal(); err != nil {
			return err
		}
		step("sealed")
	}
	return s.Release(ctx, 2)
}

// TestKilledAtEveryStep kills a process at its k-th durable step, for every k, and carries on with another: the point is right, its tracking is right, and
// nothing is left behind.
func TestKilledAtEveryStep(t *testing.T) {
	for _, kind := range []string{"reflink", "beside", "command", "none", "frozen"} {
		t.Run(kind, func(t *testing.T) {
			base := t.TempDir()
			if kind == "reflink" || kind == "beside" {
				base = mount(t, 320<<20, "mkfs.xfs", "-q", "-m", "reflink=1")
			}
			stride := 1
			if raceEnabled { // each step is slow then, and the steps are the same
				stride = 3
			}
			for k := 1; ; k += stride {
				dir := filepath.Join(base, strconv.Itoa(k))
				if killedAt(t, dir, kind, k) {
					if k < 4 {
						t.Fatalf("only %d steps", k)
					}
					t.Logf("ends before step %d", k)
					return
				}
				os.RemoveAll(dir)
			}
		})
	}
}

// killedAt returns true when the process came to its end before step k.
func killedAt(t *testing.T, dir, kind string, k int) (ended bool) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(crashState(dir, kind))
	state, specs := crashState(dir, kind), crashSpecs(dir, kind)
	for _, sp := range specs {
		mustWrite(t, sp.Path, pattern(1, 1<<20+512))
	}
	mustWrite(t, filepath.Join(dir, "changes"), []byte("0 4096\n"))
	s := mustOpen(t, state, specs...)
	mustCut(t, s, 1, 0)
	for disk := range replication.DiskNo(2) {
		if s.NeedsTable(disk) {
			fill(t, s, 1, disk)
		}
	}
	s.Close()
	now := pattern(2, 4096)
	for _, sp := range specs {
		overwrite(t, sp.Path, 0, now)
	}

	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashHelper$")
	cmd.Env = append(os.Environ(), "CRASH_DIR="+dir, "CRASH_KIND="+kind, fmt.Sprintf("CRASH_AT=%d", k))
	out, err := cmd.CombinedOutput()
	if err == nil {
		ended = true
	} else if !strings.Contains(err.Error(), "killed") {
		t.Fatalf("step %d: %v: %s", k, err, out)
	}

	if kind == "frozen" {
		if err := Thaw(state, quiet()); err != nil { // as a process server does when it starts
			t.Fatalf("step %d: %v", k, err)
		}
		said := readLog(t, dir)
		for _, machine := range []string{"db", "web"} {
			if strings.LastIndex(said, "freeze "+machine) > strings.LastIndex(said, "thaw "+machine) {
				t.Fatalf("step %d: machine %s is frozen:\n%s", k, machine, said)
			}
		}
	}
	s = mustOpen(t, state, specs...)
	if kind == "reflink" || kind == "beside" {
		clones := filepath.Join(state, viewsName)
		if kind == "beside" {
			clones = filepath.Join(dir, ".failback-"+string(group))
		}
		held := 0
		for _, point := range []replication.PointID{1, 2} {
			if _, _, err := s.held(point, 0); err == nil {
				held++
			}
		}
		if got, _ := os.ReadDir(clones); len(got) != 2*held {
			t.Fatalf("step %d: %d clones after opening, %d points are held", k, len(got), held)
		}
	}
	_, released := s.View(1, 0)
	if c := s.cutOf(2); c != nil && c.Listed { // killed in its Release
		if err := s.Release(t.Context(), 2); err != nil {
			t.Fatalf("step %d: %v", k, err)
		}
	} else {
		c := mustCut(t, s, 2, 1)
		if released == nil && !c.Tracked {
			t.Fatalf("step %d: not tracked: %s", k, s.Untracked(2))
		}
		if c.Stable != (kind != "none") {
			t.Fatalf("step %d: stable %v", k, c.Stable)
		}
		if err := crashRound(t.Context(), s, crashHooks(dir, kind), func(string) {}); err != nil {
			t.Fatalf("step %d: %v", k, err)
		}
	}
	want := append(bytes.Clone(now), pattern(1, 1<<20+512)[4096:]...)
	for disk, sp := range specs {
		if !bytes.Equal(content(t, s, 2, replication.DiskNo(disk)), want) {
			t.Fatalf("step %d: disk %d is wrong", k, disk)
		}
		if !s.NeedsTable(replication.DiskNo(disk)) {
			continue
		}
		tab, err := s.Table(2, replication.DiskNo(disk))
		if err != nil {
			t.Fatal(err)
		}
		for r := range tab.Regions() {
			pages, ok, err := tab.Get(r, nil)
			hashes := replication.HashPages(nil, want[r*replication.Region:min(int64(len(want)), (r+1)*replication.Region)])
			if !ok || err != nil || fmt.Sprint(pages) != fmt.Sprint(hashes) {
				t.Fatalf("step %d: hashes of region %d of %s: %v %v", k, r, sp.Path, ok, err)
			}
		}
	}
	if c := mustCut(t, s, 3, 2); !c.Tracked {
		t.Fatalf("step %d: point 3 is not tracked: %s", k, s.Untracked(3))
	}
	if err := s.Forget(t.Context()); err != nil {
		t.Fatalf("step %d: %v", k, err)
	}
	s.Close()
	os.Remove(filepath.Join(dir, "log"))
	if got := names(t, dir); got != "a b changes" {
		t.Fatalf("step %d: left behind: %s", k, got)
	}
	return ended
}
