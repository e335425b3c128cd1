package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"failback/replication"
	"failback/replication/plan/strictyaml"
	"failback/replication/throttle"
	"failback/retention/policy"
)

// Code is the code of the problem that Parse returns.
const Code = "plan"

// commands are the keys that may stand with a disk, a machine or the group.
var commands = []string{"snapshot", "release", "changes"}

// Parse reads a plan. The error is a *replication.Problem of code "plan" that names every line and key that is wrong. That a plan can be read does not mean
// that it is right: see Findings.
func Parse(text []byte) (*Plan, error) {
	doc, root, err := strictyaml.Parse(text)
	if err != nil {
		return nil, unreadable(err.Error(), "mend the line: a plan is YAML, indented with spaces, and values with a colon or a # in them are quoted")
	}
	if !root.Present() {
		return nil, unreadable("it is empty", "write group, os, process_server and machines; failback reprotect --help shows a plan")
	}
	top := root.Mapping(append([]string{"group", "os", "process_server", "policy", "retention", "priority", "keep_original", "copy_order", "quiesce", "machines"}, commands...)...)
	p := &Plan{
		Group:         replication.GroupID(top["group"].Text()),
		OS:            strings.ToLower(top["os"].Text()),
		ProcessServer: top["process_server"].Text(),
		Policy:        parsePolicy(top["policy"]),
		Retention:     parseLimits(top["retention"]),
		Priority:      parsePriority(top["priority"]),
		KeepOriginal:  parseFlag(top["keep_original"]),
		CopyOrder:     parseOrder(top["copy_order"]),
		Machines:      []Machine{},
	}
	quiesce := parseQuiesce(top["quiesce"])
	for _, n := range top["machines"].Sequence() {
		p.Machines = append(p.Machines, parseMachine(n, inherit(top, Disk{}), quiesce))
	}
	if errs := doc.Err(); len(errs) > 0 {
		var lines []string
		for _, e := range errs {
			lines = append(lines, e.Error())
		}
		return nil, unreadable(strings.Join(lines, "; "), "mend the plan there; failback reprotect --help shows a plan with every key")
	}
	return p, nil
}

func unreadable(what, remedy string) error {
	return &replication.Problem{Code: Code, Message: "the plan can't be read: " + what, Remedy: remedy}
}

func parseMachine(n strictyaml.Node, above Disk, quiesce *Quiesce) Machine {
	keys := n.Mapping(append([]string{"name", "quiesce", "disks"}, commands...)...)
	if own, ok := keys["quiesce"]; ok {
		quiesce = parseQuiesce(own)
	}
	m := Machine{Name: keys["name"].Text(), Quiesce: quiesce, Disks: []Disk{}, line: n.Line()}
	for _, d := range keys["disks"].Sequence() {
		m.Disks = append(m.Disks, parseDisk(d, inherit(keys, above)))
	}
	return m
}

// parseQuiesce reads how a machine is kept still. Absent, or empty: it is not.
func parseQuiesce(n strictyaml.Node) *Quiesce {
	if !n.Present() {
		return nil
	}
	keys := n.Mapping("freeze", "thaw", "timeout")
	q := Quiesce{Freeze: strings.TrimSpace(keys["freeze"].Text()), Thaw: strings.TrimSpace(keys["thaw"].Text()), Timeout: QuiesceTimeout}
	if keys["timeout"].Present() {
		d, err := replication.ParseDuration(keys["timeout"].Text())
		if err != nil {
			keys["timeout"].Fail("%v", err)
		}
		q.Timeout = d
	}
	if q == (Quiesce{Timeout: QuiesceTimeout}) {
		return nil
	}
	return &q
}

func parseDisk(n strictyaml.Node, above Disk) Disk {
	keys := n.Mapping(append([]string{"id", "source", "target", "format"}, commands...)...)
	d := inherit(keys, above)
	d.ID, d.Source, d.Target, d.Format = keys["id"].Text(), keys["source"].Text(), keys["target"].Text(), keys["format"].Text()
	d.line = n.Line()
	return d
}

// inherit returns the commands from above, less those that stand here.
func inherit(keys map[string]strictyaml.Node, above Disk) Disk {
	for key, to := range map[string]*string{"snapshot": &above.Snapshot, "release": &above.Release, "changes": &above.Changes} {
		if n, ok := keys[key]; ok {
			*to = strings.TrimSpace(n.Text())
		}
	}
	return above
}

