package mastertarget

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/retention"
)

// TestMissingFileTakesOnlyItsOwn takes a segment away while the master target is down: the group opens, says which point is damaged, and goes on; all other points are whole, and of that one everything that is served is right.
func TestMissingFileTakesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	p := newPairWith(t, 31, Config{quiet: time.Millisecond})
	ctx := t.Context()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	part := func(v byte) { // of each disk, the same part again and again, so that newer points write over what older ones have
		for i, b := range p.live {
			for k := 0; k < 300<<10; k++ {
				b[k] = v + byte(k%251)
			}
			p.write(i)
		}
	}
	for v := byte(1); v <= 3; v++ {
		part(v)
		id, err := p.master.Cut(ctx, "g", false)
		if err != nil {
			t.Fatal(err)
		}
		p.keep(id)
		p.listed(id)
		for end := time.Now().Add(20 * time.Second); g.journal.Head() != id || g.status().Move != nil; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the disks do not follow: %+v", g.status())
			}
		}
	}
	p.close()
	gone, err := filepath.Glob(filepath.Join(p.dir, "ret", "g", "seg", "3-*"))
	if err != nil || len(gone) == 0 {
		t.Fatalf("no segment of point 3: %v", err)
	}
	for _, n := range gone {
		if err := os.Remove(n); err != nil {
			t.Fatal(err)
		}
	}
	p.open()
	p.listed(4)
	g, _ = p.master.group("g")
	told := func() bool {
		return g.damagedBytes(3) > 0 && slices.ContainsFunc(g.status().Notices, func(n string) bool { return strings.Contains(n, "points 3 need them") })
	}
	for end := time.Now().Add(20 * time.Second); !told(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("status does not tell of it: %+v", g.status())
		}
	}
	three := p.kept[3]
	delete(p.kept, 3)
	whole := func(where string) {
		t.Helper()
		p.contents(where)
		p.deniedOrRight(3, three)
	}
	whole("without the segment")
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 3}, func(replication.MoveStatus) {}); !errors.Is(err, retention.ErrCorrupt) || g.journal.Head() != 4 {
		t.Errorf("move to what is lost: %v, head %d", err, g.journal.Head())
	}
	part(9)
	id, err := p.master.Cut(ctx, "g", false)
	if err != nil {
		t.Fatal(err)
	}
	p.keep(id)
	p.listed(id)
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{Advance: true}, func(replication.MoveStatus) {}); err != nil {
		t.Errorf("advance: %v", err)
	}
	whole("afterwards")
	p.close()
}
