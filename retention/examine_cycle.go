package retention

import (
	"errors"
	"fmt"
	"io/fs"

	"failback/replication"
	"failback/replication/block"
)

// openCycle examines what is there of the open cycle, and of point 0 before it is listed. No listed point needs it; what of a cycle can't be read is sent again.
func (x *examination) openCycle() error {
	for _, f := range x.i.cycle {
		at := x.done
		if err := x.cycleFile(x.i.j.path(f.Name)); err != nil {
			return err
		}
		x.i.j.files.forget(x.i.j.path(f.Name))
		x.advance(at + f.Size - x.done)
	}
	if x.c.cycle == nil || x.i.running {
		return nil // it is being written
	}
	return x.coverage()
}

func (x *examination) cycleFile(name string) error {
	s, err := openSealed(x.i.j.files, name, &x.c.id, x.i.j.journal)
	if err == nil {
		if err = s.verifyIndex(&x.c.id); err == nil {
			return x.sealed(s)
		}
		if !errors.Is(err, ErrCorrupt) {
			return err
		}
		// Its seal did not become durable in whole, as opening it would find: what is in it counts by its blocks.
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // dropped meanwhile
	}
	f, err := x.i.j.vol.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	var need int64
	if number, ok := originalNumber(base(name)); ok {
		m, err := x.i.j.readOriginalEnd()
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return err
		} else if err != nil {
			x.find(Finding{File: x.i.j.path(saveDir, originalEndName), What: err.Error(), Damage: true, Fatal: true})
		}
		if need = m.needs(number); need < 0 {
			need = size
		}
	}
	last := int64(fileHeaderSize)
	_, end, err := scan(f, name, &x.c.id, func(b *block.Block, _ replication.PointID, at int64) error {
		pad := make([]byte, at-last)
		if err := readFull(f, pad, last); err != nil {
			return err
		}
		if !replication.IsZero(pad) {
			x.find(Finding{File: name, Off: last, Len: at - last, What: "padding is not zeros; it means nothing"})
		}
		last = at + int64(entryFixed+len(b.Extents)*extentSize+len(b.Payload))
		return x.ctx.Err()
	})
	if x.ctx.Err() != nil {
		return x.ctx.Err()
	}
	if err != nil {
		x.find(damage(name, end, size-end, err))
		return nil
	}
	if end < need {
		x.find(Finding{File: name, Off: end, Len: need - end, What: lostOriginal(name, end).Error(), Damage: true, Fatal: true})
		return nil
	}
	what := "a file of the open cycle that is not sealed: its blocks are whole up to here, of %d bytes; the rest is sent again"
	if isOriginal(base(name)) {
		what = "a save of point 0 that is not sealed: its blocks are whole up to here, of %d bytes; of the rest nothing was written over"
	}
	x.find(Finding{File: name, Off: end, Len: size - end, What: fmt.Sprintf(what, size)})
	return nil
}

// coverage examines the coverage file.
func (x *examination) coverage() error {
	name := x.i.j.path(coverageName)
	f, err := x.i.j.vol.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	again := func(at int64, what string) {
		x.find(Finding{File: name, Off: at, Len: size - at, What: what + ": what is from here on is compared or sent again"})
	}
	h := make([]byte, min(size, coverageStart))
	if err := readFull(f, h, 0); err != nil {
		x.find(damage(name, 0, size, err))
		return nil
	}
	u, p, err := parseCoverageHeader(h)
	switch {
	case err != nil:
		again(0, err.Error())
		return nil
	case u != x.i.j.journal || p != x.c.cycle.Point:
		again(0, fmt.Sprintf("coverage of point %d of journal %s", p, u))
		return nil
	case !replication.IsZero(h[min(len(h), coverageHeader):]):
		again(coverageHeader, "padding is not zeros")
	}
	for at := int64(coverageStart); at < size; {
		_, n, err := readBatch(f, at, size, &x.c.id)
		if err != nil {
			again(at, err.Error())
			return nil
		}
		pad := make([]byte, min(alignUp(at+n), size)-at-n)
		if err := readFull(f, pad, at+n); err != nil {
			return fmt.Errorf("read %s at %d: %w", name, at+n, err)
		}
		if !replication.IsZero(pad) {
			x.find(Finding{File: name, Off: at + n, Len: int64(len(pad)), What: "padding is not zeros; it means nothing"})
		}
		at = alignUp(at + n)
	}
	return nil
}
