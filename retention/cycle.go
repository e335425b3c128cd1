package retention

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"failback/replication"
)

// openCycle is what is there of the open cycle, apart from its record.
type openCycle struct {
	arrivals map[*Arrival]bool
	sealed   []*sealed
	unsealed []string             // paths: arrivals that failed, to be scanned before the point is listed
	durable  []*replication.Pages // by disk: all that is, wherever it lies
	coverage *coverageFile
	dropping bool
}

func (o *openCycle) close() (err error) {
	for a := range o.arrivals {
		err = errors.Join(err, a.w.close())
	}
	if o.coverage != nil {
		err = errors.Join(err, o.coverage.close())
	}
	*o = openCycle{}
	return err
}

// begin makes j.open that of a cycle.
func (j *Journal) begin(c *coverageFile) {
	j.open = openCycle{arrivals: map[*Arrival]bool{}, coverage: c}
	for d, set := range c.sets {
		j.open.durable = append(j.open.durable, replication.NewPages(j.id.Disks[d].Size))
		j.open.durable[d].AddAll(set)
	}
}

// openCycleFiles takes up the open cycle where it durably was.
func (j *Journal) openCycleFiles(st *state) error {
	if st.cycle == nil {
		return removeIfThere(j.vol, j.path(coverageName))
	}
	c, err := openCoverage(j.vol, j.path(coverageName), &j.id, j.journal, st.cycle.Point)
	if err != nil {
		return err
	}
	j.begin(c)
	names, err := j.vol.List(j.path(segDir))
	if err != nil {
		return err
	}
	for _, n := range names {
		if !strings.HasPrefix(n, fmt.Sprintf("%d-", st.cycle.Point)) || !strings.HasSuffix(n, segSuffix) {
			continue
		}
		if generationOf(n) < st.begun && !leftOut(ruleBegun) { // by one who thought the journal his: see guard
			if err := removeIfThere(j.vol, j.path(segDir, n)); err != nil {
				return err
			}
			continue
		}
		err := j.adopt(st, j.path(segDir, n))
		if errors.Is(err, ErrNoSpace) { // no room for its index now: what is in it counts when the point is listed; the listed points are not to wait for it
			j.open.unsealed = append(j.open.unsealed, j.path(segDir, n))
			continue
		}
		if err != nil {
			return err
		}
	}
	return syncDir(j.vol, j.path(segDir))
}

// generationOf returns the generation in the name of a segment file.
func generationOf(name string) (g replication.Generation) {
	var p replication.PointID
	if _, err := fmt.Sscanf(name, "%d-%d-", &p, &g); err != nil {
		return 0
	}
	return g
}

// adopt takes up a segment file of the open cycle: sealed, or scanned and sealed now.
func (j *Journal) adopt(st *state, name string) error {
	s, err := openSealed(j.files, name, &j.id, j.journal)
	if err == nil {
		err = s.verifyIndex(&j.id)
	}
	if err == nil {
		err = j.resync(name)
	} else if errors.Is(err, ErrCorrupt) {
		j.files.forget(name)
		s, err = j.reseal(name, 0)
	}
	if err != nil || s == nil {
		return err
	}
	if s.hdr.kind != segmentFile || s.hdr.point != st.cycle.Point {
		return corruptf(name, 0, "file of kind %d of point %d", s.hdr.kind, s.hdr.point)
	}
	if err := s.coverage(j.open.durable); err != nil {
		return err
	}
	j.open.sealed = append(j.open.sealed, s)
	return nil
}

// resync makes durable what a process that died may have left in memory.
func (j *Journal) resync(name string) error {
	f, err := j.vol.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(syncFile(f, name), f.Close())
}

