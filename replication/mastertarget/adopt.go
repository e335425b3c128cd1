package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/plan"
	"failback/replication/preflight"
	"failback/retention"
)

// adopting is a group that is being looked at, to be taken over.
type adopting struct {
	looking
	request replication.AdoptRequest
	report  replication.Adoption
	id      retention.Identity
	births  []replication.PointID // by disk
	before  []int64               // by disk: its size before it grew; 0: it has not
	known   [][]uint32            // content ids that the disks may carry, by disk
	prints  []string              // fingerprints, likewise
	targets []blockio.Target
}

// Adopt implements transport.Operations: it takes a group over from its journal and disks, with what another master target made of them. All is looked at, under the locks of journal and disks, before
// the generation is raised: from then on the other one is refused. What stands in the way is an error, and among the findings.
func (e *Engine) Adopt(ctx context.Context, r replication.AdoptRequest) (replication.Adoption, error) {
	e.admin.Lock()
	defer e.admin.Unlock()
	a := &adopting{looking: looking{engine: e}, request: r, report: replication.Adoption{Journal: r.Dir, Points: []replication.Point{}, Disks: []replication.AdoptedDisk{}}}
	err := a.look(ctx)
	if err == nil && !r.List && !a.failed() {
		err = a.take(ctx)
	}
	preflight.Number(a.findings)
	a.report.Findings = append([]replication.Finding{}, a.findings...)
	if err == nil && !r.List && a.failed() {
		err = refusal(a.findings)
	}
	if err != nil || r.List {
		return a.report, err
	}
	return a.report, a.begin(ctx)
}

// look looks at the journal, which it does not write to, at whose it is, and at the disks.
func (a *adopting) look(ctx context.Context) error {
	i, err := retention.Inspect(a.request.Dir)
	if err != nil {
		return adoptProblem(a.request.Dir, err)
	}
	defer i.Close()
	a.id, a.births, a.known, a.prints = i.Identity(), i.Births(), i.ContentIDs(), i.Fingerprints()
	for _, d := range a.id.Disks {
		a.before = append(a.before, i.SizeBefore(d.No))
	}
	a.describe(i)
	if err := checkRetention(a.engine.cfg.Retention); err != nil {
		a.problem(a.engine.cfg.Retention, err)
	}
	a.place()
	a.damages(i)
	a.owner(i)
	if err := a.choosePlan(i); err != nil {
		a.problem(a.request.Dir, err)
		return nil
	}
	a.findings = append(a.findings, a.engine.volumes.Check(ctx, a.engine.uses(a.plan), true)...)
	a.cutover(i.Cutover())
	if mayBeWritten(i.Cutover()) { // they are the machine's: they are looked at when that is undone
		for _, d := range a.plan.Disks() {
			a.report.Disks = append(a.report.Disks, replication.AdoptedDisk{Disk: d.Name, Size: a.id.Disks[d.No].Size, Target: d.Target, State: "is the machine's: the group is committed"})
		}
		return nil
	}
	a.disks(ctx)
	return nil
}

// cutover tells what becomes of a commit that the old master target had begun.
func (a *adopting) cutover(x *retention.Cutover) {
	switch {
	case x == nil, x.Step == retention.CutoverUndoing:
	case x.Step != retention.CutoverCommitted:
		a.find(replication.Warning, replication.CodeCutover, string(a.id.Group), fmt.Sprintf("a commit of group %s was under way, and is taken back; no command of it runs here (to stop the machine: %q, when it is done: %q)", a.id.Group, x.Stop, x.After),
			fmt.Sprintf("see whether the machine in Azure was stopped, and start it again; then `failback commit %s`, if it is to be done from here", a.id.Group))
	case x.After != "" && x.Ended == "":
		a.find(replication.Warning, replication.CodeCutover, string(a.id.Group), fmt.Sprintf("group %s is committed, and it is not known whether the command that was to be run then, %q, did: it does not run here", a.id.Group, x.After), "see what it was to do, and do it")
	}
}

