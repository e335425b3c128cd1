package retention

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"failback/replication"
	"failback/replication/block"
)

// Spares says which of what the disks hold as well a rewriting leaves out.
type Spares int

// What a rewriting leaves out.
const (
	KeepSpares Spares = iota // none
	DropCold                 // those no newer than the oldest listed point: no move among the listed points writes over them
	DropSpares               // all: the next move over them reads them from the disks
)

// RewriteOptions say how Rewrite works.
type RewriteOptions struct {
	Spares Spares
	Pace   func(ctx context.Context, n int) error // called before n bytes of the disks are rewritten, to bound the rate; nil: no bound
}

// Rewrite replaces files of the journal, named as Use names them, by a pack that has only what listed points still need of them, or by nothing. Several files at once must have the same First and
// Last, equal: then their content is of one class. It returns by how much the files became smaller. Files that readers or a move still use are removed when these are done.
//
// Readers, arrivals and moves go on meanwhile. Where a move began before the end of a rewriting that drops spares, nothing is changed (ErrInUse); it may be tried again. A file that is not there any more, as it was rewritten, is ErrNoFile. A crash leaves either
// the old files or the new one.
func (j *Journal) Rewrite(ctx context.Context, names []string, opt RewriteOptions) (freed int64, err error) {
	j.packing.Lock()
	defer j.packing.Unlock()
	if err := j.usable(); err != nil {
		return 0, err
	}
	c := j.shelf.pin()
	defer func() { j.shelf.unpin(c) }()
	files, err := c.pick(j.dir, names)
	if err != nil {
		return 0, err
	}
	if len(c.blind) > 0 && !leftOut(ruleDoubtNoSpare) {
		opt.Spares = KeepSpares
	}
	if opt.Spares != KeepSpares && c.move != nil {
		return 0, fmt.Errorf("rewrite: %w: the disks are moving", ErrInUse)
	}
	pack, err := j.pack(ctx, c, files, opt)
	if errors.Is(noSpace(err), ErrNoSpace) && j.usable() == nil && j.giveUp() {
		pack, err = j.pack(ctx, c, files, opt)
	}
	if err != nil {
		return 0, j.note(fmt.Errorf("rewrite %d files: %w", len(files), noSpace(err)))
	}
	r := replaceRecord{Gone: names}
	var with []*sealed
	if pack != nil {
		r.Files, with = append(r.Files, pack.record()), append(with, pack)
		freed -= pack.foot.size()
	}
	for _, s := range files {
		freed += s.foot.size()
	}
	if err := j.replace(c, r, opt, with); err != nil {
		if j.usable() == nil { // else the record may be there, and needs its pack
			for _, s := range with {
				j.files.forget(s.name)
				err = errors.Join(err, removeIfThere(j.vol, s.name))
			}
		}
		return 0, fmt.Errorf("rewrite %d files: %w", len(files), err)
	}
	if err := errors.Join(j.shelf.sweep(), j.setAside()); err != nil {
		return freed, fmt.Errorf("remove what was rewritten: %w", err)
	}
	return freed, nil
}

// pick returns the files of the names.
func (c *catalog) pick(dir string, names []string) (files []*sealed, err error) {
	for _, n := range names {
		path := filepath.Join(dir, filepath.FromSlash(n))
		i := slices.IndexFunc(c.files, func(s *sealed) bool { return s.name == path })
		if i < 0 {
			return nil, fmt.Errorf("rewrite %s: %w", n, ErrNoFile)
		}
		if slices.Contains(files, c.files[i]) {
			return nil, fmt.Errorf("rewrite: %s is named twice", n)
		}
		files = append(files, c.files[i])
	}
	if len(files) == 0 {
		return nil, errors.New("rewrite: no files")
	}
	for _, s := range files {
		if s.bad != nil {
			return nil, fmt.Errorf("rewrite: %w", s.bad)
		}
		if c.frozen(s) {
			return nil, fmt.Errorf("rewrite: %w: of %s it can't be told what counts: a later attempt at its cycle may be in a file of which nothing can be read", ErrInUse, base(s.name))
		}
		if len(files) > 1 && (c.class(s.low()) != c.class(s.high()) || c.class(s.low()) != c.class(files[0].low())) {
			return nil, fmt.Errorf("rewrite: %s and %s have content of several points", base(files[0].name), base(s.name))
		}
	}
	return files, nil
}

