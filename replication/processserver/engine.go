package processserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/replication/throttle"
	"failback/source"
)

// Config sets an Engine up. Zero values mean the defaults.
type Config struct {
	Dir     string       // state directory; each group gets a directory of its own below it
	Lanes   int          // connections that one cycle uses at most; default 8, 1 to MaxLanes. How many it uses follows what helps
	Workers int          // goroutines that read, hash and compress; default twice the cores, 1 to MaxWorkers
	Disks   int          // disks of all groups that are copied or compared whole at a time; 0: DefaultDisks, below 0: as many as there are
	Level   *block.Level // compression, where it is pinned; nil: adaptive
	Repeats int64        // bytes of memory for finding what a master target holds elsewhere, for all groups; default DefaultRepeats, below 0: nothing is sent by reference
	Log     *slog.Logger
}

// Bounds of a Config. A worker holds 2 MiB and the frames of a job, a MiB; a lane one frame and its send buffers, and up to maxStreams of them a stream.
const (
	MaxLanes   = 32
	MaxWorkers = 64
)

// DefaultDisks is how many disks are copied or compared whole at a time, as in the product that this one replaces.
const DefaultDisks = 3

// maxStreams is how many lanes of all shipments have streams at a time: each takes three times block.StreamWindow. What other lanes have to send in streams, they compress block by block.
const maxStreams = 4

// maxBest is how many of them are at block.LevelStreamBest.
const maxBest = 2

// DefaultRepeats is the memory for finding repeats: pages of 16 GiB, or every 64th page of a TiB.
const DefaultRepeats = 64 << 20

func (c *Config) validate() error {
	if c.Repeats == 0 {
		c.Repeats = DefaultRepeats
	}
	if c.Lanes == 0 {
		c.Lanes = 8
	}
	if c.Workers == 0 {
		c.Workers = min(2*runtime.NumCPU(), MaxWorkers)
	}
	if c.Disks == 0 {
		c.Disks = DefaultDisks
	}
	c.Disks = max(c.Disks, 0)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Lanes < 1 || c.Lanes > MaxLanes {
		return fmt.Errorf("%d lanes, want 1 to %d", c.Lanes, MaxLanes)
	}
	if c.Workers < 1 || c.Workers > MaxWorkers {
		return fmt.Errorf("%d workers, want 1 to %d", c.Workers, MaxWorkers)
	}
	return nil
}

// Engine works on orders. It implements link.Worker. Orders of one group run one after another.
type Engine struct {
	cfg       Config
	authority link.Authority
	shipping  atomic.Int32 // shipments under way, but for those all of whose disks wait for their turn
	queue     queue
	contents  *contents // nil: nothing is sent by reference
	valve     *throttle.Valve
	gauges    gauges
	streams   chan struct{} // holds one for each stream that a lane has
	best      chan struct{} // the same of those at block.LevelStreamBest
	level     *ladder

	mu     sync.Mutex
	groups map[replication.GroupID]*group
	ships  map[replication.GroupID]*shipment // under way
	frozen map[replication.GroupID][]string  // machines that could not be thawed: that is tried again
	closed bool

	closing chan struct{}  // closed with closed
	thawing sync.WaitGroup // of what thaws beside orders
}

// group is what is open of a group.
type group struct {
	mu     sync.Mutex // held while an order runs
	still  sync.Mutex // held while machines are frozen, cut and thawed
	images *source.Images
	specs  []source.Spec

	indexed map[replication.DiskNo]bool // disks whose last point is in the engine's contents, as far as it remembers
}

// New returns an engine that ships to the given master target. Machines that an earlier one may have left frozen are thawed.
func New(cfg Config, authority link.Authority) (*Engine, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, authority: authority, queue: queue{most: cfg.Disks}, contents: newContents(cfg.Repeats), groups: map[replication.GroupID]*group{}, frozen: map[replication.GroupID][]string{},
		valve: throttle.NewValve(), streams: make(chan struct{}, maxStreams), best: make(chan struct{}, maxBest), level: newLadder(cfg.Level), closing: make(chan struct{}),
	}
	e.thawFirst()
	return e, nil
}

// Limit implements link.Limited.
func (e *Engine) Limit(l throttle.Limits) { e.valve.Set(l) }

// Close waits for orders under way, whose contexts the caller has ended, and closes what is open. Later orders are refused.
func (e *Engine) Close() error {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.closing)
	}
	groups := maps.Clone(e.groups)
	e.mu.Unlock()
	var errs []error
	for id, g := range groups {
		g.mu.Lock()
		if g.images != nil {
			if err := g.images.Close(); err != nil {
				errs = append(errs, fmt.Errorf("close group %s: %w", id, err))
			}
			g.images = nil
		}
		g.mu.Unlock()
	}
	e.thawing.Wait()
	for id, g := range groups {
		errs = append(errs, e.thawLast(g, id))
	}
	return errors.Join(errs...)
}

var errClosing = &replication.Problem{Code: link.CodeUnreachable, Message: "the process server is shutting down"}

// group returns what there is of a group.
func (e *Engine) group(id replication.GroupID) *group {
	e.mu.Lock()
	defer e.mu.Unlock()
	g := e.groups[id]
	if g == nil {
		g = &group{}
		e.groups[id] = g
	}
	return g
}

