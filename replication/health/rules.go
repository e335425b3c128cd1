package health

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"failback/replication"
)

// Thresholds are what the rules compare with.
type Thresholds struct {
	BusyWarned, BusyCritical   float64 // share of cores, or of memory
	FreeWarned, FreeCritical   float64 // share of the volume of a process server's state
	FreeLeast                  float64 // below which it is critical at once
	Margin                     float64 // of shares: by how much a reading must fall below to count no more
	Held                       time.Duration
	Clear                      time.Duration // a reading of a machine must be good for so long
	Heartbeat                  time.Duration
	Back                       time.Duration // a process server must be connected for so long
	Skew                       time.Duration
	LeftWarned, LeftCritical   time.Duration // until a cycle of changes is sent
	LeftHeld                   time.Duration
	Progress                   time.Duration // without any, or slow
	Slow                       float64       // share of a disk's best rate
	ChurnWarned, ChurnCritical float64       // changes beside what can be carried
	Error                      time.Duration
	ClearIntervals             int // between points: for so many they must have come in time
}

// Failback are the thresholds of the product that this one replaces, with ours where it has none.
func Failback() Thresholds {
	const quarter = 15 * time.Minute
	return Thresholds{
		BusyWarned: 0.80, BusyCritical: 0.95, FreeWarned: 0.30, FreeCritical: 0.25, FreeLeast: 0.20, Margin: 0.02, Held: quarter, Clear: 5 * time.Minute, Heartbeat: quarter, Back: time.Minute,
		Skew: time.Minute, LeftWarned: 30 * time.Minute, LeftCritical: 45 * time.Minute, LeftHeld: 5 * time.Minute, Progress: quarter, Slow: 0.25,
		ChurnWarned: 0.8, ChurnCritical: 1, Error: time.Minute, ClearIntervals: 2,
	}
}

// The rules, see the package's doc.
const (
	Heartbeat    = "heartbeat"
	CPU          = "cpu"
	Memory       = "memory"
	Cache        = "cache"
	Clock        = "clock"
	Backlog      = "backlog"
	RPO          = "rpo"
	Schedule     = "schedule"
	App          = "app"
	Frozen       = "frozen"
	Stopped      = "stopped"
	ChurnLink    = "churn-link"
	ChurnDisks   = "churn-disks"
	SlowProgress = "slow-progress"
	NoProgress   = "no-progress"
	Retention    = "retention"
	Damage       = "damage"
	Silent       = "silent"
)

// Rules are all of them.
var Rules = []string{Heartbeat, CPU, Memory, Cache, Clock, Backlog, RPO, Schedule, App, Frozen, Stopped, ChurnLink, ChurnDisks, SlowProgress, NoProgress, Retention, Damage, Silent}

// SilentRemedy is what to do about a group that does not tell how it is.
const SilentRemedy = "see that the retention volume and the datastores answer; when they do, it goes on by itself"

// reading is what a rule reads of a subject.
type reading struct {
	rule, code string
	group      replication.GroupID
	subject    string
	passes     replication.Level // by the thresholds that it must pass to count
	stays      replication.Level // by those that it must fall below to count no more: passes, or worse
	held       [3]time.Duration  // by the level's rank: how long it must have held
	clear      time.Duration
	unknown    bool // it can't be told now: an alert that stands stays
	message    string
	remedy     string
}

// level judges a value that is bad when it is high.
func level(v, warned, critical float64) replication.Level {
	switch {
	case v >= critical:
		return replication.Critical
	case v >= warned:
		return replication.Warned
	}
	return replication.Healthy
}

func alike(d time.Duration) [3]time.Duration { return [3]time.Duration{0, d, d} }

// readings reads everything out of the facts. Progress is what the watch remembers of disks.
func (t Thresholds) readings(f Facts, progress func(Group, Disk) pace) (all []reading) {
	for _, s := range f.Servers {
		all = append(all, t.server(f.Now, s)...)
	}
	for _, g := range f.Groups {
		connected := false
		for _, s := range f.Servers {
			connected = connected || s.Name == g.Server && s.Connected
		}
		all = append(all, t.group(f.Now, g, connected, progress)...)
	}
	return all
}

// stale is how old figures may be that count.
const stale = 2 * time.Minute

