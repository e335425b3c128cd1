package jobs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"failback/replication"
	"failback/replication/bolttest"
)

// TestStoreUnderCrash: what a crash at any write leaves opens, and has all of a change, or nothing of it; the next job has a number of its own.
func TestStoreUnderCrash(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), storeName)
	s, err := openStore(path)
	if err != nil {
		t.Fatal(err)
	}
	read := func() []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	files := [][]byte{read()}
	put := func(j *replication.Job) {
		if err := s.put(j); err != nil {
			t.Fatal(err)
		}
		files = append(files, read())
	}
	for range 4 {
		j := replication.Job{Kind: replication.JobRewind, Group: "g", State: replication.JobRunning, Problem: replication.AsProblem(os.ErrExist)}
		put(&j)
		j.State = replication.JobDone
		put(&j)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	crashed := filepath.Join(t.TempDir(), storeName)
	look := func(file []byte, begins bool) string {
		if err := os.WriteFile(crashed, file, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openStore(crashed)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		all, err := s.all()
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		var next replication.Job
		if begins {
			if err := s.put(&next); err != nil {
				t.Fatal(err)
			}
			if n := len(all); next.ID != uint64(n)+1 {
				t.Fatalf("after %d jobs another one has number %d", n, next.ID)
			}
		}
		return string(b)
	}
	for i := range len(files) - 1 {
		was := look(files[i], false)
		is := look(files[i+1], false)
		if was == is {
			t.Fatalf("change %d changes nothing", i)
		}
		for _, x := range bolttest.Crashes(t, files[i], files[i+1]) {
			want := was
			if x.New {
				want = is
			}
			if got := look(x.File, x.New); got != want {
				t.Fatalf("change %d, %s: got %s, want %s", i, x.Name, got, want)
			}
		}
	}
}