// reseal scans an unsealed file, cuts what is torn, and seals it; nil when nothing is in it, and then the file is gone. A save of point 0 must be whole up to need; else it is left as it is.
func (j *Journal) reseal(name string, need int64) (*sealed, error) {
	f, err := j.vol.Open(name)
	if err != nil {
		return nil, err
	}
	w := &writer{vol: j.vol, name: name, f: f, t: &j.t}
	defer w.close()
	w.hdr, w.end, err = scan(f, name, &j.id, w.indexed)
	if err != nil {
		return nil, err
	}
	if w.end < need {
		return nil, lostOriginal(name, w.end)
	}
	if w.end <= fileHeaderSize {
		return nil, removeIfThere(j.vol, name)
	}
	if w.hdr.journal != j.journal {
		return nil, corruptf(name, 0, "file of journal %s", w.hdr.journal)
	}
	if w.end, err = behindPadding(f, w.end); err != nil {
		return nil, fmt.Errorf("read %s: %w", base(name), err)
	}
	w.flushed = w.end
	if err := f.Truncate(w.end); err != nil {
		return nil, fmt.Errorf("cut the torn end of %s: %w", base(name), err)
	}
	return j.sealWriter(w)
}

// behindPadding returns the end of the sector in which the last entry ends, when the padding is there that was acknowledged with it: to write it again could tear the entry. Else it returns
// end: what lies in that sector was not acknowledged.
func behindPadding(f file, end int64) (int64, error) {
	pad := make([]byte, alignUp(end)-end)
	if err := readFull(f, pad, end); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, err
	} else if err != nil || !replication.IsZero(pad) {
		return end, nil
	}
	return alignUp(end), nil
}

// sealWriter makes a file's entries durable, then its index: an index that is found after a crash never tells of entries that are not there.
func (j *Journal) sealWriter(w *writer) (*sealed, error) {
	if !leftOut(ruleEntriesFirst) {
		if err := w.sync(); err != nil {
			return nil, err
		}
	}
	foot, some, err := w.seal()
	if err != nil || !some {
		return nil, err
	}
	return w.sealed(w.name, j.files, foot), nil
}

// OpenCycle returns the open cycle, or nil.
func (j *Journal) OpenCycle() *replication.Cycle {
	c := j.now.Load().cycle
	if c == nil {
		return nil
	}
	x := *c
	x.Cut.Sizes = slices.Clone(c.Cut.Sizes)
	return &x
}

// Owes says whether a cycle was dropped, and none begun since: its number may have been promised.
func (j *Journal) Owes() bool {
	st := j.now.Load()
	return st.dropped != 0 && st.cycle == nil
}

// NextPoint returns the number that the next cycle has.
func (j *Journal) NextPoint() replication.PointID {
	st := j.now.Load()
	if st.dropped != 0 {
		return st.dropped
	}
	return st.used + 1
}

// Begin opens a cycle, durably. It must start from the last listed point (ErrBase) and have a number above that of every listed point. Beginning the open cycle again, with
// the same snapshot, changes nothing; with another snapshot it is refused (ErrCycleOpen): drop it first. The first cycle is a baseline written through to
// the disks; every other is journaled (ErrRoute), but for disks that join with it. A cut may lack disks that no point has yet: they join later.
func (j *Journal) Begin(c replication.Cycle) error {
	j.cycle.Lock()
	defer j.cycle.Unlock()
	if err := j.clearLeftovers(c.Point); err != nil {
		return err
	}
	opened := false
	err := j.commit(kindCycleOpened, func(st *state) (any, error) {
		if o := st.cycle; o != nil {
			if o.Point == c.Point && o.Cut.Snapshot == c.Cut.Snapshot && o.Base == c.Base && o.BaseChain == c.BaseChain && o.Route == c.Route && o.Mode == c.Mode {
				return nil, nil
			}
			return nil, fmt.Errorf("%w: point %d of snapshot %q, not point %d of snapshot %q", ErrCycleOpen, o.Point, o.Cut.Snapshot, c.Point, c.Cut.Snapshot)
		}
		last, ok := st.last()
		switch {
		case c.Base != last.ID || c.BaseChain != last.Chain:
			return nil, fmt.Errorf("%w: from point %d chain %.12q, the last is %d chain %.12q", ErrBase, c.Base, c.BaseChain, last.ID, last.Chain)
		case !st.free(c.Point):
			return nil, fmt.Errorf("%w: number %d was used, the next is %d", ErrBase, c.Point, st.used+1)
		case (c.Route == replication.Through) == ok:
			return nil, fmt.Errorf("%w: %q after point %d: only the first baseline is written through", ErrRoute, c.Route, last.ID)
		case c.Route != replication.Through && c.Route != replication.Journaled:
			return nil, fmt.Errorf("%w: %q", ErrRoute, c.Route)
		case len(c.Cut.Sizes) > st.present() || len(c.Cut.Sizes) < st.bornBy(last.ID):
			return nil, fmt.Errorf("%w: cut of %d disks, the group has %d", ErrDisks, len(c.Cut.Sizes), st.present())
		}
		for d, n := range c.Cut.Sizes {
			if size := st.id.size(st.slot(replication.DiskNo(d))); n != size {
				return nil, fmt.Errorf("%w: disk %d has %d bytes in the cut, the group says %d", ErrDisks, d, n, size)
			}
		}
		opened = true
		return c, nil
	})
	if err != nil || !opened {
		return err
	}
	j.begin(newCoverage(j.vol, j.path(coverageName), &j.id, j.journal, c.Point))
	return nil
}

