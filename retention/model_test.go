package retention

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// world drives a real journal on a machine whose power fails, and compares every byte of every point with a truth kept in memory (design.md section 2).
type world struct {
	m     *machine
	r     *rand.Rand
	j     *Journal
	t     tuning
	sizes []int64

	truth  map[replication.PointID][][]byte
	listed []replication.Point
	maybe  replication.PointID   // a List was under way when the power failed
	gone   []replication.PointID // and these were being dropped

	pins    map[replication.PointID]bool // points that a pin holds now
	pinning replication.PointID          // this one's pin was being changed when the power failed

	vers  map[replication.PointID][][]replication.PointID // by disk and page: the point that made the version
	most  int                                             // points listed before many are dropped
	reach int64                                           // pages of the longest change
	calm  int                                             // steps to one in which the power may fail

	born    []replication.PointID                 // by disk: the first point that has it; NoPoint: none yet
	tail    *tail                                 // by which a disk was growing when the power failed
	sizesAt map[replication.PointID]map[int]int64 // bytes of a disk that a point shows, where they are not all
	extra   int                                   // disks that were joining when the power failed
	leaving int                                   // the disk, counted from 1, that was leaving then; 0: none
	away    []awayDisk                            // that have left

	keeps    bool     // point 0
	original [][]byte // the disks as they were

	cycle *replication.Cycle // begun, as far as we know
	want  [][]byte           // content of the point that it makes
	plan  []*replication.Set // what its lanes send
	equal []*replication.Set // what they say is equal
	acked []*replication.Set // what was acknowledged of it
	stale []*replication.Set // what may be covered by an earlier round alone
	lane  uint64

	held    []*heldRead
	hold    chan struct{} // not nil: the next reader stops between its two looks
	release chan struct{}

	bad   error  // of interleave
	right []byte // what a damaged file held

	frail   bool                  // blocks are damaged now and then
	blindly bool                  // and whole files
	harmed  map[harmed]bool       // what lay in them
	blinds  []replication.PointID // the lowest versions of files of which nothing can be read, or that may become so

	counts
	deep bool // within a move or a rewriting
}

// counts is what happened.
type counts struct {
	ops, crashes, moves, reads, late, lists, drops, rewrites, spares, packs, classes, refused, thinned, turned int
	flips, denied, parts, mended, repaired, stopped                                                            int
	unread, blinded                                                                                            int
	originals, saves                                                                                           int
	joins, births, enlargements, clamped, leaves                                                               int
}

func (c *counts) add(o *counts) {
	c.ops += o.ops
	c.crashes += o.crashes
	c.moves += o.moves
	c.reads += o.reads
	c.late += o.late
	c.lists += o.lists
	c.drops += o.drops
	c.rewrites += o.rewrites
	c.spares += o.spares
	c.packs += o.packs
	c.classes += o.classes
	c.refused += o.refused
	c.thinned += o.thinned
	c.turned += o.turned
	c.flips += o.flips
	c.denied += o.denied
	c.parts += o.parts
	c.mended += o.mended
	c.repaired += o.repaired
	c.stopped += o.stopped
	c.unread += o.unread
	c.blinded += o.blinded
	c.originals += o.originals
	c.saves += o.saves
	c.joins += o.joins
	c.enlargements += o.enlargements
	c.births += o.births
	c.clamped += o.clamped
	c.leaves += o.leaves
}

func (c *counts) String() string {
	return fmt.Sprintf("%d operations: %d crashes, %d moves, %d of them turned, %d points, %d dropped, %d times many at once, %d drops refused, %d files rewritten, %d without spares, %d packs again, "+
		"%d saves of several classes, %d reads, %d of readers stopped half way, %d blocks damaged, %d parts quarantined, %d pages denied, %d bytes mended from the disks and %d repaired, %d moves stopped by damage, %d of the blocks unreadable, %d files blind, %d points 0, saved %d times, %d disks joined, %d of them born, %d disks grown, %d moves to before a birth, %d disks left",
		c.ops, c.crashes, c.moves, c.turned, c.lists, c.drops, c.thinned, c.refused, c.rewrites, c.spares, c.packs, c.classes, c.reads, c.late, c.flips, c.parts, c.denied, c.mended, c.repaired, c.stopped, c.unread, c.blinded, c.originals, c.saves, c.joins, c.births, c.enlargements, c.clamped, c.leaves)
}

// harmed is a page of a version that a damaged block held.
type harmed struct {
	disk, page int
	version    replication.PointID
}

type heldRead struct {
	point   replication.PointID
	disk    int
	buf     []byte
	release chan struct{}
	done    chan error
}

var testTuning = tuning{
	saveLevel:  block.LevelS2,
	writeBytes: 8 << 10, spillEntries: 7, openFiles: 2, readerChunks: 3, readerBlocks: 2, regionBytes: 12 * regionOwn, regionSpans: 6, regionTouches: 1, moveBlocks: 2, savesAhead: 1, writesAhead: 1, disksAtOnce: 1, progressBytes: 24 << 10, originalBytes: 24 << 10,
	batch: 20 << 10, batchTime: time.Hour,
}

const worldDir = "/group"

func newWorld(seed uint64) *world {
	w := &world{
		r: rand.New(rand.NewPCG(seed, 5)), t: testTuning, sizes: []int64{24*replication.Page + 512, 9 * replication.Page}, reach: 5,
		pins: map[replication.PointID]bool{}, sizesAt: map[replication.PointID]map[int]int64{}, truth: map[replication.PointID][][]byte{}, vers: map[replication.PointID][][]replication.PointID{}, most: 4 + int(seed*7%17), calm: 2 + int(seed%3)*5,
	}
	if seed%2 == 0 {
		w.t.setAside = 4 * sector
	}
	w.frail, w.blindly = seed%3 == 1, seed%6 == 1
	if seed%6 == 1 {
		w.t.trust = time.Hour
	}
	switch seed % 8 {
	case 3: // one page is changed again and again
		w.sizes, w.reach = []int64{3 * replication.Page, replication.Page + 1024}, 1
	case 5:
		w.sizes, w.reach, w.t.disksAtOnce = []int64{60*replication.Page + 1536, 7 * replication.Page, 512, 30 * replication.Page}, 24, 1
	}
	w.m = newMachine(seed, w.sizes...)
	w.keeps = seed%3 != 0
	w.born = make([]replication.PointID, len(w.sizes))
	for _, d := range w.m.disks {
		w.original = append(w.original, slices.Clone(d.cur))
	}
	return w
}

func (w *world) identity() Identity {
	id := Identity{Group: "web", Created: time.Unix(1700000000, 0).UTC(), UUID: fmt.Sprintf("%032x", w.r.Uint64()), KeepOriginal: w.keeps}
	for d, n := range w.sizes {
		id.Disks = append(id.Disks, replication.Disk{No: replication.DiskNo(d), ID: replication.DiskID(fmt.Sprintf("vm/%d", d)), Size: n})
		id.Targets = append(id.Targets, fmt.Sprintf("/vmfs/%d.vmdk", d))
	}
	return id
}

// cut arms a power failure within the next n operations.
func (w *world) cut(n int) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.m.cutAt = w.m.ops + 1 + w.r.IntN(n)
}

