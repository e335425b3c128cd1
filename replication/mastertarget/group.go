package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/link"
	"failback/replication/plan"
	"failback/replication/preflight"
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

	moving  sync.Mutex // held while the disks move
	lent    lent
	steady  sync.Mutex // held while points are dropped, or a drill of one is noted
	silence silence
	broken  sync.Once // the handles can't be used any more: the group is opened anew
	seen    sight     // sources that are larger than the group has them; of the loop alone
	spent   spending  // what its lanes spend their time on
	hush    hushed
	tried   trial // what attempts to open the group have noted in its journal already

	mu       sync.Mutex
	record   groupRecord
	since    time.Time // in this state
	state    replication.GroupState
	problem  *replication.Problem
	standing *replication.Problem // that keeps it from going on, through all tries; nil: none
	appTried time.Time            // when an application-consistent point was last cut, or could not be cut at all, by our clock: whatever a process server says, and however often a cut is tried again, machines are not frozen again and again
	lateWhy  string               // why the point that is due is not made; empty: it is not late
	waits    string
	notices  map[string]string // by what they are about
	ledgers  []replication.Ledger
	link     *replication.LinkStatus // of the shipment under way, as told last
	queue    []int                   // likewise, see replication.Progress
	rates    []rate
	shipping replication.PointID // that ledgers and spans are of
	spans    []span              // of its progress, as told, the oldest first
	views    []string            // by disk, as probed
	move     *replication.MoveStatus
	under    *moveRun // the move that is under way
	claims   int      // operators who have the disks: no move of our own begins
	lag      lag
	quiet    time.Time // when the last cycle ended
	requests requests
	lanes    map[*arrival]bool // of the active session, that are open

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

// opened opens journal and targets, again and again until it works or the group's context ends. Where only writing fails, its points can be read meanwhile.
func (g *group) opened() bool {
	for wait := openRetry; ; wait = min(2*wait, openRetryMax) {
		g.endStandby(false)
		began := time.Now()
		err := g.open()
		if err == nil {
			g.learn(func(r *paceRecord) { r.Open = time.Since(began) })
			g.notice("standby", "")
			g.stuck(nil)
			return true
		}
		p := replication.AsProblem(err)
		most := openRetryMax
		if cantWrite(err) { // nothing arrives as long as it takes
			most = openRetryFull
		}
		g.standBy(err)
		if wait = min(wait, most); g.engine.cfg.retry > 0 {
			wait = g.engine.cfg.retry
		}
		g.log.Error("group can't be opened", "err", err, "again_in", wait)
		g.become(replication.StateError, p, "trying again every "+most.String())
		g.stuck(p)
		select {
		case <-time.After(wait):
		case <-g.ctx.Done():
			g.endStandby(true)
			return false
		}
	}
}

const (
	openRetry     = 2 * time.Second
	openRetryMax  = time.Minute
	openRetryFull = 4 * time.Second // where it can't be written: to space or a mount that comes back
)

