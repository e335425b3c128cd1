package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"failback/bench/stand"
	"failback/bench/workload"
	"failback/replication"
	"failback/transport"
)

type config struct {
	dir, fs, binaries string
	most, look        int
	limit             time.Duration
	seed              uint64
	fill              bool
	power             int
}

const (
	group      = "torture"
	volumeSize = 400 << 20 // xfs takes 300 MiB at least
	diskSize   = 12 << 20
	disks      = 2
	patience   = time.Minute // for what takes seconds
)

// tally is what was done.
type tally struct {
	on                 string
	kills, powers      int
	listed, looked     int
	full, moves, reads atomic.Int64
	sectors, wrong     atomic.Int64
	took               time.Duration
}

func (t *tally) String() string {
	return fmt.Sprintf("%s: %d kills, %d of them with the power of both volumes, %d points listed, %d moves asked for, %d disks of points read under way, %d times a volume was filled; %d looks at every listed point; %d sectors judged, %d WRONG; %s",
		t.on, t.kills, t.powers, t.listed, t.moves.Load(), t.reads.Load(), t.full.Load(), t.looked, t.sectors.Load(), t.wrong.Load(), t.took.Round(time.Second))
}

// torture is one run.
type torture struct {
	config
	*stand.Stand
	*tally
	r       *rand.Rand
	sources []*workload.Stamped
	volumes []*volume
	fillers []*filler

	still sync.RWMutex // held for reading by what goes on, and for writing while all stands still

	mu   sync.Mutex
	cuts map[replication.PointID][]workload.Cut // by point: what the sources held
	last replication.PointID                    // the highest that is in cuts
	bad  error
}

func run(ctx context.Context, c config) (_ *tally, err error) {
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "failback-torture-"); err != nil {
			return nil, err
		}
	} else if err := os.Mkdir(c.dir, 0o700); err != nil {
		return nil, err
	}
	bin := stand.Binaries{Dir: c.binaries}
	if c.binaries == "" {
		if bin, err = stand.Build(filepath.Join(c.dir, "bin")); err != nil {
			return nil, err
		}
	}
	ret, err := makeVolume(c.dir, "retention", c.fs, volumeSize)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ret.Close()) }()
	store, err := makeVolume(c.dir, "datastore", c.fs, volumeSize)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	s, err := stand.New(filepath.Join(c.dir, "s"), stand.Options{Binaries: bin, Retention: ret.Dir, Targets: store.Dir, StartWithin: time.Minute})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	t := &torture{config: c, Stand: s, tally: &tally{on: c.fs}, r: rand.New(rand.NewPCG(c.seed, 1)), cuts: map[replication.PointID][]workload.Cut{}}
	t.volumes = []*volume{ret, store}
	for _, v := range t.volumes {
		t.fillers = append(t.fillers, &filler{v, rand.New(rand.NewPCG(c.seed, 2))})
	}
	start := time.Now()
	err = t.live(ctx)
	t.took = time.Since(start)
	return t.tally, err
}