// open returns the group of an order with its images open, and locked: the caller unlocks it.
func (e *Engine) open(s link.Spec) (*group, error) {
	g := e.group(s.Session.Group)
	specs := make([]source.Spec, len(s.Disks))
	for i, d := range s.Disks {
		specs[i] = source.Spec{Disk: d.Disk, Path: d.Path, Snapshot: d.Snapshot, Release: d.Release, Changes: d.Changes}
	}
	g.mu.Lock()
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if closed {
		g.mu.Unlock()
		return nil, errClosing
	}
	broken := error(nil)
	if g.images != nil {
		broken = g.images.Err()
	}
	if g.images != nil && broken == nil && reflect.DeepEqual(g.specs, specs) {
		return g, nil
	}
	if g.images != nil {
		if broken != nil {
			e.cfg.Log.Warn("sources are opened anew", "group", s.Session.Group, "err", broken)
		}
		g.images.Close()
		g.images = nil
	}
	if err := e.renew(s, specs); err != nil {
		g.mu.Unlock()
		return nil, err
	}
	images, err := source.Open(e.dir(s.Session.Group), s.Session.Group, specs, e.cfg.Log)
	if err != nil {
		g.mu.Unlock()
		return nil, fmt.Errorf("open sources of group %s: %w", s.Session.Group, err)
	}
	g.images, g.specs, g.indexed = images, specs, map[replication.DiskNo]bool{}
	return g, nil
}

// warm has lanes connected that will be wanted soon: shaking hands takes round trips, which orders take too.
func (e *Engine) warm() {
	if w, ok := e.authority.(link.Warmer); ok {
		w.Warm(min(lanesFirst, e.cfg.Lanes))
	}
}

// Probe implements link.Worker.
func (e *Engine) Probe(_ context.Context, s link.Spec) (link.Survey, error) {
	if s.Session.Generation > 0 { // of a group, not of a plan that is checked: a cut mostly follows
		e.warm()
	}
	found := link.Survey{Dir: e.cfg.Dir}
	for _, d := range s.Disks {
		p := link.Probed{Disk: d.Disk.No}
		size, err := source.Probe(d.Path)
		if err != nil {
			p.Problem = &replication.Problem{
				Code: "source", Message: fmt.Sprintf("disk %s: source %s: %v", d.Disk.ID, d.Path, err),
				Remedy: "give a regular file or block device that the process server can read",
			}
		} else {
			p.View = source.ProbeKind(e.cfg.Dir, source.Spec{Disk: d.Disk, Path: d.Path, Snapshot: d.Snapshot})
			p.Data = source.Allocated(d.Path, size)
			p.OS, p.Mark = source.Looks(d.Path)
		}
		p.Size = size
		p.Place = link.Place(source.Place(d.Path))
		found.Disks = append(found.Disks, p)
	}
	for _, q := range s.Quiesce {
		for _, x := range []struct{ verb, line string }{{"freeze", q.Freeze}, {"thaw", q.Thaw}} {
			if err := source.Runnable(x.line); err != nil {
				found.Quiesce = append(found.Quiesce, link.Unrunnable{Machine: q.Machine, Command: x.verb, Why: err.Error()})
			}
		}
	}
	return found, nil
}

// Cut implements link.Worker.
func (e *Engine) Cut(ctx context.Context, s link.Spec, point replication.PointID, base link.Base) (link.Cut, error) {
	g, err := e.open(s)
	if err != nil {
		return link.Cut{}, err
	}
	defer g.mu.Unlock()
	e.warm()
	g.still.Lock()
	c, err := g.images.Cut(ctx, point, base.Point, s.Quiesce...)
	e.thawLater(s.Session.Group) // what could not be thawed
	g.still.Unlock()
	if err != nil {
		return link.Cut{}, sourceProblem(fmt.Sprintf("cut point %d of group %s", point, s.Session.Group), err)
	}
	why := g.images.Untracked(point)
	if held, ok := g.images.Held(base.Point); c.Tracked && (!ok || held.Snapshot != base.Snapshot) {
		c.Tracked, why = false, fmt.Sprintf("the cut of point %d that is held here is not the one that was listed", base.Point)
	}
	e.cfg.Log.Info("cut", "group", s.Session.Group, "point", point, "base", base.Point, "stable", c.Stable, "tracked", c.Tracked, "app", c.App, "skew", c.Skew)
	return link.Cut{Cut: c, UntrackedWhy: why}, nil
}

// Release implements link.Worker.
func (e *Engine) Release(ctx context.Context, s link.Spec, keep replication.PointID) error {
	g, err := e.open(s)
	if err != nil {
		return err
	}
	defer g.mu.Unlock()
	if err := g.images.Release(ctx, keep); err != nil {
		return sourceProblem(fmt.Sprintf("release points of group %s but %d", s.Session.Group, keep), err)
	}
	return nil
}

// Forget implements link.Worker. A protection that another has taken the place of is forgotten already.
func (e *Engine) Forget(ctx context.Context, s link.Spec) error {
	was, err := e.instance(s.Session.Group)
	if err != nil || s.Instance != "" && was != s.Instance {
		return err
	}
	g, err := e.open(s)
	if err != nil {
		return err
	}
	defer g.mu.Unlock()
	if err := g.images.Forget(ctx); err != nil {
		return sourceProblem(fmt.Sprintf("forget group %s", s.Session.Group), err)
	}
	g.images, g.specs = nil, nil
	leaveAll(e.queue.back(s.Session.Group, ""))
	if e.contents != nil {
		e.contents.hold(s.Session.Group, 0)
	}
	e.cfg.Log.Info("forgot", "group", s.Session.Group)
	return e.setInstance(s.Session.Group, "")
}

// sourceProblem tells an error of the sources in the operator's words.
func sourceProblem(doing string, err error) error {
	return &replication.Problem{
		Code: "source", Message: doing, Err: err,
		Remedy: "see that the source exists, has its size and can be read on the process server; replication goes on by itself when it can",
	}
}
