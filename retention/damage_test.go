package retention

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
)

var update = flag.Bool("update", false, "write the golden files")

// goldenWorld makes a small journal, always the same: a baseline, two points, a move forward with a save, one back, a record of each kind.
func goldenWorld(t *testing.T) *world { return golden(t, false) }

// goldenOriginal is the same, with point 0, whose disks the baseline changed.
func goldenOriginal(t *testing.T) *world { return golden(t, true) }

func golden(t *testing.T, keeps bool) *world {
	t.Helper()
	w := newWorld(1)
	w.keeps, w.t.saveLevel = keeps, block.LevelLZ4 // as it was when they were written
	w.sizes = []int64{8*replication.Page + 512, 4 * replication.Page}
	w.m = newMachine(1, w.sizes...)
	w.original = nil
	for _, d := range w.m.disks {
		w.original = append(w.original, slices.Clone(d.cur))
	}
	id := w.identity()
	id.UUID = "00112233445566778899aabbccddeeff"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	w.j, err = create(w.m.volume(), worldDir, id, w.t)
	must(err)
	_, err = w.j.Adopt(0)
	must(err)
	must(w.j.RecordContentIDs([]uint32{7, 8}))
	cut := func(p replication.PointID, from int) replication.Cut {
		return replication.Cut{Time: time.Unix(1700000000+int64(p)*300, 0).UTC(), Snapshot: fmt.Sprintf("cut %d.%d", p, from), Stable: true, Tracked: true, Sizes: w.sizes}
	}
	must(w.j.Begin(replication.Cycle{Point: 1, Mode: replication.Compare, Route: replication.Through, Cut: cut(1, 0)}))
	w.plan, w.equal, w.want = nil, nil, nil
	for d, n := range w.sizes {
		w.plan, w.equal = append(w.plan, replication.NewSet(replication.Extent{End: n})), append(w.equal, &replication.Set{})
		w.want = append(w.want, slices.Clone(w.m.disks[d].cur))
	}
	w.cycle = w.j.OpenCycle()
	if keeps {
		changed := map[replication.DiskNo][]replication.Extent{0: {{Off: 0, End: 3 * replication.Page}, {Off: 7 * replication.Page, End: w.sizes[0]}}, 1: {{Off: 2 * replication.Page, End: 3 * replication.Page}}}
		must(w.j.SaveOriginal(w.m.targets(), changed))
		for d, es := range changed {
			for _, e := range es {
				for i := range w.want[d][e.Off:e.End] {
					w.want[d][e.Off:][i] = byte(0xa0 + i%5)
				}
				_, err := w.m.targets()[d].WriteAt(w.want[d][e.Off:e.End], e.Off)
				must(err)
			}
		}
	}
	for range 3 {
		must(w.through())
	}
	must(w.list())
	for p := replication.PointID(2); p <= 3; p++ {
		last, _ := w.j.Last()
		c := replication.Cycle{Point: p, Base: last.ID, BaseChain: last.Chain, Mode: replication.Changes, Route: replication.Journaled, Cut: cut(p, 0)}
		if p == 3 { // one that is dropped first
			must(w.j.Begin(c))
			must(w.j.Drop("another snapshot"))
			c.Point, c.Cut = w.j.NextPoint(), cut(p, 1)
		}
		must(w.j.Begin(c))
		a, err := w.j.Lane(replication.Lane{Session: replication.Session{Group: "web", Generation: 1, ID: 4}, Point: c.Point, Lane: 1, Attempt: 2})
		must(err)
		w.want = clone2(w.want)
		w.plan = []*replication.Set{{}, {}}
		off := int64(p-1) * replication.Page
		data := replication.Extent{Off: off, End: off + 2*replication.Page}
		tail := replication.Extent{Off: 8 * replication.Page, End: w.sizes[0]}
		for i := range w.want[0][data.Off:data.End] {
			w.want[0][data.Off:][i] = byte(int(p)*16 + i%7)
		}
		for i := range w.want[0][tail.Off:] {
			w.want[0][tail.Off:][i] = byte(p)
		}
		raw := append(slices.Clone(w.want[0][data.Off:data.End]), w.want[0][tail.Off:]...)
		var enc block.Encoder
		b := block.Block{Kind: block.Data, Extents: []replication.Extent{data, tail}, Raw: len(raw), CRC: block.Checksum(raw)}
		b.Payload, b.Codec = enc.Encode(nil, raw, block.LevelLZ4)
		must(a.Append(&b))
		must(a.Sync())
		z := replication.Extent{Off: replication.Page, End: 3 * replication.Page}
		clear(w.want[1][z.Off:z.End])
		must(a.Append(&block.Block{Disk: 1, Kind: block.Zero, Extents: []replication.Extent{z}}))
		must(a.Close())
		w.plan[0].Add(data)
		w.plan[0].Add(tail)
		w.plan[1].Add(z)
		w.cycle = w.j.OpenCycle()
		must(w.list())
	}
	last, _ := w.j.Last()
	must(w.j.Move(t.Context(), w.m.targets(), last.ID, nil))
	must(w.j.Move(t.Context(), w.m.targets(), 2, nil))
	must(w.j.MarkVerified(2, replication.Verify{Time: time.Unix(1700009999, 0).UTC(), Equal: true}))
	must(w.j.Pin(2, time.Time{}, ""))
	must(w.j.MarkSuspect(last.ID, "late loss report"))
	return w
}

