package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/replication/processserver"
)

// flaky is a link that fails: calls are refused, lanes break after some frames, answers are lost after the deed was done.
type flaky struct {
	link.Authority
	mu   sync.Mutex
	r    *rand.Rand
	rate int // one call in so many fails; 0: none

	pacing sync.Mutex
	pace   float64 // bytes a second that pass, before compression; 0: as many as come

	astray   int // one reference in so many points at a wrong place; 0: none
	repeated int // bytes of references that passed
}

var errCut = &replication.Problem{Code: link.CodeUnreachable, Message: "the link was cut"}

func (f *flaky) set(rate int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate = rate
}

func (f *flaky) fails() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rate > 0 && f.r.IntN(f.rate) == 0
}

func (f *flaky) Coverage(ctx context.Context, x link.Fence, tell func(replication.DiskNo, []replication.Extent) error) error {
	if f.fails() {
		return errCut
	}
	return f.Authority.Coverage(ctx, x, tell)
}

func (f *flaky) Pages(ctx context.Context, x link.Fence, d replication.DiskNo, off int64) ([]replication.Hash, error) {
	if f.fails() {
		return nil, errCut
	}
	return f.Authority.Pages(ctx, x, d, off)
}

func (f *flaky) Finish(ctx context.Context, x link.Fence, t []replication.Total) (replication.PointID, error) {
	p, err := f.Authority.Finish(ctx, x, t)
	if err == nil && f.fails() { // the answer is lost
		return 0, errCut
	}
	return p, err
}

func (f *flaky) Lane(ctx context.Context, l replication.Lane) (link.Lane, error) {
	if f.fails() {
		return nil, errCut
	}
	lane, err := f.Authority.Lane(ctx, l)
	if err != nil {
		return nil, err
	}
	return &flakyLane{lane, f}, nil
}

type flakyLane struct {
	link.Lane
	f *flaky
}

func (l *flakyLane) Send(fr *block.Frame) error {
	if l.f.fails() {
		fr.Free()
		return errCut
	}
	if l.f.pace > 0 {
		l.f.pacing.Lock()
		time.Sleep(time.Duration(float64(fr.Raw()) / l.f.pace * float64(time.Second)))
		l.f.pacing.Unlock()
	}
	l.f.mu.Lock()
	for i := range fr.Blocks {
		if b := &fr.Blocks[i]; b.Kind == block.Repeat {
			l.f.repeated += b.Raw
			if l.f.astray > 0 && l.f.r.IntN(l.f.astray) == 0 {
				b.Origin.Off, b.Origin.Disk = b.Origin.Off/2&^(replication.Page-1), 0
			}
		}
	}
	l.f.mu.Unlock()
	return l.Lane.Send(fr)
}

func (l *flakyLane) Flush() (int64, error) {
	byValue, err := l.Lane.Flush()
	if err == nil && l.f.fails() {
		err = errCut
	}
	return byValue, err
}

// pair is both ends in one process, and a history of the sources to judge them by.
type pair struct {
	places []int // by disk: which of the files are its; nil: those of its number
	t      *testing.T
	dir    string
	r      *rand.Rand
	plan   []byte
	sizes  []int64
	live   [][]byte
	kept   map[replication.PointID][][]byte
	master *Engine
	level  *block.Level // compression, where it is pinned
	disks  int          // copied or compared whole at a time; 0: the default
	worker *processserver.Engine
	link   *flaky
	bye    func()
	config Config   // what is set beside the directories
	drops  bool     // points may be dropped by policy at any time
	names  []string // of the disks, by number
}

func newPair(t *testing.T, seed uint64) *pair { return newPairWith(t, seed, Config{}) }