// open takes up journal and targets. What fails half way is closed again.
func (g *group) open() (err error) {
	if err := g.engine.volumeProblem(g.ctx); err != nil {
		return err
	}
	g.mu.Lock()
	from := g.record.Restored
	g.mu.Unlock()
	if from != nil {
		return g.takeRestored(*from)
	}
	if err := g.renew(); err != nil {
		return err
	}
	j, err := retention.OpenAs(g.engine.journalDir(g.id), g.id, g.engine.self.ID)
	if err != nil {
		return journalProblem(g.id, err)
	}
	defer func() {
		if err != nil {
			j.Close()
			closeAll(g.targets)
			g.targets = nil
		}
	}()
	if isCommitted(j.Cutover()) {
		g.journal = j
		return nil
	}
	if t := &g.tried; t.generation == 0 || t.generation != j.Generation() {
		if t.generation, err = j.TakeOver(g.engine.self, 0); err != nil {
			return journalProblem(g.id, err)
		}
	}
	if err := g.agrees(j); err != nil {
		return err
	}
	if err := j.RecordSettings(settingsOf(g.plan, g.held())); err != nil {
		return journalProblem(g.id, err)
	}
	if at := j.Cutover(); at != nil && at.Step == retention.CutoverUndoing && at.Untaken { // they were the machine's until just now
		if g.targets, err = g.openUnwritten(g.ctx, j); err != nil {
			if replication.AsProblem(err).Code != codeTargetChanged || g.ctx.Err() != nil { // it may go away: what the operator wanted stands
				return err
			}
			if jerr := recordTurn(j, turning{turn: turnWritten}); jerr != nil {
				g.log.Warn("the group can't be noted as committed again", "err", jerr)
				return err
			}
			g.undoRefused, g.journal = err, j
			return nil
		}
	} else if err := g.openTargets(j); err != nil {
		return err
	}
	if err := checkFingerprints(g.ctx, j, g.targets); err != nil {
		return err
	}
	if at := j.Cutover(); at != nil && at.Untaken { // from here on the disks may have content ids that are ours and not the newest, and what they looked like stays noted until the session has begun
		if err := recordTurn(j, turning{turn: turnTaken}); err != nil {
			return journalProblem(g.id, err)
		}
		g.engine.reached("taken")
	}
	if err := forgetTabled(j, g.targets); err != nil {
		return err
	}
	if err := beginSession(j, g.targets, &g.tried); err != nil {
		return err
	}
	if err := j.RecordFingerprints(nil); err != nil { // not earlier: an attempt that fails leaves the next one something to hold a disk without content id against
		return journalProblem(g.id, err)
	}
	if err := g.enlargeTargets(j); err != nil {
		return err
	}
	g.journal = j
	return nil
}

// openTargets opens the targets, with those first that were opened before an error.
func (g *group) openTargets(j *retention.Journal) error {
	known := j.ContentIDs()
	for i, d := range g.plan.Disks() {
		var ours []uint32
		if i < len(known) {
			ours = known[i]
		}
		t, err := openTarget(d.Target, sizedAs(j.SizeBefore(d.No), j.Identity().Disks[i], d.Target), ours)
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
		g.targets = append(g.targets, g.wrapped(d.Target, t))
	}
	return nil
}

func (g *group) wrapped(path string, t blockio.Target) blockio.Target {
	if wrap := g.engine.cfg.wrap; wrap != nil {
		return wrap(path, t)
	}
	return t
}

// trial is what the attempts to open a group have noted: the next one does not note it again, as they may go on for days (a datastore that is full).
type trial struct {
	generation replication.Generation // 0: none yet
	ids        []uint32               // content ids that the targets are given; nil: none yet
}

