package processserver

import (
	"os"
	"path/filepath"
	"testing"

	"failback/replication"
	"failback/replication/link"
	"failback/source"
)

// TestProbeTellsThatNoSnapshotsAreMade: memory file systems have no clones.
func TestProbeTellsThatNoSnapshotsAreMade(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "failback-test-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(shm)
	path := filepath.Join(shm, "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{Dir: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	got, err := e.Probe(t.Context(), link.Spec{Session: replication.Session{Group: "g"}, Disks: []link.Source{
		{Disk: replication.Disk{No: 0, ID: "a/one"}, Path: path},
		{Disk: replication.Disk{No: 1, ID: "a/two"}, Path: path, Snapshot: "echo"},
		{Disk: replication.Disk{No: 2, ID: "a/three"}, Path: path + ".missing"},
	}})
	disks := got.Disks
	if err != nil || len(disks) != 3 || got.Dir == "" || disks[0].Data != 1<<20 || disks[0].View != source.KindNone || disks[1].View != source.KindCommand || disks[2].View != "" || disks[2].Problem == nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if names, _ := os.ReadDir(shm); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

// warmed counts how often its lanes are connected ahead.
type warmed struct {
	link.Authority
	times int
}

func (w *warmed) Warm(int) { w.times++ }

// TestProbeConnectsLanesWhereACutFollows: not for a plan that is only checked.
func TestProbeConnectsLanesWhereACutFollows(t *testing.T) {
	w := &warmed{}
	e, err := New(Config{Dir: t.TempDir()}, w)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for generation, want := range []int{0, 1} {
		if _, err := e.Probe(t.Context(), link.Spec{Session: replication.Session{Group: "g", Generation: replication.Generation(generation)}}); err != nil {
			t.Fatal(err)
		}
		if w.times != want {
			t.Errorf("generation %d: lanes were connected %d times, want %d", generation, w.times, want)
		}
	}
}
