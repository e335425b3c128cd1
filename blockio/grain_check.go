package blockio

import (
	"fmt"
	"math"
	"math/bits"
)

// finding is one thing that is wrong with an extent.
type finding struct {
	err error
	// redundantOnly: the first directory is sound, and says all that is needed; the second one disagrees with it.
	redundantOnly bool
}

const (
	// maxFindings ends a check: an image with more is not going to be put right by hand.
	maxFindings = 100
	// placesAtOnce is how many places of the file are looked at in one pass over the tables, a bit for each (I12).
	placesAtOnce = 128 << 20
)

// grainCheck is what a look at every entry of an extent found.
type grainCheck struct {
	file     *grainFile
	fileSize int64
	findings []finding
	end      int64 // first sector behind all tables and grains
	full     bool  // stopped at maxFindings

	tables, data places
}

// places is where things lie: all between two sectors, each at a multiple of step from the beginning of the file.
type places struct{ from, to, step int64 }

var noPlaces = places{from: math.MaxInt64, step: 1 << 30}

func (p *places) note(start, n int64) {
	p.from, p.to = min(p.from, start), max(p.to, start+n)
	p.step = min(p.step, int64(1)<<bits.TrailingZeros64(uint64(start|n)))
}

// eachWindow calls fn for a part of p after the other, each small enough to have a bit for every place in it.
func (p places) eachWindow(fn func(w *placeMap) error) error {
	for from := p.from; from < p.to; {
		w := &placeMap{places: places{from, min(from+placesAtOnce*p.step, p.to), p.step}, next: p.to}
		w.bits = make([]uint64, (w.to-w.from)/w.step/64+1)
		if err := fn(w); err != nil {
			return err
		}
		from = w.next
	}
	return nil
}

// placeMap has a bit for each place.
type placeMap struct {
	places
	bits []uint64
	next int64 // the first sector behind the map that something lies in
}

// take marks what of the sectors [start, start+n) is in the map, and reports whether all of that was free.
func (w *placeMap) take(start, n int64) bool {
	free := true
	if start+n > w.to {
		w.next = min(w.next, max(start, w.to))
	}
	for s := max(start, w.from); s < min(start+n, w.to); s += w.step {
		i := (s - w.from) / w.step
		free = free && w.bits[i/64]&(1<<(i%64)) == 0
		w.bits[i/64] |= 1 << (i % 64)
	}
	return free
}

func (c *grainCheck) add(f finding) {
	if len(c.findings) >= maxFindings {
		c.full = true
		return
	}
	c.findings = append(c.findings, f)
}

// first returns the first finding that is more than a disagreement of the second directory.
func (c *grainCheck) first() error {
	for _, f := range c.findings {
		if !f.redundantOnly {
			return f.err
		}
	}
	return nil
}

// check reads every directory and table entry of both directories: bounds, places used twice, agreement; and the markers of
// compressed grains. Its memory does not grow with the disk: where the file has more places for grains than fit, the tables
// are read several times.
func (f *grainFile) check() (*grainCheck, error) {
	fileSize, err := f.st.Size()
	if err != nil {
		return nil, err
	}
	c := &grainCheck{file: f, fileSize: fileSize, end: f.firstGrain, tables: noPlaces, data: noPlaces}
	for n := int64(0); n < f.tables() && !c.full; {
		empty, err := f.empty(n)
		if err == nil && empty == 0 {
			empty, err = 1, c.checkTable(n)
		}
		if err != nil {
			return nil, err
		}
		n += empty
	}
	if err := c.checkTablePlaces(); err != nil {
		return nil, err
	}
	return c, c.data.eachWindow(c.checkGrainPlaces)
}

// checkTable looks at table n of each directory, and notes where its grains lie. The error is one of reading.
func (c *grainCheck) checkTable(n int64) error {
	first, bad, err := c.copyOf(0, n)
	if err != nil {
		return err
	}
	if bad != nil {
		c.add(finding{err: bad})
	}
	c.checkEntries(n, first)
	if len(c.file.directories) == 1 {
		return nil
	}
	second, badSecond, err := c.copyOf(1, n)
	switch {
	case err != nil:
		return err
	case badSecond != nil:
		c.add(finding{err: badSecond, redundantOnly: true})
	case bad == nil && !first.same(second):
		// A table that only the second directory knows was never in use.
		only := first.entries == nil || second.entries != nil
		c.add(finding{err: c.file.disagreement(n, first, second), redundantOnly: only})
	}
	return nil
}

// copyOf reads table n of directory d. bad tells that it cannot be where the directory says.
func (c *grainCheck) copyOf(d int, n int64) (t tableCopy, bad, err error) {
	at, err := c.file.find(d, n, c.fileSize)
	if err == nil && at != 0 {
		t, err = c.file.readTable(n, at)
	}
	if err != nil && isDamage(err) {
		return t, err, nil
	}
	return t, nil, err
}

