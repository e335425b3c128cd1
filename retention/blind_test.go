package retention

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"failback/replication"
	"failback/replication/block"
)

// TestMissingFileIsBlind takes one file after the other away, with the disks at each point: the journal opens, names it with the points that need it, serves all that is known nevertheless, and never anything else; the disks' own
// point is whole. So does an inspection.
func TestMissingFileIsBlind(t *testing.T) {
	denied := 0
	for _, make := range []func(*testing.T) *world{goldenWorld, goldenOriginal, packedWorld} {
		for _, head := range []replication.PointID{1, 2, 3} {
			w := make(t)
			if _, err := w.j.Point(head); err != nil {
				continue
			}
			if err := w.j.Move(t.Context(), w.m.targets(), head, nil); err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range w.j.now.Load().state.files {
				names = append(names, filepath.ToSlash(f.path()))
			}
			w.j.Close()
			good := w.files()
			for _, n := range names {
				delete(w.m.names, filepath.Join(worldDir, n))
				before := w.denied
				if err := w.openBlind(t, n); err != nil {
					t.Errorf("head %d, without %s: %v", head, n, err)
				}
				denied += w.denied - before
				for n, b := range good { // opening cuts and seals
					w.replaceFile(n, slices.Clone(b))
				}
			}
		}
	}
	t.Logf("%d pages denied", denied)
	if denied == 0 {
		t.Error("nothing was denied")
	}
}

// TestMovesOverBlindFiles takes one file after the other away, with the disks at each point, mended or not, and moves them about: to every point that is whole, and to no other; what was whole stays so, and is right.
func TestMovesOverBlindFiles(t *testing.T) {
	moves, refused, buried := 0, 0, 0
	for _, make := range []func(*testing.T) *world{goldenWorld, goldenOriginal, packedWorld, agedWorld} {
		for n := 0; ; n++ {
			w := make(t)
			points, files := w.listed, w.j.now.Load().state.files
			if n == len(points)*len(files)*2 {
				break
			}
			if slow > 1 && n%29 != 0 {
				continue
			}
			head, name, mend := points[n%len(points)].ID, filepath.ToSlash(files[n/len(points)%len(files)].path()), n >= len(points)*len(files)
			if err := w.j.Move(t.Context(), w.m.targets(), head, nil); err != nil {
				t.Fatal(err)
			}
			w.j.Close()
			if w.m.names[filepath.Join(worldDir, name)] == nil {
				continue // it was replaced
			}
			delete(w.m.names, filepath.Join(worldDir, name))
			delete(w.m.safe, filepath.Join(worldDir, name))
			if err := w.openBlind(t, name); err != nil {
				t.Fatalf("head %d, without %s: %v", head, name, err)
			}
			var err error
			if w.j, err = open(w.m.volume(), worldDir, "web", w.t); err != nil {
				t.Fatal(err)
			}
			w.r = rand.New(rand.NewPCG(uint64(n), 3))
			if mend {
				k, err := w.j.Mend(t.Context(), w.m.targets())
				if err != nil {
					t.Fatalf("head %d, without %s: mend: %v", head, name, err)
				}
				if k > 0 {
					buried++
				}
			}
			whole := w.wholePoints(t)
			for range 6 {
				to := points[w.r.IntN(len(points))].ID
				err := w.j.Move(t.Context(), w.m.targets(), to, nil)
				if (err == nil) != whole[to] && to != head || err != nil && !errors.Is(err, ErrCorrupt) {
					t.Fatalf("head %d, without %s: move to %d, which is whole: %v: %v", head, name, to, whole[to], err)
				}
				if err != nil {
					refused++
				} else {
					moves++
				}
				now := w.wholePoints(t)
				for _, p := range points {
					if whole[p.ID] && !now[p.ID] {
						t.Fatalf("head %d, without %s: point %d was whole, and is not since the move to %d", head, name, p.ID, to)
					}
				}
				if u := w.j.Unfinished(); u != nil {
					t.Fatalf("unfinished: %+v", u)
				}
			}
			w.j.Close()
		}
	}
	t.Logf("%d moves, %d refused, %d files buried by mending", moves, refused, buried)
	if moves == 0 || refused == 0 || buried == 0 {
		t.Error("too little happened")
	}
}

// agedWorld has saves of several classes, and packs, and no damage.
func agedWorld(t *testing.T) *world {
	w := newWorld(2)
	w.reach, w.frail = 12, false
	if err := w.aged(); err != nil {
		t.Fatal(err)
	}
	w.m.onOp = nil
	return w
}