// packedWorld goes on from goldenWorld: points are dropped, files were rewritten, one of them without what the disks hold, the log was shortened, and a cycle that compares is open, with a sealed
// file, one that is cut off, and coverage.
func packedWorld(t *testing.T) *world {
	t.Helper()
	w := goldenWorld(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	lane := func(attempt uint64) *Arrival {
		a, err := w.j.Lane(replication.Lane{Session: replication.Session{Group: "web", Generation: 1, ID: 5}, Point: w.j.OpenCycle().Point, Attempt: attempt})
		must(err)
		return a
	}
	page := func(a *Arrival, d, k int, v byte) {
		e := w.pageOf(d, k)
		raw := bytes.Repeat([]byte{v, 1, 2, v + 3}, int(e.Len())/4)
		copy(w.want[d][e.Off:], raw)
		must(a.Append(&block.Block{Disk: replication.DiskNo(d), Kind: block.Data, Extents: []replication.Extent{e}, Raw: len(raw), CRC: block.Checksum(raw), Codec: block.None, Payload: raw}))
		w.plan[d].Add(e)
	}
	begin := func(mode replication.Mode) {
		last, _ := w.j.Last()
		p := w.j.NextPoint()
		must(w.j.Begin(replication.Cycle{Point: p, Base: last.ID, BaseChain: last.Chain, Mode: mode, Route: replication.Journaled,
			Cut: replication.Cut{Time: time.Unix(1700000000+int64(p)*300, 0).UTC(), Snapshot: fmt.Sprintf("cut %d", p), Stable: true, Sizes: w.sizes}}))
		w.cycle, w.want, w.plan, w.equal = w.j.OpenCycle(), clone2(w.want), []*replication.Set{{}, {}}, []*replication.Set{{}, {}}
	}
	for n := range 3 {
		begin(replication.Changes)
		a := lane(1)
		for k := range 3 {
			page(a, 0, n+k, byte(n*40+k))
		}
		page(a, 1, 3, byte(n))
		must(a.Close())
		must(w.list())
	}
	points := w.j.Points()
	must(w.j.Move(t.Context(), w.m.targets(), points[4].ID, nil))
	must(w.j.Unpin(2))
	must(w.dropped(points[1].ID, points[3].ID))
	must(w.rewritten(KeepSpares, segDir))
	must(w.rewritten(DropSpares, segDir))
	w.j.t.logBytes = 1
	must(w.j.Shorten())
	must(w.j.Pin(points[2].ID, time.Time{}, ""))
	begin(replication.Compare)
	a := lane(1)
	page(a, 0, 4, 77)
	must(a.Append(&block.Block{Disk: 1, Kind: block.Equal, Extents: []replication.Extent{w.pageOf(1, 0), w.pageOf(1, 2)}}))
	must(a.Close())
	a = lane(2)
	page(a, 1, 1, 99)
	must(a.Sync())
	return w
}

// files returns the journal's files by their names within its directory.
func (w *world) files() map[string][]byte {
	out := map[string][]byte{}
	for n, i := range w.m.names {
		if i != nil && strings.HasPrefix(n, worldDir+"/") && filepath.Base(n) != lockName {
			out[strings.TrimPrefix(n, worldDir+"/")] = i.cur
		}
	}
	return out
}

// sameAsGolden compares what a world wrote with files that never change, and opens these.
func (w *world) sameAsGolden(t *testing.T, format string) {
	t.Helper()
	dir := filepath.Join("testdata", format)
	got := w.files()
	for n, b := range got {
		name := filepath.Join(dir, strings.ReplaceAll(n, "/", "_"))
		if *update {
			if err := os.MkdirAll(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, b, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Errorf("%s: writes other bytes than the first release of %s did", n, format)
		}
		w.m.names[filepath.Join(worldDir, n)].cur = want
	}
	if files, _ := os.ReadDir(dir); len(files) != len(got) {
		t.Errorf("%d golden files, want %d", len(files), len(got))
	}
	w.j.Close()
	var err error
	if w.j, err = open(w.m.volume(), worldDir, "web", w.t); err != nil {
		t.Fatal(err)
	}
	if err := w.check("golden"); err != nil {
		t.Error(err)
	}
	if err := w.j.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestGoldenFormat1 reads back what release 1 wrote, from files that never change, and writes the same.
func TestGoldenFormat1(t *testing.T) { testGolden(t, goldenWorld(t), "format1") }

// TestGoldenFormat2 does so with a log of version 2, which has point 0.
func TestGoldenFormat2(t *testing.T) { testGolden(t, goldenOriginal(t), "format2") }

func testGolden(t *testing.T, w *world, format string) {
	t.Helper()
	w.sameAsGolden(t, format)
	p, _ := w.j.Point(2)
	if !p.Pinned || p.Verified == nil || w.j.Head() != 2 || w.j.Generation() != 1 || w.j.ContentIDs()[1][0] != 8 {
		t.Errorf("got point %+v, head %d, generation %d, content ids %v", p, w.j.Head(), w.j.Generation(), w.j.ContentIDs())
	}
	if last, _ := w.j.Last(); !last.Suspect || p.Suspect {
		t.Errorf("suspect: last %v want true, the verified one %v want false", last.Suspect, p.Suspect)
	}
}

// TestGoldenFormat1Packed does so with packs, drops, a log that was shortened, and an open cycle.
func TestGoldenFormat1Packed(t *testing.T) {
	w := packedWorld(t)
	w.sameAsGolden(t, "format1-packed")
	away := int64(0)
	for _, s := range w.j.now.Load().files {
		away += s.rec.Gone
	}
	if away == 0 {
		t.Error("no pack without content")
	}
	if got, want := w.j.Durable(0), int64(replication.Page); got != want {
		t.Errorf("disk 0: %d bytes of the open cycle are durable, want %d", got, want)
	}
	if got, want := w.j.Durable(1), int64(3*replication.Page); got != want {
		t.Errorf("disk 1: %d bytes of the open cycle are durable, want %d", got, want)
	}
}

// TestDamageIsNeverServed flips a bit of every byte of every file of a small journal, and cuts each short: opening, reading or checking says so with file and offset,
// and no read gives wrong bytes.
func TestDamageIsNeverServed(t *testing.T) {
	stride := 1
	if testing.Short() || slow > 1 {
		stride = 17
	}
	testDamage(t, goldenWorld(t), stride)
	testDamage(t, goldenOriginal(t), 7*stride)
	testDamage(t, goldenJoined(t, false), 13*stride)
	testDamage(t, goldenJoined(t, true), 13*stride)
}

func testDamage(t *testing.T, w *world, stride int) {
	w.j.Close()
	flips, harmless := 0, map[string]int{}
	for name, want := range w.files() {
		i := w.m.names[filepath.Join(worldDir, name)]
		for at := 0; at < len(want); at += stride {
			if want[at] == 0 && at%61 != 0 && zeros(want, at) { // padding: some of it
				continue
			}
			flips++
			w.right = want
			i.cur = slices.Clone(want)
			i.cur[at] ^= 1 << (at % 8)
			seen, err := w.damaged(name)
			if err != nil {
				t.Fatalf("%s, byte %d: %v", name, at, err)
			}
			if !seen {
				harmless[name]++
				if !padding(name, want, at) {
					t.Errorf("%s, byte %d: the damage was not seen", name, at)
				}
			}
		}
		for at := 0; at < len(want); at += 509 {
			i.cur = slices.Clone(want[:at])
			if seen, err := w.damaged(name); err != nil || !seen && !(name == logName && len(want)-at < 4096 && zeros(want, at)) {
				t.Errorf("%s, cut at %d: seen %v, %v", name, at, seen, err)
			}
		}
		i.cur = want
	}
	t.Logf("%d flips; not seen, in padding or an older end mark: %v", flips, harmless)
}

// TestEveryByteIsLookedAt flips bits of every file of a journal with packs, a shortened log and an open cycle: check names it with file and offset, the points and disks that are
// said to need it can't be read, and all others read right. Of what the open cycle lost nothing is taken for durable. FAILBACK_BITS sets of every byte how many bits; else some bytes are left out.
func TestEveryByteIsLookedAt(t *testing.T) {
	w := packedWorld(t)
	w.j.Close()
	stride := 23
	bits, _ := strconv.Atoi(os.Getenv("FAILBACK_BITS"))
	switch {
	case bits > 0:
		stride = 1
	case testing.Short() || slow > 1:
		stride = 97
	}
	flips, parts := 0, 0
	good := w.files()
	for name, want := range good {
		i := w.m.names[filepath.Join(worldDir, name)]
		for at := 0; at < len(want); at += stride {
			if bits < 8 && at%61 != 0 && zeros(want, at) { // padding: some of it
				continue
			}
			for n := range max(bits, 1) {
				bit := (at + n) % 8
				flips++
				i.cur = slices.Clone(want)
				i.cur[at] ^= 1 << bit
				if err := w.named([]flip{{name: name, at: at}}, lastRecord(good[logName]), &parts); err != nil {
					t.Fatalf("%s, byte %d, bit %d: %v", name, at, bit, err)
				}
				if name == coverageName || w.ofOpenCycle(name) {
					if err := w.lessDurable(good, name); err != nil {
						t.Fatalf("%s, byte %d, bit %d: %v", name, at, bit, err)
					}
				}
			}
		}
		i.cur = want
	}
	t.Logf("%d flips of %d files, %d parts that points need", flips, len(good), parts)
}

// lessDurable opens the journal, of whose open cycle a file is damaged, compares what counts as durable with what was sent, and puts its files back.
func (w *world) lessDurable(good map[string][]byte, name string) error {
	flipped := w.m.names[filepath.Join(worldDir, name)].cur
	defer func() {
		for n, b := range good {
			w.m.names[filepath.Join(worldDir, n)] = &inode{cur: b, dirty: map[int]bool{}}
		}
		w.m.names[filepath.Join(worldDir, name)].cur = flipped
	}()
	for n, b := range good { // opening cuts and seals
		if n != name {
			w.m.names[filepath.Join(worldDir, n)] = &inode{cur: slices.Clone(b), dirty: map[int]bool{}}
		}
	}
	j, err := open(w.m.volume(), worldDir, "web", w.t)
	if err != nil {
		if errors.Is(err, ErrCorrupt) {
			return nil
		}
		return err
	}
	defer j.Close()
	for d := range w.sizes {
		for e := range j.Coverage(replication.DiskNo(d)).All() {
			if !w.plan[d].Contains(e) && !(d == 1 && (e == w.pageOf(1, 0) || e == w.pageOf(1, 2) || e == replication.Extent{End: 3 * replication.Page})) {
				return fmt.Errorf("disk %d %v counts as durable", d, e)
			}
		}
	}
	return j.Check(context.Background())
}

// zeros says whether only zeros lie between at and its sector's end.
func zeros(b []byte, at int) bool {
	return replication.IsZero(b[at:min(len(b), int(alignUp(int64(at+1))))])
}

// padding says whether a byte means nothing: padding of the log, or the older of its end marks.
func padding(name string, b []byte, at int) bool {
	if name != logName {
		return false
	}
	return at < logStart || zeros(b, at)
}

// damaged opens the journal, checks it and reads every point. It says whether anything told of damage; err is for wrong bytes, or an error that is not of the right kind.
func (w *world) damaged(name string) (seen bool, err error) {
	i := w.m.names[filepath.Join(worldDir, name)]
	before := i.cur
	defer func() {
		if now := w.m.names[filepath.Join(worldDir, name)]; now != i { // made again: that must be right to the byte
			seen = true
			if err == nil && !bytes.Equal(now.cur, w.right) {
				err = errors.New("it was made again, and is not what it was")
			}
		}
		w.m.names[filepath.Join(worldDir, name)], i.cur = i, before
	}()
	ok := func(err error) error {
		var c *Corruption
		if errors.As(err, &c) && c.File != "" && errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer) || errors.Is(err, ErrNotJournal) {
			return nil
		}
		return err
	}
	j, err := open(w.m.volume(), worldDir, "web", w.t)
	if err != nil {
		return true, ok(err)
	}
	defer j.Close()
	w.j = j
	if err := j.Check(context.Background()); err != nil {
		seen = true
		if err := ok(err); err != nil {
			return true, err
		}
	}
	for _, p := range w.listed {
		for d := range w.sizes {
			look := func() error { return w.compare(p.ID, d, 0, w.sizes[d]) }
			if p.ID < w.born[d] {
				look = func() error { return w.refuses(p.ID, d) }
			}
			if err := look(); err != nil {
				seen = true
				if err := ok(err); err != nil {
					return true, err
				}
			}
		}
	}
	return seen, nil
}

func TestOpenRefuses(t *testing.T) {
	w := goldenWorld(t)
	if _, err := open(w.m.volume(), worldDir, "web", w.t); !errors.Is(err, ErrLocked) {
		t.Errorf("open twice: got %v want ErrLocked", err)
	}
	w.j.Close()
	if _, err := open(w.m.volume(), worldDir, "db", w.t); !errors.Is(err, ErrOtherGroup) {
		t.Errorf("another group's: got %v want ErrOtherGroup", err)
	}
	if _, err := open(w.m.volume(), "/none", "web", w.t); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: got %v want ErrNotExist", err)
	}
	if _, err := open(w.m.volume(), worldDir+"/seg", "web", w.t); !errors.Is(err, ErrNotJournal) {
		t.Errorf("no log: got %v want ErrNotJournal", err)
	}
	if _, err := create(w.m.volume(), worldDir, w.identity(), w.t); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create over a journal: got %v want ErrExist", err)
	}
	i := w.m.names[worldDir+"/log"]
	le.PutUint32(i.cur[8:], logVersion+1)
	le.PutUint32(i.cur[12:], crc(i.cur[:12]))
	if _, err := open(w.m.volume(), worldDir, "web", w.t); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), fmt.Sprintf("version %d", logVersion+1)) {
		t.Errorf("newer format: got %v want ErrNewer", err)
	}
}

