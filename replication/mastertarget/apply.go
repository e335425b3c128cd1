package mastertarget

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"failback/replication"
	"failback/replication/plan"
	"failback/replication/preflight"
	"failback/retention"
)

// applying is a plan that takes the place of a group's, as far as that can be while it is protected.
//
// What changes how a group is run goes into the catalogue, and with the group's next opening into its journal. A disk that joins goes into the journal first, with the plan that has it, in one record: where the catalogue
// does not know it yet, after a crash, the journal's plan counts (group.agrees). So it is with disks that leave (leave.go). Either way the group is opened anew, so that nothing meets a plan that changes under it: what is under way goes on from what is durable.
//
// A group that moves to another process server is in the catalogue with it, in one change with the order to the old one to forget the group. Opened anew it has another generation, so that what the old one may still send is refused (I7).
// The new one has none of the cuts that the last point was made of: it compares (I10).
type applying struct {
	looking
	group  *group
	moves  bool // the group is to be read by another process server
	bye    farewell
	was    *plan.Plan
	report replication.Applied
}

// Apply implements transport.Operations.
func (e *Engine) Apply(ctx context.Context, r replication.ApplyRequest) (replication.Applied, error) {
	p, err := e.wanted(r)
	if err != nil {
		return replication.Applied{}, err
	}
	g, err := e.group(p.Group)
	if err == nil {
		err = g.wayOut(g.waitReady(ctx), p)
	} else {
		err = &replication.Problem{Code: "no-such-group", Message: fmt.Sprintf("group %s is not protected", p.Group), Remedy: "failback reprotect starts to protect it by this plan"}
	}
	if err != nil {
		return replication.Applied{}, err
	}
	defer e.administer(p.Group)()
	if g, err = e.group(p.Group); err == nil { // it may have been opened anew meanwhile
		err = g.isReady()
	}
	if err == nil {
		err = g.cutoverProblem()
	}
	if err != nil {
		return replication.Applied{}, err
	}
	a := &applying{looking: looking{engine: e, plan: p}, group: g, moves: r.MoveTo != "", report: replication.Applied{Group: p.Group, Changes: []replication.PlanChange{}}}
	if err := a.look(ctx); err != nil {
		return a.report, err
	}
	switch {
	case r.From != "" && r.From != a.report.From:
		return a.report, &replication.Problem{Code: preflight.CodeApply, Message: fmt.Sprintf("the plan in force of group %s is another one than when its differences were shown", p.Group), Remedy: "look at them again: failback apply --dry-run"}
	case r.DryRun || len(a.report.Changes) == 0:
		return a.report, nil
	case a.report.Failed():
		return a.report, a.refusal()
	}
	release, err := g.claim()
	if err != nil {
		return a.report, err
	}
	gone := plan.Leaving(a.was, a.plan)
	if len(gone) > 0 {
		e.apart(func() {
			g.awaitMove()
			err = a.settle()
		})
	}
	if err == nil {
		err = a.take(gone)
	}
	release()
	if err != nil {
		return a.report, err
	}
	a.report.Applied = true
	return a.report, a.opened(ctx)
}

// wayOut adds to why a group can't be opened how a plan without some of its disks comes into force nevertheless: a target that is lost for good keeps all from being opened.
func (g *group) wayOut(err error, p *plan.Plan) error {
	if err == nil || len(plan.Leaving(g.plan, p)) == 0 {
		return err
	}
	x := *replication.AsProblem(err)
	if x.Code == codeStarting {
		return err
	}
	if x.Remedy != "" {
		x.Remedy += "; "
	}
	x.Remedy += fmt.Sprintf("or, if what is lacking is lost for good: failback unprotect %s --keep-journal, move %s aside, take from it by failback journal extract what you need of earlier points, since the disks are written to from then on, and failback reprotect by the plan without that disk: the others are compared whole", g.id, g.engine.journalDir(g.id))
	return &x
}

// awaitMove returns when a move that has just been stopped has let go of the disks.
func (g *group) awaitMove() {
	g.moving.Lock()
	defer g.moving.Unlock()
}

