package retention

import (
	"slices"
	"sync"

	"failback/replication"
)

// view tells, for extents of one disk that rise, where their content at a point lies. It walks the indexes upwards beside each other.
type view struct {
	disk  replication.DiskNo
	floor replication.PointID
	segs  *overlay
	saved *overlay // versions of the floor that saves hold
}

// upTo returns the segments with content of points in (after, to].
func (c *catalog) upTo(after, to replication.PointID) (files []*sealed) {
	for _, s := range c.segments {
		if s.point > after && s.point <= to {
			files = append(files, s.files...)
		}
	}
	return files
}

// layers lays the indexes of files over each other, each above those before it.
func layers(files []*sealed, disk replication.DiskNo, only func(entry) bool) (*overlay, error) {
	fs := make([]feed, 0, len(files))
	for _, s := range files {
		c := newCursor(s, disk)
		c.filter = only
		fs = append(fs, c)
	}
	return newOverlay(fs)
}

func newView(c *catalog, disk replication.DiskNo, point replication.PointID) (*view, error) {
	v := &view{disk: disk, floor: c.floor()}
	var err error
	if v.segs, err = layers(c.upTo(v.floor, point), disk, nil); err != nil {
		return nil, err
	}
	v.saved, err = layers(c.saves, disk, func(e entry) bool { return e.version == v.floor })
	return v, err
}

// pieces appends spans that together are e, rising. One without a file is at the floor's version and held by the disk alone. Extents must rise from call to call.
func (v *view) pieces(dst []span, e replication.Extent) ([]span, error) {
	if err := v.segs.seek(v.disk, e.Off); err != nil {
		return dst, err
	}
	for e.Off < e.End {
		sp, ok, err := v.segs.next(e.End)
		if err != nil {
			return dst, err
		}
		gap := e
		if ok {
			gap.End = sp.ext.Off
		}
		if dst, err = v.below(dst, gap); err != nil {
			return dst, err
		}
		if !ok {
			break
		}
		dst = append(dst, sp)
		e.Off = sp.ext.End
	}
	return dst, nil
}

// below appends the spans of an extent that no segment holds.
func (v *view) below(dst []span, e replication.Extent) ([]span, error) {
	if e.Empty() {
		return dst, nil
	}
	if err := v.saved.seek(v.disk, e.Off); err != nil {
		return dst, err
	}
	for e.Off < e.End {
		sp, ok, err := v.saved.next(e.End)
		if err != nil {
			return dst, err
		}
		if !ok {
			return append(dst, v.onDisk(e)), nil
		}
		if sp.ext.Off > e.Off {
			dst = append(dst, v.onDisk(replication.Extent{Off: e.Off, End: sp.ext.Off}))
		}
		dst = append(dst, sp)
		e.Off = sp.ext.End
	}
	return dst, nil
}

func (v *view) onDisk(e replication.Extent) span {
	return span{entry: entry{disk: v.disk, ext: e, version: v.floor}}
}

// differing calls fn with what lies between the points from and to on a disk, from start on: spans that rise and together are the bytes whose versions differ,
// each with its version at one end, at, and the file that holds it.
func (c *catalog) differing(disk replication.DiskNo, from, to, at replication.PointID, start int64, fn func(span) error) error {
	lo, hi := min(from, to), max(from, to)
	w, err := layers(c.upTo(max(lo, c.floor()), hi), disk, nil)
	if err != nil {
		return err
	}
	if err := w.seek(disk, start); err != nil {
		return err
	}
	var v *view
	if at != hi {
		if v, err = newView(c, disk, at); err != nil {
			return err
		}
	}
	var ps []span
	for {
		sp, ok, err := w.next(noLimit)
		if err != nil || !ok {
			return err
		}
		ps = append(ps[:0], sp)
		if v != nil {
			if ps, err = v.pieces(ps[:0], sp.ext); err != nil {
				return err
			}
		}
		for _, p := range ps {
			if err := fn(p); err != nil {
				return err
			}
		}
	}
}

// chunkCache keeps index chunks that were looked up last. Safe for concurrent use.
type chunkCache struct {
	max int

	mu     sync.Mutex
	chunks map[chunkKey][]entry
	oldest []chunkKey // a ring
	next   int
}

