package mastertarget

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/retention"
)

// Settings of scrubbing, and its bounds.
const (
	DefaultScrubRate  = 20 << 20           // bytes a second
	DefaultScrubEvery = 7 * 24 * time.Hour // between the ends of two passes

	tendEvery   = 2 * time.Second // between looks for damage that somebody came upon
	yieldShare  = 4               // while blocks arrive or disks move, a pass that was not asked for takes this share of its rate
	askedYield  = 64 << 20        // and one that was asked for, and has no rate, this many bytes a second
	maxToldFind = 100             // findings kept in words
	repairWait  = time.Minute     // before a repair that failed is tried again
)

// care keeps a group's journal whole: it has it read in whole now and then, and mends what is damaged: from the disks, where they hold it as well, else from the source's snapshot; where that is gone, the next cycle compares. What can't
// be mended stays quarantined, and the points that need it are marked.
type care struct {
	wake chan struct{} // holds one: look for damage

	mu      sync.Mutex
	damage  retention.Damage // as of seen
	seen    uint64           // Journal.Changes when damage was taken
	known   bool
	taken   time.Time
	cost    time.Duration
	status  replication.ScrubStatus // of the pass under way, or the last
	ask     *scrubRequest           // waits to be taken up; nil: none
	rate    int64                   // of the pass under way
	unable  replication.PointID     // the source can't repair this point
	refused string                  // why
	again   time.Time               // when a repair may be tried

	notBefore time.Time // no pass begins by itself
}

// scrubRequest is an operator's wish for a pass.
type scrubRequest struct {
	rate  int64
	begun chan struct{} // closed
	ended chan error    // holds one
}

func (g *group) rouse() {
	select {
	case g.care.wake <- struct{}{}:
	default:
	}
}

// tend mends what is found to be damaged, until the group ends.
func (g *group) tend() {
	told := ""
	for {
		if err := g.tendOnce(); err != nil && g.ctx.Err() == nil {
			g.mend(err)
			if text := err.Error(); text != told {
				g.log.Warn("damage can't be mended", "err", err)
				told = text
			}
		}
		select {
		case <-time.After(tendEvery):
		case <-g.care.wake:
		case <-g.ctx.Done():
			return
		}
	}
}

func (g *group) tendOnce() error {
	var err error
	if files := g.journal.Suspects(); len(files) > 0 { // at once, whatever the rate: somebody needs them
		var found retention.Scrubbed
		found, err = g.journal.Scrub(g.ctx, retention.ScrubOptions{Files: files})
		g.noteFindings(found)
		if err != nil {
			for _, f := range files { // not forgotten
				g.journal.Suspect(&retention.Corruption{File: filepath.Join(g.engine.journalDir(g.id), filepath.FromSlash(f))})
			}
		}
	}
	if derr := g.lookAtDamage(); derr != nil {
		return errors.Join(err, derr)
	}
	return err
}

// noteFindings tells of what scrubbing came upon, and mends from the disks what they still hold.
func (g *group) noteFindings(found retention.Scrubbed) {
	for _, f := range found.Findings {
		g.log.Warn("damage in the journal", "file", f.File, "off", f.Off, "len", f.Len, "err", f.What)
		g.happened(replication.EventDamage, replication.Warned, 0, "damage in file %s of the journal at offset %d: %s", f.File, f.Off, f.What)
	}
	for _, name := range found.Rebuilt {
		g.log.Info("index made again from its blocks", "file", name)
	}
}