// openTarget opens a target, and refuses one that is not the one agreed on (I8).
func openTarget(path string, d replication.Disk, ours []uint32) (blockio.Target, error) {
	t, err := openSized(path, d, ours)
	if err != nil {
		return nil, err
	}
	if err := sameContent(t, ours); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// codeTargetSize is the code of a target that has another size than the group has it with.
const codeTargetSize = "target-size"

// openSized opens a target of the size agreed on, whatever it holds. It takes its lock, and writes nothing.
func openSized(path string, d replication.Disk, ours []uint32) (blockio.Target, error) {
	t, err := blockio.OpenTarget(path, blockio.TargetOptions{ResumeContentIDs: ours})
	if err != nil {
		return nil, targetProblem(path, err)
	}
	if t.Size() != d.Size {
		defer t.Close()
		return nil, &replication.Problem{Code: codeTargetSize, Message: fmt.Sprintf("target %s has %d bytes, the group has it with %d", path, t.Description().Size, d.Size),
			Remedy: "put the right disk there"}
	}
	return t, nil
}

// sameContent refuses a disk whose content id is none of ours; without any there is nothing to hold it against.
func sameContent(t fingerprinted, ours []uint32) error {
	desc := t.Description()
	if len(ours) > 0 && desc.ContentID != 0 && !slices.Contains(ours, desc.ContentID) {
		return &replication.Problem{Code: codeTargetChanged,
			Message: fmt.Sprintf("target %s was changed by something else: its content id is %08x, ours was %08x", desc.Path, desc.ContentID, ours[0]),
			Remedy:  "find out who wrote it (was the machine powered on?); " + resyncRemedy}
	}
	return nil
}

// checkFingerprints holds the disks against what they looked like when our last session ended (I8). After a session that ended badly
// there is nothing to hold them against.
func checkFingerprints(ctx context.Context, j *retention.Journal, targets []blockio.Target) error {
	for i, was := range j.Fingerprints() {
		if i >= len(targets) {
			continue
		}
		if err := sameFingerprint(ctx, was, targets[i]); err != nil {
			return err
		}
	}
	return nil
}

// forgetTabled forgets what those disks looked like that have a content id: to be given another one changes their files, and the id tells.
func forgetTabled(j *retention.Journal, targets []blockio.Target) error {
	known := j.Fingerprints()
	if len(known) == 0 {
		return nil
	}
	prints := make([]string, len(targets)) // disks may have joined since
	for i := range min(len(known), len(prints)) {
		if targets[i].Description().ContentID == 0 {
			prints[i] = known[i]
		}
	}
	if err := j.RecordFingerprints(prints); err != nil {
		return journalProblem(j.Identity().Group, err)
	}
	return nil
}

// fingerprinted is a disk that can be looked at so.
type fingerprinted interface {
	Description() blockio.Description
	Fingerprint(ctx context.Context) (blockio.Fingerprint, error)
}

// sameFingerprint holds a disk against what it looked like; "": there is nothing to hold it against.
func sameFingerprint(ctx context.Context, was string, t fingerprinted) error {
	if was == "" {
		return nil
	}
	now, err := t.Fingerprint(ctx)
	if err == nil {
		err = blockio.Fingerprint(was).Check(now)
	}
	switch path := t.Description().Path; {
	case errors.Is(err, blockio.ErrChanged):
		return &replication.Problem{Code: codeTargetChanged, Message: fmt.Sprintf("target %s was changed by something else", path), Err: err,
			Remedy: "find out who wrote it (was the machine powered on? is it the right disk? was it copied, and not with its times, as cp --preserve does?); " + resyncRemedy}
	case err != nil && !errors.Is(err, blockio.ErrUnsupported): // taken by another version: it can't be compared
		return targetProblem(path, err)
	}
	return nil
}

// fingerprints returns what the disks look like now.
func fingerprints(targets []blockio.Target) ([]string, error) {
	var all []string
	for _, t := range targets {
		f, err := t.Fingerprint(context.Background()) // the group's context has ended
		if err != nil {
			return nil, err
		}
		all = append(all, string(f))
	}
	return all, nil
}

// beginSession gives the targets content ids of this session: first into the journal, then onto the disks (I8).
func beginSession(j *retention.Journal, targets []blockio.Target, tried *trial) error {
	found, fresh := make([]uint32, len(targets)), tried.ids
	if fresh == nil {
		fresh = make([]uint32, len(targets))
		for i := range fresh {
			fresh[i] = blockio.NewContentID()
		}
	}
	noted := true
	for i, known := range j.ContentIDs() {
		found[i] = targets[i].Description().ContentID
		noted = noted && len(known) > 0 && known[0] == fresh[i] && slices.Contains(known, found[i])
	}
	if !noted {
		for _, ids := range [][]uint32{found, fresh} {
			if err := j.RecordContentIDs(ids); err != nil {
				return journalProblem(j.Identity().Group, err)
			}
		}
	}
	tried.ids = fresh
	for i, t := range targets {
		if err := t.SetContentID(fresh[i]); err != nil {
			return targetProblem(t.Description().Path, err)
		}
	}
	return nil
}

func closeAll(targets []blockio.Target) (first error) {
	for _, t := range targets {
		if err := t.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// close gives targets and journal back. A move that an operator asked for may be under way still: it has been told to end, and writes what it has begun. Fingerprints are taken of disks that nobody writes.
func (g *group) close() {
	g.moving.Lock()
	defer g.moving.Unlock()
	g.takeBack()
	if g.isAway() { // it has no targets, and what they looked like stays noted: who takes them back holds them against it
		if err := g.journal.Close(); err != nil {
			g.log.Error("close journal", "err", err)
		}
		return
	}
	look, err := fingerprints(g.targets)
	err = errors.Join(err, closeAll(g.targets))
	if err == nil {
		err = g.journal.RecordFingerprints(look)
	}
	g.mu.Lock()
	sealing := g.sealing
	g.mu.Unlock()
	if err == nil && sealing {
		err = g.sealNow()
	}
	g.mu.Lock()
	g.sealed = err
	g.mu.Unlock()
	if err != nil {
		g.log.Error("close targets", "err", err)
	}
	if err := g.journal.Close(); err != nil {
		g.log.Error("close journal", "err", err)
	}
}

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

// journalProblem tells an error of the journal in the operator's words.
func journalProblem(id replication.GroupID, err error) error {
	p := &replication.Problem{Code: "journal", Message: fmt.Sprintf("journal of group %s", id), Err: err}
	switch {
	case errors.Is(err, retention.ErrOwned):
		p.Code, p.Remedy = preflight.CodeTakenOver, fmt.Sprintf("nothing is written here any more. Go on at the other one; or, when that one is off, take the group back with failback adopt. To forget the group here: failback unprotect %s", id)
	case errors.Is(err, retention.ErrCommitted):
		p.Code, p.Remedy = replication.CodeCommitted, fmt.Sprintf("`failback undo %s` takes it back, as long as nobody has written to the disks; `failback finish %s` ends it", id, id)
	case errors.Is(err, retention.ErrLocked):
		p.Remedy = "another master target has it open: only one may write a group"
	case errors.Is(err, retention.ErrOtherGroup):
		p.Remedy = "the directory belongs to another group: give this one another name, or move the directory away"
	case errors.Is(err, retention.ErrNotJournal):
		p.Remedy = "the directory is not a journal: move it away"
	case errors.Is(err, retention.ErrNewer):
		p.Remedy = "run the release that wrote it, or a newer one"
	case errors.Is(err, retention.ErrUnborn):
		p.Code, p.Message, p.Remedy = "disk-unborn", fmt.Sprintf("group %s", id), "choose a point from its first one on; failback status tells when each disk joined"
	case errors.Is(err, retention.ErrLeft):
		p.Code, p.Message, p.Remedy = codeLeft, fmt.Sprintf("group %s", id), "choose a point that has it; failback status tells which disks left after which point"
	case errors.Is(err, retention.ErrNoSpace):
		p.Code, p.Remedy = "retention-full", "give the retention volume more space; nothing listed is lost, and work goes on by itself"
	case errors.Is(err, retention.ErrCorrupt):
		p.Remedy = "keep the directory as it is: what is damaged in it is never served. `failback points` says which points are whole, and those can be exported; `failback journal check` tells what is damaged. The disks stand where they stood"
	case errors.Is(err, fs.ErrNotExist):
		p.Remedy = "see that the retention volume is mounted; a group whose journal is lost has to be unprotected and protected anew"
	default:
		p.Remedy = "see that the retention volume is mounted and writable"
	}
	return p
}

// targetProblem tells an error of a target in the operator's words.
func targetProblem(path string, err error) error {
	p := &replication.Problem{Code: "target", Message: "target " + path, Err: err, Remedy: "see that its datastore is mounted and writable"}
	switch {
	case errors.Is(err, blockio.ErrPoisoned):
		p.Remedy = "see to the storage below it; nothing listed is lost, and the group goes on from what is durable"
	case errors.Is(err, blockio.ErrInUse):
		p.Code, p.Remedy = "target-in-use", "unmount it, or stop what holds it (a second master target?)"
	case errors.Is(err, blockio.ErrNotTarget), errors.Is(err, blockio.ErrUnsupported):
		p.Code, p.Remedy = "target-refused", "give another target, or put this one in order as the message says"
	case errors.Is(err, blockio.ErrCorrupt):
		p.Code, p.Remedy = "target-corrupt", "give another target, or let its owner repair it"
	case errors.Is(err, syscall.ENOSPC):
		p.Code, p.Remedy = "target-full", "give its datastore more space; nothing listed is lost, and work goes on by itself"
	case errors.Is(err, os.ErrNotExist):
		p.Code = "target-missing"
	}
	return p
}