// start opens the journal, or makes it.
func (w *world) start() error {
	for {
		var err error
		if w.j, err = open(w.m.volume(), worldDir, "web", w.t); err != nil {
			w.j = nil
			if w.m.off {
				w.down()
				continue
			}
			if len(w.truth) == 0 && w.cycle == nil { // nothing was promised yet
				w.j, err = create(w.m.volume(), worldDir, w.identity(), w.t)
				if w.m.off {
					w.down()
					continue
				}
			}
			if err != nil {
				return err
			}
		}
		if w.m.off { // in the removal of a file that does not matter
			w.down()
			continue
		}
		w.j.betweenLooks = w.between
		w.m.onOp = w.interleave
		return w.reopened()
	}
}

// down ends the process, and mostly the power with it.
func (w *world) down() {
	again := w.r.IntN(3) == 0
	if w.r.IntN(4) == 0 {
		w.m.kill()
	} else {
		w.m.reboot()
	}
	if again {
		w.cut(20)
	}
}

func (w *world) between() {
	if c := w.hold; c != nil {
		release := w.release
		w.hold = nil
		close(c)
		<-release
	}
}

// reopened compares what the journal tells after a start with what is known.
func (w *world) reopened() error {
	w.joined()
	w.enlarged()
	w.hasLeft()
	pts := w.j.Points()
	if w.maybe != 0 && len(pts) > len(w.listed) && pts[len(pts)-1].ID == w.maybe {
		w.accept(pts[len(pts)-1])
	}
	w.maybe = 0
	if len(w.gone) > 0 && len(pts) < len(w.listed) {
		w.forget(w.gone)
	}
	w.gone = nil
	if len(pts) != len(w.listed) {
		return fmt.Errorf("%d points are listed, want %d", len(pts), len(w.listed))
	}
	if i := len(pts) - 1; i >= 0 && pts[i].ID == 0 {
		return errors.New("point 0 is listed alone")
	}
	for i, p := range pts {
		if p.ID != w.listed[i].ID || p.Chain != w.listed[i].Chain {
			return fmt.Errorf("point %d %s listed, want %d %s", p.ID, p.Chain, w.listed[i].ID, w.listed[i].Chain)
		}
		held := p.HeldAt(time.Now())
		if p.ID == w.pinning {
			w.pins[p.ID] = held
		} else if held != w.pins[p.ID] {
			return fmt.Errorf("point %d is held by a pin: %v, want %v", p.ID, held, w.pins[p.ID])
		}
	}
	w.pinning = 0
	if c := w.j.OpenCycle(); c == nil {
		w.cycle = nil
	} else if w.cycle == nil || c.Point != w.cycle.Point {
		return fmt.Errorf("cycle %v is open, want %v", c, w.cycle)
	} else {
		for d, s := range w.acked {
			cov := w.j.Coverage(replication.DiskNo(d))
			for _, e := range s.Extents() {
				if !cov.Contains(e) {
					return fmt.Errorf("disk %d %v of point %d was acknowledged, and is not there: %v", d, e, c.Point, cov.Extents())
				}
			}
			if c.Route == replication.Through {
				continue
			}
			for e := range cov.All() {
				if !w.sent(d, e) {
					return fmt.Errorf("disk %d %v of point %d counts as durable, and was never sent", d, e, c.Point)
				}
			}
		}
	}
	if err := w.onlyNamed(); err != nil {
		return err
	}
	return w.check("reopened")
}

// sent says whether an extent is of what the open cycle sends, or finds equal.
func (w *world) sent(d int, e replication.Extent) bool {
	return replication.NewSet(slices.Concat(w.plan[d].Extents(), w.equal[d].Extents())...).Contains(e)
}

// onlyNamed says which file there is that nothing names.
func (w *world) onlyNamed() error {
	known := map[string]bool{w.j.path(logName): true, w.j.path(lockName): true, w.j.path(coverageName): w.j.OpenCycle() != nil, w.j.path(ReserveName): w.j.Reserved(),
		w.j.path(saveDir, originalEndName): w.j.now.Load().savesOriginal()}
	for n := range w.j.sealed {
		known[n] = true
	}
	for _, s := range w.j.open.sealed {
		known[s.name] = true
	}
	for _, s := range w.j.original.sealed {
		known[s.name] = true
	}
	for n, i := range w.m.names {
		if i != nil && !known[n] {
			return fmt.Errorf("nothing names %s", n)
		}
	}
	return nil
}

// ack takes note of what is acknowledged.
func (w *world) ack() {
	for d := range w.acked {
		if w.acked[d] == nil {
			w.acked[d] = &replication.Set{}
		}
		for e := range w.j.Coverage(replication.DiskNo(d)).All() {
			w.acked[d].Add(e)
		}
	}
}

func (w *world) accept(p replication.Point) {
	var saved []*replication.Pages // what the first baseline has written over, where point 0 is kept
	if len(w.listed) == 0 && w.keeps {
		saved = w.acceptOriginal()
	}
	w.truth[p.ID] = w.want
	v := make([][]replication.PointID, len(w.want))
	for d := range w.want {
		n := w.sizes[d]
		v[d] = make([]replication.PointID, (n+replication.Page-1)/replication.Page)
		if w.born[d] == NoPoint {
			w.born[d] = p.ID
			w.births++
		} else if len(w.listed) > 0 {
			copy(v[d], w.vers[w.listed[len(w.listed)-1].ID][d])
		}
		for k := range v[d] {
			if e := w.pageOf(d, k); w.born[d] == p.ID || saved != nil && saved[d].Contains(e) || saved == nil && (len(w.listed) == 0 || w.plan[d].Contains(e)) {
				v[d][k] = p.ID
			}
		}
	}
	w.vers[p.ID] = v
	w.listed = append(w.listed, p)
	w.cycle = nil
	w.lists++
}

// acceptOriginal takes note of point 0, and returns what the journal has of it.
func (w *world) acceptOriginal() []*replication.Pages {
	saved := make([]*replication.Pages, len(w.sizes))
	w.truth[0], w.vers[0] = w.original, make([][]replication.PointID, len(w.sizes))
	for d, n := range w.sizes {
		saved[d] = replication.NewPages(n)
		w.vers[0][d] = make([]replication.PointID, (n+replication.Page-1)/replication.Page)
	}
	off, failAt, badIn := w.m.off, w.m.failAt, w.m.badIn
	w.m.off, w.m.failAt, w.m.badIn = false, 0, nil // this is no work of the journal's
	for _, s := range w.j.now.Load().files {
		if s.low() == 0 {
			if err := s.coverage(saved); err != nil {
				w.wrong(err)
			}
		}
	}
	w.m.off, w.m.failAt, w.m.badIn = off, failAt, badIn
	w.listed, w.pins[0] = append(w.listed, w.j.Points()[0]), true
	w.originals++
	return saved
}

func (w *world) forget(ids []replication.PointID) {
	w.listed = slices.DeleteFunc(w.listed, func(p replication.Point) bool { return slices.Contains(ids, p.ID) })
	w.drops += len(ids)
}

func (w *world) pageOf(d, k int) replication.Extent {
	return replication.Extent{Off: int64(k) * replication.Page, End: min(w.sizes[d], int64(k+1)*replication.Page)}
}

