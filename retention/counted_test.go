package retention

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/retention/policy"
)

// counters are bytes read and written: of the files of a journal by their kind, and of its disks.
type counters struct {
	segRead, segWritten, saveRead, saveWritten, packRead, packWritten, otherRead, otherWritten, diskRead, diskWritten atomic.Int64
}

// all is every byte moved.
func (c *counters) all() int64 {
	return c.segRead.Load() + c.segWritten.Load() + c.saveRead.Load() + c.saveWritten.Load() + c.packRead.Load() + c.packWritten.Load() + c.otherRead.Load() + c.otherWritten.Load() +
		c.diskRead.Load() + c.diskWritten.Load()
}

// countedVolume is the file system, with the bytes counted.
type countedVolume struct {
	volume
	*counters
}

type countedFile struct {
	file
	read, written *atomic.Int64
}

func (v countedVolume) counted(name string, f file, err error) (file, error) {
	if err != nil {
		return nil, err
	}
	c := countedFile{f, &v.otherRead, &v.otherWritten}
	switch filepath.Base(filepath.Dir(name)) {
	case segDir:
		c.read, c.written = &v.segRead, &v.segWritten
	case saveDir:
		c.read, c.written = &v.saveRead, &v.saveWritten
	case packDir:
		c.read, c.written = &v.packRead, &v.packWritten
	}
	return c, nil
}

func (v countedVolume) Open(name string) (file, error) {
	f, err := v.volume.Open(name)
	return v.counted(name, f, err)
}

func (v countedVolume) Create(name string) (file, error) {
	f, err := v.volume.Create(name)
	return v.counted(name, f, err)
}

func (f countedFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.file.ReadAt(b, off)
	f.read.Add(int64(n))
	return n, err
}

func (f countedFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.file.WriteAt(b, off)
	f.written.Add(int64(n))
	return n, err
}

// countedDisk is a disk in a file, with the bytes counted.
type countedDisk struct {
	fileDisk
	*counters
}

func (d countedDisk) ReadAt(b []byte, off int64) (int, error) {
	n, err := d.fileDisk.ReadAt(b, off)
	d.diskRead.Add(int64(n))
	return n, err
}

func (d countedDisk) WriteAt(b []byte, off int64) (int, error) {
	n, err := d.fileDisk.WriteAt(b, off)
	d.diskWritten.Add(int64(n))
	return n, err
}

func (d countedDisk) Zero(off, n int64) error {
	_, err := d.WriteAt(make([]byte, n), off)
	return err
}

// counting is a stand whose bytes are counted.
type counting struct {
	*stand
	*counters
	disks   []Disk
	changed int64 // bytes of the disks that cycles brought
	r       *rand.ChaCha8
}

func newCounting(t *testing.T, size int64) *counting {
	s := newStand(t, size)
	s.must(s.j.Close())
	c := &counting{stand: s, counters: &counters{}, r: rand.NewChaCha8([32]byte{9})}
	var err error
	s.j, err = open(countedVolume{osVolume{}, c.counters}, s.j.dir, "g", defaultTuning)
	s.must(err)
	t.Cleanup(func() { s.j.Close() })
	c.disks = []Disk{countedDisk{s.disk, c.counters}}
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(buf)) { // nothing of it compresses
		c.r.Read(buf)
		s.must(one(s.disk.File.WriteAt(buf, off)))
	}
	*c.counters = counters{}
	return c
}

