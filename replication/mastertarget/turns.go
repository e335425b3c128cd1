package mastertarget

import (
	"sync"

	"failback/replication"
)

// Who has a group come or go, or changes its plan, has the group to himself, and what is shared by all groups: which there are, and whose the targets are. What waits for a group's storage, which may never answer, has only the group
// (apart): operators' calls about other groups go on meanwhile, those about this one wait.

// groupTurns has one at a time for each group.
type groupTurns struct {
	mu  sync.Mutex
	all map[replication.GroupID]*heldTurn // of groups that somebody has, or waits for
}

type heldTurn struct {
	sync.Mutex
	users int
}

// take waits for a group's turn. The result ends it.
func (t *groupTurns) take(id replication.GroupID) (release func()) {
	t.mu.Lock()
	if t.all == nil {
		t.all = map[replication.GroupID]*heldTurn{}
	}
	one := t.all[id]
	if one == nil {
		one = &heldTurn{}
		t.all[id] = one
	}
	one.users++
	t.mu.Unlock()
	one.Lock()
	return func() {
		one.Unlock()
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(t.all, id)
		}
	}
}

// administer takes a group's turn, and then e.admin. The result gives both back.
func (e *Engine) administer(id replication.GroupID) (release func()) {
	end := e.turns.take(id)
	e.admin.Lock()
	return func() {
		e.admin.Unlock()
		end()
	}
}

// apart does what may wait for a group's storage, without e.admin, which is held, and is held again when it returns. The group's turn is kept: it is the same group then. What was known of other groups may not be true any more.
func (e *Engine) apart(do func()) {
	e.admin.Unlock()
	defer e.admin.Lock()
	do()
}

// closed ends a group and waits until it has let go of its disks and its journal. e.administer is held.
func (e *Engine) closed(g *group) {
	g.end()
	e.apart(g.wg.Wait)
}
