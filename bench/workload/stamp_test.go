package workload

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"failback/replication"
)

// TestStampsTell: a copy is judged well; one flipped bit, an older sector, a sector elsewhere, and one that was lost are each found.
func TestStampsTell(t *testing.T) {
	s, err := NewStamped(filepath.Join(t.TempDir(), "d"), 3, 1<<20, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Change(200, 40); err != nil {
		t.Fatal(err)
	}
	older, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Change(200, 40); err != nil {
		t.Fatal(err)
	}
	cut := s.Cut()
	good, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Judge(good, 0, cut); n != 0 {
		t.Fatalf("%d sectors of a good copy are wrong: %v", n, err)
	}
	if n, _ := s.Judge(older, 0, cut); n == 0 {
		t.Error("an older copy is judged well")
	}
	at := 0
	for k, w := range cut {
		if w != 0 {
			at = k * StampSector
		}
	}
	for name, spoil := range map[string]func(b []byte){
		"flip":  func(b []byte) { b[at+100] ^= 4 },
		"lost":  func(b []byte) { clear(b[at : at+StampSector]) },
		"moved": func(b []byte) { copy(b[at:], b[otherSector(cut, at)*StampSector:][:StampSector]) },
	} {
		b := append([]byte(nil), good...)
		spoil(b)
		if n, _ := s.Judge(b, 0, cut); n != 1 {
			t.Errorf("%s: %d sectors are wrong, want 1", name, n)
		}
	}
}

func otherSector(cut Cut, at int) int {
	for k, w := range cut {
		if w != 0 && k != at/StampSector {
			return k
		}
	}
	return 0
}

func TestDiscardedIsZero(t *testing.T) {
	s, err := NewStamped(filepath.Join(t.TempDir(), "d"), 3, 1<<20, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := errors.Join(s.Write(replication.Extent{End: 1 << 20}), s.Discard(replication.Extent{Off: 4096, End: 12288}), s.Write(replication.Extent{Off: 8192, End: 8704})); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	if wrong, first := s.Judge(b, 0, s.Cut()); wrong != 0 {
		t.Errorf("%d sectors are wrong: %v", wrong, first)
	}
	if !replication.IsZero(b[4096:8192]) || replication.IsZero(b[8192:8704]) {
		t.Error("what was given back is not zeros, or what was written since is")
	}
}