// stays says why a point can't be dropped, as this file knows it.
func (w *world) stays(p replication.Point) bool {
	if u := w.j.Unfinished(); u != nil && (p.ID == u.From || p.ID == u.To) {
		return true
	}
	return p.ID == w.j.Head() || p.ID == w.listed[len(w.listed)-1].ID || w.pins[p.ID]
}

// drop takes some points off the list, one in so many.
func (w *world) drop(oneIn int) error {
	var ids []replication.PointID
	for _, p := range w.j.Points() {
		if stays := w.stays(p); !stays && w.r.IntN(oneIn) == 0 {
			ids = append(ids, p.ID)
		} else if stays && w.r.IntN(9) == 0 {
			w.refused++
			if err := w.j.DropPoints([]replication.PointID{p.ID}, "test"); !errors.Is(err, ErrInUse) && w.j.usable() == nil {
				return fmt.Errorf("drop point %d, which must stay: %v", p.ID, err)
			}
		}
	}
	w.gone = ids
	if err := w.j.DropPoints(ids, "test"); err != nil {
		return err
	}
	w.gone = nil
	w.forget(ids)
	return nil
}

// thin makes room in the list.
func (w *world) thin() error {
	w.thinned++
	for _, p := range w.j.Points() {
		if err := w.pin(p.ID, false, time.Time{}); err != nil {
			return err
		}
	}
	return w.drop(1 + w.r.IntN(2))
}

// pin sets a point's pin, or takes it back, and lets go of those that have ended.
func (w *world) pin(p replication.PointID, on bool, until time.Time) (err error) {
	w.pinning = p
	if on {
		err = w.j.Pin(p, until, "why")
	} else {
		err = w.j.Unpin(p)
	}
	if err != nil {
		return err
	}
	w.pinning, w.pins[p] = 0, on && (until.IsZero() || until.After(time.Now()))
	_, err = w.j.LetGo(time.Now())
	return err
}

// worth compares what the journal takes for live with what is known: the versions that listed points need, and that the disks do not show, are live and not spare, each byte once.
func (w *world) worth() error {
	use, err := w.j.Use(context.Background(), nil)
	if err != nil || len(w.blinds) > 0 { // what it is worth then is not known
		return w.hidden(err)
	}
	for _, u := range use.Files {
		if u.Dead < 0 || u.Spare < 0 || u.Cold < 0 || u.Cold > u.Spare || u.Dead+u.Spare > u.Size {
			return fmt.Errorf("use: %+v", u)
		}
	}
	var live, spare, need, disks int64
	c := w.j.shelf.pin()
	defer w.j.shelf.unpin(c)
	for d := range w.sizes {
		err := sweep(c.files, c.slot(replication.DiskNo(d)), func(e replication.Extent, over []span) error {
			c.standing(over, func(i int, _ replication.PointID, also bool) {
				if over[i].kind == gone {
					return
				}
				live += e.Len()
				if also {
					spare += e.Len()
				}
			})
			return nil
		})
		if err != nil {
			return err
		}
	}
	for d, n := range w.sizes {
		if w.born[d] == NoPoint {
			continue
		}
		disks += n
		for k := range int((n + replication.Page - 1) / replication.Page) {
			last := NoPoint
			for _, p := range w.listed { // versions rise
				if v := w.ver(p.ID, d)[k]; v != last {
					need, last = need+w.pageOf(d, k).Len(), v
				}
			}
		}
	}
	switch {
	case !w.j.AtPoint():
	case w.j.Unfinished() != nil && (live < need-disks || live > need || spare != 0):
		return fmt.Errorf("during a move %d bytes are live, %d of them spare; points need %d, disks hold %d", live, spare, need, disks)
	case w.j.Unfinished() == nil && live-spare != need-disks:
		return fmt.Errorf("%d bytes are live, %d of them spare; points need %d, disks hold %d", live, spare, need, disks)
	}
	return nil
}

// rewrite packs some files, while others go on.
func (w *world) rewrite() error {
	use, err := w.j.Use(context.Background(), nil)
	if err != nil || len(use.Files) == 0 {
		return w.hidden(err)
	}
	u := use.Files[w.r.IntN(len(use.Files))]
	for _, o := range use.Files {
		if o.First != o.Last && w.r.IntN(2) == 0 {
			u = o
		}
	}
	names := []string{u.Name}
	if u.First == u.Last {
		for _, o := range use.Files {
			if o.Name != u.Name && o.First == u.First && o.Last == u.Last && w.r.IntN(2) == 0 {
				names = append(names, o.Name)
			}
		}
	}
	for _, n := range names {
		if strings.HasPrefix(n, packDir) {
			w.packs++
		}
		if u.First != u.Last {
			w.classes++
		}
	}
	opt := RewriteOptions{Spares: Spares(w.r.IntN(3))}
	if w.frail && w.r.IntN(2) == 0 { // packs that say what the disks hold, while these move
		for _, s := range w.j.now.Load().files {
			if s.rec.Gone > 0 {
				names, opt.Spares = []string{w.j.relative(s)}, KeepSpares
			}
		}
	}
	opt.Pace = func(context.Context, int) error { return w.meanwhile() }
	was := w.deep
	w.deep = true
	_, err = w.j.Rewrite(context.Background(), names, opt)
	w.deep = was
	if errors.Is(err, ErrInUse) || errors.Is(err, ErrCorrupt) && w.hurt() {
		return nil
	}
	if err == nil {
		w.rewrites++
		if opt.Spares != KeepSpares {
			w.spares++
		}
	}
	return err
}

// meanwhile does something else in the middle of a move or a rewriting.
func (w *world) meanwhile() error {
	if w.m.off || w.deep && w.r.IntN(6) > 0 {
		return nil
	}
	w.ops++
	others := w.m.onOp
	w.m.onOp = nil
	defer func() { w.m.onOp = others }()
	switch w.r.IntN(4) {
	case 0:
		return w.drop(3)
	case 1:
		if w.cycle == nil {
			return w.begin()
		}
		return w.ship()
	case 2:
		if w.cycle != nil && len(w.j.open.arrivals) == 0 {
			return w.list()
		}
	case 3:
		if w.j.packing.TryLock() { // else we are in the middle of one
			w.j.packing.Unlock()
			return w.rewrite()
		}
		return w.move()
	}
	return nil
}

const atRest = "at rest"

// check compares every byte of every point; at rest, mostly of one.
func (w *world) check(where string) error {
	some := w.listed
	if where == atRest && len(some) > 2 && w.r.IntN(3) > 0 { // nothing happened that would touch all
		k := w.r.IntN(len(some))
		some = some[k : k+1]
	}
	for _, p := range some {
		for d := range w.sizes {
			if p.ID < w.born[d] {
				if err := w.refuses(p.ID, d); err != nil {
					return fmt.Errorf("%s: %w", where, err)
				}
				continue
			}
			if err := w.compare(p.ID, d, 0, w.sizes[d]); err != nil {
				return fmt.Errorf("%s: %w", where, err)
			}
			if err := w.holes(p.ID, d, 0); err != nil {
				return fmt.Errorf("%s: %w", where, err)
			}
		}
	}
	if err := w.worth(); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if err := errors.Join(w.agree(), w.showsSizes(), w.showsAway(some)); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if head := w.j.Head(); w.j.AtPoint() && w.j.Unfinished() == nil {
		for d := range w.sizes {
			if w.born[d] == NoPoint {
				continue
			}
			if want := w.content(head, d); !bytes.Equal(w.m.disks[d].cur, want) || !bytes.Equal(w.m.disks[d].dur, want) {
				return fmt.Errorf("%s: disk %d is not at the head %d", where, d, head)
			}
		}
	}
	return nil
}

