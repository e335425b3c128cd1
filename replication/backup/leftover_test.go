package backup

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestOnlyWhatARestoreLeftIsRemoved: an administrator's own copies stay, whatever their names.
func TestOnlyWhatARestoreLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	f, err := CreateTemp(dir, "catalogue.db")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	stay := []string{"catalogue.db", "catalogue.db.restored-", "catalogue.db.restored-from-monday", "jobs.db.restored-1"}
	for _, name := range stay {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveLeft(dir, "catalogue.db"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, e := range entries {
		there = append(there, e.Name())
	}
	if !slices.Equal(there, stay) {
		t.Errorf("there are %q, want %q", there, stay)
	}
}
