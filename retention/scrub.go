package retention

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"failback/replication/block"
)

// scrubNoteEvery is how often it is noted how far a pass is: what is read again, at most, after a restart.
const scrubNoteEvery = 10 * time.Minute

// ScrubOptions say how Scrub works.
type ScrubOptions struct {
	Files    []string                               // only these, named as Use names them; nil: all, in a pass that is noted
	Resume   bool                                   // the pass under way goes on, if there is one; else it begins anew
	Pace     func(ctx context.Context, n int) error // called after n bytes were read, to bound the rate; nil: no bound
	Progress func(done, total int64)                // bytes of files; nil: nobody listens
}

// Scrubbed is what Scrub came upon.
type Scrubbed struct {
	Files       int       // read in whole
	Bytes       int64     // of these
	Quarantined int       // parts, newly found
	Rebuilt     []string  // files whose index or frame was damaged, and was made again from what they hold
	Findings    []Finding // everything that is not as it should be, what was known before left out
}

// Scrub reads sealed files in whole: every block, and every index. Damaged blocks are quarantined; a damaged index is made again from the blocks. It may run beside everything else, and be cut off: a pass then goes on behind the files
// that were read, if it is noted so. An error says that it did not come to its end.
func (j *Journal) Scrub(ctx context.Context, opt ScrubOptions) (r Scrubbed, err error) {
	if err := j.usable(); err != nil {
		return r, err
	}
	names, total, at := j.toScrub(opt)
	var noted time.Time
	for _, n := range names {
		if opt.Files == nil && time.Since(noted) > scrubNoteEvery {
			if err := j.noteScrub(at); err != nil {
				return r, err
			}
			noted = time.Now()
		}
		if err := j.scrubFile(ctx, n, opt, &r, total); err != nil {
			return r, fmt.Errorf("scrub %s: %w", n, err)
		}
		at.After = n
	}
	if opt.Files != nil {
		return r, nil
	}
	return r, j.noteScrub(ScrubState{Whole: time.Now().UTC()})
}

// ScrubState tells how far scrubbing is.
func (j *Journal) ScrubState() ScrubState { return j.now.Load().scrub }

// toScrub returns the files to be read and their bytes, and what is to be noted at first.
func (j *Journal) toScrub(opt ScrubOptions) (names []string, total int64, at ScrubState) {
	c := j.now.Load()
	at = c.scrub
	if !opt.Resume || at.Begun.IsZero() {
		at.Begun, at.After = time.Now().UTC(), ""
	}
	after := opt.Files != nil || at.After == "" || !slices.ContainsFunc(c.state.files, func(f namedFile) bool { return filepath.ToSlash(f.path()) == at.After })
	for _, f := range c.state.files {
		n := filepath.ToSlash(f.path())
		if after && (opt.Files == nil || slices.Contains(opt.Files, n)) {
			names, total = append(names, n), total+f.Size
		}
		after = after || n == at.After
	}
	return names, total, at
}

func (j *Journal) noteScrub(at ScrubState) error {
	return j.commit(kindScrubbed, func(*state) (any, error) { return at, nil })
}

// scrubFile reads one file, unless it is gone.
func (j *Journal) scrubFile(ctx context.Context, name string, opt ScrubOptions, r *Scrubbed, total int64) error {
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	i := slices.IndexFunc(c.files, func(s *sealed) bool { return j.relative(s) == name })
	if i < 0 {
		return nil
	}
	s, before := c.files[i], r.Bytes
	if s.bad != nil {
		r.Findings = append(r.Findings, c.lostFile(s))
		return nil
	}
	report := func(done, _ int64) {
		if opt.Progress != nil {
			opt.Progress(before+done, total)
		}
		if opt.Pace != nil && before+done > r.Bytes {
			_ = opt.Pace(ctx, int(before+done-r.Bytes)) // the end of ctx is seen by who reads
		}
		r.Bytes = before + done
	}
	j.files.forget(s.name) // what is open may have lost its name
	for again := false; ; again = true {
		x := &examination{i: &Inspection{j: j}, c: c, ctx: ctx, report: report}
		fresh, err := x.anew(s)
		if err != nil {
			return err
		}
		if fresh != nil {
			if err := x.sealed(fresh); err != nil {
				return err
			}
		}
		x.findings = slices.DeleteFunc(x.findings, func(f Finding) bool { return f.Off == s.foot.index && f.Len == 0 }) // that a pack tells of what was lost is no damage
		parts, rest, err := j.judge(ctx, s, x.findings)
		if err == nil {
			err = j.quarantine(parts)
		}
		if err != nil {
			return err
		}
		r.Quarantined += len(parts)
		for _, f := range x.findings {
			if !s.known(f) {
				r.Findings = append(r.Findings, f)
			}
		}
		if again || !slices.ContainsFunc(rest, func(f Finding) bool { return f.Off < fileHeaderSize || f.Off >= s.foot.dataEnd }) {
			r.Files++
			r.Bytes = before + s.foot.size()
			if len(rest) == 0 {
				s.prove()
			}
			return nil
		}
		if err := j.rebuild(ctx, j.now.Load().state, c.state.files[i]); err != nil {
			r.Findings = append(r.Findings, Finding{File: s.name, What: fmt.Sprintf("its index can't be made again from its blocks: %v", err), Damage: true})
			if errors.Is(err, errNotTold) {
				return j.goBlind(s, c.state.files[i], rest)
			}
			return j.usable()
		}
		r.Rebuilt = append(r.Rebuilt, name)
	}
}

