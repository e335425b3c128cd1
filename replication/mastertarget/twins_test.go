package mastertarget

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"failback/blockio"
	"failback/replication"
)

// TestCheckFindsOneDiskUnderTwoNames gives a plan targets that are one disk: two names of a file, and a VMDK beside a copy of it, which has the same UUID.
func TestCheckFindsOneDiskUnderTwoNames(t *testing.T) {
	e, _ := stage(t)
	dir := filepath.Join(e.cfg.Retention, "..", "ds")
	raw, linked := filepath.Join(dir, "one.raw"), filepath.Join(dir, "two.raw")
	vmdk, copied := filepath.Join(dir, "one.vmdk"), filepath.Join(dir, "..", "copy", "one.vmdk")
	if err := blockio.Create(raw, blockio.FormatRaw, puppetSize); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(raw, linked); err != nil {
		t.Fatal(err)
	}
	if err := blockio.Create(vmdk, blockio.FormatVMFS, puppetSize); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "..", "copy"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for name, targets := range map[string][2]string{"TwoNames": {raw, linked}, "SameUUID": {vmdk, copied}} {
		plan := fmt.Sprintf("group: other\nos: linux\nprocess_server: ps\nmachines: [{name: m, disks: [{id: a, source: 'image:/a', target: %s}, {id: b, source: 'image:/b', target: %s}]}]\n", targets[0], targets[1])
		checked, err := e.Check(context.Background(), []byte(plan), replication.PathAsk{})
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, f := range checked.Findings {
			if f.Code == "target-twice" && f.Severity == replication.Error {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%s: found %d times: %+v", name, found, checked.Findings)
		}
	}
}
