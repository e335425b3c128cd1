package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"failback/replication"
	"failback/replication/plan"
	"failback/retention"
	"failback/retention/policy"
)

// upkeep keeps a group's journal in order: it drops the points that the grid does not keep, rewrites files that are half dead, and gives up spares and history when space runs out; what is to be
// done, package policy decides. When nothing can be given up any more, replication is held back.
type upkeep struct {
	g  *group
	mu sync.Mutex // guards what follows

	pressure policy.Pressure

	use   retention.Use
	seen  uint64        // Journal.Changes when use was taken
	taken time.Time     // likewise
	cost  time.Duration // what it took
}

const (
	upkeepEvery = 2 * time.Second // between looks at the space
	useShare    = 20              // the indexes are read for a 20th of the time, at most
	useEvery    = 5 * time.Second

	// rewriteRate is how many bytes of the disks are rewritten a second while there is space.
	rewriteRate = 64 << 20
	// sharedReserve bounds what is left free of a volume that is not for retention alone.
	sharedReserve = 1 << 30
)

// keepUp runs until the group ends.
func (g *group) keepUp() {
	k, told := g.upkeep, "" // told: the error that was logged last
	for {
		for {
			more, err := k.once(g.ctx)
			if g.ctx.Err() != nil {
				return
			}
			switch {
			case changedMeanwhile(err): // another look will tell
			case err != nil:
				g.mend(err)
				g.journal.Suspect(err)
				if text := err.Error(); text != told {
					g.log.Warn("upkeep of the journal failed", "err", err)
					told = text
				}
				g.notice("upkeep", "the journal can't be kept in order: "+err.Error())
			default:
				told = ""
				g.notice("upkeep", "")
			}
			if !more || err != nil {
				break
			}
		}
		select {
		case <-time.After(upkeepEvery):
		case <-g.ctx.Done():
			return
		}
	}
}

// changedMeanwhile says whether something could not be done to the journal as it is not any more as it was looked at: the disks moved, a point came into use or went, or a file was rewritten.
func changedMeanwhile(err error) bool {
	return errors.Is(err, retention.ErrInUse) || errors.Is(err, retention.ErrNoFile) || errors.Is(err, retention.ErrNoPoint)
}

// once does what is to be done next, and says whether there may be more.
func (k *upkeep) once(ctx context.Context) (more bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.onceLocked(ctx)
}

func (k *upkeep) onceLocked(ctx context.Context) (more bool, err error) {
	now, g := time.Now(), k.g
	if err := g.journal.StillOurs(); err != nil { // a group at rest is to find out, too
		return false, err
	}
	grid := g.plan.Policy.Grid()
	if ended, err := g.journal.LetGo(now); err != nil {
		return false, err
	} else if len(ended) > 0 {
		g.log.Info("pins ended", "points", ended)
	}
	points := g.policyPoints(nil)
	if ids := policy.Drop(points, now, grid); len(ids) > 0 {
		if err := g.drop(ids, "the grid does not keep them"); err != nil {
			return false, err
		}
		g.log.Info("points dropped", "points", ids)
		return true, nil
	}
	if err := k.look(ctx, points, now); err != nil {
		return false, err
	}
	s, err := k.space(points)
	if err != nil {
		return false, err
	}
	a, p := policy.Next(s, now, k.pressure)
	if (a.Do == policy.Give || a.Do == policy.Hold) && k.seen != g.journal.Changes() { // not by what was there some time ago
		k.seen = 0
		return true, nil
	}
	k.pressure = p
	k.tell(s, a, now)
	if err := k.do(ctx, a); err != nil {
		return false, err
	}
	if a.Do != policy.Nothing {
		return true, nil
	}
	return false, g.journal.Shorten()
}

// do does one thing.
func (k *upkeep) do(ctx context.Context, a policy.Action) error {
	g := k.g
	switch a.Do {
	case policy.Rewrite, policy.Evict:
		opt := retention.RewriteOptions{Pace: k.pace()}
		switch {
		case a.Do == policy.Evict && a.Cold:
			opt.Spares = retention.DropCold
		case a.Do == policy.Evict:
			opt.Spares = retention.DropSpares
		}
		freed, err := g.journal.Rewrite(ctx, []string{a.File}, opt)
		if errors.Is(err, retention.ErrNoFile) { // a move that makes room has rewritten it since
			k.seen = 0
			return nil
		}
		if err != nil {
			return err
		}
		g.log.Info("journal rewritten", "why", a.Why, "freed", freed)
		k.seen = 0 // look again
	case policy.Give:
		if err := g.drop([]replication.PointID{a.Point}, a.Why); err != nil {
			return err
		}
		g.log.Warn("point given up", "point", a.Point, "why", a.Why)
		g.happened(replication.EventDropped, replication.Warned, a.Point, "point %d was given up: %s", a.Point, a.Why)
		k.seen = 0
	case policy.Hold:
		g.log.Warn("replication held back", "why", a.Why)
		g.holdBack(a.Why)
	case policy.Release:
		g.log.Info("replication goes on", "why", a.Why)
		g.holdBack("")
	case policy.Nothing:
		if held := g.heldBack(); held != nil && a.Why != "" && a.Why != held.Message { // what forbids more is not what it was: a pin came or went
			g.holdBack(a.Why)
		}
	}
	switch a.Do {
	case policy.Hold, policy.Release, policy.Nothing:
		g.mu.Lock()
		g.fullKnown = true
		g.mu.Unlock()
	}
	return nil
}