func (t Thresholds) server(now time.Time, s Server) (all []reading) {
	if !s.Connected && !s.Needed { // nobody misses it
		return nil
	}
	gone := reading{rule: Heartbeat, code: "806", subject: s.Name, held: alike(t.Heartbeat), clear: t.Back,
		message: fmt.Sprintf("process server %s has not been connected since %s: no points are made of its groups", s.Name, clock(s.Since)),
		remedy:  "start it, and see that it reaches the master target: its log says what it finds; add no machines to it meanwhile"}
	if !s.Connected {
		gone.passes = replication.Critical
		gone.stays = gone.passes
		return append(all, gone)
	}
	all = append(all, gone)
	skew := s.Skew.Abs()
	off := reading{rule: Clock, subject: s.Name, held: alike(t.Held), clear: t.Clear,
		message: fmt.Sprintf("the clock of process server %s is %s off ours: points bear the wrong time", s.Name, age(skew)),
		remedy:  "have both sides' clocks kept by NTP"}
	if skew >= t.Skew {
		off.passes = replication.Warned
	}
	off.stays = off.passes
	all = append(all, off)
	n := s.Figures
	if n == nil || now.Sub(n.Time) > stale {
		return all
	}
	thawed := reading{rule: Frozen, subject: s.Name, message: fmt.Sprintf("process server %s could not thaw %s after a cut, and goes on trying: they may be frozen still", s.Name, strings.Join(n.Frozen, ", ")),
		remedy: "see what holds the thaw command up (the process server's log tells its error), or thaw them by hand and remove frozen.json from the group's directory in its state directory; a thaw command that is mended in the plan is used from the next application-consistent point on"}
	if len(n.Frozen) > 0 {
		thawed.passes = replication.Critical
	}
	thawed.stays = thawed.passes
	all = append(all, thawed)
	busy := func(rule string, share float64, what, remedy string) {
		if share < 0 {
			return
		}
		all = append(all, reading{rule: rule, subject: s.Name, held: alike(t.Held), clear: t.Clear,
			passes: level(share, t.BusyWarned, t.BusyCritical), stays: level(share+t.Margin, t.BusyWarned, t.BusyCritical),
			message: fmt.Sprintf("%s of the machine of process server %s: %.0f %% used", what, s.Name, 100*share), remedy: remedy + "; add no machines to it meanwhile"})
	}
	busy(CPU, n.CPU, "CPU", "give it more cores, or move groups to another process server; --compression lz4 takes less of them and more of the link")
	busy(Memory, n.Memory, "memory", "give it more memory, or see what else takes it there; --repeats-memory, --workers and --lanes take less")
	if n.StateTotal > 0 {
		free := float64(n.StateFree) / float64(n.StateTotal)
		below := reading{rule: Cache, subject: s.Name, held: alike(t.Held), clear: t.Clear,
			passes: level(-free, -t.FreeWarned, -t.FreeCritical), stays: level(-free+t.Margin, -t.FreeWarned, -t.FreeCritical),
			message: fmt.Sprintf("the volume of the state of process server %s has %.0f %% free, %s", s.Name, 100*free, size(n.StateFree)),
			remedy:  "give it more space: without any no point can be cut; add no machines to it meanwhile"}
		if free < t.FreeLeast {
			below.held = [3]time.Duration{}
		}
		all = append(all, below)
	}
	return all
}

func (t Thresholds) group(now time.Time, g Group, connected bool, progress func(Group, Disk) pace) (all []reading) {
	add := func(r reading, l replication.Level) {
		r.group, r.passes = g.Name, l
		r.subject = cmp.Or(r.subject, string(g.Name))
		r.stays = cmp.Or(r.stays, l)
		all = append(all, r)
	}
	when := func(b bool, l replication.Level) replication.Level {
		if b {
			return l
		}
		return replication.Healthy
	}
	add(reading{rule: Silent, message: fmt.Sprintf("group %s has not told how it is for %s: a read or write of its journal in %s, or of one of its targets, hangs", g.Name, age(g.Silent), g.Where),
		remedy: SilentRemedy}, when(g.Silent >= t.Error, replication.Critical))
	full := reading{rule: Retention, unknown: !g.SpaceKnown, message: "replication is held back: there is no space on the retention volume, and nothing more that may be given up", remedy: "give the retention volume more space, take back pins, or end drills"}
	if g.Problem != nil && g.HeldBack {
		full.message, full.remedy = g.Problem.Error(), g.Problem.Remedy
	}
	add(full, when(g.HeldBack, replication.Critical))
	damaged := reading{rule: Damage, unknown: !g.DamageKnown, message: fmt.Sprintf("%d parts of the journal are damaged; no point lacks anything by it yet", g.Parts), remedy: "see to the storage below the retention volume; failback scrub reads and mends the journal"}
	if g.Lost > 0 {
		damaged.message = fmt.Sprintf("%s of the disks that points need are lost of the journal: failback points says which", size(g.Lost))
	}
	add(damaged, when(g.Lost > 0, replication.Critical).Worse(when(g.Parts > 0, replication.Warned)))
	stopped := reading{rule: Stopped, held: [3]time.Duration{0, t.Held, t.Error}, clear: 0}
	if p := g.Problem; p != nil && !g.HeldBack {
		stopped.message, stopped.remedy, stopped.code = p.Error(), p.Remedy, p.Code
		add(stopped, when(g.State == replication.StateError, replication.Critical).Worse(replication.Warned))
	} else {
		stopped.unknown = g.Closed // nothing says that it can go on
		add(stopped, replication.Healthy)
	}
	if !g.changing() {
		return all
	}
	all = append(all, t.times(now, g)...)
	if g.Closed {
		return all
	}
	all = append(all, t.churn(g)...)
	if !g.Cut.IsZero() && (!connected || g.HeldBack) { // it can't go on, which other rules tell
		return all
	}
	return append(all, t.cycle(g, progress)...)
}

