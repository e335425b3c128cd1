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
	"slices"
	"strconv"
	"strings"
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

	r      *rand.Rand
	late   []*lateFrame
	now    replication.Session // the newest that was let in
	frames int
	breaks func()         // breaks connections while they carry frames: until a lane has broken, and the others went on
	seen   map[string]int // frames that came, by what is in them, and what else happened
	wrong  []string       // frames of earlier attempts and sessions that were taken
}

// lateFrame is a frame that comes once more, on the lane that it came on first.
type lateFrame struct {
	lane  *watchedLane
	frame *block.Frame
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
	w.now = l.Session
	var earlier []*lateFrame // connections that were given up come to life again
	for _, x := range w.late {
		if x.lane.of.Lane == l.Lane && x.lane.of.Attempt < l.Attempt {
			earlier = append(earlier, x)
		}
	}
	w.late = slices.DeleteFunc(w.late, func(x *lateFrame) bool { return slices.Contains(earlier, x) })
	return &watchedLane{Lane: lane, w: w, known: known, of: l, earlier: earlier}, nil
}

// Finish takes note of a process server that takes for sent what did not arrive: the cycle would be made again, and come right.
func (w *watched) Finish(ctx context.Context, f link.Fence, t []replication.Total) (replication.PointID, error) {
	p, err := w.Engine.Finish(ctx, f, t)
	if err != nil && replication.AsProblem(err).Code == link.CodeIncomplete {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.wrong = append(w.wrong, "to be whole, and was not: "+err.Error())
	}
	return p, err
}

type watchedLane struct {
	link.Lane
	w     *watched
	known map[replication.DiskNo]*replication.Pages

	of      replication.Lane
	earlier []*lateFrame // of attempts before this one, which come after its first frame
	using   sync.Mutex   // a frame is given, or none is any more
	closed  bool
}

func (l *watchedLane) Close() {
	l.using.Lock()
	defer l.using.Unlock()
	l.closed = true
	l.Lane.Close()
}

// give gives the lane a frame, unless it has ended.
func (l *watchedLane) give(f *block.Frame) (given bool, err error) {
	l.using.Lock()
	defer l.using.Unlock()
	if l.closed {
		f.Free()
		return false, nil
	}
	return true, l.Lane.Send(f)
}

// comes has a late frame come. One of an attempt that has a newer one, or of a session that has ended, is not to be taken.
func (w *watched) comes(x *lateFrame, stale bool) {
	w.mu.Lock()
	stale = stale || x.lane.of.Session != w.now
	w.mu.Unlock()
	given, err := x.lane.give(x.frame)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !given:
	case err != nil:
		w.seen["again, refused"]++
	case stale:
		w.wrong = append(w.wrong, fmt.Sprintf("a frame of %v, in session %d", x.lane.of, w.now.ID))
	default:
		w.seen["again"]++
	}
}

// haunt keeps some of the frames that come, to have them come again: at once, or late, when newer ones have come, on this lane and others, and when there is a newer attempt of it. The parts of a stream come once, or their lane ends.
func (w *watched) haunt(l *watchedLane, f *block.Frame) (now []*lateFrame) {
	copied := &block.Frame{Blocks: slices.Clone(f.Blocks)}
	for i := range copied.Blocks {
		if copied.Blocks[i].Codec == block.Stream {
			return nil
		}
		copied.Blocks[i].Payload = bytes.Clone(copied.Blocks[i].Payload)
	}
	switch w.r.IntN(6) {
	case 0:
		return []*lateFrame{{l, copied}}
	case 1, 2, 3:
		w.late = append(w.late, &lateFrame{l, copied})
	}
	for len(w.late) > 20 || len(w.late) > 0 && w.r.IntN(8) == 0 {
		i := w.r.IntN(len(w.late))
		now = append(now, w.late[i])
		w.late = slices.Delete(w.late, i, i+1)
	}
	return now
}

// mislead has some references point astray, as if the disks had changed since.
func (w *watched) mislead(f *block.Frame) {
	for i := range f.Blocks {
		if b := &f.Blocks[i]; b.Kind == block.Repeat && w.r.IntN(8) == 0 {
			b.Origin.Off = 0
		}
	}
}

// note takes note of what a frame holds.
func (w *watched) note(f *block.Frame) {
	for i := range f.Blocks {
		switch b := &f.Blocks[i]; b.Kind {
		case block.Data:
			w.seen[b.Codec.String()]++
		case block.Zero:
			w.seen["zero"]++
		case block.Equal:
			w.seen["equal"]++
		case block.Repeat:
			w.seen["repeat"]++
		}
	}
}

