package main

import (
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/transport/operatortest"
)

// TestCommitAndBack passes on what was asked for, and says what it came to.
func TestCommitAndBack(t *testing.T) {
	f := staged()
	var asked replication.CommitRequest
	var original bool
	f.OnCommit = func(_ replication.GroupID, r replication.CommitRequest, progress func(replication.CutoverStatus)) (replication.PointID, error) {
		asked = r
		progress(replication.CutoverStatus{Step: "final", Doing: "making the last point"})
		return 318, nil
	}
	f.OnUndo = func(_ replication.GroupID, toOriginal bool, _ func(replication.CutoverStatus)) (replication.PointID, error) {
		original = toOriginal
		return 317, nil
	}
	f.OnFinish = func(replication.GroupID) (replication.PointID, error) { return 318, nil }
	f.OnStatus = statusFrom(group(replication.StateProtected, 2), group(replication.StateProtected, 2))
	address := operatortest.Serve(t, f)
	got := failback(t.Context(), "", "commit", "erp", "--point", "318", "--stop-command", "halt it", "--after-command", "start it", "--verify", "--not-before", "2h", "--operator", address)
	if got.code != 0 || !strings.Contains(got.out, "group erp is committed: its disks stand at point 318") || !strings.Contains(got.out, "failback undo erp") || !strings.Contains(got.err, "making the last point") {
		t.Errorf("commit: %+v", got)
	}
	wait := time.Until(asked.NotBefore)
	if asked.NotBefore = (time.Time{}); asked != (replication.CommitRequest{Point: 318, Stop: "halt it", After: "start it", Verify: true}) || wait < time.Hour || wait > 2*time.Hour {
		t.Errorf("asked for %+v in %s", asked, wait)
	}
	if got := failback(t.Context(), "", "commit", "erp", "--json", "--operator", address); got.code != 0 || got.out != "{\"group\":\"erp\",\"committed\":true,\"head\":318,\"held\":false}\n" {
		t.Errorf("commit --json: %+v", got)
	}
	if got := failback(t.Context(), "", "undo", "erp", "--to-original", "--operator", address); got.code != 0 || !original || !strings.Contains(got.out, "its disks stand at point 317, and follow new points") {
		t.Errorf("undo: %+v", got)
	}
	if got := failback(t.Context(), "", "finish", "erp", "--operator", address); got.code != 2 || !strings.Contains(got.err, "--yes") {
		t.Errorf("finish without asking: %+v", got)
	}
	if got := failback(t.Context(), "", "finish", "erp", "--yes", "--json", "--operator", address); got != (result{0, "{\"group\":\"erp\",\"at_point\":true,\"head\":318}\n", ""}) {
		t.Errorf("finish: %+v", got)
	}
}

// TestStatusTellsOfACutover says how far it is, and what comes next.
func TestStatusTellsOfACutover(t *testing.T) {
	f := staged()
	g := group(replication.StateCommitted, 2)
	g.Cutover = &replication.CutoverStatus{Step: "committed", Since: noon, Point: 2, After: "start it", Ended: "done", Next: "failback undo, or failback finish"}
	f.OnStatus = statusFrom(g)
	got := failback(t.Context(), "", "status", "--operator", operatortest.Serve(t, f))
	for _, want := range []string{"Cutover: committed for ", ", at point 2", "After-command: done", "Next: failback undo, or failback finish"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("status lacks %q: %s", want, got.out)
		}
	}
}
