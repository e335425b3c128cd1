package endtoend

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/bench/stand"
	"failback/replication"
)

// TestMachinesAreThawedAfterAKill kills the process server while two machines are frozen, and their disks are being cut: they are thawed when it is started again, and the point is made, application-consistent.
func TestMachinesAreThawedAfterAKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{})
	at := func(name string) string { return filepath.Join(w.Dir, name) }
	there := func(names ...string) bool {
		for _, name := range names {
			if _, err := os.Stat(at(name)); err != nil {
				return false
			}
		}
		return true
	}
	until := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patient); !is(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within %s", what, patient)
			}
		}
	}
	plan := w.planOf(group)
	for _, m := range []string{"db", "web"} {
		d := &disk{machine: m, id: "os", format: "raw", size: 4 * mib, commands: true}
		w.add(d)
		of := w.planOf(group, d).Machines[0]
		of.Disks[0].Snapshot = fmt.Sprintf("touch %[1]s/cutting; while test -e %[1]s/hold; do sleep 0.01; done; ", w.Dir) + of.Disks[0].Snapshot
		plan.Machines = append(plan.Machines, of)
	}
	plan.Policy = fmt.Sprintf("{crash_interval: 24h, app_interval: 24h, retention: 48h, rpo_alert: 48h, head_lag: 0s}\nquiesce: {freeze: 'touch %[1]s/frozen-$FAILBACK_MACHINE', thaw: 'rm -f %[1]s/frozen-$FAILBACK_MACHINE', timeout: 5m}", w.Dir)
	path, err := w.WritePlan(plan)
	w.must(err)
	w.must(w.Do(w.ctx, nil, "reprotect", path, "--wait"))
	w.listed(1)

	w.must(os.WriteFile(at("hold"), nil, 0o600))
	w.must(os.Remove(at("cutting")))
	w.change()
	var cut struct{ Point replication.PointID }
	done := make(chan error, 1)
	go func() { done <- w.Do(w.ctx, &cut, "cut", group, "--app", "--wait") }()
	until("the machines are frozen, and being cut", func() bool { return there("cutting", "frozen-db", "frozen-web") })
	w.must(w.KillProcessServer())
	if !there("frozen-db", "frozen-web") {
		t.Error("thawed without a process server")
	}
	w.must(w.StopMasterTarget()) // nobody orders it to
	w.must(w.StartProcessServer())
	until("the machines are thawed", func() bool { return !there("frozen-db") && !there("frozen-web") })
	w.must(os.Remove(at("hold")))
	w.must(w.StartMasterTarget())
	if err := <-done; err != nil { // the master target that was asked is gone
		w.must(w.WaitConnected(w.ctx))
		w.open()
		w.must(w.Do(w.ctx, &cut, "cut", group, "--app", "--wait"))
	}
	w.listed(cut.Point)
	p, err := w.Points(w.ctx, group)
	w.must(err)
	var kinds []string
	for _, one := range p.Points {
		kinds = append(kinds, string(one.Kind))
	}
	if got := strings.Join(kinds, " "); got != "app app" {
		t.Errorf("points are %s, want app app", got)
	}
	if there("frozen-db") || there("frozen-web") {
		t.Error("frozen after the cut")
	}
	var moved struct{ Head replication.PointID }
	w.must(w.Do(w.ctx, &moved, "rewind", group, "latest-app"))
	if moved.Head != cut.Point {
		t.Errorf("the latest application-consistent point is %d, want %d", moved.Head, cut.Point)
	}
	w.exports()
}
