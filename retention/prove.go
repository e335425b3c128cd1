package retention

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"failback/replication"
	"failback/replication/block"
)

// maxProved bounds how many blocks a proof remembers to have seen, of 32 bytes each.
const maxProved = 64 << 10

// proofBatch is how many blocks a proof looks at together: by few reads where they lie near each other.
const proofBatch = 256

// proof looks at the blocks that something will need, before it begins: headers and payloads by their checksums, which were right when the content was. It reads them, and keeps none. Blocks of files that were read
// whole, or written, by this process not longer ago than tuning.trust are taken for good. What is damaged is gathered.
type proof struct {
	j       *Journal
	loaders *loaders
	mu      sync.Mutex
	seen    map[blockKey]bool
	parts   []Part
	of      map[string]int // by file: parts whose extents were looked up
	bytes   int64          // read
}

func newProof(j *Journal) *proof {
	return &proof{j: j, loaders: newLoaders(&j.id), of: map[string]int{}}
}

// differing looks at what catalog.differing gives of a disk.
func (p *proof) differing(ctx context.Context, c *catalog, disk replication.DiskNo, from, to, at replication.PointID) error {
	w := &proofWalk{p: p, ctx: ctx}
	err := c.differing(disk, from, to, at, 0, func(sp span) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return w.span(sp)
	})
	if err == nil {
		err = w.send()
	}
	for len(w.ahead) > 0 {
		err = cmp.Or(err, w.land())
	}
	return err
}

// proofWalk is one walk over a disk.
type proofWalk struct {
	p     *proof
	ctx   context.Context
	spans []span       // one of each block to be looked at
	ahead []chan error // batches under way
}

func (w *proofWalk) span(sp span) error {
	if !sp.journaled() || sp.kind != block.Data || sp.in.proven(w.p.j.t.trust) || w.p.saw(blockKey{sp.in, sp.at}) {
		return nil
	}
	w.spans = append(w.spans, sp)
	if len(w.spans) < proofBatch {
		return nil
	}
	return w.send()
}

// saw says whether a block was seen before, and takes note of it.
func (p *proof) saw(k blockKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen[k]
	if !seen {
		if p.seen == nil || len(p.seen) >= maxProved {
			p.seen = map[blockKey]bool{}
		}
		p.seen[k] = true
	}
	return seen
}

// send has the blocks that have gathered looked at, some batches at a time.
func (w *proofWalk) send() error {
	spans, found := w.spans, make(chan error, 1)
	w.spans = nil
	look := func() { w.p.loaders.do(func(l *loader) { found <- w.p.look(w.ctx, l, spans) }) }
	w.ahead = append(w.ahead, found)
	if w.p.j.t.writesAhead <= 1 {
		look()
	} else {
		go look()
	}
	if len(w.ahead) < w.p.j.t.writesAhead {
		return nil
	}
	return w.land()
}

// land waits for the first batch under way.
func (w *proofWalk) land() error {
	err := <-w.ahead[0]
	w.ahead = w.ahead[1:]
	return err
}

// look reads blocks, one for each span.
func (p *proof) look(ctx context.Context, l *loader, spans []span) error {
	key := func(sp *span) blockKey { return blockKey{sp.in, sp.at} }
	slices.SortStableFunc(spans, func(a, b span) int { return inOrder(key(&a), key(&b)) })
	spans = slices.CompactFunc(spans, func(a, b span) bool { return key(&a) == key(&b) })
	l.keys = l.keys[:0]
	for i := range spans {
		l.keys = append(l.keys, key(&spans[i]))
	}
	i := 0
	return l.each(l.keys, func(k blockKey, b *block.Block, version replication.PointID, err error) error {
		for key(&spans[i]) != k {
			i++
		}
		if err == nil {
			p.mu.Lock()
			p.bytes += int64(entryFixed + len(b.Extents)*extentSize + len(b.Payload))
			p.mu.Unlock()
			err = spans[i].lies(b, version)
		}
		if errors.Is(err, ErrCorrupt) {
			return p.damaged(ctx, spans[i], err)
		}
		return err
	})
}

// damaged takes down a block that does not hold what was written.
func (p *proof) damaged(ctx context.Context, sp span, cause error) error {
	n := sp.in.extent(sp.at, &p.j.id)
	p.mu.Lock()
	defer p.mu.Unlock()
	var held []Held
	if name := p.j.relative(sp.in); p.of[name] < maxHeldParts {
		var err error
		if held, err = sp.in.held(ctx, stretch{sp.at, sp.at + n}); err != nil {
			return errors.Join(cause, err)
		}
		p.of[name]++
	}
	p.parts = append(p.parts, p.j.part(sp.in, sp.at, n, cause, held))
	return nil
}