// maxClear is how long points must have come in time at most, where they are seldom made.
const maxClear = time.Hour

// times judges when points were made.
func (t Thresholds) times(now time.Time, g Group) (all []reading) {
	if g.Last == 0 {
		return nil
	}
	old := now.Sub(g.LastTime)
	clear := min(time.Duration(t.ClearIntervals)*g.Interval, maxClear)
	why := ""
	if g.WaitsFor != "" {
		why = "; the group waits for " + g.WaitsFor
	}
	if g.RPOAlert > 0 {
		l := level(old.Seconds(), g.RPOAlert.Seconds(), 2*g.RPOAlert.Seconds())
		all = append(all, reading{rule: RPO, code: "78169", group: g.Name, subject: string(g.Name), passes: l, stays: l, clear: clear,
			message: fmt.Sprintf("the last point, %d, is %s old: more than %s (rpo_alert)%s", g.Last, age(old), age(g.RPOAlert), why),
			remedy:  fmt.Sprintf("failback explain %s tells what holds it up", g.Name)})
	}
	since := "there is none yet"
	if !g.LastApp.IsZero() {
		since = "the last is of " + clock(g.LastApp)
	}
	app := reading{rule: App, code: "78144", group: g.Name, subject: string(g.Name), unknown: g.Closed, passes: replication.Healthy,
		message: fmt.Sprintf("no application-consistent points are made, one of which is due every %s; %s", age(g.AppInterval), since),
		remedy:  "see that the plan's freeze and thaw commands do what they should, within their timeout; failback points tells of each point why it is only crash-consistent"}
	if g.NotApp != "" {
		app.message += "; what failed: " + g.NotApp
	}
	if g.AppInterval > 0 && (g.NotApp != "" || !g.LastApp.IsZero() && now.Sub(g.LastApp) >= 2*g.AppInterval) {
		app.passes = replication.Warned
	}
	app.stays = app.passes
	all = append(all, app)
	if g.Interval > 0 {
		cut := g.LastTime
		if g.Cut.After(cut) {
			cut = g.Cut
		}
		missed := int(now.Sub(cut)/g.Interval) - 1
		l := replication.Healthy
		if missed > 0 {
			l = replication.Warned
		}
		if !g.Cut.IsZero() && missed > 0 {
			why = "; the cycle under way was cut at " + clock(g.Cut) + why
		}
		all = append(all, reading{rule: Schedule, group: g.Name, subject: string(g.Name), passes: l, stays: l, clear: clear,
			message: fmt.Sprintf("%s missed: one is due every %s, the last was cut at %s%s", points(missed), age(g.Interval), clock(cut), why),
			remedy:  fmt.Sprintf("failback explain %s tells what holds them up; a longer crash_interval suits a slow link better", g.Name)})
	}
	return all
}

