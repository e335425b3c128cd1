package mastertarget

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/forecast"
	"failback/replication/link"
)

// turnstile lets comparisons of disks begin one by one.
type turnstile struct {
	link.Authority
	asked chan replication.DiskNo // which disk is to be compared
	pass  chan struct{}           // one for each that may
}

func newTurnstile(to link.Authority) *turnstile {
	return &turnstile{Authority: to, asked: make(chan replication.DiskNo, 16), pass: make(chan struct{}, 16)}
}

func (s *turnstile) Compare(ctx context.Context, f link.Fence, d replication.DiskNo, x []replication.Extent) (link.Comparison, error) {
	s.asked <- d
	select {
	case <-s.pass:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return s.Authority.Compare(ctx, f, d, x)
}

// next waits for the next disk that is to be compared.
func (s *turnstile) next(t *testing.T) replication.DiskNo {
	t.Helper()
	select {
	case d := <-s.asked:
		return d
	case <-time.After(time.Minute):
		t.Fatal("no disk's turn has come")
		return 0
	}
}

// waitQueue waits until the disks have these places in the queue.
func (p *pair) waitQueue(want ...int) replication.GroupStatus {
	p.t.Helper()
	var s replication.Status
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var err error
		if s, err = p.master.Status(context.Background(), "g"); err != nil {
			p.t.Fatal(err)
		}
		var got []int
		for _, d := range s.Groups[0].Disks {
			got = append(got, d.Queue)
		}
		if slices.Equal(got, want) {
			return s.Groups[0]
		}
	}
	p.t.Fatalf("the disks do not come to be queued as %v: %+v", want, s.Groups[0].Disks)
	return replication.GroupStatus{}
}

func TestDisksAreCopiedInTurnsWithTheLargestFirstAndGoOnAfterAKill(t *testing.T) {
	p := newPair(t, 5)
	p.live[2] = append(p.live[2], bytes.Repeat([]byte("x"), 4<<20)...) // the largest, and the last of the plan
	p.write(2)
	p.sizes[2] = int64(len(p.live[2]))
	p.plan = append([]byte("copy_order: largest\n"), p.plan...)
	p.disks = 1
	p.connect()
	gate := newTurnstile(p.master)
	p.link.Authority = gate
	if _, _, err := p.master.Reprotect(t.Context(), p.plan); err != nil {
		t.Fatal(err)
	}
	if d := gate.next(t); d != 2 {
		t.Errorf("disk %d is copied first, want 2, the largest", d)
	}
	s := p.waitQueue(1, 2, 0)
	for i, want := range []string{"queued", "queued", "comparing"} {
		if got := s.Disks[i].State; got != want {
			t.Errorf("disk %d is %q, want %q", i, got, want)
		}
	}
	gate.pass <- struct{}{}
	if d := gate.next(t); d != 0 {
		t.Errorf("disk %d is copied second, want 0", d)
	}
	p.waitQueue(0, 1, 0)

	p.connect() // the process server is killed, and starts anew: the disk that is done does not line up
	again := []replication.DiskNo{gate.next(t)}
	if again[0] == 2 { // not all of it was durable: it is first again
		gate.pass <- struct{}{}
		again = append(again, gate.next(t))
	}
	if d := again[len(again)-1]; d != 0 {
		t.Errorf("after a kill the disks are copied in the order %v, want 0 next", again)
	}
	p.waitQueue(0, 1, 0)
	for range 3 {
		gate.pass <- struct{}{}
	}
	p.listed(1)
	p.keep(1)
	p.contents("baseline")
	for len(gate.asked) > 0 {
		<-gate.asked
	}

	// A cycle of changes is none of the queue, whatever waits there.
	p.change()
	id, err := p.master.Cut(t.Context(), "g", false)
	if err != nil {
		t.Fatal(err)
	}
	p.keep(id)
	p.listed(id)
	p.contents("changes")
	if n := len(gate.asked); n > 0 {
		t.Errorf("%d disks were compared in a cycle of changes", n)
	}
	p.close()
}

