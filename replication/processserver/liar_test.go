package processserver

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// liar is a master target that says what the test wants.
type liar struct {
	coverage func(tell func(replication.DiskNo, []replication.Extent) error) error
	sides    func(n int) (link.Side, error) // the n-th
	pages    func(off int64) ([]replication.Hash, error)
	lane     func() error
	send     func(f *block.Frame) error
	flush    func(sent, referred int64) (int64, error)

	finished atomic.Int64
	lanes    atomic.Int64
	byValue  atomic.Int64
	sent     atomic.Int64
}

func (l *liar) Coverage(ctx context.Context, _ link.Fence, tell func(replication.DiskNo, []replication.Extent) error) error {
	if l.coverage == nil {
		return nil
	}
	return l.coverage(func(d replication.DiskNo, x []replication.Extent) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return tell(d, x)
	})
}

func (l *liar) Compare(ctx context.Context, _ link.Fence, _ replication.DiskNo, _ []replication.Extent) (link.Comparison, error) {
	return &liarSides{l: l, ctx: ctx}, nil
}

type liarSides struct {
	l   *liar
	ctx context.Context
	n   int
}

func (s *liarSides) Next() (link.Side, error) {
	if s.ctx.Err() != nil {
		return link.Side{}, s.ctx.Err()
	}
	s.n++
	return s.l.sides(s.n - 1)
}
func (s *liarSides) Close() {}

func (l *liar) Pages(_ context.Context, _ link.Fence, _ replication.DiskNo, off int64) ([]replication.Hash, error) {
	return l.pages(off)
}

func (l *liar) Lane(context.Context, replication.Lane) (link.Lane, error) {
	if l.lane != nil {
		if err := l.lane(); err != nil {
			return nil, err
		}
	}
	l.lanes.Add(1)
	return &liarLane{l: l}, nil
}

type liarLane struct {
	l              *liar
	sent, referred int64
}

func (x *liarLane) Send(f *block.Frame) error {
	defer f.Free()
	for _, b := range f.Blocks {
		x.sent += int64(b.Raw)
		x.l.sent.Add(int64(b.Raw))
		if b.Kind == block.Repeat {
			x.referred += int64(b.Raw)
		}
	}
	if x.l.send != nil {
		return x.l.send(f)
	}
	return nil
}

func (x *liarLane) Flush() (int64, error) {
	if x.l.flush == nil {
		return 0, nil
	}
	n, err := x.l.flush(x.sent, x.referred)
	x.l.byValue.Add(n)
	return n, err
}
func (x *liarLane) Close() {}

func (l *liar) Finish(_ context.Context, _ link.Fence, t []replication.Total) (replication.PointID, error) {
	l.finished.Add(1)
	return 1 << 60, nil
}

