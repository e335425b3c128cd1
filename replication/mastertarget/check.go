package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"failback/replication"
	"failback/replication/link"
	"failback/replication/plan"
	"failback/replication/preflight"
	"failback/retention"
)

// looking looks at a plan with the eyes of this master target: what it gathers is judged by package preflight.
type looking struct {
	engine   *Engine
	plan     *plan.Plan
	known    *group  // the group, where it is protected already
	churn    float64 // bytes a second that are expected to change; 0: not told
	findings []replication.Finding
	worker   *worker  // the process server; nil: it is not connected
	sizes    []int64  // of the sources, by disk number; 0: not known
	data     []int64  // of that, what may be other than zeros
	places   []string // of the sources, by disk number; "": not known
	exists   []bool   // the target does
	serials  []string // of targets that do: UUIDs of VMDKs
	there    int      // disks, with the first numbers, that the group has already: they are not looked at again
	holds    int64    // bytes that the targets may hold other than zeros
	adopt    bool     // a journal of this very group is there, from an earlier protection
}

func (f *looking) find(s replication.Severity, code, subject, message, remedy string) {
	f.findings = append(f.findings, replication.Finding{Severity: s, Code: code, Subject: subject, Message: message, Remedy: remedy})
}

func (f *looking) add(all []replication.Finding) { f.findings = append(f.findings, all...) }

func (f *looking) problem(subject string, err error) {
	p := replication.AsProblem(err)
	f.find(replication.Error, p.Code, subject, p.Error(), p.Remedy)
}

func (f *looking) failed() bool { return failed(f.findings) }

func failed(findings []replication.Finding) bool {
	return slices.ContainsFunc(findings, func(x replication.Finding) bool { return x.Severity == replication.Error })
}

// refused says whether one of these codes was found of a subject, or, with "", of any.
func (f *looking) refused(subject string, codes ...string) bool {
	return slices.ContainsFunc(f.findings, func(x replication.Finding) bool {
		return x.Severity == replication.Error && slices.Contains(codes, x.Code) && (subject == "" || x.Subject == subject)
	})
}

// Check implements transport.Operations. Nothing is kept from being looked at by what was found before, unless it makes no sense then.
func (e *Engine) Check(ctx context.Context, planYAML []byte, ask replication.PathAsk) (replication.Checked, error) {
	p, err := plan.Parse(planYAML)
	if err != nil {
		return replication.Checked{}, err
	}
	f := e.preflight(ctx, p, ask.Churn)
	if f.known != nil {
		f.standing()
		f.surroundings()
	}
	found := replication.Checked{Group: p.Group}
	if ask.Each > 0 {
		found.Path = f.path(ctx, ask)
	}
	preflight.Number(f.findings)
	found.Findings = f.findings
	return found, nil
}

// standing looks at a group that is protected already: what holds it up now, and what will hold up its next cut.
func (f *looking) standing() {
	if f.failed() {
		return
	}
	f.known.mu.Lock()
	problem := f.known.problem
	f.known.mu.Unlock()
	if problem != nil {
		f.problem(string(f.plan.Group), problem)
	}
	if f.known.isReady() != nil {
		return
	}
	f.resized(f.known.journal.Identity().Disks)
}

// resized looks for sources that do not have the sizes that the group has its disks with.
func (f *looking) resized(disks []replication.Disk) {
	for _, d := range disks {
		if size := f.sizes[d.No]; f.known != nil && size > d.Size && f.known.mayEnlarge(larger{d, size}) == nil {
			f.find(replication.Info, preflight.CodeSizeDiffers, string(d.ID), fmt.Sprintf("disk %s: source %s has grown from %d to %d bytes", d.ID, f.plan.Disks()[d.No].Path(), d.Size, size), "none needed: its target grows with the next point, which is made by comparing")
		} else if size != 0 && size != d.Size {
			f.find(replication.Error, preflight.CodeSizeDiffers, string(d.ID), fmt.Sprintf("disk %s: source %s has %d bytes now, the group's disk has %d", d.ID, f.plan.Disks()[d.No].Path(), size, d.Size),
				"give the source its size back; for a disk that has grown, unprotect the group and protect it anew with a target of that size")
		}
	}
}

