package processserver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"failback/replication"
	"failback/replication/link"
	"failback/source"
)

// progressEvery is how often a running order tells its ledgers.
const progressEvery = time.Second

// shipment is one ship order under way.
type shipment struct {
	engine *Engine
	order  link.Shipment
	fence  link.Fence
	images *source.Images
	stable bool // the views do not change while they are read; where they may, nothing that was read earlier is believed
	disks  []*diskShip

	// A shipment that begins while others are under way has fewer of both, so that memory does not grow with the groups (I12).
	workers, lanes int

	line []*turn // of the disks that line up

	reading atomic.Int32 // reads of sources under way

	repeats *repeats     // nil: nothing is sent by reference
	byValue atomic.Int64 // bytes of references that the master target could not resolve

	jobs   chan job
	given  atomic.Uint64 // jobs so far
	made   chan queued   // frames, as workers make them, and
	frames chan queued   // as lanes take them
	level  *ladder
	used   *laneUse
	passed passed
	rate   wireRate
}

// diskShip is one disk of a shipment.
type diskShip struct {
	link.Source
	view    *source.View
	table   *source.Table      // of this point; nil where none is kept
	base    *source.Table      // of the base; changes mode with a table only
	known   *replication.Set   // changes mode: what the source says changed; nil: found by table
	durable *replication.Pages // what the master target had when this order began, or when lanes broke
	told    *replication.Pages // the same, believed or not
	ledger  ledger

	mu    sync.Mutex
	total *replication.Pages // what the cycle covers, as found; changes mode by table only

	data replication.Extent // where there may be data, as its scan asked last

	compares bool                 // the disk is compared: the cycle does, or the disk joins with it
	turn     atomic.Pointer[turn] // then, its place in the queue; nil: it needs none
	came     int64                // what watch saw last of its ledger, and
	since    time.Time            // when that changed last

	firm *replication.Pages // repeats may refer to it; comparing only; guarded by repeats.mu
}

// Ship implements link.Worker.
func (e *Engine) Ship(ctx context.Context, s link.Spec, sh link.Shipment, progress func(replication.Progress)) (err error) {
	g, err := e.open(s)
	if err != nil {
		return err
	}
	defer g.mu.Unlock()
	c, held := g.images.Held(sh.Point)
	if !held || c.Snapshot != sh.Snapshot {
		return &replication.Problem{Code: "snapshot-gone", Message: fmt.Sprintf("group %s: the snapshot of point %d is another one now", s.Session.Group, sh.Point),
			Remedy: "none needed: it is cut again"}
	}
	ship := &shipment{
		engine: e, order: sh, fence: link.Fence{Session: s.Session, Point: sh.Point}, images: g.images, stable: c.Stable,
	}
	defer ship.close()
	if err := ship.open(ctx, s.Disks); err != nil {
		return err
	}
	defer e.under(s.Session.Group, ship)()
	ship.lineUp()
	defer func() { ship.end(ctx, err) }()
	if err := ship.await(ctx, progress); err != nil {
		return err
	}
	n := int(e.shipping.Add(1)) // with this one
	defer e.shipping.Add(-1)
	ship.workers, ship.lanes = max(1, e.cfg.Workers/n), max(1, e.cfg.Lanes/n)
	ship.used = newLaneUse(ship.lanes)
	ship.level = e.level
	defer e.level.join(ship.used, len(sh.Streams) > 0)()
	ship.repeats = ship.newRepeats(g)
	tell := func() { ship.watch(time.Now()); progress(ship.progress()) }
	stop := ship.report(tell)
	if err = ship.repeats.learn(ctx); err == nil {
		err = ship.all(ctx)
	}
	stop()
	if errors.Is(err, errMoved) { // no attempt at this cut can come to its end
		err = errors.Join(err, g.images.Disown(sh.Point))
	}
	if err != nil {
		return err
	}
	if _, err := e.authority.Finish(ctx, ship.fence, ship.totals()); err != nil {
		return fmt.Errorf("finish point %d of group %s: %w", sh.Point, s.Session.Group, err)
	}
	for _, d := range ship.disks {
		g.indexed[d.Disk.No] = ship.repeats != nil
	}
	tell()
	return nil
}

// passes is how often what lanes lost is sent again before the order fails: its next one begins anew at what is durable.
const passes = 4