// TestExchangedFilesAreFound puts one good file in the place of another: it is told, and nothing of it is served.
func TestExchangedFilesAreFound(t *testing.T) {
	w := goldenWorld(t)
	w.j.Close()
	good := w.files()
	var names []string
	for n := range good {
		if n != logName {
			names = append(names, n)
		}
	}
	for _, a := range names {
		for _, b := range names {
			if a == b {
				continue
			}
			w.replaceFile(a, bytes.Clone(good[b]))
			if err := w.openBlind(t, a); err != nil {
				t.Errorf("%s for %s: %v", b, a, err)
			}
			w.replaceFile(a, good[a])
		}
	}
	if len(names) < 3 {
		t.Errorf("%d files, want two segments and a save", len(names))
	}
}

func (w *world) replaceFile(name string, b []byte) {
	w.m.names[filepath.Join(worldDir, name)] = &inode{cur: b, dirty: map[int]bool{}}
}

// openBlind opens the journal, of which nothing can be told of a file: that is named as damage, check tells of it, and what is read of any point is right, or denied.
func (w *world) openBlind(t *testing.T, name string) (err error) {
	if w.j, err = open(w.m.volume(), worldDir, "web", w.t); err != nil {
		return err
	}
	defer w.j.Close()
	if len(w.j.now.Load().blind) != 1 {
		return fmt.Errorf("%d files are blind", len(w.j.now.Load().blind))
	}
	var c *Corruption
	if err := w.j.Check(t.Context()); !errors.As(err, &c) || c.File != filepath.Join(worldDir, name) {
		return fmt.Errorf("check: %w", err)
	}
	d, err := w.j.Damage(t.Context())
	if err != nil || len(d.Parts) != 1 || d.Parts[0].File != name || d.Parts[0].What == "" {
		return fmt.Errorf("damage: %+v, %w", d, err)
	}
	w.flips, w.blinds = 1, []replication.PointID{0}
	for _, p := range w.listed {
		before := w.denied
		for no := range w.sizes {
			if err := w.compare(p.ID, no, 0, w.sizes[no]); err != nil {
				return err
			}
		}
		damaged := slices.ContainsFunc(d.Points, func(x DamagedPoint) bool { return x.Point == p.ID && x.Bytes() > 0 })
		if denied := w.denied > before; denied != damaged {
			return fmt.Errorf("point %d: denied %v, told to be damaged %v", p.ID, denied, damaged)
		}
		if damaged && p.ID == w.j.Head() {
			return fmt.Errorf("point %d, which the disks show, is denied", p.ID)
		}
	}
	return nil
}

