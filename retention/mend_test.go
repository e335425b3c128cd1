package retention

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// quarantined is the golden world with the first block of its last segment damaged and quarantined, always alike.
func quarantined(t *testing.T) (w *world, last replication.PointID) {
	t.Helper()
	w = goldenWorld(t)
	last, seg := w.lastSegment()
	seg.cur[fileHeaderSize+entryFixed+2*extentSize+9] ^= 1
	copy(seg.dur, seg.cur)
	c := w.j.now.Load()
	i := slices.IndexFunc(c.files, func(s *sealed) bool { return s.hdr.kind == segmentFile && s.hdr.point == last })
	held, err := c.files[i].held(t.Context(), stretch{fileHeaderSize, fileHeaderSize + 1})
	if err != nil {
		t.Fatal(err)
	}
	p := w.j.part(c.files[i], fileHeaderSize, 100, errors.New("checksum of a payload"), held)
	p.Found = time.Unix(1700010000, 0).UTC()
	if err := w.j.quarantine([]Part{p}); err != nil {
		t.Fatal(err)
	}
	if err := w.j.noteScrub(ScrubState{Whole: time.Unix(1700010000, 0).UTC()}); err != nil {
		t.Fatal(err)
	}
	return w, last
}

// lostBuried has what was lost sent again, and then rewrites that without what the disks hold: what is lost would show.
func lostBuried(t *testing.T) error {
	w, last := quarantined(t)
	lost, err := w.j.Lost(t.Context(), last)
	if err != nil || len(lost) == 0 {
		return fmt.Errorf("lost: %v, %w", lost, err)
	}
	r, err := w.j.Repair(last)
	if err != nil {
		return err
	}
	for _, l := range lost {
		raw := w.truth[last][l.Disk][l.Extent.Off:l.Extent.End]
		b := block.Block{Disk: l.Disk, Kind: block.Data, Extents: []replication.Extent{l.Extent}, Raw: len(raw), CRC: block.Checksum(raw), Codec: block.None, Payload: raw}
		if err := r.Append(&b, raw); err != nil {
			return errors.Join(err, r.Abort())
		}
	}
	if _, err := r.Commit(); err != nil {
		return err
	}
	if err := w.moveTo(last); err != nil {
		return err
	}
	files := w.j.now.Load().state.files
	if _, err := w.j.Rewrite(t.Context(), []string{filepath.ToSlash(files[len(files)-1].path())}, RewriteOptions{Spares: DropSpares}); err != nil {
		return err
	}
	return w.check("what was sent again is rewritten")
}

func TestWhatWasSentAgainStays(t *testing.T) {
	if err := lostBuried(t); err != nil {
		t.Error(err)
	}
}

