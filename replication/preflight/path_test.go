package preflight

import (
	"math"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

func TestPathIsJudged(t *testing.T) {
	const mbit = 1e6 / 8
	good := replication.Path{Connections: 4, Connect: 40 * time.Millisecond, Handshake: 81 * time.Millisecond, RTT: 40 * time.Millisecond, Loaded: 75 * time.Millisecond,
		Skew: -2 * time.Second, SkewWithin: 20 * time.Millisecond, Up: replication.PathRate{Rate: 100 * mbit, Again: 0.004}, Down: replication.PathRate{Rate: 95 * mbit}}
	with := func(change func(*replication.Path)) replication.Path {
		p := good
		change(&p)
		return p
	}
	for name, x := range map[string]struct {
		path  replication.Path
		churn float64
		alert time.Duration
		want  map[string]replication.Severity // by code
		words []string
	}{
		"Good":     {good, 0, 15 * time.Minute, map[string]replication.Severity{CodePath: replication.Info, CodeBaseline: replication.Info, CodeRPO: replication.Info}, []string{"RTT 40ms", "75ms when it is full", "100.0 Mbit/s", "95.0 Mbit/s back", "11h08m", "12.5 MB/s"}},
		"Holds":    {good, 5e6, 15 * time.Minute, map[string]replication.Severity{CodePath: replication.Info, CodeBaseline: replication.Info, CodeRPO: replication.Info}, []string{"5 MB/s", "1.5 GB in 2m00s", "at most 7m00s"}},
		"Late":     {good, 11e6, 9 * time.Minute, map[string]replication.Severity{CodePath: replication.Info, CodeBaseline: replication.Info, CodeRPO: replication.Warning}, []string{"at most 9m24s", "alert is at 9m00s"}},
		"Never":    {good, 20e6, 15 * time.Minute, map[string]replication.Severity{CodePath: replication.Info, CodeBaseline: replication.Info, CodeChurn: replication.Error}, []string{"20 MB/s", "12.5 MB/s", "1.6 times"}},
		"AlertLow": {good, 0, 4 * time.Minute, map[string]replication.Severity{CodePath: replication.Info, CodeBaseline: replication.Info, CodeRPO: replication.Warning}, []string{"whatever the link does"}},
		"Clocks": {with(func(p *replication.Path) { p.Skew = 5 * time.Minute }), 0, 15 * time.Minute,
			map[string]replication.Severity{CodePath: replication.Info, CodeSkew: replication.Warning, CodeBaseline: replication.Info, CodeRPO: replication.Info}, []string{"5m0s away", "NTP"}},
		"Loss": {with(func(p *replication.Path) { p.Up.Again = 0.2 }), 0, 15 * time.Minute,
			map[string]replication.Severity{CodePath: replication.Info, CodePathLoss: replication.Warning, CodeBaseline: replication.Info, CodeRPO: replication.Info}, []string{"20.0 %"}},
		"Blackhole": {with(func(p *replication.Path) { p.Vanished, p.Passes = 1460, 1300 }), 5e6, 15 * time.Minute, map[string]replication.Severity{CodePathMTU: replication.Error},
			[]string{"toward the master target", "1460 bytes do not arrive", "1300 bytes do", "clamp the MSS to 1300", "1340"}},
		"BlackholeBack": {with(func(p *replication.Path) { p.Vanished, p.VanishedDown = 1460, true }), 0, 15 * time.Minute, map[string]replication.Severity{CodePathMTU: replication.Error}, []string{"from the master target"}},
		"Silence":       {with(func(p *replication.Path) { p.Up.Rate = 0 }), 5e6, 15 * time.Minute, map[string]replication.Severity{CodePath: replication.Info, CodePathSilent: replication.Error}, []string{"nothing came"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := ""
			got := map[string]replication.Severity{}
			for _, f := range JudgePath("ps1", x.path, 501e9, 5*time.Minute, x.alert, x.churn) {
				got[f.Code] = f.Severity
				text += f.Message + "\n" + f.Remedy + "\n"
				if f.Subject != "ps1" || f.Remedy == "" || strings.Contains(f.Message, "%!") {
					t.Errorf("finding %+v", f)
				}
			}
			if len(got) != len(x.want) {
				t.Errorf("got %v want %v", got, x.want)
			}
			for code, s := range x.want {
				if got[code] != s {
					t.Errorf("%s: got %q want %q", code, got[code], s)
				}
			}
			for _, w := range x.words {
				if !strings.Contains(text, w) {
					t.Errorf("%q is not in:\n%s", w, text)
				}
			}
		})
	}
}

func TestChurnThatIsNoRateIsRefused(t *testing.T) {
	for _, c := range []float64{-1, 1e13, math.NaN(), math.Inf(1)} {
		if (replication.PathAsk{Churn: c}).Check() == nil {
			t.Errorf("%g was taken", c)
		}
	}
}
