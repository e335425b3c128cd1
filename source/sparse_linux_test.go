package source

import (
	"os"
	"syscall"
	"testing"

	"failback/replication"
)

func TestTableOfALargeDiskOfZerosIsSparse(t *testing.T) {
	tab, _ := mustCreateTable(t, 8<<40)
	zeros := make([]replication.Hash, regionPages)
	for region := int64(0); region < tab.Regions(); region += 4999 {
		mustPut(t, tab, region, zeros)
	}
	fi, err := os.Stat(tab.path)
	if err != nil {
		t.Fatal(err)
	}
	if b := fi.Sys().(*syscall.Stat_t).Blocks * 512; b > tab.Regions()*stateSize+1<<20 {
		t.Errorf("the table takes %d bytes", b)
	}
	pages := make([]replication.Hash, 0, regionPages)
	allocs := testing.AllocsPerRun(100, func() {
		tab.Put(1, zeros)
		pages, _, _ = tab.Get(1, pages)
	})
	if allocs > 0 && !raceEnabled {
		t.Errorf("%v allocations for a Put and a Get", allocs)
	}
}
