package processserver

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"failback/replication"
	"failback/replication/block"
)

// repeats finds what a shipment need not send because the master target holds it elsewhere.
//
// Where, is known by hashes: in a cycle of changes, the base's tables say what the disks of the base's point hold. In a comparison, what was found equal is held; and in a first
// baseline, which is written through, so is what this shipment sent by value: what refers to that waits until it has arrived. Nothing refers to what is itself a
// reference, so that whatever order things arrive in, no two wait for each other.
type repeats struct {
	contents *contents
	salt     uint64
	disks    []*diskShip
	changes  bool                        // a cycle of changes: origins are what the base's tables say
	through  bool                        // a first baseline: what was sent is held too
	indexed  map[replication.DiskNo]bool // changes: what the base holds of these is remembered already

	mu      sync.Mutex // held while pages are decided on: of two disks that hold the same, one is the origin
	waiting []run      // first in, first out
}

// run is consecutive pages that are held elsewhere, in the same order.
type run struct {
	disk, origin *diskShip
	at           replication.Extent
	off          int64 // on origin
}

const (
	leastRun   = 2 * replication.Page // shorter ones are sent: a read of the target's disk is not worth less than that
	maxWaiting = 64 << 10             // runs that wait, of 48 bytes
)

// newRepeats returns nil where nothing may be sent by reference.
func (s *shipment) newRepeats(g *group) *repeats {
	c := s.engine.contents
	if c == nil || !s.order.Repeats {
		return nil
	}
	r := &repeats{contents: c, salt: salt(s.fence.Group), disks: s.disks, changes: s.order.Mode == replication.Changes, indexed: g.indexed}
	r.through = !r.changes && s.order.Base == 0
	pages, tables := int64(0), false
	for _, d := range s.disks {
		pages += (d.Disk.Size + replication.Page - 1) / replication.Page
		tables = tables || d.base != nil
	}
	if r.changes && !tables { // nobody knows what the base holds
		return nil
	}
	c.hold(s.fence.Group, pages)
	return r
}

