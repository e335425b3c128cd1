package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/link"
	"failback/replication/plan"
	"failback/retention"
)

// group is one replication group.
type group struct {
	engine *Engine
	id     replication.GroupID
	plan   *plan.Plan
	log    *slog.Logger
	ctx    context.Context // ends with the engine, or when the group is unprotected
	end    context.CancelFunc
	wg     sync.WaitGroup // the group's goroutines

	journal *retention.Journal // set once, by open, before ready is closed
	targets []blockio.Target   // likewise, by disk number
	ready   chan struct{}
	away    chan struct{} // closed, in the place of ready, when the group is open without its targets: it is committed

	// gate is held for reading by every call of a process server that touches the open cycle, and for writing when a session begins or ends:
	// when the lock is held for writing, no call of an earlier session is under way and none can begin (I7).
	gate      sync.RWMutex
	session   uint64              // the newest granted
	active    bool                // the session may call
	reading   replication.PointID // what Compare shows in an active session: a point; 0: the disks themselves
	through   *throughCycle       // what of the open cycle is written through; nil: nothing
	mending   bool                // Compare shows what is damaged as different: the cycle brings it anew
	repairing *repairing          // what the session repairs; nil: it ships a cycle, or verifies

	moving           sync.Mutex // held while the disks move
	lent             lent
	steady           sync.Mutex // held while points are dropped, or a drill of one is noted
	silence          silence
	broken           sync.Once     // the handles can't be used any more: the group is opened anew
	covering, paging chan struct{} // hold one for each such call under way

	seen  sight    // sources that are larger than the group has them; of the loop alone
	spent spending // what its lanes spend their time on
	hush  hushed
	tried trial // what attempts to open the group have noted in its journal already

	mu        sync.Mutex
	record    groupRecord
	since     time.Time // in this state
	state     replication.GroupState
	problem   *replication.Problem
	standing  *replication.Problem // that keeps it from going on, through all tries; nil: none
	appTried  time.Time            // when an application-consistent point was last cut, or could not be cut at all, by our clock: whatever a process server says, and however often a cut is tried again, machines are not frozen again and again
	lateWhy   string               // why the point that is due is not made; empty: it is not late
	waits     string
	notices   map[string]string // by what they are about
	ledgers   []replication.Ledger
	link      *replication.LinkStatus // of the shipment under way, as told last
	queue     []int                   // likewise, see replication.Progress
	rates     []rate
	shipping  replication.PointID // that ledgers and spans are of
	spans     []span              // of its progress, as told, the oldest first
	views     []string            // by disk, as probed
	move      *replication.MoveStatus
	under     *moveRun // the move that is under way
	claims    int      // operators who have the disks: no move of our own begins
	lag       lag
	quiet     time.Time // when the last cycle ended
	requests  requests
	lanes     map[*arrival]bool // of the active session, that are open
	attempts  laneAttempts      // of its lanes
	comparing map[replication.DiskNo]*comparison

	care      care                     // keeps the journal whole
	scrubWake chan struct{}            // holds one: a pass is asked for
	upkeep    *upkeep                  // keeps the journal in order
	occupants map[occupied]int         // who needs a point now
	space     *replication.SpaceStatus // as upkeep saw it last
	full      string                   // why replication is held back; "": it is not
	fullKnown bool                     // upkeep has judged, since the group was opened, whether replication is held back
	stopShip  context.CancelFunc       // of the cycle under way

	final       bool  // the last point of a cutover is being made: no cycle begins by itself
	nearing     bool  // it is about to be made: the disks don't lag
	sealing     bool  // when the targets are closed, they are the machine's
	sealed      error // what came of closing
	undoRefused error // the disks were written to since an undo had looked at them: the group is committed still

	cancelling bool // an operator takes a move back, or finishes it
	pace       *pace
	need       *need // nil: no resync is needed

	journalSize atomic.Int64 // bytes, as upkeep saw it last
}

// rate is how fast a disk's ledger rises.
type rate struct {
	at    time.Time
	done  int64
	value float64 // bytes a second, smoothed
}

func newGroup(e *Engine, p *plan.Plan, r groupRecord) *group {
	p.Number(r.Disks)
	g := &group{
		engine: e, id: p.Group, plan: p, record: r, log: e.cfg.Log.With("group", p.Group), ready: make(chan struct{}), away: make(chan struct{}),
		state: replication.StateChecking, since: time.Now(), notices: map[string]string{},
		views: make([]string, len(p.Disks())), rates: make([]rate, len(p.Disks())), occupants: map[occupied]int{},
	}
	g.pace = e.paceOf(g.id, r.Created)
	g.upkeep = &upkeep{g: g}
	g.covering, g.paging = make(chan struct{}, coverageCalls), make(chan struct{}, pagesCalls)
	g.care.wake, g.scrubWake = make(chan struct{}, 1), make(chan struct{}, 1)
	g.ctx, g.end = context.WithCancel(e.ctx)
	g.requests.wake = make(chan struct{}, 1)
	return g
}

// start runs the group until its context ends.
func (g *group) start() {
	g.wg.Add(1)
	g.engine.wg.Go(func() {
		defer g.wg.Done()
		g.run()
	})
}

