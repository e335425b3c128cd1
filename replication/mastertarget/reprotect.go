package mastertarget

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/plan"
	"failback/replication/preflight"
	"failback/retention"
)

// Reprotect implements transport.Operations.
func (e *Engine) Reprotect(ctx context.Context, planYAML []byte) (replication.GroupID, bool, error) {
	p, err := plan.Parse(planYAML)
	if err != nil {
		return "", false, err
	}
	defer e.administer(p.Group)()
	f := e.preflight(ctx, p, 0)
	if f.known != nil && f.onlyAbsent() {
		f.known.wake()
		return p.Group, true, f.known.prioritise(p)
	}
	if f.failed() {
		return p.Group, false, refusal(f.findings)
	}
	if f.known != nil {
		f.known.wake()
		return p.Group, true, f.known.prioritise(p)
	}
	if err := e.create(f); err != nil {
		return p.Group, false, err
	}
	record := groupRecord{Plan: p.Canonical(), Disks: p.Names(), Created: time.Now().UTC()}
	if err := e.cat.protected(p.Group, record, p.ProcessServer); err != nil {
		return p.Group, false, err
	}
	g := newGroup(e, p, record)
	e.mu.Lock()
	e.groups[p.Group] = g
	e.mu.Unlock()
	g.start()
	e.cfg.Log.Info("reprotect", "group", p.Group, "disks", len(p.Disks()))
	e.happened(replication.EventPlan, replication.Healthy, p.Group, "", "group %s is protected: %d disks", p.Group, len(p.Disks()))
	wait, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	_ = e.wait(wait, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.problem != nil || g.state != replication.StateChecking
	})
	if err := g.isReady(); err != nil {
		return p.Group, false, err
	}
	return p.Group, false, nil
}

// onlyAbsent says whether nothing is wrong but that the process server is not here just now, or older than we are: no reason not to carry on.
func (f *looking) onlyAbsent() bool {
	for _, x := range f.findings {
		if x.Severity == replication.Error && !slices.Contains([]string{preflight.CodeAway, preflight.CodeNeverSeen, preflight.CodeNewer}, x.Code) {
			return false
		}
	}
	return true
}

// refusal makes one problem of all findings that stand in the way.
func refusal(findings []replication.Finding) error {
	var errs []replication.Finding
	for _, x := range findings {
		if x.Severity == replication.Error {
			errs = append(errs, x)
		}
	}
	if len(errs) == 1 {
		return &replication.Problem{Code: errs[0].Code, Message: errs[0].Message, Remedy: errs[0].Remedy}
	}
	var all []string
	for _, x := range errs {
		all = append(all, x.Message)
	}
	return &replication.Problem{Code: "check", Message: fmt.Sprintf("%d things stand in the way: %s", len(errs), strings.Join(all, "; ")), Remedy: "`failback check` tells what to do about each"}
}

// create makes the targets that do not exist, and the journal. A target that was made stays when something after it fails: the next try uses it.
func (e *Engine) create(f *looking) error {
	id := retention.Identity{Group: f.plan.Group, Created: time.Now().UTC(), KeepOriginal: f.plan.KeepOriginal}
	for _, d := range f.plan.Disks() {
		id.Disks = append(id.Disks, replication.Disk{No: d.No, ID: d.Name, Size: f.sizes[d.No]})
		id.Targets = append(id.Targets, d.Target)
	}
	if err := f.createTargets(); err != nil {
		return err
	}
	if f.adopt {
		return nil
	}
	dir := e.journalDir(f.plan.Group)
	j, err := retention.Create(dir, id)
	if err != nil {
		return journalProblem(f.plan.Group, err)
	}
	if err := j.Close(); err != nil {
		os.RemoveAll(dir)
		return journalProblem(f.plan.Group, err)
	}
	return nil
}

// createTargets makes the targets that do not exist. Those that it made stay when something after it fails: the next try uses them.
func (f *looking) createTargets() error {
	for _, d := range f.plan.Disks()[f.there:] {
		if f.exists[d.No] {
			continue
		}
		format := blockio.Format(d.Format)
		if format == "" {
			format = blockio.DefaultFormat(d.Target)
		}
		if err := blockio.Create(d.Target, format, f.sizes[d.No]); err != nil {
			return targetProblem(d.Target, fmt.Errorf("create: %w", err))
		}
	}
	return nil
}
