package main

import (
	"path/filepath"
	"testing"

	"failback/bench/workload"
	"failback/replication"
)

func pagesAt(all ...int64) workload.Pages {
	p := workload.NewPages(1 << 20)
	for _, page := range all {
		p.Add(replication.Extent{Off: page * replication.Page, End: (page + 1) * replication.Page})
	}
	return p
}

// TestChangesAreThoseBetweenTwoPoints: after the first, up to the second, and of a point that was made again all that it ever had.
func TestChangesAreThoseBetweenTwoPoints(t *testing.T) {
	disk, err := workload.NewStamped(filepath.Join(t.TempDir(), "disk"), 1, 1<<20, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	c := &churned{disk: disk, points: []uint64{1, 2, 3, 4}, changed: map[uint64]workload.Pages{1: pagesAt(0), 2: pagesAt(5), 3: pagesAt(6, 9), 4: pagesAt(7)}}
	for _, x := range []struct {
		from, to string
		want     string
	}{{"1", "3", "20480 8192\n36864 4096\n"}, {"3", "4", "28672 4096\n"}, {"4", "4", ""}} {
		if got, err := c.answer([]string{"changes", x.from, x.to}); err != nil || got != x.want {
			t.Errorf("from %s to %s: got %q, %v, want %q", x.from, x.to, got, err, x.want)
		}
	}
	c.forget(3)
	if got, err := c.answer([]string{"changes", "3", "4"}); err != nil || got != "28672 4096\n" || len(c.changed) != 2 {
		t.Errorf("after forgetting: got %q, %v", got, err)
	}
	for _, words := range [][]string{nil, {"changes", "1"}, {"snapshot"}, {"snapshot", "x"}, {"dance"}} {
		if _, err := c.answer(words); err == nil {
			t.Errorf("%q was answered", words)
		}
	}
}

// TestStopIsWhatAStopCommandExpects: nothing is written after the answer.
func TestStopIsWhatAStopCommandExpects(t *testing.T) {
	disk, err := workload.NewStamped(filepath.Join(t.TempDir(), "disk"), 1, 1<<20, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	c := &churned{disk: disk, since: workload.NewPages(1 << 20)}
	if c.writes, err = workload.NewWrites(workload.Uniform, 1<<20, 1); err != nil {
		t.Fatal(err)
	}
	if err := c.fill(64 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := c.answer([]string{"stop"}); err != nil {
		t.Fatal(err)
	}
	held := c.disk.Cut()
	if err := c.churn(t.Context(), 1e9); err != nil {
		t.Fatal(err)
	}
	if err := c.judge(t.Context(), disk.Path, held); err != nil {
		t.Error(err)
	}
}

func TestWordsMakeAFileName(t *testing.T) {
	if got, want := word("cycle 0.1 % failback, told by a command"), "cycle-0.1-failback-told-by-a-command"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEverySuiteHasScenariosOfItsOwnName(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range allSuites() {
		for _, one := range s.Scenarios {
			path := s.Path(one.Name)
			if one.Name == "" || one.About == "" || one.Run == nil || seen[path] {
				t.Errorf("%q: no name, nothing said of it, nothing to run, or there twice", path)
			}
			seen[path] = true
		}
	}
}
