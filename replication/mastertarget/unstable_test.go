package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/replication/processserver"
	"failback/retention"
)

// hooked is a link whose lanes and finish a test looks into.
type hooked struct {
	link.Authority
	mu     sync.Mutex
	send   func(*block.Frame) // nil: nothing is done
	flush  func() error
	finish func() error
	lane   func() error
	stalls bool // the end of a lane does not come through
}

func (h *hooked) set(f func(*hooked)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h)
}

func (h *hooked) Lane(ctx context.Context, l replication.Lane) (link.Lane, error) {
	h.mu.Lock()
	open := h.lane
	h.mu.Unlock()
	if open != nil {
		if err := open(); err != nil {
			return nil, err
		}
	}
	lane, err := h.Authority.Lane(ctx, l)
	if err != nil {
		return nil, err
	}
	return &hookedLane{lane, h}, nil
}

func (h *hooked) Finish(ctx context.Context, f link.Fence, t []replication.Total) (replication.PointID, error) {
	h.mu.Lock()
	finish := h.finish
	h.mu.Unlock()
	if finish != nil {
		if err := finish(); err != nil {
			return 0, err
		}
	}
	return h.Authority.Finish(ctx, f, t)
}

type hookedLane struct {
	link.Lane
	h *hooked
}

func (l *hookedLane) Send(f *block.Frame) error {
	l.h.mu.Lock()
	send := l.h.send
	l.h.mu.Unlock()
	if send != nil {
		send(f)
	}
	return l.Lane.Send(f)
}

func (l *hookedLane) Flush() (int64, error) {
	l.h.mu.Lock()
	flush := l.h.flush
	l.h.mu.Unlock()
	if flush != nil {
		if err := flush(); err != nil {
			return 0, err
		}
	}
	return l.Lane.Flush()
}

func (l *hookedLane) Close() {
	l.h.mu.Lock()
	stalls := l.h.stalls
	l.h.mu.Unlock()
	if !stalls {
		l.Lane.Close()
	}
}

// device is a group of one disk whose source is read live and, as a device, does not tell that it was written to.
type device struct {
	t      *testing.T
	dir    string
	src    string
	live   []byte
	at     time.Time
	master *Engine
	worker *processserver.Engine
	link   *hooked
	bye    func()
}

func newDevice(t *testing.T) *device {
	d := newGroupOfOne(t, "")
	if s, _ := d.master.Status(context.Background(), "g"); len(s.Groups[0].Notices) == 0 {
		t.Fatal("the source is not read live")
	}
	return d
}

func newGroupOfOne(t *testing.T, more string) *device {
	d := &device{t: t, dir: t.TempDir(), at: time.Now().Add(-time.Hour), live: bytes.Repeat([]byte("0123456789abcdef"), 2<<16)}
	for _, n := range []string{"ret", "mt", "ps"} {
		if err := os.Mkdir(filepath.Join(d.dir, n), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	shm, err := os.MkdirTemp("/dev/shm", "failback-test-") // where files have no clones
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.RemoveAll(shm) })
	d.src = filepath.Join(shm, "src")
	d.write()
	if d.master, err = Open(Config{State: filepath.Join(d.dir, "mt"), Retention: filepath.Join(d.dir, "ret"), AllowSharedVolume: true}); err != nil {
		t.Fatal(err)
	}
	d.link = &hooked{Authority: d.master}
	d.connect()
	t.Cleanup(func() {
		d.master.Close()
		d.worker.Close()
	})
	plan := fmt.Sprintf("group: g\nos: linux\nprocess_server: ps\npolicy: {crash_interval: 1h, app_interval: 1h, rpo_alert: 2h}\nmachines:\n  - name: a\n    disks:\n      - {id: one, source: 'image:%s', target: %s%s}\n",
		d.src, filepath.Join(d.dir, "dst.raw"), more)
	if _, _, err := d.master.Reprotect(context.Background(), []byte(plan)); err != nil {
		t.Fatal(err)
	}
	d.listed(1)
	return d
}

