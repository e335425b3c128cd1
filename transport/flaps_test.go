package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
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

// watched is a master target under the eyes of a test: what it has told a session to be durable must not be sent to it again.
type watched struct {
	*mastertarget.Engine
	mu    sync.Mutex
	told  map[replication.Session]map[replication.DiskNo]*replication.Pages
	sizes []int64
	again int64 // bytes of content that were sent although they were told
	came  int64
}

func (w *watched) Coverage(ctx context.Context, f link.Fence, tell func(replication.DiskNo, []replication.Extent) error) error {
	return w.Engine.Coverage(ctx, f, func(d replication.DiskNo, x []replication.Extent) error {
		w.mu.Lock()
		if w.told[f.Session] == nil {
			w.told[f.Session] = map[replication.DiskNo]*replication.Pages{}
		}
		if w.told[f.Session][d] == nil {
			w.told[f.Session][d] = replication.NewPages(w.sizes[d])
		}
		for _, e := range x {
			w.told[f.Session][d].Add(e)
		}
		w.mu.Unlock()
		return tell(d, x)
	})
}

func (w *watched) Lane(ctx context.Context, l replication.Lane) (link.Lane, error) {
	lane, err := w.Engine.Lane(ctx, l)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	known := map[replication.DiskNo]*replication.Pages{} // as it is now: what is told later may be under way
	for d, p := range w.told[l.Session] {
		c := replication.NewPages(w.sizes[d])
		for e := range p.All() {
			c.Add(e)
		}
		known[d] = c
	}
	return &watchedLane{Lane: lane, w: w, known: known}, nil
}

type watchedLane struct {
	link.Lane
	w     *watched
	known map[replication.DiskNo]*replication.Pages
}

func (l *watchedLane) Send(f *block.Frame) error {
	l.w.mu.Lock()
	for i := range f.Blocks {
		b := &f.Blocks[i]
		known := l.known[b.Disk]
		if b.Kind != block.Data {
			continue
		}
		for _, e := range b.Extents {
			l.w.came += e.Len()
			if known == nil {
				continue
			}
			l.w.again += e.Len()
			for _, m := range known.Missing(nil, e) {
				l.w.again -= m.Len()
			}
		}
	}
	l.w.mu.Unlock()
	return l.Lane.Send(f)
}

// flaps is how often the link fails, and in how many worlds.
func flaps() (seeds, times int) {
	seeds, times = 2, 25
	if n, err := strconv.Atoi(os.Getenv("FAILBACK_SEEDS")); err == nil {
		seeds = n
	}
	if n, err := strconv.Atoi(os.Getenv("FAILBACK_FLAPS")); err == nil {
		times = n
	}
	return seeds, times
}

// TestFlaps makes points over real gRPC and TLS, in one process and in virtual time, on a link that is cut, stalls, loses its tail, is open at one end only and swallows all, again and again. In
// the end all points are what the sources were; meanwhile nothing that was told to be durable was sent again. FAILBACK_SEEDS, FAILBACK_FLAPS: more of it.
func TestFlaps(t *testing.T) {
	warmCodecs(t)
	seeds, times := flaps()
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { flap(t, seed, times) })
		})
	}
}

// warmCodecs has codecs make what they make for all outside of any bubble.
func warmCodecs(t *testing.T) {
	var e block.Encoder
	text := bytes.Repeat([]byte("warm "), 1000)
	for l := block.Raw; l <= block.LevelZstd2; l++ {
		p, c := e.Encode(nil, text, l)
		b := block.Block{Kind: block.Data, Extents: []replication.Extent{{End: 5000}}, Codec: c, Raw: 5000, CRC: block.Checksum(text), Payload: p}
		if _, err := b.Decode(make([]byte, block.MaxRaw)); err != nil {
			t.Fatal(err)
		}
	}
}

// memory returns a directory in memory, where there is one: what is tested is the link, and durability costs time there that is not virtual.
func memory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "failback-flaps-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// flapping is one world.
type flapping struct {
	t      *testing.T
	dir    string
	r      *rand.Rand
	net    *transporttest.Net
	master *watched
	live   [][]byte
	kept   map[replication.PointID][][]byte
}

func (w *flapping) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *flapping) source(i int) string { return filepath.Join(w.dir, fmt.Sprintf("src%d", i)) }

func (w *flapping) change() {
	for i, b := range w.live {
		for range 1 + w.r.IntN(4) {
			off := w.r.IntN(len(b))
			n := min(len(b)-off, 1+w.r.IntN(200<<10))
			for k := range n {
				b[off+k] = byte(w.r.Uint32())
			}
		}
		w.must(os.WriteFile(w.source(i), b, 0o600))
	}
}

func (w *flapping) keep(p replication.PointID) {
	for _, b := range w.live {
		w.kept[p] = append(w.kept[p], bytes.Clone(b))
	}
}

// listed waits for a point.
func (w *flapping) listed(p replication.PointID) {
	w.t.Helper()
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		_, points, err := w.master.Points(context.Background(), "g")
		if err == nil && len(points) > 0 && points[len(points)-1].ID >= p {
			return
		}
		if time.Since(begin) > 2*time.Hour {
			s, _ := w.master.Status(context.Background(), "g")
			w.t.Fatalf("point %d is not listed: %+v", p, s.Groups)
		}
	}
}

