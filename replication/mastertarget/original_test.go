package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
	"failback/retention"
)

// TestPointZero protects disks that hold something, over a link that fails and with a master target that is started anew in the middle of the baseline, and takes them back to what they were.
func TestPointZero(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, 40+seed)
			ctx := context.Background()
			p.plan = append([]byte("keep_original: true\n"), p.plan...)
			before := make([][]byte, len(p.sizes))
			for i, n := range p.sizes {
				before[i] = make([]byte, n)
				if i == 2 {
					continue // it is created: nothing but zeros
				}
				for range 4 {
					off := p.r.Int64N(n)
					fill(p.r, before[i][off:min(n, off+p.r.Int64N(700<<10))])
				}
				copy(before[i][n/2:], p.live[i][n/2:n/2+n/4]) // equal: costs nothing
				if err := blockio.Create(p.dst(i), blockio.DefaultFormat(p.dst(i)), n); err != nil {
					t.Fatal(err)
				}
				target, err := blockio.OpenTarget(p.dst(i), blockio.TargetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if err := target.SetContentID(blockio.NewContentID()); err != nil {
					t.Fatal(err)
				}
				_, err = target.WriteAt(before[i], 0)
				if err = errors.Join(err, target.Sync(), target.Close()); err != nil {
					t.Fatal(err)
				}
			}
			if found, err := p.master.Check(ctx, p.plan, replication.PathAsk{}); err != nil || !hasCode(found.Findings, "keep-original") {
				t.Fatalf("check does not tell what it costs: %+v, %v", found, err)
			}
			p.link.set([]int{0, 40, 20}[seed%3])
			if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
				t.Fatal(err)
			}
			for range seed {
				p.close()
				p.open()
			}
			p.link.set(0)
			p.listed(1)
			p.keep(1)
			p.kept[0] = before
			p.contents("baseline")
			head, points, err := p.master.Points(ctx, "g")
			if err != nil || head == 0 || len(points) != 2 || points[0].ID != 0 || points[0].Kind != replication.Original || !points[0].Pinned || points[0].Stored == 0 {
				t.Fatalf("points %+v, head %d, %v", points, head, err)
			}
			if s, err := p.master.Status(ctx, "g"); err != nil || s.Groups[0].Original == nil || s.Groups[0].Original.Saving || s.Groups[0].Original.Stored != points[0].Stored {
				t.Errorf("status %+v, %v", s.Groups, err)
			}
			for _, to := range []replication.PointID{0, 1, 0} {
				if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: to, Advance: to == 1}, func(replication.MoveStatus) {}); err != nil {
					t.Fatal(err)
				}
				p.stand(to)
				if to == 0 {
					p.close()
					p.open()
					p.listed(1)
					p.stand(0)
					p.change()
					id, err := p.master.Cut(ctx, "g", false)
					if err != nil {
						t.Fatal(err)
					}
					p.keep(id)
					p.listed(id)
				}
				p.contents(fmt.Sprintf("at %d", to))
			}
			if _, err := p.master.Move(ctx, "g", replication.MoveRequest{Advance: true}, func(replication.MoveStatus) {}); err != nil { // to the latest
				t.Fatal(err)
			}
			p.plan = bytes.Replace(p.plan, []byte("keep_original: true"), []byte("keep_original: false"), 1)
			if a, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: p.plan}); err != nil || !a.Applied || len(a.Changes) != 1 {
				t.Fatalf("apply: %+v, %v", a, err)
			}
			p.listed(1)
			if _, points, err := p.master.Points(ctx, "g"); err != nil || points[0].ID != 0 || points[0].Pinned {
				t.Fatalf("points %+v, %v", points, err)
			}
			p.contents("point 0 is not pinned")
			g, _ := p.master.group("g")
			if err := g.drop([]replication.PointID{0}, "test"); err != nil {
				t.Fatal(err)
			}
			delete(p.kept, 0)
			p.contents("without point 0")
			p.close()
		})
	}
}

// stand compares the disks themselves with a point.
func (p *pair) stand(at replication.PointID) {
	p.t.Helper()
	g, err := p.master.group("g")
	if err != nil {
		p.t.Fatal(err)
	}
	if err := g.waitReady(context.Background()); err != nil {
		p.t.Fatal(err)
	}
	for i, want := range p.kept[at] {
		got := make([]byte, len(want))
		if _, err := g.targets[i].ReadAt(got, 0); err != nil {
			p.t.Fatal(err)
		}
		if at := differs(got, want); at >= 0 {
			p.t.Fatalf("disk %d differs at %d", i, at)
		}
	}
}

func hasCode(findings []replication.Finding, code string) bool {
	for _, f := range findings {
		if f.Code == code {
			return true
		}
	}
	return false
}

// unreadable is a target that can't be read, and so not saved, and notes whether it is written to.
type unreadable struct {
	zeroed
	written bool
}

var errRead = errors.New("the read failed")

func (u *unreadable) ReadAt([]byte, int64) (int, error)        { return 0, errRead }
func (u *unreadable) NextData(off int64) (int64, int64, error) { return off, u.size, nil }
func (u *unreadable) WriteAt(b []byte, _ int64) (n int, err error) {
	u.written = true
	return len(b), nil
}
func (u *unreadable) Zero(int64, int64) error { u.written = true; return nil }

