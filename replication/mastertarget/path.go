package mastertarget

import (
	"context"
	"fmt"
	"time"

	"failback/replication"
	"failback/replication/link"
)

// Codes of what is found of a path.
const (
	codePath     = "path"
	codePathMTU  = "path-mtu"
	codePathLoss = "path-loss"
	codeBaseline = "baseline-time"
	codeChurn    = "churn-exceeds-link"
	codeRPO      = "rpo"
	codeSkew     = "clock-skew"
)

// maxAgain is the share of segments sent again that a healthy path stays below: TCP finds a link's rate by losing some.
const maxAgain = 0.05

// path measures the way to the process server, and judges it.
func (f *preflight) path(ctx context.Context, ask replication.PathAsk) *replication.Path {
	name := f.plan.ProcessServer
	w := f.engine.worker(name)
	if w == nil { // told already
		return nil
	}
	prober, ok := w.Worker.(link.Prober)
	if !ok {
		f.find(replication.Info, codePath, name, fmt.Sprintf("process server %s is in this very process: there is no path to measure", name), "none needed")
		return nil
	}
	p, err := prober.Path(ctx, ask)
	if err != nil {
		told := replication.AsProblem(err)
		f.find(replication.Warning, codePath, name, fmt.Sprintf("the path to process server %s was not measured: %v", name, told), told.Remedy)
		return nil
	}
	var total int64
	for _, n := range f.sizes {
		total += n
	}
	f.findings = append(f.findings, judgePath(name, p, total, time.Duration(f.plan.Policy.CrashInterval), time.Duration(f.plan.Policy.RPOAlert), ask.Churn)...)
	return &p
}

// judgePath says what a path means for a group: its disks have so many bytes (0: not known), a point is due every interval, an RPO of more than alert is an alert, and churn
// bytes a second change (0: not known). Compression is not reckoned with: what it saves comes on top.
func judgePath(name string, p replication.Path, total int64, interval, alert time.Duration, churn float64) (found []replication.Finding) {
	find := func(s replication.Severity, code, message, remedy string) {
		found = append(found, replication.Finding{Severity: s, Code: code, Subject: name, Message: message, Remedy: remedy})
	}
	if p.Vanished > 0 {
		way := "toward the master target"
		if p.VanishedDown {
			way = "from the master target"
		}
		message := fmt.Sprintf("on the path to process server %s large packets vanish %s, while small ones pass: TCP segments of %d bytes do not arrive", name, way, p.Vanished)
		remedy := "a hop (the VPN, most often) has a smaller MTU than the hosts think, and ICMP is filtered: "
		if p.Passes > 0 {
			message += fmt.Sprintf("; those of %d bytes do", p.Passes)
			remedy += fmt.Sprintf("clamp the MSS to %d on the VPN gateways, or set the MTU of both hosts' interfaces to %d; or let ICMP type 3 code 4 through", p.Passes, p.Passes+40)
		} else {
			remedy += "let ICMP type 3 code 4 through, or clamp the MSS on the VPN gateways (Azure: 1350)"
		}
		find(replication.Error, codePathMTU, message, remedy)
		return found
	}
	loaded := ""
	if p.Loaded > 0 {
		loaded = fmt.Sprintf(" (%s when it is full)", short(p.Loaded))
	}
	find(replication.Info, codePath, fmt.Sprintf("the path to process server %s: connected in %s, TLS in %s, RTT %s%s; over %d connections %s to the master target, %s back; %.1f %% of the segments sent again; clocks %s apart (± %s)",
		name, short(p.Connect), short(p.Handshake), short(p.RTT), loaded, p.Connections, mbit(p.Up.Rate), mbit(p.Down.Rate), 100*p.Up.Again, short(p.Skew.Abs()), short(p.SkewWithin)), "none needed")
	if p.Up.Again > maxAgain {
		find(replication.Warning, codePathLoss, fmt.Sprintf("on the path to process server %s TCP had to send %.1f %% of the segments again", name, 100*p.Up.Again),
			"some loss is how TCP finds the link's rate; this much points at a bad line, a policer without a queue, or a duplex mismatch: ask who runs the VPN")
	}
	if skew := p.Skew.Abs() - p.SkewWithin; skew > maxSkew {
		find(replication.Warning, codeSkew, fmt.Sprintf("the clock of process server %s is %s away from this master target's", name, skew.Round(time.Second)),
			"synchronise both with NTP: points are named by the process server's time")
	}
	if p.Up.Rate <= 0 {
		find(replication.Error, codePath, fmt.Sprintf("nothing came from process server %s in %s", name, short(p.Up.Lasted)), "see what the VPN does with long transfers, and try again with a longer --path-time")
		return found
	}
	if total > 0 {
		find(replication.Info, codeBaseline, fmt.Sprintf("the first point takes at most %s at that rate: %s of disks, if none of it is zero, equal or compresses", long(seconds(float64(total)/p.Up.Rate)), bytesText(float64(total))), "none needed")
	}
	return append(found, judgeRPO(name, p.Up.Rate, interval, alert, churn)...)
}

