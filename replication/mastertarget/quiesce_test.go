package mastertarget

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

// quiesced protects the pair's group by a plan with snapshots of each disk, and commands that note in the file "hooks" that they ran; freeze fails while the file "broken" is there.
func (p *pair) quiesced(more string) {
	p.t.Helper()
	note := func(verb string) string { return fmt.Sprintf("echo %s $FAILBACK_MACHINE >>%s/hooks", verb, p.dir) }
	p.plan = p.stablePlan(fmt.Sprintf("%squiesce: {freeze: '%s; test ! -e %s/broken', thaw: '%s', timeout: 5m}\n", more, note("freeze"), p.dir, note("thaw")))
	if _, _, err := p.master.Reprotect(context.Background(), p.plan); err != nil {
		p.t.Fatal(err)
	}
	p.listed(1)
}

// TestPointsTellTheirKind: the first scheduled point and one that is asked for are application-consistent, the others are not; one for which the machines could not be frozen says why, as do status and events.
func TestPointsTellTheirKind(t *testing.T) {
	p := newPair(t, 91)
	p.quiesced("")
	ctx := context.Background()
	cut := func(app bool) replication.PointID {
		t.Helper()
		p.change()
		id, err := p.master.Cut(ctx, "g", app)
		if err != nil {
			t.Fatal(err)
		}
		p.keep(id)
		p.listed(id)
		return id
	}
	p.keep(1)
	cut(false)
	cut(true)
	broken := filepath.Join(p.dir, "broken")
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	failed := cut(true)
	_, points, err := p.master.Points(ctx, "g")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []replication.Kind{replication.App, replication.Crash, replication.App, replication.Crash} {
		if q := points[i]; q.Kind != want || q.Skew <= 0 || (q.NotApp != "") != (q.ID == failed) {
			t.Errorf("point %+v, want kind %s", q, want)
		}
	}
	if why := points[3].NotApp; !strings.Contains(why, "freeze command: exit status 1") {
		t.Errorf("point %d is crash-consistent: %q", failed, why)
	}
	for deadline := time.Now().Add(time.Minute); !slices.ContainsFunc(p.told(replication.EventPoint), func(e replication.Event) bool { // told when it is listed
		return e.Point == failed && e.Level == replication.Warned && strings.Contains(e.Message, "was to be application-consistent: machine")
	}); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no event tells that point %d is crash-consistent only: %+v", failed, p.told(replication.EventPoint))
		}
	}
	notice := fmt.Sprintf("point %d was to be application-consistent", failed)
	if s := p.state(); !strings.Contains(strings.Join(s.Notices, "; "), notice) {
		t.Errorf("status tells %q", s.Notices)
	}
	p.contents("with points of both kinds")

	p.close() // all of it is in the journal
	p.open()
	p.listed(failed)
	if s := p.state(); !strings.Contains(strings.Join(s.Notices, "; "), notice) {
		t.Errorf("after a restart status tells %q", s.Notices)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	cut(true)
	if s := p.state(); strings.Contains(strings.Join(s.Notices, "; "), "application-consistent") {
		t.Errorf("status tells %q still", s.Notices)
	}
	said, err := os.ReadFile(filepath.Join(p.dir, "hooks"))
	if f, th := strings.Count(string(said), "freeze"), strings.Count(string(said), "thaw"); err != nil || f < 7 || f > 8 || th < 8 { // where one machine's failed, the other's is cut off, and both are thawed more than once then
		t.Errorf("%d times frozen, %d times thawed; want 8 each at least, 2 machines at 4 points: %v", f, th, err)
	}
	p.close()
}

// TestCutAppWithoutCommands is refused: no point would be application-consistent.
func TestCutAppWithoutCommands(t *testing.T) {
	p := newPair(t, 92)
	defer p.close()
	p.protected(1)
	if _, err := p.master.Cut(context.Background(), "g", true); replication.AsProblem(err).Code != replication.CodeNotApp {
		t.Errorf("got %v", err)
	}
}

// TestPointThatLacksADiskIsWithheld: one disk that can't be cut withholds the whole group's point, by name; when it can be, the point is made, of all disks as they are then. No machine is frozen again meanwhile.
func TestPointThatLacksADiskIsWithheld(t *testing.T) {
	p := newPair(t, 93)
	defer p.close()
	p.quiesced("")
	p.keep(1)
	gone := filepath.Join(p.dir, "gone")
	if err := os.Rename(p.src(2), gone); err != nil {
		t.Fatal(err)
	}
	if _, err := p.master.Cut(context.Background(), "g", true); err == nil || !strings.Contains(err.Error(), "disk b/one") {
		t.Errorf("cut without disk b/one: %v", err)
	}
	if _, points, err := p.master.Points(context.Background(), "g"); err != nil || len(points) != 1 {
		t.Errorf("points %+v, %v", points, err)
	}
	if err := os.Rename(gone, p.src(2)); err != nil {
		t.Fatal(err)
	}
	p.change()
	p.made()
	p.contents("when it is there again")
	said, err := os.ReadFile(filepath.Join(p.dir, "hooks"))
	if n := strings.Count(string(said), "freeze"); err != nil || n > 4 {
		t.Errorf("%d times frozen, 2 machines for the first point, and once at most for the second: %v", n, err)
	}
}
