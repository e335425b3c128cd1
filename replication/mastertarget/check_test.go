package mastertarget

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"failback/replication"
)

// TestCheckFindsTheSourceAsTarget gives a plan whose target is its source, by another name, on one machine: protecting it would overwrite it.
func TestCheckFindsTheSourceAsTarget(t *testing.T) {
	p := newPair(t, 8)
	defer p.close()
	plan := fmt.Sprintf("group: g\nos: linux\nprocess_server: ps\nmachines: [{name: m, disks: [{id: a, source: 'image:%s', target: %s}]}]\n", p.src(0), filepath.Join(p.dir, "src", ".", "0"))
	checked, err := p.master.Check(context.Background(), []byte(plan), replication.PathAsk{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(checked.Findings, func(f replication.Finding) bool {
		return f.Code == "target-is-source" && f.Severity == replication.Error
	}) {
		t.Errorf("not found: %+v", checked.Findings)
	}
}

// TestCheckWarnsOfSpace wants targets that are larger than what is free.
func TestCheckWarnsOfSpace(t *testing.T) {
	e, p := stage(t)
	p.size.Store(replication.MaxDiskSize)
	plan := fmt.Sprintf("group: other\nos: linux\nprocess_server: ps\nmachines: [{name: m, disks: [{id: a, source: 'image:/a', target: %s/large.raw}]}]\n", filepath.Join(e.cfg.Retention, "..", "ds"))
	checked, err := e.Check(context.Background(), []byte(plan), replication.PathAsk{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(checked.Findings, func(f replication.Finding) bool { return f.Code == "target-space" }) {
		t.Errorf("not found: %+v", checked.Findings)
	}
}
