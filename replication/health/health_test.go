package health

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

var update = flag.Bool("update", false, "write the transcripts anew")

const (
	mib = 1 << 20
	gib = 1 << 30
)

var begin = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// good are the facts of a group that is well, at a time: points come every five minutes, and nothing is under way.
func good(now time.Time) Facts {
	k := now.Sub(begin) / (5 * time.Minute)
	var cycles []Cycle
	for range KeptCycles {
		cycles = append(cycles, Cycle{Gap: 5 * time.Minute, Took: time.Minute, Wire: 300 * mib, Bytes: 600 * mib, Bound: "source read"})
	}
	return Facts{
		Now:     now,
		Servers: []Server{{Name: "ps1", Connected: true, Needed: true, Since: begin, Figures: &replication.Figures{Time: now, CPU: 0.4, Memory: 0.5, StateFree: 60 * gib, StateTotal: 100 * gib}}},
		Groups: []Group{{
			Name: "erp", Server: "ps1", State: replication.StateProtected, SpaceKnown: true, DamageKnown: true, Interval: 5 * time.Minute, RPOAlert: 15 * time.Minute,
			Last: replication.PointID(k + 1), LastTime: begin.Add(k * 5 * time.Minute), Cycles: cycles, Changed: 2 * mib, Applied: 100 * mib, HeadLag: 30 * time.Second,
			Disks: []Disk{{Name: "db/os", Total: 10 * gib, Done: 10 * gib}, {Name: "db/data", Total: 100 * gib, Done: 100 * gib}},
		}},
	}
}

// shipping has a cycle under way since the begin, of which so much is done.
func shipping(f *Facts, os, data int64) {
	g := &f.Groups[0]
	g.Cut = begin
	g.Disks[0].Done, g.Disks[1].Done = os, data
}

// comparing is a cycle that compares, of a group that has no point yet.
func comparing(f *Facts, os, data int64) {
	shipping(f, os, data)
	g := &f.Groups[0]
	g.State, g.Last, g.LastTime = replication.StateBaseline, 0, time.Time{}
}

// scenario stages one fault: at changes the good facts of a minute.
type scenario struct {
	rule    string // that alone may be told; empty: none may
	levels  string // that its alerts come to, in order
	minutes int
	at      func(minute int, f *Facts)
}

func between(m, from, to int) bool { return m >= from && m < to }