// wanted is the plan that a request asks for.
func (e *Engine) wanted(r replication.ApplyRequest) (*plan.Plan, error) {
	text := r.Plan
	if r.MoveTo != "" && len(text) == 0 {
		g, err := e.group(r.Group)
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		text = g.record.Plan
		g.mu.Unlock()
	}
	p, err := plan.Parse(text)
	if err != nil || r.MoveTo == "" {
		return p, err
	}
	refuse := func(format string, args ...any) error {
		return &replication.Problem{Code: preflight.CodeApply, Message: fmt.Sprintf(format, args...), Remedy: "give the plan of that group, with the process server that it moves to"}
	}
	switch {
	case r.Group != "" && p.Group != r.Group:
		return nil, refuse("the plan is of group %s, and group %s is to move", p.Group, r.Group)
	case len(r.Plan) > 0 && p.ProcessServer != r.MoveTo:
		return nil, refuse("the plan of group %s names process server %s, and the group is to move to %s", p.Group, p.ProcessServer, r.MoveTo)
	}
	p.ProcessServer = r.MoveTo
	return p, nil
}

// look finds the differences, and what stands in the way of new disks.
func (a *applying) look(ctx context.Context) error {
	g := a.group
	g.mu.Lock()
	text := g.record.Plan
	g.mu.Unlock()
	was, err := plan.Parse(text)
	if err != nil {
		return err
	}
	a.was = was
	names := g.plan.Names()
	was.Number(names)
	a.plan.Number(names)
	sum := sha256.Sum256(was.Canonical())
	a.report.From = hex.EncodeToString(sum[:])
	a.report.Changes = append(a.report.Changes, plan.Differences(was, a.plan, a.moves)...)
	for _, f := range a.plan.Findings() {
		if f.Severity != replication.Info {
			a.findings = append(a.findings, f)
		}
	}
	if a.moves = a.moves && was.ProcessServer != a.plan.ProcessServer; a.moves {
		id := g.journal.Identity()
		a.bye = farewell{Worker: was.ProcessServer, Spec: specOf(was, id.Disks, replication.Session{Group: g.id, Generation: g.journal.Generation()})}
		a.bye.Spec.Instance = id.UUID
		a.room()
		a.sources(ctx, a.failed())
		a.resized(id.Disks)
		return a.number()
	}
	a.leaves()
	if disks := a.plan.Disks(); len(disks) > len(names) && len(plan.Leaving(was, a.plan)) == 0 {
		a.there = len(names)
		a.room()
		a.joins(ctx)
	}
	if _, ok := g.journal.Last(); !ok && was.KeepOriginal && !a.plan.KeepOriginal {
		a.find(replication.Error, preflight.CodeApply, string(g.id), "point 0 is being saved for, until the first point is listed", "wait for the first point, then apply the plan again")
	}
	return a.number()
}

// number puts the findings into the report.
func (a *applying) number() error {
	preflight.Number(a.findings)
	a.report.Findings = append([]replication.Finding{}, a.findings...)
	return nil
}

// joins looks at the disks that join.
func (a *applying) joins(ctx context.Context) {
	g := a.group
	if _, ok := g.journal.Last(); !ok {
		a.find(replication.Error, preflight.CodeApply, string(g.id), fmt.Sprintf("group %s has no point yet: disks join a group that has one", g.id),
			fmt.Sprintf("wait for the first point (failback status %s), then apply the plan again; or unprotect the group, and protect it by this plan", g.id))
		return
	}
	if a.failed() {
		return
	}
	a.findings = append(a.findings, a.engine.volumes.Check(ctx, append(a.engine.uses(nil), targetUses(a.plan)...), true)...)
	a.sources(ctx, false)
	a.targets(ctx)
	a.host()
	if g.journal.Identity().KeepOriginal {
		a.find(replication.Info, preflight.CodeOriginal, string(g.id), "point 0 does not have the disks that join: what their targets hold now is written over, and not kept", "none needed, unless that is the only copy: copy it first")
	}
	for _, d := range a.plan.Disks()[:a.there] {
		if a.views(d.No) == "none" {
			a.find(replication.Info, preflight.CodeNoSnapshot, string(d.Name), fmt.Sprintf("disk %s has no snapshots: a cycle that is under way starts over", d.Name), "none needed")
		}
	}
}

