package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/backup"
	"failback/replication/health"
	"failback/replication/link"
	"failback/replication/mastertarget/events"
	"failback/replication/plan"
	"failback/replication/throttle"
	"failback/retention"
	"failback/retention/volume"
)

// Config sets an Engine up.
type Config struct {
	State     string // state directory: the catalogue
	Retention string // retention volume: a directory per group
	// AllowSharedVolume lets journals lie on a volume that is used for other things too, or does not last. It is there for trials.
	AllowSharedVolume bool
	Version           string // release of this program
	// ScrubRate is how many bytes a second of each journal are read in the background, to find damage; ScrubEvery how long after one pass the next begins. Zero: never.
	ScrubRate  int64
	ScrubEvery time.Duration
	Log        *slog.Logger

	// Pin returns the hash of the CA that tokens name, or why process servers can't enrol here. nil: they can't.
	Pin func() ([32]byte, error)
	// Certificates returns those by which process servers know this one. nil: none.
	Certificates func() []replication.Certificate

	// For tests: where the files lie that tell of this machine (sys, proc, dev/disk/by-id), "" for /; what opened targets are wrapped in, another quietFor, and how soon it is tried again to open a group.
	root  string
	wrap  func(path string, t blockio.Target) blockio.Target
	quiet time.Duration
	retry time.Duration
	// look is another lookEvery, patience another askPatience, health are other thresholds; zero: as they are.
	look, patience time.Duration
	health         *health.Thresholds
	// reached is told how far a cutover has come: it goes on when that returns.
	reached func(step string)
	// changing is called as each change of the catalogue begins, whose file is as the one before left it. It may fail the change.
	changing func() error
	// notes may fail the noting of a step in the journal; nil: there is none.
	notes func(*retention.Cutover) error
}

// Engine is a master target. It implements what transport serves: transport.MasterTarget and transport.Operations.
type Engine struct {
	cfg     Config
	cat     *catalogue
	volumes *volume.Looker
	self    retention.Owner // this master target
	began   time.Time
	ctx     context.Context // ends when the engine closes
	end     context.CancelFunc
	wg      sync.WaitGroup

	turns     groupTurns // of groups that come, go or change; before admin
	admin     sync.Mutex // held while a group comes or goes, but not while its storage is waited for
	admitting sync.Mutex // held while a process server comes, or is forgotten; before accessing
	accessing sync.Mutex // held while names and tokens change
	drills    drills
	events    *events.Log
	observing observing
	told      toldPages

	mu         sync.Mutex
	schedule   throttle.Schedule
	groups     map[replication.GroupID]*group
	turnedAway map[string]turnedAway // by name
	workers    map[string]*worker
	cuttings   map[replication.GroupID]*cutting
	paces      map[replication.GroupID]*pace
	names      map[string]binding // of process servers, as the catalogue has them
	news       chan struct{}      // closed, and made anew, when something changed that somebody may wait for
}

// worker is a process server that has connected at least once.
type worker struct {
	link.Peer
	link.Worker
	since time.Time       // connected, or gone, since then
	ctx   context.Context // ends when it has gone, or another of its name has come
	leave context.CancelCauseFunc
}

func (w *worker) connected() bool { return w.ctx.Err() == nil }

// errGone is the cause of the end of a worker's context.
var errGone = errors.New("the connection to the process server ended")