func TestRetireRemovesTheJournal(t *testing.T) {
	for k := 1; ; k++ { // the power fails at every operation
		w := goldenWorld(t)
		w.m.cutAt = w.m.ops + k
		err := w.j.Retire()
		if err == nil && !w.m.off {
			if len(w.files()) > 0 {
				t.Errorf("left: %v", w.files())
			}
			return
		}
		w.m.reboot()
		j, err := open(w.m.volume(), worldDir, "web", w.t)
		if err == nil { // not retired yet
			if err := w.check("after a failed retirement"); err != nil && !errors.Is(err, errPower) {
				t.Errorf("operation %d: %v", k, err)
			}
			if err := j.Retire(); err != nil {
				t.Errorf("operation %d: %v", k, err)
			}
			continue
		}
		if !errors.Is(err, ErrNotJournal) && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("operation %d: got %v want ErrNotJournal", k, err)
		}
		if err := remove(w.m.volume(), worldDir); err != nil && !errors.Is(err, ErrNotJournal) && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("operation %d: remove the rest: %v", k, err)
		}
	}
}

// TestMoveIsRefusedWhereDamageIsFound damages a segment that nobody has read for long: the move that needs it is refused before anything is recorded, and names what and whom it hurts.
func TestMoveIsRefusedWhereDamageIsFound(t *testing.T) {
	w := goldenWorld(t)
	last, seg := w.lastSegment()
	w.j.t.trust = 0
	seg.cur[fileHeaderSize+entryFixed+2*extentSize+9] ^= 1
	before := w.j.log.mark.seq
	err := w.j.Move(t.Context(), w.m.targets(), last, nil)
	var c *Corruption
	if !errors.As(err, &c) || c.Off != fileHeaderSize || !strings.HasSuffix(c.File, segSuffix) || !strings.Contains(c.Reason, "disk 0 (vm/0) [8192,16384)") || !strings.HasSuffix(c.Reason, "points 3") {
		t.Fatalf("got %v want a Corruption at %d that names disk, range and point", err, fileHeaderSize)
	}
	if w.j.Unfinished() != nil || w.j.Head() != 2 || w.j.log.mark.seq != before+1 {
		t.Fatalf("unfinished: %+v, head %d, %d records", w.j.Unfinished(), w.j.Head(), w.j.log.mark.seq-before)
	}
	d, err := w.j.Damage(t.Context())
	if err != nil || len(d.Parts) != 1 || len(d.Points) != 1 || d.Points[0].Point != last || d.Points[0].Bytes() != 2*replication.Page+512 || d.Parts[0].Held[0].Version != last {
		t.Errorf("damage: %+v, %v", d, err)
	}
	if err := w.check("damaged"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("point %d is served: %v", last, err)
	}
}