// all sends everything. What was on lanes that broke is looked for in what is durable, and what is missing is found and sent again, on other lanes; it is little, and no disk needs another turn for it.
func (s *shipment) all(ctx context.Context) error {
	for pass := 1; ; pass++ {
		err := s.run(ctx)
		broken := s.used.takeBroken()
		if err != nil || broken == nil {
			return err
		}
		if pass == passes || !s.stable { // what was read before may be another thing now
			return broken
		}
		s.engine.cfg.Log.Warn("lanes broke: what did not arrive is sent again", "group", s.fence.Group, "point", s.fence.Point, "err", broken)
		for _, d := range s.disks {
			d.ledger.later.Store(true)
		}
		if err := s.engine.authority.Coverage(ctx, s.fence, s.cover); err != nil {
			return fmt.Errorf("ask what is durable: %w", err)
		}
	}
}

func (s *shipment) open(ctx context.Context, disks []link.Source) error {
	for _, d := range disks {
		s.disks = append(s.disks, &diskShip{Source: d, compares: s.order.Mode == replication.Compare || slices.Contains(s.order.Joining, d.Disk.No), durable: replication.NewPages(d.Disk.Size), total: replication.NewPages(d.Disk.Size)})
	}
	var err error
	if !s.order.Fresh {
		if err = s.engine.authority.Coverage(ctx, s.fence, s.cover); err != nil {
			return fmt.Errorf("ask what is durable: %w", err)
		}
	}
	for _, ds := range s.disks {
		d := ds.Source
		ds.told = ds.durable
		if ds.view, err = s.images.View(s.order.Point, d.Disk.No); err != nil {
			return sourceProblem(fmt.Sprintf("open disk %s at point %d", d.Disk.ID, s.order.Point), err)
		}
		if got := ds.view.Size(); got != d.Disk.Size {
			return &replication.Problem{Code: "source-resized", Message: fmt.Sprintf("disk %s: source %s has %d bytes now, the group has it with %d", d.Disk.ID, d.Path, got, d.Disk.Size),
				Remedy: "give the source its size again; a group with another size has to be protected anew"}
		}
		if s.images.NeedsTable(d.Disk.No) {
			if ds.table, err = s.images.Table(s.order.Point, d.Disk.No); err != nil {
				return sourceProblem(fmt.Sprintf("open table of disk %s at point %d", d.Disk.ID, s.order.Point), err)
			}
		}
		if !ds.compares {
			if !s.stable { // what is durable may be older than what the table will say was shipped: all changes are sent again
				ds.durable = replication.NewPages(d.Disk.Size)
			}
			if err := s.openBase(ctx, ds); err != nil {
				return err
			}
		}
		ds.ledger.no = d.Disk.No
		ds.ledger.total.Store(d.Disk.Size)
		if ds.known != nil {
			ds.ledger.total.Store(ds.known.Bytes())
		}
	}
	return nil
}

// cover takes note of what is durable.
func (s *shipment) cover(disk replication.DiskNo, x []replication.Extent) error {
	if int64(disk) >= int64(len(s.disks)) {
		return fmt.Errorf("the master target told of disk %d of %d", disk, len(s.disks))
	}
	d := s.disks[disk]
	for _, e := range x {
		if err := e.Check(d.Disk.Size); err != nil {
			return fmt.Errorf("disk %s: %w", d.Disk.ID, err)
		}
		d.durable.Add(e)
	}
	return nil
}

// openBase finds out how the disk's changes are known. Where they are not, the master target has to compare (I10).
func (s *shipment) openBase(ctx context.Context, d *diskShip) error {
	lost := func(err error) error {
		return &replication.Problem{Code: link.CodeTrackingLost, Message: fmt.Sprintf("disk %s: what changed since point %d is not known", d.Disk.ID, s.order.Base), Err: err,
			Remedy: "none needed: the master target compares"}
	}
	set, known, err := s.images.Changed(ctx, s.order.Point, s.order.Base, d.Disk.No)
	if err != nil {
		return lost(err)
	}
	if known {
		d.known = set
		return nil
	}
	if d.base, err = s.images.Table(s.order.Base, d.Disk.No); err != nil {
		return lost(err)
	}
	if whole, err := d.base.Complete(); err != nil || !whole {
		return lost(err)
	}
	return nil
}

func (s *shipment) close() {
	for _, d := range s.disks {
		if d.view != nil {
			d.view.Close()
		}
	}
}

// streams says whether the blocks of a disk may be parts of streams.
func (s *shipment) streams(disk replication.DiskNo) bool {
	return slices.Contains(s.order.Streams, disk)
}

