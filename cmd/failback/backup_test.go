package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/backup"
	"failback/replication/jobs"
	"failback/transport/operatortest"
)

// TestBackupAndRestore asks a master target that runs, makes a state directory of what it told, and reads that one: it tells the same.
func TestBackupAndRestore(t *testing.T) {
	plan := `{"plan":{"group":"erp","os":"linux","process_server":"ps1","machines":[{"name":"m","disks":[{"id":"d","source":"image:/s","target":"/t"}]}]},"created":"2026-11-27T12:00:00Z","held":true}`
	told := backup.File{
		Made: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC), Owner: "0123", Host: "mt1",
		Records:     map[string]map[string]json.RawMessage{"groups": {"erp": json.RawMessage(plan)}, "paces": {"erp": json.RawMessage(`"` + strings.Repeat("x", 3<<20) + `"`)}}, // more than one message
		Throttle:    "20Mbps",
		Generations: map[replication.GroupID]replication.Generation{"erp": 7},
		Jobs:        []replication.Job{{ID: 41, Kind: replication.JobVerify, Group: "erp", State: replication.JobDone}},
	}
	text, err := backup.Encode(told)
	if err != nil {
		t.Fatal(err)
	}
	f := staged()
	f.OnBackup = func() ([]byte, error) { return text, nil }
	address := operatortest.Serve(t, f)
	dir := t.TempDir()
	file, state := filepath.Join(dir, "erp.backup"), filepath.Join(dir, "state")
	if got := failback(t.Context(), "", "backup", file, "--operator", address); got.code != 0 || !strings.Contains(got.out, "1 group and 1 job\n  erp\n") {
		t.Fatalf("backup: %+v", got)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != string(text) {
		t.Errorf("the file is not what was told: %v", err)
	}
	if got := failback(t.Context(), "", "backup", file, "--operator", address); got.code != 1 || !strings.Contains(got.err, "exists") {
		t.Errorf("over a file that exists: %+v", got)
	}
	if got := failback(t.Context(), "", "restore", file, "--list", "--json"); got.code != 0 || got.out != `{"file":"`+file+`","made":"2026-11-27T12:00:00Z","host":"mt1","groups":["erp"],"jobs":1}`+"\n" {
		t.Errorf("list: %+v", got)
	}
	if got := failback(t.Context(), "", "restore", file); got.code != 2 {
		t.Errorf("to nowhere: %+v", got)
	}
	if got := failback(t.Context(), "", "restore", file, "--state", state); got.code != 1 || !strings.Contains(got.err, "--old-host-is-off") {
		t.Errorf("of another machine: %+v", got)
	}
	if got := failback(t.Context(), "", "restore", file, "--state", state, "--old-host-is-off"); got.code != 0 || !strings.Contains(got.out, state+" is made of it") {
		t.Fatalf("restore: %+v", got)
	}
	if got := failback(t.Context(), "", "restore", file, "--state", state, "--old-host-is-off"); got.code != 1 || !strings.Contains(got.err, "has a catalogue already") {
		t.Errorf("once more: %+v", got)
	}
	if got := failback(t.Context(), "", "backup", filepath.Join(dir, "again"), "--state", state); got.code != 0 {
		t.Fatalf("backup of the directory: %+v", got)
	}
	again, err := os.ReadFile(filepath.Join(dir, "again"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := backup.Decode(again)
	if err != nil || got.Throttle != "20Mbps" || len(got.Records["groups"]) != 1 || !strings.Contains(string(got.Records["groups"]["erp"]), `"held": true`) || len(got.Jobs) != 1 || got.Jobs[0].ID != 41 {
		t.Errorf("got throttle %q, groups %s, jobs %+v, %v", got.Throttle, got.Records["groups"], got.Jobs, err)
	}
	if all, err := jobs.Read(dir); err != nil || len(all) != 0 {
		t.Errorf("of a directory without jobs: %v, %v", all, err)
	}
	if err := os.WriteFile(file, text[:len(text)-9], 0o600); err != nil {
		t.Fatal(err)
	}
	if got := failback(t.Context(), "", "restore", file, "--list"); got.code != 1 || !strings.Contains(got.err, "damaged") {
		t.Errorf("one that is cut off: %+v", got)
	}
}