// begin begins a pass over the disks. What an earlier one sent may have been lost with its lanes: of that, what is durable is known.
func (r *repeats) begin(stable bool) {
	if r == nil || r.changes {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = nil
	for _, d := range r.disks {
		d.firm = replication.NewPages(d.Disk.Size)
		if r.through && stable {
			d.firm.AddAll(d.durable)
		}
	}
}

// waits says whether runs wait.
func (r *repeats) waits() bool { return r != nil && len(r.waiting) > 0 }

// learn remembers what the base holds, after a start of the process server: from 1/256 of the disks' size of tables.
func (r *repeats) learn(ctx context.Context) error {
	if r == nil || !r.changes {
		return nil
	}
	var buf [pagesPerRegion]replication.Hash
	for _, d := range r.disks {
		if d.base == nil || r.indexed[d.Disk.No] {
			continue
		}
		for region := range d.base.Regions() {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			pages, _, err := d.base.Get(region, buf[:0])
			if err != nil {
				return fmt.Errorf("disk %s: read table: %w", d.Disk.ID, err)
			}
			r.remember(d, region*replication.Region, pages)
		}
	}
	return nil
}

// holds takes note of content that the master target holds at e.
func (r *repeats) holds(d *diskShip, e replication.Extent, pages []replication.Hash) {
	if r == nil || d.firm == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d.firm.Add(e)
	r.remember(d, e.Off, pages)
}

// remember remembers what the base holds, from off on.
func (r *repeats) remember(d *diskShip, off int64, pages []replication.Hash) {
	for i, h := range pages {
		if at := off + int64(i)*replication.Page; at+replication.Page <= d.Disk.Size {
			r.contents.put(r.salt, h, placeOf(d.Disk.No, at))
		}
	}
}

// decide says which parts of e, whose content b has the given hashes, the master target holds elsewhere: runs in rising order. All else is taken to be sent by value.
func (r *repeats) decide(d *diskShip, e replication.Extent, b []byte, pages []replication.Hash) (runs []run, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	look := origins{repeats: r}
	whole := int(e.Len() / replication.Page) // a short page at the disk's end is nobody's repeat
	at := 0                                  // of the page that no run has yet
	for i := 0; i < whole; i++ {
		p, found, kept := r.contents.find(r.salt, pages[i])
		if !kept || constant(b[i*replication.Page:(i+1)*replication.Page]) {
			continue
		}
		here := placeOf(d.Disk.No, e.Off+int64(i)*replication.Page)
		if found && p != here {
			var n, m int // pages of the run from i on, and before
			if n, err = look.alike(p, pages[i:whole], 1); err != nil {
				return nil, err
			}
			if n > 0 {
				if m, err = look.alike(p, pages[at:i], -1); err != nil {
					return nil, err
				}
			}
			if n+m >= leastRun/replication.Page {
				x := run{disk: d, origin: r.disks[p.disk()], off: p.off() - int64(m)*replication.Page}
				x.at = replication.Extent{Off: e.Off + int64(i-m)*replication.Page, End: e.Off + int64(i+n)*replication.Page}
				runs = append(runs, x)
				i += n - 1
				at = i + 1
				continue
			}
			if n > 0 { // held there, but not worth it
				continue
			}
		}
		r.contents.put(r.salt, pages[i], here)
	}
	if r.through {
		from := e.Off
		for _, x := range append(runs, run{at: replication.Extent{Off: e.End, End: e.End}}) {
			d.firm.Add(replication.Extent{Off: from, End: x.at.Off})
			from = x.at.End
		}
	}
	return runs, nil
}

// constant says whether a page repeats eight bytes: it compresses to less than a reference.
func constant(page []byte) bool { return bytes.Equal(page[8:], page[:len(page)-8]) }

// origins looks at what the master target holds, region by region.
type origins struct {
	*repeats
	disk   *diskShip
	region int64
	known  bool // by a table
	pages  []replication.Hash
	buf    [pagesPerRegion]replication.Hash
}

// alike returns how many of the pages are held from place p on: as they rise (step 1), p being the first's; or as they fall (-1), p being that which follows the last.
func (o *origins) alike(p place, pages []replication.Hash, step int) (n int, err error) {
	if int(p.disk()) >= len(o.disks) { // of an earlier protection
		return 0, nil
	}
	d, off, i := o.disks[p.disk()], p.off(), 0
	if step < 0 {
		off, i = off-replication.Page, len(pages)-1
	}
	for ; i >= 0 && i < len(pages) && off >= 0 && off+replication.Page <= d.Disk.Size; i, off = i+step, off+int64(step)*replication.Page {
		if d.firm != nil && !d.firm.Contains(replication.Extent{Off: off, End: off + replication.Page}) {
			break
		}
		if err := o.look(d, off/replication.Region); err != nil {
			return 0, err
		}
		alike := o.known && o.pages[off%replication.Region/replication.Page] == pages[i]
		if !o.known && d.firm != nil { // there is no table: it has to be remembered
			q, found, _ := o.contents.find(o.salt, pages[i])
			alike = found && q == placeOf(d.Disk.No, off)
		}
		if !alike || pages[i] == (replication.Hash{}) { // zeros are never sent, nor referred to
			break
		}
		n++
	}
	return n, nil
}

// look gets the hashes of a region that the master target holds, where there is a table of them.
func (o *origins) look(d *diskShip, region int64) (err error) {
	if o.disk == d && o.region == region {
		return nil
	}
	o.disk, o.region, o.known = d, region, false
	table := d.table
	if o.changes {
		table = d.base
	}
	if table == nil {
		return nil
	}
	if o.pages, o.known, err = table.Get(region, o.buf[:0]); err != nil {
		return fmt.Errorf("read table: %w", err)
	}
	return nil
}

// wait keeps runs until what they refer to has arrived.
func (r *repeats) wait(runs []run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range runs {
		if n := len(r.waiting); n > 0 {
			last := &r.waiting[n-1]
			if last.disk == x.disk && last.origin == x.origin && last.at.End == x.at.Off && last.off+last.at.Len() == x.off {
				last.at.End = x.at.End
				continue
			}
		}
		r.waiting = append(r.waiting, x)
	}
}

// overdue takes the run that has waited longest, where too many do: what it refers to was sent long ago. Should it still not be there, it is asked for by value.
func (r *repeats) overdue() (x run, ok bool) {
	if r == nil {
		return x, false
	}
	return r.next(maxWaiting)
}

// next takes the run that has waited longest, where more than so many wait.
func (r *repeats) next(leave int) (x run, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) <= leave {
		return x, false
	}
	x, r.waiting = r.waiting[0], r.waiting[1:]
	return x, true
}

// scanWaiting makes jobs of all that waits.
func (s *shipment) scanWaiting(ctx context.Context) error {
	for x, more := s.repeats.next(0); more; x, more = s.repeats.next(0) { // no worker adds to them any more
		for !x.at.Empty() {
			part := x
			part.at.End = min(x.at.End, x.at.Off+replication.Region)
			if err := s.give(ctx, job{disk: x.disk, repeat: &part}); err != nil {
				return err
			}
			x.at.Off, x.off = part.at.End, x.off+part.at.Len()
		}
	}
	return nil
}