func (a *adopting) describe(i *retention.Inspection) {
	r := &a.report
	r.Group, r.Generation, r.Head, r.Points = a.id.Group, i.Generation(), i.Head(), append(r.Points, i.Points()...)
	if m := i.Unfinished(); m != nil {
		r.MovingTo = m.To
	}
	if c, _ := i.OpenCycle(); c != nil {
		r.Open = c.Point
	}
	if s, ok := i.Settings(); ok {
		r.Held = s.Held
	}
	if n := len(r.Points); n > 0 && r.Head != 0 && (r.MovingTo == 0 && r.Head != r.Points[n-1].ID || r.MovingTo != 0 && r.MovingTo != r.Points[n-1].ID) {
		r.Held = true // the disks stay where they are until somebody says otherwise
	}
}

// place: a master target's journals lie on its one retention volume, each by its group's name.
func (a *adopting) place() {
	want := a.engine.journalDir(a.id.Group)
	if real := func(p string) string { r, _ := filepath.EvalSymlinks(p); return r }; real(want) != real(a.request.Dir) || real(want) == "" {
		a.find(replication.Error, preflight.CodeElsewhere, a.request.Dir, fmt.Sprintf("the journal of group %s is at %s; this master target has its journals in %s, each by its group's name", a.id.Group, a.request.Dir, a.engine.cfg.Retention),
			fmt.Sprintf("mount the retention volume that it lies on and start the master target with it (--retention), or copy the directory to %s and rename the old one, which must not be used any more", want))
	}
	if _, err := a.engine.group(a.id.Group); err == nil {
		a.find(replication.Error, preflight.CodeGroupExists, string(a.id.Group), fmt.Sprintf("there is a group %s here already", a.id.Group), "unprotect that one first, keeping its journal; a group that was adopted needs no more")
	}
}

func (a *adopting) damages(i *retention.Inspection) {
	if i.Retired() {
		a.find(replication.Error, preflight.CodeJournal, a.request.Dir, fmt.Sprintf("group %s was unprotected, and its journal ended", a.id.Group), "protect it anew: failback reprotect")
	}
	for _, f := range i.Findings() {
		switch {
		case f.Fatal && !i.Whole():
			a.find(replication.Error, preflight.CodeJournal, f.File, fmt.Sprintf("%s at offset %d: %s", f.File, f.Off, f.What), "failback journal check tells all of it; failback journal extract gets out what is whole")
		case f.Damage:
			a.find(replication.Warning, preflight.CodeJournal, f.File, fmt.Sprintf("%s at offset %d: %s", f.File, f.Off, f.What), "failback journal check tells which points need it")
		}
	}
}

// owner says whether it is certain that nobody else writes. On one machine locks tell; a machine that is another one can't be seen from here.
func (a *adopting) owner(i *retention.Inspection) {
	if i.Running() {
		a.find(replication.Error, preflight.CodeJournalInUse, a.request.Dir, "a master target has the journal open", "stop that one: only one may write a group, whatever else is said")
	}
	o, known, released := i.Owner()
	self := a.engine.self
	switch {
	case released:
		return
	case !known:
		a.report.Owner = "not noted"
	default:
		a.report.Owner = o.String()
	}
	if known && o.ID == self.ID || known && o.Machine != "" && o.Machine == self.Machine {
		return
	}
	what := fmt.Sprintf("%s has had the group since %s", o, o.Since.UTC().Format(time.DateTime))
	if !known {
		what = "the journal does not say which master target had the group"
	}
	if a.request.OldHostIsOff {
		a.find(replication.Info, preflight.CodeOldHost, a.request.Dir, what+"; you say that its machine is off", "none needed; when it starts again, it is refused")
		return
	}
	a.find(replication.Error, preflight.CodeOldHost, a.request.Dir, what+", on another machine: from here it can't be seen whether that one still writes to the disks",
		"make sure that it is off, or can't reach journal and disks any more, and say so: --old-host-is-off")
}