func (g *group) run() {
	if !g.opened() {
		return
	}
	defer g.close()
	at := g.journal.Cutover()
	if isCommitted(at) {
		g.rest()
		return
	}
	if g.journal.Owes() { // the process before this one was ended between giving a cycle up and beginning it anew: who asked for that point was told its number
		g.mu.Lock()
		g.requests.cut = append(g.requests.cut, cutRequest{answer: make(chan cutAnswer, 1)})
		g.mu.Unlock()
	}
	close(g.ready)
	if at != nil {
		g.engine.drive(g.id)
	}
	g.engine.changed()
	var parts sync.WaitGroup
	parts.Go(g.follow)
	parts.Go(g.loop)
	parts.Go(g.keepUp)
	parts.Go(g.tend)
	parts.Go(g.scrub)
	parts.Wait()
}

const (
	openRetry     = 2 * time.Second
	openRetryMax  = time.Minute
	openRetryFull = 4 * time.Second // where it can't be written: to space or a mount that comes back
)

// become notes the group's state. A problem or a wait of "" is none.
func (g *group) become(s replication.GroupState, p *replication.Problem, waits string) {
	g.mu.Lock()
	if g.state != s {
		g.log.Info("state", "state", s, "was", g.state)
		level := replication.Healthy
		if s == replication.StateError {
			level = replication.Critical
		}
		g.happened(replication.EventState, level, 0, "group %s is %s; it was %s for %s", g.id, s, g.state, time.Since(g.since).Round(time.Second))
		g.state, g.since = s, time.Now()
	}
	g.problem, g.waits = p, waits
	g.mu.Unlock()
	g.engine.changed()
}

// settled is the state of a group that works, by what its journal says.
func (g *group) settled() replication.GroupState {
	s := footing{points: len(g.journal.Points()), waits: !g.compares(time.Now()).IsZero()}
	if at := g.journal.Cutover(); at != nil {
		s.cutover = at.Step
	}
	if c := g.journal.OpenCycle(); c != nil {
		s.cycle = c.Mode
	}
	g.mu.Lock()
	s.held, s.final = g.record.Held, g.final
	g.mu.Unlock()
	return s.state()
}

// mend has the group opened anew where an error says that a handle of it is of no use any more: after a failed sync, nothing is known of what was written
// since the one before, and going on means beginning at what is durable.
func (g *group) mend(err error) {
	if err == nil || !errors.Is(err, blockio.ErrPoisoned) && g.journal.Err() == nil || g.ctx.Err() != nil {
		return
	}
	g.broken.Do(func() {
		g.log.Error("group is opened anew", "err", err)
		g.engine.wg.Go(func() { g.engine.reopen(g) })
	})
}

func (g *group) notice(about, text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if text == "" {
		delete(g.notices, about)
	} else {
		g.notices[about] = text
	}
}

// held says whether a rewind holds the head; hold changes that, durably, with the operator's move that it is for. Who calls hold has claimed the disks.
func (g *group) held() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.record.Held
}

func (g *group) hold(on bool, move *moveIntent) error {
	g.mu.Lock()
	same := g.record.Held == on && (move == nil && g.record.Move == nil || move != nil && g.record.Move != nil && *move == *g.record.Move)
	g.mu.Unlock()
	if same {
		return nil
	}
	if err := g.changeRecord(func(r *groupRecord) { r.Held, r.Move = on, move }); err != nil {
		return err
	}
	if g.isOpen() { // else it is noted when the journal is opened
		if err := g.journal.RecordSettings(settingsOf(g.plan, on)); err != nil {
			return journalProblem(g.id, err)
		}
	}
	return nil
}

func (g *group) isOpen() bool {
	select {
	case <-g.ready:
		return true
	default:
		return false
	}
}

// spec names the group in an order to its process server, with the first disks only, that a point or cycle has: a disk that joins is none of what was cut before.
func (g *group) spec(session uint64, disks int) link.Spec {
	id := g.journal.Identity()
	s := specOf(g.plan, id.Disks, replication.Session{Group: g.id, Generation: g.journal.Generation(), ID: session})
	s.Instance, s.Disks = id.UUID, s.Disks[:disks]
	return s
}

func specOf(p *plan.Plan, sizes []replication.Disk, session replication.Session) link.Spec {
	s := link.Spec{Session: session}
	for _, d := range p.Disks() {
		disk := replication.Disk{No: d.No, ID: d.Name}
		if int(d.No) < len(sizes) {
			disk.Size = sizes[d.No].Size
		}
		s.Disks = append(s.Disks, link.Source{Disk: disk, Path: d.Path(), Snapshot: d.Snapshot, Release: d.Release, Changes: d.Changes})
	}
	return s
}

// isReady says why the group can't be used yet, if so.
func (g *group) isReady() error {
	select {
	case <-g.ready:
		return nil
	default:
	}
	if g.isAway() {
		return g.committedProblem()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.problem != nil {
		return g.problem
	}
	return &replication.Problem{Code: codeStarting, Message: fmt.Sprintf("group %s is being opened", g.id), Remedy: "try again in a moment"}
}

// waitReady waits, with patience, until the group can be used: a master target that was just started is opening its groups.
func (g *group) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	var err error
	if g.engine.wait(ctx, func() bool {
		err = g.isReady()
		var p *replication.Problem
		return err == nil || !errors.As(err, &p) || p.Code != codeStarting || g.ctx.Err() != nil // another one has taken its place
	}) != nil {
		return g.isReady()
	}
	return err
}

// codeStarting is the code of the problem that goes away by itself.
const codeStarting = "starting"
