package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"failback/replication"
	"failback/replication/link"
	"failback/replication/processserver"
	"failback/retention"
)

// flip damages a byte in the middle of the content of a segment of a point.
func (p *pair) flip(point string) (file string) {
	p.t.Helper()
	names, err := filepath.Glob(filepath.Join(p.dir, "ret", "g", "seg", point+"-*.seg"))
	if err != nil || len(names) == 0 {
		p.t.Fatalf("segments of point %s: %v %v", point, names, err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			p.t.Fatal(err)
		}
		if len(b) < 20000 {
			continue
		}
		b[len(b)/3] ^= 0x20
		if err := os.WriteFile(n, b, 0o600); err != nil {
			p.t.Fatal(err)
		}
		return n
	}
	p.t.Fatal("no segment is large enough")
	return ""
}

// begunPair makes a pair that is held at its first point.
func begunPair(t *testing.T, seed uint64) *pair {
	p := newPair(t, seed)
	ctx := t.Context()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, func(replication.MoveStatus) {}); err != nil {
		t.Fatal(err)
	}
	return p
}

// cut changes all disks and makes a point.
func (p *pair) cut() replication.PointID {
	p.t.Helper()
	for i, b := range p.live {
		off := p.r.Int64N(int64(len(b)) - 200<<10)
		for k := range b[off : off+200<<10] {
			b[off:][k] = byte(p.r.Uint32())
		}
		p.write(i)
	}
	id, err := p.master.Cut(context.Background(), "g", false)
	if err != nil {
		p.t.Fatal(err)
	}
	p.keep(id)
	p.listed(id)
	return id
}

// TestDamageIsMendedOrTold damages a segment: scrubbing finds it, the disks stay, what is lost is sent again from the snapshot where there is one; where there is none, the next point is made by comparing and is whole.
func TestDamageIsMendedOrTold(t *testing.T) {
	p := begunPair(t, 3)
	defer p.close()
	ctx := t.Context()
	two := p.cut()
	file := p.flip("2")
	st, err := p.master.Scrub(ctx, "g", 0, true, func(replication.ScrubStatus) {})
	if err != nil || len(st.Found) == 0 || st.Parts == 0 || st.Whole.IsZero() {
		t.Fatalf("scrub of %s: %+v, %v", file, st, err)
	}
	if st.Lost > 0 { // a disk without a snapshot: its source can't say what it was
		if len(st.Points) != 1 || st.Points[0] != two {
			t.Errorf("damaged points %v, want %d", st.Points, two)
		}
		if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: two, Advance: true}, func(replication.MoveStatus) {}); !errors.Is(err, retention.ErrCorrupt) {
			t.Errorf("move to the damaged point: %v", err)
		}
		if head, points, err := p.master.Points(ctx, "g"); err != nil || head != 1 || points[1].Damaged == 0 {
			t.Errorf("head %d, %+v, %v", head, points, err)
		}
		damaged := p.kept[two]
		delete(p.kept, two)
		p.contents("beside the damaged one")
		p.deniedOrRight(two, damaged)
	}
	three := p.cut()
	p.contents("the next point")
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: three, Advance: true}, func(replication.MoveStatus) {}); err != nil {
		t.Error(err)
	}
	s, err := p.master.Status(ctx, "g")
	if err != nil || s.Groups[0].Scrub == nil || s.Groups[0].Scrub.Parts == 0 {
		t.Errorf("status: %+v, %v", s.Groups[0].Scrub, err)
	}
}

// TestMovesOverAFileThatIsGone removes a segment that the disks have passed: nothing is lost, as they hold it, and they go back before it and forth again. One that they have not passed takes its own point, and the disks go over it to
// the next.
func TestMovesOverAFileThatIsGone(t *testing.T) {
	t.Parallel()
	p := begunPair(t, 5)
	defer p.close()
	ctx := t.Context()
	move := func(to replication.PointID) {
		t.Helper()
		head, _, err := p.master.Points(ctx, "g")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: to, Advance: to > head}, func(replication.MoveStatus) {}); err != nil {
			t.Fatalf("move to %d: %v", to, err)
		}
		p.contents(fmt.Sprintf("at point %d", to))
	}
	scrub := func() replication.ScrubStatus {
		t.Helper()
		st, err := p.master.Scrub(ctx, "g", 0, true, func(replication.ScrubStatus) {})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	two := p.cut()
	move(two)
	p.remove("2")
	if st := scrub(); st.Lost != 0 {
		t.Errorf("lost, though the disks hold it: %+v", st)
	}
	move(1)
	three := p.cut()
	p.remove("3")
	scrub()
	damaged := p.kept[three]
	delete(p.kept, three)
	four := p.cut()
	move(four)
	p.deniedOrRight(three, damaged)
	move(two)
	move(1)
	move(four)
}

// remove takes the segments of a point away.
func (p *pair) remove(point string) {
	p.t.Helper()
	names, err := filepath.Glob(filepath.Join(p.dir, "ret", "g", "seg", point+"-*.seg"))
	if err != nil || len(names) == 0 {
		p.t.Fatalf("segments of point %s: %v %v", point, names, err)
	}
	for _, n := range names {
		if err := os.Remove(n); err != nil {
			p.t.Fatal(err)
		}
	}
}

