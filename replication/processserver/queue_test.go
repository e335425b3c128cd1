package processserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// given says which turns are given.
func given(turns []*turn) (all []int) {
	for i, t := range turns {
		select {
		case <-t.has:
			all = append(all, i)
		default:
		}
	}
	return all
}

func wantGiven(t *testing.T, what string, turns []*turn, want ...int) {
	t.Helper()
	got := given(turns)
	if len(got) != len(want) {
		t.Fatalf("%s: turns %v are given, want %v", what, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: turns %v are given, want %v", what, got, want)
		}
	}
}

func TestTurnsAreGivenInOrderOfAllGroups(t *testing.T) {
	q := &queue{most: 3}
	one, two := q.line(4), q.line(2)
	all := append(one, two...)
	wantGiven(t, "at first", all, 0, 1, 2)
	for i, want := range []int{0, 0, 0, 1, 2, 3} {
		if got := all[i].place(); got != want {
			t.Errorf("turn %d has place %d, want %d", i, got, want)
		}
	}
	all[1].leave()
	all[1].leave() // gives no second one
	wantGiven(t, "when one is done", all, 0, 1, 2, 3)
	all[4].leave() // gives up
	if got := all[5].place(); got != 1 {
		t.Errorf("behind one that gave up the place is %d, want 1", got)
	}
	all[0].leave()
	wantGiven(t, "when two are done", all, 0, 1, 2, 3, 5)
	ctx, cancel := context.WithCancel(t.Context())
	last := q.line(1)[0]
	cancel()
	if err := last.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait for a turn until the end: %v", err)
	}
	for _, x := range append(all, last) {
		x.leave()
	}
	if q.given != 0 || len(q.waiting) != 0 {
		t.Errorf("%d turns are given and %d wait when all have left", q.given, len(q.waiting))
	}
}

func TestWithoutLimitAllTurnsAreGiven(t *testing.T) {
	q := &queue{}
	wantGiven(t, "at once", q.line(5), 0, 1, 2, 3, 4)
	if err := (*turn)(nil).wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// shipmentOf is a shipment of some disks of 100 bytes.
func shipmentOf(e *Engine, group replication.GroupID, o link.Shipment, disks int) *shipment {
	s := &shipment{engine: e, order: o, fence: link.Fence{Session: replication.Session{Group: group}}, stable: true}
	for i := range disks {
		s.disks = append(s.disks, &diskShip{Source: link.Source{Disk: replication.Disk{No: replication.DiskNo(i), Size: 100}}, durable: replication.NewPages(100)})
	}
	return s
}

func engineWithTurns(most int) *Engine {
	return &Engine{cfg: Config{Log: slog.New(slog.DiscardHandler)}, queue: queue{most: most}}
}

func baseline(snapshot string) link.Shipment {
	return link.Shipment{Mode: replication.Compare, Snapshot: snapshot}
}

func TestADiskThatJoinsWithChangesNeedsNoTurn(t *testing.T) {
	e := engineWithTurns(1)
	e.queue.line(2)
	s := shipmentOf(e, "g", link.Shipment{Mode: replication.Changes, Joining: []replication.DiskNo{1}}, 2)
	s.disks[1].compares = true
	s.lineUp()
	if err := s.disks[1].turn.Load().wait(t.Context()); err != nil || s.places()[1] != 0 {
		t.Errorf("a disk that joins waits at place %d, %v", s.places()[1], err)
	}
}

func TestAnOrderThatIsGivenAnewAfterAFlapHasItsTurnsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineWithTurns(2)
		ship := func(group replication.GroupID, snapshot string, want ...int) *shipment {
			t.Helper()
			s := shipmentOf(e, group, baseline(snapshot), 3)
			s.lineUp()
			for i, got := range s.places() {
				if got != want[i] {
					t.Fatalf("the disks of group %s have places %v, want %v", group, s.places(), want)
				}
			}
			return s
		}
		flap, cut := context.WithCancel(t.Context())
		first, other := ship("g", "cut", 0, 0, 1), ship("h", "cut", 2, 3, 4)
		first.disks[0].turn.Load().leave() // it is read, and may have lost what was on its way
		cut()
		first.end(flap, errors.New("ended"))
		other.end(t.Context(), &replication.Problem{Code: link.CodeUnreachable})
		time.Sleep(turnKept - time.Second)
		other = ship("h", "cut", 1, 2, 3) // comes back first, and has its places
		first = ship("g", "cut", 0, 0, 0)
		if err := first.disks[0].turn.Load().wait(t.Context()); err != nil {
			t.Error(err)
		}

		first.end(flap, errors.New("ended"))
		time.Sleep(turnKept + time.Second)
		synctest.Wait()
		if got := other.places(); got[0] != 0 || got[1] != 0 || got[2] != 1 {
			t.Errorf("when a group does not come back, the next have places %v", got)
		}
		first = ship("g", "cut", 2, 3, 4)
		first.end(flap, errors.New("ended"))
		first = ship("g", "another cut", 2, 3, 4) // has nothing of the earlier cut
		first.end(t.Context(), &replication.Problem{Code: "source"})
		other.end(t.Context(), nil)
		if e.queue.given != 0 || len(e.queue.waiting) != 0 || len(e.queue.kept) != 0 {
			t.Errorf("%d turns are given, %d wait, and those of %d groups are kept when all have left", e.queue.given, len(e.queue.waiting), len(e.queue.kept))
		}
	})
}