var scenarios = map[string]scenario{
	"nothing is wrong": {"", "", 120, func(int, *Facts) {}},
	"a process server goes away and comes back": {Heartbeat, "critical healthy", 60, func(m int, f *Facts) {
		if s := &f.Servers[0]; between(m, 3, 40) {
			s.Connected, s.Since, s.Figures = false, begin.Add(3*time.Minute), nil
			f.Groups[0].RPOAlert, f.Groups[0].Interval = 0, 0 // which are told too
		}
	}},
	"a process server that is away for ten minutes is nothing to tell":  {"", "", 60, func(m int, f *Facts) { f.Servers[0].Connected = m%11 == 0 }},
	"a process server that no group needs may go":                       {"", "", 60, func(m int, f *Facts) { f.Servers[0].Connected, f.Servers[0].Needed = m < 5, false }},
	"cores get busy, then busier, and idle again":                       {CPU, "warning critical healthy", 90, func(m int, f *Facts) { f.Servers[0].Figures.CPU = []float64{.4, .85, .97, .4}[min(m/20, 3)] }},
	"cores that are busy for fourteen minutes are nothing to tell":      {"", "", 90, func(m int, f *Facts) { f.Servers[0].Figures.CPU = []float64{.97, .4}[m%15/14] }},
	"a reading that dips a little does not begin its quarter hour anew": {CPU, "warning", 40, func(m int, f *Facts) { f.Servers[0].Figures.CPU = []float64{.81, .79}[m%2] }},
	"memory gets short": {Memory, "critical warning healthy", 80, func(m int, f *Facts) { f.Servers[0].Figures.Memory = []float64{.96, .90, .5}[min(m/25, 2)] }},
	"the volume of the state fills up, and is given space": {Cache, "warning critical warning healthy", 110, func(m int, f *Facts) {
		f.Servers[0].Figures.StateFree = []int64{28, 24, 24, 28, 60}[min(m/20, 4)] * gib
	}},
	"below a fifth of the volume is told at once": {Cache, "critical healthy", 20, func(m int, f *Facts) { f.Servers[0].Figures.StateFree = []int64{60, 19, 60}[min(m/3, 2)] * gib }},
	"figures that are not known say nothing":      {"", "", 60, func(m int, f *Facts) { f.Servers[0].Figures = &replication.Figures{Time: f.Now, CPU: -1, Memory: -1} }},
	"figures that are old say nothing":            {"", "", 60, func(m int, f *Facts) { n := f.Servers[0].Figures; n.CPU, n.Time = 1, f.Now.Add(-stale-time.Second) }},
	"a clock goes wrong, and is put right": {Clock, "warning healthy", 60, func(m int, f *Facts) {
		if between(m, 5, 30) {
			f.Servers[0].Skew = -3 * time.Minute
		}
	}},
	"no point is made for long": {RPO, "warning critical healthy", 60, func(m int, f *Facts) {
		if g := &f.Groups[0]; between(m, 5, 45) {
			g.Last, g.LastTime, g.Interval, g.WaitsFor = 2, begin.Add(5*time.Minute), 0, "the source to be cut"
		}
	}},
	"a schedule is missed": {Schedule, "warning healthy", 40, func(m int, f *Facts) {
		if g := &f.Groups[0]; between(m, 10, 24) {
			g.Last, g.LastTime = 3, begin.Add(10*time.Minute)
		}
	}},
	"points that come late now and then are one alert": {Schedule, "warning healthy", 90, func(m int, f *Facts) {
		if g := &f.Groups[0]; m < 60 { // one every 11 minutes
			g.LastTime = begin.Add(time.Duration(m/11*11) * time.Minute)
		}
	}},
	"a cycle that takes long misses schedules, although the last point is young enough": {Schedule, "warning healthy", 40, func(m int, f *Facts) {
		g := &f.Groups[0]
		g.RPOAlert = time.Hour
		if between(m, 10, 24) {
			g.Last, g.LastTime, g.Cut = 2, begin.Add(5*time.Minute), begin.Add(10*time.Minute)
			g.Disks[1].Done -= int64(24-m) * gib
		}
	}},
	"a point could not be made application-consistent": {App, "warning healthy", 40, func(m int, f *Facts) {
		g := &f.Groups[0]
		g.AppInterval, g.LastApp = time.Hour, begin
		if between(m, 5, 20) {
			g.NotApp = "machine db: freeze command: exit status 1"
		}
	}},
	"application-consistent points are made no more": {App, "warning healthy", 200, func(m int, f *Facts) {
		g := &f.Groups[0]
		g.AppInterval, g.LastApp = time.Hour, begin
		if m >= 150 {
			g.LastApp = begin.Add(150 * time.Minute)
		}
	}},
	"a machine can't be thawed": {Frozen, "critical healthy", 20, func(m int, f *Facts) {
		if between(m, 5, 9) {
			f.Servers[0].Figures.Frozen = []string{"erp/db"}
		}
	}},
	"a committed group has no points to wait for": {"", "", 90, func(m int, f *Facts) {
		f.Groups[0].State, f.Groups[0].LastTime = replication.StateCommitted, begin
	}},
	"a group stops": {Stopped, "critical healthy", 20, func(m int, f *Facts) {
		if g := &f.Groups[0]; between(m, 2, 10) {
			g.State, g.Problem = replication.StateError, &replication.Problem{Code: "target-changed", Message: "target erp.vmdk was changed by something else", Remedy: "find out who wrote it"}
		}
	}},
	"a step fails again and again": {Stopped, "warning healthy", 40, func(m int, f *Facts) {
		if m < 25 {
			f.Groups[0].Problem = &replication.Problem{Code: "source", Message: "disk db/os: source can't be read", Remedy: "see that it can"}
		}
	}},
	"there is no space": {Retention, "critical healthy", 20, func(m int, f *Facts) {
		if g := &f.Groups[0]; between(m, 5, 9) {
			g.HeldBack, g.Problem = true, &replication.Problem{Code: "retention-full", Message: "the volume is full", Remedy: "give it space"}
		}
	}},
	"the journal is damaged": {Damage, "warning critical healthy", 20, func(m int, f *Facts) {
		f.Groups[0].Parts, f.Groups[0].Lost = []int{0, 2, 2, 0}[min(m/4, 3)], []int64{0, 0, 8192, 0}[min(m/4, 3)]
	}},
	"a journal hangs": {Silent, "critical healthy", 20, func(m int, f *Facts) {
		if g := &f.Groups[0]; between(m, 5, 9) {
			g.Closed, g.Silent, g.Where, g.SpaceKnown, g.DamageKnown = true, time.Duration(m-5)*time.Minute, "/mnt/retention/erp", false, false
		}
	}},
	"the link carries less than changes": {ChurnLink, "warning critical healthy", 60, func(m int, f *Facts) { carried(f, "link", []time.Duration{60, 260, 420, 60}[min(m/15, 3)]*time.Second) }},
	"the throttle lets less through":     {ChurnLink, "critical", 10, func(m int, f *Facts) { carried(f, "throttle", 400*time.Second) }},
	"the source is read too slowly":      {ChurnLink, "critical", 10, func(m int, f *Facts) { carried(f, "source read", 400*time.Second) }},
	"disks take less than changes": {ChurnDisks, "critical healthy", 60, func(m int, f *Facts) {
		if g := &f.Groups[0]; m < 30 {
			g.Changed, g.Applied, g.Behind, g.CatchUp = 120*mib, 100*mib, 9, time.Duration(m)*time.Minute
		}
	}},
	"disks that lag as they may are well": {"", "", 60, func(m int, f *Facts) {
		g := &f.Groups[0]
		g.Changed, g.Applied, g.Behind, g.CatchUp = 120*mib, 100*mib, 2, 40*time.Second
	}},
	"a disk stands still, the other goes on": {NoProgress, "critical healthy", 60, func(m int, f *Facts) {
		comparing(f, int64(min(m, 60)), 7*gib+int64(max(m-40, 0))*mib)
	}},
	"a disk slows down": {SlowProgress, "warning healthy", 120, func(m int, f *Facts) {
		comparing(f, 10*gib, int64(min(m, 30))*gib+int64(min(max(m-30, 0), 50))*64*mib+int64(max(m-80, 0))*gib)
		f.Groups[0].Disks[1].Wire = f.Groups[0].Disks[1].Done / 2
	}},
	"zeros pass by faster than what is sent": {"", "", 120, func(m int, f *Facts) { // and equal regions, at the end
		comparing(f, 10*gib, int64(min(m, 30))*2*gib+int64(min(max(m-30, 0), 50))*64*mib+int64(max(m-80, 0))*gib)
		f.Groups[0].Disks[1].Wire = int64(min(max(m-30, 0), 50)) * 60 * mib
	}},
	"a limit by day is as it was asked for": {"", "", 120, func(m int, f *Facts) {
		comparing(f, 10*gib, int64(min(m, 30))*gib+int64(min(max(m-30, 0), 50))*64*mib+int64(max(m-80, 0))*gib)
		f.Groups[0].Disks[1].Wire, f.Groups[0].Limited = f.Groups[0].Disks[1].Done/2, between(m, 30, 80)
	}},
	"disks in the queue wait": {"", "", 90, func(m int, f *Facts) {
		comparing(f, int64(m)*100*mib, 0)
		f.Groups[0].Disks[1].Queued = true
	}},
	"a disk that waited has its time from then on": {"", "", 90, func(m int, f *Facts) {
		comparing(f, int64(m)*100*mib, 7*gib+int64(max(m-80, 0))*gib)
		f.Groups[0].Disks[1].Queued = m < 78
	}},
	"a disk waits while its process server is away": {Heartbeat, "critical", 40, func(m int, f *Facts) {
		comparing(f, 0, 7*gib)
		f.Servers[0].Connected = false
	}},
	"changes need long to be sent": {Backlog, "critical warning healthy", 100, func(m int, f *Facts) {
		shipping(f, 10*gib, 0)
		g := &f.Groups[0]
		g.Interval, g.RPOAlert, g.Changes = 0, 0, true
		g.Disks[1].Done = int64(m) * gib // a GiB a minute
		if m >= 90 {
			g.Cut, g.Disks[1].Done = time.Time{}, 100*gib
		}
	}},
}