// choosePlan takes the plan, with the disks where they are now.
func (a *adopting) choosePlan(i *retention.Inspection) error {
	text := a.request.Plan
	s, ok := i.Settings()
	switch {
	case len(text) > 0:
	case ok && s.Plan != "":
		text = []byte(s.Plan)
	default:
		return &replication.Problem{Code: "plan", Message: "the journal has no plan of the group: an earlier release wrote it", Remedy: "give the plan that the group was protected with: --plan FILE"}
	}
	p, err := plan.Parse(text)
	if err != nil {
		return err
	}
	if p.Group != a.id.Group {
		return &replication.Problem{Code: "plan", Message: fmt.Sprintf("the plan is of group %s, the journal of %s", p.Group, a.id.Group), Remedy: "give the plan of that group"}
	}
	for name, path := range a.request.Disks {
		if !filepath.IsAbs(path) {
			return &replication.Problem{Code: "target", Message: fmt.Sprintf("--disk %s=%s is not an absolute path", name, path), Remedy: "name it as the master target sees it"}
		}
		no, err := findDisk(a.id.Disks, name)
		if err != nil {
			return err
		}
		p.SetTarget(a.id.Disks[no].ID, path)
	}
	p.Number(namesOf(a.id.Disks)) // wherever a disk that joined stands in the plan
	same := len(p.Disks()) == len(a.id.Disks)
	for k, d := range p.Disks() {
		same = same && d.Name == a.id.Disks[k].ID
	}
	if !same {
		return &replication.Problem{Code: "plan", Message: fmt.Sprintf("the plan of group %s has other disks than its journal", a.id.Group), Remedy: "give the plan that the group was protected with, or the last one that was applied"}
	}
	a.findings = append(a.findings, p.Findings()...)
	a.plan = p
	return nil
}

// disks looks at the targets, and, unless it only tells, holds them (I8).
func (a *adopting) disks(ctx context.Context) {
	var found []blockio.Description
	var names []string
	for _, d := range a.plan.Disks() {
		one := replication.AdoptedDisk{Disk: d.Name, Size: a.id.Disks[d.No].Size, Target: d.Target, State: "is the one that the journal belongs to"}

		desc, weak, err := a.disk(ctx, d)
		switch {
		case err != nil:
			a.problem(string(d.Name), err)
			one.State = replication.AsProblem(err).Error()
		case weak != "":
			a.find(replication.Warning, preflight.CodeUnproved, string(d.Name), fmt.Sprintf("disk %s: %s", d.Name, weak), "make sure that it is the disk that failback wrote last, and no older copy: what has not changed lately is only there")
			one.State = weak
		}
		switch b := a.births[d.No]; {
		case b == retention.NoPoint:
			one.State += "; it has joined, and no point has it yet"
		case b > 0:
			one.State += fmt.Sprintf("; it joined at point %d", b)
		}
		if err == nil {
			found, names = append(found, desc), append(names, string(d.Name))
		}
		a.report.Disks = append(a.report.Disks, one)
	}
	a.add(preflight.JudgeTwins(names, append(found, a.engine.held()...)))
}

// disk looks at one target. weak: it can't be told whether another wrote to it.
func (a *adopting) disk(ctx context.Context, d plan.GroupDisk) (desc blockio.Description, weak string, err error) {
	if inside(d.Target, a.engine.cfg.Retention) {
		return desc, "", &replication.Problem{Code: "target-in-retention", Message: fmt.Sprintf("target %s lies in the retention directory", d.Target), Remedy: "put it on a datastore"}
	}
	if other := a.engine.holder(d.Target); other != "" && other != a.id.Group {
		return desc, "", &replication.Problem{Code: "target-in-use", Message: fmt.Sprintf("target %s belongs to group %s", d.Target, other), Remedy: "name the right disk with --disk"}
	}
	var ours []uint32
	if int(d.No) < len(a.known) {
		ours = a.known[d.No]
	}
	// To open it takes its lock and writes nothing; the lock is kept until the group is taken.
	t, err := openTarget(d.Target, sizedAs(a.before[d.No], a.id.Disks[d.No], d.Target), ours)
	if err != nil {
		return desc, "", err
	}
	desc = t.Description()
	if a.request.List {
		defer t.Close()
	} else {
		a.targets = append(a.targets, t)
	}
	was := ""
	if int(d.No) < len(a.prints) {
		was = a.prints[d.No]
	}
	if err := sameFingerprint(ctx, was, t); err != nil {
		return desc, "", err
	}
	if was == "" && desc.ContentID == 0 {
		weak = fmt.Sprintf("%s has no content id, and the last session did not end well: it can't be told whether another has written to it since", d.Target)
	}
	return desc, weak, nil
}