// live protects the group, and kills until it is enough.
func (t *torture) live(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := t.protect(ctx); err != nil {
		return err
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	work := []func(context.Context, *rand.Rand) error{t.cut, t.move, t.read, t.read}
	if t.fill {
		work = append(work, t.crowd)
	}
	for _, work := range work {
		r := rand.New(rand.NewPCG(t.seed, t.r.Uint64()))
		workers.Go(func() {
			for ctx.Err() == nil {
				t.still.RLock()
				err := work(ctx, r)
				t.still.RUnlock()
				if err != nil && ctx.Err() == nil {
					t.fail(err)
					return
				}
				between(r, time.Millisecond, 60*time.Millisecond)
			}
		})
	}
	for end := time.Now().Add(t.limit); t.kills < t.most && time.Now().Before(end) && ctx.Err() == nil; {
		if t.r.IntN(10) < 7 { // while it opens its groups, and little after
			between(t.r, 10*time.Millisecond, 600*time.Millisecond)
		} else { // while all goes on
			between(t.r, 600*time.Millisecond, 2500*time.Millisecond)
		}
		if err := t.failed(); err != nil {
			return err
		}
		if err := t.strike(); err != nil {
			return err
		}
		if t.kills++; t.kills%t.look == 0 {
			if err := t.lookAtAll(ctx); err != nil {
				return err
			}
		}
	}
	return errors.Join(t.failed(), t.lookAtAll(ctx))
}

// strike kills the master target, or fails the power of its volumes, and starts it again.
func (t *torture) strike() error {
	fails := t.power > 0 && t.kills%t.power == 0
	if fails {
		t.powers++
		for _, k := range t.r.Perm(len(t.volumes)) {
			if err := t.volumes[k].powerFails(); err != nil {
				return err
			}
		}
	}
	if err := t.KillMasterTarget(); err != nil {
		return err
	}
	if fails {
		for _, v := range t.volumes {
			if err := v.again(); err != nil {
				return err
			}
		}
		for _, f := range t.fillers { // its removal may have been undone
			if err := f.empty(); err != nil {
				return err
			}
		}
	}
	return t.StartMasterTarget()
}

// protect makes the sources, starts the daemons, and asks for the first point.
func (t *torture) protect(ctx context.Context) error {
	p := stand.Plan{Group: group, Machines: []stand.Machine{{Name: "m"}},
		Policy: "{crash_interval: 24h, app_interval: 24h, retention: 48h, rpo_alert: 48h}\nretention: {soft: 24MiB, hard: 48MiB, reserve: 4MiB}"}
	for d := range disks {
		s, err := workload.NewStamped(filepath.Join(t.Sources, fmt.Sprintf("%d.raw", d)), uint32(d), diskSize, t.seed)
		if err != nil {
			return err
		}
		if err := s.Change(40, 400); err != nil {
			return err
		}
		t.sources = append(t.sources, s)
		p.Machines[0].Disks = append(p.Machines[0].Disks, stand.Disk{
			ID: fmt.Sprint("d", d), Source: s.Path, Target: filepath.Join(t.Targets, fmt.Sprintf("%d.vmdk", d)), Format: []string{"vmfs", "monolithicSparse"}[d%2],
			Snapshot: `v="$FAILBACK_SOURCE.$FAILBACK_POINT" && cp --sparse=always "$FAILBACK_SOURCE" "$v" && echo "$v"`, Release: `rm -f "$FAILBACK_VIEW"`,
		})
	}
	t.record(1)
	path, err := t.WritePlan(p)
	if err != nil {
		return err
	}
	if err := t.Start(ctx); err != nil {
		return err
	}
	if err := t.Do(ctx, nil, "reprotect", path); err != nil {
		return err
	}
	for range 5 { // the baseline
		between(t.r, 10*time.Millisecond, 300*time.Millisecond)
		if err := errors.Join(t.KillMasterTarget(), t.StartMasterTarget()); err != nil {
			return err
		}
		t.kills++
	}
	return t.WaitListed(ctx, group, 1, patience)
}

// record notes that the sources were what they are now at every point that was cut since the last call, up to p.
func (t *torture) record(p replication.PointID) {
	var all []workload.Cut
	for _, s := range t.sources {
		all = append(all, s.Cut())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for ; t.last < p; t.last++ {
		t.cuts[t.last+1] = all
	}
}

func (t *torture) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bad = errors.Join(t.bad, err)
}

func (t *torture) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bad
}