// lookAtDamage learns which points need what is lost, when something has changed, and not all the time.
func (g *group) lookAtDamage() error {
	k := &g.care
	changes := g.journal.Changes()
	k.mu.Lock()
	due := !k.known || changes != k.seen && time.Since(k.taken) >= useShare*k.cost
	k.mu.Unlock()
	if !due {
		return nil
	}
	n, err := g.journal.Mend(g.ctx, g.disks())
	if n > 0 {
		g.log.Info("damage mended from the disks", "bytes", n)
	}
	moving, merr := errors.Is(err, retention.ErrInUse), err
	if moving {
		merr = nil
	}
	changes = g.journal.Changes()
	start := time.Now()
	d, err := g.journal.Damage(g.ctx)
	if err != nil {
		return err
	}
	k.mu.Lock()
	before := k.damage
	k.damage, k.known, k.taken, k.cost = d, true, time.Now(), time.Since(start)
	if k.seen = changes; moving || merr != nil { // look again when the disks stand, or there is room
		k.seen = 0
	}
	k.mu.Unlock()
	if d.Bytes != before.Bytes || len(d.Points) != len(before.Points) || len(d.Parts) != len(before.Parts) {
		if d.Bytes > 0 {
			g.log.Warn("points are damaged", "points", pointsOf(d), "lost", d.Bytes, "parts", len(d.Parts))
			g.happened(replication.EventDamage, replication.Critical, 0, "%d bytes of the disks that %d points need are lost of the journal", d.Bytes, len(d.Points))
		} else if before.Bytes > 0 {
			g.log.Info("no point is damaged any more")
			g.happened(replication.EventDamage, replication.Healthy, 0, "no point is damaged any more")
		}
		g.wake() // to repair
	}
	g.notice("damage", damageNotice(d, g.journal.AllDisks()))
	g.engine.changed()
	return merr
}

func (g *group) disks() []retention.Disk {
	disks := make([]retention.Disk, len(g.targets))
	for i, t := range g.targets {
		disks[i] = t
	}
	return disks
}

func pointsOf(d retention.Damage) (ids []replication.PointID) {
	for _, p := range d.Points {
		ids = append(ids, p.Point)
	}
	return ids
}

// damageNotice says what is lost, for whom; "": nothing.
func damageNotice(d retention.Damage, disks []replication.Disk) string {
	if d.Bytes == 0 {
		return ""
	}
	var where []string
	for _, x := range d.Points[len(d.Points)-1].Disks {
		where = append(where, fmt.Sprintf("%s at %v", disks[x.Disk].ID, x.Extents[0]))
	}
	return fmt.Sprintf("%d bytes of the journal are damaged and quarantined; points %s need them, can't be moved to and are not served where they do (%s)",
		d.Bytes, retention.ListPoints(pointsOf(d)), strings.Join(where, ", "))
}

// damagedBytes returns how many bytes a point lacks.
func (g *group) damagedBytes(p replication.PointID) int64 {
	g.care.mu.Lock()
	defer g.care.mu.Unlock()
	i, ok := slices.BinarySearchFunc(g.care.damage.Points, p, func(x retention.DamagedPoint, id replication.PointID) int { return cmp.Compare(x.Point, id) })
	if !ok {
		return 0
	}
	return g.care.damage.Points[i].Bytes()
}

// repairDue says whether the last point lacks something that its source may still have.
func (g *group) repairDue(last replication.PointID) bool {
	n := g.damagedBytes(last)
	g.care.mu.Lock()
	defer g.care.mu.Unlock()
	return n > 0 && g.care.unable != last && !time.Now().Before(g.care.again)
}

// unrepairable says why a cycle from a point has to compare: it lacks something that no order to repair brings back.
func (g *group) unrepairable(p replication.PointID) string {
	n := g.damagedBytes(p)
	g.care.mu.Lock()
	defer g.care.mu.Unlock()
	if n == 0 || g.care.unable != p {
		return ""
	}
	return fmt.Sprintf("%d bytes of point %d are damaged, and could not be had again (%s)", n, p, g.care.refused)
}