// take makes the group ours.
func (a *adopting) take(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, closeAll(a.targets)) }() // nothing was written to them
	j, err := retention.Open(a.request.Dir, a.id.Group)
	if err != nil {
		return journalProblem(a.id.Group, err)
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	if j.Generation() != a.report.Generation || !slices.Equal(j.Fingerprints(), a.prints) {
		return &replication.Problem{Code: "journal-in-use", Message: fmt.Sprintf("the journal of group %s changed while it was looked at", a.id.Group), Remedy: "another master target has it: stop that one, and try again"}
	}
	if a.report.Generation, err = j.TakeOver(a.engine.self, 0); err != nil {
		return journalProblem(a.id.Group, err)
	}
	if err := j.RecordSettings(settingsOf(a.plan, a.report.Held)); err != nil {
		return journalProblem(a.id.Group, err)
	}
	if err := withoutCommands(j); err != nil {
		return journalProblem(a.id.Group, err)
	}
	a.report.Open = 0
	if c := j.OpenCycle(); c != nil {
		a.report.Open = c.Point
	}
	return nil
}

// withoutCommands sees that no command runs here that was given to the master target before: a commit that was under way is taken back, and the after-command of one that is at its end does not run.
func withoutCommands(j *retention.Journal) error {
	x := j.Cutover()
	if x == nil {
		return nil
	}
	at := *x
	switch at.Step {
	case retention.CutoverFinal:
		return recordTurn(j, turning{turn: turnGiveUp})
	case retention.CutoverClosing:
		return recordTurn(j, turning{turn: turnUndo, now: time.Now(), last: lastOf(j)})
	case retention.CutoverCommitted:
		if at.After == "" || at.Ended != "" {
			return nil
		}
		at.Ended = "not run: the group was adopted"
	}
	return j.RecordCutover(&at)
}

// begin puts the group into the catalogue and starts it.
func (a *adopting) begin(ctx context.Context) error {
	e := a.engine
	record := groupRecord{Plan: a.plan.Canonical(), Disks: a.plan.Names(), Created: time.Now().UTC(), Held: a.report.Held}
	if err := e.cat.protected(a.id.Group, record, a.plan.ProcessServer); err != nil {
		return err
	}
	g := newGroup(e, a.plan, record)
	e.mu.Lock()
	e.groups[a.id.Group] = g
	e.mu.Unlock()
	g.start()
	a.report.Adopted = true
	e.cfg.Log.Info("group adopted", "group", a.id.Group, "from", a.report.Owner, "generation", a.report.Generation)
	e.happened(replication.EventPlan, replication.Healthy, a.id.Group, "", "group %s was adopted; its owner was %s", a.id.Group, a.report.Owner)
	wait, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	_ = e.wait(wait, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.problem != nil || g.state != replication.StateChecking
	})
	if g.isAway() {
		return nil
	}
	return g.isReady()
}

// settingsOf is what the journal is to know of the group.
func settingsOf(p *plan.Plan, held bool) retention.Settings {
	s := retention.Settings{Plan: string(p.Canonical()), Held: held}
	for _, d := range p.Disks() {
		s.Targets = append(s.Targets, d.Target)
	}
	return s
}

func adoptProblem(dir string, err error) error {
	p := &replication.Problem{Code: "journal", Message: "journal " + dir, Err: err, Remedy: "see that the retention volume is mounted, and name a group's directory on it, as in /mnt/retention/erp"}
	if errors.Is(err, retention.ErrNewer) {
		p.Remedy = "run the release that wrote it, or a newer one"
	}
	return p
}