// anew opens a file as the next start would see it; nil, with a finding, when that can't be.
func (x *examination) anew(s *sealed) (*sealed, error) {
	fresh, err := openSealed(s.h, s.name, &x.c.id, x.i.j.journal)
	if err == nil {
		fresh.rec, fresh.parts, fresh.rank = s.rec, s.parts, s.rank
		err = fresh.matches(s.record())
	}
	if err == nil {
		return fresh, nil
	}
	var c *Corruption
	switch {
	case errors.As(err, &c):
		x.find(damage(s.name, c.Off, 0, err))
	case errors.Is(err, ErrNewer): // it was not when it was opened
		x.find(damage(s.name, 0, 0, err))
	default:
		return nil, err
	}
	return nil, nil
}

// judge looks again at what was found of a file: blocks that are still not what was written are to be quarantined, those too that nothing is lost with. The rest is not of blocks, or can't be read just now.
func (j *Journal) judge(ctx context.Context, s *sealed, found []Finding) (parts []Part, rest []Finding, err error) {
	raw := make([]byte, block.MaxRaw)
	for _, f := range found {
		if f.Off < fileHeaderSize || f.Off >= s.foot.dataEnd {
			rest = append(rest, f)
			continue
		}
		if s.known(f) {
			continue
		}
		_, again := s.entry(f.Off, &j.id, raw)
		if again != nil && !errors.Is(again, ErrCorrupt) {
			rest = append(rest, f)
			continue
		}
		if again == nil && f.Len > 1 { // it is well now
			continue
		}
		var held []Held
		if len(parts) < maxHeldParts {
			held, err = s.held(ctx, stretch{f.Off, f.Off + f.Len})
			if err != nil && !errors.Is(err, ErrCorrupt) {
				return nil, nil, err
			}
		}
		parts = append(parts, j.part(s, f.Off, f.Len, &Corruption{File: s.name, Off: f.Off, Reason: f.What}, held))
	}
	return parts, rest, nil
}

// known says whether all of what was found is quarantined.
func (s *sealed) known(f Finding) bool {
	return slices.ContainsFunc(s.parts, func(p stretch) bool { return p.off <= f.Off && f.Off+f.Len <= p.end })
}

// suspects are files in which somebody came upon damage. Safe for concurrent use.
type suspects struct {
	mu    sync.Mutex
	files map[string]bool // paths
}

func (s *suspects) note(err error) {
	var c *Corruption
	if !errors.As(err, &c) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil {
		s.files = map[string]bool{}
	}
	s.files[c.File] = true
}

// Suspect takes note of the file that an error says is damaged.
func (j *Journal) Suspect(err error) { j.hurt.note(err) }

// Suspects returns the files in which somebody came upon damage since it was asked last, for Scrub.
func (j *Journal) Suspects() (names []string) {
	j.hurt.mu.Lock()
	paths := slices.Sorted(maps.Keys(j.hurt.files))
	j.hurt.files = nil
	j.hurt.mu.Unlock()
	for _, s := range j.now.Load().files {
		if slices.Contains(paths, s.name) {
			names = append(names, j.relative(s))
		}
	}
	return names
}