// room makes the place for what is found of a plan's disks.
func (f *looking) room() {
	n := len(f.plan.Disks())
	f.sizes, f.data, f.places, f.exists, f.serials = make([]int64, n), make([]int64, n), make([]string, n), make([]bool, n), make([]string, n)
}

// preflight runs all checks that the earlier ones leave sense in.
func (e *Engine) preflight(ctx context.Context, p *plan.Plan, churn float64) *looking {
	f := &looking{engine: e, plan: p, churn: churn}
	f.room()
	f.add(p.Findings())
	other := false
	if g, err := e.group(p.Group); err == nil {
		f.known = g
		if err := g.cutoverProblem(); err != nil {
			f.problem(string(p.Group), err)
			return f
		}
		p.Number(g.plan.Names()) // a disk that joined may stand anywhere in it
		if other = !samePlan(g.plan, p); other {
			f.find(replication.Error, preflight.CodeGroupExists, string(p.Group), fmt.Sprintf("group %s is protected already, by another plan", p.Group),
				"failback apply shows what differs, and changes what can be changed while it is protected. Or use the plan it was protected with, or give this one another name; to protect it by this plan, unprotect it with --keep-journal first: its points stay where the disks are the same")
		} else {
			f.find(replication.Info, preflight.CodeGroupExists, string(p.Group), fmt.Sprintf("group %s is protected by this plan already", p.Group), "none needed: reprotect carries on")
		}
	}
	usable := f.volume(ctx)
	unnamed := f.refused("", plan.CodeName, plan.CodeDuplicate, plan.CodeNoDisks, plan.CodeTooMany)
	f.sources(ctx, unnamed)
	if f.known != nil || unnamed {
		return f
	}
	if usable {
		f.journal()
	}
	f.targets(ctx)
	f.journalSpace()
	f.surroundings()
	return f
}

