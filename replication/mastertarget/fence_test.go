package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// puppet is a process server that does in Ship what the test says.
type puppet struct {
	link.Worker
	size     atomic.Int64
	snapshot string
	ships    chan ship
}

type ship struct {
	link.Spec
	link.Shipment
	done chan error
}

func newPuppet() *puppet {
	p := &puppet{ships: make(chan ship)}
	p.size.Store(puppetSize)
	return p
}

func (p *puppet) Probe(_ context.Context, s link.Spec) (link.Survey, error) {
	var all link.Survey
	for _, d := range s.Disks {
		all.Disks = append(all.Disks, link.Probed{Disk: d.Disk.No, Size: p.size.Load(), View: "reflink"})
	}
	return all, nil
}

func (p *puppet) Cut(_ context.Context, s link.Spec, point replication.PointID, base link.Base) (link.Cut, error) {
	return link.Cut{Cut: replication.Cut{Time: time.Now(), Snapshot: fmt.Sprint(p.snapshot, point), Stable: true, Tracked: base.Point != 0, Sizes: []int64{p.size.Load()}}}, nil
}

func (p *puppet) Ship(ctx context.Context, s link.Spec, sh link.Shipment, _ func(replication.Progress)) error {
	one := ship{s, sh, make(chan error, 1)}
	select {
	case p.ships <- one:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-one.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *puppet) Release(context.Context, link.Spec, replication.PointID) error { return nil }
func (p *puppet) Forget(context.Context, link.Spec) error                       { return nil }

const puppetSize = 1<<20 + 512

// stage is a group of one disk with a puppet for a process server.
func stage(t *testing.T) (*Engine, *puppet) {
	dir := t.TempDir()
	for _, d := range []string{"ret", "ds"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	e, err := Open(Config{State: filepath.Join(dir, "mt"), Retention: filepath.Join(dir, "ret"), AllowSharedVolume: true})
	if err != nil {
		t.Fatal(err)
	}
	p := newPuppet()
	bye, err := e.Connected(link.Peer{Name: "ps", Minor: link.ProtocolMinor}, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		bye()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	plan := fmt.Sprintf("group: g\nos: linux\nprocess_server: ps\npolicy: {crash_interval: 1h, app_interval: 1h, rpo_alert: 2h}\nmachines: [{name: m, disks: [{id: d, source: 'image:/s', target: %s/ds/d.raw}]}]\n", dir)
	if _, _, err := e.Reprotect(context.Background(), []byte(plan)); err != nil {
		t.Fatal(err)
	}
	return e, p
}

func data(disk replication.DiskNo, off int64, b []byte) *block.Frame {
	f := block.NewFrame()
	f.Add(&block.Encoder{}, block.Block{Disk: disk, Extents: []replication.Extent{{Off: off, End: off + int64(len(b))}}}, b, block.Raw, nil)
	return f
}

func note(kind block.Kind, off, end int64) *block.Frame {
	f := block.NewFrame()
	f.Blocks = append(f.Blocks, block.Block{Kind: kind, Extents: []replication.Extent{{Off: off, End: end}}})
	return f
}

func laneOf(s ship, attempt uint64) replication.Lane {
	return replication.Lane{Session: s.Session, Point: s.Point, Attempt: attempt}
}

func totalOf(x ...replication.Extent) []replication.Total {
	set := replication.NewSet(x...)
	return []replication.Total{{Bytes: set.Bytes(), Digest: set.Digest()}}
}

// baseline makes the first point.
func baseline(t *testing.T, e *Engine, p *puppet) {
	t.Helper()
	s := <-p.ships
	lane, err := e.Lane(context.Background(), laneOf(s, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := lane.Send(note(block.Equal, 0, puppetSize)); err != nil {
		t.Fatal(err)
	}
	if _, err := lane.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Finish(context.Background(), link.Fence{Session: s.Session, Point: s.Point}, totalOf(replication.Extent{End: puppetSize})); err != nil {
		t.Fatal(err)
	}
	s.done <- nil
}

// cut begins a cycle and returns its ship order.
func cut(t *testing.T, e *Engine, p *puppet) ship {
	t.Helper()
	errs := make(chan error, 1)
	go func() { _, err := e.Cut(context.Background(), "g", false); errs <- err }()
	s := <-p.ships
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLaneRefusesWhatIsWrong(t *testing.T) {
	e, p := stage(t)
	baseline(t, e, p)
	s := cut(t, e, p)
	page := bytes.Repeat([]byte{7}, replication.Page)
	flipped := data(0, 4096, page)
	flipped.Blocks[0].Payload[100] ^= 1
	longer := data(0, 4096, page)
	longer.Blocks[0].Extents[0].End += 512
	for name, f := range map[string]*block.Frame{
		"NoSuchDisk":          data(1, 0, page),
		"PastTheEnd":          data(0, puppetSize-512, page),
		"NotItsChecksum":      flipped,
		"LengthThatLies":      longer,
		"EqualWithoutCompare": note(block.Equal, 0, 4096),
		"HalfAPage":           data(0, 512, page[:512]),
	} {
		lane, err := e.Lane(context.Background(), laneOf(s, attempts()))
		if err != nil {
			t.Fatal(err)
		}
		if err := lane.Send(f); err == nil {
			t.Errorf("%s: was taken", name)
		}
		lane.Close()
	}
	err := e.Coverage(context.Background(), link.Fence{Session: s.Session, Point: s.Point}, func(disk replication.DiskNo, x []replication.Extent) error {
		return fmt.Errorf("disk %d: %v is covered", disk, x)
	})
	if err != nil {
		t.Error(err)
	}
	s.done <- errCut
}

var lastAttempt uint64 = 100

func attempts() uint64 { lastAttempt++; return lastAttempt }

func TestFinishRefusesWhatIsNotDurable(t *testing.T) {
	e, p := stage(t)
	baseline(t, e, p)
	s := cut(t, e, p)
	fence := link.Fence{Session: s.Session, Point: s.Point}
	lane, err := e.Lane(context.Background(), laneOf(s, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := lane.Send(data(0, 8192, bytes.Repeat([]byte{9}, replication.Page))); err != nil {
		t.Fatal(err)
	}
	if _, err := lane.Flush(); err != nil {
		t.Fatal(err)
	}
	var problem *replication.Problem
	_, err = e.Finish(context.Background(), fence, totalOf(replication.Extent{Off: 4096, End: 8192}))
	if !errors.As(err, &problem) || problem.Code != link.CodeIncomplete {
		t.Fatalf("got %v want incomplete", err)
	}
	if _, points, _ := e.Points(context.Background(), "g"); len(points) != 1 {
		t.Errorf("%d points are listed, want 1", len(points))
	}
	s.done <- err
	again := <-p.ships // the cycle is made again, by comparing, under its number
	if again.Point != s.Point || again.Mode != replication.Compare {
		t.Errorf("then point %d in mode %s is shipped, want %d by compare", again.Point, again.Mode, s.Point)
	}
	again.done <- errCut
}

func TestCallsOfEarlierSessionsAreRefused(t *testing.T) {
	e, p := stage(t)
	baseline(t, e, p)
	s := cut(t, e, p)
	old, err := e.Lane(context.Background(), laneOf(s, 1))
	if err != nil {
		t.Fatal(err)
	}
	s.done <- errors.New("try again")
	now := <-p.ships
	if now.Session.ID == s.Session.ID {
		t.Fatal("the session is the same")
	}
	stale := func(what string, err error) {
		t.Helper()
		var problem *replication.Problem
		if !errors.As(err, &problem) || problem.Code != link.CodeStale {
			t.Errorf("%s: got %v want stale", what, err)
		}
	}
	page := bytes.Repeat([]byte{7}, replication.Page)
	stale("frame", old.Send(data(0, 0, page)))
	_, err = old.Flush()
	stale("flush", err)
	fence := link.Fence{Session: s.Session, Point: s.Point}
	err = e.Coverage(context.Background(), fence, nil)
	stale("coverage", err)
	_, err = e.Finish(context.Background(), fence, nil)
	stale("finish", err)
	_, err = e.Lane(context.Background(), laneOf(s, 2))
	stale("lane", err)
	lower := now.Session
	lower.Generation--
	err = e.Coverage(context.Background(), link.Fence{Session: lower, Point: now.Point}, nil)
	stale("generation", err)
	old.Close()
	if err := e.Coverage(context.Background(), link.Fence{Session: now.Session, Point: now.Point}, nil); err != nil {
		t.Errorf("the session that is now: %v", err)
	}
	now.done <- errCut
}

// TestAFramesMemoryIsNotUsedAfterItWasGivenBack overwrites a frame's memory when it is given back, as the next frame does.
func TestAFramesMemoryIsNotUsedAfterItWasGivenBack(t *testing.T) {
	e, p := stage(t)
	baseline(t, e, p)
	s := cut(t, e, p)
	lane, err := e.Lane(context.Background(), laneOf(s, attempts()))
	if err != nil {
		t.Fatal(err)
	}
	f := data(0, 0, bytes.Repeat([]byte{7}, replication.Page))
	payload, given := f.Blocks[0].Payload, 0
	f.Done = func() { given++; clear(payload) }
	if err := lane.Send(f); err != nil || given != 1 {
		t.Errorf("got %v, and the memory back %d times", err, given)
	}
	if _, err := lane.Flush(); err != nil {
		t.Error(err)
	}
	lane.Close()
	s.done <- errCut
}