func (a *applying) views(d replication.DiskNo) string {
	a.group.mu.Lock()
	defer a.group.mu.Unlock()
	return a.group.views[d]
}

// refusal is one problem of all that can't be changed.
func (a *applying) refusal() error {
	findings := slices.Clone(a.findings)
	for _, c := range a.report.Changes {
		if c.Refused {
			findings = append(findings, replication.Finding{Severity: replication.Error, Code: preflight.CodeApply, Subject: c.Subject, Message: fmt.Sprintf("%s: %s can't be changed from %s to %s: %s", c.Subject, c.Key, orNothing(c.Was), orNothing(c.Now), c.Effect), Remedy: c.Remedy})
		}
	}
	err := refusal(findings)
	var p *replication.Problem
	if errors.As(err, &p) && p.Code == "check" {
		p.Code, p.Remedy = preflight.CodeApply, "failback apply --dry-run tells what to do about each"
	}
	return err
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return fmt.Sprintf("%q", s)
}

// take puts the plan into force, durably, and opens the group anew with it. gone are the disks that leave.
func (a *applying) take(gone []plan.GroupDisk) error {
	e, g := a.engine, a.group
	now, err := plan.Parse(a.plan.Canonical())
	if err != nil { // the next start could not read it either
		return err
	}
	added := a.there > 0 && len(gone) == 0 && len(a.plan.Disks()) > a.there
	if added {
		if err := a.createTargets(); err != nil {
			return err
		}
	}
	if a.changes("keep_original") {
		if err := g.journal.Unpin(replication.OriginalPoint); err != nil && !errors.Is(err, retention.ErrNoPoint) {
			return journalProblem(g.id, err)
		}
	}
	e.closed(g)
	g.mu.Lock()
	before := g.record // as it is now: operators' commands may have changed it while the differences were looked at
	g.mu.Unlock()
	record := before
	record.Plan, record.Disks = now.Canonical(), a.plan.Names()
	if a.changes("priority") {
		record.Priority = 0
	}
	if added {
		if err = a.stillFree(); err == nil {
			err = a.join(record.Held)
		}
	} else if len(gone) > 0 {
		err = a.leave(gone)
	}
	switch {
	case err != nil:
	case a.moves:
		err = e.cat.protected(g.id, record, now.ProcessServer, change{bucketFarewells, farewellKey(g.id, a.bye.Worker), a.bye})
	default:
		err = e.cat.put(bucketGroups, g.id, record)
	}
	if err != nil { // the group goes on; where the journal has the disks, it comes to know the plan from it
		now, record = a.was, before
	}
	again := newGroup(e, now, record)
	e.mu.Lock()
	e.groups[g.id] = again
	e.mu.Unlock()
	if err == nil && a.moves { // before the new one cuts: commands of a plan may give both's snapshots one name
		e.reached("moves")
		e.sendOff(a.bye.Worker)
	}
	again.start()
	if err == nil {
		a.departs(gone)
	}
	if err == nil && a.moves {
		e.cfg.Log.Info("moved to another process server", "group", g.id, "from", a.bye.Worker, "to", now.ProcessServer)
		g.happened(replication.EventPlan, replication.Healthy, 0, "the group moved from process server %s to %s", a.bye.Worker, now.ProcessServer)
	} else if err == nil {
		e.cfg.Log.Info("plan applied", "group", g.id, "changes", len(a.report.Changes), "disks", len(now.Disks()))
		g.happened(replication.EventPlan, replication.Healthy, 0, "another plan is in force: %d changes, %d disks", len(a.report.Changes), len(now.Disks()))
	}
	return err
}

// changes says whether the plans differ there.
func (a *applying) changes(key string) bool {
	return slices.ContainsFunc(a.report.Changes, func(c replication.PlanChange) bool { return c.Key == key })
}