// run sends everything, and returns when all of it is durable and the tables of the point are sealed; but for what was on lanes that broke, which are in s.used.
func (s *shipment) run(ctx context.Context) error {
	s.byValue.Store(0)
	s.repeats.begin(s.stable)
	if err := s.pass(ctx, s.scanDisks); err != nil {
		return err
	}
	if s.repeats.waits() && !s.used.isBroken() {
		if err := s.pass(ctx, s.scanWaiting); err != nil {
			return err
		}
	}
	if s.byValue.Load() > 0 && !s.used.isBroken() {
		if err := s.sendByValue(ctx); err != nil {
			return err
		}
	}
	for _, d := range s.disks {
		if d.table == nil {
			continue
		}
		if err := d.table.Seal(); err != nil && !errors.Is(err, source.ErrSealed) {
			return sourceProblem(fmt.Sprintf("seal table of disk %s", d.Disk.ID), err)
		}
	}
	return nil
}

// scanDisks makes jobs of what may differ on all disks: of those that are compared, when it is their turn.
func (s *shipment) scanDisks(ctx context.Context) error {
	scans, ctx := errgroup.WithContext(ctx)
	for _, d := range s.disks {
		scans.Go(func() error {
			t := d.turn.Load()
			if err := t.wait(ctx); err != nil {
				return err
			}
			if err := s.scan(ctx, d); err != nil {
				return err
			}
			t.leave()
			return nil
		})
	}
	return scans.Wait()
}

// pass moves the jobs that scan makes through the stages, and returns when all lanes are flushed. Lanes that broke are in s.used.
func (s *shipment) pass(ctx context.Context, scan func(context.Context) error) error {
	s.jobs, s.made, s.frames = make(chan job), make(chan queued), make(chan queued)
	stages, ctx := errgroup.WithContext(ctx)
	ended := make(chan struct{})
	for i := range s.lanes {
		stages.Go(func() error { return s.lane(ctx, uint32(i), ended) })
	}
	stages.Go(func() error { s.adapt(ctx, ended); return nil })
	stages.Go(func() error {
		defer close(ended)
		return inOrder(ctx, s.made, s.frames)
	})
	stages.Go(func() error {
		defer close(s.made)
		workers, ctx := errgroup.WithContext(ctx)
		for range s.workers {
			workers.Go(func() error { return s.work(ctx) })
		}
		workers.Go(func() error {
			defer close(s.jobs)
			return scan(ctx)
		})
		return workers.Wait()
	})
	return stages.Wait()
}

// covered gives what the cycle covers of a disk, as extents that rise.
func (s *shipment) covered(d *diskShip) iter.Seq[replication.Extent] {
	switch {
	case d.compares:
		return slices.Values([]replication.Extent{{End: d.Disk.Size}})
	case d.known != nil:
		return slices.Values(d.known.Extents())
	default:
		return d.total.All()
	}
}

// totals says what the cycle covers, disk by disk.
func (s *shipment) totals() []replication.Total {
	var out []replication.Total
	for _, d := range s.disks {
		var t replication.Tally
		for e := range s.covered(d) {
			t.Add(e)
		}
		out = append(out, replication.Total{Disk: d.Disk.No, Bytes: t.Bytes(), Digest: t.Digest()})
	}
	return out
}

// report calls tell every progressEvery until the returned function is called.
func (s *shipment) report(tell func()) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(progressEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				tell()
			case <-done:
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

func (s *shipment) ledgers() []replication.Ledger {
	var l []replication.Ledger
	for _, d := range s.disks {
		l = append(l, d.ledger.snapshot())
	}
	return l
}

// progress is called by one goroutine at a time.
func (s *shipment) progress() replication.Progress {
	p := replication.Progress{Disks: s.ledgers(), Link: s.level.status(), Queue: s.places()}
	wire := int64(0)
	for _, d := range p.Disks {
		wire += d.Wire
	}
	p.Link.Lanes, p.Link.Most = s.used.active(), s.lanes
	if p.Link.Limit = int64(s.limit()); p.Link.Limit > 0 && p.Link.Binds == bindsLink {
		p.Link.Binds = "limit"
	}
	p.Link.Rate = s.rate.note(wire, time.Now())
	return p
}

// wireRate is how fast a counter rises, smoothed over a few seconds.
type wireRate struct {
	at    time.Time
	bytes int64
	value float64
}

func (r *wireRate) note(bytes int64, now time.Time) float64 {
	seconds := now.Sub(r.at).Seconds()
	switch {
	case r.at.IsZero():
		r.at, r.bytes = now, bytes
	case seconds >= 0.5:
		r.value += (float64(bytes-r.bytes)/seconds - r.value) / 2
		r.at, r.bytes = now, bytes
	}
	return r.value
}