// TestNothingIsWrittenOverThatIsNotSaved: what could not be saved is not written over, then or later, and nothing is taken for durable that was not written.
func TestNothingIsWrittenOverThatIsNotSaved(t *testing.T) {
	const size = 1 << 20
	dir := t.TempDir()
	j, err := retention.Create(dir+"/g", retention.Identity{Group: "g", Disks: []replication.Disk{{ID: "a/one", Size: size}}, Targets: []string{"x"}, KeepOriginal: true})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Begin(replication.Cycle{Point: 1, Route: replication.Through, Mode: replication.Compare, Cut: replication.Cut{Sizes: []int64{size}}}); err != nil {
		t.Fatal(err)
	}
	raw := bytes.Repeat([]byte{7}, replication.Page)
	for _, b := range []block.Block{{Kind: block.Data, Extents: []replication.Extent{{Off: 4096, End: 8192}}, Raw: len(raw)}, {Kind: block.Zero, Extents: []replication.Extent{{Off: 8192, End: 65536}}}} {
		u := &unreadable{zeroed: zeroed{size: size}}
		c := newThroughCycle(j, []blockio.Target{u}, nil)
		if err := c.write(&b, raw); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := c.sync(); !errors.Is(err, errRead) {
				t.Errorf("sync: got %v", err)
			}
		}
		if err := c.write(&b, raw); !errors.Is(err, errRead) {
			t.Errorf("write: got %v", err)
		}
		if u.written || j.Durable(0) != 0 {
			t.Errorf("written %v, %d bytes durable", u.written, j.Durable(0))
		}
	}
	if n, _ := os.ReadDir(dir + "/g/save"); len(n) > 1 {
		t.Errorf("files of attempts stay: %v", n)
	}
}

// hollow is a target that knows itself to be zeros.
type hollow struct{ zeroed }

func (h hollow) NextData(int64) (int64, int64, error) { return h.size, h.size, nil }

// TestLanesShareBatches: lanes that fill batches at the same time, and one that flushes, wait for each other and not for ever; every block is written once.
func TestLanesShareBatches(t *testing.T) {
	const size = int64(1 << 40)
	j, err := retention.Create(t.TempDir()+"/g", retention.Identity{Group: "g", Disks: []replication.Disk{{ID: "a/one", Size: size}}, Targets: []string{"x"}, KeepOriginal: true})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Begin(replication.Cycle{Point: 1, Route: replication.Through, Mode: replication.Compare, Cut: replication.Cut{Sizes: []int64{size}}}); err != nil {
		t.Fatal(err)
	}
	var written int // under keeping.writing
	k := &keeping{journal: j, targets: []blockio.Target{hollow{zeroed{size: size}}}, put: func(b *block.Block, _ []byte) error { written += len(b.Extents); return nil }}
	const lanes, blocks = 4, 60
	var all sync.WaitGroup
	for lane := range lanes {
		all.Go(func() {
			for n := range blocks {
				b := block.Block{Kind: block.Zero}
				for i := range block.MaxRanges {
					off := int64((n*lanes+lane)*block.MaxRanges+i) * replication.Page
					b.Extents = append(b.Extents, replication.Extent{Off: off, End: off + replication.Page})
				}
				err := k.add(&b, nil)
				if err == nil && n%7 == 0 {
					err = k.flush()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := k.flush(); err != nil || written != lanes*blocks*block.MaxRanges {
		t.Errorf("%d extents written, want %d: %v", written, lanes*blocks*block.MaxRanges, err)
	}
}

// full is a target whose datastore is full.
type full struct{ blockio.Target }

func (full) WriteAt([]byte, int64) (int, error) { return 0, syscall.ENOSPC }
func (full) Zero(int64, int64) error            { return syscall.ENOSPC }

// TestUnprotectNamesTheOriginalThatIsLost ends a group in the midst of its first cycle, when what was on the disks is in the journal only: that is refused, and says what would be lost, unless it may be, or the journal stays.
func TestUnprotectNamesTheOriginalThatIsLost(t *testing.T) {
	for _, keep := range []bool{false, true} {
		p := newPairWith(t, 77, Config{wrap: func(_ string, t blockio.Target) blockio.Target { return full{t} }})
		p.plan = append([]byte("keep_original: true\n"), p.plan...)
		before := make([]byte, p.sizes[1])
		for i := range before {
			before[i] = byte(1 + p.r.Uint32()%255)
		}
		if err := os.WriteFile(p.dst(1), before, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.master.Reprotect(t.Context(), p.plan); err != nil {
			t.Fatal(err)
		}
		g, err := p.master.group("g")
		if err != nil {
			t.Fatal(err)
		}
		saved := func() int64 {
			if g.waitReady(t.Context()) != nil {
				return 0
			}
			n, _ := g.journal.OriginalStored()
			return n
		}
		for end := time.Now().Add(30 * time.Second); saved() == 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("nothing is saved: %+v", g.status())
			}
		}
		_, _, err = p.master.Unprotect(t.Context(), "g", false, false)
		if problem := replication.AsProblem(err); problemCode(err) != replication.CodeOriginalLost || !strings.Contains(problem.Message, "a/two") || !strings.Contains(problem.Remedy, "--give-up-original") {
			t.Errorf("unprotect: got %v", err)
		}
		if head, journal, err := p.master.Unprotect(t.Context(), "g", keep, !keep); err != nil || head != replication.NoPoint || (journal != "") != keep {
			t.Errorf("keep the journal %v: head %d, journal %q, %v", keep, head, journal, err)
		}
		p.close()
	}
}