// clearLeftovers makes sure that no file of a dropped cycle of that number is there to be taken for one of the cycle that begins.
func (j *Journal) clearLeftovers(point replication.PointID) error {
	if st := j.now.Load(); st.cycle != nil || !st.free(point) || leftOut(ruleLeftovers) {
		return nil // Begin refuses, or there is nothing to do
	}
	if err := removeIfThere(j.vol, j.path(coverageName)); err != nil {
		return fmt.Errorf("clear leftovers of point %d: %w", point, err)
	}
	names, err := j.vol.List(j.path(segDir))
	if err != nil {
		return fmt.Errorf("clear leftovers of point %d: %w", point, err)
	}
	for _, n := range names {
		if !strings.HasPrefix(n, fmt.Sprintf("%d-", point)) {
			continue
		}
		j.files.forget(j.path(segDir, n))
		if err := removeIfThere(j.vol, j.path(segDir, n)); err != nil {
			return fmt.Errorf("clear leftovers of point %d: %w", point, err)
		}
	}
	for _, dir := range []string{j.path(), j.path(segDir)} { // a removal that a crash undoes would bring them back
		if err := syncDir(j.vol, dir); err != nil {
			return fmt.Errorf("clear leftovers of point %d: %w", point, err)
		}
	}
	return nil
}

// Drop gives the open cycle up: its files go, and its number is free again. Arrivals that are still open fail from then on.
func (j *Journal) Drop(reason string) error {
	if err := j.cutOff(); err != nil {
		return err
	}
	j.cycle.Lock()
	defer j.cycle.Unlock()
	defer func() { j.open.dropping = false }()
	err := j.commit(kindCycleDropped, func(st *state) (any, error) {
		if st.cycle == nil {
			return nil, ErrNoCycle
		}
		return cycleDroppedRecord{st.cycle.Point, reason}, nil
	})
	if err != nil {
		return err
	}
	// From here on the files are leftovers: what fails to go now goes when the journal is opened.
	for _, s := range j.open.sealed {
		j.files.forget(s.name)
		err = errors.Join(err, removeIfThere(j.vol, s.name))
	}
	for _, n := range j.open.unsealed {
		err = errors.Join(err, removeIfThere(j.vol, n))
	}
	err = errors.Join(err, j.open.coverage.remove())
	j.open = openCycle{}
	if err != nil {
		return fmt.Errorf("remove the files of a dropped cycle: %w", err)
	}
	return nil
}

// cutOff ends all arrivals. What is durable of them stays.
func (j *Journal) cutOff() error {
	j.cycle.Lock()
	if j.now.Load().cycle == nil {
		j.cycle.Unlock()
		return ErrNoCycle
	}
	j.open.dropping = true
	var live []*Arrival
	for a := range j.open.arrivals {
		live = append(live, a)
	}
	j.cycle.Unlock()
	for _, a := range live {
		a.cutOff()
	}
	return nil
}

