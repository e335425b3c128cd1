package plan

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"failback/replication"
	"failback/retention/policy"
)

// Codes of findings about a plan's text. Stable.
const (
	CodeName       = "plan-name"
	CodeOS         = "plan-os"
	CodeNoDisks    = "plan-no-disks"
	CodeTooMany    = "plan-too-many-disks"
	CodeDuplicate  = "plan-duplicate"
	CodeSource     = "plan-source"
	CodeTarget     = "plan-target"
	CodeFormat     = "plan-format"
	CodeSameTarget = "plan-same-target"
	CodeSameSource = "plan-same-source"
	CodeSamePath   = "plan-source-is-target"
	CodeCommands   = "plan-commands"
	CodePolicy     = "plan-policy"
	CodeRetention  = "plan-retention"
	CodeQuiesce    = "plan-quiesce"
)

// formats are those of package blockio that a target may have.
var formats = []string{"raw", "device", "vmfs", "monolithicFlat", "twoGbMaxExtentFlat", "monolithicSparse", "twoGbMaxExtentSparse"}

// Findings tells all that is wrong with the plan as far as its text shows: a plan with a finding of severity error must not be carried out.
func (p *Plan) Findings() []replication.Finding {
	var j judge
	j.names(p)
	j.policy(p.Policy)
	j.limits(p.Retention)
	j.machines(p)
	j.paths(p)
	return j.found
}

// judge collects findings.
type judge struct{ found []replication.Finding }

func (j *judge) say(s replication.Severity, code, subject, message, remedy string) {
	j.found = append(j.found, replication.Finding{Severity: s, Code: code, Subject: subject, Message: message, Remedy: remedy})
}

func (j *judge) refuse(code, subject, message, remedy string) {
	j.say(replication.Error, code, subject, message, remedy)
}

func (j *judge) name(key, subject, value string) {
	if value == "" {
		j.refuse(CodeName, subject, fmt.Sprintf("%s is missing", key), fmt.Sprintf("add %s: NAME to the plan", key))
	} else if err := replication.ValidName(value); err != nil {
		j.refuse(CodeName, subject, fmt.Sprintf("%s: %v", key, err), "choose a name of that form; it need not be the one that the platform shows")
	}
}

func (j *judge) names(p *Plan) {
	j.name("group", "group", string(p.Group))
	j.name("process_server", "process_server", p.ProcessServer)
	if p.OS != "linux" && p.OS != "windows" {
		j.refuse(CodeOS, "os", fmt.Sprintf("os is %q", p.OS), "write os: linux or os: windows, what the machines of the group run; machines of different kinds take two groups")
	}
}

func (j *judge) policy(p Policy) {
	sane := true
	for _, v := range []struct {
		key string
		d   replication.Duration
	}{{"crash_interval", p.CrashInterval}, {"app_interval", p.AppInterval}, {"rpo_alert", p.RPOAlert}} {
		if v.d < minInterval {
			sane = false
			j.refuse(CodePolicy, "policy."+v.key, fmt.Sprintf("%s is %s; the least is %s", v.key, v.d, minInterval), "write a longer time, such as 5m")
		}
	}
	if p.HeadLag > replication.Duration(replication.MaxHeadLag) {
		j.refuse(CodePolicy, "policy.head_lag", fmt.Sprintf("head_lag is %s; the most is %s", p.HeadLag, replication.Duration(replication.MaxHeadLag)),
			"write a shorter time, such as 30s: it is a part of the downtime of a failback; 0s has the disks follow each point at once")
	}
	if !sane {
		return
	}
	if p.AppInterval < p.CrashInterval {
		j.refuse(CodePolicy, "policy.app_interval",
			fmt.Sprintf("app_interval %s is shorter than crash_interval %s, of whose points every so many is an application-consistent one", p.AppInterval, p.CrashInterval),
			fmt.Sprintf("write app_interval: %s or more, or a shorter crash_interval", p.CrashInterval))
	} else if p.AppInterval%p.CrashInterval != 0 {
		j.say(replication.Warning, CodePolicy, "policy.app_interval",
			fmt.Sprintf("app_interval %s is not a multiple of crash_interval %s; such points come with the nearest of its points", p.AppInterval, p.CrashInterval),
			"make it a multiple")
	}
	if crash := time.Duration(p.CrashInterval); p.Retention.Reach() < crash {
		j.refuse(CodePolicy, "policy.retention",
			fmt.Sprintf("retention %s is shorter than crash_interval %s: there would be times with nothing to go back to", p.Retention, p.CrashInterval),
			"keep points for several intervals, such as 24h")
	} else if n := p.Retention.Count(crash); n > manyPoints {
		j.say(replication.Warning, CodePolicy, "policy.retention",
			fmt.Sprintf("retention %s keeps about %d points when one is made every %s; each makes reading and moving a little slower", p.Retention, n, p.CrashInterval),
			"keep less points of the older times, such as all for 2h, every 1h for 22h, every 4h for 6d")
	}
	if p.RPOAlert < p.CrashInterval {
		j.say(replication.Warning, CodePolicy, "policy.rpo_alert",
			fmt.Sprintf("rpo_alert %s is shorter than crash_interval %s: it would be raised before every point", p.RPOAlert, p.CrashInterval),
			"write two or three times the crash interval")
	}
}

