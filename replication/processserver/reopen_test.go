package processserver

import (
	"os"
	"path/filepath"
	"testing"

	"failback/replication"
	"failback/replication/link"
)

func TestGroupGoesOnWhenItsStateCanBeSavedAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{Dir: filepath.Join(dir, "ps")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	spec := link.Spec{Session: replication.Session{Group: "g"}, Disks: []link.Source{{Disk: replication.Disk{ID: "a/one", Size: 1 << 20}, Path: path}}}
	if _, err := e.Cut(t.Context(), spec, 1, link.Base{}); err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(dir, "ps", "g", "state.json.new") // nothing can be written there
	if err := os.MkdirAll(filepath.Join(full, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Cut(t.Context(), spec, 2, link.Base{Point: 1}); err == nil {
		t.Fatal("the state was saved")
	}
	if err := os.RemoveAll(full); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Cut(t.Context(), spec, 2, link.Base{Point: 1}); err != nil {
		t.Error(err)
	}
}
