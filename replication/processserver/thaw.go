package processserver

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"failback/replication"
	"failback/source"
)

// thawAgain is the time between tries to thaw what could not be thawed.
const thawAgain = 10 * time.Second

func (e *Engine) dir(id replication.GroupID) string { return filepath.Join(e.cfg.Dir, string(id)) }

// thawFirst begins to thaw what an earlier process may have left frozen: these groups are not cut before that was tried.
func (e *Engine) thawFirst() {
	entries, _ := os.ReadDir(e.cfg.Dir) // one that can't be read has no groups
	for _, x := range entries {
		if !x.IsDir() { // the lock, for one
			continue
		}
		id := replication.GroupID(x.Name())
		if len(source.Frozen(e.dir(id))) == 0 {
			continue
		}
		g := e.group(id)
		g.still.Lock()
		e.cfg.Log.Warn("an earlier process may have left machines frozen: they are thawed", "group", id)
		e.thawing.Go(func() {
			if err := source.Thaw(e.dir(id), e.cfg.Log); err != nil {
				e.thawLater(id)
			}
			g.still.Unlock()
		})
	}
}

// thawLater has machines that could not be thawed thawed again and again, until that succeeds. The group's still is held.
func (e *Engine) thawLater(id replication.GroupID) {
	var names []string
	for _, m := range source.Frozen(e.dir(id)) {
		names = append(names, fmt.Sprintf("%s/%s", id, m))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(names) == 0 || e.frozen[id] != nil || e.closed {
		return
	}
	e.frozen[id] = names
	e.thawing.Go(func() {
		g := e.group(id)
		for {
			select {
			case <-time.After(thawAgain):
			case <-e.closing:
				return
			}
			if e.thawOnceMore(g, id) == nil {
				return
			}
		}
	})
}

// thawOnceMore thaws what is left of a group, and says so. The group's still is not held.
func (e *Engine) thawOnceMore(g *group, id replication.GroupID) error {
	g.still.Lock()
	defer g.still.Unlock() // after frozen tells: a cut that leaves machines frozen sees that nobody thaws them
	if err := source.Thaw(e.dir(id), e.cfg.Log); err != nil {
		return err
	}
	e.cfg.Log.Info("machines are thawed", "group", id)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.frozen, id)
	return nil
}

// thawLast tries a last time to thaw a group's machines: what ends this process may have ended their thaw commands as well. Nothing is cut any more.
func (e *Engine) thawLast(g *group, id replication.GroupID) error {
	names := source.Frozen(e.dir(id))
	if len(names) == 0 {
		return nil
	}
	if err := e.thawOnceMore(g, id); err != nil {
		return fmt.Errorf("machines %s of group %s may be frozen still, until a process server starts here again, or they are thawed by hand: %w", strings.Join(names, ", "), id, err)
	}
	return nil
}

// stillFrozen returns the machines, as group/machine, that could not be thawed.
func (e *Engine) stillFrozen() (all []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, names := range e.frozen {
		all = append(all, names...)
	}
	slices.Sort(all)
	return all
}
