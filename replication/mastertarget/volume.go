package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"failback/replication"
	"failback/replication/plan"
	"failback/retention/volume"
)

// Volumes implements transport.Operations.
func (e *Engine) Volumes(ctx context.Context) ([]replication.Volume, error) {
	volumes, err := e.volumes.List(ctx, e.uses(nil))
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, &replication.Problem{Code: volume.CodeUnknown, Message: "this system does not tell of its volumes", Err: err, Remedy: "none: name the volume by --retention"}
	}
	return volumes, err
}

// programs are ours: none of them may lie on the retention volume, as far as they lie beside this one.
var programs = []string{"master-target", "process-server", "failback"}

// uses lists what else than journals takes a volume: the targets of all groups and of the plan p, if there is one, the state directory, and the programs.
func (e *Engine) uses(p *plan.Plan) []volume.Use {
	uses := []volume.Use{{Code: volume.CodeState, What: "state directory of this master target", Path: e.cfg.State}}
	if self, err := os.Executable(); err == nil {
		uses = append(uses, volume.Use{Code: volume.CodeProgram, What: "running program", Path: self})
		for _, name := range programs {
			path := filepath.Join(filepath.Dir(self), name)
			if st, err := os.Stat(path); path != self && err == nil && st.Mode().IsRegular() {
				uses = append(uses, volume.Use{Code: volume.CodeProgram, What: "program", Path: path})
			}
		}
	}
	add := func(p *plan.Plan) { uses = append(uses, targetUses(p)...) }
	known := false
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, g := range e.groups {
		add(g.plan)
		known = known || p != nil && id == p.Group
	}
	if p != nil && !known {
		add(p)
	}
	return uses
}

// targetUses lists the targets of a plan.
func targetUses(p *plan.Plan) (uses []volume.Use) {
	for _, d := range p.Disks() {
		if !filepath.IsAbs(d.Target) { // no plan with one is carried out
			continue
		}
		uses = append(uses, volume.Use{Code: volume.CodeTarget, What: fmt.Sprintf("target of disk %s of group %s", d.Name, p.Group), Path: d.Target})
	}
	return uses
}

// volume judges the retention volume, and says whether a journal on it can be looked at.
func (f *looking) volume(ctx context.Context) bool {
	found := f.engine.volumes.Check(ctx, f.engine.uses(f.plan), true)
	f.add(found)
	if slices.ContainsFunc(found, func(x replication.Finding) bool {
		return slices.Contains([]string{volume.CodeUnknown, volume.CodeReadOnly, volume.CodeSilent, volume.CodeHidden, volume.CodeProbe}, x.Code)
	}) {
		return false
	}
	if err := checkRetention(f.engine.cfg.Retention); err != nil {
		f.problem(f.engine.cfg.Retention, err)
		return false
	}
	return true
}

// volumeProblem is what keeps groups from being opened on the retention volume as it is now, or nil. Whether it can be written shows when the journal is.
func (e *Engine) volumeProblem(ctx context.Context) error {
	findings := e.volumes.Check(ctx, e.uses(nil), false)
	if !failed(findings) {
		return nil
	}
	return refusal(findings)
}

// lockVolume takes the retention volume for this master target alone.
func (e *Engine) lockVolume() error {
	err := e.volumes.Hold()
	switch {
	case errors.Is(err, volume.ErrLocked):
		return &replication.Problem{Code: volume.CodeLocked, Message: "retention volume " + e.cfg.Retention, Err: err,
			Remedy: "one retention volume is for one master target: stop the other one, or give it another volume"}
	case err != nil:
		return fmt.Errorf("retention volume: %w", err)
	}
	return nil
}
