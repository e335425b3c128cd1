package retention

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// plainWorld is a journal with one disk and its baseline, of which all that happens is said.
func plainWorld(t *testing.T, pages int64) *world {
	w := newWorld(2)
	w.keeps, w.frail = false, false
	w.sizes = []int64{pages * replication.Page}
	w.born = []replication.PointID{0}
	w.m = newMachine(2, w.sizes...)
	w.original = [][]byte{slices.Clone(w.m.disks[0].cur)}
	must := musts(t)
	var err error
	w.j, err = create(w.m.volume(), worldDir, w.identity(), w.t)
	must(err)
	_, err = w.j.Adopt(0)
	must(err)
	must(w.j.Begin(replication.Cycle{Point: 1, Mode: replication.Compare, Route: replication.Through, Cut: replication.Cut{Time: time.Unix(1700000000, 0).UTC(), Snapshot: "c", Sizes: w.sizes}}))
	w.plan, w.equal, w.want = []*replication.Set{replication.NewSet(replication.Extent{End: w.sizes[0]})}, []*replication.Set{{}}, [][]byte{slices.Clone(w.m.disks[0].cur)}
	w.cycle = w.j.OpenCycle()
	for range 12 {
		must(w.through())
	}
	must(w.list())
	return w
}

// musts returns what ends a test with an error.
func musts(t *testing.T) func(error) {
	return func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// changing makes a point that changes pages of disk 0.
func (w *world) changing(t *testing.T, pages ...int) replication.PointID {
	t.Helper()
	must := musts(t)
	last, _ := w.j.Last()
	p := w.j.NextPoint()
	must(w.j.Begin(replication.Cycle{Point: p, Base: last.ID, BaseChain: last.Chain, Mode: replication.Changes, Route: replication.Journaled,
		Cut: replication.Cut{Time: time.Unix(1700000000+int64(p)*300, 0).UTC(), Snapshot: fmt.Sprint("cut ", p), Stable: true, Sizes: w.sizes}}))
	w.cycle, w.want, w.plan, w.equal = w.j.OpenCycle(), clone2(w.want), nil, nil
	for d := range w.sizes {
		w.plan, w.equal = append(w.plan, &replication.Set{}), append(w.equal, &replication.Set{})
		if d >= len(w.want) {
			w.want = append(w.want, slices.Clone(w.m.disks[d].cur))
		}
	}
	for d := range w.sizes {
		if w.born[d] == NoPoint {
			w.plan[d].Add(replication.Extent{End: w.sizes[d]})
			for range 12 {
				must(w.through())
			}
		}
	}
	a, err := w.j.Lane(replication.Lane{Session: replication.Session{Group: "web", Generation: w.j.Generation(), ID: 100 + uint64(p)}, Point: p, Attempt: 1})
	must(err)
	for _, k := range pages {
		e := w.pageOf(0, k)
		raw := bytes.Repeat([]byte{byte(int(p)*16 + k), 1}, int(e.Len())/2)
		copy(w.want[0][e.Off:], raw)
		b := block.Block{Kind: block.Data, Extents: []replication.Extent{e}, Raw: len(raw), CRC: block.Checksum(raw), Codec: block.None, Payload: raw}
		must(a.Append(&b))
		w.plan[0].Add(e)
	}
	must(a.Close())
	must(w.list())
	return p
}

// filesIn returns the files whose names begin so.
func (w *world) filesIn(kind string) (names []string) {
	for _, f := range w.j.now.Load().state.files {
		if n := filepath.ToSlash(f.path()); strings.HasPrefix(n, kind) {
			names = append(names, n)
		}
	}
	return names
}

// without opens the journal anew, without some files, and returns what they held.
func (w *world) without(t *testing.T, names ...string) map[string][]byte {
	must := musts(t)
	must(w.j.Close())
	out := map[string][]byte{}
	for _, n := range names {
		x := filepath.Join(worldDir, n)
		out[n] = slices.Clone(w.m.names[x].cur)
		delete(w.m.names, x)
		delete(w.m.safe, x)
	}
	w.openedAgain(t)
	return out
}

func (w *world) openedAgain(t *testing.T) {
	var err error
	w.j, err = open(w.m.volume(), worldDir, "web", w.t)
	musts(t)(err)
}

// pageIs says of a page at a point "right", "denied", or what is wrong.
func (w *world) pageIs(p replication.PointID, d, k int) string {
	e := w.pageOf(d, k)
	b := make([]byte, e.Len())
	_, err := w.reader(p, d).ReadAt(b, e.Off)
	if errors.Is(err, ErrCorrupt) {
		return "denied"
	}
	if err != nil {
		return err.Error()
	}
	want := w.content(p, d)[e.Off:e.End]
	if bytes.Equal(b, want) {
		return "right"
	}
	return fmt.Sprintf("WRONG: %x, want %x", b[:4], want[:4])
}

// allRight reads all pages of disk 0 at all points, and returns by point a dot for each that is right and a d for each that is denied.
func (w *world) allRight(t *testing.T, where string) map[replication.PointID]string {
	t.Helper()
	lines := map[replication.PointID]string{}
	for _, p := range w.listed {
		for k := range int(w.sizes[0] / replication.Page) {
			switch s := w.pageIs(p.ID, 0, k); s {
			case "right":
				lines[p.ID] += "."
			case "denied":
				lines[p.ID] += "d"
			default:
				t.Errorf("%s: point %d page %d: %s", where, p.ID, k, s)
			}
		}
	}
	return lines
}

// TestLaterAttemptIsBlind: of a point whose cycle was sent in two attempts, what the earlier one sent is never taken for what the later one did, whatever becomes of that.
func TestLaterAttemptIsBlind(t *testing.T) {
	for name, act := range map[string]func(t *testing.T, w *world, p replication.PointID, later *sealed){
		"Mended": func(t *testing.T, w *world, p replication.PointID, later *sealed) {
			w.without(t, w.j.relative(later))
			_, err := w.j.Mend(t.Context(), w.m.targets())
			musts(t)(err)
			musts(t)(w.moveTo(3))
			musts(t)(w.moveTo(p))
			if s := w.pageIs(p, 0, 5); s != "right" {
				t.Error("the disks have shown it, and it was mended:", s)
			}
		},
		"Moved": func(t *testing.T, w *world, p replication.PointID, later *sealed) {
			w.without(t, w.j.relative(later))
			musts(t)(w.moveTo(3))
		},
		"RewrittenAndGone": func(t *testing.T, w *world, p replication.PointID, later *sealed) {
			_, err := w.j.Rewrite(t.Context(), []string{w.j.relative(later)}, RewriteOptions{})
			musts(t)(err)
			packs := w.filesIn("pack/")
			w.without(t, packs[len(packs)-1])
		},
		"EarlierRewritten": func(t *testing.T, w *world, p replication.PointID, later *sealed) {
			name := w.j.relative(later)
			old := w.without(t, name)
			if _, err := w.j.Rewrite(t.Context(), []string{strings.Replace(name, "-2.seg", "-1.seg", 1)}, RewriteOptions{}); !errors.Is(err, ErrInUse) {
				t.Errorf("the earlier attempt was rewritten, and nobody knows what of it counts: %v", err)
			}
			musts(t)(w.j.Close())
			w.replaceFile(name, old[name])
			w.openedAgain(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, p, later, err := twoAttempts(t)
			musts(t)(err)
			w.j.t.logBytes = 1
			musts(t)(w.j.Shorten()) // a shorter log says it too
			act(t, w, p, later)
			if s := w.pageIs(p, 0, 5); s != "right" && s != "denied" {
				t.Error(s)
			}
			e := w.pageOf(0, 5)
			if w.j.Head() == p && !bytes.Equal(w.m.disks[0].cur[e.Off:e.End], w.content(p, 0)[e.Off:e.End]) {
				t.Errorf("the disk at point %d holds %x", p, w.m.disks[0].cur[e.Off:e.Off+4])
			}
		})
	}
}

// wideSave is a world whose last save has versions of several points, as segments were rewritten without what the disks held. The head is at the last point.
func wideSave(t *testing.T) (w *world, save string) {
	w = plainWorld(t, 12)
	w.changing(t, 0, 1)
	w.changing(t, 2, 3)
	w.changing(t, 4, 5)
	musts(t)(w.moveTo(4))
	for _, n := range w.filesIn("seg/") {
		_, err := w.j.Rewrite(t.Context(), []string{n}, RewriteOptions{Spares: DropSpares})
		musts(t)(err)
	}
	w.changing(t, 0, 2, 4, 6)
	musts(t)(w.moveTo(5))
	saves := w.filesIn("save/")
	return w, saves[len(saves)-1]
}

// TestPointsAreDroppedWhileAFileIsBuried: what is said of one point rests on those before.
func TestPointsAreDroppedWhileAFileIsBuried(t *testing.T) {
	w := plainWorld(t, 12)
	for p := 2; p <= 5; p++ {
		w.changing(t, p-2)
	}
	musts(t)(w.moveTo(5))
	for _, n := range w.filesIn("seg/") {
		if !strings.HasPrefix(n, "seg/2-") {
			_, err := w.j.Rewrite(t.Context(), []string{n}, RewriteOptions{Spares: DropSpares})
			musts(t)(err)
		}
	}
	musts(t)(w.moveTo(2))
	musts(t)(w.moveTo(5))
	saves := w.filesIn("save/")
	w.changing(t, 8)
	w.without(t, saves[len(saves)-1])
	w.allRight(t, "without its save")
	old, dropped := len(w.filesIn("pack/")), false
	w.m.onOp = func() {
		packs := 0
		for n := range w.m.names {
			if strings.HasSuffix(n, packSuffix) {
				packs++
			}
		}
		if !dropped && packs > old {
			dropped = true
			if err := w.j.DropPoints([]replication.PointID{1, 2}, "test"); err != nil {
				t.Error(err)
			}
			w.forget([]replication.PointID{1, 2})
		}
	}
	err := w.moveTo(6)
	w.m.onOp = nil
	if err != nil || !dropped {
		t.Errorf("moved: %v, dropped: %v", err, dropped)
	}
	w.allRight(t, "moved")
}

// TestBlindFileThatIsBack is believed, and not removed.
func TestBlindFileThatIsBack(t *testing.T) {
	w, save := wideSave(t)
	old := w.without(t, save)
	w.replaceFile(save, old[save])
	w.changing(t, 11)
	musts(t)(w.moveTo(6))
	for p, line := range w.allRight(t, "it is back") {
		if strings.Contains(line, "d") {
			t.Errorf("point %d: %s", p, line)
		}
	}
	if w.m.names[filepath.Join(worldDir, save)] == nil {
		t.Error("it was removed")
	}
}

// TestFileIsFoundBlindInTheMiddleOfAMove: after others were buried, and before the move saves.
func TestFileIsFoundBlindInTheMiddleOfAMove(t *testing.T) {
	w, save := wideSave(t)
	to := w.changing(t, 11)
	m := &mover{j: w.j, disks: w.m.targets()}
	musts(t)(w.j.buryBefore(t.Context(), 5, to))
	musts(t)(m.prove(t.Context(), to))
	c := w.j.now.Load()
	for i, s := range c.files {
		if w.j.relative(s) == save {
			musts(t)(w.j.goBlind(s, c.state.files[i], nil))
		}
	}
	if err := m.begin(t.Context(), to); !errors.Is(err, errDamageChanged) || w.j.Unfinished() != nil {
		t.Errorf("the move began: %v", err)
	}
}

// TestUnfinishedMoveWithoutItsSave stays where it is, and nothing wrong is served.
func TestUnfinishedMoveWithoutItsSave(t *testing.T) {
	w, save := wideSave(t)
	ds := w.m.targets()
	ds[0] = &failingDisk{ds[0]}
	if err := w.j.Move(t.Context(), ds, 3, nil); err == nil || w.j.Unfinished() == nil {
		t.Fatalf("not cut off: %v", err)
	}
	w.without(t, save)
	for _, to := range []replication.PointID{5, 3, 4, 1} {
		if err := w.moveTo(to); !errors.Is(err, ErrCorrupt) {
			t.Errorf("move to %d: %v", to, err)
		}
		w.allRight(t, "unfinished")
	}
}

// failingDisk takes no write.
type failingDisk struct{ Disk }

func (f *failingDisk) WriteAt([]byte, int64) (int, error) { return 0, errors.New("no power") }

// TestJoinedDiskIsInNoFileBeforeItsBirth: it is whole though a segment from before is blind.
func TestJoinedDiskIsInNoFileBeforeItsBirth(t *testing.T) {
	w := plainWorld(t, 12)
	w.changing(t, 0)
	musts(t)(w.moveTo(2))
	w.changing(t, 1)
	musts(t)(w.join())
	w.changing(t, 1)
	w.without(t, w.filesIn("seg/3-")[0])
	if s := w.pageIs(4, 1, 0); s != "right" {
		t.Error(s)
	}
	d, err := w.j.Damage(t.Context())
	if err != nil || slices.ContainsFunc(d.Points, func(p DamagedPoint) bool { return len(p.Disks) != 1 || p.Disks[0].Disk != 0 }) {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestNothingIsToldToBeSpareWhileAFileIsBlind: who asks gets no work that can't be done.
func TestNothingIsToldToBeSpareWhileAFileIsBlind(t *testing.T) {
	w := plainWorld(t, 12)
	w.changing(t, 0, 1, 2)
	musts(t)(w.moveTo(2))
	_, err := w.j.Rewrite(t.Context(), w.filesIn("seg/2-"), RewriteOptions{Spares: DropSpares})
	musts(t)(err)
	w.changing(t, 5)
	musts(t)(w.j.DropPoints([]replication.PointID{1}, "test"))
	_, err = w.j.Rewrite(t.Context(), w.filesIn("save/"), RewriteOptions{})
	musts(t)(err)
	cold := func() (n int64) {
		u, err := w.j.Use(t.Context(), nil)
		musts(t)(err)
		for _, f := range u.Files {
			n += f.Cold + f.Spare
		}
		return n
	}
	if cold() == 0 {
		t.Error("nothing is spare, with all files there")
	}
	w.without(t, w.filesIn("seg/3-")[0])
	if n := cold(); n != 0 {
		t.Errorf("%d bytes are told to be spare", n)
	}
}
