package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"failback/replication"
	"failback/replication/link"
	"failback/retention"
	"failback/retention/policy"
)

// Compare implements link.Authority. It shows the content that the session's cycle is compared with: the disks themselves for a first baseline, a point otherwise.
func (e *Engine) Compare(ctx context.Context, f link.Fence, disk replication.DiskNo, extents []replication.Extent) (link.Comparison, error) {
	g, err := e.enter(ctx, f)
	if err != nil {
		return nil, err
	}
	defer g.gate.RUnlock()
	content, err := g.base(g.readingOf(disk), disk)
	if err != nil {
		return nil, err
	}
	size := content.Size()
	if len(extents) == 0 {
		extents = []replication.Extent{{End: size}}
	}
	for _, x := range extents {
		if x.Off%replication.Region != 0 || x.Check((size+replication.Region-1)&^(replication.Region-1)) != nil {
			content.Close()
			return nil, fmt.Errorf("compare disk %d of group %s: %v is not whole regions of a disk of %d bytes", disk, g.id, x, size)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c := &comparison{ctx: ctx, cancel: cancel, sides: make(chan (<-chan told), compareAhead)}
	c.leave = g.compareNow(disk, c)
	keep := e.told.begin(comparedDisk{g.id, disk}, f.Session)
	mending := g.mending
	go c.run(ctx, content, extents, mending, keep, func() error { return g.still(f) })
	return c, nil
}

// still says whether the session of a call is active.
func (g *group) still(f link.Fence) error {
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.checkFence(f.Session)
}

// Pages implements link.Authority.
func (e *Engine) Pages(ctx context.Context, f link.Fence, disk replication.DiskNo, off int64) ([]replication.Hash, error) {
	done, err := e.turnOf(ctx, f, func(g *group) chan struct{} { return g.paging })
	if err != nil {
		return nil, err
	}
	defer done()
	g, err := e.enter(ctx, f)
	if err != nil {
		return nil, err
	}
	defer g.gate.RUnlock()
	if pages := e.told.take(comparedDisk{g.id, disk}, f.Session, off); pages != nil {
		return pages, nil
	}
	content, err := g.base(g.readingOf(disk), disk)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	if off < 0 || off%replication.Region != 0 || off >= content.Size() {
		return nil, fmt.Errorf("pages of disk %d of group %s: no region at %d", disk, g.id, off)
	}
	b := regionBuffers.Get().(*[]byte)
	defer regionBuffers.Put(b)
	return hashRegion(content, off, *b, g.mending)
}

// readingOf is what Compare shows of a disk in the active session: one that is written through, as it stands. The gate is held.
func (g *group) readingOf(disk replication.DiskNo) replication.PointID {
	if g.through != nil && g.through.takes(disk) {
		return 0
	}
	return g.reading
}

// base opens a disk at a cycle's base; 0: as it stands, before a first baseline. No cycle starts from point 0, nor is that verified.
func (g *group) base(p replication.PointID, disk replication.DiskNo) (link.Content, error) {
	if p == 0 {
		if int(disk) >= len(g.targets) {
			return nil, &replication.Problem{Code: "no-such-disk", Message: fmt.Sprintf("group %s has no disk %d", g.id, disk)}
		}
		return standing{g.targets[disk]}, nil
	}
	return g.whole(p, disk)
}

// whole opens a disk at a point, as large as it is now: what it has grown by since is compared with what its target holds there.
func (g *group) whole(p replication.PointID, disk replication.DiskNo) (link.Content, error) {
	c, err := g.content(p, disk)
	if err != nil {
		return nil, err
	}
	if err := c.(*occupying).Whole(); err != nil {
		c.Close()
		return nil, journalProblem(g.id, err)
	}
	return c, nil
}

// content opens a disk of the group at a point.
func (g *group) content(p replication.PointID, disk replication.DiskNo) (link.Content, error) {
	if int(disk) >= len(g.targets) {
		return nil, &replication.Problem{Code: "no-such-disk", Message: fmt.Sprintf("group %s has no disk %d", g.id, disk)}
	}
	r, err := g.journal.Reader(p, disk, g.targets[disk])
	if err != nil {
		return nil, journalProblem(g.id, err)
	}
	return &occupying{Reader: r, leave: g.occupy(p, policy.Reader)}, nil
}

// occupying is a reader of a point that is not dropped meanwhile.
type occupying struct {
	*retention.Reader
	once  sync.Once
	leave func()
}

func (o *occupying) Close() error {
	o.once.Do(o.leave)
	return o.Reader.Close()
}

// standing is a disk as it stands: its Close leaves the disk open.
type standing struct {
	disk interface {
		io.ReaderAt
		Size() int64
		NextData(off int64) (start, end int64, err error)
	}
}

func (s standing) ReadAt(p []byte, off int64) (int, error)          { return s.disk.ReadAt(p, off) }
func (s standing) Size() int64                                      { return s.disk.Size() }
func (s standing) NextData(off int64) (start, end int64, err error) { return s.disk.NextData(off) }
func (s standing) Close() error                                     { return nil }

// Bounds of one comparison: regions read and hashed at a time, and told ahead of who asks. And of the calls for pages of one group at a time, as many as a process server has workers: each takes a region.
const (
	compareWorkers = 2
	compareAhead   = 32
	pagesCalls     = 64
)

var regionBuffers = newBufferPool(replication.Region)

type told struct {
	link.Side
	err error
}

// comparison reads and hashes ahead; Next takes in order.
type comparison struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	leave  func()
	sides  chan (<-chan told) // in rising order
}

// errAnother is what a comparison ends with that another of its disk took the place of.
var errAnother = &replication.Problem{Code: link.CodeStale, Message: "the disk is compared anew", Remedy: "none needed: the newer comparison goes on"}

// compareNow makes c the comparison of a disk that is under way, and ends the one that was: whoever asked for it has gone, or asks for more than there is.
func (g *group) compareNow(disk replication.DiskNo, c *comparison) (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if was := g.comparing[disk]; was != nil {
		was.cancel(errAnother)
	}
	if g.comparing == nil {
		g.comparing = map[replication.DiskNo]*comparison{}
	}
	g.comparing[disk] = c
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.comparing[disk] == c {
			delete(g.comparing, disk)
		}
	}
}