type chunkKey struct {
	in *sealed
	i  int64
}

func newChunkCache(max int) *chunkCache {
	return &chunkCache{max: max, chunks: map[chunkKey][]entry{}}
}

func (c *chunkCache) get(s *sealed, i int64) ([]entry, error) {
	k := chunkKey{s, i}
	c.mu.Lock()
	es, ok := c.chunks[k]
	c.mu.Unlock()
	if ok {
		return es, nil
	}
	es, err := s.chunk(make([]entry, 0, chunkEntries), i, make([]byte, chunkSize))
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.chunks[k]; ok {
		return es, nil
	}
	c.chunks[k] = es
	if len(c.oldest) < c.max {
		c.oldest = append(c.oldest, k)
		return es, nil
	}
	delete(c.chunks, c.oldest[c.next])
	c.oldest[c.next] = k
	c.next = (c.next + 1) % c.max
	return es, nil
}

// lookup appends the spans that together are e, a random extent, at a point: as view does, by searching the indexes from the newest down.
func (c *catalog) lookup(cache *chunkCache, disk replication.DiskNo, point replication.PointID, e replication.Extent) ([]span, error) {
	l := look{cache: cache, disk: disk, left: []replication.Extent{e}}
	floor := c.floor()
	for i := len(c.segments) - 1; i >= 0 && len(l.left) > 0 && c.segments[i].point > floor; i-- {
		if c.segments[i].point > point {
			continue
		}
		for _, s := range slices.Backward(c.segments[i].files) {
			if err := l.in(s, nil); err != nil {
				return nil, err
			}
		}
	}
	if err := l.inSaves(c.saves, floor); err != nil {
		return nil, err
	}
	for _, e := range l.left {
		l.found = append(l.found, span{entry: entry{disk: disk, ext: e, version: floor}})
	}
	slices.SortFunc(l.found, func(a, b span) int {
		if a.ext.Off < b.ext.Off {
			return -1
		}
		return 1
	})
	return l.found, nil
}

// look is one search: what was found, and what is left to find.
type look struct {
	cache *chunkCache
	disk  replication.DiskNo
	left  []replication.Extent // rising
	found []span
}

func (l *look) inSaves(saves []*sealed, version replication.PointID) error {
	for _, s := range slices.Backward(saves) {
		if err := l.in(s, func(e entry) bool { return e.version == version }); err != nil {
			return err
		}
	}
	return nil
}

// in searches one file for what is left.
func (l *look) in(s *sealed, only func(entry) bool) error {
	var left []replication.Extent
	same := true
	for i, e := range l.left {
		rest, err := l.one(s, e, only)
		if err != nil {
			return err
		}
		if same && len(rest) == 1 && rest[0] == e {
			continue
		}
		if same {
			left, same = append(left, l.left[:i]...), false
		}
		left = append(left, rest...)
	}
	if !same {
		l.left = left
	}
	return nil
}

// one searches one file for one extent and returns what it does not hold.
func (l *look) one(s *sealed, e replication.Extent, only func(entry) bool) (rest []replication.Extent, err error) {
	if !s.mayHold(l.disk, e) {
		return []replication.Extent{e}, nil
	}
	fences, err := s.loadFences()
	if err != nil {
		return nil, err
	}
	for i := startChunk(fences, l.disk, e.Off); i < int64(len(fences)) && !fences[i].after(l.disk, e.End-1); i++ {
		es, err := l.cache.get(s, i)
		if err != nil {
			return nil, err
		}
		k, _ := slices.BinarySearchFunc(es, e.Off, func(x entry, off int64) int {
			if x.disk < l.disk || x.disk == l.disk && x.ext.End <= off {
				return -1
			}
			return 1
		})
		for ; k < len(es) && es[k].disk == l.disk && es[k].ext.Off < e.End; k++ {
			if only != nil && !only(es[k]) {
				continue
			}
			sp := span{es[k], s}.clip(e)
			if sp.ext.Off > e.Off {
				rest = append(rest, replication.Extent{Off: e.Off, End: sp.ext.Off})
			}
			l.found = append(l.found, sp)
			e.Off = sp.ext.End
		}
	}
	if !e.Empty() {
		rest = append(rest, e)
	}
	return rest, nil
}