// deniedOrRight reads a damaged point page by page: an error, or what it was.
func (p *pair) deniedOrRight(id replication.PointID, want [][]byte) {
	p.t.Helper()
	denied := 0
	for i, name := range []string{"a/one", "two", "b/one"} {
		c, err := p.master.Export(context.Background(), "g", id, name)
		if err != nil {
			p.t.Fatal(err)
		}
		defer c.Close()
		got := make([]byte, replication.Page)
		for off := int64(0); off < c.Size(); off += replication.Page {
			n, err := c.ReadAt(got, off)
			if errors.Is(err, retention.ErrCorrupt) {
				denied++
			} else if err != nil && err != io.EOF || differs(got[:n], want[i][off:off+int64(n)]) >= 0 {
				p.t.Fatalf("damaged point %d of %s at %d: wrong bytes, or %v", id, name, off, err)
			}
		}
	}
	if denied == 0 {
		p.t.Error("nothing of the damaged point is denied")
	}
}

// TestDamageIsRepairedFromTheSnapshot has a source with snapshots only: what was damaged comes back to the byte, while the disks stand elsewhere.
func TestDamageIsRepairedFromTheSnapshot(t *testing.T) {
	d := newDamagedDevice(t)
	st, err := d.master.Scrub(t.Context(), "g", 0, true, func(replication.ScrubStatus) {})
	if err != nil || len(st.Found) == 0 {
		t.Fatalf("scrub: %+v, %v", st, err)
	}
	if st.Parts == 0 || st.Lost != 0 || len(st.Points) != 0 {
		t.Fatalf("not repaired: %+v", st)
	}
	d.contents("repaired")
	if _, err := d.master.Move(t.Context(), "g", replication.MoveRequest{To: 2, Advance: true}, func(replication.MoveStatus) {}); err != nil {
		t.Error(err)
	}
}

// newDamagedDevice is a pair whose disks all have snapshots by command, at its first point, with the segment of its second damaged.
func newDamagedDevice(t *testing.T) *pair {
	p := newPair(t, 4)
	p.plan = snapshotPlan(p)
	if _, _, err := p.master.Reprotect(t.Context(), p.plan); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	p.listed(1)
	p.keep(1)
	if _, err := p.master.Move(t.Context(), "g", replication.MoveRequest{To: 1}, func(replication.MoveStatus) {}); err != nil {
		t.Fatal(err)
	}
	p.cut()
	p.flip("2")
	return p
}

// snapshotPlan is the pair's plan with snapshots of all disks.
func snapshotPlan(p *pair) []byte {
	var y strings.Builder
	fmt.Fprintf(&y, "group: g\nos: linux\nprocess_server: ps\npolicy: {crash_interval: 1h, app_interval: 1h, rpo_alert: 2h}\nmachines:\n")
	for i, d := range []string{"a/one", "a/two", "b/one"} {
		machine, id, _ := strings.Cut(d, "/")
		if id == "one" {
			fmt.Fprintf(&y, "  - name: %s\n    disks:\n", machine)
		}
		fmt.Fprintf(&y, "      - {id: %s, source: 'image:%s', target: %s, snapshot: 'cp $FAILBACK_SOURCE %s/views/$1.%d && echo %s/views/$1.%d', release: 'rm -f $2'}\n", id, p.src(i), p.dst(i), p.dir, i, p.dir, i)
	}
	return []byte(y.String())
}

// mute is a process server that is asked to send damaged parts again, says that it did, and sends nothing.
type mute struct {
	*processserver.Engine
	asked atomic.Int32
}

func (m *mute) Repair(context.Context, link.Spec, link.Repair) error {
	m.asked.Add(1)
	return nil
}

// TestASourceThatSendsNothingIsNotAskedAgain: it is taken for one that can't repair the point. The next point is made by comparing, and is whole.
func TestASourceThatSendsNothingIsNotAskedAgain(t *testing.T) {
	p := newDamagedDevice(t)
	p.bye()
	m := &mute{Engine: p.worker}
	var err error
	if p.bye, err = p.master.Connected(link.Peer{Name: "ps", Minor: link.ProtocolMinor}, m); err != nil {
		t.Fatal(err)
	}
	st, err := p.master.Scrub(t.Context(), "g", 0, true, func(replication.ScrubStatus) {})
	if err != nil || len(st.Found) == 0 || st.Lost == 0 {
		t.Fatalf("scrub: %+v, %v; want something found, and lost", st, err)
	}
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.master.wait(t.Context(), func() bool { return g.unrepairable(2) != "" }); err != nil || !strings.Contains(g.unrepairable(2), "sent nothing") {
		t.Fatalf("it is told as %q, %v", g.unrepairable(2), err)
	}
	if g.repairDue(2) {
		t.Error("it is to be asked again")
	}
	damaged := p.kept[2]
	delete(p.kept, 2)
	p.cut()
	p.contents("made by comparing")
	p.deniedOrRight(2, damaged)
	if n := m.asked.Load(); n != 1 {
		t.Errorf("it was asked %d times, want once", n)
	}
	if s := p.state(); s.Problem != nil || s.Resync != nil {
		t.Errorf("afterwards: problem %+v, resync %+v", s.Problem, s.Resync)
	}
}