// agree compares the two ways to find out where bytes lie: moves walk all indexes beside each other, readers search one after the other.
func (w *world) agree() error {
	for range min(len(w.listed), 4) {
		p, d := w.listed[w.r.IntN(len(w.listed))].ID, w.r.IntN(len(w.sizes))
		e := replication.Extent{Off: w.r.Int64N(w.sizes[d])}
		e.End = e.Off + 1 + w.r.Int64N(w.sizes[d]-e.Off)
		if err := w.hidden(w.agreeOn(p, w.j.Slot(replication.DiskNo(d)), e)); err != nil {
			return fmt.Errorf("point %d disk %d %v: %w", p, d, e, err)
		}
	}
	return nil
}

func (w *world) agreeOn(p replication.PointID, d replication.DiskNo, e replication.Extent) error {
	c := w.j.shelf.pin()
	defer w.j.shelf.unpin(c)
	v, err := newView(c, d, p)
	if err != nil {
		return err
	}
	walked, err := v.pieces(nil, e)
	if err != nil {
		return err
	}
	searched, err := c.lookup(w.j.chunks, d, p, e)
	if err != nil {
		return err
	}
	for at := e.Off; at < e.End; {
		a, b := walked[0], searched[0]
		if a.ext.Off > at || b.ext.Off > at || a.in != b.in || a.in != nil && (a.at != b.at || a.version != b.version || a.kind != b.kind) {
			name := func(sp span) string {
				if sp.in == nil {
					return "the disk"
				}
				return fmt.Sprintf("%s (rank %d)", base(sp.in.name), sp.in.rank)
			}
			return fmt.Errorf("at %d walking finds %+v in %s, searching %+v in %s", at, a.entry, name(a), b.entry, name(b))
		}
		at = min(a.ext.End, b.ext.End)
		if a.ext.End == at {
			walked = walked[1:]
		}
		if b.ext.End == at {
			searched = searched[1:]
		}
	}
	return nil
}

func (w *world) reader(p replication.PointID, d int) *Reader {
	return &Reader{j: w.j, point: p, disk: w.j.Slot(replication.DiskNo(d)), target: w.m.targets()[d], size: w.sizes[d], shown: w.sizes[d]}
}

func (w *world) compare(p replication.PointID, d int, off, n int64) error {
	w.reads++
	b := make([]byte, n)
	k, err := w.reader(p, d).ReadAt(b, off)
	if errors.Is(err, ErrCorrupt) && w.hurt() {
		return w.pieces(p, d, off, n)
	}
	if err != nil || k != len(b) {
		return fmt.Errorf("read point %d disk %d: %d bytes, %w", p, d, k, err)
	}
	return w.same(p, d, off, b)
}

