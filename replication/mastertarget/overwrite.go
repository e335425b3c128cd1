package mastertarget

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/plan"
	"failback/retention"
)

// Where others have written to a disk, what they wrote is newer than all that the group knows, and what it knows of the disk's content is not true any more, at any point. Then only an operator, who was told so, can have it written over: the
// journal is ended and another one begun, and its first cycle compares the disks as they stand.
//
// His word is about what he was told, and nothing else (I8). All targets are looked at, under their locks; what they looked like makes the token of the question, which comes back with his word, and stands in the catalogue with it. Before the
// journal goes they are looked at again: where one is another, the word is void, and the journal stays; where one can't be had, it stays until it can. The new journal begins with what was seen as what its disks have to be, so that whoever
// opens it refuses a disk that was written to since.

// seen is what a target looked like.
type seen struct {
	ContentID   uint32 `json:"content_id"`  // 0: its format has none
	Fingerprint string `json:"fingerprint"` // "": its format has none
}

// renewal is a journal that another one takes the place of.
type renewal struct {
	Journal    string                 `json:"journal"`    // its name: Identity.UUID
	Disks      []replication.Disk     `json:"disks"`      // as it has them
	Generation replication.Generation `json:"generation"` // that it had: the new one rises above it (I7)
	Seen       []seen                 `json:"seen"`       // by disk: what the operator was told of, and nothing else is written over
}