func flap(t *testing.T, seed uint64, times int) {
	w := &flapping{t: t, dir: memory(t), r: rand.New(rand.NewPCG(seed, 5)), kept: map[replication.PointID][][]byte{}}
	log := slog.New(slog.DiscardHandler)
	quietly := context.Background()
	_, err := pki.Init(w.dir + "/pki")
	w.must(err)
	for _, d := range []string{"ret", "ds"} {
		w.must(os.Mkdir(filepath.Join(w.dir, d), 0o700))
	}
	sizes := []int64{2 << 20, 1<<20 + 512}
	plan := "group: g\nos: linux\nprocess_server: ps\npolicy: {crash_interval: 24h, app_interval: 24h, retention: 48h, rpo_alert: 48h}\nmachines:\n  - name: a\n    disks:\n"
	for i, n := range sizes {
		w.live = append(w.live, make([]byte, n))
		plan += fmt.Sprintf("      - {id: d%d, source: 'image:%s', target: %s/ds/%d.raw, snapshot: 'cp $FAILBACK_SOURCE %s/v$1.%d && echo %s/v$1.%d', release: 'rm -f $2'}\n",
			i, w.source(i), w.dir, i, w.dir, i, w.dir, i)
	}
	w.change()
	w.net = transporttest.New(seed, 1e6, 20*time.Millisecond)
	engine, err := mastertarget.Open(mastertarget.Config{State: w.dir + "/mt", Retention: w.dir + "/ret", AllowSharedVolume: true, Log: log})
	w.must(err)
	w.master = &watched{Engine: engine, told: map[replication.Session]map[replication.DiskNo]*replication.Pages{}, sizes: sizes}
	masterID, err := pki.Open(w.dir+"/pki", pki.MasterTarget, log)
	w.must(err)
	server := NewReplicationServer(w.master, masterID, "test", log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(w.net) }()

	serverID, err := pki.Open(w.dir+"/pki", pki.ProcessServer, log)
	w.must(err)
	client, err := newReplicationClient("memory:1", serverID, true, w.net.Dial)
	w.must(err)
	worker, err := processserver.New(processserver.Config{Dir: w.dir + "/ps", Lanes: 3, Workers: 2, Log: log}, client)
	w.must(err)
	working, leave := context.WithCancel(quietly)
	left := make(chan bool)
	connected := 0
	go func() {
		defer close(left)
		for working.Err() == nil {
			_ = client.Work(working, "ps", "home", "test", worker, func(string, time.Duration) { connected++ })
			select {
			case <-time.After(500*time.Millisecond + time.Duration(w.net.Jitter(int64(time.Second)))):
			case <-working.Done():
			}
		}
	}()

	_, _, err = engine.Reprotect(quietly, []byte(plan))
	for err != nil { // nobody has connected yet
		time.Sleep(time.Second)
		_, _, err = engine.Reprotect(quietly, []byte(plan))
	}
	flapped := make(chan bool)
	go func() {
		defer close(flapped)
		r := rand.New(rand.NewPCG(seed, 9))
		for range times {
			time.Sleep(time.Duration(r.Int64N(int64(6 * time.Second))))
			switch r.IntN(8) {
			case 0:
				w.net.Stall(time.Duration(r.Int64N(int64(25 * time.Second))))
			case 1:
				w.net.HalfOpen()
			case 2:
				w.net.Swallow()
			default:
				w.net.Cut(time.Duration(r.Int64N(int64(2 * time.Second))))
			}
		}
	}()
	w.listed(1)
	w.keep(1)
	for over := false; !over; {
		select {
		case <-flapped:
			over = true // and a last one, undisturbed
		default:
		}
		w.change()
		point, err := engine.Cut(quietly, "g", false)
		for err != nil {
			time.Sleep(time.Second)
			point, err = engine.Cut(quietly, "g", false)
		}
		w.listed(point)
		w.keep(point)
	}

	for p, disks := range w.kept {
		for i, want := range disks {
			c, err := engine.Export(quietly, "g", p, fmt.Sprintf("a/d%d", i))
			w.must(err)
			got := make([]byte, c.Size())
			if _, err := c.ReadAt(got, 0); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("disk %d at point %d is not what it was", i, p)
			}
			c.Close()
		}
	}
	w.master.mu.Lock()
	t.Logf("%d points, connected %d times, %d bytes came, %d of them again", len(w.kept), connected, w.master.came, w.master.again)
	if w.master.again > 0 {
		t.Errorf("%d bytes that were told to be durable were sent again", w.master.again)
	}
	w.master.mu.Unlock()

	leave()
	<-left
	client.Close()
	server.Stop()
	w.net.Close()
	<-served
	if err := errors.Join(worker.Close(), engine.Close()); err != nil {
		t.Error(err)
	}
	time.Sleep(time.Minute) // gRPC gives a broken connection some seconds to say farewell
}