// look reads the indexes, when something changed, and not all the time.
func (k *upkeep) look(ctx context.Context, points []policy.Point, now time.Time) error {
	changes := k.g.journal.Changes()
	urgent := k.seen == 0 || k.pressure.Hard || k.pressure.Held
	if changes == k.seen || !urgent && now.Sub(k.taken) < max(useEvery, useShare*k.cost) {
		return nil
	}
	var keep []replication.PointID
	for i, p := range points {
		if p.Use != "" || p.Pinned && (p.Until.IsZero() || now.Before(p.Until)) || i == len(points)-1 {
			keep = append(keep, p.ID)
		}
	}
	use, err := k.g.journal.Use(ctx, keep)
	if err != nil {
		return err
	}
	k.use, k.seen, k.taken, k.cost = use, changes, now, time.Since(now)
	return nil
}

// space tells policy how things stand.
func (k *upkeep) space(points []policy.Point) (policy.Space, error) {
	g := k.g
	volume, err := g.engine.volume()
	if err != nil {
		return policy.Space{}, err
	}
	s := policy.Space{Points: points, Grid: g.plan.Policy.Grid(), Yield: k.use.Yield}
	for i := range points {
		points[i].Frees = -1
		if n, ok := k.use.Frees[points[i].ID]; ok {
			points[i].Frees = n
		}
	}
	var named int64
	for _, f := range k.use.Files {
		s.Files = append(s.Files, policy.File{Name: f.Name, Bytes: f.Size, Dead: f.Dead, Spare: f.Spare, Cold: f.Cold})
		named += f.Size
	}
	all, err := directorySize(g.engine.journalDir(g.id))
	if err != nil {
		return s, err
	}
	s.Other = max(all-named, 0)
	g.journalSize.Store(all)
	volume.Journals, volume.Groups = g.engine.journals()
	s.Volume, s.Limits = volume, g.limitsOn(volume)
	return s, nil
}

// limitsOn returns the group's limits on the retention volume.
func (g *group) limitsOn(v policy.Volume) policy.Limits { return limitsOn(g.plan, v) }

func limitsOn(p *plan.Plan, v policy.Volume) policy.Limits {
	l := p.Retention
	if v.Limits.Reserve != policy.DefaultLimits().Reserve && l.Reserve == policy.DefaultLimits().Reserve { // a shared volume's is bounded
		l.Reserve = v.Limits.Reserve
	}
	return l
}

// tell puts into status what the space is like.
func (k *upkeep) tell(s policy.Space, a policy.Action, now time.Time) {
	var used int64 = s.Other
	for _, f := range s.Files {
		used += f.Bytes
	}
	limit := s.Limits.Hard.Of(s.Volume.Total)
	if room := used + s.Volume.Free; limit == 0 || limit > room {
		limit = room
	}
	r := policy.Forecast(s.Points, s.Grid, used, limit, now)
	t := &replication.SpaceStatus{
		Used: used, Limit: limit, Free: s.Volume.Free, Total: s.Volume.Total, Points: len(s.Points), Runway: r.String(), Covers: r.Covers, Full: r.Full,
	}
	for _, f := range s.Files {
		t.Dead, t.Spare = t.Dead+f.Dead, t.Spare+f.Spare
	}
	if a.Do != policy.Nothing {
		t.Doing = a.Why
	}
	k.g.mu.Lock()
	k.g.space = t
	k.g.mu.Unlock()
}