// parsePolicy reads a policy's name or its values. What is left out of the values follows from those that stand there, see complete.
func parsePolicy(n strictyaml.Node) Policy {
	if !n.Present() {
		return failback
	}
	if !n.IsMapping() {
		if name := n.Text(); name != "failback" {
			n.Fail("%q is not a policy: write failback, or a mapping of crash_interval, app_interval, retention, rpo_alert, head_lag and resync_window", name)
		}
		return failback
	}
	keys := n.Mapping("crash_interval", "app_interval", "retention", "rpo_alert", "head_lag", "resync_window")
	p := Policy{Retention: parseGrid(keys["retention"]), ResyncWindow: parseWindow(keys["resync_window"])}
	for key, to := range map[string]*replication.Duration{"crash_interval": &p.CrashInterval, "app_interval": &p.AppInterval, "rpo_alert": &p.RPOAlert, "head_lag": &p.HeadLag} {
		if !keys[key].Present() {
			*to = -1
			continue
		}
		d, err := replication.ParseDuration(keys[key].Text())
		if err != nil {
			keys[key].Fail("%v", err)
		}
		*to = d
	}
	return p.complete()
}

// parseWindow reads when resyncs may begin by themselves. Absent: always.
func parseWindow(n strictyaml.Node) throttle.Window {
	w, err := throttle.ParseWindow(n.Text())
	if err != nil {
		n.Fail("%v", err)
	}
	return w
}

// parseGrid reads which points are kept: in words, or as a list of steps. Absent: nil.
func parseGrid(n strictyaml.Node) policy.Grid {
	if !n.Present() {
		return nil
	}
	if !n.IsSequence() {
		g, err := policy.Parse(n.Text())
		if err != nil {
			n.Fail("%v", err)
		}
		return g
	}
	g := policy.Grid{}
	for _, item := range n.Sequence() {
		keys := item.Mapping("for", "every")
		step, err := policy.ParseStep(keys["for"].Text(), keys["every"].Text())
		if err != nil {
			item.Fail("%v", err)
			return nil
		}
		g = append(g, step)
	}
	if err := g.Validate(); err != nil {
		n.Fail("%v", err)
	}
	return g
}

// parseLimits reads what the journal may take. What is left out follows from what stands there.
func parseLimits(n strictyaml.Node) policy.Limits {
	keys := n.Mapping("soft", "hard", "reserve")
	var l policy.Limits
	for key, to := range map[string]*policy.Limit{"soft": &l.Soft, "hard": &l.Hard, "reserve": &l.Reserve} {
		if !keys[key].Present() {
			continue
		}
		x, err := policy.ParseLimit(keys[key].Text())
		if err != nil {
			keys[key].Fail("%v", err)
		}
		*to = x
	}
	return l.Complete()
}

// parsePriority reads a group's weight. The default is none: both make the same plan.
func parsePriority(n strictyaml.Node) int {
	if !n.Present() {
		return 0
	}
	v, err := strconv.Atoi(n.Text())
	if err != nil || v < 1 || v > replication.MaxPriority {
		n.Fail("%q is not a priority: write a number from 1 to %d; %d is the default", n.Text(), replication.MaxPriority, replication.DefaultPriority)
	}
	if v == replication.DefaultPriority {
		return 0
	}
	return v
}

// parseOrder reads in which order disks are copied. As given is the default: both make the same plan.
func parseOrder(n strictyaml.Node) string {
	text := n.Text()
	switch {
	case !n.Present(), text == "given":
		return ""
	case text != CopyLargest:
		n.Fail("%q is not an order: write largest (the largest disk first), or given (as the plan lists them), which is the default", text)
	}
	return text
}

func parseFlag(n strictyaml.Node) bool {
	text := n.Text()
	if n.Present() && text != "true" && text != "false" {
		n.Fail("%q is neither true nor false", text)
	}
	return text == "true"
}

// complete fills in what was left out (negative) with the values of the policy failback, made to go with those that were given.
func (p Policy) complete() Policy {
	if p.CrashInterval < 0 {
		p.CrashInterval = failback.CrashInterval
		if p.AppInterval >= 0 {
			p.CrashInterval = min(p.CrashInterval, p.AppInterval)
		}
	}
	if p.AppInterval < 0 {
		p.AppInterval = failback.AppInterval
		if crash := p.CrashInterval; crash > 0 {
			p.AppInterval = (p.AppInterval + crash - 1) / crash * crash // the next multiple
		}
	}
	if p.Retention == nil {
		p.Retention = policy.Reaching(max(failback.Retention.Reach(), time.Duration(p.CrashInterval)))
	}
	if p.HeadLag < 0 {
		p.HeadLag = failback.HeadLag
	}
	if p.RPOAlert < 0 {
		p.RPOAlert = max(failback.RPOAlert, 3*p.CrashInterval)
	}
	return p
}

// minInterval is the least time between two points.
const minInterval = replication.Duration(time.Second)

func where(line int) string {
	if line == 0 {
		return ""
	}
	return fmt.Sprintf(" (line %d)", line)
}
