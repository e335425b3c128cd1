package retention

import (
	"cmp"
	"errors"
	"slices"

	"failback/replication"
	"failback/replication/block"
)

const (
	// entryMax is the most that a block with content takes in a file.
	entryMax = entryFixed + block.MaxExtents*extentSize + block.MaxPayload
	// gatherBytes is the most that is read of a file at a time, in bytes, but for one block.
	gatherBytes = 1 << 20
)

// gatherer reads blocks that lie near each other in a file by one read. Not safe for concurrent use.
type gatherer struct {
	id  *Identity
	buf []byte
}

// inOrder sorts keys by file and offset.
func inOrder(a, b blockKey) int {
	return cmp.Or(cmp.Compare(a.in.seen, b.in.seen), cmp.Compare(a.in.rank, b.in.rank), cmp.Compare(a.at, b.at))
}

// each reads the blocks of keys, which are sorted and differ, and calls fn with each of them in turn, or with what is wrong with it. A block's payload was checked, and lies in the gatherer's memory until fn returns. An
// error of fn ends it.
func (g *gatherer) each(keys []blockKey, fn func(k blockKey, b *block.Block, version replication.PointID, err error) error) error {
	for len(keys) > 0 {
		n := 1
		for n < len(keys) && keys[n].in == keys[0].in && keys[n].at-keys[n-1].at <= entryMax && keys[n].at+entryFixed-keys[0].at <= gatherBytes {
			n++
		}
		var stretch []byte // of the file, from the first key on
		if n > 1 {
			var err error
			if stretch, err = g.stretch(keys[:n]); err != nil && !errors.Is(err, ErrCorrupt) && !inPart(err) { // of those, which block it is will show
				return fn(keys[0], nil, 0, err)
			}
		}
		for _, k := range keys[:n] {
			b, version, err := g.block(stretch, k, keys[0].at)
			if err := fn(k, &b, version, err); err != nil {
				return err
			}
		}
		keys = keys[n:]
	}
	return nil
}

// stretch reads a file from the first block to the last.
func (g *gatherer) stretch(keys []blockKey) ([]byte, error) {
	s, from, last := keys[0].in, keys[0].at, keys[len(keys)-1].at
	if cap(g.buf) < gatherBytes+entryMax {
		g.buf = make([]byte, gatherBytes+entryMax)
	}
	b := g.buf[:last+entryFixed-from]
	if err := s.h.readAt(s.name, b, from); err != nil {
		return nil, err
	}
	n, err := s.entryLen(b[last-from:], last)
	if err != nil || n > entryMax {
		return b, err
	}
	if err := s.h.readAt(s.name, b[len(b):last-from+int64(n)], last+entryFixed); err != nil {
		return b, err
	}
	return b[:last-from+int64(n)], nil
}

// block returns a block of a stretch that begins at a file offset. One that is not in it as a whole is read by itself, which tells what is wrong with exactly it.
func (g *gatherer) block(stretch []byte, k blockKey, from int64) (b block.Block, version replication.PointID, err error) {
	at := k.at - from
	if at+entryFixed <= int64(len(stretch)) {
		if n, err := k.in.entryLen(stretch[at:at+entryFixed], k.at); err == nil && at+int64(n) <= int64(len(stretch)) {
			return k.in.parse(stretch[at:at+int64(n)], k.at, g.id)
		}
	}
	if len(stretch) > 0 { // its memory is in use
		return k.in.block(k.at, g.id)
	}
	b, version, g.buf, err = k.in.blockInto(g.buf, k.at, g.id)
	return b, version, err
}

// loader reads content. Not safe for concurrent use.
type loader struct {
	gatherer
	parts []wanted
	keys  []blockKey
	raw   []byte // of a block
}

// wanted is a span that is read, and where to.
type wanted struct {
	key blockKey
	sp  *span
	dst []byte
}

// load reads the content of the data spans of a batch. Blocks that what lies behind the batch may need too are kept.
func (l *loader) load(b *batch, blocks *contents) error {
	l.parts = l.parts[:0]
	at := int64(0)
	for i := range b.spans {
		if sp := &b.spans[i]; sp.kind == block.Data {
			l.parts = append(l.parts, wanted{blockKey{sp.in, sp.at}, sp, b.buf[at : at+sp.ext.Len()]})
			at += sp.ext.Len()
		}
	}
	slices.SortStableFunc(l.parts, func(a, b wanted) int { return inOrder(a.key, b.key) })
	l.keys = l.keys[:0]
	for rest := l.parts; len(rest) > 0; {
		n := sameBlock(rest)
		if !blocks.has(rest[0].key) {
			l.keys = append(l.keys, rest[0].key)
		} else if err := readParts(blocks, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	end := b.spans[len(b.spans)-1].ext.End
	rest := l.parts
	return l.each(l.keys, func(k blockKey, x *block.Block, version replication.PointID, err error) error {
		if err != nil {
			return err
		}
		for rest[0].key != k {
			rest = rest[sameBlock(rest):]
		}
		parts := rest[:sameBlock(rest)]
		if x.Kind == block.Data && x.Extents[len(x.Extents)-1].End > end {
			blocks.keep(k, x, version)
			return readParts(blocks, parts)
		}
		return l.decode(x, version, parts)
	})
}

// sameBlock returns how many of the parts, from the first on, lie in the same block.
func sameBlock(parts []wanted) int {
	n := 1
	for n < len(parts) && parts[n].key == parts[0].key {
		n++
	}
	return n
}

func readParts(blocks *contents, parts []wanted) error {
	for _, p := range parts {
		if err := blocks.read(p.dst, *p.sp); err != nil {
			return err
		}
	}
	return nil
}

// decode decodes a block and copies its parts to where they belong.
func (l *loader) decode(x *block.Block, version replication.PointID, parts []wanted) error {
	if l.raw == nil {
		l.raw = make([]byte, block.MaxRaw)
	}
	d := decoded{version: version}
	d.decode(parts[0].key, x, l.raw)
	if d.err != nil {
		return d.err
	}
	for _, p := range parts {
		if err := d.copyTo(p.dst, *p.sp); err != nil {
			return err
		}
	}
	return nil
}
