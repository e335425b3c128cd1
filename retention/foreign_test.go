package retention

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"failback/replication"
)

func TestForeignNamesWhatRemoveWouldLeave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "g")
	j, err := Create(dir, Identity{Group: "g", Created: time.Now(), Disks: []replication.Disk{{No: 0, ID: "m/one", Size: 1 << 20}}, Targets: []string{"/one"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := Foreign(dir); err != nil || len(got) != 0 {
		t.Errorf("a journal has %q that is not its own: %v", got, err)
	}
	want := []string{"notes.txt", filepath.Join(saveDir, "copy.bak")}
	for _, n := range want {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Foreign(dir)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	for _, n := range want {
		if err := os.Remove(filepath.Join(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Remove(dir); err != nil {
		t.Error(err)
	}
}
