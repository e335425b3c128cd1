package retention

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"sync"

	"failback/replication"
)

// catalog is what readers, moves and rewriting see: a state and the files that belong to it. It never changes.
type catalog struct {
	*state
	files  []*sealed // in the order of state.files
	search []*sealed // by falling highest version, those that stand above first
	blind  []*sealed // of files: those of which nothing can be read
	chunks *chunkCache
	dir    string
	users  int // guarded by shelf.mu
}

// shelf counts who uses which catalog, and removes a file that no record names any more once no catalog in use names it.
type shelf struct {
	vol   volume
	files *handles

	mu      sync.Mutex
	current *catalog
	ranks   uint64
	seen    uint64
	garbage []string // paths, to be removed
}

// show makes a catalog the current one.
func (h *shelf) show(c *catalog) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range c.files {
		s.life.catalogs++
		if s.rank == 0 {
			h.ranks++
			s.rank = h.ranks
		}
		if s.seen == 0 {
			h.seen++
			s.seen = h.seen
		}
	}
	c.search = slices.Clone(c.files)
	slices.SortFunc(c.search, func(a, b *sealed) int { return cmp.Or(cmp.Compare(b.high(), a.high()), cmp.Compare(b.rank, a.rank)) })
	old := h.current
	h.current = c
	if old != nil && (old.users == 0 || leftOut(ruleCatalogKeepsFiles)) {
		h.leaveLocked(old)
	}
}

// pin returns the current catalog. Its files stay where they are until it is let go of.
func (h *shelf) pin() *catalog {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current.users++
	return h.current
}

// unpin lets go of a catalog and removes the files that it alone kept.
func (h *shelf) unpin(c *catalog) {
	h.mu.Lock()
	if c.users--; c.users == 0 && c != h.current {
		h.leaveLocked(c)
	}
	some := len(h.garbage) > 0
	h.mu.Unlock()
	if some {
		_ = h.sweep() // tried again with the next one, and when the journal is opened
	}
}

func (h *shelf) leaveLocked(c *catalog) {
	for _, s := range c.files {
		if s.life.catalogs--; s.life.catalogs == 0 {
			h.garbage = append(h.garbage, s.name)
		}
	}
}

// sweep removes the files that nobody needs.
func (h *shelf) sweep() (err error) {
	h.mu.Lock()
	names := h.garbage
	h.garbage = nil
	h.mu.Unlock()
	for _, n := range names {
		h.files.forget(n)
		if e := h.vol.Remove(n); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
			h.mu.Lock()
			h.garbage = append(h.garbage, n)
			h.mu.Unlock()
		}
	}
	return err
}

// within returns the files that may hold versions in [from, to], those that stand above later.
func (c *catalog) within(from, to replication.PointID) (files []*sealed) {
	for _, s := range c.files {
		if s.high() >= from && s.low() <= to {
			files = append(files, s)
		}
	}
	return files
}

// publish makes a state the one that everybody sees. mu is held.
func (j *Journal) publish(st *state) {
	c := &catalog{state: st, chunks: j.chunks, dir: j.dir}
	named := make(map[string]*sealed, len(st.files))
	for _, f := range st.files {
		s := j.sealed[j.path(f.path())].as(st.stretches(f))
		c.files = append(c.files, s)
		named[s.name] = s
	}
	j.sealed = named
	c.blind = blind(c.files)
	j.shelf.show(c)
	j.now.Store(c)
}