// point makes a point, at a time, that changes units of so many bytes of the disk to what does not compress.
func (c *counting) point(unit int64, units []int64, at time.Time) replication.PointID {
	last, _ := c.j.Last()
	p := c.j.NextPoint()
	c.must(c.j.Begin(replication.Cycle{Point: p, Base: last.ID, BaseChain: last.Chain, Route: replication.Journaled, Mode: replication.Changes, Cut: replication.Cut{Time: at, Sizes: []int64{c.disk.size}}}))
	c.n++
	a, err := c.j.Lane(replication.Lane{Session: replication.Session{Group: "g", Generation: 1, ID: 1}, Point: p, Attempt: c.n})
	c.must(err)
	raw, exts := make([]byte, 0, block.MaxRaw), []replication.Extent(nil)
	flush := func() {
		b := block.Block{Kind: block.Data, Extents: exts, Raw: len(raw), CRC: block.Checksum(raw), Codec: block.None, Payload: raw}
		c.must(a.Append(&b))
		c.changed += int64(len(raw))
		raw, exts = raw[:0], nil
	}
	slices.Sort(units)
	for _, u := range units {
		n := len(raw)
		raw = raw[:n+int(unit)]
		c.r.Read(raw[n:])
		if k := len(exts); k > 0 && exts[k-1].End == u*unit {
			exts[k-1].End += unit
		} else {
			exts = append(exts, replication.Extent{Off: u * unit, End: (u + 1) * unit})
		}
		if len(raw)+int(unit) > block.MaxRaw {
			flush()
		}
	}
	if len(exts) > 0 {
		flush()
	}
	return c.end(a)
}

func (c *counting) move(to replication.PointID) {
	c.must(c.j.Move(c.t.Context(), c.disks, to, nil))
}

// mix draws so many of all units, none twice: of every ten eight are among the first fifth.
func mix(r *rand.Rand, n, all int64) []int64 {
	units := map[int64]bool{}
	hot := all / 5
	for k := int64(0); int64(len(units)) < n; k++ {
		u := hot + r.Int64N(all-hot)
		if int64(len(units))*10 < n*8 {
			u = r.Int64N(hot)
		}
		units[u] = true
	}
	return slices.Collect(maps.Keys(units))
}

func sequence(from, n int64) (units []int64) {
	for u := range n {
		units = append(units, from+u)
	}
	return units
}

// TestBytesMoved counts what 24 cycles move, read and written, of journal and disk, for each byte that they change.
func TestBytesMoved(t *testing.T) {
	const cycles, unit = 24, 64 << 10
	size := int64(96 << 20)
	log := 0.0
	if slow > 1 { // the log weighs more then
		size, log = size/3, 0.3
	}
	all := size / unit
	r := rand.New(rand.NewPCG(1, 2))
	for _, w := range []struct {
		name              string
		units             func(k int64) []int64
		following, behind float64 // at most, with a head that follows each cycle, and with one that moves once
	}{
		{"HotSet", func(int64) []int64 { return sequence(all/3, all/cycles) }, 3.2, 1.3},
		{"EightyTwenty", func(int64) []int64 { return mix(r, all/16, all) }, 3.8, 2.4},
		{"Disjoint", func(k int64) []int64 { return sequence(k*(all/cycles), all/cycles) }, 5.1, 5.1},
	} {
		for _, lags := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/HeadLags=%v", w.name, lags), func(t *testing.T) {
				c := newCounting(t, size)
				var p replication.PointID
				for k := range int64(cycles) {
					p = c.point(unit, w.units(k), time.Time{})
					if !lags {
						c.move(p)
					}
				}
				c.move(p)
				most := w.following
				if lags {
					most = w.behind
				}
				got := float64(c.all()) / float64(c.changed)
				t.Logf("%.3f bytes moved per changed byte; segments %d MiB written and %d read, saves %d and %d, disk %d and %d, the rest %d KiB and %d", got, c.segWritten.Load()>>20, c.segRead.Load()>>20,
					c.saveWritten.Load()>>20, c.saveRead.Load()>>20, c.diskWritten.Load()>>20, c.diskRead.Load()>>20, c.otherWritten.Load()>>10, c.otherRead.Load()>>10)
				if most += log; got > most {
					t.Errorf("got %.3f bytes moved per changed byte, want at most %.1f", got, most)
				}
			})
		}
	}
}

// TestMovesLeaveAlone counts what moves need not touch: a second one over the same blocks reads nothing of the disk, and one back over 24 points writes nothing to the journal but its records.
func TestMovesLeaveAlone(t *testing.T) {
	c := newCounting(t, 16<<20)
	var points []replication.PointID
	for range 24 {
		points = append(points, c.point(replication.Page, mix(rand.New(rand.NewPCG(3, uint64(len(points)))), 64, 4096), time.Time{}))
		c.move(points[len(points)-1])
	}
	saved, packed, read := c.saveWritten.Load(), c.packWritten.Load(), c.diskRead.Load()
	segments := c.segWritten.Load()
	c.move(1)
	c.move(points[23])
	for _, p := range points[:12] {
		c.move(p)
	}
	if got := c.diskRead.Load() - read; got != 0 {
		t.Errorf("%d bytes of the disk were read again", got)
	}
	if got := c.saveWritten.Load() - saved + c.packWritten.Load() - packed + c.segWritten.Load() - segments; got != 0 {
		t.Errorf("%d bytes were written to the journal", got)
	}
}

