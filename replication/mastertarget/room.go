package mastertarget

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"failback/replication"
	"failback/retention"
	"failback/retention/policy"
)

// followShare bounds what a move that nobody asked for may cost: it may take the journal beyond its hard limit by a quarter, for which history then gives way in I11's order. What would cost more
// waits for the operator's word, and says so. Where replication is held back for want of space, disks that don't follow make that worse with nothing to gain: then it may be as much again as the limit, as long as the volume has it.
const (
	followShare     = 4
	followShareFull = 1
)

// followMay returns which of the two counts now.
func (g *group) followMay() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.full != "" {
		return followShareFull
	}
	return followShare
}

// leastRoom is what rewriting a file must give back to be worth it before a move.
const leastRoom = 4096

// room is what a move takes, and what could be given up for it.
type room struct {
	plan  replication.MovePlan
	files []retention.FileUse // empty: nothing is lacking
	saved map[string]int64    // by file: what the move would have to save if the file's spares went
}

// reckon tells what a move takes, before anything is changed. beyond is the share of its hard limit that the journal may come to exceed; 0: none.
func (g *group) reckon(ctx context.Context, to replication.PointID, beyond int64) (r room, err error) {
	e, err := g.journal.EstimateMove(ctx, to)
	if err != nil {
		return r, err
	}
	free, reserve, bound, err := g.spaceFor(beyond)
	if err != nil {
		return r, err
	}
	now := time.Now()
	has := policy.Reclaimable{Bound: bound}
	v := policy.MoveSpace(e.Save, free, reserve, has, now)
	if !v.Free() {
		use, err := g.journal.Use(ctx, nil)
		if err != nil {
			return r, err
		}
		r.files, r.saved = use.Files, map[string]int64{}
		for name, n := range e.Spares {
			r.saved[filepath.ToSlash(name)] = n + n/32
		}
		for i := range r.files {
			f := &r.files[i]
			has.Dead += f.Dead
			has.Spare += r.gain(f)
		}
		has.Points = g.policyPoints(use.Frees)
		for i := range has.Points {
			if p := &has.Points[i]; p.ID == e.From || p.ID == to {
				p.Use = policy.Move
			}
		}
		v = policy.MoveSpace(e.Save, free, reserve, has, now)
	}
	r.plan = replication.MovePlan{
		From: e.From, To: to, Write: e.Write, Save: e.Save, Need: v.Need, Free: max(free, 0), Fits: v.Fits, Compact: v.Compact, Spares: v.Spares, GiveUp: append([]replication.PointID{}, v.Points...),
		Lacks: v.Lacks, Pinned: append([]replication.PointID{}, v.Forbids...), InUse: append([]replication.PointID{}, v.InUse...), Why: v.Why, Takes: g.pace.moves.takes(e.Write), Unborn: leftAlone(g.journal, to),
	}
	return r, nil
}

// gain is what dropping a file's spares gives, less what the move would then have to save.
func (r *room) gain(f *retention.FileUse) int64 { return max(f.Spare-r.saved[f.Name], 0) }

// spaceFor tells how much may be taken for a move, how much of that is to be left, and what bounds it other than what is free.
func (g *group) spaceFor(beyond int64) (free, reserve int64, bound string, err error) {
	v, err := g.engine.volume()
	if err != nil {
		return 0, 0, "", err
	}
	used, err := directorySize(g.engine.journalDir(g.id))
	if err != nil {
		return 0, 0, "", err
	}
	limits := g.limitsOn(v)
	reserve = max(limits.Reserve.Of(v.Total), v.Limits.Reserve.Of(v.Total), retention.MoveReserve)
	free = v.Free
	if hard := limits.Hard.Of(v.Total); hard > 0 {
		may := hard
		if beyond > 0 {
			may += hard / beyond
		}
		if left := may - used; left+reserve < free { // then the reserve is not in danger
			free, reserve, bound = left, 0, fmt.Sprintf("the journal's hard limit of %s", limits.Hard)
		}
	}
	return free, reserve, bound, nil
}