// Coverage returns what is durable of the open cycle on one disk: a copy. It is empty when no cycle is open.
func (j *Journal) Coverage(disk replication.DiskNo) *replication.Pages {
	disk = j.Slot(disk)
	j.cycle.Lock()
	defer j.cycle.Unlock()
	if int64(disk) >= int64(len(j.open.durable)) {
		return replication.NewPages(max(j.id.size(disk), 0))
	}
	return j.open.durable[disk].Clone()
}

// Durable returns how many bytes Coverage would hold.
func (j *Journal) Durable(disk replication.DiskNo) int64 {
	disk = j.Slot(disk)
	j.cycle.Lock()
	defer j.cycle.Unlock()
	if int64(disk) >= int64(len(j.open.durable)) {
		return 0
	}
	return j.open.durable[disk].Bytes()
}

// RecordCoverage notes, durably, extents that a cycle wrote through, all disks of a first baseline or those that join: they are durable on the disks, which the caller has synced. They lie on pages (I13).
func (j *Journal) RecordCoverage(add map[replication.DiskNo][]replication.Extent) error {
	j.cycle.Lock()
	defer j.cycle.Unlock()
	if err := j.usable(); err != nil {
		return err
	}
	c := j.now.Load().cycle
	if c == nil {
		return ErrNoCycle
	}
	var cs []covered
	for d, es := range add {
		if c.Route != replication.Through && !j.Joining(d) {
			return fmt.Errorf("%w: the cycle of point %d is journaled, and disk %d does not join with it", ErrRoute, c.Point, d)
		}
		slot := j.Slot(d)
		size := j.id.size(slot)
		for _, e := range es {
			if err := e.Check(size); err != nil {
				return fmt.Errorf("coverage of disk %d: %w", d, err)
			}
			if e.Outward(size) != e {
				return fmt.Errorf("coverage of disk %d: extent %v is not on pages of %d bytes (I13)", d, e, replication.Page)
			}
			cs = append(cs, covered{slot, e})
		}
	}
	return j.noteCovered(cs)
}

// noteCovered makes extents durable that no segment file holds. The cycle lock is held.
func (j *Journal) noteCovered(cs []covered) error {
	if err := j.note(j.open.coverage.add(cs)); err != nil {
		return err
	}
	for _, x := range cs {
		j.open.durable[x.disk].Add(x.ext)
	}
	return nil
}

// List makes the open cycle's point a listed one, durably (I1), when what is durable of it is exactly what totals say, disk by disk; else ErrIncomplete. A
// disk without a total has no change. Arrivals must have been closed. After an error nothing has changed; it may be tried again.
func (j *Journal) List(totals []replication.Total, k replication.Kind, verified *replication.Verify) (replication.Point, error) {
	j.cycle.Lock()
	defer j.cycle.Unlock()
	if err := j.usable(); err != nil {
		return replication.Point{}, err
	}
	c := j.now.Load().cycle
	if c == nil {
		return replication.Point{}, ErrNoCycle
	}
	if len(j.open.arrivals) > 0 {
		return replication.Point{}, fmt.Errorf("%w: point %d has %d open arrivals", ErrIncomplete, c.Point, len(j.open.arrivals))
	}
	if err := j.sealLeftovers(); err != nil {
		return replication.Point{}, j.note(err)
	}
	r := pointRecord{Point: c.Point, Time: c.Cut.Time, Kind: k, Route: c.Route, Verify: verified, Snap: c.Cut.Snapshot, Skew: c.Cut.Skew, NotApp: c.Cut.NotApp}
	if err := j.reckon(&r, totals); err != nil {
		return replication.Point{}, err
	}
	for _, s := range j.open.sealed {
		r.Files = append(r.Files, s.record())
		r.Stored += s.foot.size()
	}
	with := slices.Clone(j.open.sealed)
	if c.Route == replication.Through && j.id.KeepOriginal {
		j.original.mu.Lock()
		defer j.original.mu.Unlock()
		o, files, err := j.originalRecord(c)
		if err != nil {
			return replication.Point{}, j.note(err)
		}
		r.Original, with = o, append(with, files...)
	}
	if err := j.commit(kindPointListed, func(*state) (any, error) { return r, nil }, with...); err != nil {
		return replication.Point{}, err
	}
	if r.Original != nil {
		j.original.sealed, j.original.saved = nil, nil
		_ = j.vol.Remove(j.path(saveDir, originalEndName)) // the record says all; what stays is removed when the journal is opened
	}
	old := j.open.coverage
	j.open = openCycle{}
	_ = old.remove() // the point is listed: what stays behind here goes when the journal is opened
	return j.Point(r.Point)
}

