package mastertarget

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/health"
	"failback/replication/link"
)

// soon are thresholds in thousandths of a second where others have minutes.
func soon() Config {
	t := health.Failback()
	for _, d := range []*time.Duration{&t.Held, &t.Clear, &t.Heartbeat, &t.Back, &t.LeftHeld, &t.Progress, &t.Error} {
		*d = 30 * time.Millisecond
	}
	t.ClearIntervals = 0
	t.BusyWarned, t.BusyCritical, t.FreeWarned, t.FreeCritical, t.FreeLeast = 2, 2, -1, -1, -1 // this machine may be whatever it is
	return Config{look: 5 * time.Millisecond, health: &t, retry: 50 * time.Millisecond}
}

// alerted waits until exactly these rules are told of the group, and that for a while; the alert of the first is returned.
func (p *pair) alerted(rules ...string) (first replication.Alert) {
	p.t.Helper()
	got := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		s, err := p.master.Status(context.Background(), "g")
		if err != nil {
			p.t.Fatal(err)
		}
		var names []string
		for _, a := range s.Groups[0].Alerts {
			if names = append(names, a.Rule); a.Rule == rules[0] {
				first = a
			}
		}
		worst := replication.Healthy
		for _, a := range s.Groups[0].Alerts {
			worst = worst.Worse(a.Level)
		}
		if worst != s.Groups[0].Health {
			p.t.Fatalf("health %s, and alerts %+v", s.Groups[0].Health, s.Groups[0].Alerts)
		}
		if got = strings.Join(names, " "); got == strings.Join(rules, " ") {
			return first
		}
	}
	for _, kind := range []replication.EventKind{replication.EventAlert, replication.EventProblem, replication.EventState} {
		for _, e := range p.told(kind) {
			p.t.Logf("%s %s %s %s %s", e.Time.Format("05.000"), e.Kind, e.Rule, e.Level, e.Message)
		}
	}
	p.t.Fatalf("got alerts %q, want %q", got, rules)
	return first
}

// told returns the events of a kind.
func (p *pair) told(kind replication.EventKind) (all []replication.Event) {
	p.t.Helper()
	if err := p.master.Events(context.Background(), replication.EventsRequest{}, func(e replication.Event) error {
		if e.Kind == kind {
			all = append(all, e)
		}
		return nil
	}); err != nil {
		p.t.Fatal(err)
	}
	return all
}

// TestAlertsOfRealFaults stages faults at both ends, and sees their alerts come, and go.
func TestAlertsOfRealFaults(t *testing.T) {
	p := newPairWith(t, 31, soon())
	defer p.close()
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.alerted("")

	p.bye()
	a := p.alerted(health.Heartbeat)
	if a.Code != "806" || a.Level != replication.Critical || a.Subject != "ps" {
		t.Errorf("a process server that has gone: %+v", a)
	}
	p.master.Close()
	p.worker.Close()
	p.worker = nil
	p.open() // another master target goes on with what was told
	p.alerted("")
	var levels []replication.Level
	for end := time.Now().Add(10 * time.Second); len(levels) < 2 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		levels = nil
		for _, e := range p.told(replication.EventAlert) {
			if e.Rule == health.Heartbeat {
				levels = append(levels, e.Level)
			}
		}
	}
	if len(levels) != 2 || levels[0] != replication.Critical || levels[1] != replication.Healthy {
		t.Errorf("heartbeat was told as %v, want critical once, and that it is over", levels)
	}

	p.close()
	away := p.dst(1) + ".away"
	if err := os.Rename(p.dst(1), away); err != nil {
		t.Fatal(err)
	}
	p.open()
	a = p.alerted(health.Stopped)
	for end := time.Now().Add(10 * time.Second); a.Level != replication.Critical && time.Now().Before(end); a = p.alerted(health.Stopped) {
		time.Sleep(10 * time.Millisecond) // it begins as a warning, before the group's state is known
	}
	if a.Code != "target-missing" || a.Level != replication.Critical {
		t.Errorf("a target that is gone: %+v", a)
	}
	if err := os.Rename(away, p.dst(1)); err != nil {
		t.Fatal(err)
	}
	p.alerted("")
	if _, err := p.master.Cut(ctx, "g", false); err != nil {
		t.Fatal(err)
	}
	p.listed(2)
	for kind, least := range map[replication.EventKind]int{
		replication.EventStarted: 2, replication.EventProcessServer: 3, replication.EventPlan: 1, replication.EventPoint: 2, replication.EventState: 2, replication.EventProblem: 2,
	} {
		got := p.told(kind)
		for end := time.Now().Add(10 * time.Second); len(got) < least && time.Now().Before(end); got = p.told(kind) {
			time.Sleep(10 * time.Millisecond)
		}
		if len(got) < least {
			t.Errorf("%d events of kind %s, want at least %d: %+v", len(got), kind, least, got)
		}
	}
}

// TestLastPointTooOld is told by the plan's rpo_alert, and over with the next point.
func TestLastPointTooOld(t *testing.T) {
	p := newPairWith(t, 32, soon())
	defer p.close()
	p.plan = []byte(strings.Replace(string(p.plan), "rpo_alert: 2h", "rpo_alert: 1s", 1))
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	if a := p.alerted(health.RPO); a.Code != "78169" || !strings.Contains(a.Message, "more than 1 s") {
		t.Errorf("got %+v", a)
	}
	if _, err := p.master.Cut(ctx, "g", false); err != nil {
		t.Fatal(err)
	}
	p.alerted("")
}

// telling is a process server that tells figures.
type telling struct {
	link.Worker
	figures replication.Figures
}

func (m telling) Figures() replication.Figures { return m.figures }

func TestClockIsJudgedByTheNewestFigures(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		f    replication.Figures
		want time.Duration
	}{
		{replication.Figures{}, time.Hour},          // not told yet
		{replication.Figures{Time: now}, time.Hour}, // of an earlier release
		{replication.Figures{Time: now, Clock: now.Add(3 * time.Second)}, 3 * time.Second},
		{replication.Figures{Time: now, Clock: now.Add(-2 * time.Minute)}, -2 * time.Minute},
	} {
		w := &worker{Peer: link.Peer{Skew: time.Hour}, Worker: telling{figures: c.f}, ctx: context.Background()}
		if got, told := w.skew(); got != c.want || !told {
			t.Errorf("%+v: got %s, told %v, want %s", c.f, got, told, c.want)
		}
		w = &worker{Peer: link.Peer{NoClock: true}, Worker: telling{figures: c.f}, ctx: context.Background()}
		if _, told := w.skew(); told == c.f.Clock.IsZero() {
			t.Errorf("%+v of one that told no clock when it came: told %v", c.f, told)
		}
	}
}
