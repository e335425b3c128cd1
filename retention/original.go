package retention

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"failback/replication"
)

// Point 0: what the disks hold is saved before the first baseline writes over it, once. The files have names of their own, and no record names them until the first point is listed: then
// both are, by one record. They outlive a baseline that is given up and begun again, as the disks have been written over by then.

// originalPrefix begins the names of the saves of point 0.
const originalPrefix = "original-"

// originalBytes is the length at which a save of point 0 is sealed: what is scanned, at most, after a crash.
const originalBytes = 1 << 30

// isOriginal says whether a file of the save directory is one of point 0.
func isOriginal(name string) bool {
	return strings.HasPrefix(name, originalPrefix) && strings.HasSuffix(name, saveSuffix)
}

// originalNumber is the number in the name of a save of point 0.
func originalNumber(name string) (n int, ok bool) {
	if !isOriginal(name) {
		return 0, false
	}
	_, err := fmt.Sscanf(name, originalPrefix+"%d", &n)
	return n, err == nil
}

func (j *Journal) originalPath(number int) string {
	return j.path(saveDir, fmt.Sprintf("%s%d%s", originalPrefix, number, saveSuffix))
}

// original is what is there of point 0 before it is listed.
type original struct {
	mu       sync.Mutex           // held by whoever saves, or lists; taken after the cycle lock and before the journal's mu
	w        *writer              // of the file that grows; nil: none does
	sealed   []*sealed            //
	unsealed []string             // paths: files that a failure left, to be scanned before anything more is saved
	saved    []*replication.Pages // by disk: what is durable of it
	last     int                  // the number of the newest file
	end      originalEnd          // what was acknowledged
}

// openOriginal takes up what was saved.
func (j *Journal) openOriginal(st *state) error {
	if !st.savesOriginal() {
		return nil
	}
	o := &j.original
	for _, d := range j.id.Disks {
		o.saved = append(o.saved, replication.NewPages(d.Size))
	}
	var err error
	if o.end, err = j.readOriginalEnd(); err != nil {
		return err
	}
	names, err := j.vol.List(j.path(saveDir))
	if err != nil {
		return err
	}
	for _, n := range names {
		number, ok := originalNumber(n)
		if !ok {
			continue // not ours
		}
		o.last = max(o.last, number)
		o.unsealed = append(o.unsealed, j.path(saveDir, n))
	}
	if n := o.end.missing(names); n != "" {
		return lostOriginal(j.path(saveDir, n), 0)
	}
	if err := j.adoptOriginals(); err != nil && !errors.Is(err, ErrNoSpace) { // no room for an index now: nothing is saved, nor written over, before there is
		return err
	}
	return nil
}

// adoptOriginals takes up the files that a crash or a failure left: sealed, or scanned and sealed now. original.mu is held.
func (j *Journal) adoptOriginals() error {
	o := &j.original
	if len(o.unsealed) == 0 {
		return nil
	}
	for len(o.unsealed) > 0 {
		name := o.unsealed[0]
		s, err := openSealed(j.files, name, &j.id, j.journal)
		if err == nil {
			s.rec.Zero = true
			err = s.verifyIndex(&j.id)
		}
		if err == nil {
			err = j.resync(name)
		} else if errors.Is(err, ErrCorrupt) {
			j.files.forget(name)
			number, _ := originalNumber(base(name))
			if need := o.end.needs(number); need < 0 {
				return lostOriginal(name, 0)
			} else {
				s, err = j.reseal(name, need)
			}
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // nothing was in it
		case err != nil:
			return err
		case s == nil:
		case s.hdr.kind != saveFile || s.hdr.point != replication.OriginalPoint || s.high() != 0:
			return corruptf(name, 0, "file of kind %d of point %d, want a save of point 0", s.hdr.kind, s.hdr.point)
		default:
			if err := s.coverage(o.saved); err != nil {
				return err
			}
			o.sealed = append(o.sealed, s)
		}
		o.unsealed = o.unsealed[1:]
	}
	return syncDir(j.vol, j.path(saveDir))
}