// extent returns how many bytes the entry at an offset takes, as far as its header can be believed; else 1.
func (s *sealed) extent(at int64, id *Identity) int64 {
	var fixed [entryFixed]byte
	if s.h.readAt(s.name, fixed[:], at) != nil || !s.header(at, id) {
		return 1
	}
	n, p, err := entrySize(fixed[:])
	if err != nil {
		return 1
	}
	return int64(n + p)
}

// lies says whether a block holds the span, by their headers.
func (sp *span) lies(b *block.Block, version replication.PointID) error {
	if b.Kind != block.Data || b.Disk != sp.disk || version != sp.version {
		return corruptf(sp.in.name, sp.at, "block is of disk %d version %d, the index says disk %d version %d", b.Disk, version, sp.disk, sp.version)
	}
	raw := int64(0)
	for _, e := range b.Extents {
		if e.Off <= sp.ext.Off && sp.ext.End <= e.End && raw+sp.ext.Off-e.Off == int64(sp.raw) {
			return nil
		}
		raw += e.Len()
	}
	return corruptf(sp.in.name, sp.at, "block does not hold disk %d %v at %d of its bytes, as the index says", sp.disk, sp.ext, sp.raw)
}

// prove makes sure, before the move to a point is recorded, that both its ends can be had (I2): what it writes can be read, and what it writes over is on the disks or can be read. What is damaged is quarantined; of where the disks
// stand they hold it themselves, and the move saves it. Where the move's end needs it, the move is refused.
func (m *mover) prove(ctx context.Context, to replication.PointID) error {
	c := m.j.shelf.pin()
	defer m.j.shelf.unpin(c)
	p := newProof(m.j)
	for _, at := range []replication.PointID{to, c.head} {
		err := m.eachDisk(ctx, func(ctx context.Context, d replication.DiskNo) error { return p.differing(ctx, c, d, c.head, to, at) })
		if err != nil {
			return err
		}
	}
	if err := m.j.quarantine(p.parts); err != nil {
		return err
	}
	return m.j.reachable(ctx, c.head, to, to)
}

// reachable says what keeps one end, at, of a move between two points from being had.
func (j *Journal) reachable(ctx context.Context, from, to, at replication.PointID) error {
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	if !c.anyLost() && len(c.blind) == 0 {
		return nil
	}
	var first *span
	n := &needs{c: c, cache: j.chunks}
	var bytes int64
	for d := range c.id.Disks {
		err := c.differing(replication.DiskNo(d), from, to, at, 0, func(sp span) error {
			if sp.in == nil || sp.kind != lost {
				return ctx.Err()
			}
			if first == nil {
				first = &sp
			}
			bytes += sp.ext.Len()
			if len(n.by) == 0 || len(n.by) < maxHeld {
				n.add(sp)
			}
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	if first == nil {
		return nil
	}
	file, off := first.in.name, first.at
	reason := fmt.Sprintf("%d bytes that point %d needs are lost: the first are disk %d (%s) %v", bytes, at, first.disk, j.id.Disks[first.disk].ID, first.ext)
	var points []replication.PointID
	for _, x := range n.by {
		points = append(points, x.Points...)
	}
	slices.Sort(points)
	return &Corruption{File: file, Off: off, Reason: reason + "; they are needed by the points " + ListPoints(slices.Compact(points))}
}

// ListPoints tells points, rising, for a person: runs of them as such.
func ListPoints(ids []replication.PointID) string {
	s := ""
	for i := 0; i < len(ids); {
		k := i
		for k+1 < len(ids) && ids[k+1] == ids[k]+1 {
			k++
		}
		if s != "" {
			s += ", "
		}
		if s += fmt.Sprint(ids[i]); k > i {
			s += fmt.Sprintf("-%d", ids[k])
		}
		i = k + 1
	}
	return s
}

// quarantineAt quarantines the part of a file that an error says is damaged, when it is still so: what something came upon that was not looking for it.
func (j *Journal) quarantineAt(ctx context.Context, cause error) error {
	var x *Corruption
	if !errors.As(cause, &x) {
		return nil
	}
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	i := slices.IndexFunc(c.files, func(s *sealed) bool { return s.name == x.File })
	if i < 0 || x.Off < fileHeaderSize || x.Off >= c.files[i].foot.dataEnd {
		return nil
	}
	s := c.files[i]
	n := s.extent(x.Off, &j.id)
	held, err := s.held(ctx, stretch{x.Off, x.Off + n})
	if err != nil || len(held) == 0 {
		return err
	}
	return j.quarantine([]Part{j.part(s, x.Off, n, cause, held)})
}

// relative returns a file's name within the group's directory, with slashes.
func (j *Journal) relative(s *sealed) string { return within(j.dir, s) }

func (c *catalog) relative(s *sealed) string { return within(c.dir, s) }

func within(dir string, s *sealed) string {
	name, _ := filepath.Rel(dir, s.name) // it lies there
	return filepath.ToSlash(name)
}