// connect starts the process server anew.
func (d *device) connect() {
	d.t.Helper()
	if d.worker != nil {
		d.bye()
		d.worker.Close()
	}
	var err error
	if d.worker, err = processserver.New(processserver.Config{Dir: filepath.Join(d.dir, "ps"), Lanes: 1, Workers: 1}, d.link); err != nil {
		d.t.Fatal(err)
	}
	if d.bye, err = d.master.Connected(link.Peer{Name: "ps", Minor: link.ProtocolMinor}, d.worker); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) write() {
	f, err := os.OpenFile(d.src, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(d.live)
		f.Close()
	}
	if err == nil {
		err = os.Chtimes(d.src, d.at, d.at)
	}
	if err != nil {
		d.t.Error(err)
	}
}

// page writes one page of the source.
func (d *device) page(no int, with byte) {
	for i := range replication.Page {
		d.live[no*replication.Page+i] = with + byte(i)
	}
	d.write()
}

func (d *device) listed(id replication.PointID) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := d.master.wait(ctx, func() bool {
		_, points, err := d.master.Points(ctx, "g")
		return err == nil && len(points) > 0 && points[len(points)-1].ID >= id
	})
	if err != nil {
		s, _ := d.master.Status(context.Background(), "g")
		d.t.Fatalf("point %d is not listed: %+v", id, s.Groups)
	}
}

// holds compares a point with the source.
func (d *device) holds(id replication.PointID) {
	d.t.Helper()
	c, err := d.master.Export(context.Background(), "g", id, "one")
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	got := make([]byte, c.Size())
	if _, err := c.ReadAt(got, 0); err != nil && err != io.EOF {
		d.t.Fatal(err)
	}
	if at := differs(got, d.live); at >= 0 {
		d.t.Errorf("point %d differs from the source at %d", id, at)
	}
}

func TestResyncOfALiveDiskKeepsNothingThatAnEarlierAttemptShipped(t *testing.T) {
	d := newDevice(t)
	d.bye() // the process server loses its state: a compare follows
	d.worker.Close()
	d.worker = nil
	if err := os.RemoveAll(filepath.Join(d.dir, "ps", "g")); err != nil {
		t.Fatal(err)
	}
	d.link.set(func(h *hooked) { // data arrives, the word of what is equal does not
		h.send = func(f *block.Frame) {
			var left []block.Block
			for _, b := range f.Blocks {
				if b.Kind != block.Equal {
					left = append(left, b)
				}
			}
			f.Blocks = left
		}
		h.flush = func() error {
			h.set(func(h *hooked) { h.send, h.flush = nil, nil })
			d.page(3, 0x10) // as it was at point 1
			copy(d.live[3*replication.Page:], d.live[:replication.Page])
			d.write()
			return errCut
		}
	})
	d.page(3, 0x77)
	d.connect()
	if _, err := d.master.Cut(context.Background(), "g", false); err != nil {
		t.Fatal(err)
	}
	d.listed(2)
	d.holds(2)
}

func TestLiveDiskThatChangedAfterItWasReadIsCutAgain(t *testing.T) {
	d := newDevice(t)
	d.link.set(func(h *hooked) { // all is shipped, and the tables are sealed; then the word that ends the cycle is lost
		h.finish = func() error {
			h.set(func(h *hooked) { h.finish = nil })
			d.page(5, 0x20)
			return errCut
		}
	})
	d.page(3, 0x77)
	if _, err := d.master.Cut(context.Background(), "g", false); err != nil {
		t.Fatal(err)
	}
	d.listed(2)
	d.holds(2)
}

func TestLaneThatStalledDoesNotKeepItsCycleFromBeingListed(t *testing.T) {
	views := t.TempDir()
	d := newGroupOfOne(t, fmt.Sprintf(", snapshot: 'cp $FAILBACK_SOURCE %s/$1 && echo %s/$1', release: 'rm -f $2'", views, views))
	var compared atomic.Bool
	d.link.set(func(h *hooked) {
		h.stalls = true
		h.flush = func() error {
			h.set(func(h *hooked) { h.flush = nil })
			return errCut
		}
		h.send = func(f *block.Frame) {
			for _, b := range f.Blocks {
				if b.Kind == block.Equal {
					compared.Store(true)
				}
			}
		}
	})
	d.page(3, 0x77)
	if _, err := d.master.Cut(context.Background(), "g", false); err != nil {
		t.Fatal(err)
	}
	d.listed(2)
	d.holds(2)
	if compared.Load() {
		t.Error("the cycle was given up, and made again by comparing")
	}
}