// TestMoveGoesBackAtDamage damages a segment that counts as whole: the move that comes upon it half way takes the disks back, and then it is known.
func TestMoveGoesBackAtDamage(t *testing.T) {
	w := goldenWorld(t)
	last, seg := w.lastSegment()
	w.j.t.trust = time.Hour
	seg.cur[fileHeaderSize+entryFixed+2*extentSize+9] ^= 1
	for range 2 {
		err := w.j.Move(t.Context(), w.m.targets(), last, nil)
		var c *Corruption
		if !errors.As(err, &c) || c.Off != fileHeaderSize || !strings.HasSuffix(c.File, segSuffix) {
			t.Fatalf("got %v want a Corruption at %d", err, fileHeaderSize)
		}
		if w.j.Unfinished() != nil || w.j.Head() != 2 {
			t.Fatalf("unfinished: %+v, head %d", w.j.Unfinished(), w.j.Head())
		}
	}
	for _, p := range []replication.PointID{1, 2} {
		for d := range w.sizes {
			if err := w.compare(p, d, 0, w.sizes[d]); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(w.m.disks[d].dur, w.truth[2][d]) {
				t.Errorf("disk %d is not back at point 2", d)
			}
		}
	}
	if d, err := w.j.Damage(t.Context()); err != nil || len(d.Parts) != 1 || len(d.Points) != 1 {
		t.Errorf("damage: %+v, %v", d, err)
	}
}

// lastSegment returns the last point and its segment.
func (w *world) lastSegment() (replication.PointID, *inode) {
	last, _ := w.j.Last()
	for n, i := range w.m.names {
		if strings.HasPrefix(n, fmt.Sprintf("%s/seg/%d-", worldDir, last.ID)) {
			return last.ID, i
		}
	}
	return last.ID, nil
}
