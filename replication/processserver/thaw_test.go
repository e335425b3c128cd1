package processserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/link"
)

// still is a group whose one disk has snapshots, and whose machine's commands note in the file "log" of dir that they ran; thaw fails while the file "broken" is there.
func still(t *testing.T, dir string) link.Spec {
	t.Helper()
	path := filepath.Join(dir, "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return link.Spec{
		Session: replication.Session{Group: "g"},
		Disks:   []link.Source{{Disk: replication.Disk{ID: "m/d"}, Path: path, Snapshot: fmt.Sprintf("echo cut >>%[1]s/log; cp $FAILBACK_SOURCE %[1]s/view.$1 && echo %[1]s/view.$1", dir), Release: "rm -f $2"}},
		Quiesce: []replication.Quiesce{{Machine: "m", Freeze: fmt.Sprintf("echo freeze >>%s/log", dir), Thaw: fmt.Sprintf("echo thaw >>%[1]s/log; test ! -e %[1]s/broken", dir), Timeout: time.Minute}},
	}
}

func ran(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

func start(t *testing.T, dir string) *Engine {
	t.Helper()
	e, err := New(Config{Dir: filepath.Join(dir, "ps")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// TestWhatIsFrozenIsThawedFirstWhenItStarts: what a process left frozen is thawed by the next one, by itself, and before it cuts; what can't be thawed is told.
func TestWhatIsFrozenIsThawedFirstWhenItStarts(t *testing.T) {
	dir := t.TempDir()
	spec := still(t, dir)
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e := start(t, dir)
	c, err := e.Cut(t.Context(), spec, 1, link.Base{})
	if err != nil || c.App || !strings.Contains(c.NotApp, "machine m could not be thawed and may be frozen still") {
		t.Fatalf("cut %+v, %v", c, err)
	}
	if got := e.Figures().Frozen; len(got) != 1 || got[0] != "g/m" {
		t.Errorf("frozen are %v", got)
	}
	if err := e.Close(); err == nil || !strings.Contains(err.Error(), "machines m of group g may be frozen still") {
		t.Errorf("closed while a machine may be frozen: %v", err)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	e = start(t, dir)
	if c, err = e.Cut(t.Context(), spec, 2, link.Base{Point: 1}); err != nil || !c.App {
		t.Errorf("cut %+v, %v", c, err)
	}
	if got, want := ran(t, dir), "freeze cut thaw thaw thaw freeze cut thaw"; got != want {
		t.Errorf("ran %q, want %q", got, want)
	}
	if got := e.Figures().Frozen; len(got) != 0 {
		t.Errorf("frozen are %v still", got)
	}
}

// TestWhatCanBeThawedIsWhenItEnds: a thaw command that was ended with the process server is run once more.
func TestWhatCanBeThawedIsWhenItEnds(t *testing.T) {
	dir := t.TempDir()
	spec := still(t, dir)
	spec.Quiesce[0].Thaw = fmt.Sprintf("echo thaw >>%[1]s/log; test $(grep -c thaw %[1]s/log) -gt 1", dir)
	e := start(t, dir)
	if c, err := e.Cut(t.Context(), spec, 1, link.Base{}); err != nil || c.App {
		t.Fatalf("cut %+v, %v", c, err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if got, want := ran(t, dir), "freeze cut thaw thaw"; got != want {
		t.Errorf("ran %q, want %q", got, want)
	}
}

// TestProbeLooksAtCommandsThatFreeze.
func TestProbeLooksAtCommandsThatFreeze(t *testing.T) {
	dir := t.TempDir()
	spec := still(t, dir)
	spec.Quiesce = append(spec.Quiesce, replication.Quiesce{Machine: "n", Freeze: "true", Thaw: "/nowhere/thaw now"})
	got, err := start(t, dir).Probe(t.Context(), spec)
	if q := got.Quiesce; err != nil || len(q) != 1 || q[0].Machine != "n" || q[0].Command != "thaw" || q[0].Why == "" {
		t.Errorf("got %+v, %v", got.Quiesce, err)
	}
}