// churn compares what changes with what can be carried.
func (t Thresholds) churn(g Group) (all []reading) {
	if n := len(g.Cycles); n >= KeptCycles {
		var gap, took time.Duration
		var wire, changed int64
		bound := map[string]time.Duration{}
		for _, c := range g.Cycles[n-KeptCycles:] {
			gap, took, wire, changed = gap+c.Gap, took+c.Took, wire+c.Wire, changed+c.Bytes
			bound[c.Bound] += c.Took
		}
		l := replication.Healthy
		if gap > 0 && took > 0 && wire > 0 {
			l = level(took.Seconds()/gap.Seconds(), t.ChurnWarned, t.ChurnCritical)
		}
		most := ""
		for b, d := range bound {
			if b != "" && (most == "" || d > bound[most] || d == bound[most] && b < most) {
				most = b
			}
		}
		demand, carried := float64(wire)/max(gap.Seconds(), 1e-9), float64(wire)/max(took.Seconds(), 1e-9)
		what, remedy := "goes through", "give the link more, have points made less often, or leave out disks that change much and matter little"
		switch most {
		case "":
		case "link":
			what = "the link carries"
		case "throttle":
			what, remedy = "the throttle allows", "raise it: failback throttle set; or have points made less often"
		default:
			what, remedy = "goes through, bound by "+most, fmt.Sprintf("failback explain %s tells more; have points made less often, or leave out disks that change much and matter little", g.Name)
		}
		all = append(all, reading{rule: ChurnLink, code: "78188", group: g.Name, subject: string(g.Name), passes: l, stays: l,
			message: fmt.Sprintf("%s/s of changes make %s/s on the wire; %s/s is what %s: the last %d cycles took %s to send what came together in %s",
				size(int64(float64(changed)/max(gap.Seconds(), 1e-9))), size(int64(demand)), size(int64(carried)), what, KeptCycles, age(took), age(gap)),
			remedy: remedy})
	} else { // after a restart
		all = append(all, reading{rule: ChurnLink, group: g.Name, subject: string(g.Name), unknown: true})
	}
	l := replication.Healthy
	if g.Applied > 0 && g.Behind > 0 && g.CatchUp > max(2*g.HeadLag, time.Minute) {
		l = level(g.Changed/g.Applied, t.ChurnWarned, t.ChurnCritical)
	}
	return append(all, reading{rule: ChurnDisks, code: "78188", unknown: len(g.Cycles) == 0, group: g.Name, subject: string(g.Name), passes: l, stays: l, held: alike(t.Held), clear: t.Clear,
		message: fmt.Sprintf("%s/s of changes, and the target disks are moved by %s/s: they are %d points behind, and need %s to catch up", size(int64(g.Changed)), size(int64(g.Applied)), g.Behind, age(g.CatchUp)),
		remedy:  "no point is lost by it, but a failback takes longer; put the targets on faster storage, and the journal on other disks than the targets"})
}

// cycle judges how a cycle goes on.
func (t Thresholds) cycle(g Group, progress func(Group, Disk) pace) (all []reading) {
	left, known := time.Duration(0), false
	under := false
	for _, d := range g.Disks { // of which there are none to be seen while no cycle is open
		p := progress(g, d)
		stuck, slow := replication.Healthy, replication.Healthy
		going := !g.Cut.IsZero() && d.Done < d.Total
		under = under || going
		if p.rate > 0 && d.Done < d.Total {
			left, known = max(left, time.Duration(float64(d.Total-d.Done)/p.rate*float64(time.Second))), true
		}
		switch {
		case !going:
		case d.Queued:
		case p.still >= t.Progress:
			stuck = replication.Critical
		case p.slow:
			slow = replication.Warned
		}
		all = append(all,
			reading{rule: NoProgress, unknown: going && !p.moved && p.still < t.Progress, group: g.Name, subject: string(d.Name), passes: stuck, stays: stuck,
				message: fmt.Sprintf("disk %s has made no progress for %s, at %s of %s", d.Name, age(p.still), size(d.Done), size(d.Total)),
				remedy:  fmt.Sprintf("failback explain %s tells what it waits for; see that the source can be read on process server %s", g.Name, g.Server)},
			reading{rule: SlowProgress, unknown: going && !p.known, group: g.Name, subject: string(d.Name), passes: slow, stays: slow,
				message: fmt.Sprintf("disk %s makes %s/s, and made %s/s before: at %s of %s", d.Name, size(int64(p.rate)), size(int64(p.best)), size(d.Done), size(d.Total)),
				remedy:  fmt.Sprintf("failback explain %s tells what it is bound by", g.Name)})
	}
	l := replication.Healthy
	if g.Changes && known {
		l = level(left.Seconds(), t.LeftWarned.Seconds(), t.LeftCritical.Seconds())
	}
	return append(all, reading{rule: Backlog, code: "78188", unknown: g.Changes && under && !known, group: g.Name, subject: string(g.Name), passes: l, stays: l, held: alike(t.LeftHeld),
		message: fmt.Sprintf("the changes under way need %s more to be sent from process server %s", age(left), g.Server),
		remedy:  fmt.Sprintf("failback explain %s tells what the rate is bound by; add no machines to this process server meanwhile", g.Name)})
}