// TestDayIsThinned makes a day and three hours of points every five minutes, thinned to the default grid as it goes on, the head following. It counts what is rewritten.
func TestDayIsThinned(t *testing.T) {
	const pages = 2048
	for _, w := range []struct {
		name  string
		units func(r *rand.Rand, k int64) []int64
	}{
		{"HotSet", func(*rand.Rand, int64) []int64 { return sequence(100, 48) }},
		{"EightyTwenty", func(r *rand.Rand, _ int64) []int64 { return mix(r, 48, pages) }},
		{"Disjoint", func(_ *rand.Rand, k int64) []int64 { return sequence(k*48%(pages-48), 48) }},
	} {
		t.Run(w.name, func(t *testing.T) {
			c := newCounting(t, pages*replication.Page)
			r := rand.New(rand.NewPCG(4, 5))
			begin := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
			var most, drops, rewrites int
			for k := range int64(27 * 12) {
				if slow > 1 && k > 12*5 {
					break
				}
				now := begin.Add(time.Duration(k) * 5 * time.Minute)
				c.move(c.point(replication.Page, w.units(r, k), now))
				if k%4 == 0 {
					d, n := c.upkeep(now)
					drops, rewrites = drops+d, rewrites+n
				}
				most = max(most, len(c.j.Points()))
			}
			got := float64(c.packWritten.Load()) / float64(c.segWritten.Load()+c.saveWritten.Load())
			t.Logf("%.3f bytes rewritten per byte of journal; %d points dropped, %d files rewritten, %d points listed at most; the journal got %d KiB", got, drops, rewrites, most, (c.segWritten.Load()+c.saveWritten.Load())>>10)
			if got > 1.2 {
				t.Errorf("got %.3f bytes rewritten per byte of journal, want at most 1.2", got)
			}
			if drops == 0 || rewrites == 0 && slow == 1 {
				t.Errorf("%d points dropped, %d files rewritten", drops, rewrites)
			}
			var total, dead int64
			use, err := c.j.Use(t.Context(), nil)
			c.must(err)
			for _, f := range use.Files {
				total, dead = total+f.Size, dead+f.Dead
			}
			if dead > total/2 {
				t.Errorf("%d of the journal's %d bytes are dead", dead, total)
			}
		})
	}
}

// upkeep does what policy asks for: points off the grid are dropped, files with much that is dead rewritten.
func (c *counting) upkeep(now time.Time) (drops, rewrites int) {
	grid := policy.Failback()
	for {
		use, err := c.j.Use(c.t.Context(), nil)
		c.must(err)
		var points []policy.Point
		for _, p := range c.j.Points() {
			x := policy.Point{ID: p.ID, Time: p.Time, Kind: p.Kind, Stored: p.Stored, Frees: use.Frees[p.ID]}
			if p.ID == c.j.Head() {
				x.Use = policy.Head
			}
			points = append(points, x)
		}
		if ids := policy.Drop(points, now, grid); len(ids) > 0 {
			c.must(c.j.DropPoints(ids, "test"))
			drops += len(ids)
			continue
		}
		s := policy.Space{Points: points, Grid: grid, Yield: use.Yield, Volume: policy.Volume{Total: 1 << 40, Free: 1 << 39, Groups: 1}}
		for _, f := range use.Files {
			s.Files = append(s.Files, policy.File{Name: f.Name, Bytes: f.Size, Dead: f.Dead, Spare: f.Spare, Cold: f.Cold})
		}
		a, _ := policy.Next(s, now, policy.Pressure{})
		if a.Do != policy.Rewrite {
			return drops, rewrites
		}
		c.must(one(c.j.Rewrite(c.t.Context(), []string{a.File}, RewriteOptions{})))
		rewrites++
	}
}