func (l *watchedLane) Send(f *block.Frame) error {
	l.w.mu.Lock()
	if l.w.frames++; l.w.breaks != nil && l.w.frames%8 == 0 && l.w.seen["lane broke"] == 0 && l.w.seen["break in the midst"] < 40 {
		l.w.seen["break in the midst"]++
		l.w.breaks()
	}
	l.w.note(f)
	l.w.mislead(f)
	again := l.w.haunt(l, f)
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
	given, err := l.give(f)
	if code := codeOf(err); given && err != nil && code != link.CodeStale {
		l.w.mu.Lock()
		l.w.wrong = append(l.w.wrong, fmt.Sprintf("for wrong, a frame of %v that is as it was sent: %v", l.of, err))
		l.w.mu.Unlock()
	}
	for _, x := range l.earlier {
		l.w.comes(x, true)
	}
	l.earlier = nil
	for _, x := range again {
		l.w.comes(x, false)
	}
	return err
}

// codeOf returns the code of an error's problem.
func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return replication.AsProblem(err).Code
}

// flaps is how often the link fails, and in how many worlds.
func flaps() (seeds, times int) {
	seeds, times = len(flapLevels)*moreSeeds, 6
	if n, err := strconv.Atoi(os.Getenv("FAILBACK_SEEDS")); err == nil {
		seeds = n
	}
	if n, err := strconv.Atoi(os.Getenv("FAILBACK_FLAPS")); err == nil {
		times = n
	}
	return seeds, times
}

// flapLevels are how content is compressed, by seed: as it comes, or pinned, each with and without what repeats.
var flapLevels = []string{"", "none", "lz4", "s2", "zstd", "zstd-better", "zstd-stream", "zstd-stream-best"}

// accidents are what a link does, as often as it does.
var accidents = []string{"stall", "half-open", "swallow", "break", "break", "break", "break", "break", "cut", "cut", "cut", "cut"}

// TestFlaps makes points over real gRPC and TLS, in one process and in virtual time, on a link that is cut, stalls, loses its tail, is open at one end only and swallows all, again and again; frames come twice, and late. Content is sent by
// every codec, in streams and by reference, over one lane or several; cycles are of changes, or compare. In the end all points are what the sources were; meanwhile nothing that was told to be durable was sent again.
// FAILBACK_SEEDS, FAILBACK_FLAPS: more of it; FAILBACK_SEED: from that one on.
func TestFlaps(t *testing.T) {
	warmCodecs(t)
	seeds, times := flaps()
	first, _ := strconv.Atoi(os.Getenv("FAILBACK_SEED"))
	seen := map[string]int{}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for what, n := range flap(t, uint64(seed), times) {
					seen[what] += n
				}
			})
		})
	}
	t.Log(seen)
	if seeds < len(flapLevels) || t.Failed() {
		return
	}
	for _, what := range []string{"none", "lz4", "s2", "zstd", "stream", "zero", "equal", "repeat", "again", "cut", "break", "stall", "half-open", "swallow", "compare", "lane broke", "by value"} {
		if seen[what] == 0 {
			t.Errorf("%q never was there: this tests less than it says", what)
		}
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
	b := block.Block{Kind: block.Data, Extents: []replication.Extent{{End: 5000}}, Codec: block.Stream, Raw: 5000, CRC: block.Checksum(text), Payload: block.NewStreamEncoder().Encode(nil, text)}
	if _, err := block.NewStreamDecoder().Decode(&b, make([]byte, block.MaxRaw)); err != nil {
		t.Fatal(err)
	}
}

