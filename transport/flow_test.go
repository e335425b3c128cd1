package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/replication/mastertarget"
	"failback/replication/processserver"
	"failback/transport/pki"
	"failback/transport/transporttest"
)

// gated is a master target whose lanes take a frame when the test lets them.
type gated struct {
	authority
	gates map[uint32]chan struct{} // one receive for each frame; nil: as they come

	net   *transporttest.Net // set by over
	ended chan struct{}      // closed when a lane has ended; nil: nobody asks

	mu    sync.Mutex
	taken map[uint32]int
}

type gatedLane struct {
	*gated
	no uint32
}

func (g *gated) Lane(_ context.Context, l replication.Lane) (link.Lane, error) {
	return &gatedLane{g, l.Lane}, nil
}

func (l *gatedLane) Send(f *block.Frame) error {
	defer f.Free()
	if gate := l.gates[l.no]; gate != nil {
		<-gate
	}
	l.gated.mu.Lock()
	defer l.gated.mu.Unlock()
	l.taken[l.no]++
	return nil
}

func (l *gatedLane) Flush() (int64, error) { return 0, nil }

func (l *gatedLane) Close() {
	if l.ended != nil {
		close(l.ended)
	}
}

// over runs a master target, and a client of it, on a network in memory. What it returns ends both.
func (g *gated) over(t *testing.T) (*ReplicationClient, func()) {
	t.Helper()
	dir, log := memory(t), slog.New(slog.DiscardHandler)
	if _, err := pki.Init(dir + "/pki"); err != nil {
		t.Fatal(err)
	}
	var ids [2]*pki.Identity
	for i, role := range []pki.Role{pki.MasterTarget, pki.ProcessServer} {
		var err error
		if ids[i], err = pki.Open(dir+"/pki", role, log); err != nil {
			t.Fatal(err)
		}
	}
	n := transporttest.New(1, 1e9, time.Millisecond)
	g.net = n
	server := NewReplicationServer(g, ids[0], "test", log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(n) }()
	c, err := newReplicationClient("memory:1", ids[1], true, n.Dial)
	if err != nil {
		t.Fatal(err)
	}
	return c, func() {
		c.Close()
		server.Stop()
		n.Close()
		<-served
		time.Sleep(time.Minute) // gRPC gives a broken connection some seconds to say farewell
	}
}

// noise is a region that does not compress, as a frame.
func noise() *block.Frame {
	var e block.Encoder
	f, raw := block.NewFrame(), make([]byte, block.MaxRaw)
	rand.NewChaCha8([32]byte{1}).Read(raw)
	for off := int64(0); off < block.MaxFrameRaw; off += block.MaxRaw {
		f.Add(&e, block.Block{Extents: []replication.Extent{{Off: off, End: off + block.MaxRaw}}}, raw, block.Raw, nil)
	}
	return f
}

// underway bounds what a lane has taken off its sender and not given to the master target: what the receiver's window lets through, the frame that the master target is at, what gRPC lets a
// stream put before its writer and the writer gathers, what is under way in the network, and the frame that is being sent.
const underway = (laneWindow+2*socketBuffer+transporttest.Window+64<<10)/block.MaxFrameRaw + 3

