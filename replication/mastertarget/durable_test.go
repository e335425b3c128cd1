package mastertarget

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// forgetting is a target of which a power failure would take what was written since its last sync began.
type forgetting struct {
	blockio.Target
	mu    sync.Mutex
	n     uint64   // writes
	wrote []uint64 // by page: the write that was the last to it; 0: none
	kept  uint64   // up to this write all are durable
}

func (f *forgetting) WriteAt(b []byte, off int64) (int, error) {
	same := f.same(b, off)
	n, err := f.Target.WriteAt(b, off)
	f.note(off, n, same)
	return n, err
}

func (f *forgetting) Zero(off, n int64) error {
	same := f.same(make([]byte, n), off)
	err := f.Target.Zero(off, n)
	f.note(off, int(n), same)
	return err
}

// same says, page by page, what a write does not change: that is as durable as it was.
func (f *forgetting) same(b []byte, off int64) (same []bool) {
	was := make([]byte, len(b))
	n, _ := f.Target.ReadAt(was, off)
	for at := 0; at < len(b); at += replication.Page {
		end := min(at+replication.Page, len(b))
		same = append(same, end <= n && bytes.Equal(was[at:end], b[at:end]))
	}
	return same
}

func (f *forgetting) note(off int64, n int, same []bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	for i := range (n + replication.Page - 1) / replication.Page {
		if p := off/replication.Page + int64(i); !same[i] || f.wrote[p] == 0 {
			f.wrote[p] = f.n
		}
	}
}

func (f *forgetting) Sync() error {
	f.mu.Lock()
	n := f.n
	f.mu.Unlock()
	time.Sleep(time.Millisecond) // others write meanwhile
	if err := f.Target.Sync(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept = max(f.kept, n)
	return nil
}

// lost returns the first page of an extent that was written and is not durable; -1: there is none.
func (f *forgetting) lost(e replication.Extent) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p := e.Off / replication.Page; p*replication.Page < e.End; p++ {
		if f.wrote[p] > f.kept {
			return p
		}
	}
	return -1
}

// auditor looks at each word of a master target that something is durable: at the end of a lane, when it tells what it has, and what it has noted by then.
type auditor struct {
	link.Authority
	p  *pair
	mu sync.Mutex

	targets         map[string]*forgetting // by path
	lanes, coverage int                    // words that were looked at, of something
	wrong           []string
}

func (a *auditor) opens(path string, t blockio.Target) blockio.Target {
	f := &forgetting{Target: t, wrote: make([]uint64, t.Size()/replication.Page+1)}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.targets[path] = f
	return f
}

// lost says what a power failure would take of an extent that is told to be durable.
func (a *auditor) lost(where string, d replication.DiskNo, x []replication.Extent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range x {
		if p := a.targets[a.p.dst(int(d))].lost(e); p >= 0 && len(a.wrong) < 5 {
			a.wrong = append(a.wrong, fmt.Sprintf("%s: page %d of disk %d of %v was not synced", where, p, d, e))
		}
	}
}

func (a *auditor) Coverage(ctx context.Context, f link.Fence, tell func(replication.DiskNo, []replication.Extent) error) error {
	through := a.through()
	return a.Authority.Coverage(ctx, f, func(d replication.DiskNo, x []replication.Extent) error {
		a.mu.Lock()
		a.coverage += len(x)
		a.mu.Unlock()
		if through {
			a.lost("coverage", d, x)
		}
		return tell(d, x)
	})
}

// through says whether what comes now is written to the disks, and not into the journal.
func (a *auditor) through() bool {
	g, err := a.p.master.group("g")
	if err != nil {
		return false
	}
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.through != nil
}

func (a *auditor) Lane(ctx context.Context, l replication.Lane) (link.Lane, error) {
	lane, err := a.Authority.Lane(ctx, l)
	if err != nil {
		return nil, err
	}
	return &auditedLane{Lane: lane, a: a, of: l, through: a.through(), sent: map[replication.DiskNo][]replication.Extent{}}, nil
}

type auditedLane struct {
	link.Lane
	a       *auditor
	of      replication.Lane
	through bool
	sent    map[replication.DiskNo][]replication.Extent // by value
}

func (l *auditedLane) Send(f *block.Frame) error {
	of := map[replication.DiskNo][]replication.Extent{}
	for i := range f.Blocks {
		if b := &f.Blocks[i]; b.Kind != block.Repeat {
			of[b.Disk] = append(of[b.Disk], b.Extents...)
		}
	}
	err := l.Lane.Send(f)
	if err == nil {
		for d, x := range of {
			l.sent[d] = append(l.sent[d], x...)
		}
	}
	if l.through && err == nil { // while other lanes write, and sync
		_ = l.a.Coverage(context.Background(), link.Fence{Session: l.of.Session, Point: l.of.Point}, func(replication.DiskNo, []replication.Extent) error { return nil })
	}
	return err
}

func (l *auditedLane) Flush() (int64, error) {
	byValue, err := l.Lane.Flush()
	if err != nil {
		return byValue, err
	}
	g, _ := l.a.p.master.group("g")
	for d, x := range l.sent {
		has := g.journal.Coverage(d)
		if l.through {
			l.a.lost("flush", d, slices.Collect(has.All()))
		}
		l.a.mu.Lock()
		l.a.lanes++
		for _, e := range x {
			if !has.Contains(e) && len(l.a.wrong) < 5 {
				l.a.wrong = append(l.a.wrong, fmt.Sprintf("flush: disk %d: %v is not noted to be durable", d, e))
			}
		}
		l.a.mu.Unlock()
	}
	return byValue, err
}

// TestNothingIsToldDurableThatIsNot makes points over a link whose lanes break, with disks that forget what was not synced: whatever is told to be durable, by the end of a lane or as coverage, no power failure takes (I5).
func TestNothingIsToldDurableThatIsNot(t *testing.T) {
	t.Parallel()
	lanes, coverage := 0, 0
	for seed := range uint64(4) {
		a := &auditor{targets: map[string]*forgetting{}}
		p := newPairWith(t, seed, Config{wrap: a.opens})
		a.p, a.Authority = p, p.master
		p.link.Authority = a
		p.plan = p.stablePlan([]string{"", "keep_original: true\n"}[seed%2])
		for i, b := range p.live { // enough for several frames and lanes
			rand.NewChaCha8([32]byte{byte(seed), byte(i)}).Read(b[:len(b)/2])
			p.write(i)
		}
		p.link.set([]int{15, 25}[seed/2])
		ctx := context.Background()
		if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
			t.Fatal(err)
		}
		p.listed(1)
		p.keep(1)
		for range 2 {
			p.another()
		}
		p.contents("at the end")
		p.close()
		for _, w := range a.wrong {
			t.Errorf("seed %d: told to be durable, %s", seed, w)
		}
		lanes, coverage = lanes+a.lanes, coverage+a.coverage
	}
	t.Logf("%d ends of lanes, and %d extents of coverage", lanes, coverage)
	if lanes < 10 || coverage == 0 {
		t.Error("this tests little")
	}
}