// TestAMasterTargetThatLiesHarmsNoProcessServer has one that says what can't be: of what is durable, of its side of a disk, of pages, of lanes. An order comes to its end with an error; where what it says could be, with what it asked
// for and no more.
func TestAMasterTargetThatLiesHarmsNoProcessServer(t *testing.T) {
	const r, size = replication.Region, 3*replication.Region + 8*replication.Page
	side := func(off, end int64) link.Side {
		return link.Side{Extent: replication.Extent{Off: off, End: end}, Hash: replication.Hash{1}}
	}
	told := func(sides ...link.Side) func(int) (link.Side, error) {
		return func(n int) (link.Side, error) {
			if n >= len(sides) {
				return link.Side{}, io.EOF
			}
			return sides[n], nil
		}
	}
	zero := side(0, size)
	zero.Zero = true
	broken := &replication.Problem{Code: link.CodeUnreachable, Message: "broken"}
	for name, x := range map[string]*struct {
		liar
		ok     bool
		within int64 // bytes that may be sent
	}{
		"Honest":           {liar{sides: told(zero)}, true, size},
		"CoverageOfNoDisk": {liar{coverage: func(tell func(replication.DiskNo, []replication.Extent) error) error { return tell(1<<31, nil) }}, false, 0},
		"CoverageBeyondTheEnd": {liar{coverage: func(tell func(replication.DiskNo, []replication.Extent) error) error {
			return tell(0, []replication.Extent{{Off: 0, End: 1 << 60}})
		}}, false, 0},
		"CoverageNegative": {liar{coverage: func(tell func(replication.DiskNo, []replication.Extent) error) error {
			return tell(0, []replication.Extent{{Off: -4096, End: 4096}})
		}}, false, 0},
		"CoverageBackwards": {liar{coverage: func(tell func(replication.DiskNo, []replication.Extent) error) error {
			return tell(0, []replication.Extent{{Off: 8192, End: 4096}})
		}}, false, 0},
		"CoverageOfHalfAPage": {liar{sides: told(zero), coverage: func(tell func(replication.DiskNo, []replication.Extent) error) error {
			return tell(0, []replication.Extent{{Off: 100, End: 4000}})
		}}, true, size},
		"CoverageWithoutEnd": {liar{coverage: func(tell func(replication.DiskNo, []replication.Extent) error) error {
			for {
				if err := tell(0, []replication.Extent{{Off: 0, End: 4096}}); err != nil {
					return err
				}
			}
		}}, false, 0},
		"SideBeyondTheEnd":         {liar{sides: told(side(0, r), side(1<<40, 1<<40+r))}, false, 4 * size},
		"SideNegative":             {liar{sides: told(side(-r, 0))}, false, 0},
		"SideOffRegions":           {liar{sides: told(side(512, 512+r))}, false, 0},
		"SideTwice":                {liar{sides: told(side(0, r), side(0, r))}, false, size},
		"SideEmpty":                {liar{sides: told(side(0, 0))}, false, 0},
		"SidesWithAGap":            {liar{sides: told(side(0, r), side(2*r, 3*r), side(3*r, 4*r))}, false, size},
		"SidesWithAGapToldChanges": {liar{sides: told(side(0, r), side(2*r, 3*r), side(3*r, 4*r))}, false, size},
		"SidesThatEndEarly":        {liar{sides: told(side(0, r))}, false, size},
		"SidesOfNothing":           {liar{sides: told()}, false, 0},
		"SidesSilent":              {liar{sides: func(int) (link.Side, error) { time.Sleep(time.Millisecond); return link.Side{}, broken }}, false, 0},
		"PagesOfNone":              {liar{sides: told(side(0, r), side(r, 2*r), side(2*r, 3*r), side(3*r, 4*r)), pages: func(int64) ([]replication.Hash, error) { return nil, nil }}, false, size},
		"PagesOfTooMany":           {liar{sides: told(side(0, r)), pages: func(int64) ([]replication.Hash, error) { return make([]replication.Hash, 1<<16), nil }}, false, size},
		"NoLane":                   {liar{sides: told(zero), lane: func() error { return broken }}, false, size},
		"LanesThatBreak":           {liar{sides: told(zero), send: func(*block.Frame) error { return broken }}, false, 2 * passes * size},
		"FlushesThatBreak":         {liar{sides: told(zero), flush: func(int64, int64) (int64, error) { return 0, broken }}, false, 2 * passes * size},
		"AllIsNeededByValue":       {liar{sides: told(zero), flush: func(sent, referred int64) (int64, error) { return referred, nil }}, true, 4 * size},
		"MoreThanAllIsByValue":     {liar{sides: told(zero), flush: func(sent, referred int64) (int64, error) { return 1 << 62, nil }}, true, 4 * size},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "disk")
			content := make([]byte, size)
			rand.NewChaCha8([32]byte{1}).Read(content)
			copy(content[r:], content[:r]) // something to refer to
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if x.pages == nil {
				x.pages = func(off int64) ([]replication.Hash, error) {
					return make([]replication.Hash, min(pagesPerRegion, (size-off)/replication.Page)), nil
				}
			}
			e, err := New(Config{Dir: filepath.Join(dir, "ps"), Lanes: 2, Workers: 2}, &x.liar)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			view := filepath.Join(dir, "view")
			spec := link.Spec{Session: replication.Session{Group: "g"}, Disks: []link.Source{{Disk: replication.Disk{ID: "a/one", Size: size}, Path: path,
				Snapshot: "cp $FAILBACK_SOURCE " + view + " && echo " + view, Release: "rm -f $2"}}}
			if name == "SidesWithAGapToldChanges" { // there is no table, which would miss something
				spec.Disks[0].Changes = "true"
			}
			cut, err := e.Cut(t.Context(), spec, 1, link.Base{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if name == "CoverageWithoutEnd" { // the order is taken back some time
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			}
			defer cancel()
			err = e.Ship(ctx, spec, link.Shipment{Point: 1, Mode: replication.Compare, Snapshot: cut.Snapshot, Repeats: true, Streams: []replication.DiskNo{0}}, func(replication.Progress) {})
			if x.ok != (err == nil) || errors.Is(err, context.DeadlineExceeded) && name != "CoverageWithoutEnd" {
				t.Errorf("got %v, want success: %v", err, x.ok)
			}
			if n := x.finished.Load(); x.ok != (n == 1) {
				t.Errorf("the point was finished %d times", n)
			}
			if n := x.sent.Load(); n > x.within {
				t.Errorf("%d bytes were sent, want at most %d", n, x.within)
			}
		})
	}
}
