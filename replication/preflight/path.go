package preflight

import (
	"fmt"
	"time"

	"failback/replication"
)

// maxAgain is the share of segments sent again that a healthy path stays below: TCP finds a link's rate by losing some.
const maxAgain = 0.05

// JudgePath says what a path means for a group: its disks have so many bytes (0: not known), a point is due every interval, an RPO of more than alert is an alert, and churn
// bytes a second change (0: not known). Compression is not reckoned with: what it saves comes on top.
func JudgePath(name string, p replication.Path, total int64, interval, alert time.Duration, churn float64) []replication.Finding {
	var j judge
	find := func(s replication.Severity, code, message, remedy string) { j.find(s, code, name, message, remedy) }
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
		find(replication.Error, CodePathMTU, message, remedy)
		return j.found
	}
	loaded := ""
	if p.Loaded > 0 {
		loaded = fmt.Sprintf(" (%s when it is full)", short(p.Loaded))
	}
	find(replication.Info, CodePath, fmt.Sprintf("the path to process server %s: connected in %s, TLS in %s, RTT %s%s; over %d connections %s to the master target, %s back; %.1f %% of the segments sent again; clocks %s apart (± %s)",
		name, short(p.Connect), short(p.Handshake), short(p.RTT), loaded, p.Connections, mbit(p.Up.Rate), mbit(p.Down.Rate), 100*p.Up.Again, short(p.Skew.Abs()), short(p.SkewWithin)), "")
	if p.Up.Again > maxAgain {
		find(replication.Warning, CodePathLoss, fmt.Sprintf("on the path to process server %s TCP had to send %.1f %% of the segments again", name, 100*p.Up.Again), "")
	}
	if skew := p.Skew.Abs() - p.SkewWithin; skew > limits.Skew {
		find(replication.Warning, CodeSkew, fmt.Sprintf("the clock of process server %s is %s away from this master target's", name, skew.Round(time.Second)), "")
	}
	if p.Up.Rate <= 0 {
		find(replication.Error, CodePathSilent, fmt.Sprintf("nothing came from process server %s in %s", name, short(p.Up.Lasted)), "")
		return j.found
	}
	if total > 0 {
		find(replication.Info, CodeBaseline, fmt.Sprintf("the first point takes at most %s at that rate: %s of disks, if none of it is zero, equal or compresses", long(seconds(float64(total)/p.Up.Rate)), bytesText(float64(total))), "")
	}
	j.rpo(name, p.Up.Rate, interval, alert, churn)
	return j.found
}

// rpo says whether points keep up. A cycle carries what changed in an interval, at most; the last point is oldest just before the next one is listed: an interval, and the time that the
// cycle takes.
func (j *judge) rpo(name string, rate float64, interval, alert time.Duration, churn float64) {
	bearable := min(rate, rate*(alert-interval).Seconds()/interval.Seconds())
	switch {
	case churn <= 0 && bearable <= 0:
		j.find(replication.Warning, CodeRPO, name, fmt.Sprintf("points are %s apart and an RPO of %s is an alert: it will be one whatever the link does", long(interval), long(alert)), "set rpo_alert above crash_interval")
	case churn <= 0:
		j.find(replication.Info, CodeRPO, name, fmt.Sprintf("the link bears up to %s of changes, uncompressed, before the RPO passes %s; --churn judges what you expect", byteRate(bearable), long(alert)), "none needed")
	case churn >= rate:
		j.find(replication.Error, CodeChurn, name, fmt.Sprintf("%s of changes are more than the link's %s: unless they compress %.1f times, each point takes longer than the one before and the RPO grows without end", byteRate(churn), byteRate(rate), churn/rate), "")
	default:
		severity, remedy := replication.Info, "none needed"
		cycle := seconds(churn * interval.Seconds() / rate)
		if interval+cycle > alert {
			severity, remedy = replication.Warning, ""
		}
		j.find(severity, CodeRPO, name, fmt.Sprintf("%s of changes: a cycle of %s carries up to %s in %s, so the RPO is at most %s; an alert is at %s",
			byteRate(churn), long(interval), bytesText(churn*interval.Seconds()), long(cycle), long(interval+cycle), long(alert)), remedy)
	}
}