// judgeRPO says whether points keep up. A cycle carries what changed in an interval, at most; the last point is oldest just before the next one is listed: an interval, and the time that the
// cycle takes.
func judgeRPO(name string, rate float64, interval, alert time.Duration, churn float64) []replication.Finding {
	f := replication.Finding{Severity: replication.Info, Code: codeRPO, Subject: name, Remedy: "none needed"}
	bearable := min(rate, rate*(alert-interval).Seconds()/interval.Seconds())
	switch {
	case churn <= 0 && bearable <= 0:
		f.Severity = replication.Warning
		f.Message = fmt.Sprintf("points are %s apart and an RPO of %s is an alert: it will be one whatever the link does", long(interval), long(alert))
		f.Remedy = "set rpo_alert above crash_interval"
	case churn <= 0:
		f.Message = fmt.Sprintf("the link bears up to %s of changes, uncompressed, before the RPO passes %s; --churn judges what you expect", byteRate(bearable), long(alert))
	case churn >= rate:
		f.Severity, f.Code = replication.Error, codeChurn
		f.Message = fmt.Sprintf("%s of changes are more than the link's %s: unless they compress %.1f times, each point takes longer than the one before and the RPO grows without end", byteRate(churn), byteRate(rate), churn/rate)
		f.Remedy = "get a faster link, or protect fewer or quieter disks over it; changes to the same blocks within an interval count once: measure the churn with a longer crash_interval"
	default:
		cycle := seconds(churn * interval.Seconds() / rate)
		f.Message = fmt.Sprintf("%s of changes: a cycle of %s carries up to %s in %s, so the RPO is at most %s; an alert is at %s", byteRate(churn), long(interval), bytesText(churn*interval.Seconds()), long(cycle), long(interval+cycle), long(alert))
		if interval+cycle > alert {
			f.Severity, f.Remedy = replication.Warning, "shorten crash_interval, raise rpo_alert, or get a faster link; compression, not reckoned with here, may be enough"
		}
	}
	return []replication.Finding{f}
}

func seconds(s float64) time.Duration {
	return time.Duration(min(s, 1e9) * float64(time.Second))
}

func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// long returns a time as people say it, with at most two units.
func long(d time.Duration) string {
	s := int64((d + time.Second - 1) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 48*3600:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}

func mbit(bytes float64) string {
	if bytes < 1e6/8 {
		return fmt.Sprintf("%.0f kbit/s", bytes*8/1e3)
	}
	return fmt.Sprintf("%.1f Mbit/s", bytes*8/1e6)
}

func byteRate(n float64) string { return bytesText(n) + "/s" }

func bytesText(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	for n >= 999.5 && len(units) > 1 {
		n, units = n/1000, units[1:]
	}
	return fmt.Sprintf("%.3g %s", n, units[0])
}