func TestGroupsShareTheQueueOfTheirProcessServer(t *testing.T) {
	p := newPair(t, 6)
	p.disks = 1
	p.connect()
	gate := newTurnstile(p.master)
	p.link.Authority = gate
	if _, _, err := p.master.Reprotect(t.Context(), p.plan); err != nil {
		t.Fatal(err)
	}
	gate.next(t)
	other := fmt.Sprintf("group: h\nos: linux\nprocess_server: ps\nmachines:\n  - name: c\n    disks:\n      - {id: one, source: 'image:%s', target: %s}\n", p.src(3), p.dst(3))
	p.live = append(p.live, bytes.Repeat([]byte("h"), 1<<20))
	p.write(3)
	if _, _, err := p.master.Reprotect(t.Context(), []byte(other)); err != nil {
		t.Fatal(err)
	}
	waits := func() (string, int) {
		s, err := p.master.Status(context.Background(), "h")
		if err != nil {
			t.Fatal(err)
		}
		return s.Groups[0].WaitsFor, s.Groups[0].Disks[0].Queue
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		why, place := waits()
		if place == 3 && why != "" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the other group's disk has place %d and waits for %q, want place 3, behind those of the first group", place, why)
		}
	}
	for range 4 {
		gate.pass <- struct{}{}
	}
	p.listed(1)
	if err := p.master.wait(t.Context(), func() bool {
		_, points, err := p.master.Points(t.Context(), "h")
		return err == nil && len(points) > 0
	}); err != nil {
		t.Error(err)
	}
	p.close()
}

// behind is a puppet that knows no changes, with the disks of other groups before its own, but for what goes ahead.
type behind struct {
	*puppet
	lined chan struct{}
}

func (b behind) Cut(ctx context.Context, s link.Spec, point replication.PointID, base link.Base) (link.Cut, error) {
	c, err := b.puppet.Cut(ctx, s, point, base)
	c.Tracked = false
	return c, err
}

func (b behind) Ship(ctx context.Context, s link.Spec, sh link.Shipment, progress func(replication.Progress)) error {
	if sh.Ahead {
		return b.puppet.Ship(ctx, s, sh, progress)
	}
	b.lined <- struct{}{}
	for ctx.Err() == nil {
		progress(replication.Progress{Queue: []int{7}})
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}

// TestCommitDoesNotWaitBehindTheQueue: a cycle that waits in the queue when a commit comes goes on ahead of it, and the machine is stopped when its point is listed, though no point is made ahead of the stop.
func TestCommitDoesNotWaitBehindTheQueue(t *testing.T) {
	e, p := stage(t)
	baseline(t, e, p)
	b := behind{p, make(chan struct{}, 8)}
	if _, err := e.Connected(link.Peer{Name: "ps", Minor: link.ProtocolMinor}, b); err != nil {
		t.Fatal(err)
	}
	g, err := e.group("g")
	if err != nil {
		t.Fatal(err)
	}
	g.pace.mu.Lock()
	g.pace.record.Cycles = []forecast.Cycle{{Read: 1 << 30, Changed: 1}}
	g.pace.mu.Unlock()
	if _, err := e.Cut(t.Context(), "g", false); err != nil {
		t.Fatal(err)
	}
	<-b.lined
	sent := filepath.Join(t.TempDir(), "sent")
	if _, err := e.Commit(cancelled(), "g", replication.CommitRequest{Stop: "test -e " + sent}, silent); err == nil {
		t.Fatal("committed")
	}
	order := func() ship {
		t.Helper()
		select {
		case s := <-p.ships:
			return s
		case <-time.After(time.Minute):
			t.Fatal("no order comes")
			return ship{}
		}
	}
	s := order()
	if s.Point != 2 || s.Mode != replication.Compare || !s.Ahead {
		t.Errorf("the order that is given again: %+v", s.Shipment)
	}
	if err := os.WriteFile(sent, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() { p.ships <- s }()
	baseline(t, e, p)
	if s := order(); s.Point != 3 || !s.Ahead {
		t.Errorf("the last point: %+v", s.Shipment)
	}
}