// send sends the content b of extent e, whose pages have the given hashes (nil: not known), by value or by reference.
func (w *worker) send(d *diskShip, e replication.Extent, b []byte, pages []replication.Hash) error {
	if w.repeats == nil || pages == nil || d.told.Overlaps(e) { // of what is durable already, the coverage could not tell whether a reference was resolved
		return w.pack.pages(d, e, b)
	}
	runs, err := w.repeats.decide(d, e, b, pages)
	if err != nil {
		return err
	}
	at := e.Off
	for _, x := range append(runs, run{at: replication.Extent{Off: e.End, End: e.End}}) {
		if x.at.Off > at {
			if err := w.pack.pages(d, replication.Extent{Off: at, End: x.at.Off}, b[at-e.Off:x.at.Off-e.Off]); err != nil {
				return err
			}
		}
		at = x.at.End
		d.ledger.look(&d.ledger.repeated, x.at.Len())
		if x.disk != nil && !w.repeats.through {
			if err := w.pack.repeat(x, pages[(x.at.Off-e.Off)/replication.Page:]); err != nil {
				return err
			}
		}
	}
	if w.repeats.through {
		w.repeats.wait(runs)
	}
	return nil
}

// sendRun sends a run that has waited, by reference. It uses the worker's buffers.
func (w *worker) sendRun(x run) error {
	for !x.at.Empty() {
		region := x.at.Off &^ (replication.Region - 1)
		part := x
		part.at.End = min(x.at.End, region+replication.Region)
		var pages []replication.Hash
		if x.disk.table != nil {
			all, ok, err := x.disk.table.Get(region/replication.Region, w.base[:0])
			if err != nil {
				return fmt.Errorf("read table: %w", err)
			}
			if ok {
				pages = all[(x.at.Off-region)/replication.Page:]
			}
		}
		if pages == nil {
			w.fresh()
			b := w.buf[:part.at.Len()]
			if err := w.read(x.disk, b, part.at.Off); err != nil {
				return err
			}
			pages = replication.HashPages(w.base[:0], b)
		}
		if err := w.pack.repeat(part, pages); err != nil {
			return err
		}
		x.at.Off, x.off = part.at.End, x.off+part.at.Len()
	}
	return nil
}

// repeat packs references to a run whose pages have the given hashes, and more.
func (p *packer) repeat(x run, pages []replication.Hash) error {
	for !x.at.Empty() {
		n := min(x.at.Len(), block.MaxRaw)
		k := n / replication.Page
		b := block.Block{
			Disk: x.disk.Disk.No, Kind: block.Repeat, Raw: int(n), Extents: []replication.Extent{{Off: x.at.Off, End: x.at.Off + n}},
			Origin: block.Origin{Disk: x.origin.Disk.No, Off: x.off, Hash: replication.HashRegion(pages[:k])},
		}
		if err := p.add(b, nil, nil); err != nil {
			return err
		}
		x.at.Off, x.off, pages = x.at.Off+n, x.off+n, pages[k:]
	}
	return nil
}

// sendByValue asks what is durable now, and sends the rest by value: the references that were not resolved.
func (s *shipment) sendByValue(ctx context.Context) error {
	s.engine.cfg.Log.Info("repeats are sent by value: the master target does not hold them as was thought", "group", s.fence.Group, "point", s.fence.Point, "bytes", s.byValue.Load())
	s.repeats = nil
	for _, d := range s.disks {
		d.durable = replication.NewPages(d.Disk.Size)
	}
	if err := s.engine.authority.Coverage(ctx, s.fence, s.cover); err != nil {
		return fmt.Errorf("ask what is durable: %w", err)
	}
	return s.pass(ctx, func(ctx context.Context) error {
		for _, d := range s.disks {
			if err := s.scanExtents(ctx, d, s.covered(d), true); err != nil {
				return fmt.Errorf("disk %s: %w", d.Disk.ID, err)
			}
		}
		return nil
	})
}

// asHashed says whether content that is read again is what it was when it was hashed: a disk without snapshots may have changed meanwhile, and the table would not know.
func (w *worker) asHashed(d *diskShip, e replication.Extent, b []byte) error {
	if d.table == nil || w.stable {
		return nil
	}
	for off := e.Off; off < e.End; {
		region := off &^ (replication.Region - 1)
		end := min(region+replication.Region, e.End)
		was, ok, err := d.table.Get(region/replication.Region, w.base[:0])
		if err != nil {
			return fmt.Errorf("read table: %w", err)
		}
		now := replication.HashPages(w.pages[:0], b[off-e.Off:end-e.Off])
		if was = was[min((off-region)/replication.Page, int64(len(was))):]; !ok || len(was) < len(now) || !slices.Equal(was[:len(now)], now) {
			return moved(d, off)
		}
		off = end
	}
	return nil
}
