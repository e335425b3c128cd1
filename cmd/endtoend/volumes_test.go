package endtoend

import (
	"slices"
	"strings"
	"testing"

	"failback/bench/stand"
	"failback/replication"
)

// TestVolumes asks for the volumes with nothing that lets sharing pass: the stand's journals lie beside its targets.
func TestVolumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{MasterTargetFlags: []string{"--allow-shared-volume=false"}}, threeDisks()[0])
	var listed struct{ Volumes []replication.Volume }
	w.must(w.Do(w.ctx, &listed, "volumes"))
	i := slices.IndexFunc(listed.Volumes, func(v replication.Volume) bool { return v.Retention })
	if i < 0 || listed.Volumes[i].Usable || listed.Volumes[i].Size <= 0 {
		t.Fatalf("got %+v", listed)
	}
	for _, v := range listed.Volumes {
		if slices.Contains([]string{"proc", "sysfs", "cgroup2", "devpts"}, v.Type) {
			t.Errorf("listed: %+v", v)
		}
	}
	out, said, code := w.CLI(w.ctx, "volumes")
	for _, word := range []string{"VOLUME", "in use, REFUSED", w.Retention, "What to do: "} {
		if !strings.Contains(string(out), word) || code != 0 {
			t.Errorf("exit code %d: %s%s, want %q in it", code, out, said, word)
		}
	}
	plan, err := w.WritePlan(w.planOf(group, w.disks...))
	w.must(err)
	w.refused(1, []string{"retention volume " + w.Retention}, "reprotect", plan)
	out, _, code = w.CLI(w.ctx, "check", plan, "--path-time", "0")
	if code != 1 || !strings.Contains(string(out), "--allow-shared-volume") {
		t.Errorf("check: exit code %d: %s", code, out)
	}
}