// pace bounds the rate of rewriting, unless space is needed.
func (k *upkeep) pace() func(context.Context, int) error {
	if k.pressure.Hard || k.pressure.Held {
		return nil
	}
	start, done := time.Now(), int64(0)
	return func(ctx context.Context, n int) error {
		done += int64(n)
		ahead := time.Duration(float64(done)/rewriteRate*float64(time.Second)) - time.Since(start)
		if ahead < 10*time.Millisecond {
			return nil
		}
		select {
		case <-time.After(ahead):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// drop takes points off the list, unless a drill shows one of them, which may have begun since policy was asked.
func (g *group) drop(ids []replication.PointID, why string) error {
	return g.whileDrills(func(inUse func(replication.PointID) bool) error {
		for _, id := range ids {
			if inUse(id) {
				return fmt.Errorf("%w: a drill shows point %d", retention.ErrInUse, id)
			}
		}
		for p := range ofCutover(g.journal.Cutover()) {
			if slices.Contains(ids, p) {
				return fmt.Errorf("%w: the commit under way needs point %d", retention.ErrInUse, p)
			}
		}
		return g.journal.DropPoints(ids, why)
	})
}

// policyPoints returns the listed points as policy sees them.
func (g *group) policyPoints(frees map[replication.PointID]int64) []policy.Point {
	used := g.pointsInUse()
	if m := g.journal.Unfinished(); m != nil {
		used[m.From], used[m.To] = policy.Move, policy.Move
	}
	if g.journal.AtPoint() {
		used[g.journal.Head()] = policy.Head
	}
	var out []policy.Point
	for _, p := range g.journal.Points() {
		x := policy.Point{
			ID: p.ID, Time: p.Time, Kind: p.Kind, Stored: p.Stored, Frees: -1, Pinned: p.Pinned, Until: p.PinnedUntil, Use: used[p.ID],
			Verified: p.Verified != nil && p.Verified.Equal, Suspect: p.Suspect, Damaged: g.damagedBytes(p.ID) > 0,
		}
		if p.Drill != nil {
			x.Drill = p.Drill.Outcome
		}
		if n, ok := frees[p.ID]; ok {
			x.Frees = n
		}
		out = append(out, x)
	}
	return out
}

// occupy keeps policy from dropping a point until the returned function is called.
func (g *group) occupy(p replication.PointID, why policy.Use) (leave func()) {
	key := occupied{p, why}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.occupants[key]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.occupants[key]--; g.occupants[key] == 0 {
			delete(g.occupants, key)
		}
	}
}

// occupied is a point that somebody needs as long as he does something.
type occupied struct {
	point replication.PointID
	why   policy.Use
}

// ofCutover returns the points that a cutover brings the disks to, or may have to bring them back to.
func ofCutover(at *retention.Cutover) map[replication.PointID]bool {
	needs := map[replication.PointID]bool{}
	switch {
	case at == nil:
		return needs
	case at.Step == retention.CutoverUndoing:
		needs[at.Back] = true
	case at.Step != retention.CutoverFinal || at.Held:
		needs[at.From] = true
	}
	if at.Point > 0 { // it has one already
		needs[at.Point] = true
	}
	return needs
}

// pointsInUse returns the points that somebody needs now.
func (g *group) pointsInUse() map[replication.PointID]policy.Use {
	drills := g.engine.drilledPoints(g.id)
	g.mu.Lock()
	defer g.mu.Unlock()
	used := map[replication.PointID]policy.Use{}
	for k := range g.occupants {
		if used[k.point] != policy.Drill {
			used[k.point] = k.why
		}
	}
	for p := range ofCutover(g.journal.Cutover()) {
		used[p] = policy.Commit
	}
	for _, d := range drills { // which outlive a group that is opened anew
		used[d] = policy.Drill
	}
	return used
}

// holdBack stops the open cycle where it stands, and begins none, until it is called with "".
func (g *group) holdBack(why string) {
	g.mu.Lock()
	g.full = why
	stop := g.stopShip
	g.mu.Unlock()
	if why != "" && stop != nil {
		stop()
	}
	g.wake()
}

// heldBack returns the problem that holds replication back; nil: none.
func (g *group) heldBack() *replication.Problem {
	g.mu.Lock()
	full := g.full
	g.mu.Unlock()
	if full == "" {
		return nil
	}
	remedy := "give the retention volume more space"
	if unpin := unpinRemedy(g.id, pinsOf(g.journal.Points(), time.Now())); unpin != "" {
		remedy += "; " + unpin
	}
	return &replication.Problem{Code: "retention-full", Message: full, Remedy: remedy + "; or end drills; all listed points are intact, and replication goes on by itself"}
}

// journals returns how many bytes the journals of all groups take, and how many these are.
func (e *Engine) journals() (bytes int64, groups int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, g := range e.groups {
		bytes += g.journalSize.Load()
	}
	return bytes, len(e.groups)
}

// volume tells how the retention volume stands. One that is shared with other things is only kept from being filled.
func (e *Engine) volume() (policy.Volume, error) {
	own, total, free, err := volumeSpace(e.cfg.Retention)
	if err != nil {
		return policy.Volume{}, fmt.Errorf("space of the retention volume: %w", err)
	}
	v := policy.Volume{Total: total, Free: free, Limits: policy.DefaultLimits()}
	if !own {
		v.Limits = policy.Limits{Reserve: policy.Bytes(min(policy.DefaultLimits().Reserve.Of(total), sharedReserve))}
	}
	return v, nil
}

// directorySize adds up the files in a journal's directory, without its reserve.
func directorySize(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == retention.ReserveName {
			return ignoreGone(err)
		}
		st, err := d.Info()
		if err == nil {
			n += st.Size()
		}
		return ignoreGone(err)
	})
	return n, err
}

func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
