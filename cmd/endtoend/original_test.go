package endtoend

import (
	"io"
	"os"
	"testing"

	"failback/bench/stand"
	"failback/replication"
)

// TestOriginalComesBack kills the master target again and again in the middle of a baseline that writes over a disk with content, and takes the disks back to what they were before.
func TestOriginalComesBack(t *testing.T) {
	t.Parallel()
	const size = 64 * mib
	full := &disk{machine: "m", id: "full", format: "raw", size: size, commands: true}
	fresh := &disk{machine: "m", id: "fresh", format: "vmfs", size: 8 * mib, commands: true}
	w := newWorld(t, stand.Options{}, full, fresh)
	w.write(full, 0, size)
	w.run("cp", full.source, full.target) // a quarter of it is equal
	w.must(os.Truncate(full.target, size*3/4))
	w.must(os.Truncate(full.target, size)) // holes at the end
	w.overwrite(full.target, 0, size/4)
	w.overwrite(full.target, size/2, size/4)
	before, err := contentOf(io.LimitReader(zeros{}, fresh.size))
	w.must(err)
	full.kept[0], fresh.kept[0] = w.read(full.target), before
	plan := w.plan()
	text, err := os.ReadFile(plan)
	w.must(err)
	w.must(os.WriteFile(plan, append([]byte("keep_original: true\n"), text...), 0o600))

	w.must(w.Do(w.ctx, nil, "reprotect", plan))
	for saved := int64(4 * mib); saved < size/2; saved += 6 * mib {
		g, err := w.Wait(w.ctx, group, "more was saved", func(g replication.GroupStatus) bool {
			return g.Last > 0 || g.Original != nil && g.Original.Stored > saved+w.rng.Int64N(4*mib)
		})
		w.must(err)
		if g.Last > 0 {
			break
		}
		w.kill(w.MasterTarget)
	}
	w.listed(1)
	w.shows(1)
	var p stand.Points
	w.must(w.Do(w.ctx, &p, "points", group))
	if len(p.Points) != 2 || p.Points[0].Point != 0 || p.Points[0].Kind != replication.Original || !p.Points[0].Pinned {
		t.Fatalf("points: %+v", p.Points)
	}
	if stored := p.Points[0].Stored; stored < size/2 || stored > size/2+size/20 { // three quarters have data, a quarter is equal; it does not compress
		t.Errorf("point 0 takes %d bytes, want about %d", stored, size/2)
	}
	w.cut()
	w.must(w.Do(w.ctx, nil, "rewind", group, "0"))
	w.shows(0)
	w.kill(w.MasterTarget)
	w.shows(0)
	w.cut() // ahead of the disks
	w.must(w.Do(w.ctx, nil, "advance", group, "1"))
	w.shows(1)
	w.must(w.Do(w.ctx, nil, "advance", group))
	w.shows(w.last)
	for point := range w.last + 1 {
		w.export(full, point)
	}
}