// Open starts a master target: its groups go on where they were.
func Open(cfg Config) (_ *Engine, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := checkRetention(cfg.Retention); readOnly(err) { // what is on it can be read (standby), and given up where it is full (upkeep)
		cfg.Log.Warn("retention volume is full or read-only", "err", err)
	} else if err != nil {
		return nil, err
	}
	cat, err := openCatalogue(cfg.State)
	if err != nil {
		return nil, err
	}
	cat.begins = cfg.changing
	if err := backup.RemoveLeft(cfg.State, catalogueName); err != nil {
		cfg.Log.Warn("what a restore has left can't be removed", "err", err)
	}
	e := &Engine{cfg: cfg, cat: cat, volumes: volume.New(cfg.Retention, cfg.AllowSharedVolume), groups: map[replication.GroupID]*group{}, workers: map[string]*worker{}, cuttings: map[replication.GroupID]*cutting{}, paces: map[replication.GroupID]*pace{}, names: map[string]binding{}, turnedAway: map[string]turnedAway{}, news: make(chan struct{}), began: time.Now()}
	if e.self, err = cat.self(); err == nil {
		err = e.lockVolume()
	}
	if err == nil {
		e.events, err = events.Open(cfg.State, cfg.Log)
	}
	if err != nil {
		cat.close()
		return nil, err
	}
	defer func() {
		if err != nil {
			e.events.Close()
		}
	}()
	thresholds := health.Failback()
	if cfg.health != nil {
		thresholds = *cfg.health
	}
	e.observing = observing{
		begun: time.Now(), watch: health.New(thresholds, e.events.Alerts()), alerts: e.events.Alerts(), cycles: map[replication.GroupID][]health.Cycle{}, ships: map[replication.GroupID]map[string]float64{},
	}
	e.happened(replication.EventStarted, replication.Healthy, "", e.self.Host, "the master target has started, version %s", cfg.Version)
	e.ctx, e.end = context.WithCancel(context.Background())
	e.drills.all = map[string]*running{}
	e.drills.ctx, e.drills.end = context.WithCancel(e.ctx)
	if err := e.cleanDrills(); err != nil {
		cat.close()
		return nil, err
	}
	err = each(cat, bucketGroups, func(id replication.GroupID, r groupRecord) error {
		p, err := plan.Parse(r.Plan)
		if err != nil {
			return &replication.Problem{Code: "plan", Message: fmt.Sprintf("the plan of group %s in the catalogue can't be read", id), Err: err, Remedy: "run the release of the master target that wrote it, or a newer one; nothing was changed"}
		}
		e.groups[id] = newGroup(e, p, r)
		return nil
	})
	if err == nil {
		e.schedule, err = cat.schedule()
	}
	if err == nil {
		err = each(cat, bucketNames, func(name replication.GroupID, b binding) error {
			e.names[string(name)] = b
			return nil
		})
	}
	if err != nil {
		e.volumes.Release()
		cat.close()
		return nil, err
	}
	for _, g := range e.groups {
		if g.record.Finishing {
			e.wg.Go(func() {
				defer e.administer(g.id)()
				if err := e.finishRest(g); err != nil {
					e.cfg.Log.Error("finish", "group", g.id, "err", err)
				}
			})
			continue
		}
		g.start()
	}
	e.wg.Go(e.handOut)
	e.wg.Go(e.observe)
	return e, nil
}

// Close stops all work at a safe place and closes disks, journals and the catalogue.
func (e *Engine) Close() error {
	e.drills.mu.Lock() // none begins any more
	e.drills.end()
	e.drills.mu.Unlock()
	e.drills.wg.Wait() // they read what the groups have open
	e.end()
	e.wg.Wait()
	e.volumes.Release()
	return errors.Join(e.events.Close(), e.cat.close())
}

// checkRetention says whether there is a retention directory that can be written: made sure by writing.
func checkRetention(dir string) error {
	st, err := os.Stat(dir)
	if err == nil && !st.IsDir() {
		err = errors.New("is not a directory")
	}
	if err != nil {
		return &replication.Problem{Code: "retention", Message: "retention volume " + dir, Err: err,
			Remedy: "mount the retention volume, or give the directory where it is mounted with --retention"}
	}
	if err := volume.Probe(dir); err != nil {
		return &replication.Problem{Code: "retention", Message: "retention volume " + dir + " can't be written", Err: err,
			Remedy: "mount it read-write, and let this process write there"}
	}
	return nil
}

func (e *Engine) journalDir(id replication.GroupID) string {
	return filepath.Join(e.cfg.Retention, string(id))
}

// changed wakes all that wait for something to change.
func (e *Engine) changed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.news)
	e.news = make(chan struct{})
}

// wait calls ready until it returns true or ctx ends, each time something has changed.
func (e *Engine) wait(ctx context.Context, ready func() bool) error {
	for {
		e.mu.Lock()
		news := e.news
		e.mu.Unlock()
		if ready() {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-e.ctx.Done():
			return errClosing
		}
	}
}