// memory returns a directory in memory, where there is one: what is tested is the link, and durability costs time there that is not virtual.
func memory(t testing.TB) string {
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
	was := make([][]byte, len(w.live))
	for i, b := range w.live {
		was[i] = bytes.Clone(b)
	}
	for i, b := range w.live {
		for range 1 + w.r.IntN(4) {
			off := w.r.IntN(len(b))
			n := min(len(b)-off, 1+w.r.IntN(200<<10))
			switch w.r.IntN(5) {
			case 0: // zeros
				clear(b[off : off+n])
			case 1, 2: // what is there elsewhere, in whole pages
				from := was[w.r.IntN(len(was))]
				at := w.r.IntN(len(from)) &^ (replication.Page - 1)
				off &^= replication.Page - 1
				copy(b[off:min(off+n, len(b))], from[at:])
			case 3: // what compresses, more or less
				words := 1 + w.r.IntN(200)
				for k := range n {
					b[off+k] = byte(w.r.IntN(words)) * byte(k%3)
				}
			default: // what does not
				for k := range n {
					b[off+k] = byte(w.r.Uint32())
				}
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

// breaks counts the lanes that a process server says broke.
type breaks struct {
	slog.Handler
	w *watched
}

func (b breaks) Enabled(context.Context, slog.Level) bool { return true }
func (b breaks) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b breaks) WithGroup(string) slog.Handler            { return b }
func (b breaks) Handle(_ context.Context, r slog.Record) error {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	if strings.HasPrefix(r.Message, "lane broke") {
		b.w.seen["lane broke"]++
	}
	if strings.HasPrefix(r.Message, "repeats are sent by value") {
		b.w.seen["by value"]++
	}
	return nil
}

// flap runs one world, and tells what was in it.
func flap(t *testing.T, seed uint64, times int) map[string]int {
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
		b := make([]byte, n)
		for k := range b { // compresses by half, and better when it stands on what came before
			b[k] = "point"[k%5] ^ byte(w.r.IntN(2+k>>18))
		}
		copy(b[n/2:], b[n/4:n/2])
		if i > 0 {
			copy(b[n/8:n/4], w.live[0][1<<20:])
		}
		w.live = append(w.live, b)
		plan += fmt.Sprintf("      - {id: d%d, source: 'image:%s', target: %s/ds/%d.raw, snapshot: 'cp $FAILBACK_SOURCE %s/v$1.%d && echo %s/v$1.%d', release: 'rm -f $2'}\n",
			i, w.source(i), w.dir, i, w.dir, i, w.dir, i)
	}
	w.change()
	w.net = transporttest.New(seed, []float64{3e5, 1e6, 4e6}[seed%3], 20*time.Millisecond)
	engine, err := mastertarget.Open(mastertarget.Config{State: w.dir + "/mt", Retention: w.dir + "/ret", AllowSharedVolume: true, Log: log})
	w.must(err)
	w.master = &watched{Engine: engine, told: map[replication.Session]map[replication.DiskNo]*replication.Pages{}, sizes: sizes, r: rand.New(rand.NewPCG(seed, 7)), seen: map[string]int{}}
	masterID, err := pki.Open(w.dir+"/pki", pki.MasterTarget, log)
	w.must(err)
	w.master.breaks = w.net.Break
	server := NewReplicationServer(w.master, masterID, "test", log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(w.net) }()

	serverID, err := pki.Open(w.dir+"/pki", pki.ProcessServer, log)
	w.must(err)
	client, err := newReplicationClient("memory:1", serverID, true, w.net.Dial)
	w.must(err)
	config := processserver.Config{Dir: w.dir + "/ps", Lanes: 1 + int(seed%4), Workers: 2, Log: slog.New(breaks{w: w.master})}
	if name := flapLevels[seed%uint64(len(flapLevels))]; name != "" {
		level, err := block.ParseLevel(name)
		w.must(err)
		config.Level = &level
	}
	if seed/uint64(len(flapLevels))%4 == 3 {
		config.Repeats = -1
	}
	worker, err := processserver.New(config, client)
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
		order := rand.New(rand.NewPCG(seed/2, 11)).Perm(len(accidents)) // two seeds have all
		for i := range times {
			often := 6 * time.Second
			if i < times/2 { // while the first copy is under way
				often = time.Second
			}
			time.Sleep(time.Duration(r.Int64N(int64(often))))
			what := accidents[order[(int(seed%2)*times+i)%len(order)]]
			switch what {
			case "stall":
				w.net.Stall(time.Duration(r.Int64N(int64(25 * time.Second))))
			case "half-open":
				w.net.HalfOpen()
			case "swallow":
				w.net.Swallow()
			case "break":
				w.net.Break()
			default:
				w.net.Cut(time.Duration(r.Int64N(int64(2 * time.Second))))
			}
			w.master.mu.Lock()
			w.master.seen[what]++
			w.master.mu.Unlock()
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
		time.Sleep(time.Duration(w.r.Int64N(int64(3 * time.Second))))
		w.change()
		if first := len(w.kept) == 1; first && seed%2 == 0 || !first && w.r.IntN(4) == 0 {
			if _, err := engine.Resync(quietly, replication.ResyncRequest{Group: "g"}); err == nil {
				w.master.mu.Lock()
				w.master.seen["compare"]++
				w.master.mu.Unlock()
			}
		}
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
	for _, x := range w.master.wrong {
		t.Errorf("taken: %s", x)
	}
	seen := w.master.seen
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
	return seen
}