// wholePoints compares all points: what is had of them must be right.
func (w *world) wholePoints(t *testing.T) map[replication.PointID]bool {
	t.Helper()
	whole := map[replication.PointID]bool{}
	for _, p := range w.listed {
		before := w.denied
		for no := range w.sizes {
			if err := w.compare(p.ID, no, 0, w.sizes[no]); err != nil {
				t.Fatal(err)
			}
		}
		whole[p.ID] = w.denied == before
	}
	return whole
}

// blindSegment takes the segment of point 2 away, of which points 2 and 3 have what they have in common only on the disks, and what 3 has written over nowhere. Point 2 is damaged, and nothing else; no move goes there; nothing that the
// disks seem to hold is given up; and once the source has sent it again, all is well.
func blindSegment(t *testing.T) error {
	w := goldenWorld(t)
	if err := w.j.Move(t.Context(), w.m.targets(), 3, nil); err != nil {
		return err
	}
	if err := w.j.Close(); err != nil {
		return err
	}
	for n := range maps.Clone(w.m.names) {
		if strings.HasPrefix(n, worldDir+"/seg/2-") {
			delete(w.m.names, n)
			delete(w.m.safe, n)
		}
	}
	var err error
	if w.j, err = open(w.m.volume(), worldDir, "web", w.t); err != nil {
		return err
	}
	w.flips, w.blinds = 1, []replication.PointID{2}
	if err := w.check("without the segment"); err != nil {
		return err
	}
	if w.denied == 0 {
		return errors.New("nothing is denied of point 2")
	}
	d, err := w.j.Damage(t.Context())
	if err != nil || len(d.Points) != 1 || d.Points[0].Point != 2 || d.Bytes == 0 || len(d.Parts) != 1 {
		return fmt.Errorf("damage: %+v, %w", d, err)
	}
	var c *Corruption
	if err := w.j.Move(t.Context(), w.m.targets(), 2, nil); !errors.As(err, &c) || !strings.Contains(c.File, "seg/2-") || w.j.Head() != 3 || w.j.Unfinished() != nil {
		return fmt.Errorf("move to what is lost: %w, head %d", err, w.j.Head())
	}
	use, err := w.j.Use(t.Context(), nil)
	if err != nil {
		return err
	}
	for _, f := range use.Files {
		if strings.HasPrefix(f.Name, saveDir) {
			if _, err := w.j.Rewrite(context.Background(), []string{f.Name}, RewriteOptions{Spares: DropSpares}); err != nil {
				return err
			}
		}
	}
	if err := w.check("files were rewritten"); err != nil {
		return err
	}
	lost, err := w.j.Lost(t.Context(), 2)
	if err != nil || len(lost) == 0 {
		return fmt.Errorf("lost: %v, %w", lost, err)
	}
	r, err := w.j.Repair(2)
	if err != nil {
		return err
	}
	for _, l := range lost {
		raw := w.truth[2][l.Disk][l.Extent.Off:l.Extent.End]
		b := block.Block{Disk: l.Disk, Kind: block.Data, Extents: []replication.Extent{l.Extent}, Raw: len(raw), CRC: block.Checksum(raw), Codec: block.None, Payload: raw}
		if err := r.Append(&b, raw); err != nil {
			return err
		}
	}
	if _, err := r.Commit(); err != nil {
		return err
	}
	if d, err := w.j.Damage(t.Context()); err != nil || len(d.Points) != 0 {
		return fmt.Errorf("repaired, and damaged: %+v, %w", d, err)
	}
	w.blinds, w.harmed = nil, nil
	for _, p := range []replication.PointID{1, 2, 3} {
		if err := w.j.Move(t.Context(), w.m.targets(), p, nil); err != nil && p > 1 { // which lies behind what is blind
			return err
		}
		for d := range w.sizes {
			for _, q := range w.listed {
				if err := w.compare(q.ID, d, 0, w.sizes[d]); err != nil {
					return fmt.Errorf("repaired, with the head at %d: %w", w.j.Head(), err)
				}
			}
		}
	}
	return w.j.Close()
}

func TestBlindSegment(t *testing.T) {
	if err := blindSegment(t); err != nil {
		t.Error(err)
	}
}

