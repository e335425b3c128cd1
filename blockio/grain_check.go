package blockio

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
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
	grains   int64 // that exist
	full     bool  // stopped at maxFindings

	tables   []int64 // sectors of all that were found, of both directories; sorted
	from, to int64   // sectors that grains lie in
	step     int64   // divides the place and the size of every grain
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
	c := &grainCheck{file: f, fileSize: fileSize, end: f.firstGrain, from: math.MaxInt64, step: 1 << 30,
		tables: make([]int64, 0, f.tables()*int64(len(f.directories)))} // 32 MiB at most, touched as it is used
	for n := int64(0); n < f.tables() && !c.full; n++ {
		absent, err := f.absent(n)
		if err != nil {
			return nil, err
		}
		if n += absent; n >= f.tables() {
			break
		}
		if err := c.checkTable(n); err != nil {
			return nil, err
		}
	}
	c.checkTablePlaces()
	for from := c.from; from < c.to && !c.full; from += placesAtOnce * c.step {
		if err := c.checkGrainPlaces(from, min(from+placesAtOnce*c.step, c.to)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// checkTable looks at table n of each directory, and notes its place and those of its grains. The error is one of reading.
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
	second, bad, err := c.copyOf(1, n)
	switch {
	case err != nil:
		return err
	case bad != nil:
		c.add(finding{err: bad, redundantOnly: true})
	case !first.same(second):
		// A table that only the second directory knows was never in use.
		only := first.entries == nil || second.entries != nil
		c.add(finding{err: c.file.disagreement(n, first, second), redundantOnly: only})
	}
	return nil
}

// copyOf reads table n of directory d and notes its place. bad tells that it cannot be where the directory says.
func (c *grainCheck) copyOf(d int, n int64) (t tableCopy, bad, err error) {
	at, err := c.file.find(d, n, c.fileSize)
	if err == nil && at != 0 {
		c.tables = append(c.tables, at)
		c.end = max(c.end, at+c.file.tableBytes()/SectorSize)
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
		c.grains++
		c.from, c.to, c.end = min(c.from, start), max(c.to, start+sectors), max(c.end, start+sectors)
		c.step = min(c.step, int64(1)<<bits.TrailingZeros64(uint64(start|sectors)))
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
func (c *grainCheck) checkTablePlaces() {
	slices.Sort(c.tables)
	for i, at := range c.tables {
		if i > 0 && at < c.tables[i-1]+c.file.tableBytes()/SectorSize {
			c.add(finding{err: corruptAt(c.file.st.Name(), at*SectorSize, "two grain tables share sector %d", at)})
		}
	}
}

// checkGrainPlaces looks for grains that share sectors [from, to) of the file with each other or with a table.
func (c *grainCheck) checkGrainPlaces(from, to int64) error {
	f := c.file
	used := make([]uint64, (to-from)/c.step/64+1)
	bit := func(sector int64) (int64, uint64) { i := (sector - from) / c.step; return i / 64, 1 << (i % 64) }
	tableSectors := f.tableBytes() / SectorSize
	for _, at := range c.tables {
		for s := max(at, from); s < min(at+tableSectors, to); s++ {
			i, b := bit(s)
			used[i] |= b
		}
	}
	return f.eachTable(c.fileSize, func(n int64, t tableCopy) {
		for i, entry := range t.entries {
			g := n*f.perTable + int64(i)
			if entry == 0 || c.full || g*f.grain >= f.capacity || f.judgeEntry(g, entry, 0, c.fileSize) != nil {
				continue
			}
			start, sectors, err := c.extentOf(g, entry)
			if err != nil || start >= to || start+sectors <= from {
				continue
			}
			twice := false
			for s := max(start, from); s < min(start+sectors, to); s += c.step {
				i, b := bit(s)
				twice = twice || used[i]&b != 0
				used[i] |= b
			}
			if twice {
				c.add(finding{err: corruptAt(f.st.Name(), t.at*SectorSize+int64(i)*f.entryBytes,
					"grain %d is at sector %d, which is in use by another grain or a table", g, start)})
			}
		}
	})
}

// eachTable calls fn for the tables of the first directory that can be read.
func (f *grainFile) eachTable(fileSize int64, fn func(n int64, t tableCopy)) error {
	for n := range f.tables() {
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