// SaveOriginal makes durable, for point 0, what the disks hold in extents that a first baseline is about to write over (I4), as far as that was not done before: content that was written over
// since is never saved. Ranges that a disk knows to be holes, and pages of zeros, take no space. The extents lie on pages; disks are the group's. After an error nothing may be written over
// that was not saved by an earlier call; where it is ErrNoSpace, the call may be tried again.
func (j *Journal) SaveOriginal(disks []Disk, what map[replication.DiskNo][]replication.Extent) error {
	o := &j.original
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := j.usable(); err != nil {
		return err
	}
	st := j.now.Load()
	switch {
	case st.cycle == nil:
		return ErrNoCycle
	case st.cycle.Route != replication.Through || !st.savesOriginal():
		return fmt.Errorf("%w: the cycle of point %d saves nothing of point 0", ErrRoute, st.cycle.Point)
	}
	if err := j.checkDisks(disks); err != nil {
		return err
	}
	if err := j.adoptOriginals(); err != nil {
		return j.note(fmt.Errorf("save what the disks hold: %w", noSpace(err)))
	}
	missing, bytes := map[replication.DiskNo][]replication.Extent{}, int64(0)
	for d, es := range what {
		size := j.id.size(d)
		for _, e := range replication.NewSet(es...).Extents() {
			if err := e.Check(size); err != nil {
				return fmt.Errorf("save what disk %d holds: %w", d, err)
			}
			if e.Outward(size) != e {
				return fmt.Errorf("save what disk %d holds: extent %v is not on pages of %d bytes (I13)", d, e, replication.Page)
			}
			if leftOut(ruleOriginalOnce) {
				missing[d] = append(missing[d], e)
			} else {
				missing[d] = o.saved[d].Missing(missing[d], e)
			}
		}
		for _, e := range missing[d] {
			bytes += e.Len()
		}
	}
	if bytes == 0 || leftOut(ruleOriginal) {
		return nil
	}
	err := j.roomFor(min(bytes, int64(j.t.writeBytes)))
	if err == nil {
		err = j.appendOriginal(disks, missing)
	}
	if err != nil {
		return j.note(fmt.Errorf("save what the disks hold: %w", noSpace(err)))
	}
	for d, es := range missing {
		for _, e := range es {
			o.saved[d].Add(e)
		}
	}
	return nil
}

// appendOriginal saves extents and makes that durable.
func (j *Journal) appendOriginal(disks []Disk, missing map[replication.DiskNo][]replication.Extent) (err error) {
	o := &j.original
	if o.w == nil {
		hdr := fileHeader{kind: saveFile, journal: j.journal, point: replication.OriginalPoint, generation: j.Generation(), group: j.id.Group}
		if o.w, err = createWriter(j.vol, j.originalPath(o.last+1), hdr, &j.t); err != nil {
			return err
		}
		o.last++
	}
	defer func() {
		if err != nil && o.w != nil { // what is whole in it counts, once it was scanned
			o.unsealed = append(o.unsealed, o.w.name)
			err = errors.Join(err, o.w.close())
			o.w = nil
		}
	}()
	s := &saver{w: o.w}
	read := func(d replication.DiskNo) error {
		x := &diskSaver{s: s, no: d, from: disks[d], version: replication.OriginalPoint}
		defer x.wait()
		for _, e := range missing[d] {
			x.want = e
			if err := x.take(); err != nil {
				return err
			}
		}
		return x.flush()
	}
	if err := j.eachOf(missing, read); err != nil {
		return err
	}
	end := o.w.end
	if !leftOut(ruleOriginalDurable) {
		if err := o.w.sync(); err != nil {
			return err
		}
	}
	if err := j.acknowledgeOriginal(o.last, end); err != nil {
		return err
	}
	if o.w.end < j.t.originalBytes {
		return nil
	}
	return j.sealOriginal()
}