func carried(f *Facts, by string, took time.Duration) {
	for i := range f.Groups[0].Cycles {
		f.Groups[0].Cycles[i].Took, f.Groups[0].Cycles[i].Bound = took, by
	}
}

// TestEachFaultRaisesItsAlert plays each scenario minute by minute: exactly its alert is told, and what is told is in the transcript.
func TestEachFaultRaisesItsAlert(t *testing.T) {
	told := map[string]bool{}
	for title, s := range scenarios {
		told[s.rule] = true
		t.Run(title, func(t *testing.T) {
			w := New(Failback(), nil)
			var lines, levels []string
			for m := range s.minutes {
				f := good(begin.Add(time.Duration(m) * time.Minute))
				s.at(m, &f)
				for _, c := range w.Step(f) {
					if c.Rule != s.rule {
						t.Errorf("minute %d: %s of %s is told: %s", m, c.Rule, c.Subject, c.Message)
					}
					lines = append(lines, fmt.Sprintf("%02d:%02d %s -> %s %s %q %s: %s; what to do: %s", m/60, m%60, c.Was, c.Level, c.Rule, c.Code, c.Subject, c.Message, c.Remedy))
					levels = append(levels, string(c.Level))
				}
			}
			if got := strings.Join(levels, " "); got != s.levels {
				t.Errorf("levels: got %q, want %q\n%s", got, s.levels, strings.Join(lines, "\n"))
			}
			if s.rule != "" {
				transcript(t, title, strings.Join(lines, "\n")+"\n")
			}
		})
	}
	for _, r := range Rules {
		if !told[r] {
			t.Errorf("no scenario raises %s", r)
		}
	}
}

