package jobs

import (
	"os"
	"path/filepath"
	"testing"

	"failback/replication"
)

// TestRestoreThatWasCutOffIsDoneAgain: what it left goes; jobs that are there stay as they are.
func TestRestoreThatWasCutOffIsDoneAgain(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, storeName+".restored-1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, all := range [][]replication.Job{{{ID: 3}, {ID: 7}}, {{ID: 9}}} {
		if err := Restore(dir, all); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(dir); err != nil || len(got) != 2 {
			t.Errorf("got %+v, %v; want jobs 3 and 7", got, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
}