// replace commits a rewriting. Spares can only be left out while the disks stand where they stood when it began, and no move is being prepared that counts on them.
func (j *Journal) replace(c *catalog, r replaceRecord, opt RewriteOptions, with []*sealed) error {
	if opt.Spares != KeepSpares && !leftOut(ruleSparesLock) {
		if !j.moving.TryLock() {
			return fmt.Errorf("%w: the disks are moving", ErrInUse)
		}
		defer j.moving.Unlock()
	}
	return j.commit(kindFilesReplaced, func(st *state) (any, error) {
		if opt.Spares != KeepSpares && !leftOut(ruleSparesStill) && (st.moves != c.moves || st.move != nil) {
			return nil, fmt.Errorf("%w: the disks moved meanwhile", ErrInUse)
		}
		if opt.Spares != KeepSpares && !slices.Equal(st.blindFiles(), c.blindFiles()) {
			return nil, fmt.Errorf("%w: what is spare may be needed: a file was found to be damaged meanwhile", ErrInUse)
		}
		return r, nil
	}, with...)
}

// pack writes what is needed of files to a new one, sealed and durable; nil when nothing is.
func (j *Journal) pack(ctx context.Context, c *catalog, files []*sealed, opt RewriteOptions) (*sealed, error) {
	last, _ := c.last()
	return j.packed(last.ID, 1, func(w *writer) error {
		p := &packer{w: w, blocks: newContents(&j.id, j.t.moveBlocks), id: &j.id, pace: opt.Pace, ctx: ctx}
		for d := range c.id.Disks {
			if err := c.needed(replication.DiskNo(d), files, opt.Spares, p.put); err != nil {
				return err
			}
			if err := p.flush(); err != nil {
				return err
			}
		}
		return nil
	})
}

// packed makes the next pack, the n-th from now on, of versions up to last, of what fill writes: sealed and durable; nil when that is nothing.
func (j *Journal) packed(last replication.PointID, n int, fill func(*writer) error) (*sealed, error) {
	st := j.now.Load()
	name := j.path(packDir, fmt.Sprintf("%d%s", st.packed+n, packSuffix))
	if err := removeIfThere(j.vol, name+newSuffix); err != nil {
		return nil, err
	}
	w, err := createWriter(j.vol, name+newSuffix, fileHeader{kind: packFile, journal: j.journal, point: last, generation: st.generation, group: j.id.Group}, &j.t)
	if err != nil {
		return nil, err
	}
	w.synced = true // its name is made durable when it has the right one
	err = fill(w)
	var foot footer
	var some bool
	if err == nil {
		foot, some, err = w.seal()
	}
	err = errors.Join(err, w.close())
	if err == nil && some {
		err = j.vol.Rename(name+newSuffix, name)
	}
	if err == nil && some && !leftOut(rulePackNameDurable) {
		err = syncDir(j.vol, j.path(packDir))
	}
	if err != nil || !some {
		return nil, errors.Join(err, removeIfThere(j.vol, name+newSuffix), removeIfThere(j.vol, name))
	}
	return w.sealed(name, j.files, foot), nil
}