func TestTheNextHasTheTurnOfADiskWhoseReadDoesNotReturn(t *testing.T) {
	e := engineWithTurns(2)
	s := shipmentOf(e, "g", baseline("cut"), 3)
	s.lineUp()
	now := time.Now()
	pass := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); now = now.Add(progressEvery) {
			s.watch(now)
		}
	}
	pass(2 * turnStuck) // the link, or a throttle, takes nothing
	s.reading.Add(1)
	pass(turnStuck - time.Minute)
	s.disks[1].ledger.read.Add(1)
	pass(2 * time.Minute)
	turns := []*turn{s.disks[0].turn.Load(), s.disks[1].turn.Load(), s.disks[2].turn.Load()}
	wantGiven(t, "when one disk is stuck", turns, 0, 1, 2)
	if !turns[0].left || turns[1].left {
		t.Errorf("the turn of the stuck disk is given away: %t, that of one that gets on: %t", turns[0].left, turns[1].left)
	}
	if err := turns[0].wait(t.Context()); err != nil {
		t.Errorf("it does not go on: %v", err)
	}
	s.end(t.Context(), nil)
	if e.queue.given != 0 {
		t.Errorf("%d turns are given when all have left", e.queue.given)
	}
}

// breaking is a master target with nothing on its disks, on whose first lane the connection breaks with the first frame.
type breaking struct {
	link.Authority
	broke atomic.Bool
}

func (b *breaking) Coverage(context.Context, link.Fence, func(replication.DiskNo, []replication.Extent) error) error {
	return nil
}

func (b *breaking) Compare(_ context.Context, _ link.Fence, _ replication.DiskNo, x []replication.Extent) (link.Comparison, error) {
	return &zeros{x}, nil
}

func (b *breaking) Lane(context.Context, replication.Lane) (link.Lane, error) { return b, nil }

func (b *breaking) Finish(context.Context, link.Fence, []replication.Total) (replication.PointID, error) {
	return 1, nil
}

func (b *breaking) Send(f *block.Frame) error {
	f.Free()
	if b.broke.CompareAndSwap(false, true) {
		return &replication.Problem{Code: link.CodeUnreachable, Message: "the connection broke"}
	}
	return nil
}

func (b *breaking) Flush() (int64, error) { return 0, nil }

func (b *breaking) Close() {}

type zeros struct{ left []replication.Extent }

func (z *zeros) Next() (link.Side, error) {
	if len(z.left) == 0 {
		return link.Side{}, io.EOF
	}
	side := link.Side{Extent: z.left[0], Zero: true}
	z.left = z.left[1:]
	return side, nil
}

func (z *zeros) Close() {}

// TestWhatABrokenLaneLostWaitsForNoOtherTurn: another group has the turn by then, and keeps it.
func TestWhatABrokenLaneLostWaitsForNoOtherTurn(t *testing.T) {
	dir := t.TempDir()
	spec := still(t, dir)
	spec.Disks[0].Disk.Size = 1 << 20
	to := &breaking{}
	e, err := New(Config{Dir: filepath.Join(dir, "ps"), Disks: 1}, to)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := os.WriteFile(spec.Disks[0].Path, bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := e.Cut(t.Context(), spec, 1, link.Base{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	before := e.queue.line(1)[0]
	var next *turn
	err = e.Ship(ctx, spec, link.Shipment{Point: 1, Mode: replication.Compare, Snapshot: c.Snapshot}, func(p replication.Progress) {
		if next == nil && p.Queue[0] == 1 { // it waits: the other lines up behind it
			next = e.queue.line(1)[0]
			before.leave()
		}
	})
	if err != nil || !to.broke.Load() {
		t.Errorf("ship: %v; a lane broke: %t", err, to.broke.Load())
	}
	wantGiven(t, "when it is shipped", []*turn{next}, 0)
}