// makeRoom sees that what a move saves fits, and gives up no more for it than it takes: dead bytes, then spares, then the points that the request allows; nil: none. Where that is not enough it is
// refused, before a point was given up.
func (g *group) makeRoom(ctx context.Context, r *replication.MoveRequest, beyond int64) error {
	last, _ := g.journal.Last()
	to := last.ID
	if r != nil {
		to = r.To
	} else {
		r = &replication.MoveRequest{To: to, Advance: true}
	}
	if m := g.journal.Unfinished(); m != nil { // what it takes was saved, and what comes after it is reckoned when it is done
		return nil
	}
	free, reserve, _, err := g.spaceFor(beyond)
	if err != nil {
		return err
	}
	if most := g.journal.BoundMove(to); most+most/32+reserve <= free {
		return nil
	}
	defer g.tellMove(nil)
	for steps, vain := 0, 0; ; steps++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		x, err := g.reckon(ctx, to, beyond)
		if err != nil {
			return journalProblem(g.id, err)
		}
		p := &x.plan
		if p.Fits && !p.Compact && !p.Spares && len(p.GiveUp) == 0 {
			return nil
		}
		if !p.Fits || !r.Allows(p.GiveUp) {
			return g.noRoom(p, r)
		}
		g.tellMove(&replication.MoveStatus{From: p.From, To: to, Phase: phaseRoom, Done: min(p.Free, p.Need), Total: p.Need})
		err = g.giveWay(ctx, &x)
		switch {
		case changedMeanwhile(err) && vain < maxRoomSteps: // another look will tell
			vain++
		case err != nil:
			return journalProblem(g.id, err)
		case steps >= 2*maxRoomSteps+4*len(x.files)+len(p.GiveUp):
			return &replication.Problem{Code: replication.CodeMoveSpace, Message: "there is still no space for the move, although what can be given up was: " + p.Why, Remedy: "make the retention volume larger, or try again"}
		}
	}
}

// maxRoomSteps is how often making room may come to nothing.
const maxRoomSteps = 8

// giveWay does the next thing that makes room.
func (g *group) giveWay(ctx context.Context, x *room) error {
	name, opt, why := "", retention.RewriteOptions{}, "removing what no point needs"
	if len(x.files) == 0 {
		return fmt.Errorf("%w: the journal has no files", retention.ErrInUse)
	}
	best := slices.MaxFunc(x.files, func(a, b retention.FileUse) int { return cmp.Compare(a.Dead, b.Dead) })
	if best.Dead >= leastRoom {
		name = best.Name
	} else {
		best = slices.MaxFunc(x.files, func(a, b retention.FileUse) int { return cmp.Compare(x.gain(&a), x.gain(&b)) })
		if x.gain(&best) >= leastRoom {
			name, opt.Spares, why = best.Name, retention.DropSpares, "dropping spare copies"
		}
	}
	switch {
	case name != "":
		freed, err := g.journal.Rewrite(ctx, []string{name}, opt)
		if err == nil {
			g.log.Info("journal rewritten", "why", why+" to make room for a move", "freed", freed)
		}
		return err
	case len(x.plan.GiveUp) > 0:
		id := x.plan.GiveUp[0]
		if err := g.drop([]replication.PointID{id}, fmt.Sprintf("given up for the move to point %d", x.plan.To)); err != nil {
			return err
		}
		g.log.Warn("point given up", "point", id, "why", x.plan.Why)
		g.happened(replication.EventDropped, replication.Warned, id, "point %d was given up: %s", id, x.plan.Why)
		return nil
	}
	return fmt.Errorf("%w: nothing is left that gives enough", retention.ErrInUse)
}

// noRoom says what a move takes that there is not, and what to do.
func (g *group) noRoom(p *replication.MovePlan, r *replication.MoveRequest) error {
	verb := fmt.Sprintf("rewind %s %d", g.id, p.To)
	if r.Advance {
		verb = fmt.Sprintf("advance %s %d", g.id, p.To)
	}
	what := fmt.Sprintf("the move of group %s from point %d to point %d does not fit: %s", g.id, p.From, p.To, p.Why)
	if p.Fits {
		return &replication.Problem{Code: replication.CodeMoveGivesUp, Message: strings.Replace(what, "does not fit", "costs history", 1) + "; nothing was changed",
			Remedy: fmt.Sprintf("`failback %s --give-up-history` gives these points up; or make the retention volume larger", verb)}
	}
	var pins []replication.Pin
	for _, pin := range pinsOf(g.journal.Points(), time.Now()) {
		if slices.Contains(p.Pinned, pin.Point) {
			pins = append(pins, pin)
		}
	}
	remedy := "make the retention volume larger"
	if unpin := unpinRemedy(g.id, pins); unpin != "" {
		remedy += "; or " + unpin
	}
	if len(p.InUse) > 0 {
		remedy += fmt.Sprintf("; or end the drills and exports that `failback status %s` shows", g.id)
	}
	return &replication.Problem{Code: replication.CodeMoveSpace, Message: what + "; nothing was changed", Remedy: remedy + fmt.Sprintf("; then `failback %s` again", verb)}
}