// needed calls fn with the spans of files on a disk that listed points still need, rising: gone, where the disks hold the content as well and spares are dropped.
func (c *catalog) needed(disk replication.DiskNo, files []*sealed, spares Spares, fn func(span) error) error {
	floor := c.floor()
	mine := func(sp span) bool { return slices.Contains(files, sp.in) }
	return sweep(c.files, disk, func(e replication.Extent, over []span) (err error) {
		c.standing(over, func(i int, class replication.PointID, spare bool) {
			if err != nil || !mine(over[i]) {
				return
			}
			sp := over[i].clip(e)
			if leftOut(ruleGoneStays) && sp.kind == gone || leftOut(ruleLostStays) && sp.kind == lost {
				return
			}
			if (spare && !buried(over[i:], mine) || sp.kind == gone) && (spares == DropSpares || spares == DropCold && class == floor) {
				// Of the oldest point nothing needs to be said that no file contradicts.
				if class == floor && (leftOut(ruleBaseContradicted) || !slices.ContainsFunc(over[i+1:], func(o span) bool { return !mine(o) })) {
					return
				}
				sp.kind = gone
			}
			err = fn(sp)
		})
		return err
	})
}

// packer writes spans that rise, from the blocks of other files. Blocks that are needed in whole are taken as they are.
type packer struct {
	w      *writer
	blocks *contents
	id     *Identity
	pace   func(context.Context, int) error
	ctx    context.Context

	open []*packing
	gone span // gathers extents without content
}

// maxPacking is how many versions a packer gathers blocks of at a time.
const maxPacking = 8

// packing is a block in the making, of one version and disk.
type packing struct {
	version replication.PointID
	disk    replication.DiskNo
	enc     block.Encoder
	raw     []byte
	exts    []replication.Extent
	zeros   []replication.Extent
	payload []byte

	from  blockKey // the block that spans come from, one after the other, since its begin
	whole block.Block
	taken []span
	upTo  int64 // bytes of it
}

// put adds a span.
func (p *packer) put(sp span) error {
	if p.pace != nil {
		n := entryCost
		if sp.hasContent() {
			n = int(sp.ext.Len())
		}
		if err := p.pace(p.ctx, n); err != nil {
			return err
		}
	}
	if err := p.ctx.Err(); err != nil {
		return context.Cause(p.ctx)
	}
	if !sp.hasContent() {
		if g := &p.gone; g.kind == sp.kind && g.disk == sp.disk && g.version == sp.version && g.ext.End == sp.ext.Off {
			g.ext.End = sp.ext.End
			return nil
		}
		err := p.flushGone()
		p.gone = span{entry: entry{disk: sp.disk, kind: sp.kind, ext: sp.ext, version: sp.version}}
		return err
	}
	b, err := p.packing(sp)
	if err != nil {
		return err
	}
	if sp.kind == block.Zero {
		return b.zero(p, sp.ext)
	}
	return b.take(p, sp)
}

// packing returns the block in the making of the span's version.
func (p *packer) packing(sp span) (*packing, error) {
	i := slices.IndexFunc(p.open, func(b *packing) bool { return b.version == sp.version && b.disk == sp.disk })
	if i < 0 {
		if len(p.open) < maxPacking {
			p.open = append(p.open, &packing{})
		} else if err := p.open[0].flush(p); err != nil {
			return nil, err
		} else {
			p.open = append(p.open[1:], p.open[0])
		}
		i = len(p.open) - 1
		p.open[i].version, p.open[i].disk = sp.version, sp.disk
	}
	return p.open[i], nil
}

func (p *packer) flushGone() error {
	g := p.gone
	p.gone = span{}
	if g.kind == 0 {
		return nil
	}
	return p.w.without(g.disk, g.ext, g.version, g.kind)
}

// flush writes what has gathered.
func (p *packer) flush() error {
	for _, b := range p.open {
		if err := b.flush(p); err != nil {
			return err
		}
	}
	return p.flushGone()
}