// TestSlowTargetHoldsTheSenderBack has a master target that takes nothing, and then slowly: meanwhile a sender gets rid of no more than the named bounds.
func TestSlowTargetHoldsTheSenderBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lanes, frames = 3, 60
		g := &gated{taken: map[uint32]int{}, gates: map[uint32]chan struct{}{}}
		for no := range uint32(lanes) {
			g.gates[no] = make(chan struct{})
		}
		c, end := g.over(t)
		defer end()
		var mu sync.Mutex
		sent := map[uint32]int{}
		done := make(chan error, lanes)
		for no := range uint32(lanes) {
			go func() {
				lane, err := c.Lane(t.Context(), replication.Lane{Lane: no, Attempt: 1})
				if err != nil {
					done <- err
					return
				}
				defer lane.Close()
				for range frames {
					if err := lane.Send(noise()); err != nil {
						done <- err
						return
					}
					mu.Lock()
					sent[no]++
					mu.Unlock()
				}
				_, err = lane.Flush()
				done <- err
			}()
		}
		look := func() {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			g.mu.Lock()
			defer g.mu.Unlock()
			for no := range uint32(lanes) {
				if n := sent[no] - g.taken[no]; n > underway {
					t.Errorf("lane %d: %d frames were taken off the sender, and %d by the master target: %d under way, at most %d", no, sent[no], g.taken[no], n, underway)
				}
			}
		}
		time.Sleep(5 * time.Minute) // pings are answered meanwhile: the connections live
		look()
		if sent[0] == 0 {
			t.Error("nothing was sent")
		}
		for range frames {
			for no := range uint32(lanes) {
				g.gates[no] <- struct{}{}
			}
			time.Sleep(time.Second)
			look()
		}
		for range lanes {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// between stands between the wire and the engine of a master target.
type between struct {
	*mastertarget.Engine
	before func(lane uint32, raw int64) // a frame is given to the engine
}

type betweenLane struct {
	link.Lane
	b  *between
	no uint32
}

func (b *between) Lane(ctx context.Context, l replication.Lane) (link.Lane, error) {
	lane, err := b.Engine.Lane(ctx, l)
	if err != nil {
		return nil, err
	}
	return &betweenLane{lane, b, l.Lane}, nil
}

func (l *betweenLane) Send(f *block.Frame) error {
	l.b.before(l.no, f.Raw())
	return l.Lane.Send(f)
}

// copyOver copies a disk of noise between both engines, over gRPC and TLS in virtual time, and returns how long that took. The copy is compared.
func copyOver(t *testing.T, size int64, c processserver.Config, before func(e *mastertarget.Engine, lane uint32, raw int64)) time.Duration {
	t.Helper()
	w := &flapping{t: t, dir: memory(t)}
	log := slog.New(slog.DiscardHandler)
	_, err := pki.Init(w.dir + "/pki")
	w.must(err)
	for _, d := range []string{"ret", "ds"} {
		w.must(os.Mkdir(filepath.Join(w.dir, d), 0o700))
	}
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{2}).Read(content)
	w.must(os.WriteFile(w.source(0), content, 0o600))
	plan := fmt.Sprintf("group: g\nos: linux\nprocess_server: ps\npolicy: {crash_interval: 24h, app_interval: 24h, retention: 48h, rpo_alert: 48h}\nmachines: [{name: a, disks: [{id: d, source: 'image:%s', target: %s/ds/0.raw, changes: 'true'}]}]\n",
		w.source(0), w.dir)
	engine, err := mastertarget.Open(mastertarget.Config{State: w.dir + "/mt", Retention: w.dir + "/ret", AllowSharedVolume: true, Log: log})
	w.must(err)
	n := transporttest.New(1, 1e9, time.Millisecond)
	ids := map[pki.Role]*pki.Identity{}
	for _, role := range []pki.Role{pki.MasterTarget, pki.ProcessServer} {
		ids[role], err = pki.Open(w.dir+"/pki", role, log)
		w.must(err)
	}
	master := &between{engine, func(lane uint32, raw int64) { before(engine, lane, raw) }}
	server := NewReplicationServer(master, ids[pki.MasterTarget], "test", log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(n) }()
	client, err := newReplicationClient("memory:1", ids[pki.ProcessServer], true, n.Dial)
	w.must(err)
	c.Dir, c.Log = w.dir+"/ps", log
	worker, err := processserver.New(c, client)
	w.must(err)
	working, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		left <- client.Work(working, "ps", "home", "test", worker, func(string, time.Duration) {})
	}()
	_, _, err = engine.Reprotect(t.Context(), []byte(plan))
	for err != nil { // nobody has connected yet
		time.Sleep(time.Second)
		_, _, err = engine.Reprotect(t.Context(), []byte(plan))
	}
	began := time.Now()
	w.master = &watched{Engine: engine}
	w.listed(1)
	took := time.Since(began)
	got, err := os.ReadFile(w.dir + "/ds/0.raw")
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("the copy is not what the source is (%v)", err)
	}
	leave()
	<-left
	client.Close()
	server.Stop()
	n.Close()
	<-served
	if err := errors.Join(worker.Close(), engine.Close()); err != nil {
		t.Error(err)
	}
	time.Sleep(time.Minute) // gRPC gives a broken connection some seconds to say farewell
	return took
}

// TestSlowDiskSlowsTheSource copies onto a disk that takes a MiB a second: the source is never read further ahead than the named bounds let anything be under way.
func TestSlowDiskSlowsTheSource(t *testing.T) {
	warmCodecs(t)
	synctest.Test(t, func(t *testing.T) {
		const size, lanes, workers = 48 << 20, 1, 2
		var took, most int64
		lasted := copyOver(t, size, processserver.Config{Lanes: lanes, Workers: workers}, func(e *mastertarget.Engine, _ uint32, raw int64) { // of one lane: one at a time
			time.Sleep(time.Second)
			took += raw
			if s, err := e.Status(t.Context(), "g"); err == nil && len(s.Groups) > 0 && len(s.Groups[0].Disks) > 0 {
				most = max(most, s.Groups[0].Disks[0].Ledger.Read-took)
			}
		})
		const bound = (lanes*underway + workers + 2) * block.MaxFrameRaw // each worker reads one, and two wait for the lanes
		t.Logf("read ahead by %d MiB at most, of %d that may be; %v", most>>20, bound>>20, lasted)
		if most > bound || most == 0 {
			t.Errorf("read ahead by %d bytes, at most %d may be under way", most, bound)
		}
		if lasted < size/block.MaxFrameRaw*time.Second {
			t.Errorf("the disk is slower than %v", lasted)
		}
	})
}

// TestStalledLaneHoldsOnlyWhatItCarries has a lane stand still at the other end, while its connection answers pings, until all has come that it does not carry: the other lanes bring it.
func TestStalledLaneHoldsOnlyWhatItCarries(t *testing.T) {
	warmCodecs(t)
	synctest.Test(t, func(t *testing.T) {
		const size, lanes = 64 << 20, 2
		var mu sync.Mutex
		others := int64(0)
		enough := make(chan struct{})
		copyOver(t, size, processserver.Config{Lanes: lanes, Workers: 2}, func(_ *mastertarget.Engine, lane uint32, raw int64) {
			if lane == 0 {
				select {
				case <-enough:
				case <-time.After(10 * time.Minute):
					t.Errorf("after 10 minutes, the other lane had brought %d bytes of %d", others, size)
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if was := others; was < size-underway*block.MaxFrameRaw && was+raw >= size-underway*block.MaxFrameRaw {
				close(enough)
			}
			others += raw
		})
	})
}