var errClosing = &replication.Problem{Code: "closing", Message: "the master target is shutting down", Remedy: "start it and try again"}

// reopen puts a new group in the place of one whose handles are broken.
func (e *Engine) reopen(g *group) {
	defer e.administer(g.id)()
	e.reopenLocked(g)
}

// reopenLocked is reopen. e.administer is held.
func (e *Engine) reopenLocked(g *group) {
	e.mu.Lock()
	there := e.groups[g.id] == g
	e.mu.Unlock()
	if !there || e.ctx.Err() != nil {
		return
	}
	e.closed(g)
	g.mu.Lock()
	r := g.record
	g.mu.Unlock()
	p, err := plan.Parse(r.Plan) // it may be another one by now
	if err != nil {
		e.cfg.Log.Error("plan of a group in the catalogue", "group", g.id, "err", err)
		p = g.plan
	}
	again := newGroup(e, p, r)
	e.mu.Lock()
	e.groups[g.id] = again
	e.mu.Unlock()
	again.start()
}

func (e *Engine) group(id replication.GroupID) (*group, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	g := e.groups[id]
	if g == nil {
		return nil, &replication.Problem{Code: "no-such-group", Message: fmt.Sprintf("there is no group %q here", id), Remedy: "`failback status` lists the groups"}
	}
	return g, nil
}

// Connected takes a process server. One that comes again takes its own place: it has lost its connection, and this side does not know it yet. Another
// of the same name is refused while the first is there: it would be given the orders, with none of the snapshots they are about.
func (e *Engine) Connected(p link.Peer, w link.Worker) (func(), error) {
	ctx, leave := context.WithCancelCause(e.ctx)
	now := &worker{Peer: p, Worker: w, since: time.Now(), ctx: ctx, leave: leave}
	before, err := e.admit(now)
	if err != nil {
		leave(errGone)
		e.TurnedAway(p.Name, replication.AsProblem(err))
		return nil, err
	}
	if before != nil {
		before.displaced()
	}
	e.happened(replication.EventProcessServer, replication.Healthy, "", p.Name, "process server %s connected, version %s", p.Name, p.Version)
	e.cfg.Log.Info("process server connected", "name", p.Name, "version", p.Version, "minor", min(p.Minor, link.ProtocolMinor), "skew", p.Skew, "no_clock", p.NoClock)
	e.changed()
	e.wg.Go(func() { e.sayFarewell(now) })
	return func() {
		leave(errGone)
		e.mu.Lock()
		now.since = time.Now()
		there := e.workers[p.Name] == now
		e.mu.Unlock()
		if !there {
			e.cfg.Log.Info("an earlier connection of a process server ended", "name", p.Name)
			return
		}
		e.cfg.Log.Info("process server gone", "name", p.Name)
		e.happened(replication.EventProcessServer, replication.Warned, "", p.Name, "process server %s has gone", p.Name)
		e.changed()
	}, nil
}

// admit gives a process server its name and its place, and returns who had that, or nil.
func (e *Engine) admit(now *worker) (before *worker, err error) {
	e.admitting.Lock()
	defer e.admitting.Unlock()
	if err := e.bind(now.Peer); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	before = e.workers[now.Name]
	if before != nil && before.connected() && before.Home != "" && now.Home != "" && before.Home != now.Home {
		return nil, &replication.Problem{Code: CodeNameInUse,
			Message: fmt.Sprintf("a process server %s with another state directory is connected since %s", now.Name, before.since.UTC().Format(time.DateTime)),
			Remedy:  "give each process server its own --name; if this one takes that one's place, stop that one: this one gets in within a minute"}
	}
	delete(e.turnedAway, now.Name)
	e.workers[now.Name] = now
	return before, nil
}

// worker returns the process server of that name if it is connected.
func (e *Engine) worker(name string) *worker {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.workers[name]; w != nil && w.connected() {
		return w
	}
	return nil
}