// eachOf calls fn for every disk that has extents, some at a time.
func (j *Journal) eachOf(what map[replication.DiskNo][]replication.Extent, fn func(replication.DiskNo) error) error {
	var wg sync.WaitGroup
	slots, errs := make(chan struct{}, j.t.disksAtOnce), make([]error, len(j.id.Disks))
	for d := range j.id.Disks {
		no := replication.DiskNo(d)
		switch {
		case len(what[no]) == 0:
		case j.t.disksAtOnce == 1:
			if err := fn(no); err != nil {
				return err
			}
		default:
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				errs[no] = fn(no)
			})
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// sealOriginal ends the file that grows.
func (j *Journal) sealOriginal() error {
	o := &j.original
	s, err := j.sealWriter(o.w)
	if err != nil {
		return err
	}
	name := o.w.name
	err = o.w.close()
	o.w = nil
	if s == nil {
		return errors.Join(err, removeIfThere(j.vol, name))
	}
	o.sealed = append(o.sealed, s)
	return err
}

// originalRecord seals what was saved of point 0, and tells of it: the saves, and a pack that says of the same extents that the disks hold what the baseline wrote. original.mu is held.
func (j *Journal) originalRecord(c *replication.Cycle) (*originalRecord, []*sealed, error) {
	o := &j.original
	if err := j.adoptOriginals(); err != nil {
		return nil, nil, fmt.Errorf("list point 0: %w", noSpace(err))
	}
	if o.w != nil {
		name := o.w.name
		if err := j.sealOriginal(); err != nil {
			if o.w != nil {
				err = errors.Join(err, o.w.close())
				o.w, o.unsealed = nil, append(o.unsealed, name)
			}
			return nil, nil, fmt.Errorf("list point 0: %w", noSpace(err))
		}
	}
	slices.SortFunc(o.sealed, func(a, b *sealed) int {
		return cmp.Or(cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	r := &originalRecord{Time: j.id.Created}
	if c.Cut.Time.Before(r.Time) {
		r.Time = c.Cut.Time
	}
	with := slices.Clone(o.sealed)
	for _, s := range o.sealed {
		r.Saves = append(r.Saves, s.record())
	}
	over, err := j.over(o.sealed, c.Point)
	if err != nil {
		return nil, nil, fmt.Errorf("list point 0: %w", noSpace(err))
	}
	if over != nil {
		f := over.record()
		r.Over, with = &f, append(with, over)
	}
	return r, with, nil
}

// over makes the pack that tells, of all that saves of point 0 hold, that the disks hold another version; nil where that is nothing.
func (j *Journal) over(saves []*sealed, version replication.PointID) (*sealed, error) {
	return j.packed(version, 1, func(w *writer) error {
		for d := range j.id.Disks {
			o, err := layers(saves, replication.DiskNo(d), 0, allVersions)
			if err != nil {
				return err
			}
			var e replication.Extent
			for {
				sp, ok, err := o.next(noLimit)
				if err != nil {
					return err
				}
				if ok && sp.ext.Off == e.End && !e.Empty() {
					e.End = sp.ext.End
					continue
				}
				if !e.Empty() && !leftOut(ruleOriginalOver) {
					if err := w.without(replication.DiskNo(d), e, version, gone); err != nil {
						return err
					}
				}
				if !ok {
					break
				}
				e = sp.ext
			}
		}
		return nil
	})
}

// OriginalStored returns what point 0 takes on the retention volume so far, in bytes, while the first baseline is being made; false where nothing is being saved for it.
func (j *Journal) OriginalStored() (bytes int64, saving bool) {
	if !j.now.Load().savesOriginal() {
		return 0, false
	}
	o := &j.original
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.sealed {
		bytes += s.foot.size()
	}
	if o.w != nil {
		bytes += o.w.end
	}
	return bytes, true
}

func (o *original) close() (err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.w != nil {
		err = o.w.close()
		o.w = nil
	}
	return err
}