// take adds a data span. As long as spans come as they lie in their block, from its begin, it may be that all of it is needed.
func (b *packing) take(p *packer, sp span) error {
	k := blockKey{sp.in, sp.at}
	if len(b.taken) > 0 && (b.from != k || b.upTo != int64(sp.raw)) {
		if err := b.giveUp(p); err != nil {
			return err
		}
	}
	if len(b.taken) == 0 && sp.raw != 0 {
		return b.add(p, sp)
	}
	if len(b.taken) == 0 {
		whole, version, err := sp.in.block(sp.at, p.id)
		if err != nil {
			return err
		}
		if whole.Kind != block.Data || whole.Disk != sp.disk || version != sp.version {
			return corruptf(sp.in.name, sp.at, "block is of disk %d version %d, the index says disk %d version %d", whole.Disk, version, sp.disk, sp.version)
		}
		b.from, b.whole, b.upTo = k, whole, 0
	}
	b.taken = append(b.taken, sp)
	b.upTo += sp.ext.Len()
	if b.upTo < int64(b.whole.Raw) {
		return nil
	}
	if !covers(b.taken, b.whole.Extents) {
		return b.giveUp(p)
	}
	b.taken = b.taken[:0]
	return p.w.append(&b.whole, b.version)
}

// covers says whether spans, one after the other, are the extents.
func covers(taken []span, exts []replication.Extent) bool {
	i := 0
	for _, e := range exts {
		for e.Off < e.End {
			if i == len(taken) || taken[i].ext.Off != e.Off || taken[i].ext.End > e.End {
				return false
			}
			e.Off = taken[i].ext.End
			i++
		}
	}
	return i == len(taken)
}

// giveUp adds the spans of a block that is not needed in whole.
func (b *packing) giveUp(p *packer) error {
	taken := b.taken
	b.taken = nil
	for _, sp := range taken {
		if err := b.add(p, sp); err != nil {
			return err
		}
	}
	b.taken = taken[:0]
	return nil
}

// add copies a span into the block.
func (b *packing) add(p *packer, sp span) error {
	if n := int(sp.ext.Len()); len(b.raw)+n > block.MaxRaw || len(b.exts) == block.MaxExtents {
		if err := b.flushData(p); err != nil {
			return err
		}
	}
	if b.raw == nil {
		b.raw = make([]byte, 0, block.MaxRaw)
	}
	n := len(b.raw)
	b.raw = b.raw[:n+int(sp.ext.Len())]
	if err := p.blocks.read(b.raw[n:], sp); err != nil {
		return err
	}
	if k := len(b.exts); k > 0 && b.exts[k-1].End == sp.ext.Off {
		b.exts[k-1].End = sp.ext.End
	} else {
		b.exts = append(b.exts, sp.ext)
	}
	return nil
}

func (b *packing) zero(p *packer, e replication.Extent) error {
	if k := len(b.zeros); k > 0 && b.zeros[k-1].End == e.Off {
		b.zeros[k-1].End = e.End
		return nil
	}
	if len(b.zeros) == block.MaxRanges {
		if err := b.flushZeros(p); err != nil {
			return err
		}
	}
	b.zeros = append(b.zeros, e)
	return nil
}

func (b *packing) flush(p *packer) error {
	if err := b.giveUp(p); err != nil {
		return err
	}
	return errors.Join(b.flushData(p), b.flushZeros(p))
}

func (b *packing) flushData(p *packer) error {
	if len(b.exts) == 0 {
		return nil
	}
	x := block.Block{Disk: b.disk, Kind: block.Data, Extents: b.exts, Raw: len(b.raw), CRC: block.Checksum(b.raw)}
	b.payload, x.Codec = b.enc.Encode(b.payload[:0], b.raw, p.w.t.saveLevel)
	x.Payload = b.payload
	if err := p.w.append(&x, b.version); err != nil {
		return err
	}
	b.raw, b.exts = b.raw[:0], b.exts[:0]
	return nil
}

func (b *packing) flushZeros(p *packer) error {
	if len(b.zeros) == 0 {
		return nil
	}
	x := block.Block{Disk: b.disk, Kind: block.Zero, Extents: b.zeros}
	if err := p.w.append(&x, b.version); err != nil {
		return err
	}
	b.zeros = b.zeros[:0]
	return nil
}
