package endtoend

import (
	"os"
	"path/filepath"
	"testing"

	"failback/bench/stand"
	"failback/replication"
)

// TestDamagedSegmentIsRepaired flips a byte in a segment on the retention volume, while the disks stand before it: a scrub finds it, and the source sends the block again from its snapshot.
func TestDamagedSegmentIsRepaired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, &disk{machine: "erp-db", id: "os", format: "vmfs", size: 12 * mib, commands: true}, &disk{machine: "erp-db", id: "data", format: "raw", size: 8 * mib, commands: true})
	w.protect()
	w.shows(1)
	w.must(w.Do(w.ctx, nil, "rewind", group, "1"))
	w.cut()
	segments, err := filepath.Glob(filepath.Join(w.Retention, group, "seg", "2-*.seg"))
	w.must(err)
	for _, name := range segments {
		b, err := os.ReadFile(name)
		w.must(err)
		b[len(b)/3] ^= 4
		w.must(os.WriteFile(name, b, 0o600))
	}
	var done struct{ Scrub replication.ScrubStatus }
	w.must(w.Do(w.ctx, &done, "scrub", group, "--wait"))
	if s := done.Scrub; len(s.Found) == 0 || s.Parts != len(segments) || s.Lost != 0 || s.Whole.IsZero() {
		t.Errorf("scrub of %d damaged segments: %+v", len(segments), s)
	}
	w.exports()
	w.must(w.Do(w.ctx, nil, "advance", group, "2"))
	w.shows(2)
	w.must(w.Do(w.ctx, &done, "scrub", group, "--wait"))
	if s := done.Scrub; len(s.Found) != 0 {
		t.Errorf("another scrub: %+v", s)
	}
}