func TestLanesThatAreRefusedAreTriedAgainSlowlyAndSaid(t *testing.T) {
	d := newDevice(t)
	var tries atomic.Int32
	d.link.set(func(h *hooked) { h.lane = func() error { tries.Add(1); return errCut } })
	d.page(3, 0x77)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := d.master.Cut(ctx, "g", false); err != nil {
		t.Fatal(err)
	}
	err := d.master.wait(ctx, func() bool {
		s, err := d.master.Status(ctx, "g")
		return err == nil && s.Groups[0].Problem != nil
	})
	if err != nil {
		t.Error("the status tells no problem")
	}
	time.Sleep(500 * time.Millisecond)
	if n := tries.Load(); n > 2 {
		t.Errorf("tried %d times within a second", n)
	}
}

func TestVerifyThatWaitsForItsTurnCanBeGivenUp(t *testing.T) {
	d := newDevice(t)
	ships, goOn := make(chan struct{}), make(chan struct{})
	d.link.set(func(h *hooked) {
		h.finish = func() error { close(ships); <-goOn; return nil }
	})
	d.page(3, 0x77)
	if _, err := d.master.Cut(context.Background(), "g", false); err != nil {
		t.Fatal(err)
	}
	<-ships
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	answer := make(chan error, 1)
	go func() {
		_, _, _, err := d.master.Verify(ctx, "g", 1, func([]replication.Ledger) {})
		answer <- err
	}()
	select {
	case err := <-answer:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(5 * time.Second):
		t.Error("it still waits")
	}
	close(goOn)
	d.listed(2)
}

func TestUnprotectOfAGroupThatIsNotOpenKeepsTheJournalThatItsDisksNeed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		harm func(dir string) error
		want string
	}{
		{"nothing is wrong with it", func(string) error { return nil }, "between points 2 and 1"},
		{"a file of it is missing", func(dir string) error {
			names, err := filepath.Glob(filepath.Join(dir, "seg", "2-*.seg"))
			if err == nil {
				err = os.Remove(names[0])
			}
			return err
		}, "between points 2 and 1"},
		{"its log is damaged", func(dir string) error {
			name := filepath.Join(dir, "log")
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			b[bytes.Index(b, []byte(`"point"`))+2] ^= 1
			return os.WriteFile(name, b, 0o600)
		}, "can't be told"},
	} {
		t.Run(c.name, func(t *testing.T) { unprotectUnopened(t, c.harm, c.want) })
	}
}

func unprotectUnopened(t *testing.T, harm func(dir string) error, want string) {
	d := newDevice(t)
	d.page(3, 0x77)
	if _, err := d.master.Cut(context.Background(), "g", false); err != nil {
		t.Fatal(err)
	}
	d.listed(2)
	err := d.master.wait(t.Context(), func() bool { head, _, err := d.master.Points(t.Context(), "g"); return err == nil && head == 2 })
	if err != nil {
		t.Fatal(err)
	}
	if err := d.master.Close(); err != nil {
		t.Fatal(err)
	}
	dst, dir := filepath.Join(d.dir, "dst.raw"), filepath.Join(d.dir, "ret", "g")
	j, err := retention.Open(dir, "g")
	if err != nil {
		t.Fatal(err)
	}
	target, err := blockio.OpenTarget(dst, blockio.TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	j.Move(ctx, []retention.Disk{target}, 1, func(p retention.MoveProgress) {
		if p.Phase == retention.PhaseWrite {
			cancel()
		}
	})
	if j.Unfinished() == nil {
		t.Fatal("the move is not unfinished")
	}
	target.Close()
	j.Close()
	if err := errors.Join(os.Rename(dst, dst+".away"), harm(dir)); err != nil {
		t.Fatal(err)
	}
	if d.master, err = Open(Config{State: filepath.Join(d.dir, "mt"), Retention: filepath.Join(d.dir, "ret"), AllowSharedVolume: true}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.master.Unprotect(t.Context(), "g", false, false); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "log")); err != nil {
		t.Error(err)
	}
}