// checkEntries judges the grains of a table, and notes where they lie.
func (c *grainCheck) checkEntries(n int64, t tableCopy) {
	f := c.file
	for i, entry := range t.entries {
		if entry == 0 {
			continue
		}
		g, entryAt := n*f.perTable+int64(i), t.at*SectorSize+int64(i)*f.entryBytes
		if g*f.grain >= f.capacity {
			if p, wrong := f.format.place(entry); wrong != "" || p.kind == grainHeld {
				c.add(finding{err: corruptAt(f.st.Name(), entryAt, "grain %d is behind the end of the disk", g)})
			}
			continue
		}
		if err := f.judgeEntry(g, entry, entryAt, c.fileSize); err != nil {
			c.add(finding{err: err})
			continue
		}
		start, sectors, err := c.extentOf(g, entry)
		if err != nil {
			c.add(finding{err: err})
		}
		if sectors == 0 {
			continue
		}
		c.data.note(start, sectors)
	}
}

// extentOf is where a grain lies in the file; 0 sectors if it does not. A compressed one says by itself how long it is.
func (c *grainCheck) extentOf(g int64, entry uint64) (start, sectors int64, err error) {
	p, wrong := c.file.format.place(entry)
	if wrong != "" || p.kind != grainHeld {
		return 0, 0, nil
	}
	h, ok := c.file.format.(sparseHeader)
	if !ok || !h.compressed() {
		return p.sector, c.file.grain, nil
	}
	m, err := readGrainMarker(c.file, &h, g, p.sector)
	if err != nil {
		return 0, 0, err
	}
	n := h.markerBytes() + m.size
	if p.sector*SectorSize+n > c.fileSize {
		return 0, 0, corruptAt(c.file.st.Name(), p.sector*SectorSize, "grain %d has %d bytes, past the end of the file of %d bytes", g, n, c.fileSize)
	}
	return p.sector, ceilDiv(n, SectorSize), nil
}

// checkTablePlaces looks for tables that share sectors.
func (c *grainCheck) checkTablePlaces() error {
	f := c.file
	n := f.tableBytes() / SectorSize
	if err := f.eachTablePlace(c.fileSize, func(at int64) { c.tables.note(at, n) }); err != nil {
		return err
	}
	c.end = max(c.end, c.tables.to, c.data.to)
	return c.tables.eachWindow(func(w *placeMap) error {
		return f.eachTablePlace(c.fileSize, func(at int64) {
			if !w.take(at, n) {
				c.add(finding{err: corruptAt(f.st.Name(), at*SectorSize, "two grain tables share sector %d", at)})
			}
		})
	})
}

// checkGrainPlaces looks for grains that share sectors of the file with each other or with a table.
func (c *grainCheck) checkGrainPlaces(w *placeMap) error {
	f := c.file
	if err := f.eachTablePlace(c.fileSize, func(at int64) {
		// A table may take a part of a place: its first and its last sector are in it.
		for s := at; s < at+f.tableBytes()/SectorSize; s++ {
			w.take(s-s%w.step, 1)
		}
	}); err != nil {
		return err
	}
	return f.eachTable(c.fileSize, func(n int64, t tableCopy) {
		for i, entry := range t.entries {
			g := n*f.perTable + int64(i)
			if entry == 0 || c.full || g*f.grain >= f.capacity || f.judgeEntry(g, entry, 0, c.fileSize) != nil {
				continue
			}
			start, sectors, err := c.extentOf(g, entry)
			if err == nil && !w.take(start, sectors) {
				c.add(finding{err: corruptAt(f.st.Name(), t.at*SectorSize+int64(i)*f.entryBytes,
					"grain %d is at sector %d, which is in use by another grain or a table", g, start)})
			}
		}
	})
}

// eachTablePlace calls fn with the sector of every table of every directory that can be there.
func (f *grainFile) eachTablePlace(fileSize int64, fn func(at int64)) error {
	for d := range f.directories {
		for n := int64(0); n < f.tables(); {
			b := make([]byte, min(f.tables()-n, scanBytes/f.entryBytes)*f.entryBytes)
			if err := readFull(f.st, b, f.entryAt(d, n)); err != nil {
				return fmt.Errorf("read grain directory: %w", err)
			}
			for _, entry := range f.decode(b) {
				if at, err := f.findIn(entry, d, n, fileSize); err == nil && at != 0 {
					fn(at)
				}
				n++
			}
		}
	}
	return nil
}

// eachTable calls fn for the tables of the first directory that can be read.
func (f *grainFile) eachTable(fileSize int64, fn func(n int64, t tableCopy)) error {
	for n := int64(0); n < f.tables(); n++ {
		empty, err := f.empty(n)
		if err != nil {
			return err
		}
		if n += empty; n >= f.tables() {
			break
		}
		at, err := f.find(0, n, fileSize)
		if err == nil && at != 0 {
			var t tableCopy
			if t, err = f.readTable(n, at); err == nil {
				fn(n, t)
			}
		}
		if err != nil && !isDamage(err) {
			return fmt.Errorf("check grains: %w", err)
		}
	}
	return nil
}