// repair has the source send again what the last point lacks.
func (g *group) repair(w *worker, last replication.Point) error {
	lost, err := g.journal.Lost(g.ctx, last.ID)
	if err != nil {
		return journalProblem(g.id, err)
	}
	order := link.Repair{Point: last.ID, Snapshot: last.Snapshot, Extents: map[replication.DiskNo][]replication.Extent{}}
	bytes := int64(0)
	disks := g.journal.DisksAt(last.ID)
	lost = slices.DeleteFunc(lost, func(l retention.Lost) bool { return int(l.Disk) >= disks }) // of disks that have left, the source has nothing for us
	for _, l := range lost[:min(len(lost), link.MaxRepair)] {
		order.Extents[l.Disk] = append(order.Extents[l.Disk], l.Extent)
		bytes += l.Extent.Len()
	}
	if bytes == 0 {
		return g.damageChanged()
	}
	ctx, cancel := g.orderContext(w)
	defer cancel()
	g.become(g.settled(), nil, "the source to send what is damaged again")
	r, err := g.journal.Repair(last.ID)
	if err != nil {
		return journalProblem(g.id, err)
	}
	g.gate.Lock()
	g.session++
	session := g.session
	g.active, g.reading, g.through, g.repairing = true, 0, nil, &repairing{r: r}
	g.gate.Unlock()
	err = w.Repair(ctx, g.spec(session, disks), order)
	g.gate.Lock()
	done := g.repairing.bytes
	g.repairing = nil
	g.gate.Unlock()
	g.revoke()
	if aerr := r.Abort(); aerr != nil {
		g.log.Warn("give up a repair", "err", aerr)
	}
	var p *replication.Problem
	refused := ""
	switch {
	case err == nil && done > 0:
		g.log.Info("damage repaired from the source", "point", last.ID, "bytes", done)
		g.happened(replication.EventDamage, replication.Healthy, last.ID, "damage was repaired from the source: %d bytes", done)
		return g.damageChanged()
	case err == nil:
		refused = fmt.Sprintf("the source sent nothing of the %d bytes that were asked for", bytes)
	case gone(w, err) || g.ctx.Err() != nil:
		return err
	case errors.As(err, &p) && (p.Code == link.CodeSnapshotGone || p.Code == codeNotSupported):
		refused = p.Message
	}
	if refused != "" {
		g.log.Warn("the source can't repair the last point: the next one is made by comparing", "point", last.ID, "why", refused)
		g.care.mu.Lock()
		g.care.unable, g.care.refused = last.ID, refused
		g.care.mu.Unlock()
		return nil
	}
	g.care.mu.Lock()
	g.care.again = time.Now().Add(repairWait)
	g.care.mu.Unlock()
	return fmt.Errorf("repair point %d: %w", last.ID, err)
}

// codeNotSupported is what a process server of an older release answers.
const codeNotSupported = "not-supported"

// damageChanged has the damage looked at again, now.
func (g *group) damageChanged() error {
	g.care.mu.Lock()
	g.care.seen, g.care.cost = 0, 0
	g.care.mu.Unlock()
	return g.lookAtDamage()
}

// repairing is the repair of the active session.
type repairing struct {
	mu    sync.Mutex
	r     *retention.Repair
	bytes int64 // committed
}

// repairLane takes what the source sends again.
type repairLane struct {
	group *group
	lane  replication.Lane
	to    *repairing
	disks []replication.Disk
	raw   []byte
}

// Send implements link.Lane: each block is checked (I9), and what of it is lost here is kept.
func (l *repairLane) Send(f *block.Frame) (err error) {
	defer f.Free()
	defer func() { l.group.mend(err) }()
	l.group.gate.RLock()
	defer l.group.gate.RUnlock()
	if err := l.group.checkFence(l.lane.Session); err != nil {
		return err
	}
	l.to.mu.Lock()
	defer l.to.mu.Unlock()
	for i := range f.Blocks {
		b := &f.Blocks[i]
		if int(b.Disk) >= len(l.disks) {
			return fmt.Errorf("lane %v: disk %d of %d", l.lane, b.Disk, len(l.disks))
		}
		if err := b.Check(l.disks[b.Disk].Size); err != nil {
			return fmt.Errorf("lane %v: disk %s: %w", l.lane, l.disks[b.Disk].ID, err)
		}
		var raw []byte
		if b.Kind == block.Data {
			if raw, err = b.Decode(l.raw); err != nil {
				return fmt.Errorf("lane %v: disk %s: %w", l.lane, l.disks[b.Disk].ID, err)
			}
		}
		if err := l.to.r.Append(b, raw); err != nil {
			return journalProblem(l.group.id, err)
		}
	}
	return nil
}

// Flush implements link.Lane: what came is part of the journal, durably (I5).
func (l *repairLane) Flush() (byValue int64, err error) {
	defer func() { l.group.mend(err) }()
	l.group.gate.RLock()
	defer l.group.gate.RUnlock()
	if err := l.group.checkFence(l.lane.Session); err != nil {
		return 0, err
	}
	l.to.mu.Lock()
	defer l.to.mu.Unlock()
	n, err := l.to.r.Commit()
	if err != nil {
		return 0, journalProblem(l.group.id, err)
	}
	l.to.bytes += n
	return 0, nil
}

// Close implements link.Lane.
func (l *repairLane) Close() {}
