package transport

import (
	"reflect"
	"testing"

	"failback/replication"
)

// TestAppliedKeepsItsMeaning: what applying a plan does comes through the wire as it was.
func TestAppliedKeepsItsMeaning(t *testing.T) {
	want := replication.Applied{
		Group: "erp", From: "abc", Applied: true,
		Changes:  []replication.PlanChange{{Subject: "db/logs", Key: "disk", Now: "a to b", Effect: "joins"}, {Subject: "erp", Key: "os", Was: "linux", Now: "windows", Effect: "one OS", Remedy: "make another group", Refused: true}},
		Findings: []replication.Finding{{Severity: replication.Warning, Code: "no-snapshot", Subject: "db/logs", Message: "none", Remedy: "make one"}},
	}
	if got := appliedFromWire(appliedToWire(want)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v want %+v", got, want)
	}
	unborn := []replication.UnbornDisk{{Disk: "db/logs", Joined: 7}, {Disk: "db/new"}}
	if got := unbornFromWire(unbornToWire(unborn)); !reflect.DeepEqual(got, unborn) {
		t.Errorf("got %+v want %+v", got, unborn)
	}
	disks := []replication.DiskNo{3, 4}
	if got := disksFromWire(disksToWire(disks)); !reflect.DeepEqual(got, disks) {
		t.Errorf("got %v want %v", got, disks)
	}
	if !want.Failed() {
		t.Error("a refused change does not fail")
	}
	if (&replication.Applied{Changes: want.Changes[:1]}).Failed() {
		t.Error("a change that can be made fails")
	}
}