func TestCutIsNeverOlderThanItsRequest(t *testing.T) {
	views := t.TempDir()
	d := newGroupOfOne(t, fmt.Sprintf(", snapshot: 'cp $FAILBACK_SOURCE %s/$1 && echo %s/$1', release: 'rm -f $2'", views, views))
	block := filepath.Join(d.dir, "ret", "g", "coverage", "block") // in the way of a cycle that begins
	if err := os.MkdirAll(block, 0o700); err != nil {
		t.Fatal(err)
	}
	d.page(3, 0x77)
	if _, err := d.master.Cut(t.Context(), "g", false); err == nil {
		t.Fatal("the cycle began")
	}
	d.page(4, 0x78) // the last write, before the machine is shut down for good
	if err := os.RemoveAll(filepath.Dir(block)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.master.Cut(t.Context(), "g", false); err != nil {
		t.Fatal(err)
	}
	d.listed(2)
	d.holds(2)
}

func TestCutThatIsAskedForDuringACutIsMadeAfterIt(t *testing.T) {
	views := t.TempDir()
	taken, goOn := filepath.Join(views, "taken"), filepath.Join(views, "go-on")
	d := newGroupOfOne(t, fmt.Sprintf(", snapshot: 'cp $FAILBACK_SOURCE %s/$1 && if test $1 != 1; then touch %s; until test -e %s; do sleep 0.02; done; fi; echo %s/$1', release: 'rm -f $2'",
		views, taken, goOn, views))
	points := make(chan replication.PointID, 2)
	cut := func() {
		p, err := d.master.Cut(context.Background(), "g", false)
		if err != nil {
			t.Error(err)
		}
		points <- p
	}
	until := func(what string, ready func() bool) {
		t.Helper()
		for start := time.Now(); !ready(); time.Sleep(5 * time.Millisecond) {
			if time.Since(start) > 10*time.Second {
				t.Fatal(what)
			}
		}
	}
	go cut()
	until("no snapshot is taken", func() bool { _, err := os.Stat(taken); return err == nil })
	d.page(4, 0x78) // the last write, before the machine is shut down for good
	go cut()
	g, _ := d.master.group("g")
	until("the second request is not there", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.requests.cut) == 2
	})
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	last := max(<-points, <-points)
	if last != 3 {
		t.Errorf("the second request was answered with point %d", last)
	}
	d.listed(last)
	d.holds(last)
}

func TestCycleAfterAPointThatDiffersCompares(t *testing.T) {
	views := t.TempDir()
	d := newGroupOfOne(t, fmt.Sprintf(", snapshot: 'cp $FAILBACK_SOURCE %s/$1 && echo %s/$1', release: 'rm -f $2', changes: 'true'", views, views)) // it tells no change at all
	d.page(3, 0x77)
	p, err := d.master.Cut(t.Context(), "g", false)
	if err != nil {
		t.Fatal(err)
	}
	d.listed(p)
	if _, v, _, err := d.master.Verify(t.Context(), "g", p, func([]replication.Ledger) {}); err != nil || v.Equal {
		t.Fatalf("got %+v, %v", v, err)
	}
	if p, err = d.master.Cut(t.Context(), "g", false); err != nil {
		t.Fatal(err)
	}
	d.listed(p)
	d.holds(p)
	_, points, err := d.master.Points(t.Context(), "g")
	if err != nil || !points[1].Suspect || points[2].Suspect {
		t.Errorf("got %+v, %v", points, err)
	}
}

// talker is a process server that tells much of a verification.
type talker struct {
	link.Worker
	told chan struct{}
}

func (w *talker) Verify(_ context.Context, _ link.Spec, _ replication.PointID, progress func([]replication.Ledger)) (link.Verified, error) {
	for range 3 {
		progress([]replication.Ledger{{}})
	}
	close(w.told)
	return link.Verified{}, nil
}

func TestOperatorWhoDoesNotReadHoldsNoProcessServerUp(t *testing.T) {
	d := newDevice(t)
	d.bye()
	w := &talker{d.worker, make(chan struct{})}
	bye, err := d.master.Connected(link.Peer{Name: "ps", Minor: link.ProtocolMinor}, w)
	if err != nil {
		t.Fatal(err)
	}
	defer bye()
	reads := make(chan struct{})
	answer := make(chan error, 1)
	go func() {
		_, _, _, err := d.master.Verify(context.Background(), "g", 1, func([]replication.Ledger) { <-reads })
		answer <- err
	}()
	select {
	case <-w.told:
	case <-time.After(5 * time.Second):
		t.Error("the process server waits for the operator")
	}
	close(reads)
	if err := <-answer; err != nil {
		t.Error(err)
	}
}