// pieces compares page by page where something is denied: that must be what was damaged, and nothing else.
func (w *world) pieces(p replication.PointID, d int, off, n int64) error {
	for end := off + n; off < end; {
		page := off / replication.Page
		b := make([]byte, min(end, (page+1)*replication.Page)-off)
		_, err := w.reader(p, d).ReadAt(b, off)
		if errors.Is(err, ErrCorrupt) && w.explained(p, d, int(page)) {
			w.denied++
		} else if err != nil {
			return fmt.Errorf("read point %d disk %d page %d: %w", p, d, page, err)
		} else if err := w.same(p, d, off, b); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// explained says whether a block was damaged that held what a point shows of a page. Its version is the point that wrote it, or a later one that shows the same.
func (w *world) explained(p replication.PointID, d, page int) bool {
	if slices.ContainsFunc(w.blinds, func(low replication.PointID) bool { return low <= p }) {
		return true
	}
	for h := range w.harmed {
		if h.disk == int(w.j.Slot(replication.DiskNo(d))) && h.page == page && w.vers[h.version] != nil && w.ver(h.version, d)[page] == w.ver(p, d)[page] {
			return true
		}
	}
	return false
}

// hurt says whether something is damaged.
func (w *world) hurt() bool { return len(w.harmed) > 0 || len(w.blinds) > 0 }

// hidden returns err unless it is of damage that may be everywhere.
func (w *world) hidden(err error) error {
	if errors.Is(err, ErrCorrupt) && len(w.blinds) > 0 {
		return nil
	}
	return err
}

// blind takes a file away, or so much of it that it can't be made again; the journal may learn that at once, or when it is opened.
func (w *world) blind(s *sealed) {
	w.blinds = append(w.blinds, s.low())
	w.blinded++
	w.flips++
	i := w.m.names[s.name]
	switch {
	case i == nil: // it is gone already
	case w.r.IntN(2) == 0:
		delete(w.m.names, s.name)
		delete(w.m.safe, s.name)
	default:
		i.cur = slices.Clone(i.cur)
		for k := int(fileHeaderSize); k < len(i.cur); k += 1 + w.r.IntN(100) {
			i.cur[k] ^= 1 << w.r.IntN(8)
		}
		i.dur = slices.Clone(i.cur)
	}
	if w.r.IntN(2) == 0 {
		w.j.files.forget(s.name)
	}
}

// harm damages a block of a file that the journal names.
func (w *world) harm() {
	c := w.j.now.Load()
	if len(c.files) == 0 {
		return
	}
	s := c.files[w.r.IntN(len(c.files))]
	if w.blindly && w.r.IntN(6) == 0 {
		w.blind(s)
		return
	}
	for _, o := range c.files { // what a move saved, above what a pack says that the disks hold
		if o.hdr.kind == saveFile && w.r.IntN(3) == 0 {
			s = o
		}
	}
	var es []entry
	for i := range s.foot.chunks {
		es, _ = s.written(es, i, make([]byte, chunkSize))
	}
	es = slices.DeleteFunc(es, func(e entry) bool { return e.kind != block.Data })
	if len(es) == 0 {
		return
	}
	at := es[w.r.IntN(len(es))].at
	b, _, err := s.block(at, &w.j.id)
	if err != nil { // damaged before
		return
	}
	if w.harmed == nil {
		w.harmed = map[harmed]bool{}
	}
	w.flips++
	i := w.m.names[s.name]
	if i == nil { // gone
		return
	}
	k := at + w.r.Int64N(int64(entryFixed+len(b.Extents)*extentSize+len(b.Payload)))
	if bad := (stretch{k &^ (sector - 1), k&^(sector-1) + sector}); w.r.IntN(4) == 0 && bad.off > 0 && bad.end <= s.foot.dataEnd { // without the file's header: else it is blind
		w.unread++
		for _, e := range es { // all that lies in the sector
			if n := s.extent(e.at, &w.j.id); e.at < bad.end && bad.off < e.at+n {
				w.harms(e)
			}
		}
		i.bad = append(i.bad, bad)
	} else {
		bit := byte(1) << w.r.IntN(8)
		i.cur[k] ^= bit
		if k < int64(len(i.dur)) && &i.cur[0] != &i.dur[0] {
			i.dur[k] ^= bit
		}
	}
	for _, e := range es {
		if e.at == at {
			w.harms(e)
		}
	}
}

// harms notes that what an index entry tells of is damaged.
func (w *world) harms(e entry) {
	for off := e.ext.Off; off < e.ext.End; off += replication.Page {
		w.harmed[harmed{int(e.disk), int(off / replication.Page), e.version}] = true
	}
}

// scrub reads files, saves what the disks still hold of what is damaged, and mostly has the rest from the source.
func (w *world) scrub() error {
	opt := ScrubOptions{Resume: w.r.IntN(2) == 0}
	whole := w.r.IntN(2) == 0
	if !whole {
		opt.Files = []string{}
		for _, s := range w.j.now.Load().files {
			if w.r.IntN(2) == 0 {
				opt.Files = append(opt.Files, w.j.relative(s))
			}
		}
	}
	found, err := w.j.Scrub(context.Background(), opt)
	w.parts += found.Quarantined
	if err != nil {
		return err
	}
	n, err := w.j.Mend(context.Background(), w.m.targets())
	w.mended += int(n)
	if err = w.hidden(err); err != nil && !errors.Is(err, ErrInUse) {
		return err
	}
	p := w.listed[w.r.IntN(len(w.listed))].ID
	lostNow, err := w.j.Lost(context.Background(), p)
	if err != nil {
		return w.hidden(err)
	}
	r, err := w.j.Repair(p)
	if err != nil {
		return err
	}
	for _, l := range lostNow {
		e := l.Extent
		if off := e.Off - w.r.Int64N(e.Off/replication.Page+1)*replication.Page; w.r.IntN(3) == 0 { // more than what was asked for
			e.Off = max(off, e.End-block.MaxRaw)
		}
		for off := e.Off; off < e.End; off += block.MaxRaw {
			part := replication.Extent{Off: off, End: min(e.End, off+block.MaxRaw)}
			raw := w.contentOf(p, int(l.Disk))[part.Off:part.End]
			b := block.Block{Disk: l.Disk, Kind: block.Data, Extents: []replication.Extent{part}, Raw: len(raw), CRC: block.Checksum(raw), Codec: block.None, Payload: raw}
			if err := r.Append(&b, raw); err != nil {
				return errors.Join(w.hidden(err), r.Abort())
			}
		}
	}
	if w.r.IntN(4) == 0 {
		return r.Abort()
	}
	n, err = r.Commit()
	if err != nil {
		return err
	}
	w.repaired += int(n)
	if whole = whole && !opt.Resume; whole { // all of the point can be had again
		for h := range w.harmed {
			d := int(w.j.Number(replication.DiskNo(h.disk)))
			if d < len(w.sizes) && w.vers[h.version] != nil && len(w.blinds) == 0 && w.born[d] != NoPoint && w.ver(h.version, d)[h.page] == w.ver(p, d)[h.page] { // what a blind file may have had comes back as a later version
				delete(w.harmed, h)
			}
		}
		for d := range w.sizes {
			if p < w.born[d] {
				continue
			}
			if err := w.compare(p, d, 0, w.sizes[d]); err != nil {
				return fmt.Errorf("after a repair: %w", err)
			}
		}
	}
	d, err := w.j.Damage(context.Background())
	err = w.hidden(err)
	if err == nil && whole && len(w.blinds) == 0 && slices.ContainsFunc(d.Points, func(x DamagedPoint) bool { return x.Point == p }) {
		err = fmt.Errorf("point %d was repaired, and is told to be damaged: %+v", p, d)
	}
	return err
}

// holes compares what a reader says is zero from at on.
func (w *world) holes(p replication.PointID, d int, at int64) error {
	r := w.reader(p, d)
	for at < w.sizes[d] {
		start, end, err := r.NextData(at)
		if err != nil && w.hidden(err) == nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("holes of point %d disk %d: %w", p, d, err)
		}
		if start < at || end < start || start == end && start != w.sizes[d] {
			return fmt.Errorf("holes of point %d disk %d after %d: [%d,%d)", p, d, at, start, end)
		}
		if !replication.IsZero(w.truth[p][d][at:start]) {
			return fmt.Errorf("point %d disk %d has data in [%d,%d), the reader says zeros", p, d, at, start)
		}
		at = max(end, start)
	}
	return nil
}

func (w *world) same(p replication.PointID, d int, off int64, b []byte) error {
	want := w.truth[p][d][off : off+int64(len(b))]
	if bytes.Equal(b, want) {
		return nil
	}
	for i := range b {
		if b[i] != want[i] {
			return fmt.Errorf("point %d disk %d byte %d (page %d): got %#x want %#x; head %d, move %+v", p, d, off+int64(i), (off+int64(i))/replication.Page, b[i], want[i], w.j.Head(), w.j.Unfinished())
		}
	}
	return nil
}

// interleave is what others do in the middle of an operation: readers, some of which stop half way.
func (w *world) interleave() {
	if w.m.off || len(w.listed) == 0 || w.r.IntN(4) > 0 {
		return
	}
	p := w.listed[w.r.IntN(len(w.listed))].ID
	d := w.r.IntN(len(w.sizes))
	if p < w.born[d] { // check makes sure that nobody reads it there
		return
	}
	switch w.r.IntN(5) {
	case 4:
		if err := w.holes(p, d, w.r.Int64N(w.sizes[d])); err != nil && !w.m.off {
			w.wrong(fmt.Errorf("in the middle: %w", err))
		}
	case 0, 1:
		off := w.r.Int64N(w.sizes[d])
		if err := w.compare(p, d, off, 1+w.r.Int64N(w.sizes[d]-off)); err != nil && !w.m.off {
			w.wrong(fmt.Errorf("in the middle: %w", err))
		}
	case 2:
		w.holdReader(p, d)
	case 3:
		if err := w.letGo(); err != nil {
			w.wrong(err)
		}
	}
}

// wrong keeps the first error of those who come in the middle of an operation.
func (w *world) wrong(err error) {
	if w.bad == nil {
		w.bad = err
	}
}

func (w *world) holdReader(p replication.PointID, d int) {
	if len(w.held) > 4 {
		return
	}
	h := &heldRead{point: p, disk: d, buf: make([]byte, w.sizes[d]), release: make(chan struct{}), done: make(chan error, 1)}
	at := make(chan struct{})
	w.hold, w.release = at, h.release
	r, holes, from := w.reader(p, d), w.r.IntN(3) == 0, w.r.Int64N(w.sizes[d])
	if holes {
		h.buf = nil
	}
	go func() {
		if holes {
			h.done <- w.holes(p, d, from)
			return
		}
		_, err := r.ReadAt(h.buf, 0)
		h.done <- err
	}()
	select {
	case <-at:
		w.held = append(w.held, h)
	case err := <-h.done: // everything was in the journal
		w.hold = nil
		if err == nil {
			err = w.same(p, d, 0, h.buf)
		} else if errors.Is(err, ErrCorrupt) && w.flips > 0 {
			err = nil
		}
		if err != nil && !w.m.off {
			w.wrong(err)
		}
	}
}

// letGo lets a reader go on that stands between its looks.
func (w *world) letGo() error {
	if len(w.held) == 0 {
		return nil
	}
	k := w.r.IntN(len(w.held))
	h := w.held[k]
	w.held = slices.Delete(w.held, k, k+1)
	close(h.release)
	if err := <-h.done; err != nil {
		listed := slices.ContainsFunc(w.listed, func(p replication.Point) bool { return p.ID == h.point })
		if errors.Is(err, ErrCorrupt) && w.flips > 0 || errors.Is(err, errPower) || errors.Is(err, errInjected) || errors.Is(err, ErrNoPoint) && !listed {
			return nil
		}
		return err
	}
	w.late++
	if err := w.same(h.point, h.disk, 0, h.buf); err != nil {
		return fmt.Errorf("late reader: %w", err)
	}
	return nil
}

func (w *world) page(b []byte) {
	if w.r.IntN(5) == 0 {
		clear(b)
		return
	}
	v := byte(1 + w.r.IntN(200))
	for i := range b {
		b[i] = v + byte(i%17)
	}
	if w.r.IntN(8) == 0 { // does not compress
		for i := range b {
			b[i] = byte(w.r.Uint32())
		}
	}
}

func clone2(b [][]byte) (c [][]byte) {
	for _, x := range b {
		c = append(c, slices.Clone(x))
	}
	return c
}

// begin makes up a cycle and opens it.
func (w *world) begin() error {
	c := replication.Cycle{Point: w.j.NextPoint() + replication.PointID(w.r.IntN(2)), Mode: replication.Changes, Route: replication.Journaled, Kind: replication.Crash,
		Cut: replication.Cut{Time: time.Unix(1700000000+w.r.Int64N(1e6), 0).UTC(), Snapshot: fmt.Sprint(w.r.Uint64()), Sizes: w.sizes}}
	if len(w.listed) == 0 {
		c.Mode, c.Route = replication.Compare, replication.Through
		w.want = nil
		for _, d := range w.m.disks {
			w.want = append(w.want, slices.Clone(d.cur))
		}
	} else {
		last := w.listed[len(w.listed)-1]
		c.Base, c.BaseChain = last.ID, last.Chain
		w.want = clone2(w.truth[last.ID])
		for d := len(w.want); d < len(w.sizes); d++ { // it joins
			w.want = append(w.want, slices.Clone(w.m.disks[d].cur))
		}
		if w.r.IntN(5) == 0 {
			c.Mode = replication.Compare
		}
	}
	if n := slices.Index(w.born, NoPoint); n >= 0 && len(w.listed) > 0 && w.r.IntN(4) == 0 { // a cut from before they joined
		c.Cut.Sizes, w.want = w.sizes[:n], w.want[:n]
	}
	w.plan, w.equal, w.acked, w.stale = nil, nil, make([]*replication.Set, len(c.Cut.Sizes)), nil
	for d, n := range c.Cut.Sizes {
		w.stale = append(w.stale, &replication.Set{})
		s := &replication.Set{}
		for k := w.r.IntN(6); k > 0; k-- {
			off := w.r.Int64N(n)
			e := replication.Extent{Off: off, End: min(n, off+1+w.r.Int64N(w.reach*replication.Page))}
			if !leftOut(ruleOutward) {
				e = e.Outward(n)
			}
			for p := e.Off; p < e.End; p += replication.Page {
				if w.r.IntN(4) > 0 { // else sent, though it did not change
					w.page(w.want[d][p:min(p+replication.Page, e.End)])
				}
			}
			s.Add(e)
		}
		q := &replication.Set{}
		if c.Mode == replication.Compare || w.born[d] == NoPoint {
			for _, e := range s.Missing(nil, replication.Extent{End: n}) {
				q.Add(e)
			}
		}
		w.plan, w.equal = append(w.plan, s), append(w.equal, q)
	}
	w.cycle = &c
	return w.j.Begin(c)
}

func (w *world) totals() (ts []replication.Total) {
	for d := range w.plan {
		s := replication.NewSet(slices.Concat(w.plan[d].Extents(), w.equal[d].Extents())...)
		if w.j.Joining(replication.DiskNo(d)) && w.r.IntN(2) == 0 { // a source that says that this is all
			s = &replication.Set{}
			for e := range w.j.Coverage(replication.DiskNo(d)).All() {
				s.Add(e)
			}
		}
		if s.Bytes() > 0 || w.r.IntN(2) == 0 {
			ts = append(ts, replication.Total{Disk: replication.DiskNo(d), Bytes: s.Bytes(), Digest: s.Digest()})
		}
	}
	return ts
}

// through writes a part of the baseline to the disks, after saving what was there; or, in a later cycle, of the disks that join.
func (w *world) through() error {
	var all []int
	for d := range w.plan {
		if w.cycle.Route == replication.Through || w.j.Joining(replication.DiskNo(d)) {
			all = append(all, d)
		}
	}
	ds := w.m.targets()
	add := map[replication.DiskNo][]replication.Extent{}
	write, again := map[replication.DiskNo][]replication.Extent{}, map[replication.DiskNo][]replication.Extent{}
	for _, d := range all {
		no, n := replication.DiskNo(d), w.sizes[d]
		for _, e := range w.j.Coverage(no).Missing(nil, replication.Extent{End: n}) {
			e.End = min(e.End, e.Off+8*replication.Page)
			add[no] = append(add[no], e)
			for p := e.Off; p < e.End; p += replication.Page {
				page := replication.Extent{Off: p, End: min(p+replication.Page, e.End)}
				if i := w.m.disks[d]; bytes.Equal(i.cur[page.Off:page.End], w.want[d][page.Off:page.End]) && bytes.Equal(i.dur[page.Off:page.End], w.want[d][page.Off:page.End]) && w.r.IntN(3) > 0 {
					continue // it was compared, and is equal
				}
				write[no] = append(write[no], page)
				if w.r.IntN(3) == 0 {
					again[no] = append(again[no], page)
				}
			}
		}
	}
	for last := false; !last; { // what is sent again is not saved again
		if w.keeps && w.cycle.Route == replication.Through {
			w.saves++
			if err := w.j.SaveOriginal(ds, write); err != nil {
				return err
			}
		}
		for _, d := range all {
			for _, e := range write[replication.DiskNo(d)] {
				b := w.want[d][e.Off:e.End]
				if slices.Contains(again[replication.DiskNo(d)], e) { // a round before, of a source that is still being written to
					b = bytes.Repeat([]byte{0xee}, len(b))
				}
				if _, err := ds[d].WriteAt(b, e.Off); err != nil {
					return err
				}
			}
		}
		if last = len(again) == 0; !last && w.r.IntN(4) == 0 { // it went away
			return nil
		}
		write, again = again, nil
	}
	for _, d := range all {
		if err := ds[d].Sync(); err != nil {
			return err
		}
	}
	if len(add) == 0 {
		return nil
	}
	if err := w.j.RecordCoverage(add); err != nil {
		return err
	}
	w.ack()
	return nil
}

// ship sends a part of what is missing over some lanes.
func (w *world) ship() (err error) {
	if w.cycle.Route == replication.Through {
		return w.through()
	}
	if len(w.sizes) > 0 && w.born[len(w.plan)-1] == NoPoint && w.r.IntN(5) > 0 {
		if err := w.through(); err != nil {
			return err
		}
	}
	var lanes []*Arrival
	for range 1 + w.r.IntN(3) {
		w.lane++
		l := replication.Lane{Session: replication.Session{Group: "web", Generation: w.j.Generation(), ID: 1 + w.lane/5}, Point: w.cycle.Point, Lane: uint32(len(lanes)), Attempt: w.lane}
		a, err := w.j.Lane(l)
		if err != nil {
			return err
		}
		lanes = append(lanes, a)
	}
	for d := range w.sizes {
		disk := replication.DiskNo(d)
		if w.born[d] == NoPoint { // nothing of it may come in here
			b := block.Block{Disk: disk, Kind: []block.Kind{block.Zero, block.Equal}[w.r.IntN(2)], Extents: []replication.Extent{w.pageOf(d, 0)}}
			if err := lanes[0].Append(&b); !errors.Is(err, ErrRoute) && w.j.usable() == nil {
				return fmt.Errorf("disk %d joins, and a lane took a block of it: %v", d, err)
			}
			continue
		}
		cov := w.j.Coverage(disk)
		var todo []replication.Extent
		for _, e := range w.plan[d].Extents() {
			if w.r.IntN(6) == 0 {
				todo = append(todo, e) // again
				continue
			}
			todo = cov.Missing(todo, e)
		}
		all := w.stale[d].Clone()
		for _, e := range todo {
			all.Add(e)
		}
		todo = all.Extents()
		for _, b := range w.blocks(disk, todo) {
			a := lanes[w.r.IntN(len(lanes))]
			for w.r.IntN(5) == 0 { // a round before, of a source that is still being written to
				old := w.before(&b)
				if err := a.Append(&old); err != nil {
					return err
				}
			}
			if err := a.Append(&b); err != nil {
				return err
			}
			if w.r.IntN(4) == 0 {
				if err := a.Sync(); err != nil {
					return err
				}
				w.ack()
			}
		}
		if q := w.equal[d].Extents(); len(q) > 0 {
			b := block.Block{Disk: disk, Kind: block.Equal, Extents: slices.Clone(q)}
			if err := lanes[0].Append(&b); err != nil {
				return err
			}
		}
	}
	away := false
	for _, a := range lanes {
		if w.r.IntN(9) == 0 {
			away = true // the process server went away
			continue
		}
		if err := a.Close(); err != nil {
			return err
		}
		w.ack()
	}
	if !away {
		for d := range w.stale {
			w.stale[d] = &replication.Set{}
		}
	}
	return nil
}

// before makes up what an earlier round of the same lane sent of a part of a block's extents; the block wins.
func (w *world) before(b *block.Block) block.Block {
	var part replication.Extent
	e := b.Extents[w.r.IntN(len(b.Extents))]
	part.Off = e.Off + w.r.Int64N((e.Len()+replication.Page-1)/replication.Page)*replication.Page
	part.End = min(e.End, part.Off+(1+w.r.Int64N(4))*replication.Page)
	w.stale[b.Disk].Add(part)
	if w.r.IntN(3) == 0 {
		return block.Block{Disk: b.Disk, Kind: block.Zero, Extents: []replication.Extent{part}}
	}
	raw := bytes.Repeat([]byte{0xee}, int(part.Len()))
	return block.Block{Disk: b.Disk, Kind: block.Data, Extents: []replication.Extent{part}, Raw: len(raw), CRC: block.Checksum(raw), Codec: block.None, Payload: raw}
}

// blocks packs extents, page by page, into blocks.
func (w *world) blocks(disk replication.DiskNo, todo []replication.Extent) (bs []block.Block) {
	var enc block.Encoder
	var raw []byte
	var exts []replication.Extent
	flush := func() {
		if len(exts) == 0 {
			return
		}
		b := block.Block{Disk: disk, Kind: block.Data, Extents: exts, Raw: len(raw), CRC: block.Checksum(raw)}
		b.Payload, b.Codec = enc.Encode(nil, raw, block.Level(w.r.IntN(4)))
		bs = append(bs, b)
		raw, exts = nil, nil
	}
	for _, e := range todo {
		for e.Off < e.End {
			part := replication.Extent{Off: e.Off, End: min(e.End, e.Off+replication.Page*(1+w.r.Int64N(3)))}
			b := w.want[disk][part.Off:part.End]
			if replication.IsZero(b) && w.r.IntN(2) == 0 {
				bs = append(bs, block.Block{Disk: disk, Kind: block.Zero, Extents: []replication.Extent{part}})
			} else {
				if len(raw)+len(b) > block.MaxRaw || len(exts) > 0 && w.r.IntN(3) == 0 {
					flush()
				}
				if n := len(exts); n > 0 && exts[n-1].End == part.Off {
					exts[n-1].End = part.End
				} else {
					exts = append(exts, part)
				}
				raw = append(raw, b...)
			}
			e.Off = part.End
		}
	}
	flush()
	return bs
}

// list ends the cycle.
func (w *world) list() error {
	for d := range w.stale {
		if w.stale[d].Bytes() > 0 {
			return w.ship()
		}
	}
	w.maybe = w.cycle.Point
	totals, whole := w.totals(), len(w.j.open.arrivals) == 0
	for d := range w.plan {
		durable := w.j.Coverage(replication.DiskNo(d)).Total()
		if durable.Bytes() != w.j.Durable(replication.DiskNo(d)) {
			return fmt.Errorf("disk %d: coverage of %d bytes, of which %d are durable", d, durable.Bytes(), w.j.Durable(replication.DiskNo(d)))
		}
		whole = whole && durable.Digest() == replication.NewSet(slices.Concat(w.plan[d].Extents(), w.equal[d].Extents())...).Digest()
	}
	p, err := w.j.List(totals, replication.App, nil)
	if err != nil {
		if errors.Is(err, ErrIncomplete) && !whole {
			w.maybe = 0
			return nil
		}
		return err
	}
	w.maybe = 0
	w.accept(p)
	return nil
}

func (w *world) move() error {
	to := w.listed[w.r.IntN(len(w.listed))].ID
	if u := w.j.Unfinished(); u != nil {
		switch w.r.IntN(3) {
		case 0:
			to = u.From
			w.turned++
		case 1:
			to = u.To
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	calls := w.r.IntN(12)
	if w.j.moving.TryLock() {
		w.j.moving.Unlock()
	} else {
		return nil // in the middle of one
	}
	if err := w.estimate(to); err != nil {
		return err
	}
	was := w.deep
	w.deep = true
	var other error
	err := w.j.Move(ctx, w.m.targets(), to, func(MoveProgress) {
		if calls--; calls == 0 {
			cancel()
		}
		if other == nil {
			other = w.meanwhile()
		}
	})
	w.deep = was
	if other != nil {
		return other
	}
	if errors.Is(err, ErrNoPoint) && !slices.ContainsFunc(w.listed, func(p replication.Point) bool { return p.ID == to }) {
		return nil // it was dropped while the move was being prepared
	}
	if err == nil {
		w.moves++
		if slices.ContainsFunc(w.born, func(b replication.PointID) bool { return b != NoPoint && to < b }) {
			w.clamped++
		}
		if w.j.Head() != to || w.j.Unfinished() != nil {
			return fmt.Errorf("moved to %d: head %d, unfinished %+v", to, w.j.Head(), w.j.Unfinished())
		}
	}
	if errors.Is(err, ErrCorrupt) && w.hurt() {
		w.stopped++
		return nil
	}
	if errors.Is(err, ErrInUse) && len(w.blinds) > 0 { // files are being rewritten, and one is to be buried
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// estimate holds what the journal reckons of a move against what is known of the versions at both ends.
func (w *world) estimate(to replication.PointID) error {
	between := func(a, b replication.PointID, done []int64) (n int64) {
		for d := range w.sizes {
			if w.born[d] == NoPoint {
				continue
			}
			for k, v := range w.ver(a, d) {
				if e := w.pageOf(d, k); v != w.ver(b, d)[k] {
					n += max(e.End-max(e.Off, done[d]), 0)
				}
			}
		}
		return n
	}
	from, want := w.j.Head(), int64(0)
	none := make([]int64, len(w.sizes))
	if u := w.j.Unfinished(); u != nil {
		from = u.To
		want = between(u.From, u.To, u.Done)
		if to == u.From {
			from, want = to, between(u.From, u.To, none)
		}
	}
	want += between(from, to, none)
	ctx := context.Background()
	e, err := w.j.EstimateMove(ctx, to)
	if err != nil {
		return w.dead(w.hidden(err))
	}
	quick, _, err := w.j.EstimateWrite(ctx, to)
	if err != nil {
		return w.dead(w.hidden(err))
	}
	if len(w.blinds) > 0 {
		return nil
	}
	var spare int64
	for _, n := range e.Spares {
		spare += n
	}
	if bound := w.j.BoundMove(to); e.From != from || e.Write != want || quick != want || bound < want || e.Save+spare != between(from, to, none) {
		return fmt.Errorf("move to %d: reckoned %+v, quickly %d, at most %d; want %d bytes from point %d", to, e, quick, bound, want, from)
	}
	return nil
}

// dead returns err unless it comes from a power failure.
func (w *world) dead(err error) error {
	if w.m.off {
		return nil
	}
	return err
}

// step does one thing.
func (w *world) step() error {
	w.ops++
	if len(w.listed) > w.most {
		return w.thin()
	}
	if w.frail && len(w.listed) > 0 {
		switch w.r.IntN(12) {
		case 0, 1:
			w.harm()
			return nil
		case 2:
			return w.scrub()
		}
	}
	if len(w.listed) > 1 {
		switch w.r.IntN(14) {
		case 13:
			if len(w.sizes) < 5 && w.r.IntN(4) == 0 {
				return w.join()
			}
			if w.r.IntN(3) == 0 {
				return w.enlarge(w.r.IntN(len(w.sizes)))
			}
			if len(w.sizes) > 1 && len(w.away) < 4 && w.j.Unfinished() == nil && w.r.IntN(2) == 0 {
				d := w.r.IntN(len(w.sizes))
				if slices.ContainsFunc(less(w.born, d), func(b replication.PointID) bool { return b != NoPoint }) {
					return w.leave(d)
				}
			}
		case 12:
			w.j.t.logBytes = 1
			return w.j.Shorten()
		case 0, 1, 2:
			return w.rewrite()
		case 3:
			return w.drop(3 + w.most/2)
		}
	}
	switch k := w.r.IntN(20); {
	case w.cycle == nil && (len(w.listed) == 0 || k < 8):
		return w.begin()
	case w.cycle != nil && k < 6:
		return w.ship()
	case w.cycle != nil && k < 12:
		for _, a := range slices.SortedFunc(maps.Keys(w.j.open.arrivals), func(a, b *Arrival) int { return int(a.lane.Attempt) - int(b.lane.Attempt) }) {
			if err := a.Close(); err != nil {
				return err
			}
		}
		return w.list()
	case w.cycle != nil && k == 12 && w.r.IntN(3) == 0:
		if err := w.j.Drop("test"); err != nil {
			return err
		}
		w.cycle = nil
		return nil
	case len(w.listed) > 0 && k < 18:
		return w.move()
	case len(w.listed) > 0 && k == 18:
		p := w.listed[w.r.IntN(len(w.listed))].ID
		if w.r.IntN(2) == 0 {
			return w.pin(p, false, time.Time{})
		}
		until := []time.Time{{}, time.Unix(1700000000, 0), time.Now().Add(time.Hour)}[w.r.IntN(3)]
		return errors.Join(w.j.MarkVerified(p, replication.Verify{Equal: true}), w.pin(p, true, until))
	case k == 19:
		_, err := w.j.Adopt(replication.Generation(w.r.IntN(9)))
		return errors.Join(err, w.j.RecordContentIDs(slices.Repeat([]uint32{w.r.Uint32()}, len(w.sizes))))
	}
	return nil
}

// run lives a world's life.
func (w *world) run(steps int) error {
	w.cut(30)
	if err := w.start(); err != nil {
		return err
	}
	for i := range steps {
		if w.r.IntN(w.calm) == 0 {
			w.cut(1 + w.r.IntN(60))
		}
		err := w.step()
		if w.bad != nil {
			return fmt.Errorf("step %d: %w", i, w.bad)
		}
		if w.m.off || err == nil && w.r.IntN(6*w.calm) == 0 {
			w.m.mu.Lock()
			w.m.off = true
			w.m.mu.Unlock()
			if err := w.crash(); err != nil {
				return fmt.Errorf("step %d: %w", i, err)
			}
			continue
		}
		w.m.cutAt = 0
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		if err := w.check(atRest); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	for len(w.held) > 0 {
		if err := w.letGo(); err != nil {
			return err
		}
	}
	if err := w.j.Check(context.Background()); err != nil && w.flips == 0 {
		return err
	}
	return w.j.Close()
}

// crash is a power failure or a kill, and the start after it, which may meet the next.
func (w *world) crash() error {
	w.crashes++
	for len(w.held) > 0 {
		if err := w.letGo(); err != nil {
			return err
		}
	}
	w.m.onOp = nil
	w.j.files.forget("")
	w.down()
	err := w.start()
	if err == nil {
		w.m.cutAt = 0
	}
	return err
}

// TestModel lives many worlds, some of them ten times as long. FAILBACK_SEEDS sets how many, FAILBACK_STEPS how long, FAILBACK_SEED the first.
func TestModel(t *testing.T) {
	seeds, first := fewer(250), uint64(0)
	if n, err := strconv.Atoi(os.Getenv("FAILBACK_SEEDS")); err == nil {
		seeds = n
	}
	if n, err := strconv.ParseUint(os.Getenv("FAILBACK_SEED"), 10, 64); err == nil {
		first = n
		if os.Getenv("FAILBACK_SEEDS") == "" {
			seeds = 1
		}
	}
	steps := 60
	if n, err := strconv.Atoi(os.Getenv("FAILBACK_STEPS")); err == nil {
		steps = n
	}
	var sum counts
	for s := range seeds {
		seed, n := first+uint64(s), steps
		if s%25 == 13 {
			n *= 10
		}
		w := newWorld(seed)
		if err := w.run(n); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		sum.add(&w.counts)
	}
	t.Logf("%d worlds, %v", seeds, &sum)
}