// manyPoints is how many points of one kind a journal may keep without a warning: all of a week at the default interval.
const manyPoints = 2100

func (j *judge) limits(l policy.Limits) {
	if err := l.Validate(0); err != nil {
		j.refuse(CodeRetention, "retention", err.Error(), "write such as retention: {soft: 70%, hard: 90%, reserve: 2%}, or sizes such as 500GiB")
	}
}

func (j *judge) machines(p *Plan) {
	disks := p.Disks()
	if len(p.Machines) == 0 {
		j.refuse(CodeNoDisks, "machines", "the plan has no machines", "list each machine by name, with its disks")
	}
	if len(disks) > replication.MaxDisks {
		j.refuse(CodeTooMany, "machines", fmt.Sprintf("the group has %d disks; a group has at most %d, as has a master target", len(disks), replication.MaxDisks),
			"divide the machines between groups on several master targets; machines that must share points belong into one group")
	}
	lines := make(map[string]int)
	for i, m := range p.Machines {
		subject := m.Name
		if subject == "" {
			subject = fmt.Sprintf("machines[%d]", i)
		}
		j.name("machine name", subject+where(m.line), m.Name)
		if first, ok := lines[m.Name]; ok && m.Name != "" {
			j.refuse(CodeDuplicate, subject, fmt.Sprintf("two machines are called %s%s%s", m.Name, where(first), where(m.line)), "list a machine once, with all its disks, or give the other one its own name")
		}
		lines[m.Name] = m.line
		j.quiesce(subject, m.Quiesce)
		if len(m.Disks) == 0 {
			j.refuse(CodeNoDisks, subject, fmt.Sprintf("machine %s has no disks", subject), "list the disks that come home, or leave the machine out")
		}
		j.disks(m)
	}
}

// quiesce judges how a machine is kept still.
func (j *judge) quiesce(subject string, q *Quiesce) {
	switch {
	case q == nil:
	case q.Freeze == "" || q.Thaw == "":
		j.refuse(CodeQuiesce, subject, fmt.Sprintf("machine %s: quiesce has freeze %q and thaw %q: one of them is missing", subject, q.Freeze, q.Thaw), "write both, such as quiesce: {freeze: ssh db freeze, thaw: ssh db thaw}; what is frozen has to be thawed")
	case q.Timeout < minInterval || q.Timeout > MaxQuiesceTimeout:
		j.refuse(CodeQuiesce, subject, fmt.Sprintf("machine %s: quiesce has timeout %s; it is %s to %s", subject, q.Timeout, minInterval, MaxQuiesceTimeout), "write how long the machine may be frozen at most, such as 30s")
	}
}

func (j *judge) disks(m Machine) {
	lines := make(map[string]int)
	for i, d := range m.Disks {
		subject := m.Name + "/" + d.ID
		if d.ID == "" {
			subject = fmt.Sprintf("%s/disks[%d]", m.Name, i)
		}
		j.name("disk id", subject+where(d.line), d.ID)
		if first, ok := lines[d.ID]; ok && d.ID != "" {
			j.refuse(CodeDuplicate, subject, fmt.Sprintf("two disks of machine %s have the id %s%s%s", m.Name, d.ID, where(first), where(d.line)), "give each disk of a machine its own id")
		}
		lines[d.ID] = d.line
		j.disk(subject, d)
	}
}