// wasSeen says whether a process server was connected since this master target was started, and when it went.
func (e *Engine) wasSeen(name string) (seen bool, since time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.workers[name]; w != nil {
		return true, w.since
	}
	return false, time.Time{}
}

// displaced ends the session of a process server whose place another connection has taken, and tells it, should it be there still: it would wait for orders that nobody gives it, and dials again so.
func (w *worker) displaced() {
	w.leave(errGone)
	if l, ok := w.Worker.(interface{ Leave(error) }); ok {
		l.Leave(&replication.Problem{Code: CodeNameInUse, Message: fmt.Sprintf("another connection of process server %s has come, with the same key and state directory", w.Name),
			Remedy: "if its machine was copied, stop one of the two: both have the same snapshots to look after"})
	}
}

// turnedAway is a process server that was not let in.
type turnedAway struct {
	why  *replication.Problem
	when time.Time
}

// maxTurnedAway bounds how many names are remembered of those that were turned away: whoever has a certificate can come by any.
const maxTurnedAway = 64

// TurnedAway notes that a process server that came by the name was not let in. It implements transport.MasterTarget.
func (e *Engine) TurnedAway(name string, why *replication.Problem) {
	if replication.ValidName(name) != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, again := e.turnedAway[name]; !again && len(e.turnedAway) >= maxTurnedAway {
		oldest := ""
		for n, t := range e.turnedAway {
			if oldest == "" || t.when.Before(e.turnedAway[oldest].when) {
				oldest = n
			}
		}
		delete(e.turnedAway, oldest)
	}
	e.turnedAway[name] = turnedAway{why, time.Now()}
}

// wasTurnedAway says why the process server of that name was not let in last, and when; nil: it was, or never came.
func (e *Engine) wasTurnedAway(name string) (*replication.Problem, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.turnedAway[name]
	return t.why, t.when
}

// waitWorker returns the process server of that name, once it is connected.
func (e *Engine) waitWorker(ctx context.Context, name string) (w *worker, err error) {
	err = e.wait(ctx, func() bool { w = e.worker(name); return w != nil })
	return w, err
}

// sayFarewell gives the process server the orders to forget groups that ended, or moved to another one, while it was away.
func (e *Engine) sayFarewell(w *worker) {
	restored := e.restored() // before the orders are read: those that no longer hold are gone when a group is none of these
	due := map[replication.GroupID]farewell{}
	err := each(e.cat, bucketFarewells, func(key replication.GroupID, f farewell) error {
		if f.Worker == w.Name {
			due[key] = f
		}
		return nil
	})
	if err != nil {
		e.cfg.Log.Error("read farewells", "err", err)
	}
	for key, f := range due {
		id := f.Spec.Session.Group
		if restored[id] { // its journal may say that this one has the group: it is told when it comes again
			continue
		}
		if g, err := e.group(id); err == nil && g.plan.ProcessServer == w.Name { // it has the group again since: its snapshots are in use
			continue
		}
		if err := w.Forget(w.ctx, f.Spec); err != nil {
			e.cfg.Log.Warn("process server did not forget a group", "group", id, "name", w.Name, "err", err)
			continue
		}
		if err := e.cat.remove(bucketFarewells, key); err != nil {
			e.cfg.Log.Error("remove farewell", "group", id, "err", err)
		}
	}
}

// restored are the groups whose records are of a backup: who has them is not known yet.
func (e *Engine) restored() map[replication.GroupID]bool {
	e.mu.Lock()
	all := slices.Collect(maps.Values(e.groups))
	e.mu.Unlock()
	ids := map[replication.GroupID]bool{}
	for _, g := range all {
		g.mu.Lock()
		if g.record.Restored != nil {
			ids[g.id] = true
		}
		g.mu.Unlock()
	}
	return ids
}

// sendOff says farewell, with patience, to a process server if it is there: else it is told when it comes.
func (e *Engine) sendOff(name string) {
	w := e.worker(name)
	if w == nil {
		return
	}
	said := make(chan struct{})
	e.wg.Go(func() { defer close(said); e.sayFarewell(w) })
	select {
	case <-said:
	case <-time.After(connectPatience):
	}
}
