package main

import (
	"strings"
	"testing"
	"time"

	"failback/replication"
)

// TestResyncAsksBeforeItOverwrites does so where others have written to the disks; else it has no reason to.
func TestResyncAsksBeforeItOverwrites(t *testing.T) {
	asked(t, "resync new", "compared with their sources now", []question{
		{"Script", "y\n", false, "", 1, "failback resync new --yes"},
		{"ScriptThatMay", "", false, "--yes", 0, ""},
		{"Yes", "y\n", true, "", 0, "Overwrite it for good, and give the points up? [y/N]"},
		{"No", "n\n", true, "", 1, "nothing was overwritten"},
		{"NoAnswer", "", true, "", 1, "nothing given up"},
		{"JSON", "y\n", true, "--json", 1, `"code":"resync-overwrites"`},
	})
	asked(t, "resync erp", "compared with their sources now: its state was lost", []question{{"Nothing", "", true, "", 0, ""}})
}

func TestStatusTellsWhyAResyncIsNeededAndWhenItBegins(t *testing.T) {
	var b strings.Builder
	g := group(replication.StateResync, 3)
	g.Open = 0
	g.Resync = &replication.ResyncStatus{Why: "its state was lost", Since: noon, Opens: noon.Add(6 * time.Hour)}
	printGroup(&b, g, noon.Add(time.Minute))
	const want = "  Resync, needed for 1m00s: its state was lost; it begins at 2026-03-01 18:00:00, or now by failback resync\n"
	if !strings.Contains(b.String(), want) {
		t.Errorf("status does not say %q: %s", want, b.String())
	}
}