// blindOver takes away what tells that the first baseline wrote over point 0. Where it did not, as both were equal, the disks hold point 0 until they move, and what the move saves is point 0's too.
func blindOver(t *testing.T) error {
	w := newWorld(1) // whose baselines find much equal
	w.reach, w.frail = 12, false
	w.keeps = true
	if err := w.aged(); err != nil {
		return err
	}
	w.m.onOp = nil
	first := w.listed[1].ID // after point 0
	if err := w.moveTo(first); err != nil {
		return err
	}
	var over string
	for _, s := range w.j.now.Load().files {
		if s.hdr.kind == packFile && s.low() == first && s.high() == first {
			over = s.name
		}
	}
	if over == "" {
		return errors.New("no pack tells what the baseline wrote over")
	}
	if err := w.j.Close(); err != nil {
		return err
	}
	delete(w.m.names, over)
	delete(w.m.safe, over)
	var err error
	if w.j, err = open(w.m.volume(), worldDir, "web", w.t); err != nil {
		return err
	}
	w.flips, w.blinds = 1, []replication.PointID{first}
	for _, p := range w.listed {
		if err := w.moveTo(p.ID); err != nil {
			return err
		}
		if err := w.check(fmt.Sprintf("at point %d", p.ID)); err != nil {
			return err
		}
	}
	return w.j.Close()
}

func TestBlindOver(t *testing.T) {
	if err := blindOver(t); err != nil {
		t.Error(err)
	}
}

// TestIndexThatCantBeToldIsBlind damages the index of a pack that has extents without content, of which the index alone knows: scrubbing notes the pack as blind, and it stays so when the journal is opened again. What is damaged of its
// header or footer is made again.
func TestIndexThatCantBeToldIsBlind(t *testing.T) {
	for name, damage := range map[string]func(s *sealed, b []byte){
		"Index":         func(s *sealed, b []byte) { b[s.foot.index+20] ^= 1 },
		"IndexAndBlock": func(s *sealed, b []byte) { b[s.foot.index+20] ^= 1; b[fileHeaderSize+1] ^= 1 },
		"Header":        func(s *sealed, b []byte) { b[40] ^= 1 },
		"Footer":        func(s *sealed, b []byte) { b[len(b)-20] ^= 1 },
		"Fences":        func(s *sealed, b []byte) { b[s.foot.index+s.foot.chunks*chunkSize] ^= 1 },
	} {
		for _, opened := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%v", name, opened), func(t *testing.T) {
				w := plainWorld(t, 12) // whose pack has of two points' pages those that the disks don't show, and says that they hold the others
				w.changing(t, 0, 1)
				w.changing(t, 2)
				musts(t)(w.moveTo(2))
				musts(t)(w.j.DropPoints([]replication.PointID{1}, "test"))
				w.forget([]replication.PointID{1})
				musts(t)(w.moveTo(3))
				w.changing(t, 1)
				musts(t)(w.moveTo(4))
				_, err := w.j.Rewrite(t.Context(), w.filesIn("seg/2-"), RewriteOptions{Spares: DropSpares})
				musts(t)(err)
				files := w.j.now.Load().files
				i := slices.IndexFunc(files, func(s *sealed) bool { return s.rec.Gone > 0 && s.foot.bytes > s.rec.Gone })
				if i < 0 {
					for _, f := range files {
						t.Log(f.name, f.rec, f.foot.bytes)
					}
					t.Fatal("no pack has both")
				}
				s := files[i]
				want := slices.Clone(w.m.names[s.name].cur)
				must := func(err error) {
					t.Helper()
					if err != nil {
						t.Fatal(err)
					}
				}
				reopen := func() {
					t.Helper()
					must(w.j.Close())
					var err error
					w.j, err = open(w.m.volume(), worldDir, "web", w.t)
					must(err)
				}
				damage(s, w.m.names[s.name].cur)
				if opened {
					reopen()
				}
				found, err := w.j.Scrub(t.Context(), ScrubOptions{})
				must(err)
				made := !strings.HasPrefix(name, "Index")
				for range 2 {
					w.flips, w.blinds = 1, []replication.PointID{0}
					must(w.check(name))
					if blind := len(w.j.now.Load().blind) == 1; blind == made {
						t.Errorf("blind: %v; %+v", blind, found)
					}
					if made && string(w.m.names[s.name].cur) != string(want) {
						t.Error("it is not what it was")
					}
					w.j.t.logBytes = 1
					must(w.j.Shorten())
					reopen()
				}
			})
		}
	}
}