func (j *judge) disk(subject string, d Disk) {
	switch scheme, _, ok := strings.Cut(d.Source, ":"); {
	case d.Source == "":
		j.refuse(CodeSource, subject, "source is missing"+where(d.line), "add source: image:/path of the disk on the process server")
	case !ok || scheme+":" != Image:
		j.refuse(CodeSource, subject, fmt.Sprintf("source %q does not start with a kind of source that is known", d.Source),
			"write image: and the path of a file or block device that the process server reads")
	default:
		j.path(CodeSource, "source", subject, d.Path())
	}
	if d.Target == "" {
		j.refuse(CodeTarget, subject, "target is missing"+where(d.line), "add target: PATH of the VMDK, raw file or block device on the master target")
	} else {
		j.path(CodeTarget, "target", subject, d.Target)
	}
	vmdk := d.Format != "" && d.Format != "raw" && d.Format != "device"
	switch named := strings.EqualFold(path.Ext(d.Target), ".vmdk"); {
	case d.Format != "" && !slices.Contains(formats, d.Format):
		j.refuse(CodeFormat, subject, fmt.Sprintf("format %q is not one that a target can have", d.Format), "write one of "+strings.Join(formats, ", ")+", or leave it out")
	case vmdk && !named:
		j.refuse(CodeFormat, subject, fmt.Sprintf("target %s has the format %s of a VMDK, but not its name", d.Target, d.Format), "let the target's name end in .vmdk")
	case d.Format == "raw" && named:
		j.refuse(CodeFormat, subject, fmt.Sprintf("target %s has the name of a VMDK, but the format raw", d.Target), "give it another name, or leave format out: its content would be read as VMDK metadata")
	case !vmdk && strings.HasSuffix(strings.ToLower(d.Target), "-flat.vmdk") && d.Format == "":
		j.refuse(CodeTarget, subject, fmt.Sprintf("target %s is the name of a VMDK's data file, not of the VMDK", d.Target), "name the small file beside it, without -flat")
	}
	j.commands(subject, d)
}

func (j *judge) commands(subject string, d Disk) {
	switch {
	case d.Snapshot != "" && d.Release == "":
		j.refuse(CodeCommands, subject, "there is a snapshot command, but no release command", "add release: COMMAND that lets go of what snapshot made; without it snapshots pile up")
	case d.Snapshot == "" && d.Release != "":
		j.refuse(CodeCommands, subject, "there is a release command, but no snapshot command", "add snapshot: COMMAND, or take release away")
	}
}

// A Windows path on a drive, on a share, or of a device.
var windowsPath = regexp.MustCompile(`^([A-Za-z]:[\\/]|\\\\)`)

// path judges one path. It may be of another system than this one: only the text counts.
func (j *judge) path(code, key, subject, p string) {
	if !strings.HasPrefix(p, "/") && !windowsPath.MatchString(p) {
		j.refuse(code, subject, fmt.Sprintf("%s %q is not an absolute path", key, p), "write the whole path, from the root")
	}
	if strings.ContainsAny(p, "\x00\n\r") {
		j.refuse(code, subject, fmt.Sprintf("%s %q has a line break or a zero in it", key, p), "write the path on one line")
	}
	parts := strings.FieldsFunc(p, func(r rune) bool { return r == '/' || r == '\\' && windowsPath.MatchString(p) })
	if slices.Contains(parts, "..") {
		j.refuse(code, subject, fmt.Sprintf("%s %q has .. in it", key, p), "write the path without it")
	}
}

// cleanPath returns one form for all the ways in which a path can be written.
func cleanPath(p string) string {
	if p == "" {
		return ""
	}
	if windowsPath.MatchString(p) {
		return strings.ToLower(strings.ReplaceAll(p[:2], `\`, "/") + path.Clean("/"+strings.ReplaceAll(p[2:], `\`, "/")))
	}
	return path.Clean(p)
}

// paths finds disks that would be read or written twice.
func (j *judge) paths(p *Plan) {
	sources, targets := make(map[string]GroupDisk), make(map[string]GroupDisk)
	disks := p.Disks()
	for _, d := range disks {
		source, target := cleanPath(d.Path()), cleanPath(d.Target)
		if first, ok := sources[source]; ok && source != "" {
			j.refuse(CodeSameSource, string(d.Name), fmt.Sprintf("disks %s%s and %s%s have one source: %s", first.Name, where(first.line), d.Name, where(d.line), d.Path()),
				"give each disk its own source, or leave one out")
		}
		if first, ok := targets[target]; ok && target != "" {
			j.refuse(CodeSameTarget, string(d.Name), fmt.Sprintf("disks %s%s and %s%s have one target: %s", first.Name, where(first.line), d.Name, where(d.line), d.Target),
				"give each disk its own target: they would overwrite each other")
		}
		sources[source], targets[target] = d, d
	}
	for _, d := range disks {
		if s, ok := sources[cleanPath(d.Target)]; ok && d.Target != "" {
			j.say(replication.Warning, CodeSamePath, string(d.Name), fmt.Sprintf("target %s is also the source of %s", d.Target, s.Name),
				"if process server and master target are one machine, or share this path, name another target: the source would be overwritten")
		}
	}
}