func (c *comparison) Close() {
	c.cancel(nil)
	c.leave()
}

func (c *comparison) Next() (link.Side, error) {
	one, more := <-c.sides
	if cause := context.Cause(c.ctx); cause == errAnother {
		return link.Side{}, cause
	}
	if !more {
		return link.Side{}, io.EOF
	}
	t := <-one
	return t.Side, t.err
}

// run makes the sides, rising, until ctx ends, and keeps what they were made of. It closes the content when nothing reads it any more.
func (c *comparison) run(ctx context.Context, content link.Content, extents []replication.Extent, mending bool, keep func(off int64, pages []replication.Hash), still func() error) {
	places := make(chan struct{}, compareWorkers)
	defer content.Close()
	defer func() { // wait for all hashing to end
		for range compareWorkers {
			places <- struct{}{}
		}
	}()
	defer close(c.sides)
	give := func(ch <-chan told) bool {
		select {
		case c.sides <- ch:
			return true
		case <-ctx.Done():
			return false
		}
	}
	known := func(t told) bool {
		ch := make(chan told, 1)
		ch <- t
		return give(ch)
	}
	size := content.Size()
	until := int64(0) // up to where there may be data: to ask again for each region costs as much as to hash it, where files know their holes by their pages only (tmpfs)
	for _, x := range extents {
		x.End = min(x.End, size)
		for off := x.Off; off < x.End; {
			if err := ctx.Err(); err != nil {
				return
			}
			data, err := off, error(nil)
			if off >= until {
				data, until, err = content.NextData(off)
			}
			if err == nil {
				err = still()
			}
			if err != nil {
				known(told{err: err})
				return
			}
			if zero := min(data&^(replication.Region-1), x.End); data >= size || zero > off {
				if data >= size {
					zero = x.End
				}
				if !known(told{Side: link.Side{Extent: replication.Extent{Off: off, End: zero}, Zero: true}}) {
					return
				}
				off = zero
				continue
			}
			region := replication.Extent{Off: off, End: min(off+replication.Region, size)}
			ch := make(chan told, 1)
			places <- struct{}{}
			go func() {
				defer func() { <-places }()
				b := regionBuffers.Get().(*[]byte)
				defer regionBuffers.Put(b)
				pages, err := hashRegion(content, region.Off, *b, mending)
				if err != nil {
					ch <- told{err: err}
					return
				}
				keep(region.Off, pages)
				ch <- told{Side: link.Side{Extent: region, Hash: replication.HashRegion(pages)}}
			}()
			if !give(ch) {
				return
			}
			off = region.End
		}
	}
}

// noContent is the hash of a page that is damaged: no content has it, so that the source sends the page.
var noContent = replication.Hash(bytes.Repeat([]byte{0xff}, len(replication.Hash{})))

// hashRegion returns the hashes of the pages of the region at off, read into b. mending: what is damaged differs from whatever the source has; else it is an error.
func hashRegion(content link.Content, off int64, b []byte, mending bool) ([]replication.Hash, error) {
	b = b[:min(replication.Region, content.Size()-off)]
	pages := make([]replication.Hash, 0, replication.Region/replication.Page)
	n, err := content.ReadAt(b, off)
	switch {
	case n == len(b):
		return replication.HashPages(pages, b), nil
	case !mending || !errors.Is(err, retention.ErrCorrupt):
		return nil, fmt.Errorf("read region at %d: %w", off, err)
	}
	for at := int64(0); at < int64(len(b)); at += replication.Page {
		page := b[at:min(at+replication.Page, int64(len(b)))]
		n, err := content.ReadAt(page, off+at)
		switch {
		case n == len(page):
			pages = replication.HashPages(pages, page)
		case errors.Is(err, retention.ErrCorrupt):
			pages = append(pages, noContent)
		default:
			return nil, fmt.Errorf("read page at %d: %w", off+at, err)
		}
	}
	return pages, nil
}