// sealLeftovers scans and seals the files of arrivals that failed, and puts all in the order in which a later one wins.
func (j *Journal) sealLeftovers() error {
	for len(j.open.unsealed) > 0 {
		if err := j.adopt(j.now.Load().state, j.open.unsealed[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		j.open.unsealed = j.open.unsealed[1:]
	}
	slices.SortFunc(j.open.sealed, func(a, b *sealed) int {
		x, y := a.hdr, b.hdr
		return cmp.Or(cmp.Compare(x.generation, y.generation), cmp.Compare(x.session, y.session), cmp.Compare(x.attempt, y.attempt), cmp.Compare(x.lane, y.lane))
	})
	return nil
}

// reckon compares what is durable with what the source says it sent, from the sealed indexes rather than from memory.
func (j *Journal) reckon(r *pointRecord, totals []replication.Total) error {
	want := map[replication.DiskNo]replication.Total{}
	st := j.now.Load()
	for _, t := range totals {
		t.Disk = st.slot(t.Disk)
		if _, twice := want[t.Disk]; twice || j.id.size(t.Disk) < 0 {
			return fmt.Errorf("%w: disk %d is named twice, or is none of the group's", ErrIncomplete, t.Disk)
		}
		want[t.Disk] = t
	}
	for d := range j.id.Disks {
		disk := replication.DiskNo(d)
		got, changed, err := j.tally(disk)
		if err != nil {
			return err
		}
		w, ok := want[disk]
		if !st.cycleHas(disk) {
			if ok || got.Bytes() > 0 {
				return fmt.Errorf("%w: point %d, disk %d (%s) joined after its cycle was begun, or left before", ErrIncomplete, r.Point, d, j.id.Disks[d].ID)
			}
			continue
		}
		if !ok {
			w.Digest = (&replication.Set{}).Digest()
		}
		if n, dig := got.Bytes(), got.Digest(); (n != w.Bytes || dig != w.Digest) && !leftOut(ruleExact) {
			return fmt.Errorf("%w: point %d, disk %d (%s): %d bytes are durable, digest %x; the source sent %d, digest %x", ErrIncomplete, r.Point, d, j.id.Disks[d].ID, n, dig[:6], w.Bytes, w.Digest[:6])
		} else if r.Route == replication.Through || st.joining(disk) {
			if n != j.id.Disks[d].Size && !(st.joining(disk) && leftOut(ruleBornWhole)) {
				return fmt.Errorf("%w: point %d, disk %d (%s): the baseline covers %d of %d bytes", ErrIncomplete, r.Point, d, j.id.Disks[d].ID, n, j.id.Disks[d].Size)
			}
			r.Bytes += n
		} else {
			r.Bytes += changed
		}
		r.Disks = append(r.Disks, diskRecord{disk, got.Bytes(), w.Digest[:]})
	}
	return nil
}

// tally adds up what is durable of a disk, and how many bytes of it are in segment files.
func (j *Journal) tally(disk replication.DiskNo) (all replication.Tally, changed int64, err error) {
	var fs []feed
	for _, s := range j.open.sealed {
		fs = append(fs, newCursor(s, disk, 0, allVersions))
	}
	o, err := newOverlay(fs)
	if err != nil {
		return all, 0, err
	}
	next, stop := iter.Pull(j.open.coverage.sets[disk].All())
	defer stop()
	x, more := next()
	for {
		sp, ok, err := o.next(noLimit)
		if err != nil {
			return all, 0, err
		}
		for more && (!ok || x.Off <= sp.ext.Off) {
			all.Add(x)
			x, more = next()
		}
		if !ok {
			return all, changed, nil
		}
		all.Add(sp.ext)
		changed += sp.ext.Len()
	}
}