func transcript(t *testing.T, title, got string) {
	path := filepath.Join("testdata", strings.NewReplacer(" ", "-", ",", "").Replace(title)+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the transcript is another one (-update writes it anew):\ngot\n%swant\n%s", got, want)
	}
}

func TestWorstWins(t *testing.T) {
	alerts := []replication.Alert{
		{Rule: RPO, Group: "erp", Subject: "erp", Level: replication.Warned}, {Rule: CPU, Subject: "ps1", Level: replication.Critical},
		{Rule: Damage, Group: "web", Subject: "web", Level: replication.Warned}, {Rule: Memory, Subject: "ps2", Level: replication.Critical},
	}
	for _, c := range []struct {
		group  replication.GroupID
		server string
		rules  []string
		worst  replication.Level
	}{
		{"erp", "ps1", []string{RPO, CPU}, replication.Critical},
		{"erp", "ps3", []string{RPO}, replication.Warned},
		{"shop", "ps3", nil, replication.Healthy},
	} {
		own, worst := Of(alerts, c.group, c.server)
		var rules []string
		for _, a := range own {
			rules = append(rules, a.Rule)
		}
		if worst != c.worst || !slices.Equal(rules, c.rules) {
			t.Errorf("%s on %s: got %s of %v, want %s of %v", c.group, c.server, worst, rules, c.worst, c.rules)
		}
	}
}