// overwrite has a group begin anew whose disks others have written to, where the operator was told what that means.
func (e *Engine) overwrite(ctx context.Context, r replication.ResyncRequest) (s replication.ResyncStatus, err error) {
	defer e.administer(r.Group)()
	g, err := e.group(r.Group)
	if err != nil {
		return s, err
	}
	if err := e.drillsRunning(g.id); err != nil {
		return s, err
	}
	if err := e.volumeProblem(ctx); err != nil {
		return s, err
	}
	if err := g.silentTargets(); err != nil {
		return s, err
	}
	e.closed(g) // it would have the targets open, again and again
	defer e.reopenLocked(g)
	if g.journal != nil {
		return s, goesOn(g.id)
	}
	var asked *overwriting
	e.apart(func() { asked, err = g.wouldOverwrite(ctx) })
	if err != nil {
		return s, err
	}
	if !r.Overwrite || r.Seen != asked.token {
		return s, asked.question(r.Overwrite && r.Seen != "")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	record := g.record
	record.Renew = &asked.renewal
	if err := e.cat.put(bucketGroups, g.id, record); err != nil {
		return s, err
	}
	g.record = record
	why := strings.Join(asked.changed, "; ")
	g.log.Warn("points are given up for a resync", "points", len(asked.points), "why", why)
	g.happened(replication.EventPlan, replication.Warned, 0, "an operator gives %d points up, and has the disks overwritten: %s", len(asked.points), why)
	return replication.ResyncStatus{Why: why, Since: time.Now()}, nil
}

func goesOn(id replication.GroupID) error {
	return &replication.Problem{Code: "resync", Message: fmt.Sprintf("group %s goes on: its disks are as it left them", id), Remedy: "ask again, if a resync is wanted nevertheless"}
}

// silentTargets says which targets can't be looked at, as their datastore does not answer; nil: all can.
func (g *group) silentTargets() error {
	for _, d := range g.plan.Disks() {
		if !g.engine.volumes.Answers(filepath.Dir(d.Target)) {
			return &replication.Problem{Code: "target", Message: fmt.Sprintf("disk %s: the datastore of target %s does not answer: it can't be told what a resync would overwrite", d.Name, d.Target), Remedy: "see to the datastore, and ask again"}
		}
	}
	return nil
}

// overwriting is what an operator is asked.
type overwriting struct {
	renewal
	group   replication.GroupID
	points  []replication.Point
	changed []string // what of the disks is not as it was left, in words
	token   string   // of all of it
}

// wouldOverwrite looks at all that a resync would lose; the group is closed. An error says why it could not begin, or may not.
func (g *group) wouldOverwrite(ctx context.Context) (*overwriting, error) {
	i, err := retention.Inspect(g.engine.journalDir(g.id))
	if err != nil {
		return nil, journalProblem(g.id, err)
	}
	defer i.Close()
	if at := i.Cutover(); at != nil {
		return nil, underWay(g.id, at)
	}
	if p := g.engine.originalLost(g); p != nil {
		return nil, &replication.Problem{Code: replication.CodeOriginalLost, Message: fmt.Sprintf("%v. A resync would give that up", p),
			Remedy: fmt.Sprintf("keep the journal: `failback unprotect %s --keep-journal`; or give up what the disks were: --give-up-original. Then protect the group anew: `failback reprotect PLAN` compares the disks with their sources", g.id)}
	}
	if err := removable(g.engine.journalDir(g.id), g.id); err != nil {
		return nil, err
	}
	id := i.Identity()
	o := &overwriting{renewal: renewal{Journal: id.UUID, Disks: id.Disks, Generation: i.Generation()}, group: g.id, points: i.Points()}
	l, err := g.lookAtTargets(ctx, id.Disks, i.ContentIDs())
	if err != nil {
		return nil, fmt.Errorf("a resync can't begin, and nothing is given up: %w", err)
	}
	defer l.close(g)
	o.Seen = l.seen
	known, prints := i.ContentIDs(), i.Fingerprints()
	for k, d := range g.plan.Disks() {
		err := sameContent(l.targets[k], known[k])
		if err == nil && k < len(prints) {
			err = sameFingerprint(ctx, prints[k], l.targets[k])
		}
		switch {
		case err == nil:
		case replication.AsProblem(err).Code == codeTargetChanged:
			o.changed = append(o.changed, fmt.Sprintf("disk %s: %v", d.Name, err))
		default:
			return nil, fmt.Errorf("a resync can't begin, and nothing is given up: disk %s: %w", d.Name, err)
		}
	}
	if len(o.changed) == 0 {
		return nil, goesOn(g.id)
	}
	o.token = o.tokenOf(g.plan.Disks())
	return o, nil
}

// tokenOf names what was seen: the disks where they lie, as they are, and the points. The generation is left out: it rises with each attempt to open the group.
func (o *overwriting) tokenOf(disks []plan.GroupDisk) string {
	h := sha256.New()
	e := json.NewEncoder(h) // to a hash it does not fail, nor do these
	_ = e.Encode([]any{o.Journal, o.Disks, o.Seen})
	for _, d := range disks {
		_ = e.Encode([]string{string(d.Name), d.Target})
	}
	for _, p := range o.points {
		_ = e.Encode(p.ID)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// question is what the operator is asked. again: he has answered another one.
func (o *overwriting) question(again bool) error {
	lost := fmt.Sprintf("its %d points", len(o.points))
	if n := len(pinsOf(o.points, time.Now())); n > 0 {
		lost += fmt.Sprintf(" (%d of them pinned)", n)
	}
	if slices.ContainsFunc(o.points, func(p replication.Point) bool { return p.ID == replication.OriginalPoint }) {
		lost += ", with the disks as they were before the first cycle,"
	}
	since := ""
	if again {
		since = "what is there is not what you were asked about, and nothing was overwritten: "
	}
	return &replication.ResyncOverwrites{Seen: o.token, Problem: &replication.Problem{Code: replication.CodeResyncOverwrites,
		Message: fmt.Sprintf("%s%s. What was written there is newer than all that group %s knows. A resync overwrites it with what the source has now, and %s are given up, as part of their content was on those disks", since, strings.Join(o.changed, "; "), o.group, lost),
		Remedy:  fmt.Sprintf("copy the targets first if what is on them may be needed, and leave the machine off; `failback resync %s --yes` does it, as long as nothing else is written to them. With keep_original in the plan, what is overwritten is kept, as point 0 of the points to come", o.group)}}
}

// hold notes in a new journal what its disks have to be.
func (r *renewal) hold(j *retention.Journal) error {
	ids, prints := make([]uint32, len(r.Seen)), make([]string, len(r.Seen))
	for i, s := range r.Seen {
		ids[i], prints[i] = s.ContentID, s.Fingerprint
	}
	if err := j.RecordContentIDs(ids); err != nil {
		return err
	}
	return j.RecordFingerprints(prints)
}

// begun says whether a journal is the new one, which may not know yet what its disks have to be: nothing was opened with it, which would have raised its generation further.
func (r *renewal) begun(j *retention.Journal) bool {
	return r != nil && j.Identity().UUID != r.Journal && j.Generation() <= r.Generation+1 && len(j.Points()) == 0 && j.OpenCycle() == nil && len(r.Seen) > 0
}

// looks is what targets look like; they are open, and nothing was written to them.
type looks struct {
	targets []blockio.Target
	seen    []seen
}

func (l *looks) close(g *group) {
	if err := closeAll(l.targets); err != nil {
		g.log.Warn("close targets", "err", err)
	}
}

// lookAtTargets opens all targets, whatever they hold, and looks at them. An error tells of all that can't be had.
func (g *group) lookAtTargets(ctx context.Context, sizes []replication.Disk, ours [][]uint32) (*looks, error) {
	disks := g.plan.Disks()
	if len(disks) != len(sizes) || len(ours) != len(sizes) {
		return nil, &replication.Problem{Code: "resync", Message: fmt.Sprintf("the plan of group %s has %d disks, its journal %d", g.id, len(disks), len(sizes)),
			Remedy: protectAnew(g.id)}
	}
	l := &looks{}
	var refused []string
	var first *replication.Problem
	for i, d := range disks {
		t, err := openSized(d.Target, sizes[i], ours[i])
		if err == nil {
			t = g.wrapped(d.Target, t)
			l.targets = append(l.targets, t)
			var f blockio.Fingerprint
			if f, err = t.Fingerprint(ctx); err != nil {
				err = targetProblem(d.Target, err)
			}
			l.seen = append(l.seen, seen{t.Description().ContentID, string(f)})
		}
		if err != nil {
			if first == nil {
				first = replication.AsProblem(err)
			}
			refused = append(refused, fmt.Sprintf("disk %s: %v", d.Name, err))
		}
	}
	if first != nil {
		l.close(g)
		remedy := first.Remedy
		if first.Code == codeTargetSize { // it may be a disk that was about to grow: no journal of these sizes fits it
			remedy += "; or " + protectAnew(g.id)
		}
		return nil, &replication.Problem{Code: first.Code, Message: strings.Join(refused, "; "), Remedy: remedy}
	}
	return l, nil
}

func protectAnew(id replication.GroupID) string {
	return fmt.Sprintf("protect the group anew: failback unprotect %s, then failback reprotect PLAN, which compares the disks with their sources", id)
}

// removable says what keeps a journal's directory from being removed whole: files that are not the journal's. nil: nothing.
func removable(dir string, id replication.GroupID) error {
	foreign, err := retention.Foreign(dir)
	if err != nil {
		return journalProblem(id, err)
	}
	if len(foreign) == 0 {
		return nil
	}
	return &replication.Problem{Code: "journal", Message: fmt.Sprintf("a resync can't begin, and nothing is given up: there are files in the journal's directory %s that are not the journal's: %q", dir, foreign), Remedy: "move them away"}
}

// renew puts a new journal in the place of one that an operator has given up. A crash leaves one of: the old one, part of it or nothing, the new one.
func (g *group) renew() error {
	g.mu.Lock()
	r := g.record.Renew
	g.mu.Unlock()
	if r == nil {
		return nil
	}
	dir := g.engine.journalDir(g.id)
	j, err := retention.OpenAs(dir, g.id, g.engine.self.ID)
	switch {
	case err == nil && j.Identity().UUID == r.Journal:
		known := j.ContentIDs()
		if err := j.Close(); err != nil {
			return journalProblem(g.id, err)
		}
		l, err := g.stillSeen(r, known)
		if err != nil || l == nil {
			return err
		}
		defer l.close(g) // nobody writes to them meanwhile
		if err := removable(dir, g.id); err != nil {
			return err
		}
		if j, err = g.replace(dir, r); err != nil {
			return err
		}
	case errors.Is(err, retention.ErrNotJournal) || errors.Is(err, fs.ErrNotExist): // its removal had begun
		if j, err = g.replace(dir, r); err != nil {
			return err
		}
	case err != nil:
		return journalProblem(g.id, err)
	}
	return g.renewed(j, r)
}

// stillSeen looks at the targets again, before the journal goes, and returns them open. nil: they are not what the operator was told of; his word is void, and the group goes on with the journal that it has.
func (g *group) stillSeen(r *renewal, known [][]uint32) (*looks, error) {
	var l *looks
	if len(r.Seen) == len(r.Disks) { // else an earlier release noted it
		var err error
		if l, err = g.lookAtTargets(g.ctx, r.Disks, known); err != nil {
			return nil, fmt.Errorf("the resync that an operator asked for can't begin, and nothing is given up yet: %w", err)
		}
		if slices.Equal(l.seen, r.Seen) {
			return l, nil
		}
		l.close(g)
	}
	if err := g.changeRecord(func(r *groupRecord) { r.Renew = nil }); err != nil {
		return nil, err
	}
	g.log.Warn("the resync does not begin: the disks are not what the operator was told of")
	g.happened(replication.EventPlan, replication.Warned, 0, "the resync does not begin, and nothing was overwritten: since an operator asked for it, the disks were written to again; `failback resync %s` asks anew", g.id)
	return nil, nil
}

// replace removes the journal, or what is left of it, and makes another one.
func (g *group) replace(dir string, r *renewal) (*retention.Journal, error) {
	if len(r.Seen) != len(r.Disks) {
		return nil, &replication.Problem{Code: "resync", Message: fmt.Sprintf("group %s: its journal was given up, and it is not noted what the disks were then", g.id),
			Remedy: protectAnew(g.id)}
	}
	if err := retention.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, retention.ErrNotJournal) {
		return nil, journalProblem(g.id, err)
	}
	id := retention.Identity{Group: g.id, Created: time.Now().UTC(), KeepOriginal: g.plan.KeepOriginal, Disks: r.Disks}
	for _, d := range g.plan.Disks() {
		id.Targets = append(id.Targets, d.Target)
	}
	j, err := retention.Create(dir, id)
	if errors.Is(err, fs.ErrExist) {
		return nil, &replication.Problem{Code: "journal", Message: fmt.Sprintf("the journal of group %s is begun anew", g.id), Err: err, Remedy: "move what is there, and is not the journal's, away: the group goes on by itself then"}
	}
	if err != nil {
		return nil, journalProblem(g.id, err)
	}
	return j, nil
}

// renewed notes in the new journal what the old one knew of its generation, and what the disks have to be, and closes it. Only then is the old one done with. A crash on the way is followed by the same again.
func (g *group) renewed(j *retention.Journal, r *renewal) (err error) {
	if j.Generation() <= r.Generation {
		_, err = j.TakeOver(g.engine.self, r.Generation)
	}
	if err == nil && len(r.Seen) > 0 {
		err = r.hold(j)
	}
	if err = errors.Join(err, j.Close()); err != nil {
		return journalProblem(g.id, err)
	}
	g.tried = trial{}
	return g.changeRecord(func(r *groupRecord) { r.Renew, r.Held, r.Move, r.Resync = nil, false, nil, false })
}