func newPairWith(t *testing.T, seed uint64, c Config) *pair {
	p := &pair{t: t, config: c, dir: t.TempDir(), r: rand.New(rand.NewPCG(seed, 77)), kept: map[replication.PointID][][]byte{}}
	p.sizes, p.names = []int64{3<<20 + 512*7, 2 << 20, 1<<20 + 4096}, []string{"a/one", "two", "b/one"}
	for _, d := range []string{"ds", "src", "ret", "mt", "ps", "views"} {
		if err := os.Mkdir(filepath.Join(p.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range p.sizes {
		b := make([]byte, n)
		for range 6 { // islands of data in zeros
			off := p.r.Int64N(n)
			fill(p.r, b[off:min(n, off+p.r.Int64N(300<<10))])
		}
		p.live = append(p.live, b)
		p.write(i)
	}
	var y strings.Builder
	fmt.Fprintf(&y, "group: g\nos: linux\nprocess_server: ps\npolicy: {crash_interval: 1h, app_interval: 1h, rpo_alert: 2h}\nmachines:\n  - name: a\n    disks:\n")
	fmt.Fprintf(&y, "      - {id: one, source: 'image:%s', target: %s}\n", p.src(0), p.dst(0))
	fmt.Fprintf(&y, "      - {id: two, source: 'image:%s', target: %s, snapshot: 'cp $FAILBACK_SOURCE %s/views/$1 && echo %s/views/$1', release: 'rm -f $2', changes: 'cat %s/changes.$1.$2 2>/dev/null || echo 0 %d'}\n",
		p.src(1), p.dst(1), p.dir, p.dir, p.dir, p.sizes[1])
	fmt.Fprintf(&y, "  - name: b\n    disks:\n      - {id: one, source: 'image:%s', target: %s, format: monolithicSparse}\n", p.src(2), p.dst(2))
	p.plan = []byte(y.String())
	p.open()
	return p
}

func (p *pair) src(i int) string { return filepath.Join(p.dir, "src", fmt.Sprint(p.place(i))) }
func (p *pair) dst(i int) string {
	return filepath.Join(p.dir, "ds", []string{"a1.vmdk", "a2.raw", "b1.vmdk", "new.vmdk"}[p.place(i)])
}

// place says which of the files are a disk's, where others have left.
func (p *pair) place(i int) int {
	if p.places == nil {
		return i
	}
	return p.places[i]
}

func fill(r *rand.Rand, b []byte) {
	if r.IntN(3) == 0 {
		clear(b)
		return
	}
	v := byte(1 + r.IntN(255))
	for i := range b {
		b[i] = v + byte(i*i>>7)
	}
}

func (p *pair) write(i int) {
	if err := os.WriteFile(p.src(i), p.live[i], 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// change writes to the sources.
func (p *pair) change() {
	for i, b := range p.live {
		for range p.r.IntN(6) {
			off := p.r.Int64N(int64(len(b)))
			fill(p.r, b[off:min(int64(len(b)), off+p.r.Int64N(100<<10))])
		}
		p.write(i)
	}
}

func (p *pair) keep(id replication.PointID) {
	var copies [][]byte
	for _, b := range p.live {
		copies = append(copies, bytes.Clone(b))
	}
	p.kept[id] = copies
}

func (p *pair) open() {
	p.t.Helper()
	var err error
	cfg := p.config
	cfg.State, cfg.Retention, cfg.AllowSharedVolume = filepath.Join(p.dir, "mt"), filepath.Join(p.dir, "ret"), true
	if p.master, err = Open(cfg); err != nil {
		p.t.Fatal(err)
	}
	rate, astray := 0, 0
	if p.link != nil {
		rate, astray = p.link.rate, p.link.astray
	}
	p.link = &flaky{Authority: p.master, r: rand.New(rand.NewPCG(p.r.Uint64(), 3)), rate: rate, astray: astray}
	p.connect()
}

// connect starts the process server anew.
func (p *pair) connect() {
	p.t.Helper()
	if p.worker != nil {
		p.bye()
		p.worker.Close()
	}
	var err error
	if p.worker, err = processserver.New(processserver.Config{Dir: filepath.Join(p.dir, "ps"), Lanes: 3, Workers: 3, Level: p.level, Disks: p.disks}, p.link); err != nil {
		p.t.Fatal(err)
	}
	if p.bye, err = p.master.Connected(link.Peer{Name: "ps", Minor: link.ProtocolMinor}, p.worker); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) close() {
	if err := p.master.Close(); err != nil {
		p.t.Error(err)
	}
	p.worker.Close()
	p.worker = nil
}

// listed waits for a point.
func (p *pair) listed(id replication.PointID) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	err := p.master.wait(ctx, func() bool {
		_, points, err := p.master.Points(ctx, "g")
		return err == nil && len(points) > 0 && points[len(points)-1].ID >= id
	})
	if err != nil {
		s, _ := p.master.Status(context.Background(), "g")
		p.t.Fatalf("point %d is not listed: %+v", id, s.Groups)
	}
}

// contents compares every disk at every point with what was kept.
func (p *pair) contents(where string) {
	p.t.Helper()
	for id, disks := range p.kept {
		for i, name := range p.names {
			c, err := p.master.Export(context.Background(), "g", id, name)
			if i >= len(disks) { // it joined later
				if problem := replication.AsProblem(err); err == nil || problem.Code != "disk-unborn" && problem.Code != codeLeft { // or left before, by the same name
					p.t.Fatalf("%s: point %d shows %s, which joined later: %v", where, id, name, err)
				}
				continue
			}
			if err != nil && p.dropped(id) {
				break
			}
			if err != nil {
				p.t.Fatalf("%s: export point %d of %s: %v", where, id, name, err)
			}
			got := make([]byte, c.Size())
			if _, err := c.ReadAt(got, 0); err != nil && err != io.EOF {
				p.t.Fatalf("%s: read point %d of %s: %v", where, id, name, err)
			}
			if at := differs(got, disks[i]); at >= 0 {
				p.t.Fatalf("%s: point %d of %s differs at %d", where, id, name, at)
			}
			c.Close()
		}
	}
}

// dropped says whether a point is not listed any more, where the test lets points go.
func (p *pair) dropped(id replication.PointID) bool {
	if !p.drops {
		return false
	}
	_, points, err := p.master.Points(context.Background(), "g")
	return err == nil && !slices.ContainsFunc(points, func(x replication.Point) bool { return x.ID == id })
}

func differs(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// TestTogether makes points over a link that fails, moves the disks about meanwhile, starts either end anew, and looks at all points after each step.
func TestTogether(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, seed)
			ctx := context.Background()
			p.link.set([]int{0, 40, 15}[seed%3])
			if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
				t.Fatal(err)
			}
			p.listed(1)
			p.keep(1)
			p.contents("baseline")
			for step := range 10 {
				switch p.r.IntN(6) {
				case 0:
					p.close()
					p.open()
					p.listed(1)
				case 1:
					p.connect()
				case 2, 3:
					p.move()
				default:
					p.change()
					id, err := p.master.Cut(ctx, "g", false)
					for tries := 0; err != nil; tries++ { // the link failed in the middle of it
						if tries == 20 {
							t.Fatal(err)
						}
						id, err = p.master.Cut(ctx, "g", false)
					}
					p.keep(id)
					p.listed(id)
				}
				p.contents(fmt.Sprintf("step %d", step))
			}
			p.link.set(0)
			if _, v, differing, err := p.master.Verify(ctx, "g", 0, func([]replication.Ledger) {}); err != nil || !v.Equal {
				t.Errorf("verify: %v %v, %d bytes, error %v", v.Equal, differing, v.Differs, err)
			}
			if _, _, err := p.master.Unprotect(ctx, "g", false, false); err != nil {
				t.Error(err)
			}
			p.close()
		})
	}
}

// move rewinds or advances to a random point and looks at the disks themselves.
func (p *pair) move() {
	p.t.Helper()
	ctx := context.Background()
	head, points, err := p.master.Points(ctx, "g")
	if err != nil {
		p.t.Fatal(err)
	}
	to := points[p.r.IntN(len(points))].ID
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: to, Advance: to > head}, func(replication.MoveStatus) {}); err != nil {
		var problem *replication.Problem
		if errors.As(err, &problem) && problem.Code == "wrong-direction" { // the head moved on by itself meanwhile
			return
		}
		p.t.Fatalf("move to %d: %v", to, err)
	}
	g, _ := p.master.group("g")
	for i, want := range p.kept[to] {
		got := make([]byte, len(want))
		if _, err := g.targets[i].ReadAt(got, 0); err != nil && err != io.EOF {
			p.t.Fatal(err)
		}
		if at := differs(got, want); at >= 0 && to != points[len(points)-1].ID {
			p.t.Fatalf("disk %d at head %d differs at %d", i, to, at)
		}
	}
}

func (p *pair) run(name string, args ...string) {
	p.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}
