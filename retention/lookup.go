package retention

import (
	"slices"
	"sync"

	"failback/replication"
)

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

// lookup returns the spans that together are e, a random extent, at a point: as view does, by searching the indexes from the newest down, until none that is left could say more.
func (c *catalog) lookup(cache *chunkCache, disk replication.DiskNo, point replication.PointID, e replication.Extent) ([]span, error) {
	found, err := c.visible(cache, disk, point, e)
	if err != nil {
		return nil, err
	}
	if len(c.blind) > 0 {
		known := make([]span, 0, len(found))
		for _, sp := range found {
			if known, err = c.sure(known, sp, point); err != nil {
				return nil, err
			}
		}
		found = known
	}
	for i := range found {
		if sp := &found[i]; sp.in == nil {
			sp.version = c.floor()
		} else if sp.kind == gone {
			sp.in = nil
		}
	}
	return found, nil
}

// visible returns what the files tell that can be read: spans without a file where they tell nothing.
func (c *catalog) visible(cache *chunkCache, disk replication.DiskNo, point replication.PointID, e replication.Extent) ([]span, error) {
	l := look{cache: cache, disk: disk, point: point, found: []span{{entry: entry{disk: disk, ext: e}}}}
	for _, s := range c.search {
		if s.bad != nil || s.low() > point || !s.mayHold(disk, e) {
			continue
		}
		if l.settled(s.high()) {
			break
		}
		if err := l.in(s, e); err != nil {
			return nil, err
		}
	}
	return l.found, nil
}

// look is one search: spans that rise and together are what is looked for, each with the highest version found so far; no file, where there is none.
type look struct {
	cache *chunkCache
	disk  replication.DiskNo
	point replication.PointID
	found []span
	next  []span
}

// settled says whether no file whose versions are up to high can stand above what was found.
func (l *look) settled(high replication.PointID) bool {
	for i := range l.found {
		if sp := &l.found[i]; sp.in == nil || !leftOut(ruleSettled) && (sp.version < high || !sp.hasContent() && sp.version == high) {
			return false
		}
	}
	return true
}

// in lays what one file holds of e over what was found.
func (l *look) in(s *sealed, e replication.Extent) error {
	fences, err := s.loadFences()
	if err != nil {
		return err
	}
	at, any := 0, false // before found[at], everything was looked at
	out := l.next[:0]
	for i := startChunk(fences, l.disk, e.Off); i < int64(len(fences)) && !fences[i].after(l.disk, e.End-1); i++ {
		es, err := l.cache.get(s, i)
		if err != nil {
			return err
		}
		k, _ := slices.BinarySearchFunc(es, e.Off, func(x entry, off int64) int {
			if x.disk < l.disk || x.disk == l.disk && x.ext.End <= off {
				return -1
			}
			return 1
		})
		for ; k < len(es) && es[k].disk == l.disk && es[k].ext.Off < e.End; k++ {
			if es[k].version > l.point {
				continue
			}
			any = true
			sp := span{es[k], s}.clip(e)
			for sp.ext.Off < sp.ext.End { // piece by piece of what was found before
				old := l.found[at]
				if old.ext.End <= sp.ext.Off {
					out = append(out, old)
					at++
					continue
				}
				if old.ext.Off < sp.ext.Off {
					out = append(out, old.clip(replication.Extent{Off: old.ext.Off, End: sp.ext.Off}))
					old = old.clip(replication.Extent{Off: sp.ext.Off, End: old.ext.End})
				}
				both := old.ext.Intersect(sp.ext)
				if top := sp.clip(both); old.in == nil || top.above(&old) {
					out = append(out, top)
				} else {
					out = append(out, old.clip(both))
				}
				if old.ext.End > both.End {
					l.found[at] = old.clip(replication.Extent{Off: both.End, End: old.ext.End})
				} else {
					at++
				}
				if sp.ext.Off = both.End; sp.ext.Off < sp.ext.End {
					sp = span{es[k], s}.clip(replication.Extent{Off: both.End, End: sp.ext.End})
				}
			}
		}
	}
	if any {
		out = append(out, l.found[at:]...)
		l.found, l.next = out, l.found
	}
	return nil
}