// ask calls do with a connection of its own. What it returns is not an error of the run: the master target may be away, or without room.
func (t *torture) ask(ctx context.Context, do func(context.Context, *transport.OperatorClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	c, err := transport.DialOperator(t.Operator, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(ctx, c)
}

// cut changes the sources and cuts them. They stay as they are until the number is known: whatever was cut meanwhile, by an order whose answer was lost, holds the same.
func (t *torture) cut(ctx context.Context, r *rand.Rand) error {
	for _, s := range t.sources {
		if err := s.Change(1+r.IntN(60), 1+r.IntN(120)); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		err := t.ask(ctx, func(ctx context.Context, c *transport.OperatorClient) error {
			p, err := c.Cut(ctx, group, false)
			if err == nil {
				t.record(p)
			}
			return err
		})
		if err == nil {
			return nil
		}
		between(r, time.Millisecond, 100*time.Millisecond)
	}
	return nil
}

// move moves the disks somewhere, or to the latest point.
func (t *torture) move(ctx context.Context, r *rand.Rand) error {
	t.moves.Add(1)
	_ = t.ask(ctx, func(ctx context.Context, c *transport.OperatorClient) error {
		head, points, err := c.Points(ctx, group)
		if err != nil || len(points) == 0 {
			return err
		}
		to := points[r.IntN(len(points))].ID
		if r.IntN(2) == 0 {
			to = points[len(points)-1].ID
		}
		_, err = c.Move(ctx, group, replication.MoveRequest{To: to, Advance: to >= head, GiveUpAny: r.IntN(2) == 0}, nil)
		return err
	})
	return nil
}

// read reads a disk of a point, while all else goes on.
func (t *torture) read(ctx context.Context, r *rand.Rand) error {
	var wrong error
	_ = t.ask(ctx, func(ctx context.Context, c *transport.OperatorClient) error {
		_, points, err := c.Points(ctx, group)
		if err != nil || len(points) == 0 {
			return err
		}
		var whole bool
		if whole, wrong = t.judge(ctx, c, points[r.IntN(len(points))].ID, r.IntN(disks)); whole {
			t.reads.Add(1)
		}
		return nil
	})
	return wrong
}

// judge reads a disk at a point and holds it against what its source was. whole: it could be read to its end. An error says that it was read, and is wrong.
func (t *torture) judge(ctx context.Context, c *transport.OperatorClient, p replication.PointID, disk int) (whole bool, wrong error) {
	t.mu.Lock()
	want := t.cuts[p]
	t.mu.Unlock()
	if want == nil { // listed before its number was told
		return false, nil
	}
	x, err := c.Export(ctx, group, p, fmt.Sprint("m/d", disk))
	if err != nil {
		return false, nil
	}
	defer x.Close()
	b := make([]byte, diskSize)
	for {
		off, data, err := x.Next()
		if errors.Is(err, io.EOF) {
			return true, t.wrongIn(b, disk, want, fmt.Sprintf("point %d", p))
		}
		if err != nil {
			return false, nil
		}
		copy(b[off:], data)
	}
}

func (t *torture) wrongIn(b []byte, disk int, want []workload.Cut, what string) error {
	n, err := t.sources[disk].Judge(b, 0, want[disk])
	t.sectors.Add(int64(len(b) / workload.StampSector))
	t.wrong.Add(int64(n))
	if err != nil {
		return fmt.Errorf("%s: %d sectors are wrong: %w", what, n, err)
	}
	return nil
}

// crowd fills a volume for a moment.
func (t *torture) crowd(ctx context.Context, r *rand.Rand) error {
	f := t.fillers[r.IntN(len(t.fillers))]
	n, err := f.fill()
	if err != nil && t.power == 0 { // else the volume may just have gone
		return fmt.Errorf("fill: %w", err)
	}
	if n > 0 {
		t.full.Add(1)
	}
	between(r, 50*time.Millisecond, 3*time.Second)
	for err := f.empty(); err != nil; err = f.empty() {
		if t.power == 0 || ctx.Err() != nil {
			return err
		}
		between(r, 10*time.Millisecond, 50*time.Millisecond)
	}
	between(r, 50*time.Millisecond, 2*time.Second)
	return nil
}

// lookAtAll waits until nothing is under way, and looks at every listed point and at the disks.
func (t *torture) lookAtAll(ctx context.Context) error {
	t.still.Lock()
	defer t.still.Unlock()
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	g, err := t.Wait(wait, group, "nothing is under way", func(g replication.GroupStatus) bool {
		return g.Generation > 0 && g.Move == nil && g.Open == 0 && g.Head != 0 && (g.Held || g.Head == g.Last) && g.Last == t.last
	})
	if err != nil {
		return err
	}
	all, err := t.Points(ctx, group)
	if err != nil {
		return err
	}
	for _, p := range all.Points {
		for d := range disks {
			whole := false
			err := t.ask(ctx, func(ctx context.Context, c *transport.OperatorClient) (err error) {
				whole, err = t.judge(ctx, c, p.Point, d)
				return err
			})
			if err == nil && !whole { // unless it was given up for space since it was told
				if now, nerr := t.Points(ctx, group); nerr != nil || now.Has(p.Point) {
					err = errors.Join(fmt.Errorf("point %d is listed and can't be read", p.Point), nerr)
				}
			}
			if err != nil {
				return err
			}
		}
	}
	for d := range disks {
		b, err := t.target(ctx, d)
		if err == nil {
			err = t.wrongIn(b, d, t.cuts[g.Head], fmt.Sprintf("the disks at point %d", g.Head))
		}
		if err != nil {
			return err
		}
	}
	t.looked++
	t.listed = int(g.Last)
	return nil
}

// target reads a target with qemu-img.
func (t *torture) target(ctx context.Context, disk int) ([]byte, error) {
	raw := filepath.Join(t.Dir, "target.raw")
	defer os.Remove(raw)
	vmdk := filepath.Join(t.Targets, fmt.Sprintf("%d.vmdk", disk))
	if out, err := exec.CommandContext(ctx, "qemu-img", "convert", "-U", "-f", "vmdk", "-O", "raw", vmdk, raw).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("qemu-img convert %s: %w: %s", vmdk, err, out)
	}
	return os.ReadFile(raw)
}