// stillFree says whether another group has come to use the target of a disk that joins, while this one was being closed.
func (a *applying) stillFree() error {
	for _, d := range a.plan.Disks()[a.there:] {
		if by := a.engine.holder(d.Target); by != "" {
			return &replication.Problem{Code: preflight.CodeApply, Message: fmt.Sprintf("disk %s: group %s uses its target %s by now", d.Name, by, d.Target), Remedy: "give the disk another target, and apply the plan again"}
		}
	}
	return nil
}

// join has the new disks join the journal.
func (a *applying) join(held bool) error {
	var disks []replication.Disk
	for _, d := range a.plan.Disks()[a.there:] {
		disks = append(disks, replication.Disk{No: d.No, ID: d.Name, Size: a.sizes[d.No]})
	}
	if err := retention.Join(a.engine.journalDir(a.group.id), a.group.id, a.engine.self.ID, disks, settingsOf(a.plan, held)); err != nil {
		return journalProblem(a.group.id, err)
	}
	return nil
}

// opened waits, with patience, until the group is open.
func (a *applying) opened(ctx context.Context) error {
	g, err := a.engine.group(a.group.id)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	_ = a.engine.wait(wait, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.problem != nil || g.state != replication.StateChecking
	})
	return g.isReady()
}

// agrees makes sure that the plan has the journal's disks, by number. A journal that has others was joined by them, or they left it, when the catalogue was not told any more: then its plan counts.
func (g *group) agrees(j *retention.Journal) error {
	names := namesOf(j.Identity().Disks)
	if slices.Equal(g.plan.Names(), names) {
		return nil
	}
	other := &replication.Problem{Code: "plan", Message: fmt.Sprintf("the plan of group %s has other disks than its journal", g.id), Remedy: "keep the journal as it is; another master target takes the group over from it: failback adopt"}
	s, ok := j.Settings()
	p, err := plan.Parse([]byte(s.Plan))
	if !ok || err != nil || p.Group != g.id {
		other.Err = err
		return other
	}
	if p.Number(names); !slices.Equal(p.Names(), names) {
		return other
	}
	err = g.changeRecord(func(r *groupRecord) { r.Plan, r.Disks = p.Canonical(), names })
	if err != nil {
		return err
	}
	g.log.Info("the journal has the newer plan", "disks", len(names))
	return g.openedAnew()
}

// openedAnew has the group opened anew, and tells who tries to open it now.
func (g *group) openedAnew() error {
	g.engine.wg.Go(func() { g.engine.reopen(g) })
	return &replication.Problem{Code: codeStarting, Message: fmt.Sprintf("group %s is being opened", g.id), Remedy: "try again in a moment"}
}

func namesOf(disks []replication.Disk) (names []replication.DiskID) {
	for _, d := range disks {
		names = append(names, d.ID)
	}
	return names
}

// renumber gives the plan's disks the numbers that a journal has them by, where it has the same ones.
func (f *looking) renumber(disks []replication.Disk) {
	was, names := f.plan.Names(), namesOf(disks)
	f.plan.Number(names)
	sizes, places := slices.Clone(f.sizes), slices.Clone(f.places)
	for i, n := range f.plan.Names() {
		k := slices.Index(was, n)
		f.sizes[i], f.places[i] = sizes[k], places[k]
	}
}

// joining returns the disks that the open cycle writes through as they join.
func (g *group) joining() (disks []replication.DiskNo) {
	for _, d := range g.journal.Identity().Disks {
		if g.journal.Joining(d.No) {
			disks = append(disks, d.No)
		}
	}
	return disks
}

// unborn returns the disks that joined after a point.
func unborn(j toldByJournal, p replication.PointID) (all []replication.UnbornDisk) {
	disks := j.Identity().Disks
	for d, b := range j.Births() {
		switch {
		case b == retention.NoPoint:
			all = append(all, replication.UnbornDisk{Disk: disks[d].ID})
		case b > p:
			all = append(all, replication.UnbornDisk{Disk: disks[d].ID, Joined: b})
		}
	}
	return all
}