// TestAlertsOutlastARestart gives a new watch what the one before had raised: it is not raised again, and cleared when it is over.
func TestAlertsOutlastARestart(t *testing.T) {
	full := func(m int, on bool) Facts {
		f := good(begin.Add(time.Duration(m) * time.Minute))
		f.Groups[0].HeldBack = on
		f.Servers[0].Figures.CPU = 0.9
		return f
	}
	w := New(Failback(), nil)
	for m := range 20 {
		w.Step(full(m, true))
	}
	if got := len(w.Alerts()); got != 2 {
		t.Fatalf("got %d alerts, want that there is no space, and that the cores are busy", got)
	}
	w = New(Failback(), w.Alerts())
	if changes := w.Step(full(20, true)); len(changes) > 0 {
		t.Errorf("the next watch tells again: %+v", changes)
	}
	changes := w.Step(full(21, false))
	if len(changes) != 1 || changes[0].Rule != Retention || changes[0].Level != replication.Healthy || changes[0].Was != replication.Critical {
		t.Errorf("got %+v, want that there is space again", changes)
	}
	f := full(22, false)
	f.Groups, f.Servers = nil, nil
	if changes := w.Step(f); len(changes) != 1 || changes[0].Rule != CPU || changes[0].Level != replication.Healthy {
		t.Errorf("what is gone: got %+v, want its alert cleared", changes)
	}
}

// TestRestartTellsNothingToBeOver gives the next watch what was raised, while its group is being opened, and then while nothing has been measured again.
func TestRestartTellsNothingToBeOver(t *testing.T) {
	rules := []string{Stopped, Retention, Damage, ChurnLink, ChurnDisks, NoProgress, SlowProgress, Backlog, RPO, Schedule}
	var raised []replication.Alert
	for _, r := range rules {
		a := replication.Alert{Rule: r, Group: "erp", Subject: "erp", Level: replication.Warned, Raised: begin, Message: "it is so"}
		if r == NoProgress || r == SlowProgress {
			a.Subject = "db/data"
		}
		raised = append(raised, a)
	}
	w := New(Failback(), raised)
	over := ""
	for m := range 70 {
		f := good(begin.Add(time.Duration(m) * time.Minute))
		g := &f.Groups[0]
		switch {
		case m < 30: // a slow open
			*g = Group{Name: "erp", Server: "ps1", State: replication.StateChecking, Closed: true, Interval: g.Interval, RPOAlert: g.RPOAlert, Disks: g.Disks}
		case m < 32: // open, and not looked at
			g.SpaceKnown, g.DamageKnown = false, false
			fallthrough
		case m < 60:
			g.Cut, g.Changes, g.Cycles, g.Changed = begin.Add(30*time.Minute), true, nil, 0
			g.Interval, g.RPOAlert, g.LastTime = 10*time.Minute, time.Hour, f.Now
			g.Disks[1].Done = int64(max(m-40, 0)) * 5 * gib
		}
		for _, c := range w.Step(f) {
			over += fmt.Sprintf("%d %s %s\n", m, c.Rule, c.Level)
		}
	}
	if want := `30 stopped healthy
32 damage healthy
32 retention healthy
41 no-progress healthy
45 slow-progress healthy
47 backlog healthy
50 rpo healthy
50 schedule healthy
60 churn-link healthy
65 churn-disks healthy
`; over != want {
		t.Errorf("got\n%swant\n%s", over, want)
	}
	w = New(Failback(), []replication.Alert{{Rule: Damage, Group: "erp", Subject: "erp", Level: replication.Critical, Raised: begin}})
	for m := range 60 {
		f := good(begin.Add(time.Duration(m) * time.Minute))
		f.Groups[0].State, f.Groups[0].DamageKnown = replication.StateCommitted, false
		if changes := w.Step(f); len(changes) > 0 {
			t.Errorf("minute %d of a committed group: %+v", m, changes)
		}
	}
}