// sources has the process server look at its disks, and judges both. With unnamed it is not asked: the disks have no names that tell them apart.
func (f *looking) sources(ctx context.Context, unnamed bool) {
	patience := connectPatience
	if time.Since(f.engine.began) > time.Minute { // who wants to be here is
		patience = 3 * time.Second
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if f.refused("process_server", plan.CodeName) {
		return
	}
	facts := preflight.Worker{Name: f.plan.ProcessServer}
	w, err := f.engine.waitWorker(wait, f.plan.ProcessServer)
	if err != nil {
		facts.Seen, facts.Since = f.engine.wasSeen(f.plan.ProcessServer)
		facts.Refused, facts.Came = f.engine.wasTurnedAway(f.plan.ProcessServer)
		f.add(preflight.JudgeWorker(facts))
		return
	}
	f.worker = w
	facts.Connected, facts.Since, facts.Figures = true, w.since, w.figures()
	facts.Skew, _ = w.skew()
	facts.Ours, facts.Theirs = link.Ours(f.engine.cfg.Version), link.Version{Major: link.ProtocolMajor, Minor: w.Minor, Program: w.Version}
	var all []preflight.Source
	if !unnamed {
		spec := specOf(f.plan, nil, replication.Session{Group: f.plan.Group})
		spec.Quiesce = f.plan.Quiesced()
		survey, err := w.Probe(ctx, spec)
		if err != nil {
			p := replication.AsProblem(err)
			f.find(replication.Error, preflight.CodeUnseen, w.Name, fmt.Sprintf("process server %s did not say what it sees of its sources: %v", w.Name, p), p.Remedy)
		}
		facts.Dir = survey.Dir
		all = f.surveyed(survey)
		f.add(preflight.JudgeQuiesce(string(f.plan.Group), len(spec.Quiesce), f.plan.Unquiesced(), survey.Quiesce, all))
	}
	if f.known == nil || f.there > 0 {
		for _, d := range f.plan.Disks()[f.there:] {
			if d.Changes == "" { // else its changes are told, and not found by tables
				facts.Disks, facts.Data = facts.Disks+f.sizes[d.No], facts.Data+f.data[d.No]
			}
		}
	}
	f.add(preflight.JudgeWorker(facts))
	f.add(preflight.JudgeSources(f.plan.OS, all))
}

// surveyed takes what was found of the sources, and returns what is to be judged of it.
func (f *looking) surveyed(survey link.Survey) (all []preflight.Source) {
	disks := f.plan.Disks()
	for _, p := range survey.Disks {
		if int(p.Disk) >= len(disks) || f.refused(string(disks[p.Disk].Name), plan.CodeSource, plan.CodeSameSource) {
			continue
		}
		s := preflight.Source{GroupDisk: disks[p.Disk], Problem: p.Problem, Size: p.Size, View: p.View, OS: p.OS, Mark: p.Mark}
		if f.known != nil { // it goes on, whatever it looks like
			s.OS = ""
		}
		f.places[p.Disk] = p.Place
		if s.Usable() {
			f.sizes[p.Disk], f.data[p.Disk] = p.Size, p.Data
		}
		all = append(all, s)
	}
	return all
}

// journal looks at what is in the group's place on the retention volume.
func (f *looking) journal() {
	dir := f.engine.journalDir(f.plan.Group)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return
	}
	j, err := retention.OpenAs(dir, f.plan.Group, f.engine.self.ID)
	if errors.Is(err, retention.ErrOwned) {
		f.find(replication.Error, preflight.CodeTakenOver, dir, replication.AsProblem(journalProblem(f.plan.Group, err)).Error(), "when that one is off or gone, take the group over with failback adopt "+dir)
		return
	}
	if err != nil {
		f.problem(dir, journalProblem(f.plan.Group, err))
		return
	}
	defer j.Close()
	if at := j.Cutover(); at != nil {
		f.find(replication.Error, replication.CodeCommitted, dir, fmt.Sprintf("%s holds the journal of a group %s whose cutover is %s, at point %d", dir, f.plan.Group, at.Step, at.Point),
			"take the group over as it stands with failback adopt "+dir+", then undo or finish it; or, if its points are not needed any more, move the directory away")
		return
	}
	id := j.Identity()
	f.renumber(id.Disks)
	same := len(id.Disks) == len(f.plan.Disks())
	for i, d := range f.plan.Disks() {
		same = same && id.Disks[i].ID == d.Name && id.Targets[i] == d.Target && (f.sizes[i] == 0 || id.Disks[i].Size == f.sizes[i])
	}
	if !same {
		f.find(replication.Error, preflight.CodeJournal, dir, fmt.Sprintf("%s holds the journal of a group %s with other disks", dir, f.plan.Group),
			"move the directory away if its points are not needed any more, or use the plan that it was made with")
		return
	}
	if keeps := id.KeepOriginal; f.plan.KeepOriginal && !keeps {
		f.find(replication.Error, preflight.CodeOriginal, dir, fmt.Sprintf("the journal at %s was begun without keep_original: what the disks held before is not there any more", dir),
			"leave keep_original out; or move the directory away, and begin anew with the disks as they are")
		return
	} else if keeps && !f.plan.KeepOriginal {
		f.find(replication.Info, preflight.CodeOriginal, dir, fmt.Sprintf("the journal at %s was begun with keep_original: its point 0 stays", dir), "none needed; to give it up, unpin point 0: policy drops it then")
	}
	f.adopt = true
	f.find(replication.Info, preflight.CodeJournal, dir, fmt.Sprintf("%s holds this group's journal with %d points: they stay", dir, len(j.Points())), "none needed")
}