// TestGoldenDamage reads back records of quarantined parts and of scrubbing, and a pack that tells what is lost, from files that never change, and writes the same.
func TestGoldenDamage(t *testing.T) {
	w, last := quarantined(t)
	var name string
	for _, f := range w.j.now.Load().state.files {
		if f.point == last {
			name = filepath.ToSlash(f.path())
		}
	}
	log := bytes.Clone(w.files()[logName])
	if _, err := w.j.Rewrite(t.Context(), []string{name}, RewriteOptions{}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("testdata", "damage")
	for n, b := range map[string][]byte{"log": log, "1.pack": w.files()["pack/1.pack"]} {
		file := filepath.Join(dir, n)
		if *update {
			if err := errors.Join(os.MkdirAll(dir, 0o777), os.WriteFile(file, b, 0o666)); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s: writes other bytes than it did (%v)", n, err)
		}
	}
	w.j.Close()
	var err error
	if w.j, err = open(w.m.volume(), worldDir, "web", w.t); err != nil {
		t.Fatal(err)
	}
	d, err := w.j.Damage(t.Context())
	if err != nil || len(d.Parts) != 0 || d.Bytes != 2*replication.Page+512 || len(d.Points) != 1 || d.Points[0].Point != last {
		t.Errorf("packed: damage %+v, %v", d, err)
	}
	if err := w.j.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRepairCrashesAtEveryStep has the power fail at every operation of quarantining, of mending from the disks and of repairing: what is listed stays, what was lost is lost or repaired, and it works when it is done again.
func TestRepairCrashesAtEveryStep(t *testing.T) {
	for k := 1; ; k++ {
		w := goldenWorld(t)
		w.j.t.trust = 0
		last, seg := w.lastSegment()
		at := fileHeaderSize + entryFixed + 2*extentSize + 9
		seg.cur[at] ^= 1
		copy(seg.dur, seg.cur)
		w.flips, w.harmed = 1, map[harmed]bool{{0, 2, last}: true, {0, 3, last}: true, {0, 8, last}: true}
		w.m.cutAt = w.m.ops + k
		repair := func() error {
			if _, err := w.j.Scrub(t.Context(), ScrubOptions{}); err != nil {
				return err
			}
			if _, err := w.j.Mend(t.Context(), w.m.targets()); err != nil {
				return err
			}
			lost, err := w.j.Lost(t.Context(), last)
			if err != nil {
				return err
			}
			r, err := w.j.Repair(last)
			if err != nil {
				return err
			}
			for _, l := range lost {
				raw := w.truth[last][l.Disk][l.Extent.Off:l.Extent.End]
				b := block.Block{Disk: l.Disk, Kind: block.Data, Extents: []replication.Extent{l.Extent}, Raw: len(raw), CRC: block.Checksum(raw), Codec: block.None, Payload: raw}
				if err := r.Append(&b, raw); err != nil {
					return errors.Join(err, r.Abort())
				}
			}
			_, err = r.Commit()
			return err
		}
		err := repair()
		if err != nil && !w.m.off {
			t.Fatal(err)
		}
		done := err == nil && !w.m.off
		w.m.reboot()
		if w.j, err = open(w.m.volume(), worldDir, "web", w.t); err != nil {
			t.Fatalf("operation %d: %v", k, err)
		}
		if err := w.check("after the crash"); err != nil {
			t.Fatalf("operation %d: %v", k, err)
		}
		if err := repair(); err != nil {
			t.Fatalf("operation %d: again: %v", k, err)
		}
		w.harmed = nil
		if err := w.check("repaired"); err != nil {
			t.Fatalf("operation %d: %v", k, err)
		}
		if err := w.j.Move(t.Context(), w.m.targets(), last, nil); err != nil {
			t.Fatalf("operation %d: move to the point that was repaired: %v", k, err)
		}
		if d, err := w.j.Damage(t.Context()); err != nil || d.Bytes != 0 || len(d.Parts) != 1 {
			t.Fatalf("operation %d: damage %+v, %v", k, d, err)
		}
		w.j.Close()
		if done {
			t.Logf("%d operations", k-1)
			return
		}
	}
}

// TestScrubFindsEveryFlip flips bits all over the sealed files of a journal that is open: each is found by scrubbing, and either quarantined, or mended to the byte.
func TestScrubFindsEveryFlip(t *testing.T) {
	stride := 31
	if testing.Short() || slow > 1 {
		stride = 211
	}
	quarantines, rebuilt := 0, 0
	for name, want := range goldenWorld(t).files() {
		if name == logName {
			continue
		}
		for at := 0; at < len(want); at += stride {
			w := goldenWorld(t)
			path := filepath.Join(worldDir, name)
			i := w.m.names[path]
			i.cur[at] ^= 1 << (at % 8)
			copy(i.dur, i.cur)
			found, err := w.j.Scrub(t.Context(), ScrubOptions{})
			if err != nil {
				t.Fatalf("%s, byte %d: %v", name, at, err)
			}
			switch {
			case len(found.Findings) == 0:
				t.Errorf("%s, byte %d: not found", name, at)
			case len(found.Rebuilt) > 0:
				rebuilt++
				if !bytes.Equal(w.m.names[path].cur, want) {
					t.Errorf("%s, byte %d: made again, and not what it was", name, at)
				}
			case found.Quarantined > 0:
				quarantines++
				if again, err := w.j.Scrub(t.Context(), ScrubOptions{}); err != nil || again.Quarantined != 0 {
					t.Errorf("%s, byte %d: quarantined again: %+v, %v", name, at, again, err)
				}
			default:
				t.Errorf("%s, byte %d: neither quarantined nor made again: %+v", name, at, found)
			}
			w.flips, w.harmed = 1, allHarmed(w)
			for _, p := range w.listed {
				for d := range w.sizes {
					if err := w.compare(p.ID, d, 0, w.sizes[d]); err != nil {
						t.Fatalf("%s, byte %d: %v", name, at, err)
					}
				}
			}
			w.j.Close()
		}
	}
	t.Logf("%d quarantined, %d made again", quarantines, rebuilt)
}

// allHarmed lets any page be denied.
func allHarmed(w *world) map[harmed]bool {
	all := map[harmed]bool{}
	for p, v := range w.vers {
		for d := range v {
			for k := range v[d] {
				all[harmed{d, k, p}] = true
			}
		}
	}
	return all
}

// staleGone has a pack that says that the disks hold a version, of a higher rank than the save that a move made of it meanwhile; then the save is damaged.
func staleGone(t *testing.T) error {
	w := goldenWorld(t)
	var names []string
	for _, f := range w.j.now.Load().state.files {
		if f.point == 2 {
			names = append(names, filepath.ToSlash(f.path()))
		}
	}
	ctx := context.Background()
	if _, err := w.j.Rewrite(ctx, names, RewriteOptions{Spares: DropSpares}); err != nil {
		return err
	}
	moved := false
	pace := func(ctx context.Context, _ int) error {
		if moved {
			return nil
		}
		moved = true
		return w.j.Move(ctx, w.m.targets(), 3, nil)
	}
	if _, err := w.j.Rewrite(ctx, []string{"pack/1.pack"}, RewriteOptions{Pace: pace}); err != nil {
		return err
	}
	saves := slices.DeleteFunc(slices.Clone(w.j.now.Load().files), func(s *sealed) bool { return s.hdr.kind != saveFile })
	if len(saves) == 0 || !moved {
		return errors.New("nothing was saved")
	}
	w.m.names[saves[len(saves)-1].name].cur[fileHeaderSize+entryFixed+2*extentSize+9] ^= 1
	if found, err := w.j.Scrub(ctx, ScrubOptions{}); err != nil || found.Quarantined == 0 {
		return fmt.Errorf("scrub: %+v, %w", found, err)
	}
	w.harmed = allHarmed(w)
	return w.check("damaged")
}

func TestLostIsNotTakenFromTheDisks(t *testing.T) {
	if err := staleGone(t); err != nil {
		t.Error(err)
	}
}
